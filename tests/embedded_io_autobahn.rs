//! The same suite against the embedded-io adapter: the blocking WebSocket on threads, and the async
//! one on tokio.

use std::path::Path;
use std::process::Command;

use motews_tests::{ServerProcess, example};

use super::{Cases, folder, test_client, test_server, test_server_with};

/// The async echo.
fn start(options: &[&str], folder: &Path) -> ServerProcess {
    let mut server = Command::new(env!("CARGO_BIN_EXE_embedded_io_tokio_echo"));
    server.args(options).arg("127.0.0.1:0");
    ServerProcess::start("embedded_io_tokio_echo", &mut server, folder)
}

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_blocking_server_passes() {
    let folder = folder("blocking-server");
    let server = ServerProcess::example("embedded_io_threads_echo", &folder);
    test_server("autobahn blocking server", &server.url(), &folder);
}

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_blocking_client_passes() {
    let client = example("embedded_io_threads_autobahn_client");
    test_client("blocking", &mut Command::new(client), &Cases::UNCOMPRESSED);
}

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_async_server_passes() {
    let folder = folder("async-server");
    let server = start(&[], &folder);
    test_server("autobahn async server", &server.url(), &folder);
}

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_async_client_passes() {
    let client = env!("CARGO_BIN_EXE_embedded_io_tokio_autobahn_client");
    test_client("async", &mut Command::new(client), &Cases::UNCOMPRESSED);
}

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_async_server_with_compression_passes() {
    let folder = folder("async-server-compressed");
    let server = start(&["--deflate"], &folder);
    let title = "autobahn async server, compressed";
    test_server_with(title, &server.url(), &folder, &Cases::compressed());
}

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_async_client_with_compression_passes() {
    let mut client = Command::new(env!("CARGO_BIN_EXE_embedded_io_tokio_autobahn_client"));
    test_client(
        "async-compressed",
        client.arg("--deflate"),
        &Cases::compressed(),
    );
}

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_blocking_server_with_compression_passes() {
    let folder = folder("blocking-server-compressed");
    let mut server = Command::new(example("embedded_io_threads_echo"));
    server.args(["--deflate", "127.0.0.1:0"]);
    let server = ServerProcess::start("embedded_io_threads_echo", &mut server, &folder);
    let title = "autobahn blocking server, compressed";
    test_server_with(title, &server.url(), &folder, &Cases::compressed());
}

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_blocking_client_with_compression_passes() {
    let mut client = Command::new(example("embedded_io_threads_autobahn_client"));
    test_client(
        "blocking-compressed",
        client.arg("--deflate"),
        &Cases::compressed(),
    );
}
