//! SOCKS5 (RFC 1928), with a user and a password (RFC 1929) or without.

use alloc::vec::Vec;
use core::fmt;

use super::tunnel::TunnelError;
use crate::authority::{Credentials, Host};

const VERSION: u8 = 5;
/// The methods of authentication.
const NONE: u8 = 0;
const PASSWORD: u8 = 2;
const UNACCEPTABLE: u8 = 0xff;
/// The version of RFC 1929.
const PASSWORD_VERSION: u8 = 1;
const CONNECT: u8 = 1;
/// The kinds of address.
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// The client's side: which answer is awaited, and what has come of it.
#[derive(Clone)]
pub(super) struct Socks5 {
    awaited: Awaited,
    answer: Vec<u8>,
    credentials: Option<Vec<u8>>,
    request: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Method,
    Authentication,
    Reply,
}

/// What an answer has led to.
pub(super) enum Answered {
    /// It is not whole.
    More,
    /// This is to be sent next.
    Send(Vec<u8>),
    /// The tunnel is open.
    Open,
}

impl Socks5 {
    pub(super) fn new(
        host: &Host,
        port: u16,
        credentials: Option<&Credentials>,
    ) -> Result<Self, TunnelError> {
        Ok(Self {
            awaited: Awaited::Method,
            answer: Vec::new(),
            credentials: credentials.map(authentication).transpose()?,
            request: request(host, port)?,
        })
    }

    /// The first message: the methods of authentication (RFC 1928 §3).
    pub(super) fn greeting(&self) -> Vec<u8> {
        match self.credentials {
            None => [VERSION, 1, NONE].into(),
            Some(_) => [VERSION, 2, NONE, PASSWORD].into(),
        }
    }

    /// Takes an answer, and not a byte more.
    pub(super) fn receive(&mut self, input: &mut &[u8]) -> Result<Answered, TunnelError> {
        loop {
            let missing = self.awaited_len().saturating_sub(self.answer.len());
            let (taken, rest) = input.split_at(missing.min(input.len()));
            self.answer.extend_from_slice(taken);
            *input = rest;
            if taken.len() < missing {
                return Ok(Answered::More);
            }
            let answered = match self.awaited {
                Awaited::Method => self.method()?,
                Awaited::Authentication => self.authentication()?,
                Awaited::Reply => self.reply()?,
            };
            if let Some(answered) = answered {
                self.answer.clear();
                return Ok(answered);
            }
        }
    }

    /// How long the answer is, as far as what has come of it says.
    fn awaited_len(&self) -> usize {
        match (self.awaited, self.answer.as_slice()) {
            (Awaited::Method | Awaited::Authentication, _) => 2,
            (Awaited::Reply, [_, _, _, IPV4, ..]) => 10,
            (Awaited::Reply, [_, _, _, IPV6, ..]) => 22,
            (Awaited::Reply, [_, _, _, NAME, len, ..]) => usize::from(*len).saturating_add(7),
            (Awaited::Reply, [_, _, _, ..]) => 5,
            // A refusal is known by its first two bytes, and some proxies send no more.
            (Awaited::Reply, [_, _, ..]) => 5,
            (Awaited::Reply, _) => 2,
        }
    }

    /// The method that the proxy has chosen (RFC 1928 §3).
    fn method(&mut self) -> Result<Option<Answered>, TunnelError> {
        match *self.answer.as_slice() {
            [VERSION, NONE] => Ok(Some(self.ask())),
            [VERSION, PASSWORD] => {
                let credentials = self.credentials.take().ok_or(TunnelError::NotSocks5)?;
                self.awaited = Awaited::Authentication;
                Ok(Some(Answered::Send(credentials)))
            }
            [VERSION, UNACCEPTABLE] => Err(TunnelError::NoAcceptableMethod),
            _ => Err(TunnelError::NotSocks5),
        }
    }

    /// Whether the password is right (RFC 1929 §2). Its version is 1, but some say 5.
    fn authentication(&mut self) -> Result<Option<Answered>, TunnelError> {
        match *self.answer.as_slice() {
            [_, 0] => Ok(Some(self.ask())),
            _ => Err(TunnelError::AuthenticationFailed),
        }
    }

    fn ask(&mut self) -> Answered {
        self.awaited = Awaited::Reply;
        Answered::Send(core::mem::take(&mut self.request))
    }

    /// The reply (RFC 1928 §6). The address in it is the proxy's own.
    fn reply(&self) -> Result<Option<Answered>, TunnelError> {
        match *self.answer.as_slice() {
            [VERSION, 0, ..] => {}
            [VERSION, code, ..] => return Err(TunnelError::Socks(SocksReply::from_code(code))),
            _ => return Err(TunnelError::NotSocks5),
        }
        match *self.answer.as_slice() {
            [_, _, _, IPV4 | NAME | IPV6, _, ..] => {}
            [_, _, _, _, ..] => return Err(TunnelError::NotSocks5),
            _ => {}
        }
        let is_whole = self.answer.len() == self.awaited_len();
        Ok(is_whole.then_some(Answered::Open))
    }
}

/// The request of RFC 1929 §2.
fn authentication(credentials: &Credentials) -> Result<Vec<u8>, TunnelError> {
    let mut request = [PASSWORD_VERSION].to_vec();
    for part in [credentials.user(), credentials.password()] {
        let len = u8::try_from(part.len()).map_err(|_| TunnelError::Credentials)?;
        request.push(len);
        request.extend_from_slice(part.as_bytes());
    }
    Ok(request)
}

/// The request of RFC 1928 §4.
fn request(host: &Host, port: u16) -> Result<Vec<u8>, TunnelError> {
    let mut request = [VERSION, CONNECT, 0].to_vec();
    match host {
        Host::V4(address) => {
            request.push(IPV4);
            request.extend_from_slice(&address.octets());
        }
        Host::V6(address, _) => {
            request.push(IPV6);
            request.extend_from_slice(&address.octets());
        }
        Host::Name(name) => {
            let len = u8::try_from(name.len()).map_err(|_| TunnelError::Host)?;
            request.extend_from_slice(&[NAME, len]);
            request.extend_from_slice(name.as_bytes());
        }
    }
    request.extend_from_slice(&port.to_be_bytes());
    Ok(request)
}

/// Why a SOCKS5 proxy does not connect (RFC 1928 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocksReply {
    /// 1: something failed in the proxy.
    GeneralFailure,
    /// 2: the proxy's rules do not allow it.
    NotAllowed,
    /// 3: the network cannot be reached.
    NetworkUnreachable,
    /// 4: the host cannot be reached, or has no address.
    HostUnreachable,
    /// 5: the server refused the connection.
    ConnectionRefused,
    /// 6: the time to live expired.
    TtlExpired,
    /// 7: the proxy does not connect for others.
    CommandNotSupported,
    /// 8: the proxy does not know this kind of address.
    AddressTypeNotSupported,
    /// Any other code.
    Other(u8),
}

impl SocksReply {
    const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::GeneralFailure,
            2 => Self::NotAllowed,
            3 => Self::NetworkUnreachable,
            4 => Self::HostUnreachable,
            5 => Self::ConnectionRefused,
            6 => Self::TtlExpired,
            7 => Self::CommandNotSupported,
            8 => Self::AddressTypeNotSupported,
            code => Self::Other(code),
        }
    }

    /// Returns true if the proxy may reach another address of the same server: all but
    /// [`CommandNotSupported`](Self::CommandNotSupported) and unknown codes are about the address.
    #[must_use]
    pub const fn is_about_the_address(self) -> bool {
        !matches!(self, Self::CommandNotSupported | Self::Other(_))
    }
}

impl fmt::Display for SocksReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GeneralFailure => "the proxy failed",
            Self::NotAllowed => "the proxy does not allow it",
            Self::NetworkUnreachable => "the proxy cannot reach the server's network",
            Self::HostUnreachable => "the proxy cannot reach the server",
            Self::ConnectionRefused => "the server refused the proxy's connection",
            Self::TtlExpired => "the proxy's packets do not reach the server",
            Self::CommandNotSupported => "the proxy does not connect for others",
            Self::AddressTypeNotSupported => "the proxy does not know this kind of address",
            Self::Other(code) => return write!(f, "the proxy refused with the code {code}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Proxy;
    use super::*;
    use crate::Tunnel;

    fn tunnel(proxy: &str, host: &str) -> Tunnel {
        let host = Host::parse(host).expect(host);
        let proxy = Proxy::parse(proxy).expect(proxy);
        proxy.tunnel(&host, 0x1234).expect("a tunnel")
    }

    /// Sends what is to be sent, which is `expected`, and gives the answer.
    fn exchange(tunnel: &mut Tunnel, expected: &[u8], answer: &[u8]) -> Result<usize, TunnelError> {
        assert_eq!(tunnel.to_send(), expected);
        tunnel.sent(expected.len());
        assert_eq!(tunnel.to_send(), b"");
        let mut input = answer;
        tunnel.receive(&mut input)?;
        Ok(input.len())
    }

    const OPEN: &[u8] = &[5, 0, 0, IPV4, 1, 2, 3, 4, 5, 6];

    #[test]
    fn each_kind_of_host_is_asked_for() {
        let cases: [(&str, &[u8]); 3] = [
            ("h.example", b"\x05\x01\x00\x03\x09h.example\x12\x34"),
            ("1.2.3.4", &[5, 1, 0, 1, 1, 2, 3, 4, 0x12, 0x34]),
            (
                "[::9]",
                &[
                    5, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0x12, 0x34,
                ],
            ),
        ];
        for (host, request) in cases {
            let mut tunnel = tunnel("socks5h://p", host);
            assert_eq!(exchange(&mut tunnel, &[5, 1, 0], &[5, 0]).ok(), Some(0));
            let answer = [OPEN, b"hello"].concat();
            assert_eq!(exchange(&mut tunnel, request, &answer).ok(), Some(5));
            assert!(tunnel.is_open());
        }
    }

    #[test]
    fn each_kind_of_bound_address_is_skipped() {
        let answers: [&[u8]; 4] = [
            OPEN,
            &[
                5, 0, 0, IPV6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2,
            ],
            &[5, 0, 0, NAME, 2, b'h', b'i', 1, 2],
            &[5, 0, 0, NAME, 0, 1, 2],
        ];
        for answer in answers {
            let mut tunnel = tunnel("socks5h://p", "1.2.3.4");
            let request = [5, 1, 0, 1, 1, 2, 3, 4, 0x12, 0x34];
            assert_eq!(exchange(&mut tunnel, &[5, 1, 0], &[5, 0]).ok(), Some(0));
            let answer = [answer, b"hello"].concat();
            let left = exchange(&mut tunnel, &request, &answer);
            assert_eq!(left.ok(), Some(5), "{answer:?}");
            assert!(tunnel.is_open());
        }
    }

    #[test]
    fn password_is_sent_if_the_proxy_wants_it() {
        let mut with = tunnel("socks5://user:pw@p", "1.2.3.4");
        assert!(exchange(&mut with, &[5, 2, 0, 2], &[5, 2]).is_ok());
        assert!(exchange(&mut with, b"\x01\x04user\x02pw", &[1, 0]).is_ok());
        assert!(with.to_send().starts_with(&[5, 1, 0, 1]));

        let mut not_wanted = tunnel("socks5://user:pw@p", "1.2.3.4");
        assert!(exchange(&mut not_wanted, &[5, 2, 0, 2], &[5, 0]).is_ok());
        assert!(not_wanted.to_send().starts_with(&[5, 1, 0, 1]));

        let mut wrong = tunnel("socks5://user:pw@p", "1.2.3.4");
        assert!(exchange(&mut wrong, &[5, 2, 0, 2], &[5, 2]).is_ok());
        let error = exchange(&mut wrong, b"\x01\x04user\x02pw", &[1, 1]);
        assert!(matches!(error, Err(TunnelError::AuthenticationFailed)));
        assert!(wrong.to_send().is_empty());
    }

    #[test]
    fn method_that_was_not_offered_is_refused() {
        for (answer, expected) in [
            ([5, 0xff], TunnelError::NoAcceptableMethod),
            ([5, 2], TunnelError::NotSocks5),
            ([5, 1], TunnelError::NotSocks5),
            ([4, 0], TunnelError::NotSocks5),
            (*b"HT", TunnelError::NotSocks5),
        ] {
            let mut tunnel = tunnel("socks5://p", "h");
            let error = exchange(&mut tunnel, &[5, 1, 0], &answer).expect_err("refused");
            let same = core::mem::discriminant(&error) == core::mem::discriminant(&expected);
            assert!(same, "{answer:?} {error:?}");
        }
    }

    #[test]
    fn each_reply_code_is_its_own_error() {
        let replies = [
            SocksReply::GeneralFailure,
            SocksReply::NotAllowed,
            SocksReply::NetworkUnreachable,
            SocksReply::HostUnreachable,
            SocksReply::ConnectionRefused,
            SocksReply::TtlExpired,
            SocksReply::CommandNotSupported,
            SocksReply::AddressTypeNotSupported,
            SocksReply::Other(9),
        ];
        for (code, reply) in (1..).zip(replies) {
            // Some send the whole reply, some no more than the code.
            for answer in [&[5, code, 0, 1, 0, 0, 0, 0, 0, 0][..], &[5, code]] {
                let mut tunnel = tunnel("socks5h://p", "1.2.3.4");
                let request = [5, 1, 0, 1, 1, 2, 3, 4, 0x12, 0x34];
                assert!(exchange(&mut tunnel, &[5, 1, 0], &[5, 0]).is_ok());
                let error = exchange(&mut tunnel, &request, answer);
                let Err(error @ TunnelError::Socks(found)) = error else {
                    panic!("{error:?}");
                };
                assert_eq!(found, reply);
                let is_about_the_address = !matches!(code, 7 | 9);
                assert_eq!(error.is_about_the_address(), is_about_the_address);
            }
        }
    }

    #[test]
    fn malformed_reply_is_refused() {
        for answer in [&[4, 0][..], &[5, 0, 0, 2, 0], &[5, 0, 0, 0, 9]] {
            let mut tunnel = tunnel("socks5h://p", "1.2.3.4");
            let request = [5, 1, 0, 1, 1, 2, 3, 4, 0x12, 0x34];
            assert!(exchange(&mut tunnel, &[5, 1, 0], &[5, 0]).is_ok());
            let error = exchange(&mut tunnel, &request, answer);
            assert!(matches!(error, Err(TunnelError::NotSocks5)), "{answer:?}");
        }
    }

    #[test]
    fn credentials_too_long_for_the_protocol_are_refused() {
        let proxy = Proxy::parse("socks5://p").expect("a proxy");
        let long = "x".repeat(256);
        for credentials in [Credentials::new(&long, ""), Credentials::new("u", &long)] {
            let proxy = proxy.clone().with_credentials(Some(credentials));
            let tunnel = proxy.tunnel(&Host::Name("h".into()), 80);
            assert!(matches!(tunnel, Err(TunnelError::Credentials)));
        }
        let tunnel = proxy.tunnel(&Host::Name(long), 80);
        assert!(matches!(tunnel, Err(TunnelError::Host)));
    }
}
