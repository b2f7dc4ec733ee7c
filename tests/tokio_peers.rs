//! The same peers against the tokio adapter, in both roles.

use core::net::SocketAddr;
use std::sync::Arc;

use motews_tests::ServerProcess;
use motews_tokio::role::Client;
use motews_tokio::rustls::crypto::ring;
use motews_tokio::rustls::{ClientConfig, RootCertStore};
use motews_tokio::{
    CloseCode, ConnectError, Connector, DeflateConfig, Message, NetStream, OsEntropy,
    WebSocketStream,
};

use super::{
    CLOSE_BY_SERVER, FRAGMENTED_BY_SERVER, connect_tungstenite, exchange, folder, run_client,
    script,
};

#[test]
#[ignore = "builds the echo example"]
fn tungstenite_client_and_tokio_echo_example() {
    let server = ServerProcess::example("tokio_echo", folder());
    exchange(|| connect_tungstenite(server.address, false), false);
}

#[test]
#[ignore = "needs Python's websockets: bash .ci/install"]
fn python_client_and_tokio_echo_example() {
    let server = ServerProcess::example("tokio_echo", folder());
    run_client("client.py", server.address, false);
}

#[test]
#[ignore = "needs Node's ws: bash .ci/install"]
fn node_client_and_tokio_echo_example() {
    let server = ServerProcess::example("tokio_echo", folder());
    run_client("client.mjs", server.address, false);
}

#[test]
#[ignore = "needs Python's websockets: bash .ci/install"]
fn python_server_serves_tokio() {
    let server = ServerProcess::start("server.py", &mut script("server.py"), folder());
    talk(server.address);
}

#[test]
#[ignore = "needs Node's ws: bash .ci/install"]
fn node_server_serves_tokio() {
    let server = ServerProcess::start("server.mjs", &mut script("server.mjs"), folder());
    talk(server.address);
}

/// What the other clients do with a server that understands commands, compressed and not.
fn talk(address: SocketAddr) {
    let runtime = ::tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let url = format!("ws://{address}/");
        let connector = Connector::new().subprotocols(["other", "echo"]);
        for connector in [connector.clone(), connector.deflate(DeflateConfig::DEFAULT)] {
            let mut ws = connector.connect(&url).await.expect("it accepts");
            assert_eq!(ws.subprotocol(), Some("echo"));
            echo(&mut ws).await;
            for (command, answer) in [
                ("!ping payload", "!pong payload"),
                ("!fragments", FRAGMENTED_BY_SERVER),
            ] {
                ws.ping(b"meanwhile").await.expect("it is open");
                ws.send(command).await.expect("it is open");
                assert_eq!(ws.recv().await.expect("it is open"), Some(answer.into()));
            }
            ws.send("!close").await.expect("it is open");
            assert_eq!(ws.recv().await.expect("a clean end"), None);
            let ended = ws.ended().expect("an end");
            assert!(ended.is_clean(), "{ended}");
            let (code, reason) = CLOSE_BY_SERVER;
            assert_eq!((ended.code().as_u16(), ws.close_reason()), (code, reason));

            let mut ws = connector.connect(&url).await.expect("it accepts");
            ws.close(CloseCode::new(4000), "by this side")
                .expect("it is open");
            assert!(ws.closed().await.is_clean());
        }
    });
}

/// Messages of many sizes come back as they were.
async fn echo(ws: &mut WebSocketStream<NetStream, Client<OsEntropy>>) {
    for len in [0, 1, 125, 126, 65_535, 65_536, 300_000] {
        for message in [
            Message::from("é".repeat(len / 2)),
            Message::from(vec![7; len]),
        ] {
            ws.send(message.clone()).await.expect("it is open");
            assert_eq!(ws.recv().await.expect("it is open"), Some(message));
        }
    }
}

/// hypercorn, which has HTTP/2 and WebSockets of its own: it says by which HTTP each of them came.
#[test]
#[ignore = "needs Python's hypercorn: bash .ci/install"]
fn hypercorn_serves_tokio_over_http2() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a key");
    let [certificate, key] = ["hypercorn.pem", "hypercorn.key"].map(|name| folder().join(name));
    std::fs::write(&certificate, made.cert.pem()).expect("the folder is writable");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("the folder is writable");
    let mut command = script("h2_server.py");
    let server = ServerProcess::start("h2_server.py", command.args([certificate, key]), folder());
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = Connector::new()
        .tls(Arc::new(config))
        .subprotocols(["other", "echo"]);
    let url = format!("wss://localhost:{}/", server.address.port());
    let runtime = ::tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let compressed = connector.clone().deflate(DeflateConfig::DEFAULT);
        for (connector, version) in [
            (connector.clone(), "1.1"),
            (connector.clone().http2(), "2"),
            (compressed.http2(), "2"),
        ] {
            let mut ws = connector.connect(&url).await.expect("it accepts");
            assert_eq!(ws.subprotocol(), Some("echo"));
            let first = ws.recv().await.expect("it is open");
            assert_eq!(first, Some(version.into()));
            echo(&mut ws).await;
            ws.send("!close").await.expect("it is open");
            assert_eq!(ws.recv().await.expect("a clean end"), None);
            assert_eq!(ws.close_reason(), "server 再见");
            let ended = ws.closed().await;
            assert!(ended.is_clean(), "{ended:?}");
            // And the other way round.
            let mut ws = connector.connect(&url).await.expect("it accepts");
            ws.close(CloseCode::NORMAL, "").expect("it is open");
            let ended = ws.closed().await;
            assert!(ended.is_clean(), "{ended:?}");
        }
        let refused = connector.http2().connect(&format!("{url}refused")).await;
        match refused {
            Err(ConnectError::Refused(response)) => assert_eq!(response.status(), 403),
            other => panic!("{other:?}"),
        }
    });
}
