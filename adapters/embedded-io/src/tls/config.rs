//! What the caller decides about TLS: [`TlsConfig`].

/// Whom to talk to, and whom to trust.
///
/// ```
/// use motews_embedded_io::tls::{TlsConfig, TlsTime, Trust};
///
/// # const AUTHORITY: &[u8] = &[]; // include_bytes!("isrg-root-x2.der")
/// let config = TlsConfig {
///     alpn: &[b"http/1.1"],
///     ..TlsConfig::new("example.com", Trust::Authorities(&[AUTHORITY]), TlsTime::Built(1_796_000_000))
/// };
/// # _ = config;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TlsConfig<'a> {
    /// The server's name, or its IP address. It is sent to the server if it is a name (SNI), and the
    /// certificate has to be for it.
    pub server: &'a str,
    /// Which certificates are good.
    pub trust: Trust<'a>,
    /// The time to judge certificates by.
    pub time: TlsTime,
    /// The protocols to offer (ALPN). **What the server chose is not checked**, for embedded-tls does
    /// not say. Nothing is offered by default.
    pub alpn: &'a [&'a [u8]],
    /// The client's own certificate, for a server that asks for one. There is none by default.
    pub identity: Option<Identity<'a>>,
    /// How long the last bytes and the end of TLS may take to leave after the WebSocket was dropped, in
    /// milliseconds: 5,000 by default. Without a source of time they get one attempt.
    pub close: u32,
}

impl<'a> TlsConfig<'a> {
    /// Returns settings with which the server's certificate is verified.
    pub const fn new(server: &'a str, trust: Trust<'a>, time: TlsTime) -> Self {
        Self {
            server,
            trust,
            time,
            alpn: &[],
            identity: None,
            close: 5_000,
        }
    }
}

/// Which certificates are good. There is no way to trust any server.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// Those that lead to one of these authorities, whose certificates are given as DER. Time, names,
    /// purpose and constraints are checked on the way (RFC 5280).
    Authorities(&'a [&'a [u8]]),
    /// Those with one of these keys, whoever issued them, for whatever name and time: the SHA-256 of
    /// the SubjectPublicKeyInfo, as in `openssl pkey -pubin -outform der | sha256sum`. Give the next
    /// key's, too, or a device cannot follow when the server changes its key.
    Keys(&'a [[u8; 32]]),
}

/// The time to judge certificates by, in seconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum TlsTime {
    /// It is now this time.
    Now(u64),
    /// Nobody knows the time, but it is not before this: the time when the program was built, a constant
    /// of yours. A certificate that had expired by then is refused, and so is a chain that was never
    /// valid as a whole. **One that expired later is taken.**
    Built(u64),
}

/// A client's certificate and its key.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// The certificate as DER. **embedded-tls sends this one only**, so the server has to know its
    /// issuer.
    pub certificate: &'a [u8],
    /// The private key on P-256: the 32 bytes of its number.
    pub key: &'a [u8; 32],
}

impl core::fmt::Debug for Identity<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}
