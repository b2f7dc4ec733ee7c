//! The page of the echo example, in a real browser: headless Chromium, driven by chromedriver.
//!
//! The page keeps to these element ids: `status` (connecting, open, closed), `message`, `send`,
//! `log` (its entries have the class `out` or `in`), `rtt`, `close-code`, `close-reason`, `close`,
//! `outcome` and `reconnect`.

use core::time::Duration;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use motews_tests::{
    Process, ServerProcess, find_program, free_port, wait_for_listener, wait_until,
};
use serde_json::{Value, json};

/// How long the page may take to show what it should.
const LIMIT: Duration = Duration::from_secs(10);

#[test]
#[ignore = "needs Chromium and chromedriver: bash .ci/install"]
fn echo_page_sends_shows_echoes_and_closes() {
    let server = ServerProcess::example("echo", folder());
    let browser = Browser::start("page");
    browser.open(&format!("http://{}/", server.address));
    browser.expect_text("status", |text| text == "open");

    for (index, text) in ["hello", "你好，世界", "👩‍👩‍👧‍👦 🎉 naïve"]
        .into_iter()
        .enumerate()
    {
        browser.fill("message", text);
        browser.click("send");
        browser.expect(&format!("the echo of {text}"), |browser| {
            let echoes = browser.entries("in");
            echoes.len() == index + 1 && echoes[index].contains(text)
        });
        let sent = browser.entries("out");
        assert!(
            sent.len() == index + 1 && sent[index].contains(text),
            "sent: {sent:?}"
        );
    }
    browser.expect_text("rtt", |text| text.contains(|c: char| c.is_ascii_digit()));
    browser.screenshot("echo-page-open");

    browser.fill("close-code", "4001");
    browser.fill("close-reason", "再见");
    browser.click("close");
    browser.expect_text("status", |text| text == "closed");
    browser.expect_text("outcome", |text| text.contains("4001"));
    browser.screenshot("echo-page-closed");

    browser.click("reconnect");
    browser.expect_text("status", |text| text == "open");
    assert_eq!(browser.console_errors(), Vec::<String>::new());
}

#[test]
#[ignore = "needs Chromium and chromedriver: bash .ci/install"]
fn echo_page_tells_of_a_lost_server() {
    let server = ServerProcess::example("echo", folder());
    let browser = Browser::start("lost-server");
    browser.open(&format!("http://{}/", server.address));
    browser.expect_text("status", |text| text == "open");
    drop(server);
    browser.expect_text("status", |text| text == "closed");
    browser.expect_text("outcome", |text| text.contains("1006"));
}

/// Where the logs and screenshots go.
fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// One browser window, spoken to in the WebDriver protocol.
struct Browser {
    driver: Process,
    port: u16,
    session: String,
}

impl Browser {
    fn start(name: &str) -> Self {
        let missing = "is missing: run `bash .ci/install`";
        let chromedriver = find_program("chromedriver");
        let chromedriver = chromedriver.unwrap_or_else(|| panic!("chromedriver {missing}"));
        let chromium = ["chromium", "chromium-browser", "google-chrome"];
        let chromium = chromium.into_iter().find_map(find_program);
        let chromium = chromium.unwrap_or_else(|| panic!("chromium {missing}"));

        let port = free_port();
        let mut command = Command::new(chromedriver);
        command.arg(format!("--port={port}")).stdout(Stdio::null());
        let driver = Process::start(&format!("chromedriver-{name}"), &mut command, folder());
        wait_for_listener(([127, 0, 0, 1], port).into());

        let profile = folder().join(format!("chromium-{name}"));
        _ = fs::remove_dir_all(&profile);
        let mut browser = Self {
            driver,
            port,
            session: String::new(),
        };
        let created = browser.command(
            "POST",
            "",
            &json!({ "capabilities": { "alwaysMatch": {
                "goog:loggingPrefs": { "browser": "ALL" },
                "goog:chromeOptions": {
                    "binary": chromium,
                    "args": [
                        "--headless",
                        "--no-sandbox",
                        "--disable-gpu",
                        "--disable-quic",
                        "--no-first-run",
                        "--disable-background-networking",
                        "--disable-component-update",
                        "--disable-sync",
                        "--disable-dev-shm-usage",
                        "--window-size=1100,900",
                        format!("--user-data-dir={}", profile.display()),
                    ],
                },
            } } }),
        );
        created["sessionId"]
            .as_str()
            .expect("a new session has an id")
            .clone_into(&mut browser.session);
        browser
    }

    fn open(&self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url }));
    }

    /// Waits until the trimmed text of an element satisfies `right`.
    fn expect_text(&self, id: &str, right: impl Fn(&str) -> bool) {
        let text = "return document.getElementById(arguments[0]).textContent.trim()";
        let mut last = Value::Null;
        let found = wait_until(LIMIT, || {
            last = self.run(text, json!([id]));
            last.as_str().is_some_and(&right)
        });
        assert!(
            found,
            "#{id} shows {last}\n{:?}\n{}",
            self.console_errors(),
            self.driver.log()
        );
    }

    fn expect(&self, what: &str, right: impl Fn(&Self) -> bool) {
        let found = wait_until(LIMIT, || right(self));
        assert!(found, "{what} does not appear\n{:?}", self.console_errors());
    }

    /// The texts of the log's entries of one class.
    fn entries(&self, class: &str) -> Vec<String> {
        let texts = "return Array.from(document.querySelectorAll(`#log .${arguments[0]}`), \
                     (entry) => entry.textContent)";
        serde_json::from_value(self.run(texts, json!([class]))).expect("a list of texts")
    }

    /// Puts a text into a field. (chromedriver's own typing knows no emoji.)
    fn fill(&self, id: &str, text: &str) {
        let fill = "const field = document.getElementById(arguments[0]); field.focus(); \
                    field.value = arguments[1]; \
                    field.dispatchEvent(new Event('input', { bubbles: true })); \
                    field.dispatchEvent(new Event('change', { bubbles: true }));";
        self.run(fill, json!([id, text]));
    }

    /// Clicks where a person would: fails if the element is hidden or covered.
    fn click(&self, id: &str) {
        let selector = json!({ "using": "css selector", "value": format!("#{id}") });
        let element = self.command("POST", "/element", &selector);
        let element = element
            .as_object()
            .and_then(|element| element.values().next());
        let element = element
            .and_then(Value::as_str)
            .expect("an element has an id");
        self.command("POST", &format!("/element/{element}/click"), &json!({}));
    }

    /// The errors in the console since the last call.
    fn console_errors(&self) -> Vec<String> {
        let log = self.command("POST", "/se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().expect("a log is a list").iter();
        let errors = entries.filter(|entry| entry["level"] == "SEVERE");
        errors.map(|entry| entry["message"].to_string()).collect()
    }

    fn screenshot(&self, name: &str) {
        let png = self.command("GET", "/screenshot", &Value::Null);
        let png = base64::engine::general_purpose::STANDARD
            .decode(png.as_str().expect("a screenshot is text"))
            .expect("a screenshot is base64");
        let path = folder().join(format!("{name}.png"));
        fs::write(&path, png).expect("the build folder is writable");
        println!("screenshot: {}", path.display());
    }

    fn run(&self, script: &str, arguments: Value) -> Value {
        self.command(
            "POST",
            "/execute/sync",
            &json!({ "script": script, "args": arguments }),
        )
    }

    /// Sends one command, and returns its value.
    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        let Self { port, session, .. } = self;
        let target = if session.is_empty() {
            "/session".to_owned()
        } else {
            format!("/session/{session}{path}")
        };
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\
             Content-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(("127.0.0.1", *port)).expect("chromedriver listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a limit");
        stream
            .write_all(request.as_bytes())
            .expect("chromedriver reads");

        let mut stream = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).expect("chromedriver answers");
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            } else if line.is_empty() {
                break;
            }
        }
        let mut answer = vec![0; length];
        stream
            .read_exact(&mut answer)
            .expect("chromedriver answers");
        let mut answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
        let value = answer["value"].take();
        assert!(
            value.get("error").is_none(),
            "{method} {target} {body}: {value}"
        );
        value
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends Chromium: chromedriver, killed, would leave it behind.
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) {
            let Self { port, session, .. } = self;
            let request =
                format!("DELETE /session/{session} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
            _ = stream.set_read_timeout(Some(LIMIT));
            _ = stream.write_all(request.as_bytes());
            _ = stream.read(&mut [0; 512]);
        }
    }
}
