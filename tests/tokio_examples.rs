//! The examples on tokio, each with a peer that is another implementation.

use core::time::Duration;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use motews_tests::browser::Browser;
use motews_tests::{ServerProcess, example, example_with, wait_until};
use serde_json::json;
use tungstenite::Message;
use tungstenite::protocol::{Role, WebSocketConfig};

/// How long something may take.
const LIMIT: Duration = Duration::from_secs(30);

fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

// ---- echo ----

/// Opens a WebSocket whose client takes messages of any length.
fn open(server: &ServerProcess) -> tungstenite::WebSocket<TcpStream> {
    let stream = TcpStream::connect(server.address).expect("the server listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    stream.set_write_timeout(Some(LIMIT)).expect("a limit");
    let (ws, _) = tungstenite::client(server.url(), stream).expect("the server accepts");
    let config = WebSocketConfig::default()
        .max_frame_size(None)
        .max_message_size(None);
    tungstenite::WebSocket::from_raw_socket(ws.into_inner(), Role::Client, Some(config))
}

/// Writes all of the messages and a Close, reads only then, and checks what comes back.
fn write_all_then_read(server: &ServerProcess, messages: &[Message]) {
    let mut ws = open(server);
    for message in messages {
        ws.write(message.clone()).expect("the server reads");
    }
    ws.close(None).expect("the server reads");
    for message in messages {
        let echo = ws.read().expect("an echo");
        assert!(&echo == message, "another message of {} bytes", echo.len());
    }
    assert!(matches!(ws.read(), Ok(Message::Close(_))));
}

fn bytes(len: usize, seed: u32) -> Vec<u8> {
    let len = u32::try_from(len).expect("less than 4 GiB");
    (0..len)
        .map(|n| (n.wrapping_mul(2_654_435_761) ^ seed) as u8)
        .collect()
}

#[test]
#[ignore = "builds the examples"]
fn tokio_echo_longest_message_written_before_a_byte_is_read_comes_back() {
    let server = ServerProcess::example("tokio_echo", folder());
    write_all_then_read(&server, &[Message::from(bytes(64 << 20, 0))]);
}

#[test]
#[ignore = "builds the examples"]
fn tokio_echo_many_messages_written_before_a_byte_is_read_come_back() {
    let server = ServerProcess::example("tokio_echo", folder());
    let short = (0..10_000).map(|n| Message::from(format!("message {n} 你好")));
    let long = (0..40).map(|n| Message::from(bytes(1 << 20, n)));
    write_all_then_read(&server, &short.chain(long).collect::<Vec<_>>());
}

#[test]
#[ignore = "builds the examples"]
fn tokio_echo_longer_message_is_refused() {
    let server = ServerProcess::example("tokio_echo", folder());
    let mut ws = open(&server);
    // The server need not read it to its end.
    let _ = ws.send(Message::from(vec![0; (64 << 20) + 1]));
    let mut stream = ws.into_inner();
    let mut came = Vec::new();
    let _ = stream.read_to_end(&mut came);
    let code = 1009_u16.to_be_bytes();
    assert!(
        came.starts_with(&[0x88]) && came.get(2..4) == Some(&code[..]),
        "{came:?}"
    );
}

// ---- client ----

/// A client whose input is open.
struct Client {
    child: Child,
    lines: mpsc::Receiver<String>,
    errors: mpsc::Receiver<String>,
}

impl Client {
    fn start(url: &str) -> Self {
        let mut child = Command::new(example("tokio_client"))
            .args([url, "--first-wait", "50"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let lines = lines(child.stdout.take().expect("it was asked for"));
        let errors = lines_of_errors(&mut child);
        Self {
            child,
            lines,
            errors,
        }
    }

    fn type_line(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("it is open");
        writeln!(input, "{line}").expect("the client reads");
    }

    fn expect_line(&self, line: &str) {
        assert_eq!(self.lines.recv_timeout(LIMIT).as_deref(), Ok(line));
    }

    fn expect_error(&self, part: &str) {
        let mut seen = Vec::new();
        loop {
            match self.errors.recv_timeout(LIMIT) {
                Ok(line) if line.contains(part) => return,
                Ok(line) => seen.push(line),
                Err(_) => panic!("no {part:?} in {seen:?}"),
            }
        }
    }

    /// Ends its input and returns its exit status.
    fn end(mut self) -> i32 {
        drop(self.child.stdin.take());
        let mut status = None;
        let ended = wait_until(LIMIT, || {
            status = self.child.try_wait().expect("a child can be asked");
            status.is_some()
        });
        if !ended {
            let _ = self.child.kill();
        }
        status.and_then(|status| status.code()).expect("it ends")
    }
}

fn lines(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

fn lines_of_errors(child: &mut Child) -> mpsc::Receiver<String> {
    lines(child.stderr.take().expect("it was asked for"))
}

#[test]
#[ignore = "builds the examples"]
fn tokio_client_connection_lost_comes_back_and_sends_what_was_typed_meanwhile() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (go_on, may_go_on) = mpsc::channel();
    let server = thread::spawn(move || {
        // The first connection ends without a word, behind an echo.
        let (stream, _) = listener.accept().expect("a client");
        let mut ws = tungstenite::accept(stream).expect("an upgrade");
        let line = ws.read().expect("a line");
        ws.send(line).expect("the client reads");
        drop(ws);
        may_go_on.recv_timeout(LIMIT).expect("the test goes on");
        let (stream, _) = listener.accept().expect("the client comes back");
        let mut ws = tungstenite::accept(stream).expect("an upgrade");
        loop {
            match ws.read() {
                Ok(Message::Close(_)) => {}
                Ok(message) => ws.send(message).expect("the client reads"),
                Err(tungstenite::Error::ConnectionClosed) => break,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let mut client = Client::start(&format!("ws://{address}/"));
    client.type_line("one");
    client.expect_line("one");
    client.expect_error("next attempt");
    client.type_line("two");
    client.type_line("drei 三");
    go_on.send(()).expect("the server waits");
    client.expect_line("two");
    client.expect_line("drei 三");
    assert_eq!(client.end(), 0);
    server.join().expect("the server saw what it expected");
}

#[test]
#[ignore = "builds the examples"]
fn tokio_client_refused_for_good_says_why_and_what_was_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(refusal).expect("the client reads");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let mut client = Client::start(&format!("ws://{address}/"));
    client.type_line("in vain");
    client.expect_error("no further attempt");
    server.join().expect("no panic");
    assert_eq!(client.end(), 1);
}

// ---- chat ----

/// Runs a script in the page.
fn run(browser: &Browser, script: &str) -> serde_json::Value {
    browser.run(script, json!([]))
}

/// Enters the room that the page's URL names.
fn enter(browser: &Browser, name: &str) {
    browser.expect_text("status", |text| text == "open");
    browser.fill("name", name);
    browser.click("join");
}

#[test]
#[ignore = "needs Chromium and chromedriver: bash .ci/install"]
fn tokio_chat_two_tabs_over_http_2_talk_and_whoever_goes_is_removed() {
    let mut server = Command::new(example_with(
        "motews-examples",
        "embedded-io,tls,tokio,tokio-chat",
        "tokio_chat",
    ));
    server.args(["--deflate", "127.0.0.1:0"]);
    let server = ServerProcess::start("tokio_chat", &mut server, folder());
    let flags = ["--ignore-certificate-errors"];
    let browser = Browser::start_with("tokio-chat", folder(), &flags);
    let page = format!("https://localhost:{}/#厨房", server.address.port());
    browser.open(&page);
    enter(&browser, "Ada");
    let ada = browser.window();
    let ming = browser.new_window();
    browser.switch_to(&ming);
    browser.open(&page);
    enter(&browser, "小明");
    browser.fill("message", "你好 👩‍👩‍👧‍👦");
    browser.click("send");
    browser.expect("one's own words", |browser| {
        browser.entries("out:not(.pending)").len() == 1
    });
    let protocol = "return performance.getEntriesByType('navigation')[0].nextHopProtocol";
    assert_eq!(run(&browser, protocol), "h2", "the page");
    browser.expect_text("extension", |text| text.starts_with("permessage-deflate"));
    browser.switch_to(&ada);
    browser.expect("what the other says", |browser| {
        let heard = browser.entries("in");
        heard.len() == 1 && heard[0].contains("你好 👩‍👩‍👧‍👦")
    });
    let log = server.process.log();
    assert_eq!(log.matches("a WebSocket over HTTP/2.0").count(), 2, "{log}");

    browser.switch_to(&ming);
    browser.close_window();
    browser.switch_to(&ada);
    browser.expect("that the other left", |browser| {
        browser.entries("note").concat().contains("小明")
    });
    assert_eq!(browser.console_errors(), Vec::<String>::new());
}
