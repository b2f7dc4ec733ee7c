//! The page of the echo example, in a real browser: headless Chromium, driven by chromedriver.
//!
//! The page keeps to these element ids: `status` (connecting, open, reconnecting, closed), `message`, `send`,
//! `log` (its entries have the class `out` or `in`), `rtt`, `close-code`, `close-reason`, `close`,
//! `outcome`, `reconnect`, `extension` and `saved`.

use std::path::Path;
use std::process::Command;

use motews_tests::browser::Browser;
use motews_tests::{ServerProcess, example};
use serde_json::json;

/// Sends messages of all length classes over a WebSocket of its own, and awaits their echoes; then
/// asks the server what has gone over the wire.
const EXCHANGE: &str = r#"
window.exchanged = null;
(async () => {
  const name = `?test${Math.random()}`;
  const socket = new WebSocket(`ws://${location.host}/${name}`);
  socket.binaryType = "arraybuffer";
  const next = (event) => new Promise((done, fail) => {
    socket.addEventListener(event, done, { once: true });
    socket.addEventListener("close", ({ code }) => fail(new Error(`closed: ${code}`)), { once: true });
  });
  await next("open");
  let bytes = 0;
  const echo = async (message) => {
    const answer = next("message");
    socket.send(message);
    const { data } = await answer;
    const octets = (data) => typeof data === "string" ? new TextEncoder().encode(data) : new Uint8Array(data);
    const [sent, come] = [octets(message), octets(data)];
    if (typeof data !== typeof message || come.length !== sent.length || !come.every((octet, at) => octet === sent[at])) {
      throw new Error(`${sent.length} bytes came back as ${come.length}`);
    }
    bytes += sent.length;
  };
  const told = async () => (await fetch(`/traffic${name}`)).json();
  for (const length of [0, 1, 125, 126, 65535, 65536, 1 << 20]) {
    const text = Array.from({ length: length / 8 + 1 }, (_, at) => `{"v":${at % 997}},`).join("");
    await echo(text.slice(0, length));
    await echo("你好，世界 🎉".repeat(length / 20) + "x".repeat(length % 20));
    await echo(Uint8Array.from({ length }, (_, at) => at % 251));
  }
  const all = { bytes, ...await told() };
  // The same noise again and again: nothing gets shorter but by what was said before.
  bytes = 0;
  const noise = crypto.getRandomValues(new Uint8Array(200));
  for (let n = 0; n < 20; n += 1) await echo(noise);
  const before = all;
  const after = await told();
  const way = (way) => after[way].payloads - before[way].payloads;
  socket.close();
  return { extensions: socket.extensions, all, noise: { bytes, received: way("received"), sent: way("sent") } };
})().then((all) => { window.exchanged = all; }, (error) => { window.exchanged = { error: String(error) }; });
"#;

#[test]
#[ignore = "needs Chromium and chromedriver: bash .ci/install"]
fn echo_page_sends_shows_echoes_and_closes() {
    let server = ServerProcess::example("echo", folder());
    let browser = Browser::start("page", folder());
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
fn echo_page_tells_of_a_lost_server_and_comes_back() {
    let server = ServerProcess::example("echo", folder());
    let address = server.address;
    let browser = Browser::start("lost-server", folder());
    browser.open(&format!("http://{address}/"));
    browser.expect_text("status", |text| text == "open");
    drop(server);
    browser.expect_text("status", |text| text == "reconnecting");
    browser.expect_text("outcome", |text| text.contains("1006"));

    let mut command = Command::new(example("echo"));
    let _server = ServerProcess::start("echo-again", command.arg(address.to_string()), folder());
    browser.expect_text("status", |text| text == "open");
}

#[test]
#[ignore = "needs Chromium and chromedriver: bash .ci/install"]
fn echo_page_and_servers_exchange_compressed_messages_with_takeover_and_without() {
    let browser = Browser::start("compressed", folder());
    let name = "permessage-deflate";
    let no_takeover = "server_no_context_takeover; client_no_context_takeover";
    let alone = &["--no-context-takeover"][..];
    let largest = &["--window-bits", "15"][..];
    // zlib compresses with no window smaller than 9 bits, whatever was agreed on.
    let smallest = &["--window-bits", "8"][..];
    let servers = [
        ("echo", &[][..], name.to_owned()),
        ("echo", alone, format!("{name}; {no_takeover}")),
        ("echo", largest, name.to_owned()),
        (
            "echo",
            smallest,
            format!("{name}; client_max_window_bits=8"),
        ),
        ("echo_blocking", &[], name.to_owned()),
        ("echo_blocking", alone, format!("{name}; {no_takeover}")),
        (
            "echo_blocking",
            smallest,
            format!("{name}; client_max_window_bits=8"),
        ),
    ];
    for (program, options, extension) in servers {
        let mut command = Command::new(example(program));
        command.args(["127.0.0.1:0", "--deflate"]).args(options);
        let server = ServerProcess::start(&format!("{program}-deflate"), &mut command, folder());
        browser.open(&format!("http://{}/", server.address));
        browser.expect_text("status", |text| text == "open");
        browser.expect_text("extension", |text| text == extension);
        browser.expect_text("saved", |text| text == "nothing sent yet");
        // Those of the page before, whose server has gone.
        _ = browser.console_errors();

        _ = browser.run(EXCHANGE, json!([]));
        let exchanged = || browser.run("return window.exchanged", json!([]));
        browser.expect("the end of the exchange", |_| !exchanged().is_null());
        let exchanged = exchanged();
        assert_eq!(exchanged["extensions"], extension, "{exchanged}");
        let all = &exchanged["all"];
        for way in ["received", "sent"] {
            assert_eq!(all[way]["messages"], all["bytes"], "{program}: {exchanged}");
            let payloads = all[way]["payloads"].as_u64().expect("a number");
            let bytes = all["bytes"].as_u64().expect("a number");
            assert!(
                payloads > 0 && payloads < bytes / 2,
                "{program}: {exchanged}"
            );
            // What was said 200 bytes before is there, if contexts are taken over.
            let noise = &exchanged["noise"];
            let payloads = noise[way].as_u64().expect("a number");
            let bytes = noise["bytes"].as_u64().expect("a number");
            let again = payloads < bytes / 2;
            assert_eq!(
                again,
                !options.contains(&"--no-context-takeover"),
                "{exchanged}"
            );
        }

        let words = "Lorem ipsum dolor sit amet, consetetur sadipscing elitr. ".repeat(20);
        browser.fill("message", &words);
        browser.click("send");
        browser.expect_text("saved", |text| {
            text.starts_with("sent 1.1 KiB as ") && text.ends_with(" % saved")
        });
        browser.screenshot(&format!("{program}-{}", options.concat()));
        assert_eq!(browser.console_errors(), Vec::<String>::new());
    }

    let server = ServerProcess::example("echo", folder());
    browser.open(&format!("http://{}/", server.address));
    browser.expect_text("extension", |text| text == "no compression");
    browser.expect_text("saved", str::is_empty);
}

/// Where the logs and screenshots go.
fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}
