//! The same peers against the tokio adapter, in both roles.

use core::net::SocketAddr;

use motews_tests::ServerProcess;
use motews_tokio::{CloseCode, Connector, DeflateConfig, Message};

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
            let echoes = [0, 1, 125, 126, 65_535, 65_536, 300_000]
                .into_iter()
                .flat_map(|len| {
                    [
                        Message::from("é".repeat(len / 2)),
                        Message::from(vec![7; len]),
                    ]
                });
            for message in echoes {
                ws.send(message.clone()).await.expect("it is open");
                assert_eq!(ws.recv().await.expect("it is open"), Some(message));
            }
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
