//! Python's websockets and Node's ws as clients of motews-tokio inside of hyper and axum, over HTTP/1.1.

use core::convert::Infallible;
use core::net::SocketAddr;
use std::sync::mpsc;
use std::thread;

use ::tokio::net::TcpListener;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::any;
use http_body_util::Full;
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use motews_tokio::{
    Acceptor, DeflateConfig, Ended, UpgradedStream, WebSocketStream, WebSocketUpgrade,
};

use super::{CLOSE_BY_CLIENT, LIMIT, all_windows, run_client, run_to_end, script};

/// What a server has, and where it tells how each of its WebSockets has ended.
#[derive(Clone)]
struct Serves(Acceptor, mpsc::Sender<Ended>);

async fn echo(mut ws: WebSocketStream<UpgradedStream>, ends: mpsc::Sender<Ended>) {
    while let Ok(Some(message)) = ws.recv().await {
        if ws.send(message).await.is_err() {
            break;
        }
    }
    _ = ends.send(ws.closed().await);
}

async fn in_hyper(listener: TcpListener, serves: Serves) {
    while let Ok((stream, _)) = listener.accept().await {
        let serves = serves.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let Serves(acceptor, ends) = serves.clone();
            async move {
                let (mut parts, _) = request.into_parts();
                let response = match acceptor.upgrade(&mut parts) {
                    Ok((response, upgrading)) => {
                        ::tokio::spawn(async move {
                            let ws = upgrading.open().await.expect("the response leaves");
                            echo(ws, ends).await;
                        });
                        response
                    }
                    Err(error) => error.response(),
                };
                Ok::<_, Infallible>(response.map(Full::<Bytes>::new))
            }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        ::tokio::spawn(connection.with_upgrades());
    }
}

async fn in_axum(listener: TcpListener, serves: Serves) {
    async fn route(
        State(Serves(acceptor, ends)): State<Serves>,
        upgrade: WebSocketUpgrade,
    ) -> Response {
        upgrade
            .acceptor(&acceptor)
            .on_failed_upgrade(|error| panic!("{error}"))
            .on_upgrade(move |ws| echo(ws, ends))
    }
    let app = Router::new().route("/", any(route)).with_state(serves);
    axum::serve(listener, app).await.expect("it serves");
}

/// Starts a server that serves until the process ends.
fn start<F: Future<Output = ()> + 'static>(
    serve: fn(TcpListener, Serves) -> F,
    acceptor: Acceptor,
) -> (SocketAddr, mpsc::Receiver<Ended>) {
    let runtime = ::tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (ends, ended) = mpsc::channel();
    thread::spawn(move || runtime.block_on(serve(listener, Serves(acceptor, ends))));
    (address, ended)
}

/// Runs a client's script against a server, and then against one that compresses.
fn serve<F: Future<Output = ()> + 'static>(name: &str, serve: fn(TcpListener, Serves) -> F) {
    let (address, ended) = start(serve, Acceptor::new());
    run_client(name, address, false);
    let ended = ended.recv_timeout(LIMIT).expect("an end");
    assert!(ended.is_clean(), "{ended}");
    assert_eq!(ended.code().as_u16(), CLOSE_BY_CLIENT.0);

    let acceptor = Acceptor::new().deflate(DeflateConfig::MAX);
    let (address, ended) = start(serve, acceptor);
    let url = format!("ws://{address}/");
    run_to_end(name, script(name).arg(url).arg("--deflate"));
    // First it leaves the windows to the server.
    for _ in all_windows().take(2).chain(all_windows()) {
        let ended = ended.recv_timeout(LIMIT).expect("an end");
        assert!(ended.is_clean(), "{ended}");
    }
    assert!(ended.try_recv().is_err(), "connections without end");
}

#[test]
#[ignore = "needs Python's websockets: bash .ci/install"]
fn python_client_and_hyper() {
    serve("client.py", in_hyper);
}

#[test]
#[ignore = "needs Python's websockets: bash .ci/install"]
fn python_client_and_axum() {
    serve("client.py", in_axum);
}

#[test]
#[ignore = "needs Node's ws: bash .ci/install"]
fn node_client_and_hyper() {
    serve("client.mjs", in_hyper);
}

#[test]
#[ignore = "needs Node's ws: bash .ci/install"]
fn node_client_and_axum() {
    serve("client.mjs", in_axum);
}
