//! The chat on axum, over TLS: a browser has its page and its WebSocket on one connection by HTTP/2.
//!
//! The messages are those of `motews_examples::talk`. What is said is one message for all in a room, which
//! its members share; a member who does not read is closed, and holds nobody up.

use core::net::SocketAddr;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, Version, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use clap::Parser;
use motews_examples::site;
use motews_examples::talk::{self, Asked, MAX_ROOMS, Member, Pace, RoomTold, Said, Told};
use motews_tokio::rustls::ServerConfig;
use motews_tokio::rustls::pki_types::pem::PemObject;
use motews_tokio::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use motews_tokio::{
    Acceptor, CloseCode, DEFAULT_LIMITS, DeflateConfig, Limits, Message, Sender, Timeouts,
    TrySendError, UpgradedStream, WebSocketStream, WebSocketUpgrade,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What a browser gets.
const PAGE: &str = include_str!("web/chat.html");

/// Handshakes of TLS that may be waiting for axum.
const MAX_HANDSHAKES: usize = 64;

type Failure = Box<dyn core::error::Error + Send + Sync>;

/// A chat server for browsers: https, and wss over HTTP/2 or HTTP/1.1.
#[derive(Parser)]
#[command(name = "tokio_chat")]
struct Options {
    /// Where to listen, as HOST:PORT. Port 0 is any port that is free.
    #[arg(default_value = "127.0.0.1:9001")]
    address: String,

    /// A file with the certificate and those above it, in PEM. Without one, it makes itself one for
    /// localhost, which browsers warn of.
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,

    /// A file with the key, in PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,

    /// Ask whoever is silent for so long with a ping, in seconds. Who does not answer within half
    /// of it has vanished.
    #[arg(long, value_name = "SECONDS", default_value_t = 20,
          value_parser = clap::value_parser!(u16).range(1..=3600))]
    ping: u16,

    /// Compress messages for those who can inflate them. Each of them takes 62 KB more.
    #[arg(short = 'z', long)]
    deflate: bool,
}

// ---- the house ----

/// Someone in a room, and where to send to.
struct Seat {
    name: String,
    sender: Sender<UpgradedStream>,
}

/// A room, while someone is in it.
#[derive(Default)]
struct Room {
    members: BTreeMap<u64, Seat>,
    history: VecDeque<Said>,
}

impl Room {
    fn tell(&self, told: &Told<'_>) {
        let message = Message::from(told.json());
        for seat in self.members.values() {
            seat.send(message.clone());
        }
    }
}

impl Seat {
    /// Sends without waiting, so that nobody waits for one who does not read.
    fn send(&self, message: Message) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(message) {
            // It may be closing already; its own task notices the end.
            let _ = self.sender.close(CloseCode::TRY_AGAIN_LATER, "");
        }
    }
}

#[derive(Default)]
struct House {
    rooms: BTreeMap<String, Room>,
    last_id: u64,
}

impl House {
    /// Takes a seat, and returns its number.
    fn join(
        &mut self,
        room: &str,
        name: &str,
        sender: &Sender<UpgradedStream>,
    ) -> Result<u64, &'static str> {
        if !self.rooms.contains_key(room) && self.rooms.len() >= MAX_ROOMS {
            return Err(talk::TOO_MANY_ROOMS);
        }
        self.last_id += 1;
        let id = self.last_id;
        let there = self.rooms.entry(room.to_owned()).or_default();
        let name = talk::free_name(name, |name| {
            there.members.values().all(|seat| seat.name != name)
        });
        there.tell(&Told::Came { id, name: &name });
        let seat = Seat {
            name: name.clone(),
            sender: sender.clone(),
        };
        let members = there.members.iter().map(|(&id, seat)| (id, &seat.name));
        let members = members.chain([(id, &name)]);
        let joined = Told::Joined {
            id,
            name: &name,
            room,
            members: members.map(|(id, name)| Member { id, name }).collect(),
            history: &there.history,
        };
        seat.send(joined.json().into());
        there.members.insert(id, seat);
        self.tell_rooms();
        Ok(id)
    }

    fn say(&mut self, room: &str, id: u64, text: String, key: String) -> Result<(), &'static str> {
        if !talk::is_said(&text, &key) {
            return Err(talk::NO_TEXT);
        }
        let room = self.rooms.get_mut(room).ok_or(talk::NO_ROOM)?;
        let name = room.members.get(&id).map(|seat| seat.name.clone());
        let said = Said {
            id,
            name: name.unwrap_or_default(),
            text,
            key,
            time: talk::now(),
        };
        room.tell(&Told::Said(&said));
        talk::remember(&mut room.history, said);
        Ok(())
    }

    fn leave(&mut self, room: &str, id: u64, why: &'static str) {
        if let Some(there) = self.rooms.get_mut(room)
            && let Some(seat) = there.members.remove(&id)
        {
            let name = &seat.name;
            there.tell(&Told::Left { id, name, why });
            if there.members.is_empty() {
                self.rooms.remove(room);
            }
            self.tell_rooms();
        }
    }

    fn tell_rooms(&self) {
        let rooms = self.rooms.iter().map(|(name, room)| RoomTold {
            name,
            members: room.members.len(),
        });
        let message = Message::from(Told::rooms(rooms).json());
        for seat in self.rooms.values().flat_map(|room| room.members.values()) {
            seat.send(message.clone());
        }
    }
}

// ---- one visitor ----

#[derive(Clone)]
struct Chat {
    acceptor: Acceptor,
    house: Arc<Mutex<House>>,
}

impl Chat {
    fn house(&self) -> MutexGuard<'_, House> {
        // Each change is whole before anything can panic.
        self.house.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self, ws: WebSocketStream<UpgradedStream>) {
        let (sender, mut receiver) = ws.split();
        let mut pace = Pace::default();
        let mut seat: Option<(String, u64)> = None;
        while let Ok(Some(message)) = receiver.recv().await {
            let asked = message.as_text().map(serde_json::from_str);
            let done = if !pace.has_earned() {
                Err(talk::TOO_FAST)
            } else if let Some(Ok(asked)) = asked {
                self.follow(asked, &mut seat, &sender)
            } else {
                Err(talk::UNKNOWN)
            };
            if let Err(why) = done
                && sender.send(Told::Refused { why }.json()).await.is_err()
            {
                break;
            }
        }
        if let Some((room, id)) = seat {
            let is_clean = sender.ended().is_some_and(|ended| ended.is_clean());
            let why = if is_clean { "closed" } else { "vanished" };
            self.house().leave(&room, id, why);
        }
    }

    fn follow(
        &self,
        asked: Asked,
        seat: &mut Option<(String, u64)>,
        sender: &Sender<UpgradedStream>,
    ) -> Result<(), &'static str> {
        match asked {
            Asked::Join { room, name } => {
                let (room, name) = (room.trim(), name.trim());
                if !talk::is_name(room) || !talk::is_name(name) {
                    return Err(talk::NO_NAME);
                }
                // As long as the house is locked nothing is said: what is remembered and what is
                // heard fit together.
                let mut house = self.house();
                if let Some((room, id)) = seat.take() {
                    house.leave(&room, id, "closed");
                }
                let id = house.join(room, name, sender)?;
                *seat = Some((room.to_owned(), id));
                Ok(())
            }
            Asked::Say { text, key } => {
                let (room, id) = seat.as_ref().ok_or(talk::NO_ROOM)?;
                self.house().say(room, *id, text, key)
            }
            Asked::Traffic => Err("This server does not count."),
        }
    }
}

// ---- HTTP ----

async fn upgrade(
    State(chat): State<Chat>,
    version: Version,
    uri: Uri,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // HTTP/2 has the host in the URI.
    let host = uri.authority().map(|authority| authority.as_str());
    if !site::is_own(header(header::ORIGIN), host.or(header(header::HOST))) {
        return (StatusCode::FORBIDDEN, "Not for pages of other sites\n").into_response();
    }
    eprintln!("a WebSocket over {version:?}");
    let upgrade = upgrade.acceptor(&chat.acceptor.clone());
    upgrade.on_upgrade(move |ws| chat.serve(ws))
}

async fn page(uri: Uri) -> Response {
    match site::file(uri.path(), PAGE) {
        Some((kind, body)) => {
            let headers = [
                (header::CONTENT_TYPE, kind),
                (header::CACHE_CONTROL, "no-store"),
            ];
            (headers, Body::from(body)).into_response()
        }
        None => (StatusCode::NOT_FOUND, "The page is at /\n").into_response(),
    }
}

/// Shakes hands with many clients at a time: axum waits for none of them.
struct Tls {
    address: SocketAddr,
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl Tls {
    fn new(listener: TcpListener, config: ServerConfig) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(MAX_HANDSHAKES);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            loop {
                // It says what goes wrong, and waits if there are no descriptors.
                let (stream, peer) = match listener.accept().await {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        eprintln!("{error}");
                        tokio::time::sleep(core::time::Duration::from_millis(100)).await;
                        continue;
                    }
                };
                let (sender, acceptor) = (sender.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let limit = core::time::Duration::from_secs(10);
                    let shaken = tokio::time::timeout(limit, acceptor.accept(stream)).await;
                    if let Ok(Ok(stream)) = shaken {
                        let _ = sender.send((stream, peer)).await;
                    }
                });
            }
        });
        Ok(Self { address, ready })
    }
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            None => core::future::pending().await, // The task above has no end.
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

fn certificate(options: &Options) -> Result<ServerConfig, Failure> {
    let (chain, key) = match (&options.certificate, &options.key) {
        (Some(certificate), Some(key)) => {
            let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
            (chain, PrivateKeyDer::from_pem_file(key)?)
        }
        _ => {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
            let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
            (vec![made.cert.der().clone()], key.into())
        }
    };
    let config = ServerConfig::builder().with_no_client_auth();
    let mut config = config.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

async fn run(options: &Options) -> Result<(), Failure> {
    let ping = u32::from(options.ping) * 1000;
    let mut acceptor = Acceptor::new()
        .limits(Limits {
            message: talk::MAX_MESSAGE_LEN,
            ..DEFAULT_LIMITS
        })
        .timeouts(Timeouts {
            keepalive: Some(ping),
            pong: Some(ping / 2),
            ..Timeouts::DEFAULT
        })
        .max_backlog(talk::MAX_BACKLOG);
    if options.deflate {
        acceptor = acceptor.deflate(DeflateConfig::DEFAULT);
    }
    let chat = Chat {
        acceptor,
        house: Arc::default(),
    };
    // By GET, or over HTTP/2 by CONNECT.
    let socket = axum::routing::any(upgrade);
    let router = Router::new()
        .route("/chat", socket)
        .fallback(get(page))
        .with_state(chat);
    let listener = TcpListener::bind(&options.address).await?;
    let tls = Tls::new(listener, certificate(options)?)?;
    println!("https://{}", tls.address);
    axum::serve(tls, router).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tokio_chat: {error}");
            ExitCode::FAILURE
        }
    }
}
