//! The same suite against smoltcp in the place of the operating system's TCP: the adapter's examples
//! at a TAP device, in a network namespace that the test makes and removes.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use motews_tests::namespace::{BOARD, HOST, Namespace};
use motews_tests::{Process, ServerProcess, example_with};
use serde_json::json;

use super::{Cases, folder, judge, suite};

#[test]
#[ignore = "needs root and the Autobahn test suite: bash .ci/install"]
fn autobahn_smoltcp_server_passes() {
    let folder = folder("smoltcp-server");
    let namespace = Namespace::with_tap("server");
    let mut server = namespace.command(adapter_example("smoltcp_echo"));
    server.args(["tap0", &format!("{BOARD}/24"), "9001"]);
    let server = ServerProcess::start("smoltcp_echo", &mut server, &folder);

    let spec = json!({
        "outdir": folder,
        "servers": [{ "agent": "motews", "url": server.url() }],
        "cases": Cases::UNCOMPRESSED.patterns,
    });
    let start = Instant::now();
    let suite = suite("fuzzingclient", &spec, &folder);
    let mut suite = Process::start("wstest", &mut namespace.enter(&suite), &folder);
    let status = suite.wait(Cases::UNCOMPRESSED.limit);
    assert!(
        status.success(),
        "wstest ends with {status}\n{}",
        suite.log()
    );
    let cases = &Cases::UNCOMPRESSED;
    judge("autobahn smoltcp server", &folder, start.elapsed(), cases);
}

#[test]
#[ignore = "needs root and the Autobahn test suite: bash .ci/install"]
fn autobahn_smoltcp_client_passes() {
    test_client("client", &Cases::UNCOMPRESSED);
}

#[test]
#[ignore = "needs root and the Autobahn test suite: bash .ci/install"]
fn autobahn_smoltcp_client_with_compression_passes() {
    test_client("client-compressed", &Cases::compressed());
}

/// Has the suite test the client, in a namespace of this name.
fn test_client(name: &str, cases: &Cases) {
    let folder = folder(&format!("smoltcp-{name}"));
    let namespace = Namespace::with_tap(name);
    let spec = json!({
        "url": format!("ws://{HOST}:9001"),
        "outdir": folder,
        "cases": cases.patterns,
    });
    let suite = suite("fuzzingserver", &spec, &folder);
    let mut suite = Process::start("wstest", &mut namespace.enter(&suite), &folder);
    namespace.wait_for_listener(9001);

    let start = Instant::now();
    let mut client = namespace.command(adapter_example("smoltcp_autobahn_client"));
    client.args(["tap0", &format!("{BOARD}/24"), &format!("{HOST}:9001")]);
    let mut client = Process::start("client", client.stdout(Stdio::null()), &folder);
    let status = client.wait(cases.limit);
    assert!(
        status.success(),
        "the client ends with {status}\n{}",
        client.log()
    );
    assert!(suite.is_running(), "{}", suite.log());
    let title = format!("autobahn smoltcp {name}");
    judge(&title, &folder, start.elapsed(), cases);
}

fn adapter_example(name: &str) -> PathBuf {
    example_with("motews-smoltcp", "deflate", name)
}
