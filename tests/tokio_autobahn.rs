//! The same suite against the tokio adapter.

use std::process::Command;

use motews_tests::{ServerProcess, example};

use super::{Cases, folder, test_client, test_server};

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_tokio_server_passes() {
    let folder = folder("tokio-server");
    let server = ServerProcess::example("echo_tokio", &folder);
    test_server("autobahn tokio server", &server.url(), &folder);
}

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_tokio_client_passes() {
    let client = example("autobahn_client_tokio");
    test_client("tokio", &mut Command::new(client), &Cases::UNCOMPRESSED);
}
