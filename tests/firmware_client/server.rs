//! The server that the board calls, which does what the test says, over TCP or over TLS.

use core::time::Duration;
use std::io::{ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use motews_tests::namespace::{HOST, Namespace};
use rustix::net::sockopt::set_socket_linger;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::http::StatusCode;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

/// What the server does with whoever comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serves {
    Accepts,
    /// With this status, and this `Retry-After`.
    Refuses(u16, Option<&'static str>),
    /// Closes each connection when it has got a message.
    Closes(u16),
    /// Nobody listens, and who is connected is reset.
    Absent,
    /// Reads the first bytes, and says nothing.
    Holds,
}

#[derive(Debug)]
struct State {
    serves: Serves,
    /// The certificate to show, if it is over TLS.
    tls: Option<Arc<ServerConfig>>,
    /// What `Authorization` has to be, if it matters.
    key: Option<&'static str>,
    connections: u32,
    held: u32,
    got: Vec<String>,
    /// For all that are connected.
    says: Option<&'static str>,
    is_over: bool,
}

/// The server, in a thread that is in the namespace.
pub(crate) struct Server(Arc<Mutex<State>>);

impl Server {
    pub(crate) fn start(namespace: &Namespace, tls: Option<Arc<ServerConfig>>) -> Self {
        let state = Arc::new(Mutex::new(State {
            serves: Serves::Accepts,
            tls,
            key: None,
            connections: 0,
            held: 0,
            got: Vec::new(),
            says: None,
            is_over: false,
        }));
        let shared = state.clone();
        // What a thread spawns is where the thread is.
        _ = namespace.within(|| thread::spawn(move || serve(&shared)));
        Self(state)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic")
    }

    pub(crate) fn set(&self, serves: Serves) {
        self.state().serves = serves;
    }

    /// Who comes from now on gets to see this certificate.
    pub(crate) fn set_tls(&self, config: &Arc<ServerConfig>) {
        self.state().tls = Some(config.clone());
    }

    /// From now on who shows another one gets a 401.
    pub(crate) fn set_key(&self, key: &'static str) {
        self.state().key = Some(key);
    }

    /// Says this to whoever is connected.
    pub(crate) fn say(&self, text: &'static str) {
        self.state().says = Some(text);
    }

    pub(crate) fn got(&self) -> Vec<String> {
        self.state().got.clone()
    }

    pub(crate) fn connections(&self) -> u32 {
        self.state().connections
    }

    /// How many have come that it held.
    pub(crate) fn held(&self) -> u32 {
        self.state().held
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(mut state) = self.0.lock() {
            state.is_over = true;
        }
    }
}

/// TCP, with TLS or without.
enum Line {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Line {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref(),
        }
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

fn serve(shared: &Mutex<State>) {
    let listen = || {
        let listener = TcpListener::bind((HOST, 9001)).expect("the address is there");
        listener.set_nonblocking(true).expect("it can be");
        listener
    };
    let mut listener = Some(listen());
    let mut open: Vec<WebSocket<Line>> = Vec::new();
    let mut held = Vec::new();
    loop {
        let (serves, says, is_over) = {
            let mut state = shared.lock().expect("no panic");
            (state.serves, state.says.take(), state.is_over)
        };
        if is_over {
            return;
        }
        if serves == Serves::Absent {
            listener = None;
            for socket in open.drain(..) {
                // So it is a reset.
                _ = set_socket_linger(socket.get_ref().tcp(), Some(Duration::ZERO));
            }
        } else if listener.is_none() {
            listener = Some(listen());
        }
        match listener.as_ref().map(TcpListener::accept) {
            Some(Ok((mut stream, _))) if serves == Serves::Holds => {
                stream.set_nonblocking(false).expect("it can be");
                if matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
                    shared.lock().expect("no panic").held += 1;
                }
                held.push(stream);
            }
            Some(Ok((stream, _))) => {
                if let Some(socket) = accept(stream, shared) {
                    shared.lock().expect("no panic").connections += 1;
                    open.push(socket);
                }
            }
            _ => {}
        }
        open.retain_mut(|socket| {
            if let Some(text) = says {
                _ = socket.send(Message::text(text));
            }
            match socket.read() {
                Ok(Message::Text(text)) => {
                    shared.lock().expect("no panic").got.push(text.to_string());
                    if let Serves::Closes(code) = serves {
                        let code = CloseCode::from(code);
                        let reason = "".into();
                        _ = socket.close(Some(CloseFrame { code, reason }));
                        _ = socket.flush();
                    }
                    true
                }
                Ok(_) => true,
                Err(tungstenite::Error::Io(error)) => error.kind() == ErrorKind::WouldBlock,
                Err(_) => false,
            }
        });
        thread::sleep(Duration::from_millis(2));
    }
}

fn accept(stream: TcpStream, shared: &Mutex<State>) -> Option<WebSocket<Line>> {
    let (serves, tls, key) = {
        let state = shared.lock().expect("no panic");
        (state.serves, state.tls.clone(), state.key)
    };
    stream.set_nonblocking(false).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(3))).ok()?;
    let line = match tls {
        Some(config) => {
            let connection = ServerConnection::new(config).expect("it is right");
            Line::Tls(Box::new(StreamOwned::new(connection, stream)))
        }
        None => Line::Tcp(stream),
    };
    #[expect(clippy::result_large_err, reason = "that is its signature")]
    let answer = |request: &Request, response: Response| {
        let shown = request.headers().get("Authorization");
        let (status, retry_after) = match serves {
            Serves::Refuses(status, retry_after) => (status, retry_after),
            _ if key.is_none_or(|key| shown.is_some_and(|shown| shown == key)) => {
                return Ok(response);
            }
            _ => (401, None),
        };
        let mut refusal = ErrorResponse::new(None);
        *refusal.status_mut() = StatusCode::from_u16(status).expect("a status");
        if let Some(seconds) = retry_after {
            let seconds = seconds.parse().expect("a header");
            refusal.headers_mut().insert("Retry-After", seconds);
        }
        Err(refusal)
    };
    let socket = tungstenite::accept_hdr(line, answer).ok()?;
    socket.get_ref().tcp().set_nonblocking(true).ok()?;
    Some(socket)
}
