//! The client over TLS: the same, and what is TLS's own. What it does goes into a table of docs/device.md.

use core::time::Duration;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::{fs, thread};

use motews_testkit::authority::Authority;
use motews_testkit::outage::Table;
use motews_tests::firmware::{self, Board, Time, WSS_CLIENT};
use motews_tests::namespace::{HOST, Namespace};
use motews_tests::services::{Clock, SERVER, dnsmasq};
use motews_tests::wait_until;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::http::StatusCode;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use super::INTERRUPT;
use super::rig::{LIMIT, Rig, Tls, depth};
use super::server::Serves;

/// The server that the board looks for.
fn right(authority: &Authority) -> Arc<ServerConfig> {
    authority.server_until(SERVER, 2090)
}

/// What a line of the log says.
#[derive(Debug)]
struct Line {
    /// The board's clock, in milliseconds.
    at: i64,
    /// Why it has ended.
    reason: String,
    /// In how many milliseconds the next attempt is.
    retry_in: i64,
}

impl Line {
    fn parse(line: &str) -> Self {
        let within = |before: &str, after: &str| {
            let (_, rest) = line.split_once(before)?;
            Some(rest.split_once(after)?.0.to_owned())
        };
        let number = |before, after| -> Option<i64> { within(before, after)?.parse().ok() };
        let at = line.split(' ').next().map(|word| word.replace('.', ""));
        let seconds = number("retry_in: Some(Duration { secs: ", ",").unwrap_or(i64::MIN);
        let nanos = number("nanos: ", " ").unwrap_or_default();
        Self {
            at: at
                .and_then(|at| at.parse().ok())
                .expect("the time is first"),
            reason: within("reason: ", ", retry_in").unwrap_or_default(),
            retry_in: seconds.saturating_mul(1000) + nanos / 1_000_000,
        }
    }
}

/// A board that is connected, and the table of what it does.
struct Seen {
    rig: Rig,
    table: Table,
    /// The board's time when what is tried was done.
    since: i64,
}

impl Seen {
    /// Has the board note the time.
    fn begins(&mut self, what: &str) {
        println!("--- {what}");
        self.rig.server.say("now");
        self.since = Line::parse(&self.rig.expect("the server says: now")).at;
    }

    /// The server sends whoever is connected away. The next attempt is the one that is looked at.
    fn goes(&mut self, code: u16) {
        self.rig.server.set(Serves::Closes(code));
        let line = Line::parse(&self.rig.expect(&format!("CloseCode({code})")));
        self.since = line.at + line.retry_in;
    }

    /// The board reports this end, or the other: after so many seconds, and when it tries again. That goes
    /// into the table.
    fn ends(
        &mut self,
        what: &str,
        reason: &str,
        (least, most): (i64, i64),
        (soonest, latest): (i64, i64),
        note: &str,
    ) {
        let line = Line::parse(&self.rig.expect("it has ended: "));
        let is_one = reason.split(" or ").any(|reason| line.reason == reason);
        assert!(is_one, "{what}: {}", line.reason);
        let after = line.at - self.since;
        assert!((least..=most).contains(&after), "{what}: after {after} ms");
        let wait = line.retry_in;
        assert!((soonest..=latest).contains(&wait), "{what}: in {wait} ms");
        self.since = line.at + wait;
        let seconds = |millis: i64| millis as f64 / 1000.0;
        let after = match least {
            0 => format!("at most {} s", seconds(most)),
            _ => format!("{} to {} s", seconds(least), seconds(most)),
        };
        let reason = format!("`{}`", reason.replace(" or ", "` or `"));
        let separator = if note.is_empty() { "" } else { ": " };
        let next = format!(
            "after {} to {} s{separator}{note}",
            seconds(soonest),
            seconds(latest)
        );
        self.table.line(&[what, &reason, &after, &next]);
    }

    /// Whatever it was, the connection is the same, and a reading gets through.
    fn lives_on(&mut self, what: &str, note: &str) {
        self.rig.reports();
        let log = self.rig.log();
        assert!(!log.contains("it has ended"), "{what}: {log}");
        self.table
            .line(&[what, "nothing: the connection lives on", "", note]);
    }

    fn is_usable(&mut self) {
        self.rig.server.set(Serves::Accepts);
        self.rig.is_usable();
    }
}

/// The wait before an attempt, in milliseconds: the firmware's `BACKOFF`.
const SOON: (i64, i64) = (0, 500);
/// Nothing comes any more. Whichever is first: a pong is due, later if much was sent; or the lease of 10 s
/// expires.
const SILENCE: &str =
    "Connection(TimedOut(Pong), None) or Connection(Lost, Some(Io(ConnectionReset)))";

pub(crate) fn wss_client_comes_back() {
    let authority = Authority::new();
    let trusted = right(&authority);
    let tls = Tls {
        authority: authority.der(),
        server: trusted.clone(),
    };
    let rig = Rig::start("wss-client", WSS_CLIENT, Some(tls));
    let mut seen = Seen {
        rig,
        table: Table::default(),
        since: 0,
    };
    seen.is_usable();
    assert_eq!(seen.rig.server.got()[0], "this is the board");

    // The board's clock begins 12 s before.
    let passed = |seen: &Seen| seen.rig.server.got().contains(&"reading 14".to_owned());
    assert!(wait_until(LIMIT, || passed(&seen)));
    seen.lives_on("the clock passes 2^32 ms", "");

    seen.begins("the cable, for a second");
    seen.rig.qmp.set_link(false);
    thread::sleep(Duration::from_secs(1));
    seen.rig.qmp.set_link(true);
    seen.lives_on("the cable, for a second", "");

    let what = "the cable, in the midst of a session";
    seen.begins(what);
    seen.rig.qmp.set_link(false);
    seen.ends(what, SILENCE, (1_000, 12_000), SOON, "");
    seen.rig.qmp.set_link(true);
    seen.is_usable();

    let what = "the cable, in the midst of the handshake of TLS";
    seen.begins(what);
    seen.goes(1001);
    seen.rig.server.set(Serves::Holds);
    assert!(wait_until(LIMIT, || seen.rig.server.held() > 0));
    seen.rig.qmp.set_link(false);
    seen.rig.server.set(Serves::Accepts);
    // Whichever is first: the lease of 10 s expires, or the time for TLS.
    let reason = "Attempt(Ended(Lost)) or Attempt(Unreachable)";
    seen.ends(what, reason, (0, 14_000), SOON, "");
    seen.rig.qmp.set_link(true);
    seen.is_usable();

    let what = "the peer vanishes, the link is up";
    seen.begins(what);
    seen.rig.namespace.ip(&["link", "set", "tap0", "down"]);
    let reason = SILENCE;
    seen.ends(what, reason, (1_000, 12_000), SOON, "");
    seen.rig.namespace.ip(&["link", "set", "tap0", "up"]);
    seen.is_usable();

    let what = "the peer restarts: a reset";
    seen.begins(what);
    seen.rig.server.set(Serves::Absent);
    let reason = "Connection(Lost, Some(Io(ConnectionReset)))";
    seen.ends(what, reason, (0, 3_000), SOON, "");
    let what = "and nobody listens";
    seen.ends(what, "Attempt(Unreachable)", (0, 3_000), SOON, "");
    seen.is_usable();

    for (code, what) in [
        (1001, "Close with 1001, going away"),
        (1012, "Close with 1012, service restart"),
    ] {
        seen.begins(what);
        seen.rig.server.set(Serves::Closes(code));
        let reason = format!(
            "Connection(Closed {{ code: CloseCode({code}), by: Remote, clean: true }}, None)"
        );
        seen.ends(what, &reason, (0, 3_000), SOON, "");
        seen.is_usable();
    }

    let what = "DNS does not answer";
    seen.begins(what);
    seen.rig.names = None;
    seen.goes(1001);
    seen.ends(what, "Attempt(Unreachable)", (0, 14_000), SOON, "");
    seen.rig.names = Some(dnsmasq(&seen.rig.namespace, &seen.rig.folder, 100));
    seen.is_usable();

    let refusals = [
        (
            "another authority's certificate",
            right(&Authority::named("another")),
            "UnknownIssuer",
        ),
        (
            "a certificate for another name",
            authority.server_until("elsewhere.example", 2090),
            "WrongName",
        ),
        (
            "a certificate that has expired",
            authority.server_until(SERVER, 2026),
            "Expired",
        ),
    ];
    for (what, config, error) in refusals {
        seen.begins(what);
        seen.rig.server.set_tls(&config);
        seen.goes(1001);
        seen.rig.expect(&format!("TLS has ended: {error}"));
        let note = format!("and logs `{error}`");
        seen.ends(what, "Attempt(Tls)", (0, 3_000), SOON, &note);
        seen.rig.server.set_tls(&trusted);
        seen.is_usable();
    }

    let what = "503 with `Retry-After: 4`";
    seen.begins(what);
    seen.goes(1001);
    seen.rig.server.set(Serves::Refuses(503, Some("4")));
    let reason = "Attempt(Ended(Refused(503)))";
    seen.ends(what, reason, (0, 3_000), (4_000, 9_000), "");
    seen.is_usable();

    let what = "401: the server has changed over to the next key";
    seen.begins(what);
    seen.rig.server.set_key("Bearer the next key");
    seen.goes(1001);
    seen.rig.server.set(Serves::Accepts);
    let reason = "Attempt(Ended(Refused(401)))";
    seen.ends(
        what,
        reason,
        (0, 3_000),
        SOON,
        "but with the other key at once",
    );
    seen.is_usable();

    let what = "401, and 401 with the other key";
    seen.begins(what);
    seen.rig.server.set_key("another board's");
    seen.goes(1001);
    seen.rig.server.set(Serves::Accepts);
    seen.since = Line::parse(&seen.rig.expect(reason)).at;
    seen.ends(what, reason, (0, 3_000), SOON, "");
    seen.rig.server.set_key("Bearer the next key");
    seen.is_usable();

    let what = "the generator fails";
    let file = seen.rig.folder.join("no-random-numbers");
    seen.begins(what);
    fs::write(&file, "").expect("the folder is writable");
    seen.ends(what, "Connection(NoEntropy, None)", (0, 4_000), SOON, "");
    seen.ends(
        "before TLS",
        "Attempt(Ended(NoEntropy))",
        (0, 3_000),
        SOON,
        "",
    );
    fs::remove_file(&file).expect("it is there");
    seen.is_usable();

    let what = "another address by DHCP";
    seen.begins(what);
    seen.rig.gives_another_address();
    // Whichever is first: the old one is refused, or the new one is there.
    let reason = "Connection(Lost, None) or Connection(Lost, Some(Io(ConnectionReset)))";
    seen.ends(what, reason, (0, 14_000), SOON, "");
    seen.is_usable();
    let log = seen.rig.log();
    assert!(log.contains("the address is [10, 9, 0, 101]"), "{log}");

    seen.rig.judge();
    seen.table.check("firmware over TLS");
}

pub(crate) fn wss_client_judges_certificates_by_the_time_that_it_is_told() {
    let authority = Authority::new();
    let year = 365 * 24 * 3600;
    for (what, ahead, until, wanted) in [
        // By the time of the build it is good. (SNTP's seconds end in 2036.)
        (
            "expired by the time of SNTP",
            Some(8 * year),
            2030,
            "Expired",
        ),
        // A time before the build counts for nothing.
        (
            "expired when it was built, told it is 1986",
            Some(-40 * year),
            2026,
            "Expired",
        ),
        (
            "good when it was built, told it is 1986",
            Some(-40 * year),
            2050,
            "connection 1;",
        ),
        (
            "good when it was built, and nobody knows the time",
            None,
            2050,
            "connection 1;",
        ),
    ] {
        println!("--- {what}");
        let tls = Tls {
            authority: authority.der(),
            server: authority.server_until(SERVER, until),
        };
        let mut rig = Rig::start_with("wss-time", WSS_CLIENT, Some(tls), ahead);
        rig.expect(match ahead {
            Some(_) => "s since 1970",
            None => "nobody knows the time",
        });
        rig.expect(wanted);
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// TCP ends.
    Gone,
    /// The certificate is another authority's.
    WrongCertificate,
    /// The WebSocket is refused.
    Unauthorized,
    /// A Close: the service restarts.
    Restart,
}

/// A service that restarts is waited for, unless it is one more failure: so not behind a 401, after which
/// the board begins anew with the other key.
const ENDS: [End; 6] = [
    End::Gone,
    End::WrongCertificate,
    End::Restart,
    End::Restart,
    End::Unauthorized,
    End::Gone,
];
/// How many sessions of TLS are refused, or end.
const SESSIONS: usize = 204;

type Served = WebSocket<StreamOwned<ServerConnection, TcpStream>>;

/// The next client's TLS. Its handshake has not begun.
fn accept(
    listener: &TcpListener,
    config: &Arc<ServerConfig>,
) -> StreamOwned<ServerConnection, TcpStream> {
    let (stream, _) = listener.accept().expect("a client");
    stream.set_read_timeout(Some(LIMIT)).expect("a socket");
    let connection = ServerConnection::new(Arc::clone(config)).expect("it is right");
    StreamOwned::new(connection, stream)
}

/// Serves the next client, and ends so. What it says is put behind the readings.
fn serve(
    listener: &TcpListener,
    config: &Arc<ServerConfig>,
    end: Option<End>,
    readings: &mut Vec<String>,
) {
    let mut stream = accept(listener, config);
    match end {
        Some(End::WrongCertificate) => {
            let is_refused = stream.conn.complete_io(&mut stream.sock).is_err();
            return assert!(is_refused || stream.conn.is_handshaking());
        }
        Some(End::Unauthorized) => {
            #[expect(clippy::result_large_err, reason = "tungstenite's signature")]
            let refuse = |_: &Request, _: Response| {
                let mut response = ErrorResponse::new(None);
                *response.status_mut() = StatusCode::UNAUTHORIZED;
                Err(response)
            };
            return assert!(tungstenite::accept_hdr(stream, refuse).is_err());
        }
        _ => {}
    }
    let mut ws: Served = tungstenite::accept(stream).expect("an upgrade");
    assert_eq!(ws.read().expect("open"), Message::text("this is the board"));
    let mut read = |ws: &mut Served| {
        let message = ws.read();
        if let Ok(Message::Text(text)) = &message {
            readings.push(text.to_string());
        }
        message.is_ok()
    };
    match end {
        Some(End::Restart) => {
            let close = CloseFrame {
                code: CloseCode::Restart,
                reason: "".into(),
            };
            ws.close(Some(close)).expect("it is open");
            while read(&mut ws) {}
        }
        // For a while: also what waits goes out.
        None => (0..5).for_each(|_| assert!(read(&mut ws))),
        _ => {}
    }
}

pub(crate) fn wss_client_is_sent_away() {
    let name = "wss-again";
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("firmware")
        .join(name);
    fs::create_dir_all(&folder).expect("the build folder is writable");
    let root = Authority::new();
    fs::write(folder.join("authority.der"), root.der()).expect("it is writable");
    let (right, wrong) = (right(&root), right(&Authority::named("another")));
    let namespace = Namespace::with_tap(name);
    let _names = dnsmasq(&namespace, &folder, 100);
    let _clock = Clock::start(&namespace);
    let listener = namespace.within(|| TcpListener::bind((HOST, 9001)).expect("a free port"));
    // It computes most of the time, and waits for no deadline.
    let (board, _) =
        firmware::boot_on_tap(Board::CortexM3, WSS_CLIENT, Time::Host, &folder, &namespace);

    let mut readings = Vec::new();
    let ends = || (0..SESSIONS).map(|number| ENDS[number % ENDS.len()]);
    for end in ends().map(Some).chain([None]) {
        let config = match end {
            Some(End::WrongCertificate) => &wrong,
            _ => &right,
        };
        serve(&listener, config, end, &mut readings);
    }

    let numbers: Vec<u32> = readings
        .iter()
        .map(|text| {
            text.trim_start_matches("reading ")
                .parse()
                .expect("a number")
        })
        .collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    let log = || fs::read_to_string(folder.join("board.txt")).unwrap_or_default();
    let count = |end| ends().filter(|each| *each == end).count();
    let open = 1 + count(End::Gone) + count(End::Restart);
    let last = format!("connection {open};");
    assert!(wait_until(LIMIT, || log().contains(&last)), "{}", log());
    let log = log();
    assert!(!log.contains("panicked"), "{log}\n{}", board.log());
    // What the stack was by the tenth connection, and by the last.
    let (early, _) = log.split_once("connection 11;").expect("there are more");
    let (early, late) = (depth(early), depth(&log));
    assert!(late <= early + INTERRUPT, "{early} and then {late} bytes");
    for (end, report) in [
        // With a reset, if a reading was on its way.
        (End::Gone, "Connection(Lost, Some("),
        (End::WrongCertificate, "Attempt(Tls)"),
        (End::Unauthorized, "Attempt(Ended(Refused(401)))"),
        (End::Restart, "Connection(Closed { code: CloseCode(1012)"),
    ] {
        let seen = log.lines().filter(|line| line.contains(report)).count();
        println!("{end:?}: {seen}");
        assert_eq!(seen, count(end), "{end:?}\n{log}");
    }
    println!("{SESSIONS} sessions, {open} connections; the stack: {early} and then {late} bytes");
}
