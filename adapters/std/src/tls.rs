//! TLS below a WebSocket, with rustls (RFC 6455 §10.6).
// [EX04]

use core::time::Duration;
use std::io::{self, IoSlice, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use motews_net::UrlError;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConnection};

use crate::error::ConnectError;
use crate::transport::{Interest, Ready, Share, Transport};

/// How much is read from the socket at once, in bytes.
const READ_LEN: usize = 16 * 1024;

/// TLS over the stream `S`, in either role. Its handshake is a part of the first reads and writes,
/// and so of the WebSocket's opening handshake, with the same deadline. Until it is complete, what
/// is written is kept, up to 64 KiB.
///
/// A server accepts over it:
///
/// ```no_run
/// use std::sync::Arc;
/// use motews_std::rustls::ServerConfig;
/// use motews_std::tls::TlsStream;
///
/// fn serve(listener: std::net::TcpListener, config: Arc<ServerConfig>)
///     -> Result<(), Box<dyn std::error::Error>>
/// {
///     let (socket, _) = listener.accept()?;
///     let mut ws = motews_std::accept(TlsStream::server(socket, config.clone())?)?;
///     ws.send("Hello")?;
///     Ok(())
/// }
/// ```
///
/// That the peer ends the stream without TLS's own `close_notify` is taken for the end, and no
/// more: a WebSocket's closing handshake shows whether anything was cut off.
#[derive(Debug)]
pub struct TlsStream<S> {
    socket: S,
    tls: Arc<Mutex<Tls>>,
    /// What was read from the socket.
    input: Vec<u8>,
    start: usize,
}

/// What the owner and the senders share. Nothing waits while it holds the lock: the socket is
/// written without waiting, and read by its owner alone, outside of the lock.
#[derive(Debug)]
struct Tls {
    connection: Connection,
    /// Records that are not written yet.
    out: Vec<u8>,
    /// Plain text that can be read.
    readable: bool,
    /// The peer's half has ended.
    ended: bool,
}

impl<S: Transport> TlsStream<S> {
    /// TLS over `socket`, with a `connection` that was made already, in the role that it has:
    /// after rustls's `Acceptor` has chosen the configuration, for example.
    pub fn new(socket: S, connection: Connection) -> Self {
        let tls = Tls {
            connection,
            out: Vec::new(),
            readable: false,
            ended: false,
        };
        Self {
            socket,
            tls: Arc::new(Mutex::new(tls)),
            input: Vec::new(),
            start: 0,
        }
    }

    /// TLS over `socket`, as a client of the server called `name`.
    ///
    /// # Errors
    /// [`ConnectError::Url`] if `name` is no name and no address, [`ConnectError::Tls`] if the
    /// configuration cannot be used.
    pub fn client(socket: S, config: Arc<ClientConfig>, name: &str) -> Result<Self, ConnectError> {
        let connection = client_connection(config, server_name(name)?)?;
        Ok(Self::new(socket, connection.into()))
    }

    /// TLS over `socket`, as a server.
    ///
    /// # Errors
    /// If the configuration cannot be used.
    pub fn server(socket: S, config: Arc<rustls::ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self::new(socket, ServerConnection::new(config)?.into()))
    }
}

impl<S> TlsStream<S> {
    /// The stream below: for its addresses and options.
    pub const fn socket(&self) -> &S {
        &self.socket
    }

    fn lock(&self) -> MutexGuard<'_, Tls> {
        lock(&self.tls)
    }
}

fn lock(tls: &Mutex<Tls>) -> MutexGuard<'_, Tls> {
    tls.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tls {
    /// Encrypts a part of `parts`, if all that was encrypted before has left.
    fn write(
        &mut self,
        parts: &[IoSlice<'_>],
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.flush(&mut write)?;
        let taken = self.connection.writer().write_vectored(parts)?;
        if taken == 0 && parts.iter().any(|part| !part.is_empty()) {
            // Nothing is encrypted before the handshake is done.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match self.flush(&mut write) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(taken),
            Err(error) => Err(error),
            Ok(()) => Ok(taken),
        }
    }

    /// Writes what is encrypted. `WouldBlock`: some is left.
    fn flush(&mut self, write: &mut impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        loop {
            if self.out.is_empty() {
                while self.connection.wants_write() {
                    self.connection.write_tls(&mut self.out)?;
                }
            }
            if self.out.is_empty() {
                return Ok(());
            }
            let mut written = 0;
            let result = loop {
                match write(&self.out[written..]) {
                    Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                    Ok(len) => written += len,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => break Err(error),
                }
                if written == self.out.len() {
                    break Ok(());
                }
            };
            self.out.drain(..written);
            result?;
        }
    }

    /// Decrypts a part of `input`, and returns how much it took.
    fn receive(&mut self, mut input: &[u8]) -> io::Result<usize> {
        let len = input.len();
        while !input.is_empty() && self.connection.wants_read() {
            if self.connection.read_tls(&mut input)? == 0 {
                break;
            }
            let state = self
                .connection
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            self.readable = state.plaintext_bytes_to_read() > 0;
            self.ended |= state.peer_has_closed();
        }
        if self.ended {
            return Ok(len);
        }
        Ok(len - input.len())
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.connection.reader().read(buf);
        match read {
            Ok(len) if len < buf.len() => self.readable = false,
            Ok(_) => {}
            Err(_) => self.readable = false,
        }
        match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.ended => Ok(0),
            read => read,
        }
    }
}

impl<S: Transport> TlsStream<S> {
    /// Reads plain text, and reads the socket with `read` if there is none. `Interrupted`: there is
    /// still none. So a peer that sends records without content keeps nobody for longer than one read
    /// of the socket takes.
    fn read_with(
        &mut self,
        buf: &mut [u8],
        mut read: impl FnMut(&mut S, &mut [u8]) -> io::Result<usize>,
        mut write: impl FnMut(&mut S, &[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let mut has_read = false;
        loop {
            let mut tls = lock(&self.tls);
            let taken = tls.receive(&self.input[self.start..]);
            // The handshake's next messages, or the alert that says what is wrong.
            let flushed = tls.flush(&mut |bytes: &[u8]| write(&mut self.socket, bytes));
            self.start += taken?;
            match tls.read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            let handshaking = tls.connection.is_handshaking();
            drop(tls);
            match flushed {
                // Only the handshake cannot go on without it.
                Err(error) if handshaking => return Err(error),
                _ => {}
            }
            if self.start < self.input.len() {
                continue;
            }
            if has_read && !handshaking {
                return Err(io::ErrorKind::Interrupted.into());
            }
            has_read = true;
            self.start = 0;
            self.input.resize(READ_LEN, 0);
            match read(&mut self.socket, &mut self.input) {
                Ok(len) => {
                    self.input.truncate(len);
                    if len == 0 {
                        let mut tls = self.lock();
                        tls.ended = true;
                        if handshaking {
                            let message = match &tls.connection {
                                Connection::Client(_) => {
                                    "the server left in the TLS handshake: is it ws:// for wss://?"
                                }
                                Connection::Server(_) => "the client left in the TLS handshake",
                            };
                            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
                        }
                    }
                }
                Err(error) => {
                    self.input.clear();
                    return Err(error);
                }
            }
        }
    }
}

impl<S: Transport> Read for TlsStream<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_with(buf, S::read, S::write)
    }
}

impl<S: Transport> Write for TlsStream<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let socket = &mut self.socket;
        lock(&self.tls).write(&[IoSlice::new(buf)], |bytes| socket.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        let socket = &mut self.socket;
        lock(&self.tls).flush(&mut |bytes: &[u8]| socket.write(bytes))?;
        self.socket.flush()
    }
}

impl<S: Transport> Transport for TlsStream<S> {
    fn prepare(&mut self) -> io::Result<()> {
        self.socket.prepare()
    }

    fn can_wait(&self) -> bool {
        self.socket.can_wait()
    }

    fn wait(&self, interest: Interest<'_>, timeout: Option<Duration>) -> io::Result<Ready> {
        let mut asked = interest;
        let tls = self.lock();
        if interest.read && (tls.readable || tls.ended || self.start < self.input.len()) {
            return Ok(Ready {
                read: true,
                write: false,
            });
        }
        let handshaking = tls.connection.is_handshaking();
        if handshaking {
            // To write needs what is to be read, and the other way round.
            asked.read = true;
            asked.write = !tls.out.is_empty();
        }
        drop(tls);
        let ready = self.socket.wait(asked, timeout)?;
        Ok(Ready {
            read: interest.read && (ready.read || handshaking && ready.write),
            write: interest.write && (ready.write || handshaking && ready.read),
        })
    }

    fn read_now(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_with(buf, S::read_now, |socket, bytes| {
            socket.write_now(&[IoSlice::new(bytes)])
        })
    }

    fn write_now(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let socket = &mut self.socket;
        lock(&self.tls).write(parts, |bytes| socket.write_now(&[IoSlice::new(bytes)]))
    }

    fn flush_now(&mut self) -> io::Result<()> {
        let socket = &mut self.socket;
        lock(&self.tls).flush(&mut |bytes: &[u8]| socket.write_now(&[IoSlice::new(bytes)]))?;
        self.socket.flush_now()
    }

    fn held(&self) -> usize {
        self.lock().out.len()
    }

    fn shutdown(&mut self) -> io::Result<()> {
        lock(&self.tls).connection.send_close_notify();
        match self.flush_now() {
            // Without it, the peer would take the end for a cut.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            flushed => self.socket.shutdown().and(flushed),
        }
    }

    fn shutdown_now(&mut self) -> io::Result<()> {
        lock(&self.tls).connection.send_close_notify();
        let flushed = self.flush_now();
        self.socket.shutdown_now().and(flushed)
    }
}

impl<S: Share> Share for TlsStream<S> {
    fn share(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.share()?,
            tls: self.tls.clone(),
            input: Vec::new(),
            start: 0,
        })
    }

    fn write_shared(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let write = |bytes: &[u8]| self.socket.write_shared(&[IoSlice::new(bytes)]);
        self.lock().write(parts, write)
    }

    fn flush_shared(&self) -> io::Result<()> {
        let mut write = |bytes: &[u8]| self.socket.write_shared(&[IoSlice::new(bytes)]);
        self.lock().flush(&mut write)?;
        self.socket.flush_shared()
    }
}

pub(crate) fn server_name(name: &str) -> Result<ServerName<'static>, ConnectError> {
    let name = ServerName::try_from(name.to_owned());
    Ok(name.map_err(|_| UrlError::Host)?)
}

pub(crate) fn client_connection(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Result<ClientConnection, ConnectError> {
    ClientConnection::new(config, name).map_err(ConnectError::Tls)
}

/// Returns a configuration that trusts the roots of the features that are on: one for the whole process,
/// so sessions are resumed. The roots are loaded with the first call.
///
/// # Errors
/// [`ConnectError::Tls`] if there are none. The next call tries again.
pub fn default_config() -> Result<Arc<ClientConfig>, ConnectError> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    #[cfg_attr(
        not(any(feature = "webpki-roots", feature = "native-roots")),
        expect(unused_mut, reason = "the features add roots")
    )]
    let mut roots = RootCertStore::empty();
    #[cfg(feature = "webpki-roots")]
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    #[cfg(feature = "native-roots")]
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = config_with_roots(roots)?;
    Ok(CONFIG.get_or_init(|| config).clone())
}

/// A configuration that trusts `roots`, and no others.
///
/// ```no_run
/// use motews_std::rustls::RootCertStore;
/// use motews_std::rustls::pki_types::{CertificateDer, pem::PemObject};
/// use motews_std::{Connector, tls};
///
/// let mut roots = RootCertStore::empty();
/// for certificate in CertificateDer::pem_file_iter("our-authority.pem")? {
///     roots.add(certificate?)?;
/// }
/// let connector = Connector::new().tls(tls::config_with_roots(roots)?);
/// let mut ws = connector.connect("wss://intern.example/")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ConnectError::Tls`] if there are no roots: a file with a key has none, for example.
pub fn config_with_roots(roots: RootCertStore) -> Result<Arc<ClientConfig>, ConnectError> {
    if roots.is_empty() {
        let message = "there are no roots to trust: the file that was read holds no certificate, \
            or neither of the features `webpki-roots` and `native-roots` is on";
        return Err(ConnectError::Tls(rustls::Error::General(message.into())));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ConnectError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
