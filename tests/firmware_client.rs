//! The firmware that stays connected, in QEMU on a network of its own: dnsmasq gives it an address and
//! knows its server's name, and one thing after the other is taken away.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs, thread};

use motews_tests::firmware::{self, Board, CLIENT, EMBASSY_CLIENT, Qmp};
use motews_tests::namespace::{HOST, Namespace};
use motews_tests::{Process, find_program, wait_until};
use rustix::net::sockopt::set_socket_linger;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::http::StatusCode;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

/// How long anything may take. QEMU's clock runs slow on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// Bytes of the stack that an interrupt takes at most.
const INTERRUPT: u32 = 256;

/// What the server does with whoever comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serves {
    Accepts,
    /// With this status, and this `Retry-After`.
    Refuses(u16, Option<&'static str>),
    /// Closes each connection when it has got a message.
    Closes(u16),
    /// Nobody listens, and who is connected is reset.
    Absent,
}

#[derive(Debug)]
struct State {
    serves: Serves,
    connections: u32,
    got: Vec<String>,
    is_over: bool,
}

/// The server, in a thread that is in the namespace.
struct Server(Arc<Mutex<State>>);

impl Server {
    fn start(namespace: &Arc<Namespace>) -> Self {
        let state = Arc::new(Mutex::new(State {
            serves: Serves::Accepts,
            connections: 0,
            got: Vec::new(),
            is_over: false,
        }));
        let shared = state.clone();
        let namespace = namespace.clone();
        thread::spawn(move || {
            namespace.enter_thread();
            serve(&shared);
        });
        Self(state)
    }

    fn set(&self, serves: Serves) {
        self.0.lock().expect("no panic").serves = serves;
    }

    fn got(&self) -> Vec<String> {
        self.0.lock().expect("no panic").got.clone()
    }

    fn connections(&self) -> u32 {
        self.0.lock().expect("no panic").connections
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(mut state) = self.0.lock() {
            state.is_over = true;
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
    let mut open: Vec<WebSocket<TcpStream>> = Vec::new();
    loop {
        let (serves, is_over) = {
            let state = shared.lock().expect("no panic");
            (state.serves, state.is_over)
        };
        if is_over {
            return;
        }
        if serves == Serves::Absent {
            listener = None;
            for socket in open.drain(..) {
                // So it is a reset.
                _ = set_socket_linger(socket.get_ref(), Some(Duration::ZERO));
            }
        } else if listener.is_none() {
            listener = Some(listen());
        }
        if let Some(Ok((stream, _))) = listener.as_ref().map(TcpListener::accept)
            && let Some(socket) = accept(stream, serves)
        {
            shared.lock().expect("no panic").connections += 1;
            open.push(socket);
        }
        open.retain_mut(|socket| match socket.read() {
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
            Err(tungstenite::Error::Io(error)) => error.kind() == std::io::ErrorKind::WouldBlock,
            Err(_) => false,
        });
        thread::sleep(Duration::from_millis(2));
    }
}

fn accept(stream: TcpStream, serves: Serves) -> Option<WebSocket<TcpStream>> {
    stream.set_nonblocking(false).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(3))).ok()?;
    #[expect(clippy::result_large_err, reason = "that is its signature")]
    let answer = |_: &Request, response: Response| {
        let Serves::Refuses(status, retry_after) = serves else {
            return Ok(response);
        };
        let mut refusal = ErrorResponse::new(None);
        *refusal.status_mut() = StatusCode::from_u16(status).expect("a status");
        if let Some(seconds) = retry_after {
            let seconds = seconds.parse().expect("a header");
            refusal.headers_mut().insert("Retry-After", seconds);
        }
        Err(refusal)
    };
    let socket = tungstenite::accept_hdr(stream, answer).ok()?;
    socket.get_ref().set_nonblocking(true).ok()?;
    Some(socket)
}

/// DHCP and DNS: the board gets the address that ends with this number.
fn dnsmasq(namespace: &Namespace, folder: &Path, last: u8) -> Process {
    let program = find_program("dnsmasq").unwrap_or_else(|| PathBuf::from("/usr/sbin/dnsmasq"));
    let address = Ipv4Addr::new(10, 9, 0, last);
    let mut command = namespace.command(program);
    command
        .args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-hosts",
            "--no-resolv",
        ])
        .args([
            "--interface=tap0",
            "--bind-interfaces",
            "--user=root",
            "--pid-file",
        ])
        .args(["--dhcp-authoritative", "--log-dhcp", "--log-facility=-"])
        .arg(format!(
            "--dhcp-range={address},{address},255.255.255.0,120"
        ))
        .arg(format!(
            "--dhcp-leasefile={}",
            folder.join("leases").display()
        ))
        .arg(format!("--address=/server.example/{HOST}"))
        .arg(format!("--address=/time.example/{HOST}"));
    Process::start("dnsmasq", &mut command, folder)
}

/// The board, its network and its server.
struct Rig {
    folder: PathBuf,
    namespace: Arc<Namespace>,
    server: Server,
    names: Option<Process>,
    qmp: Qmp,
    _board: Process,
    /// How much of the log was looked at.
    seen: usize,
}

impl Rig {
    fn start(name: &str, image: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("firmware")
            .join(name);
        fs::create_dir_all(&folder).expect("the build folder is writable");
        _ = fs::remove_file(folder.join("leases"));
        let namespace = Arc::new(Namespace::with_tap(name));
        let server = Server::start(&namespace);
        let names = Some(dnsmasq(&namespace, &folder, 100));
        let (board, qmp) = firmware::boot_on_tap(Board::CortexM3, image, &folder, &namespace);
        Self {
            folder,
            namespace,
            server,
            names,
            qmp,
            _board: board,
            seen: 0,
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("board.txt")).unwrap_or_default()
    }

    /// Waits for a line with this text in what is new in the log, and returns it.
    fn expect(&mut self, text: &str) -> String {
        let mut found = None;
        let is_there = wait_until(LIMIT, || {
            let log = self.log();
            let new = log.get(self.seen..).unwrap_or_default();
            found = new.find(text).map(|at| {
                let end = new[at..].find('\n').map_or(new.len(), |end| at + end + 1);
                let begin = new[..at].rfind('\n').map_or(0, |begin| begin + 1);
                (self.seen + end, new[begin..end].to_owned())
            });
            found.is_some()
        });
        let log = self.log();
        assert!(
            is_there,
            "no {text:?}:\n{}",
            log.get(self.seen..).unwrap_or_default()
        );
        let (seen, line) = found.expect("it was found");
        self.seen = seen;
        print!("{line}");
        line
    }

    /// The network gives it another address.
    fn changes_its_address(&mut self) {
        println!("--- another address");
        self.names = None;
        _ = fs::remove_file(self.folder.join("leases"));
        self.names = Some(dnsmasq(&self.namespace, &self.folder, 101));
        self.expect("the address is [10, 9, 0, 101]");
        self.is_usable();
    }

    /// A connection is open, and a new reading gets through.
    fn is_usable(&mut self) {
        self.expect("connection ");
        let count = self.server.got().len();
        let through = wait_until(LIMIT, || {
            let got = self.server.got();
            got.iter()
                .skip(count)
                .any(|text| text.starts_with("reading"))
        });
        assert!(through, "no reading gets through");
    }
}

#[test]
#[ignore = "needs root, QEMU, defmt-print and dnsmasq: bash .ci/install"]
fn client_comes_back_from_whatever_is_taken_away() {
    let mut rig = Rig::start("client", CLIENT);
    rig.expect("the address is [10, 9, 0, 100]");
    rig.is_usable();
    assert_eq!(rig.server.got()[0], "this is the board");

    println!("--- the cable, for a second");
    let connections = rig.server.connections();
    rig.qmp.set_link(false);
    thread::sleep(Duration::from_secs(1));
    rig.qmp.set_link(true);
    let count = rig.server.got().len();
    assert!(wait_until(LIMIT, || rig.server.got().len() > count + 2));
    assert_eq!(
        rig.server.connections(),
        connections,
        "the connection lives on"
    );

    println!("--- the cable, until the board has noticed");
    rig.qmp.set_link(false);
    rig.expect("TimedOut");
    rig.qmp.set_link(true);
    rig.is_usable();

    println!("--- 1012, 401, 503");
    rig.server.set(Serves::Closes(1012));
    rig.expect("1012");
    rig.server.set(Serves::Accepts);
    rig.is_usable();

    rig.server.set(Serves::Absent);
    rig.expect("it has ended: ");
    println!("--- nobody listens");
    rig.expect("Attempt(");
    rig.server.set(Serves::Refuses(401, None));
    rig.expect("Refused(401)");
    rig.server.set(Serves::Refuses(503, Some("4")));
    let since = Instant::now();
    rig.expect("Refused(503)");
    rig.server.set(Serves::Accepts);
    rig.is_usable();
    assert!(
        since.elapsed() >= Duration::from_secs(4),
        "it obeys Retry-After"
    );

    println!("--- no DNS");
    rig.names = None;
    rig.server.set(Serves::Closes(1001));
    rig.expect("1001");
    rig.server.set(Serves::Accepts);
    rig.expect("Unreachable");
    rig.names = Some(dnsmasq(&rig.namespace, &rig.folder, 100));
    rig.is_usable();

    rig.changes_its_address();
    judge(&rig);
}

#[test]
#[ignore = "needs root, QEMU, defmt-print and dnsmasq: bash .ci/install"]
fn embassy_client_comes_back_and_knows_the_time() {
    let mut rig = Rig::start("embassy-client", EMBASSY_CLIENT);
    let namespace = rig.namespace.clone();
    let clock = thread::spawn(move || {
        namespace.enter_thread();
        tell_the_time();
    });
    let told = rig.expect("s since 1970");
    clock.join().expect("it was asked");
    let seconds = told
        .split(' ')
        .filter_map(|word| word.parse::<u64>().ok())
        .next_back();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    assert!(seconds.is_some_and(|seconds| now - seconds <= 5), "{told}");

    println!("--- the cable");
    rig.qmp.set_link(false);
    rig.expect("TimedOut");
    rig.qmp.set_link(true);
    rig.is_usable();
    println!("--- nobody listens, 401");
    rig.server.set(Serves::Absent);
    rig.expect("it has ended: ");
    rig.expect("Attempt(Unreachable)");
    rig.server.set(Serves::Refuses(401, None));
    rig.expect("Refused(401)");
    rig.server.set(Serves::Accepts);
    rig.is_usable();
    rig.changes_its_address();
    judge(&rig);
}

/// Answers one question for the time (RFC 4330).
fn tell_the_time() {
    let socket = UdpSocket::bind((HOST, 123)).expect("root may");
    socket.set_read_timeout(Some(LIMIT)).expect("it can be");
    let mut packet = [0; 48];
    let (_, asker) = socket.recv_from(&mut packet).expect("the board asks");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    // Seconds since 1900, and a fraction.
    let seconds = (now.as_secs() + 2_208_988_800) as u32;
    let mut answer = [0; 48];
    answer[0] = 0b00_100_100; // no leap second, version 4, a server
    answer[1] = 1; // with a clock of its own
    answer[24..32].copy_from_slice(&packet[40..48]);
    for at in [16, 32, 40] {
        answer[at..at + 4].copy_from_slice(&seconds.to_be_bytes());
    }
    socket.send_to(&answer, asker).expect("it is sent");
}

#[test]
#[ignore = "needs root, QEMU, defmt-print and dnsmasq: bash .ci/install"]
fn client_that_is_sent_away_again_and_again_takes_no_more_memory() {
    sent_away(CLIENT);
}

#[test]
#[ignore = "needs root, QEMU, defmt-print and dnsmasq: bash .ci/install"]
fn embassy_client_that_is_sent_away_again_and_again_takes_no_more_memory() {
    sent_away(EMBASSY_CLIENT);
}

fn sent_away(image: &str) {
    let count = env::var("MOTEWS_RECONNECTS")
        .ok()
        .and_then(|count| count.parse().ok());
    let count: u32 = count.unwrap_or(40);
    let mut rig = Rig::start(&format!("again-{image}"), image);
    rig.server.set(Serves::Closes(1001));
    rig.expect("connection 10;");
    let early = depth(&rig.log());
    let since = Instant::now();
    let open = wait_until(LIMIT * (1 + count / 20), || {
        rig.log().contains(&format!("connection {count};"))
    });
    assert!(open, "{}", rig.log());
    println!(
        "{count} connections, those after the tenth in {:.1?}",
        since.elapsed()
    );
    rig.server.set(Serves::Accepts);
    let late = depth(&rig.log());
    println!("the stack at its deepest: {early} bytes after 10, {late} after {count}");
    // Sooner or later the clock's interrupt comes at the deepest place.
    assert!(late <= early + INTERRUPT, "the stack has grown");
    rig.is_usable();
    judge(&rig);
}

/// The deepest stack that the board has told of.
fn depth(log: &str) -> u32 {
    let told = log.lines().filter_map(|line| line.split_once("deepest: "));
    told.filter_map(|(_, rest)| rest.split(' ').next()?.parse().ok())
        .max()
        .expect("it is told")
}

/// No reading came twice; those that did not come are counted as in doubt or as dropped.
fn judge(rig: &Rig) {
    let got = rig.server.got();
    let readings: Vec<u32> = got
        .iter()
        .filter_map(|text| text.strip_prefix("reading ")?.parse().ok())
        .collect();
    let different: BTreeSet<_> = readings.iter().copied().collect();
    assert_eq!(different.len(), readings.len(), "some came twice");
    let last = different.last().copied().expect("some came");
    let lost = last as usize - readings.len();
    let log = rig.log();
    let number = |text: &str, before: &str| -> usize {
        let rest = text.split_once(before).map_or("", |(_, rest)| rest);
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    };
    let mut ends = log.lines().filter(|line| line.contains("it has ended"));
    let in_doubt: usize = ends.clone().map(|line| number(line, "unconfirmed: ")).sum();
    let dropped = ends.next_back().map_or(0, |line| number(line, "; "));
    println!("{last} readings: {lost} did not come, {in_doubt} were in doubt, {dropped} dropped");
    assert!(lost <= in_doubt + dropped, "some are lost silently");
}
