//! The firmware in QEMU: its dashboard in a real browser, four at once and a fifth, two of them
//! compressed, a fat request, a message larger than its memory, and the board as a client; and the image
//! on Embassy, its page and all its connections at once. The conformance suite is in
//! `firmware_autobahn.rs`.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::time::Instant;

use motews_testkit::head::{Head, read as read_head};
use motews_tests::browser::Browser;
use motews_tests::deflate::{Deflater, Inflater};
use motews_tests::firmware::{self, Board, DASHBOARD, EMBASSY};
use motews_tests::raw::RawPeer;
use motews_tests::{ServerProcess, wait_until};
use serde_json::{Value, json};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::{Message, WebSocket};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(20);

/// What a browser and the board agree on.
const COMPRESSED: &str = "permessage-deflate; client_max_window_bits=10";

/// A port with nothing behind it, for the board's calls.
const NOWHERE: u16 = 9;

/// Each of these on both boards.
macro_rules! on_each_board {
    ($($name:ident $needs:literal)*) => {
        mod cortex_m3 {
            $(
                #[test]
                #[ignore = $needs]
                fn $name() {
                    super::$name(super::Board::CortexM3);
                }
            )*
        }

        mod riscv32 {
            $(
                #[test]
                #[ignore = $needs]
                fn $name() {
                    super::$name(super::Board::RiscV32);
                }
            )*
        }
    };
}

on_each_board! {
    dashboard_shows_readings_and_controls_the_board "needs QEMU, defmt-print, Chromium and chromedriver: bash .ci/install"
    two_of_four_connections_compress_at_once "needs QEMU, defmt-print, Chromium and chromedriver: bash .ci/install"
    board_calls_an_echo_server "needs QEMU and defmt-print: bash .ci/install"
    message_larger_than_the_memory_comes_back_while_others_are_served "needs QEMU and defmt-print: bash .ci/install"
    embassy_echoes_on_all_connections_at_once "needs QEMU and defmt-print: bash .ci/install"
}

fn dashboard_shows_readings_and_controls_the_board(board: Board) {
    let folder = folder_of(board, "dashboard");
    let firmware = firmware::boot(board, DASHBOARD, &folder, NOWHERE);
    let browser = Browser::start("firmware", &folder);
    browser.open(&format!("http://{}/", firmware.address));
    browser.expect_text("status", |text| text == "live");
    let chart = || {
        text(
            &browser,
            "return document.getElementById('line').getAttribute('d')",
        )
    };
    let before = chart();
    browser.expect("a moving chart", |_| chart() != before);
    browser.expect_text("celsius", |text| {
        text.parse()
            .is_ok_and(|celsius: f64| (30.0..40.0).contains(&celsius))
    });
    browser.expect_text("connections", |text| text == "1 of 4");

    // The page shows what the pin of the board says, not what was asked for.
    browser.click("led");
    browser.expect_text("led", |text| text == "LED on");
    browser.click("led");
    browser.expect_text("led", |text| text == "LED off");
    browser.click("led");

    let count = || {
        let count = readings(&browser);
        count.parse::<u32>().expect("a number")
    };
    let in_two_seconds = || {
        let before = count();
        std::thread::sleep(Duration::from_secs(2));
        count() - before
    };
    let slow = in_two_seconds();
    browser.fill("rate", "50");
    browser.expect_text("hertz", |text| text == "50 / s");
    std::thread::sleep(Duration::from_secs(1));
    let fast = in_two_seconds();
    assert!(
        fast > 2 * slow,
        "{slow} readings in two seconds, then {fast}"
    );

    browser.expect_text("extension", |text| text == COMPRESSED);
    // Commands of a few bytes are not shorter; readings are, and of those there are more.
    browser.expect_text("saved", |text| {
        text.starts_with("sent ") && text.contains(", received ") && saved_percent(text) >= 70
    });
    browser.expect("a full chart", |_| count() > 250);
    browser.screenshot("firmware-dashboard");
    browser.prefer("dark");
    browser.resize(500, 1000);
    browser.screenshot("firmware-dashboard-phone");
    assert_eq!(browser.console_errors(), Vec::<String>::new());
}

#[test]
#[ignore = "needs QEMU, defmt-print, Chromium and chromedriver: bash .ci/install"]
fn four_are_served_and_a_fifth_is_refused() {
    let folder = folder("four");
    let board = firmware::boot(Board::CortexM3, DASHBOARD, &folder, NOWHERE);
    let url = format!("http://{}/", board.address);
    let browser = Browser::start("four", &folder);
    let mut windows = Vec::new();
    for number in 1..=4 {
        let window = browser.new_window();
        browser.switch_to(&window);
        browser.open(&url);
        browser.expect_text("connections", |text| text == format!("{number} of 4"));
        // There is memory for two.
        let extension = if number <= 2 {
            COMPRESSED
        } else {
            "no compression"
        };
        browser.expect_text("extension", |text| text == extension);
        browser.expect_text("saved", |text| text.is_empty() == (number > 2));
        windows.push(window);
    }

    let (head, body) = get(board.address, "/", "");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(head.contains("\r\nRetry-After: "), "{head}");
    assert!(body.contains("The board is busy"), "{body}");
    match connect(board.address, "/readings", None) {
        Err(tungstenite::Error::Http(response)) => assert_eq!(response.status(), 503),
        other => panic!("a fifth WebSocket: {other:?}"),
    }
    browser.switch_to(&browser.new_window());
    browser.open(&url);
    browser.screenshot("firmware-fifth");

    for window in &windows {
        browser.switch_to(window);
        browser.expect_text("status", |text| text == "live");
        let before = readings(&browser);
        browser.expect("more readings", |_| readings(&browser) != before);
    }
    // Who leaves makes room.
    browser.open("about:blank");
    let mut fifth = None;
    let room = wait_until(LIMIT, || {
        fifth = connect(board.address, "/readings", None).ok();
        fifth.is_some()
    });
    assert!(room, "no room after one has left");
}

#[test]
#[ignore = "needs QEMU and defmt-print: bash .ci/install"]
fn fat_request_passes_a_small_ring() {
    let board = firmware::boot(Board::CortexM3, DASHBOARD, &folder("fat"), NOWHERE);
    let cookie = format!("Cookie: fat={}\r\n", "x".repeat(16 * 1024));
    let (head, body) = get(board.address, "/", &cookie);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(
        body.ends_with("</html>\n"),
        "{} octets of a page",
        body.len()
    );

    let cookie = format!("fat={}", "x".repeat(16 * 1024));
    let header = ("Cookie", cookie.as_str());
    let mut echo = connect(board.address, "/echo", Some(header)).expect("an open WebSocket");
    echo.send("after the cookies".into())
        .expect("a message goes out");
    assert_eq!(echo.read().expect("an echo"), "after the cookies".into());
}

#[test]
#[ignore = "needs QEMU and defmt-print: bash .ci/install"]
fn foreign_page_does_not_control_the_board() {
    let board = firmware::boot(Board::CortexM3, DASHBOARD, &folder("foreign"), NOWHERE);
    for (origin, is_own) in [
        ("http://elsewhere.example".to_owned(), false),
        ("null".to_owned(), false),
        (format!("http://{}", board.address), true),
    ] {
        match connect(board.address, "/readings", Some(("Origin", &origin))) {
            Err(tungstenite::Error::Http(response)) if !is_own => {
                assert_eq!(response.status(), 403, "{origin}");
            }
            Ok(_) if is_own => {}
            other => panic!("{origin}: {other:?}"),
        }
    }
}

fn message_larger_than_the_memory_comes_back_while_others_are_served(board: Board) {
    let firmware = firmware::boot(board, DASHBOARD, &folder_of(board, "large"), NOWHERE);
    let mut readings = connect(firmware.address, "/readings", None).expect("an open WebSocket");
    let mut echo = connect(firmware.address, "/echo", None).expect("an open WebSocket");
    let start = Instant::now();
    echo_streamed(&mut echo, 16 * 1024 * 1024);
    println!("16 MiB through 64 KiB: {:.1?}", start.elapsed());
    assert!(reading(&mut readings)["celsius"].is_number());
}

fn two_of_four_connections_compress_at_once(board: Board) {
    let folder = folder_of(board, "compression");
    let firmware = firmware::boot(board, DASHBOARD, &folder, NOWHERE);
    let browser = Browser::start("compression", &folder);
    browser.open(&format!("http://{}/", firmware.address));
    browser.expect_text("extension", |text| text == COMPRESSED);
    // The page leaves, and four come at once. Those that find no memory go on without; and when
    // all have left, the next one compresses again.
    _ = browser.run(
        "window.outcome = '';
        const words = Array.from({ length: 2000 }, (_, at) => `word ${at * 7919 % 1000} 你好 `).join('');
        const noise = Array.from({ length: 20000 }, (_, at) => String.fromCharCode(32 + (at * at) % 997)).join('');
        const converse = (name, all) => new Promise((resolve) => {
            const messages = ['', name, words, noise, name.repeat(100000), words];
            const socket = new WebSocket(`ws://${location.host}/echo`);
            let next = 0;
            socket.onopen = () => {
                all.push(socket.extensions || 'none');
                socket.send(messages[next]);
            };
            socket.onmessage = (event) => {
                if (event.data !== messages[next]) all.push(`${name}: message ${next} is wrong`);
                next += 1;
                if (next < messages.length) socket.send(messages[next]);
                // None leaves before all have come.
                else if (name === 'e') socket.close();
                else { waiting.push(socket); if (waiting.length === 4) waiting.forEach((it) => it.close()); }
            };
            socket.onclose = (event) => {
                if (!event.wasClean) all.push(`${name}: closed with ${event.code}`);
                resolve();
            };
        });
        const waiting = [];
        socket.onclose = async () => {
            const four = [], fifth = [];
            await Promise.all(['a', 'b', 'c', 'd'].map((name) => converse(name, four)));
            await converse('e', fifth);
            window.outcome = [...four.sort(), ...fifth].join(' | ');
        };
        socket.close();",
        json!([]),
    );
    let mut outcome = String::new();
    let ended = wait_until(LIMIT, || {
        outcome = text(&browser, "return window.outcome");
        !outcome.is_empty()
    });
    assert!(ended, "no outcome");
    let expected = ["none", "none", COMPRESSED, COMPRESSED, COMPRESSED];
    assert_eq!(outcome, expected.join(" | "));

    let mut readings = connect(firmware.address, "/readings", None).expect("an open WebSocket");
    let free = reading(&mut readings)["free"].as_u64();
    assert!(free > Some(1024), "bytes that the stack has left: {free:?}");
}

#[test]
#[ignore = "needs QEMU and defmt-print: bash .ci/install"]
fn offers_are_accepted_as_far_as_the_memory_goes() {
    const WITH: &str = "; client_max_window_bits";
    const WITHOUT_TAKEOVER: &str = "; server_no_context_takeover; client_no_context_takeover";

    let board = firmware::boot(Board::CortexM3, DASHBOARD, &folder("offers"), NOWHERE);
    // What is offered, and what is answered; `None`: it goes on without compression.
    let mut offers = vec![
        // A client whose window cannot be limited would need 32 KiB.
        (String::new(), None),
        ("; server_max_window_bits=10".to_owned(), None),
        // No one can mean these.
        (format!("{WITH}; server_max_window_bits=7"), None),
        (format!("{WITH}=16"), None),
        (format!("{WITH}; unknown"), None),
        // The second offer is one to accept.
        (
            format!("{WITH}; unknown, permessage-deflate{WITH}"),
            Some(format!("{WITH}=10")),
        ),
        (
            format!("{WITHOUT_TAKEOVER}{WITH}=9"),
            Some(format!("{WITHOUT_TAKEOVER}{WITH}=9")),
        ),
    ];
    for bits in 8..=15 {
        let agreed = bits.min(10);
        offers.push((format!("{WITH}={bits}"), Some(format!("{WITH}={agreed}"))));
        offers.push((
            format!("{WITH}; server_max_window_bits={bits}"),
            Some(format!("; server_max_window_bits={agreed}{WITH}=10")),
        ));
    }
    let line = |at: usize| format!("{at} {:x} ", at * 7919 * 104_729);
    let message: String = (0..100).chain(60..100).map(line).collect();
    for (offer, answer) in offers {
        let mut peer = RawPeer::connect(board.address).expect("the board listens");
        let offer = format!("permessage-deflate{offer}");
        let head = Head::request()
            .line("GET /echo HTTP/1.1")
            .and("Sec-WebSocket-Extensions", &offer);
        peer.stream.write_all(&head.to_bytes()).expect("it is read");
        let head = read_head(&mut peer.stream);
        let given = head
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: permessage-deflate"));
        assert_eq!(given.map(str::to_owned), answer, "{offer}");
        if given.is_none() {
            assert_eq!(peer.ask("hello"), "hello");
            continue;
        }

        let takeover = !offer.contains("takeover");
        // zlib has no smaller window, and refers to less than half of this one.
        let (mut deflater, mut inflater) = (Deflater::new(9), Inflater::new(10));
        let mut lengths = Vec::new();
        for _ in 0..2 {
            if !takeover {
                (deflater, inflater) = (Deflater::new(9), Inflater::new(10));
            }
            let payload = deflater.message(message.as_bytes());
            peer.send(0xC1, &payload).expect("it is read");
            let mut payload = Vec::new();
            loop {
                let frame = peer.read_frame().expect("an echo");
                assert_eq!(frame.first & 0x40 != 0, payload.is_empty(), "{frame:?}");
                payload.extend(frame.payload);
                if frame.first & 0x80 != 0 {
                    break;
                }
            }
            lengths.push(payload.len());
            let back = inflater.message(&payload, message.len());
            assert!(back == message.as_bytes(), "{offer}: not what was sent");
        }
        // What repeats is 700 bytes away, farther than a window of 2^8 or 2^9.
        let is_near = !answer.is_some_and(|answer| {
            answer.contains("server_max_window_bits=8")
                || answer.contains("server_max_window_bits=9")
        });
        assert_eq!(lengths[0] < 1500, is_near, "{offer}: {lengths:?}");
        assert_eq!(lengths[1] < lengths[0], takeover, "{offer}: {lengths:?}");
    }
}

fn board_calls_an_echo_server(board: Board) {
    let folder = folder_of(board, "call");
    let echo = ServerProcess::example("echo", &folder);
    let firmware = firmware::boot(board, DASHBOARD, &folder, echo.address.port());
    let mut visitor = connect(firmware.address, "/readings", None).expect("an open WebSocket");
    for _ in 0..2 {
        let call = call(&mut visitor);
        println!("{call}");
        assert!(
            call.starts_with("the host echoed 9 messages, 1184122 octets, in "),
            "{call}"
        );
    }
}

#[test]
#[ignore = "needs QEMU and defmt-print: bash .ci/install"]
fn board_calls_and_no_one_answers() {
    let board = firmware::boot(Board::CortexM3, DASHBOARD, &folder("no-answer"), NOWHERE);
    let mut visitor = connect(board.address, "/readings", None).expect("an open WebSocket");
    assert_eq!(call(&mut visitor), "the host does not answer");
}

fn embassy_echoes_on_all_connections_at_once(board: Board) {
    const CONNECTIONS: usize = 8;

    let firmware = firmware::boot(board, EMBASSY, &folder_of(board, "embassy"), NOWHERE);
    let open = || connect(firmware.address, "/echo", None);
    let all: Vec<_> = (0..CONNECTIONS)
        .map(|number| open().unwrap_or_else(|error| panic!("connection {number}: {error}")))
        .collect();
    let ninth = open();
    assert!(ninth.is_err(), "a task that was not there: {ninth:?}");

    // No one waits for another: all have half a message under way at the same time.
    let barrier = Arc::new(Barrier::new(CONNECTIONS));
    let start = Instant::now();
    let threads: Vec<_> = (all.into_iter().enumerate())
        .map(|(number, mut echo)| {
            let barrier = Arc::clone(&barrier);
            std::thread::spawn(move || {
                let fragment = |data, fin| {
                    let data = OpCode::Data(data);
                    Message::Frame(Frame::message(format!("part {number} "), data, fin))
                };
                echo.send(fragment(Data::Text, false))
                    .expect("half goes out");
                barrier.wait();
                echo.send(fragment(Data::Continue, true))
                    .expect("the rest goes out");
                let whole = format!("part {number} part {number} ");
                assert_eq!(echo.read().expect("an echo"), whole.into());
                for len in [0, 1, 125, 126, 511, 512, 513, 65_535, 65_536] {
                    echo_streamed(&mut echo, len);
                }
                echo_streamed(&mut echo, 1024 * 1024);
                echo
            })
        })
        .collect();
    let all: Vec<_> = (threads.into_iter())
        .map(|thread| thread.join().expect("every message comes back"))
        .collect();
    println!(
        "{CONNECTIONS} times 1.2 MB at once, back from 64 KiB: {:.1?}",
        start.elapsed()
    );

    // Who leaves makes room, in whatever way.
    for mut leaving in all {
        if leaving.close(None).is_ok() {
            let end = wait_until(LIMIT, || leaving.read().is_err());
            assert!(end, "the board does not close");
        }
        drop(leaving);
        let mut next = None;
        let room = wait_until(LIMIT, || {
            next = open().ok();
            next.is_some()
        });
        assert!(room, "no room after one has left");
        drop(next); // without a word
    }
}

/// Whoever has said nothing yet holds no socket against those who come: not even for the five seconds
/// that a request may take.
#[test]
#[ignore = "needs QEMU and defmt-print: bash .ci/install"]
fn embassy_silent_connections_give_way_to_whoever_speaks() {
    let board = firmware::boot(Board::CortexM3, EMBASSY, &folder("embassy-silent"), NOWHERE);
    let silent: Vec<_> = (0..8)
        .map(|_| TcpStream::connect(board.address).expect("the board listens"))
        .collect();
    for _ in 0..3 {
        let mut next = None;
        let start = Instant::now();
        let served = wait_until(LIMIT, || {
            next = connect(board.address, "/echo", None).ok();
            next.is_some()
        });
        assert!(served, "nobody gives way");
        let waited = start.elapsed();
        assert!(waited < Duration::from_secs(4), "after {waited:?}");
        echo_streamed(next.as_mut().expect("it is open"), 1000);
    }
    drop(silent);
}

#[test]
#[ignore = "needs QEMU, defmt-print, Chromium and chromedriver: bash .ci/install"]
fn embassy_serves_its_page() {
    let folder = folder("embassy-page");
    let board = firmware::boot(Board::CortexM3, EMBASSY, &folder, NOWHERE);
    let cookie = format!("Cookie: fat={}\r\n", "x".repeat(16 * 1024));
    let (head, body) = get(board.address, "/", &cookie);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(
        body.ends_with("</html>\n"),
        "{} octets of a page",
        body.len()
    );
    let (head, _) = get(board.address, "/elsewhere", "");
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");

    let browser = Browser::start("embassy", &folder);
    browser.open(&format!("http://{}/", board.address));
    browser.expect_text("status", |text| text == "open");
    browser.fill("message", "from a page in flash");
    browser.click("send");
    browser.expect("an echo", |_| {
        let log = text(
            &browser,
            "return document.getElementById('log').textContent",
        );
        log.matches("from a page in flash").count() == 2
    });
    browser.screenshot("firmware-embassy");
    assert_eq!(browser.console_errors(), Vec::<String>::new());
}

/// Sends a message and reads what comes back at the same time: the echo streams, and who does not
/// read cannot send all of a long one either.
fn echo_streamed(echo: &mut WebSocket<TcpStream>, len: u32) {
    let message: Vec<u8> = (0..len).map(|at| (at ^ (at >> 8)) as u8).collect();
    let stream = echo.get_ref().try_clone().expect("a second handle");
    let reader = std::thread::spawn(move || {
        let role = tungstenite::protocol::Role::Client;
        let mut socket = WebSocket::from_raw_socket(stream, role, None);
        socket.read()
    });
    echo.send(Message::binary(message.clone()))
        .expect("it is read as fast as it is echoed");
    let back = reader.join().expect("a reader").expect("an echo");
    assert!(back.into_data() == message, "not what was sent");
}

/// What comes of a call.
fn call(visitor: &mut WebSocket<TcpStream>) -> String {
    let calls = reading(visitor)["calls"].take();
    visitor.send("call".into()).expect("a command goes out");
    let mut last = Value::Null;
    let ended = wait_until(LIMIT, || {
        last = reading(visitor);
        last["calls"] != calls
    });
    assert!(ended, "the call does not end: {last}");
    last["call"].as_str().expect("a text").to_owned()
}

/// The next reading.
fn reading(visitor: &mut WebSocket<TcpStream>) -> Value {
    let message = visitor.read().expect("a reading");
    serde_json::from_str(message.to_text().expect("a text")).expect("a reading is JSON")
}

/// Opens a WebSocket to the board.
fn connect(
    address: SocketAddr,
    target: &str,
    header: Option<(&'static str, &str)>,
) -> Result<WebSocket<TcpStream>, tungstenite::Error> {
    use tungstenite::client::IntoClientRequest;

    let mut request = format!("ws://{address}{target}").into_client_request()?;
    if let Some((name, value)) = header {
        let value = value.parse().expect("a header's value");
        request.headers_mut().insert(name, value);
    }
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    match tungstenite::client(request, stream) {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::HandshakeError::Failure(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}

/// An ordinary HTTP request, with one more header, and the response: head and body.
fn get(address: SocketAddr, target: &str, header: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("the board listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: {address}\r\n{header}\r\n"
    )
    .expect("it is read");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

fn text(browser: &Browser, script: &str) -> String {
    let value = browser.run(script, json!([]));
    value.as_str().unwrap_or_default().to_owned()
}

/// The `63` of `sent 12 B as 14 B, received 12.3 KiB as 4.6 KiB: 63 % saved`.
fn saved_percent(text: &str) -> u32 {
    let percent = text.rsplit_once(": ").map_or("", |(_, end)| end);
    let percent = percent.strip_suffix(" % saved").unwrap_or_default();
    percent.parse().unwrap_or(0)
}

/// How many readings the dashboard says have come.
fn readings(browser: &Browser) -> String {
    let script = "return document.getElementById('count').textContent";
    text(browser, script)
}

/// The same for a test on several boards.
fn folder_of(board: Board, name: &str) -> PathBuf {
    folder(&format!("{name}-{board:?}"))
}

/// A folder for logs and screenshots.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("firmware")
        .join(name);
    std::fs::create_dir_all(&folder).expect("the build folder is writable");
    folder
}
