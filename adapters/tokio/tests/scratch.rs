use axum::Router;
use axum::extract::Extension;
use axum::response::Response;
use axum::routing::any;
use core::time::Duration;
use motews_testkit::frame::{self, Frame};
use motews_testkit::head::REQUEST;
use motews_tokio::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

async fn echo(mut ws: WebSocketStream<UpgradedStream>) {
    while let Ok(Some(message)) = ws.recv().await {
        if ws.send(message).await.is_err() {
            break;
        }
    }
    eprintln!("ended {:?}", ws.ended());
}
async fn serve(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

#[tokio::test]
async fn e1_pipelined() {
    async fn route(upgrade: WebSocketUpgrade) -> Response {
        upgrade.on_upgrade(echo)
    }
    let url = serve(Router::new().route("/chat", any(route))).await;
    let address = url.trim_start_matches("ws://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut bytes = REQUEST.as_bytes().to_vec();
    for f in [
        frame::text("Hello"),
        frame::binary(vec![7; 100000]),
        frame::ping("x"),
        frame::close(1000, "bye"),
    ] {
        bytes.extend(f.encode(Some(frame::KEY)));
    }
    stream.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let at = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let mut rest = &answer[at..];
    while !rest.is_empty() {
        let f = Frame::decode(&mut rest).0;
        eprintln!("{:x} {}", f.first, f.payload.len());
    }
}

#[tokio::test]
async fn e2_limits() {
    async fn route(upgrade: WebSocketUpgrade, Extension(limits): Extension<Limits>) -> Response {
        upgrade
            .acceptor(&Acceptor::new().limits(limits))
            .on_upgrade(echo)
    }
    for (limits, name) in [
        (
            Limits {
                message: 0,
                ..Limits::DEFAULT
            },
            "m0",
        ),
        (
            Limits {
                message: 1,
                ..Limits::DEFAULT
            },
            "m1",
        ),
        (
            Limits {
                message: u64::MAX,
                ..Limits::DEFAULT
            },
            "mmax",
        ),
        (
            Limits {
                head: 0,
                ..Limits::DEFAULT
            },
            "h0",
        ),
        (
            Limits {
                headers: 0,
                ..Limits::DEFAULT
            },
            "hs0",
        ),
        (
            Limits {
                headers: 1,
                ..Limits::DEFAULT
            },
            "hs1",
        ),
        (
            Limits {
                head: u32::MAX,
                headers: u16::MAX,
                ..Limits::DEFAULT
            },
            "max",
        ),
    ] {
        let url = serve(
            Router::new()
                .route("/chat", any(route))
                .layer(Extension(limits)),
        )
        .await
            + "/chat";
        match Connector::new().connect(&url).await {
            Err(e) => eprintln!("{name} {e:?}"),
            Ok(mut ws) => {
                for len in [0, 1, 2, 100_000] {
                    let sent = ws.send(vec![7; len]).await;
                    let got = ws.recv().await.map(|m| m.map(|m| m.len()));
                    eprintln!("{name} {len} {sent:?} {got:?} {:?}", ws.ended());
                }
            }
        }
    }
}

#[tokio::test]
async fn e3_flood() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::Write;
        let mut s = std::net::TcpStream::connect(address).unwrap();
        let one = frame::binary("").encode(Some(frame::KEY));
        let bytes: Vec<u8> = one
            .iter()
            .copied()
            .cycle()
            .take(one.len() * 3_000_000)
            .collect();
        s.write_all(&bytes).unwrap();
    });
    let (stream, _) = listener.accept().await.unwrap();
    static N: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    use std::sync::atomic::Ordering::Relaxed;
    let task = tokio::spawn(async move {
        let mut ws = Acceptor::new().from_upgraded(stream, b"");
        while let Ok(Some(_)) = ws.recv().await {
            N.fetch_add(1, Relaxed);
        }
    });
    let mut last = 0;
    let mut worst = 0;
    let mut since = std::time::Instant::now();
    let mut gap = Duration::ZERO;
    while !task.is_finished() {
        tokio::task::yield_now().await;
        let n = N.load(Relaxed);
        worst = worst.max(n - last);
        last = n;
        gap = gap.max(since.elapsed());
        since = std::time::Instant::now();
    }
    eprintln!("worst {worst} of {last}, {gap:?}");
}

#[tokio::test]
async fn e4_gone_while_deciding() {
    for half in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (server, _) = listener.accept().await.unwrap();
        stream.write_all(REQUEST.as_bytes()).await.unwrap();
        let start = std::time::Instant::now();
        let mut stream = Some(stream);
        let got = Acceptor::new()
            .accept_with(server, async |_: &Request| {
                if half {
                    stream.as_mut().unwrap().shutdown().await.unwrap();
                } else {
                    stream
                        .as_mut()
                        .unwrap()
                        .set_linger(Some(Duration::ZERO))
                        .unwrap();
                    drop(stream.take());
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
                accepted()
            })
            .await;
        match got {
            Ok(mut ws) => {
                eprintln!("ok {:?} {:?}", ws.recv().await, start.elapsed());
                eprintln!("send {:?}", ws.send("x").await);
            }
            Err(e) => eprintln!("{e:?} {:?}", start.elapsed()),
        }
    }
}
