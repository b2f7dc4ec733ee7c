//! The same suite against the embedded-io adapter: the blocking WebSocket on threads, and the async
//! one on tokio.

use std::process::{Command, Stdio};
use std::time::Instant;

use motews_tests::{Process, ServerProcess, example_of, free_port};
use serde_json::json;

use super::{CATEGORIES, LIMIT, folder, judge, start_suite, test_server};

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_blocking_server_passes() {
    let folder = folder("blocking-server");
    let mut server = Command::new(example_of("motews-embedded-io", "threads_echo"));
    let server = ServerProcess::start("threads_echo", server.arg("127.0.0.1:0"), &folder);
    test_server("autobahn blocking server", &server.url(), &folder);
}

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_blocking_client_passes() {
    let client = example_of("motews-embedded-io", "threads_autobahn_client");
    test_client("blocking", &mut Command::new(client));
}

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_async_server_passes() {
    let folder = folder("async-server");
    let server = ServerProcess::example("tokio_echo", &folder);
    test_server("autobahn async server", &server.url(), &folder);
}

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_async_client_passes() {
    let client = example_of("motews-embedded-io", "tokio_autobahn_client");
    test_client("async", &mut Command::new(client));
}

/// Has the suite test a client, which takes the suite's address as its argument.
fn test_client(name: &str, client: &mut Command) {
    let folder = folder(&format!("{name}-client"));
    let port = free_port();
    let url = format!("ws://127.0.0.1:{port}");
    let spec = json!({ "url": url, "outdir": folder, "cases": CATEGORIES });
    let mut suite = start_suite("fuzzingserver", &spec, &folder);
    motews_tests::wait_for_listener(([127, 0, 0, 1], port).into());

    let start = Instant::now();
    let mut client = Process::start("client", client.arg(url).stdout(Stdio::null()), &folder);
    let status = client.wait(LIMIT);
    assert!(
        status.success(),
        "the client ends with {status}\n{}",
        client.log()
    );
    assert!(suite.is_running(), "{}", suite.log());
    judge(&format!("autobahn {name} client"), &folder, start.elapsed());
}
