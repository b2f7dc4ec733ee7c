//! A real browser: headless Chromium, driven by chromedriver.

use core::time::Duration;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use serde_json::{Value, json};

use crate::{Process, find_program, free_port, wait_for_listener, wait_until};

/// How long a page may take to show what it should.
const LIMIT: Duration = Duration::from_secs(10);

/// One browser window, spoken to in the WebDriver protocol.
#[derive(Debug)]
pub struct Browser {
    driver: Process,
    port: u16,
    session: String,
    folder: PathBuf,
}

impl Browser {
    /// Opens a window. `folder` receives logs, screenshots and the browser's profile, after `name`.
    ///
    /// # Panics
    /// If the browser is missing or does not start. All other methods panic as well where the
    /// browser cannot do what they say.
    #[must_use]
    pub fn start(name: &str, folder: &Path) -> Self {
        Self::start_with(name, folder, &[])
    }

    /// The same, with further flags.
    ///
    /// # Panics
    /// As [`start`](Self::start) does.
    #[must_use]
    pub fn start_with(name: &str, folder: &Path, flags: &[&str]) -> Self {
        let missing = "is missing: run `bash .ci/install`";
        let chromedriver = find_program("chromedriver");
        let chromedriver = chromedriver.unwrap_or_else(|| panic!("chromedriver {missing}"));
        let chromium = ["chromium", "chromium-browser", "google-chrome"];
        let chromium = chromium.into_iter().find_map(find_program);
        let chromium = chromium.unwrap_or_else(|| panic!("chromium {missing}"));

        let port = free_port();
        let mut command = Command::new(chromedriver);
        command.arg(format!("--port={port}")).stdout(Stdio::null());
        let driver = Process::start(&format!("chromedriver-{name}"), &mut command, folder);
        wait_for_listener(([127, 0, 0, 1], port).into());

        let profile = folder.join(format!("chromium-{name}"));
        _ = fs::remove_dir_all(&profile);
        let mut browser = Self {
            driver,
            port,
            session: String::new(),
            folder: folder.to_owned(),
        };
        let profile = format!("--user-data-dir={}", profile.display());
        let mut arguments = vec![
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
            &profile,
        ];
        arguments.extend(flags);
        let created = browser.command(
            "POST",
            "",
            &json!({ "capabilities": { "alwaysMatch": {
                "goog:loggingPrefs": { "browser": "ALL" },
                "goog:chromeOptions": {
                    "binary": chromium,
                    "args": arguments,
                },
            } } }),
        );
        created["sessionId"]
            .as_str()
            .expect("a new session has an id")
            .clone_into(&mut browser.session);
        browser
    }

    /// Goes to a page.
    pub fn open(&self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url }));
    }

    /// The name of the window in which all happens.
    #[must_use]
    pub fn window(&self) -> String {
        let window = self.command("GET", "/window", &Value::Null);
        window.as_str().expect("a window has a handle").to_owned()
    }

    /// Goes back to the page before.
    pub fn back(&self) {
        self.command("POST", "/back", &json!({}));
    }

    /// Opens another window, and returns its name.
    #[must_use]
    pub fn new_window(&self) -> String {
        let window = self.command("POST", "/window/new", &json!({ "type": "window" }));
        window["handle"]
            .as_str()
            .expect("a window has a handle")
            .to_owned()
    }

    /// Has all that follows happen in that window.
    pub fn switch_to(&self, window: &str) {
        self.command("POST", "/window", &json!({ "handle": window }));
    }

    /// Makes the window so large, in pixels.
    pub fn resize(&self, width: u32, height: u32) {
        self.command(
            "POST",
            "/window/rect",
            &json!({ "width": width, "height": height }),
        );
    }

    /// Closes the window, as a person would. What follows needs [`switch_to`](Self::switch_to).
    pub fn close_window(&self) {
        self.command("DELETE", "/window", &Value::Null);
    }

    /// Shows the page as a phone would.
    pub fn be_a_phone(&self) {
        let screen = json!({ "width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true });
        self.devtools("Emulation.setDeviceMetricsOverride", screen);
        let touch = json!({ "enabled": true });
        self.devtools("Emulation.setTouchEmulationEnabled", touch);
    }

    /// Types with an input method, as one types Chinese: `composed` stands in the field that has
    /// the focus, and is not a part of its text before it is chosen.
    pub fn compose(&self, composed: &str) {
        let end = composed.encode_utf16().count();
        let composition = json!({ "text": composed, "selectionStart": end, "selectionEnd": end });
        self.devtools("Input.imeSetComposition", composition);
    }

    /// Chooses what the input method offers, or types a text that has no keys.
    pub fn insert(&self, text: &str) {
        self.devtools("Input.insertText", json!({ "text": text }));
    }

    /// Presses and lets go of a key that has no text.
    pub fn press(&self, key: &str) {
        for kind in ["rawKeyDown", "keyUp"] {
            let key = json!({ "type": kind, "key": key, "code": key });
            self.devtools("Input.dispatchKeyEvent", key);
        }
    }

    /// Has the person in front of it prefer `light` or `dark`.
    pub fn prefer(&self, scheme: &str) {
        let scheme = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": scheme }));
    }

    /// Waits until the trimmed text of an element satisfies `right`.
    pub fn expect_text(&self, id: &str, right: impl Fn(&str) -> bool) {
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

    /// Waits until what the page shows satisfies `right`.
    pub fn expect(&self, what: &str, right: impl Fn(&Self) -> bool) {
        let found = wait_until(LIMIT, || right(self));
        assert!(found, "{what} does not appear\n{:?}", self.console_errors());
    }

    /// The texts of the log's entries of one class.
    pub fn entries(&self, class: &str) -> Vec<String> {
        let texts = "return Array.from(document.querySelectorAll(`#log .${arguments[0]}`), \
                     (entry) => entry.textContent)";
        serde_json::from_value(self.run(texts, json!([class]))).expect("a list of texts")
    }

    /// Puts a text into a field. (chromedriver's own typing knows no emoji.)
    pub fn fill(&self, id: &str, text: &str) {
        let fill = "const field = document.getElementById(arguments[0]); field.focus(); \
                    field.value = arguments[1]; \
                    field.dispatchEvent(new Event('input', { bubbles: true })); \
                    field.dispatchEvent(new Event('change', { bubbles: true }));";
        _ = self.run(fill, json!([id, text]));
    }

    /// Clicks where a person would: fails if the element is hidden or covered.
    pub fn click(&self, id: &str) {
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
    pub fn console_errors(&self) -> Vec<String> {
        let log = self.command("POST", "/se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().expect("a log is a list").iter();
        let errors = entries.filter(|entry| entry["level"] == "SEVERE");
        errors.map(|entry| entry["message"].to_string()).collect()
    }

    /// Saves what the window shows.
    pub fn screenshot(&self, name: &str) {
        let png = self.command("GET", "/screenshot", &Value::Null);
        let png = base64::engine::general_purpose::STANDARD
            .decode(png.as_str().expect("a screenshot is text"))
            .expect("a screenshot is base64");
        let path = self.folder.join(format!("{name}.png"));
        fs::write(&path, png).expect("the build folder is writable");
        println!("screenshot: {}", path.display());
    }

    /// Runs a script, a function body, and returns its value.
    #[must_use]
    pub fn run(&self, script: &str, arguments: Value) -> Value {
        self.command(
            "POST",
            "/execute/sync",
            &json!({ "script": script, "args": arguments }),
        )
    }

    /// The text of an element.
    #[must_use]
    pub fn text(&self, id: &str) -> String {
        let text = "return document.getElementById(arguments[0]).textContent.trim()";
        let text = self.run(text, json!([id]));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// The number that an element's text begins with; commas stand between thousands.
    #[must_use]
    pub fn number(&self, id: &str) -> Option<f64> {
        let text = self.text(id).replace(',', "");
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        text.split_at(end.unwrap_or(text.len())).0.parse().ok()
    }

    /// Sends a command of Chromium's own protocol.
    fn devtools(&self, command: &str, parameters: Value) {
        let command = json!({ "cmd": command, "params": parameters });
        self.command("POST", "/goog/cdp/execute", &command);
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
