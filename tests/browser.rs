//! The page of the echo example, in a real browser: headless Chromium, driven by chromedriver.
//!
//! The page keeps to these element ids: `status` (connecting, open, reconnecting, closed), `message`, `send`,
//! `log` (its entries have the class `out` or `in`), `rtt`, `close-code`, `close-reason`, `close`,
//! `outcome` and `reconnect`.

use std::path::Path;
use std::process::Command;

use motews_tests::browser::Browser;
use motews_tests::{ServerProcess, example};

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

/// Where the logs and screenshots go.
fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}
