//! The uses that the examples show, each with its page in a real browser (headless Chromium, driven
//! by chromedriver) and beside it peers that no browser would be: slow, silent, gone.
//!
//! The pages keep to the element ids that stand here.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use motews_testkit::head::Head;
use motews_tests::browser::Browser;
use motews_tests::{ServerProcess, example, find_program, free_port, wait_until};
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

/// How long something may take that should happen at once.
const LIMIT: Duration = Duration::from_secs(10);

/// How many bytes of a frame stand before the JPEG.
const HEAD: usize = 16;

#[test]
#[ignore = "needs Chromium and chromedriver: bash .ci/install"]
fn chat_page_two_tabs_talk_and_whoever_goes_is_removed() {
    let server = start("chat", &["--ping", "2", "--deflate"]);
    let browser = Browser::start("chat", folder());
    let page = format!("http://{}/#厨房", server.address);
    browser.open(&page);
    enter(&browser, "Ada");
    let ada = browser.window();
    let ming = browser.new_window();
    browser.switch_to(&ming);
    browser.open(&page);
    enter(&browser, "小明");
    let here = |browser: &Browser, names: &[&str]| {
        browser.expect(&format!("the list {names:?}"), |browser| {
            people(browser) == names
        });
    };
    here(&browser, &["小明", "Ada"]);

    // With an input method: what is being composed is not sent by the Enter that chooses it.
    run(&browser, "document.getElementById('message').focus()");
    browser.compose("nihao");
    run(
        &browser,
        "document.getElementById('compose').requestSubmit()",
    );
    browser.insert("你好");
    browser.insert(" 👩‍👩‍👧‍👦");
    run(
        &browser,
        "document.getElementById('compose').requestSubmit()",
    );
    browser.expect("one's own words", |browser| {
        browser.entries("out:not(.pending)").len() == 1
    });
    browser.switch_to(&ada);
    here(&browser, &["Ada", "小明"]);
    browser.expect("what the other says", |browser| {
        let heard = browser.entries("in");
        heard.len() == 1 && heard[0].contains("你好 👩‍👩‍👧‍👦")
    });
    for text in ["<b>no markup</b>", "🎉🎉"] {
        browser.fill("message", text);
        browser.click("send");
    }
    browser.expect("both", |browser| {
        browser.entries("out:not(.pending)").len() == 2
    });
    browser.switch_to(&ming);
    browser.expect("both, here too", |browser| {
        let heard = browser.entries("in");
        heard.len() == 2 && heard[0].contains("<b>no markup</b>") && heard[1].contains("🎉🎉")
    });
    browser.expect_text("extension", |text| {
        text == "permessage-deflate; server_no_context_takeover"
    });
    browser.expect_text("saved", |text| {
        text.starts_with("sent ") && text.ends_with(" % saved")
    });
    browser.screenshot("chat-compressed");
    assert_eq!(browser.console_errors(), Vec::<String>::new());

    // Someone whose connection breaks, and someone who is only silent: a peer that answers no ping.
    let mut broken = Member::join(server.address, "厨房", "Broken");
    let silent = Member::join(server.address, "厨房", "Silent");
    here(&browser, &["小明", "Ada", "Broken", "Silent"]);
    broken.reset();
    here(&browser, &["小明", "Ada", "Silent"]);
    here(&browser, &["小明", "Ada"]);
    let notes = browser.entries("note").concat();
    assert!(
        notes.contains("Silent") && notes.contains("vanished"),
        "{notes}"
    );
    drop(silent);

    browser.close_window();
    browser.switch_to(&ada);
    here(&browser, &["Ada"]);
    assert_eq!(browser.console_errors(), Vec::<String>::new());
}

#[test]
#[ignore = "needs Chromium and chromedriver: bash .ci/install"]
fn chat_page_comes_back_when_the_server_does() {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let server = start_at("chat", address, &[]);
    let browser = Browser::start("chat-back", folder());
    browser.open(&format!("http://{address}/"));
    enter(&browser, "Ada");
    browser.fill("message", "before");
    browser.click("send");
    browser.expect("the word", |browser| {
        browser.entries("out:not(.pending)").len() == 1
    });
    drop(server);
    browser.expect_text("status", |text| text == "reconnecting");

    let _server = start_at("chat", address, &[]);
    browser.expect_text("status", |text| text == "open");
    browser.expect("the list", |browser| people(browser) == ["Ada"]);
    browser.fill("message", "after");
    browser.click("send");
    browser.expect("both words", |browser| {
        browser.entries("out:not(.pending)").len() == 2
    });
}

#[test]
#[ignore = "needs Chromium and chromedriver: bash .ci/install"]
fn chat_page_says_again_what_was_lost_with_the_connection() {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let server = start_at("chat", address, &[]);
    let browser = Browser::start("chat-again", folder());
    browser.open(&format!("http://{address}/#r"));
    enter(&browser, "Ada");
    // A server that hears nothing any more, and then is no more.
    let stopped = Command::new("kill")
        .args(["-STOP", &server.process.id().to_string()])
        .status();
    assert!(stopped.expect("kill runs").success());
    browser.fill("message", "into the void");
    browser.click("send");
    browser.expect("a word under way", |browser| {
        browser.entries("out.pending").len() == 1
    });
    drop(server);
    browser.expect_text("status", |text| text == "reconnecting");

    let _server = start_at("chat", address, &[]);
    browser.expect("the word, said again", |browser| {
        browser.entries("out").len() == 1 && browser.entries("out:not(.pending)").len() == 1
    });
    let mut other = Member::connect(address);
    other.ask(&json!({ "type": "join", "room": "r", "name": "Bo" }));
    let joined = other.hear("joined");
    assert_eq!(joined["history"][0]["text"], "into the void");

    // Away from the page and back: one has left meanwhile, and is there again.
    browser.open("about:blank");
    assert_eq!(other.hear("left")["why"], "closed");
    browser.back();
    browser.expect_text("status", |text| text == "open");
}

#[test]
#[ignore = "builds the examples"]
fn chat_members_on_all_threads_hear_everything_once_and_in_order() {
    const MEMBERS: usize = 8;
    const WORDS: usize = 10;
    let server = start("chat", &["--threads", "3"]);
    let mut members: Vec<_> = (0..MEMBERS)
        .map(|_| Member::join(server.address, "r", "Ada"))
        .collect();
    // Each has a name of its own.
    let names: Vec<_> = members.iter().map(|member| member.name.clone()).collect();
    assert_eq!(names[..3], ["Ada", "Ada 2", "Ada 3"]);

    for word in 0..WORDS {
        for (index, member) in members.iter_mut().enumerate() {
            member.ask(&json!({ "type": "say", "text": format!("{word}"), "key": format!("{index}-{word}") }));
        }
    }
    let heard: Vec<Vec<String>> = members
        .iter_mut()
        .map(|member| {
            (0..MEMBERS * WORDS)
                .map(|_| member.hear("said")["key"].to_string())
                .collect()
        })
        .collect();
    for other in &heard[1..] {
        assert_eq!(other, &heard[0], "all hear the same, in the same order");
    }
    for index in 0..MEMBERS {
        let own = heard[0]
            .iter()
            .filter(|key| key.starts_with(&format!("\"{index}-")));
        let expected: Vec<_> = (0..WORDS)
            .map(|word| format!("\"{index}-{word}\""))
            .collect();
        assert_eq!(own.cloned().collect::<Vec<_>>(), expected);
    }
    // A message that comes too soon is refused, and says so.
    let hasty = &mut members[0];
    for _ in 0..30 {
        hasty.ask(&json!({ "type": "say", "text": "!", "key": "!" }));
    }
    let refused = hasty.hear("refused");
    assert_eq!(refused["why"], "Slower, please.");
}

#[test]
#[ignore = "builds the examples"]
fn chat_member_changes_the_room_hears_no_more_of_the_old_one() {
    let server = start("chat", &[]);
    let mut other = Member::join(server.address, "old", "Bo");
    let mut peer = Member::join(server.address, "old", "Ada");
    peer.hear("rooms");
    peer.ask(&json!({ "type": "join", "room": "new", "name": "Ada" }));
    let first = peer.ws.read().expect("a message");
    let told: Value = serde_json::from_str(first.to_text().expect("a text")).expect("JSON");
    assert_eq!(
        (&told["type"], &told["room"]),
        (&json!("joined"), &json!("new"))
    );
    assert_eq!(other.hear("left")["name"], "Ada");
}

#[test]
#[ignore = "builds the examples"]
fn chat_what_makes_no_sense_is_refused_with_a_reason() {
    let server = start("chat", &[]);
    let mut peer = Member::connect(server.address);
    for (request, why) in [
        (
            json!({ "type": "say", "text": "hi", "key": "1" }),
            "Join a room first.",
        ),
        (json!({ "type": "dance" }), "no request"),
        (
            json!({ "type": "join", "room": "r", "name": " " }),
            "A name has",
        ),
        (
            json!({ "type": "join", "room": "r".repeat(33), "name": "Ada" }),
            "A name has",
        ),
        (
            json!({ "type": "join", "room": "r", "name": "a\nb" }),
            "A name has",
        ),
    ] {
        peer.ask(&request);
        let refused = peer.hear("refused");
        assert!(
            refused["why"]
                .as_str()
                .is_some_and(|told| told.contains(why)),
            "{request}: {refused}"
        );
    }
    peer.ask(&json!({ "type": "join", "room": "r".repeat(32), "name": "字".repeat(32) }));
    peer.hear("joined");
    for (text, fits) in [("字".repeat(2000), true), ("字".repeat(2001), false)] {
        peer.ask(&json!({ "type": "say", "text": text, "key": "k" }));
        peer.hear(if fits { "said" } else { "refused" });
    }

    let mut stream = TcpStream::connect(server.address).expect("the server listens");
    let foreign = Head::request()
        .line("GET / HTTP/1.1")
        .with("Host", &server.address.to_string())
        .and("Origin", "http://elsewhere.example");
    stream.write_all(&foreign.to_bytes()).expect("written");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 403");
}

#[test]
#[ignore = "needs Chromium and chromedriver: bash .ci/install; takes 30 seconds"]
fn video_page_runs_without_a_stall_beside_a_slow_viewer() {
    const SECONDS: u64 = 30;
    let server = start("video", &["--quality", "90"]);
    let browser = Browser::start("video", folder());
    browser.open(&format!("http://{}/", server.address));
    browser.expect("pictures", |browser| {
        browser.number("frames").is_some_and(|frames| frames > 30.0)
    });

    // A viewer with a link for a third of the frames.
    let address = server.address;
    let slow = thread::spawn(move || slow_viewer(address, Duration::from_secs(20)));
    let before = browser.number("frames").expect("a number");
    thread::sleep(Duration::from_secs(SECONDS));
    let frames = browser.number("frames").expect("a number") - before;
    let gap = browser.number("gap").expect("a number");
    let skipped = browser.number("skipped").expect("a number");
    let slow = slow.join().expect("the slow viewer");
    println!(
        "video: {frames} pictures in {SECONDS} s, the longest gap {gap} ms, {skipped} skipped; \
         a slow viewer: {} frames, {} skipped, behind the newest by {:.2} s at the end",
        slow.frames, slow.skipped, slow.behind
    );
    assert_eq!(browser.text("status"), "open");
    // Beside a browser that paints without a graphics card, on two cores that others use as well,
    // 30 a second are not owed. But it never stops.
    assert!(frames >= 10.0 * SECONDS as f64, "{frames} pictures");
    assert!(gap < 3000.0, "a gap of {gap} ms");
    assert!(slow.skipped > slow.frames, "the slow viewer skips too few");
    assert!(slow.behind < 4.0, "the slow viewer is not live");
    assert_eq!(browser.console_errors(), Vec::<String>::new());
}

#[test]
#[ignore = "needs Chromium and chromedriver: bash .ci/install"]
fn video_page_comes_back_when_the_server_does() {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let server = start_at("video", address, &[]);
    let browser = Browser::start("video-back", folder());
    browser.open(&format!("http://{address}/"));
    let shows = |browser: &Browser| browser.number("frames").is_some_and(|frames| frames > 5.0);
    browser.expect("pictures", shows);
    drop(server);
    browser.expect_text("status", |text| text == "reconnecting");
    let _server = start_at("video", address, &[]);
    browser.expect_text("status", |text| text == "open");
    browser.expect("pictures again", |browser| {
        shows(browser)
            && browser.run("return document.getElementById('cover').hidden", json!([])) == true
    });
}

#[test]
#[ignore = "needs ffmpeg: bash .ci/install"]
fn video_of_a_file_is_shown_and_begins_again() {
    let ffmpeg = find_program("ffmpeg").expect("ffmpeg is missing: run `bash .ci/install`");
    let file = folder().join("testsrc.mp4");
    let made = Command::new(ffmpeg)
        .args(["-loglevel", "error", "-nostdin", "-y", "-f", "lavfi", "-i"])
        .args([
            "testsrc=duration=2:size=320x240:rate=25",
            "-pix_fmt",
            "yuv420p",
        ])
        .arg(&file)
        .status();
    assert!(made.expect("ffmpeg runs").success());
    let file = file.to_str().expect("a path in UTF-8");
    let server = start("video", &["--input", file, "--fps", "20"]);
    let mut viewer = Viewer::connect(server.address, None);
    assert_eq!(viewer.told()["source"], file);
    // Two seconds are 40 frames.
    let mut last = 0;
    for _ in 0..100 {
        let frame = viewer.frame();
        assert!(frame.jpeg.starts_with(&[0xff, 0xd8]) && frame.jpeg.ends_with(&[0xff, 0xd9]));
        assert!(frame.number > last || last == 0, "frames are in order");
        last = frame.number;
    }

    // The source ends: those who watch are told, and it is tried again.
    let children = Command::new("pgrep")
        .args(["--parent", &server.process.id().to_string()])
        .output()
        .expect("pgrep runs");
    let child = String::from_utf8(children.stdout).expect("a number");
    let ended = Command::new("kill").arg(child.trim()).status();
    assert!(ended.expect("kill runs").success(), "{child}");
    assert_eq!(viewer.told()["type"], "source");
    assert!(viewer.frame().number > last);
}

#[test]
#[ignore = "needs Chromium and chromedriver: bash .ci/install"]
fn control_page_commands_take_effect() {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let server = start_at("video_control", address, &[]);
    let browser = Browser::start("control", folder());
    browser.open(&format!("http://{address}/"));
    let time = |browser: &Browser| browser.text("time");
    let moves = |browser: &Browser| {
        let before = time(browser);
        wait_until(Duration::from_millis(500), || time(browser) != before)
    };
    browser.expect("a film that runs", moves);

    browser.click("pause");
    browser.expect_text("pause", |text| text == "Play");
    browser.expect("a film that stands", |browser| !moves(browser));
    let seek = |browser: &Browser, to: &str| {
        let seek = "const field = document.getElementById('position'); field.value = arguments[0]; \
                    field.dispatchEvent(new Event('input')); field.dispatchEvent(new Event('change'));";
        _ = browser.run(seek, json!([to]));
    };
    seek(&browser, "42");
    browser.expect_text("time", |text| text == "0:42.0");
    browser.click("pause");
    browser.expect("a film that runs again", moves);
    browser.fill("quality", "5");
    browser.fill("rate", "10");
    browser.expect("ten frames a second", |browser| {
        browser
            .number("fps")
            .is_some_and(|fps| (8.0..13.0).contains(&fps))
    });
    browser.expect("a latency", |browser| browser.number("latency").is_some());
    println!(
        "control page: {}, median {}",
        browser.text("latency"),
        browser.text("median")
    );
    assert_eq!(browser.console_errors(), Vec::<String>::new());

    drop(server);
    browser.expect_text("status", |text| text == "reconnecting");
    let _server = start_at("video_control", address, &[]);
    browser.expect_text("status", |text| text == "open");
    browser.expect("a film that runs once more", moves);
}

#[test]
#[ignore = "builds the examples"]
fn control_on_a_saturated_link_takes_effect_within_a_frame() {
    // What two frames need on this link is far more than what the server paints in that time.
    const OCTETS_A_SECOND: usize = 400_000;
    let server = start("video_control", &["--size", "960x540"]);
    let mut viewer = Viewer::connect(server.address, Some(OCTETS_A_SECOND));
    assert_eq!(viewer.told()["command"], 0);
    viewer.ask(&json!({ "type": "set", "command": 1, "quality": 95, "fps": 60 }));

    let mut command = 1;
    let mut figures = Vec::new();
    for change in [
        json!({ "paused": true }),
        json!({ "paused": false }),
        json!({ "quality": 10 }),
        json!({ "quality": 95 }),
        json!({ "position": 30.0 }),
        json!({ "speed": -2.0 }),
        json!({ "fps": 30 }),
        json!({ "paused": true }),
    ] {
        let paused = change["paused"] == true;
        // Whatever was asked is over, and the link is full.
        let full = Instant::now();
        if !viewer.paused {
            while full.elapsed() < Duration::from_secs(1) {
                viewer.acknowledged_frame();
            }
        }
        command += 1;
        let mut request = change.clone();
        request["type"] = "set".into();
        request["command"] = command.into();
        let asked = Instant::now();
        viewer.ask(&request);
        let (mut before, mut after) = (0, 0);
        let mut answered = false;
        // Until the first picture that knows of the command; one that pauses has none.
        loop {
            match viewer.next() {
                Seen::Told(told) => {
                    assert_eq!(told["type"], "state", "{told}");
                    assert_eq!(told["command"], command);
                    answered = true;
                    if paused {
                        break;
                    }
                }
                Seen::Frame(frame) => {
                    viewer.acknowledge(frame.number);
                    if frame.applied >= command {
                        assert_eq!(frame.applied, command);
                        break;
                    }
                    if answered {
                        after += 1;
                    } else {
                        before += 1;
                    }
                }
            }
        }
        figures.push(format!(
            "{change}: {} ms, {before} + {after} frames",
            asked.elapsed().as_millis()
        ));
        // Two frames were under way when it was asked; none is painted after it was heard.
        assert!(
            before <= 2,
            "{before} frames came before the answer to {change}"
        );
        assert!(
            after <= 1,
            "{after} frames of before came after the answer to {change}"
        );
        viewer.paused = paused;
        if paused {
            assert!(
                viewer.nothing_for(Duration::from_millis(500)),
                "a paused player sends"
            );
        }
    }
    println!(
        "control at {OCTETS_A_SECOND} octets a second, until seen, and frames of before that came until and after the answer:\n  {}",
        figures.join("\n  ")
    );
}

#[test]
#[ignore = "builds the examples"]
fn control_that_makes_no_sense_is_refused_with_a_reason() {
    let server = start("video_control", &[]);
    let mut viewer = Viewer::connect(server.address, None);
    viewer.told();
    viewer.ask(&json!({ "type": "set", "command": 1, "paused": true }));
    while viewer.told()["command"] != 1 {}
    for (request, why) in [
        (
            json!({ "type": "set", "command": 1, "paused": false }),
            "number of a command",
        ),
        (
            json!({ "type": "set", "command": 2, "position": 60.5 }),
            "position",
        ),
        (json!({ "type": "set", "command": 2, "speed": 5 }), "speed"),
        (
            json!({ "type": "set", "command": 2, "quality": 0 }),
            "quality",
        ),
        (
            json!({ "type": "set", "command": 2, "quality": 101 }),
            "quality",
        ),
        (
            json!({ "type": "set", "command": 2, "fps": 0 }),
            "frame rate",
        ),
        (
            json!({ "type": "set", "command": 2, "fps": 61 }),
            "frame rate",
        ),
        (json!({ "type": "rewind" }), "unknown variant"),
    ] {
        viewer.ask(&request);
        let told = viewer.told();
        assert_eq!(told["type"], "refused", "{request}");
        assert!(
            told["why"].as_str().is_some_and(|told| told.contains(why)),
            "{request}: {told}"
        );
    }
    // The limits themselves are fine; what was never sent may be acknowledged without harm.
    viewer.ask(&json!({ "type": "ack", "number": u32::MAX }));
    for (command, change) in [
        (2, json!({ "quality": 1, "fps": 1 })),
        (3, json!({ "quality": 100, "fps": 60 })),
    ] {
        let mut request = change;
        request["type"] = "set".into();
        request["command"] = command.into();
        viewer.ask(&request);
        let told = viewer.told();
        assert_eq!(
            (&told["type"], &told["command"]),
            (&"state".into(), &command.into())
        );
    }
}

/// Joins the room of the chat page that the browser shows.
fn enter(browser: &Browser, name: &str) {
    browser.expect_text("status", |text| text == "open");
    browser.fill("name", name);
    browser.click("join");
    browser.expect("the conversation", |browser| {
        people(browser).first().is_some_and(|first| first == name)
    });
}

fn run(browser: &Browser, script: &str) {
    _ = browser.run(script, json!([]));
}

/// The names in the list of those who are there.
fn people(browser: &Browser) -> Vec<String> {
    let names =
        "return Array.from(document.querySelectorAll('#people bdi'), (name) => name.textContent)";
    serde_json::from_value(browser.run(names, json!([]))).expect("a list of texts")
}

/// Someone in the chat who is no browser.
struct Member {
    ws: WebSocket<TcpStream>,
    name: String,
}

impl Member {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        let (ws, _) = tungstenite::client(format!("ws://{address}/"), stream).expect("a WebSocket");
        Self {
            ws,
            name: String::new(),
        }
    }

    fn join(address: SocketAddr, room: &str, name: &str) -> Self {
        let mut member = Self::connect(address);
        member.ask(&json!({ "type": "join", "room": room, "name": name }));
        let joined = member.hear("joined");
        joined["name"]
            .as_str()
            .expect("a name")
            .clone_into(&mut member.name);
        member
    }

    fn ask(&mut self, request: &Value) {
        self.ws
            .send(Message::text(request.to_string()))
            .expect("sent");
    }

    /// The next message of that type.
    fn hear(&mut self, kind: &str) -> Value {
        loop {
            let message = self.ws.read().expect("a message");
            if let Message::Text(text) = message {
                let told: Value = serde_json::from_str(&text).expect("JSON");
                if told["type"] == kind {
                    return told;
                }
            }
        }
    }

    /// Breaks the connection without a Close.
    fn reset(&mut self) {
        self.ws
            .get_mut()
            .shutdown(std::net::Shutdown::Both)
            .expect("shut down");
    }
}

/// Someone who watches and is no browser, over a link that may be slow.
struct Viewer {
    ws: WebSocket<Link>,
    paused: bool,
}

struct Frame {
    number: u32,
    applied: u32,
    time: f64,
    jpeg: Vec<u8>,
}

enum Seen {
    Told(Value),
    Frame(Frame),
}

impl Viewer {
    fn connect(address: SocketAddr, octets_a_second: Option<usize>) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        let link = Link {
            stream,
            octets_a_second,
            due: Instant::now(),
        };
        let (ws, _) = tungstenite::client(format!("ws://{address}/"), link).expect("a WebSocket");
        Self { ws, paused: false }
    }

    fn ask(&mut self, request: &Value) {
        self.ws
            .send(Message::text(request.to_string()))
            .expect("sent");
    }

    fn acknowledge(&mut self, number: u32) {
        self.ask(&json!({ "type": "ack", "number": number }));
    }

    fn next(&mut self) -> Seen {
        loop {
            match self.ws.read().expect("a message") {
                Message::Text(text) => {
                    return Seen::Told(serde_json::from_str(&text).expect("JSON"));
                }
                Message::Binary(bytes) => {
                    let (head, jpeg) = bytes.split_at(HEAD);
                    let number = |from: usize| {
                        u32::from_be_bytes(head[from..from + 4].try_into().expect("four octets"))
                    };
                    return Seen::Frame(Frame {
                        number: number(0),
                        applied: number(4),
                        time: f64::from_be_bytes(head[8..].try_into().expect("eight octets")),
                        jpeg: jpeg.to_vec(),
                    });
                }
                _ => {}
            }
        }
    }

    fn told(&mut self) -> Value {
        loop {
            if let Seen::Told(told) = self.next() {
                return told;
            }
        }
    }

    fn frame(&mut self) -> Frame {
        loop {
            if let Seen::Frame(frame) = self.next() {
                return frame;
            }
        }
    }

    fn acknowledged_frame(&mut self) {
        let frame = self.frame();
        self.acknowledge(frame.number);
    }

    /// Whether nothing comes for so long.
    fn nothing_for(&mut self, time: Duration) -> bool {
        let stream = &self.ws.get_ref().stream;
        stream.set_read_timeout(Some(time)).expect("a limit");
        let read = self.ws.read();
        let stream = &self.ws.get_ref().stream;
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        matches!(read, Err(tungstenite::Error::Io(error))
            if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    }
}

/// What a slow viewer saw.
struct Slow {
    frames: u32,
    skipped: u32,
    /// Seconds.
    behind: f64,
}

/// Watches over a slow link, and compares with a viewer on a fast one in the end.
fn slow_viewer(address: SocketAddr, time: Duration) -> Slow {
    let mut viewer = Viewer::connect(address, Some(300_000));
    let start = Instant::now();
    let first = viewer.frame();
    let (mut frames, mut last) = (1, first.number);
    while start.elapsed() < time {
        let frame = viewer.frame();
        assert!(frame.number > last, "frames are in order");
        last = frame.number;
        frames += 1;
    }
    let old = viewer.frame().time;
    let new = Viewer::connect(address, None).frame().time;
    Slow {
        frames,
        skipped: last - first.number + 1 - frames,
        behind: new - old,
    }
}

/// A stream that reads so many bytes a second at most.
struct Link {
    stream: TcpStream,
    octets_a_second: Option<usize>,
    due: Instant,
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(octets_a_second) = self.octets_a_second else {
            return self.stream.read(buffer);
        };
        let now = Instant::now();
        thread::sleep(self.due.saturating_duration_since(now));
        let most = buffer.len().min(8192);
        let (buffer, _) = buffer.split_at_mut(most);
        let read = self.stream.read(buffer)?;
        let time = Duration::from_secs_f64(read as f64 / octets_a_second as f64);
        self.due = self.due.max(now) + time;
        Ok(read)
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn start(name: &str, arguments: &[&str]) -> ServerProcess {
    start_at(name, SocketAddr::from(([127, 0, 0, 1], 0)), arguments)
}

fn start_at(name: &str, address: SocketAddr, arguments: &[&str]) -> ServerProcess {
    let mut command = Command::new(example(name));
    command
        .arg(address.to_string())
        .args(arguments)
        .stdin(Stdio::null());
    ServerProcess::start(name, &mut command, folder())
}

/// Where the logs and screenshots go.
fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}
