//! What the pump moves, and how it ends.

use core::time::Duration;
use std::sync::Arc;

use embedded_io_async::{Read, Write};
use motews::handshake::Request;
use motews::{Client, CloseCode, Deadline, Ended, Message, MessageBuffer};
use motews_embedded_io::asynch::WebSocket;
use motews_embedded_io::tls::{TlsError, TlsStream, TlsTunnel};
use motews_embedded_io::{Buffers, Error};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream as Served;

use super::support::{Issued, Os, Tokio, apart, authority, client, localhost, trusting};
use super::{payloads, serve};

/// An authority, and a server of its.
fn pair() -> (Issued, Arc<ServerConfig>) {
    let authority = authority("an authority");
    let server = authority.issue(localhost()).server(&[]);
    (authority, server)
}

/// A client in memory, against what `serves` does with its side.
async fn in_memory<V, W>(
    talk: impl AsyncFnOnce(TlsStream<'_>) -> V,
    serves: impl AsyncFnOnce(Served<DuplexStream>) -> W,
) -> (V, Result<(), TlsError>, W) {
    let (authority, server) = pair();
    let (near, far) = tokio::io::duplex(4096);
    let authorities = [&authority.certificate[..]];
    let config = trusting(&authorities);
    let server = async {
        let stream = TlsAcceptor::from(server).accept(far).await;
        serves(stream.expect("a client")).await
    };
    let ((value, end), served) = tokio::join!(client(near, &config, talk), server);
    (value, end, served)
}

#[tokio::test]
async fn open_messages_of_all_lengths_come_back_and_the_end_is_clean() {
    let (authority, server) = pair();
    let (port, server) = serve(server);
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
    let authorities = [&authority.certificate[..]];
    let config = trusting(&authorities);
    let (ended, end) = client(stream.expect("it listens"), &config, async |stream| {
        let request = Request::new("localhost", "/").expect("right");
        let (mut receive, mut transmit) = ([0; 64], vec![0; 50_000]);
        let buffers = Buffers {
            receive: &mut receive,
            transmit: &mut transmit,
        };
        let ws = WebSocket::client(stream, buffers, request, Os).expect("room");
        let mut ws = ws.with_clock(Tokio::new());
        ws.connect().await.expect("a response");
        let mut messages = MessageBuffer::new(vec![0; 50_000]);
        for payload in payloads() {
            let message = Message::Binary(&payload);
            ws.send(message).await.expect("it goes out");
            let echo = ws.recv(&mut messages).await.expect("it comes back");
            assert_eq!(echo, Some(message));
        }
        ws.close(CloseCode::NORMAL, "").expect("open");
        ws.closed().await.expect("an end")
    })
    .await;
    // This server ends TCP without the end of TLS. Both Closes were through.
    assert!(ended.is_clean(), "{ended:?}");
    assert_eq!(end, Err(TlsError::Truncated));
    assert_eq!(server.join().expect("no panic"), payloads().len());
}

#[tokio::test]
async fn dropped_stream_sends_what_was_written_and_the_end_of_tls() {
    let talk = async |mut stream: TlsStream<'_>| {
        stream.write_all(&[7; 1000]).await.expect("it is open");
    };
    let serves = async |mut stream: Served<_>| {
        let mut bytes = Vec::new();
        // Fails without a close_notify.
        stream.read_to_end(&mut bytes).await.map(|_| bytes)
    };
    let ((), end, served) = in_memory(talk, serves).await;
    assert_eq!(end, Ok(()));
    assert_eq!(served.expect("a clean end"), [7; 1000]);
}

#[tokio::test]
async fn open_server_ends_tls_reading_returns_0_and_writing_fails() {
    let talk = async |mut stream: TlsStream<'_>| {
        let mut bytes = [0; 8];
        let all = stream.read_exact(&mut bytes[..5]).await;
        let end = stream.read(&mut bytes[5..]).await;
        let again = stream.read(&mut bytes[5..]).await;
        let written = stream.write(b"too late").await;
        (all.is_ok(), bytes[..5].to_vec(), end, again, written)
    };
    let serves = async |mut stream: Served<_>| {
        stream.write_all(b"hello").await.expect("it goes out");
        stream.shutdown().await.expect("it goes out");
        // What is written to a pipe that nobody reads fails.
        _ = stream.read(&mut [0]).await;
    };
    let (seen, end, ()) = in_memory(talk, serves).await;
    let late = Err(TlsError::Closed);
    assert_eq!(seen, (true, b"hello".to_vec(), Ok(0), Ok(0), late));
    assert_eq!(end, Ok(()));
}

#[tokio::test]
async fn open_transport_ends_without_the_end_of_tls_is_truncated() {
    let talk = async |mut stream: TlsStream<'_>| {
        let mut bytes = [0; 5];
        stream
            .read_exact(&mut bytes)
            .await
            .expect("they came before");
        stream.read(&mut bytes).await
    };
    let serves = async |mut stream: Served<_>| {
        stream.write_all(b"hello").await.expect("it goes out");
        stream.flush().await.expect("it goes out");
    };
    let (seen, end, ()) = in_memory(talk, serves).await;
    assert_eq!(
        (seen, end),
        (Err(TlsError::Truncated), Err(TlsError::Truncated))
    );
}

#[tokio::test]
async fn pump_dropped_stream_fails_and_says_so() {
    let (mut incoming, mut outgoing) = ([0; 64], [0; 64]);
    let mut tunnel = TlsTunnel::new(&mut incoming, &mut outgoing);
    let (mut stream, pump) = tunnel.ends();
    assert_eq!(stream.write(b"x").await, Ok(1));
    drop(pump);
    assert_eq!(stream.read(&mut [0; 8]).await, Err(TlsError::PumpDropped));
    assert_eq!(stream.write(b"x").await, Err(TlsError::PumpDropped));
    assert_eq!(stream.flush().await, Err(TlsError::PumpDropped));
    drop(stream);
    assert_eq!(tunnel.end(), Some(Err(TlsError::PumpDropped)));
}

#[tokio::test]
async fn tunnel_with_the_pump_in_another_task_serves_one_session_after_another() {
    use motews_embedded_io::tls::TlsBuffers;

    let (authority, server) = pair();
    let authorities = [&authority.certificate[..]];
    let config = trusting(&authorities);
    let (mut incoming, mut outgoing) = ([0; 64], [0; 64]);
    let tunnel = TlsTunnel::new(&mut incoming, &mut outgoing);
    let (pumps, mut next) = tokio::sync::mpsc::channel(1);
    let (clients, mut accepted) = tokio::sync::mpsc::channel::<DuplexStream>(1);
    let pumping = async {
        let mut ends = Vec::new();
        while let Some(pump) = next.recv().await {
            let pump: motews_embedded_io::tls::Pump<'_> = pump;
            let (near, far) = tokio::io::duplex(4096);
            clients.send(far).await.expect("the server waits");
            let transport = apart(near);
            let (mut read, mut write) = (vec![0; 16_640], vec![0; 1024]);
            let buffers = TlsBuffers {
                read: &mut read,
                write: &mut write,
            };
            let run = pump.run(transport, buffers, &config, Os, Tokio::new());
            ends.push(Box::pin(run).await);
        }
        drop(clients);
        ends
    };
    let talking = async {
        for number in 0..3_u8 {
            let (mut stream, pump) = tunnel.next_ends().await;
            pumps.send(pump).await.expect("it waits");
            stream.write_all(&[number; 200]).await.expect("open");
            let mut bytes = [0; 200];
            stream.read_exact(&mut bytes).await.expect("open");
            assert_eq!(bytes, [number; 200]);
            // What the server has sent beyond that is not in the next session.
        }
        drop(pumps);
    };
    let serving = async {
        while let Some(client) = accepted.recv().await {
            let stream = TlsAcceptor::from(Arc::clone(&server)).accept(client).await;
            let mut stream = stream.expect("a client");
            let mut bytes = [0; 200];
            stream.read_exact(&mut bytes).await.expect("a message");
            stream.write_all(&bytes).await.expect("open");
            stream.write_all(&[99; 50]).await.expect("open");
            stream.flush().await.expect("open");
            while stream.read(&mut bytes).await.is_ok_and(|len| len > 0) {}
        }
    };
    let (ends, (), ()) = tokio::join!(pumping, talking, serving);
    assert_eq!(ends, [Ok(()); 3]);
}

/// A WebSocket in time.
fn websocket<'a>(
    stream: TlsStream<'a>,
    buffers: Buffers<'a>,
) -> WebSocket<'a, TlsStream<'a>, Client<Os>, Tokio> {
    let request = Request::new("localhost", "/").expect("right");
    let ws = WebSocket::client(stream, buffers, request, Os).expect("room");
    ws.with_clock(Tokio::new())
}

#[tokio::test(start_paused = true)]
async fn opening_silent_server_the_websocket_times_out_and_the_pump_ends() {
    // It takes what comes, and says nothing.
    let (near, far) = tokio::io::duplex(4096);
    let (authority, _) = pair();
    let authorities = [&authority.certificate[..]];
    let config = trusting(&authorities);
    let (seen, end) = client(near, &config, async |stream| {
        let (mut receive, mut transmit) = ([0; 64], [0; 512]);
        let buffers = Buffers {
            receive: &mut receive,
            transmit: &mut transmit,
        };
        websocket(stream, buffers).connect().await.map(|_| ())
    })
    .await;
    let late = Error::Ended(Ended::TimedOut(Deadline::Handshake));
    assert_eq!((seen, end), (Err(late), Ok(())));
    drop(far);
}

#[tokio::test(start_paused = true)]
async fn open_peer_reads_nothing_a_dropped_stream_ends_the_pump_in_time() {
    let (authority, server) = pair();
    let (near, far) = tokio::io::duplex(4096);
    let authorities = [&authority.certificate[..]];
    let config = trusting(&authorities);
    let talk = async |mut stream: TlsStream<'_>| {
        // More than all buffers on the way hold.
        let all = stream.write_all(&[7; 100_000]);
        let waited = tokio::time::timeout(Duration::from_secs(60), all).await;
        (waited.is_err(), tokio::time::Instant::now())
    };
    let serve = async {
        let stream = TlsAcceptor::from(server).accept(far).await;
        core::future::pending::<()>().await;
        drop(stream);
    };
    let ((waits, dropped), end) = tokio::select! {
        end = client(near, &config, talk) => end,
        () = serve => unreachable!(),
    };
    assert_eq!((waits, end), (true, Err(TlsError::TimedOut)));
    assert_eq!(dropped.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn entropy_fails_nothing_is_sent_and_the_stream_says_so() {
    use motews_embedded_io::Untimed;
    use motews_embedded_io::tls::TlsBuffers;

    let (near, mut far) = tokio::io::duplex(4096);
    let transport = apart(near);
    let (mut incoming, mut outgoing) = ([0; 64], [0; 64]);
    let mut tunnel = TlsTunnel::new(&mut incoming, &mut outgoing);
    let (mut read, mut write) = ([0; 2304], [0; 1024]);
    let buffers = TlsBuffers {
        read: &mut read,
        write: &mut write,
    };
    let (mut stream, pump) = tunnel.ends();
    struct Broken;
    impl motews::Entropy for Broken {
        fn fill(&mut self, _: &mut [u8]) -> Result<(), motews::EntropyError> {
            Err(motews::EntropyError)
        }
    }
    let config = trusting(&[]);
    let end = pump.run(transport, buffers, &config, Broken, Untimed).await;
    assert_eq!(end, Err(TlsError::NoEntropy));
    assert_eq!(stream.read(&mut [0; 8]).await, Err(TlsError::NoEntropy));
    let mut sent = Vec::new();
    far.read_to_end(&mut sent).await.expect("memory");
    assert!(sent.is_empty());
}

#[tokio::test]
async fn split_websocket_both_send_more_than_the_buffers_hold_and_all_comes_through() {
    const COUNT: usize = 300;
    let talk = async |stream: TlsStream<'_>| {
        let (mut receive, mut transmit) = ([0; 64], [0; 1024]);
        let buffers = Buffers {
            receive: &mut receive,
            transmit: &mut transmit,
        };
        let mut ws = websocket(stream, buffers);
        ws.connect().await.expect("a response");
        let mut halves = ws.split::<TlsError>().expect("it is open");
        let (mut receiver, mut sender) = halves.both();
        let receive = async {
            let mut messages = MessageBuffer::new([0; 1000]);
            for number in 0..COUNT {
                let message = receiver.recv(&mut messages).await.expect("open");
                assert_eq!(message, Some(Message::Binary(&[number as u8; 700])));
            }
        };
        let send = async {
            for number in 0..COUNT {
                let bytes = [number as u8; 800];
                sender.send(Message::Binary(&bytes)).await.expect("open");
            }
            sender.flush().await.expect("open");
        };
        tokio::join!(receive, send);
        drop(halves);
        ws.close(CloseCode::NORMAL, "").expect("open");
        ws.closed().await
    };
    let serves = async |stream: Served<DuplexStream>| {
        let transport = apart(stream);
        let (mut receive, mut transmit) = ([0; 64], [0; 1024]);
        let buffers = Buffers {
            receive: &mut receive,
            transmit: &mut transmit,
        };
        let mut ws = WebSocket::server(transport, buffers).expect("room");
        ws.accept().await.expect("a request");
        let mut halves = ws.split::<std::io::Error>().expect("it is open");
        let (mut receiver, mut sender) = halves.both();
        let receive = async {
            let mut messages = MessageBuffer::new([0; 1000]);
            for number in 0..COUNT {
                let message = receiver.recv(&mut messages).await.expect("open");
                assert_eq!(message, Some(Message::Binary(&[number as u8; 800])));
            }
        };
        let send = async {
            for number in 0..COUNT {
                let bytes = [number as u8; 700];
                sender.send(Message::Binary(&bytes)).await.expect("open");
            }
            sender.flush().await.expect("open");
        };
        tokio::join!(receive, send);
        drop(halves);
        let ended = ws.closed().await.expect("an end");
        assert!(ended.is_clean());
    };
    let (ended, end, ()) = in_memory(talk, serves).await;
    assert!(ended.expect("an end").is_clean());
    // This server ends TCP without the end of TLS, which says so; the WebSocket does not care.
    assert!(matches!(end, Ok(()) | Err(TlsError::Truncated)), "{end:?}");
}

/// A server whose WebSocket is open until `ends`.
async fn serve_until(stream: Served<DuplexStream>, ends: impl Future<Output = ()>) {
    let transport = apart(stream);
    let (mut receive, mut transmit) = ([0; 64], [0; 1024]);
    let buffers = Buffers {
        receive: &mut receive,
        transmit: &mut transmit,
    };
    let mut ws = WebSocket::server(transport, buffers).expect("room");
    ws.accept().await.expect("a request");
    ends.await;
}

/// What a WebSocket says when its session is over: how, once, and then that it is lost.
async fn says<'a>(
    ws: &mut WebSocket<'a, TlsStream<'a>, Client<Os>, Tokio>,
) -> [Error<TlsError>; 3] {
    let mut messages = MessageBuffer::new([0; 8]);
    let first = ws.recv(&mut messages).await.map(|_| ());
    let second = ws.recv(&mut messages).await.map(|_| ());
    let third = ws.send(Message::Text("late")).await;
    [first, second, third].map(|end| end.expect_err("it is over"))
}

#[tokio::test]
async fn open_transport_ends_the_websocket_says_how_once_and_is_lost() {
    let talk = async |stream: TlsStream<'_>| {
        let (mut receive, mut transmit) = ([0; 64], [0; 512]);
        let buffers = Buffers {
            receive: &mut receive,
            transmit: &mut transmit,
        };
        let mut ws = websocket(stream, buffers);
        ws.connect().await.expect("a response");
        says(&mut ws).await
    };
    let (said, end, ()) = in_memory(talk, async |stream| serve_until(stream, async {}).await).await;
    let lost = Error::Ended(Ended::Lost);
    assert_eq!(said, [Error::Io(TlsError::Truncated), lost, lost]);
    assert_eq!(end, Err(TlsError::Truncated));
}

#[tokio::test]
async fn open_pump_is_dropped_the_websocket_says_so_once_and_is_lost() {
    use motews_embedded_io::tls::TlsBuffers;

    let (authority, server) = pair();
    let (near, far) = tokio::io::duplex(4096);
    let authorities = [&authority.certificate[..]];
    let config = trusting(&authorities);
    let transport = apart(near);
    let (mut incoming, mut outgoing) = ([0; 64], [0; 64]);
    let mut tunnel = TlsTunnel::new(&mut incoming, &mut outgoing);
    let (mut read, mut write) = (vec![0; 16_640], vec![0; 1024]);
    let buffers = TlsBuffers {
        read: &mut read,
        write: &mut write,
    };
    let (stream, pump) = tunnel.ends();
    let (mut receive, mut transmit) = ([0; 64], [0; 512]);
    let lent = Buffers {
        receive: &mut receive,
        transmit: &mut transmit,
    };
    let mut ws = websocket(stream, lent);
    let serve = async {
        let stream = TlsAcceptor::from(server).accept(far).await;
        serve_until(stream.expect("a client"), core::future::pending()).await;
    };
    let run = Box::pin(pump.run(transport, buffers, &config, Os, Tokio::new()));
    tokio::select! {
        opened = ws.connect() => opened.expect("a response"),
        _ = run => panic!("the pump ends"),
        () = serve => unreachable!(),
    }
    // `select` has dropped it.
    let lost = Error::Ended(Ended::Lost);
    assert_eq!(
        says(&mut ws).await,
        [Error::Io(TlsError::PumpDropped), lost, lost]
    );
}
