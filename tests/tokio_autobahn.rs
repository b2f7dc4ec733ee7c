//! The same suite against the tokio adapter.

use std::process::Command;

use motews_tests::{ServerProcess, example};

use super::{Cases, folder, test_client, test_server, test_server_with};

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_tokio_server_passes() {
    let folder = folder("tokio-server");
    let server = ServerProcess::example("tokio_echo", &folder);
    test_server("autobahn tokio server", &server.url(), &folder);
}

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_tokio_client_passes() {
    let client = example("tokio_autobahn_client");
    test_client("tokio", &mut Command::new(client), &Cases::UNCOMPRESSED);
}

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_tokio_server_with_compression_passes() {
    let folder = folder("tokio-server-compressed");
    let mut server = Command::new(example("tokio_echo"));
    server.args(["--deflate", "127.0.0.1:0"]);
    let server = ServerProcess::start("tokio_echo", &mut server, &folder);
    let title = "autobahn tokio server, compressed";
    test_server_with(title, &server.url(), &folder, &Cases::compressed());
}

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_tokio_client_with_compression_passes() {
    let mut client = Command::new(example("tokio_autobahn_client"));
    test_client(
        "tokio-compressed",
        client.arg("--deflate"),
        &Cases::compressed(),
    );
}
