//! A client that comes back, over TLS: whatever ends a connection or an attempt, the pump ends, and the
//! next session is in the same memory.

use core::cell::{Cell, RefCell};
use core::pin::pin;
use core::time::Duration;
use std::sync::Arc;

use embedded_io_adapters::tokio_1::FromTokio;
use motews::handshake::Request;
use motews::interruption::Interrupted;
use motews::reconnect::{Backoff, Cause};
use motews::{
    Backlog, BacklogPolicy, CloseCode, Ended, Message, MessageBuffer, ProtocolViolation, Side,
};
use motews_embedded_io::Buffers;
use motews_embedded_io::asynch::{Reconnecting, Task, Update, WebSocket};
use motews_embedded_io::tls::{Pump, TlsBuffers, TlsError, TlsStream, TlsTunnel};
use motews_testkit::link::Random;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream as Served;

use super::support::{Os, Tokio, apart, authority, localhost, trusting};

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// There is no TCP connection.
    NoTcp,
    /// TCP ends in the middle of the handshake of TLS.
    Cut,
    /// The certificate is another authority's.
    WrongCertificate,
    /// The WebSocket is refused.
    Unauthorized,
    /// It is open, and after one message TCP ends.
    Gone,
    /// The same, and TLS ends in good order, without a Close.
    EndOfTls,
    /// The same, with a Close: the service restarts.
    Restart,
    /// It stays.
    Serve,
}

/// After each way to fail, a message gets through.
const FATES: [Fate; 12] = [
    Fate::Gone,
    Fate::WrongCertificate,
    Fate::Restart,
    Fate::Unauthorized,
    Fate::EndOfTls,
    Fate::Cut,
    Fate::Gone,
    Fate::NoTcp,
    Fate::Restart,
    Fate::Gone,
    Fate::EndOfTls,
    Fate::Restart,
];
/// How many connections and attempts come to their end.
const ENDS: usize = 20 * FATES.len();

impl Fate {
    fn of(number: usize) -> Self {
        match number {
            ENDS.. => Self::Serve,
            number => FATES[number % FATES.len()],
        }
    }

    /// What the client says of it, and the least and the longest wait, in seconds.
    fn report(self) -> (Interrupted<Cause, TlsError>, u64, u64) {
        let eof = Ended::Violation(ProtocolViolation::UnexpectedEof);
        let lost = Some(TlsError::Truncated);
        let restart = Ended::Closed {
            code: CloseCode::SERVICE_RESTART,
            by: Side::Remote,
            clean: true,
        };
        match self {
            Self::NoTcp => (Interrupted::Attempt(Cause::Unreachable), 0, 74),
            Self::Cut => (Interrupted::Attempt(Ended::Lost.into()), 0, 74),
            Self::WrongCertificate => (Interrupted::Attempt(Cause::Tls), 64, 74),
            Self::Unauthorized => (Interrupted::Attempt(Ended::Refused(401).into()), 64, 74),
            Self::Gone => (Interrupted::Connection(Ended::Lost, lost), 0, 74),
            Self::EndOfTls => (Interrupted::Connection(eof, None), 0, 74),
            Self::Restart => (Interrupted::Connection(restart, None), 0, 74),
            Self::Serve => unreachable!("it does not end"),
        }
    }
}

/// One connection from the server's side. What it has read of messages goes into `got`.
async fn serve(
    fate: Fate,
    (right, wrong): (&Arc<ServerConfig>, &Arc<ServerConfig>),
    mut client: DuplexStream,
    got: &RefCell<Vec<String>>,
) {
    if fate == Fate::Cut {
        let mut hello = [0; 100];
        client.read_exact(&mut hello).await.expect("it begins");
        return;
    }
    let config = match fate {
        Fate::WrongCertificate => wrong,
        _ => right,
    };
    let accepted = TlsAcceptor::from(Arc::clone(config)).accept(client).await;
    if fate == Fate::WrongCertificate {
        // The client has sent no Finished, and so no request.
        return assert!(accepted.is_err());
    }
    let mut stream: Served<DuplexStream> = accepted.expect("a client");
    if fate == Fate::Unauthorized {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a request"));
        }
        let answer = b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.expect("it is open");
        stream.shutdown().await.expect("it is open");
        return;
    }
    let transport = FromTokio::new(&mut stream);
    let (mut receive, mut transmit) = ([0; 512], [0; 512]);
    let buffers = Buffers {
        receive: &mut receive,
        transmit: &mut transmit,
    };
    let mut ws = WebSocket::server(transport, buffers).expect("room");
    ws.accept().await.expect("a request");
    let mut messages = MessageBuffer::new([0; 64]);
    loop {
        match ws.recv(&mut messages).await {
            Ok(Some(Message::Text(text))) => got.borrow_mut().push(text.to_owned()),
            Ok(Some(_)) => unreachable!("only texts are sent"),
            // The client's Close.
            Ok(None) | Err(_) => {
                _ = ws.closed().await;
                return;
            }
        }
        match fate {
            Fate::Serve => {}
            Fate::Restart => {
                ws.close(CloseCode::SERVICE_RESTART, "").expect("open");
                return assert!(ws.closed().await.is_ok_and(Ended::is_clean));
            }
            _ => break,
        }
    }
    drop(ws);
    if fate == Fate::EndOfTls {
        stream.shutdown().await.expect("it is open");
        // What is written to a pipe that nobody reads fails.
        _ = stream.read(&mut [0]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn client_over_tls_comes_back_after_each_end_and_each_pump_ends() {
    let (root, other) = (authority("an authority"), authority("another"));
    let right = root.issue(localhost()).server(&[]);
    let wrong = other.issue(localhost()).server(&[]);
    let authorities = [&root.certificate[..]];
    let config = trusting(&authorities);

    // All the memory there is for TLS, whichever session it is.
    let (mut incoming, mut outgoing) = ([0; 256], [0; 256]);
    let tunnel = TlsTunnel::new(&mut incoming, &mut outgoing);
    let (mut read, mut write) = (vec![0; 16_640], vec![0; 1024]);
    let (pumps, mut next) = mpsc::channel::<Pump<'_>>(1);
    let (clients, mut accepted) = mpsc::channel::<(Fate, DuplexStream)>(1);
    let (begun, ended) = (Cell::new(0), RefCell::new(Vec::new()));

    // The task of the pump: TCP is its own.
    let pumping = async {
        while let Some(pump) = next.recv().await {
            let fate = Fate::of(begun.replace(begun.get() + 1));
            if fate == Fate::NoTcp {
                ended.borrow_mut().push((fate, Ok(())));
                continue; // The pump is dropped.
            }
            let (near, far) = tokio::io::duplex(4096);
            clients.send((fate, far)).await.expect("the server listens");
            let transport = apart(near);
            let buffers = TlsBuffers {
                read: &mut read,
                write: &mut write,
            };
            let run = pump.run(transport, buffers, &config, Os, Tokio::new());
            let end = Box::pin(run).await;
            ended.borrow_mut().push((fate, end));
        }
        drop(clients);
    };

    let got = &RefCell::new(Vec::new());
    let serving = async {
        while let Some((fate, client)) = accepted.recv().await {
            serve(fate, (&right, &wrong), client, got).await;
        }
    };

    let tunnel = &tunnel;
    let talking = async move {
        let generator = RefCell::new(Os);
        let (mut receive, mut transmit, mut backlog) = ([0; 256], [0; 256], [0; 256]);
        let buffers = Buffers {
            receive: &mut receive,
            transmit: &mut transmit,
        };
        let request = Request::new("localhost", "/").expect("right");
        let pumps = &pumps;
        let connect = |stream: TlsStream<'_>, task| {
            // The pump ends TLS and TCP.
            drop(stream);
            async move {
                let (stream, pump) = tunnel.next_ends().await;
                let result = match task {
                    Task::Connect => {
                        pumps.send(pump).await.expect("it waits");
                        tunnel.opened().await.map_err(Cause::from)
                    }
                    // The pump is dropped: a stream at its end.
                    Task::Disconnect => Ok(()),
                };
                (stream, result)
            }
        };
        let (stream, _) = tunnel.next_ends().await;
        let place = pin!(None);
        let client = Reconnecting::new(
            place,
            stream,
            connect,
            buffers,
            request,
            &generator,
            Tokio::new(),
        );
        let mut client = client
            .expect("room")
            .with_backoff(Backoff {
                persist: true,
                ..Backoff::DEFAULT
            })
            .with_backlog(Backlog::new(&mut backlog, BacklogPolicy::DropNewest));

        let mut messages = MessageBuffer::new([0; 64]);
        let (mut random, mut ends, mut sent) = (Random(1012), 0, Vec::new());
        loop {
            // Dropped all the time: at each await, or after a while.
            let turn = random.below(900) as u64;
            let other = async {
                match turn % 2 {
                    0 => tokio::task::yield_now().await,
                    _ => tokio::time::sleep(Duration::from_millis(turn)).await,
                }
            };
            let update = tokio::select! {
                update = client.next(&mut messages) => update,
                () = other => {
                    let served = ends == ENDS && got.borrow().len() == sent.len();
                    if served && client.is_open() {
                        client.close(CloseCode::NORMAL, "").expect("it is open");
                    }
                    continue;
                }
            };
            match update {
                Some(Update::Opened(())) => {
                    let text = format!("reading {}", sent.len());
                    client.queue(Message::Text(&text)).expect("room");
                    sent.push(text);
                }
                Some(Update::Ended(interruption)) if ends < ENDS => {
                    let fate = Fate::of(ends);
                    let (reason, least, most) = fate.report();
                    assert_eq!(interruption.reason, reason, "{fate:?}");
                    let wait = interruption.retry_in.expect("there is a next attempt");
                    let range = Duration::from_secs(least)..=Duration::from_secs(most);
                    assert!(range.contains(&wait), "{fate:?}: {wait:?}");
                    ends += 1;
                }
                Some(Update::Ended(interruption)) => assert_eq!(interruption.retry_in, None),
                Some(_) => unreachable!("the server says nothing"),
                None => break,
            }
        }
        assert!(client.backlog().is_empty());
        sent
    };
    let began = std::time::Instant::now();
    let (simulated, all) = (tokio::time::Instant::now(), async {
        tokio::join!(pumping, serving, Box::pin(talking))
    });
    let ((), (), sent) = all.await;

    // Each message that was queued has come, once and in order.
    assert_eq!(*got.borrow(), sent);
    let ended = ended.into_inner();
    assert_eq!((ended.len(), begun.get()), (ENDS + 1, ENDS + 1));
    for (fate, end) in &ended {
        match fate {
            Fate::WrongCertificate => assert_eq!(*end, Err(TlsError::UnknownIssuer)),
            Fate::Gone | Fate::Cut => assert_eq!(*end, Err(TlsError::Truncated)),
            Fate::EndOfTls | Fate::Unauthorized | Fate::NoTcp => assert_eq!(*end, Ok(())),
            // Who ends TCP first.
            Fate::Restart | Fate::Serve => {
                assert!(matches!(end, Ok(()) | Err(TlsError::Truncated)), "{end:?}");
            }
        }
    }
    println!(
        "{} sessions, {} messages, {:?} of simulated time in {:?}",
        ended.len(),
        sent.len(),
        simulated.elapsed(),
        began.elapsed(),
    );
}
