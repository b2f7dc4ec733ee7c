//! The firmware's servers in QEMU, and more visitors than sockets: SYNs whose sender never answers, and
//! connections that say nothing. An honest visitor is served within two seconds, not counting those in
//! which this machine gave QEMU, or the visitor, no processor.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use std::time::Instant;
use std::{fs, thread};

use motews_testkit::head::Head;
use motews_testkit::syn::{stranger, syn};
use motews_tests::firmware::{self, Board, DASHBOARD, EMBASSY, Time};
use motews_tests::namespace::Namespace;
use motews_tests::raw::{PATIENCE, RawPeer};
use motews_tests::wait_until;
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};

const BOARD: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 15), 80);

/// Five SYNs a second, and as many connections that say nothing as are given, each made anew half a second
/// after it was reset; until `is_over`.
fn crowd(namespace: &Namespace, silent: usize, is_over: &AtomicBool) {
    namespace.enter_thread();
    let raw = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW)).expect("root may");
    let mut connections: Vec<Option<(TcpStream, Instant)>> = (0..silent).map(|_| None).collect();
    let mut number = 0;
    while !is_over.load(Ordering::Relaxed) {
        number += 1;
        let from = stranger(Ipv4Addr::new(10, 0, 2, 100), number);
        sendto(&raw, &syn(from, BOARD, number), SendFlags::empty(), &BOARD).expect("it is sent");
        for connection in &mut connections {
            let is_gone = connection.as_ref().is_none_or(|(stream, since)| {
                since.elapsed() > Duration::from_millis(500)
                    && !matches!(stream.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            });
            if is_gone {
                let timeout = Duration::from_millis(20);
                let stream = TcpStream::connect_timeout(&BOARD.into(), timeout).ok();
                *connection = stream.map(|stream| {
                    stream.set_nonblocking(true).expect("it can be");
                    (stream, Instant::now())
                });
            }
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// How long each thread of QEMU, and this one, has waited for a processor of this machine.
fn starved(qemu: u32) -> Vec<(PathBuf, Duration)> {
    let tasks = fs::read_dir(format!("/proc/{qemu}/task")).expect("QEMU runs");
    let tasks = tasks.map(|task| task.expect("it can be listed").path());
    let threads = tasks.chain([PathBuf::from("/proc/thread-self")]);
    let waited = threads.filter_map(|thread| {
        // A thread that has ended meanwhile has none.
        let times = fs::read_to_string(thread.join("schedstat")).ok()?;
        let nanos = times.split_whitespace().nth(1)?.parse().ok()?;
        Some((thread, Duration::from_nanos(nanos)))
    });
    waited.collect()
}

/// The most that one of them has waited since then.
fn starved_since(before: &[(PathBuf, Duration)], qemu: u32) -> Duration {
    let now = starved(qemu).into_iter();
    let since = now.map(|(thread, now)| {
        let known = before.iter().find(|(known, _)| *known == thread);
        now.saturating_sub(known.map_or(Duration::ZERO, |(_, before)| *before))
    });
    since.max().unwrap_or_default()
}

/// Opens a WebSocket, trying again until that works, and returns it with how long it took.
fn honest() -> (RawPeer, Duration) {
    let start = Instant::now();
    let mut open = None;
    let is_open = wait_until(Duration::from_secs(20), || {
        let limit = Duration::from_millis(500);
        let Ok(stream) = TcpStream::connect_timeout(&BOARD.into(), limit) else {
            return false;
        };
        open = upgraded(stream).ok();
        open.is_some()
    });
    assert!(is_open, "never served");
    (open.expect("it is open"), start.elapsed())
}

/// The opening handshake. It may be refused at any byte.
fn upgraded(mut stream: TcpStream) -> io::Result<RawPeer> {
    stream.set_read_timeout(Some(Duration::from_millis(1_500)))?;
    let request = Head::request().line("GET /echo HTTP/1.1");
    stream.write_all(&request.to_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101 "),
        "{}",
        String::from_utf8_lossy(&head)
    );
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(RawPeer { stream })
}

fn judge(image: &str, honest_ones: usize) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("firmware")
        .join(format!("crowd-{image}"));
    fs::create_dir_all(&folder).expect("the build folder is writable");
    let namespace = Arc::new(Namespace::with_tap("crowd"));
    namespace.ip(&["address", "add", "10.0.2.2/24", "dev", "tap0"]);
    let (board, _qmp) =
        firmware::boot_on_tap(Board::CortexM3, image, Time::Host, &folder, &namespace);
    namespace.enter_thread();
    drop(honest()); // It has booted.

    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (namespace, over) = (&namespace, &is_over);
        scope.spawn(move || crowd(namespace, 10, over));
        thread::sleep(Duration::from_secs(3));
        let mut open = Vec::new();
        for number in 0..honest_ones {
            let before = starved(board.id());
            let (mut peer, waited) = honest();
            let lost = starved_since(&before, board.id());
            println!(
                "{image}, honest visitor {number}: after {waited:.1?}, {lost:.1?} of it starved"
            );
            assert!(
                waited.saturating_sub(lost) < Duration::from_secs(2),
                "after {waited:?}"
            );
            assert_eq!(peer.ask("hello"), "hello");
            open.push(peer);
        }
        for peer in &mut open {
            assert_eq!(peer.ask("still here"), "still here");
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
#[ignore = "needs root, QEMU and defmt-print: bash .ci/install"]
fn dashboard_with_a_crowd_serves_honest_visitors_within_two_seconds() {
    judge(DASHBOARD, 4);
}

#[test]
#[ignore = "needs root, QEMU and defmt-print: bash .ci/install"]
fn embassy_with_a_crowd_serves_honest_visitors_within_two_seconds() {
    judge(EMBASSY, 6);
}
