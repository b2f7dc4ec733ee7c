//! `select` of a timer, a channel and `recv` over TLS: an hour of simulated time, in which futures are
//! dropped at every await.

use core::time::Duration;

use motews::handshake::Request;
use motews::{CloseCode, Event, Message, MessageBuffer};
use motews_embedded_io::Buffers;
use motews_embedded_io::asynch::WebSocket;
use motews_embedded_io::tls::TlsStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_rustls::TlsAcceptor;

use super::support::{Os, Tokio, apart, authority, client, localhost, trusting};

const HOUR: Duration = Duration::from_secs(3600);

/// A number between 0 and `below`.
fn random(state: &mut u64, below: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    (*state >> 33) % below
}

/// A numbered message of any length, of which the last byte is the first.
fn message(number: u64, state: &mut u64) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.resize(8 + random(state, 1000) as usize, number as u8);
    bytes
}

/// Checks that a message is the next one.
fn check(bytes: &[u8], next: &mut u64) {
    let (number, rest) = bytes.split_first_chunk().expect("a number");
    assert_eq!(u64::from_be_bytes(*number), *next);
    assert!(rest.iter().all(|byte| *byte == *next as u8));
    *next += 1;
}

#[tokio::test(start_paused = true)]
async fn open_an_hour_of_select_nothing_is_lost_and_nothing_comes_twice() {
    let authority = authority("an authority");
    let server = authority.issue(localhost()).server(&[]);
    // Short, so that whoever writes has to wait.
    let (near, far) = tokio::io::duplex(1000);
    let authorities = [&authority.certificate[..]];
    let config = trusting(&authorities);
    let began = Instant::now();

    // Sends a message now and then, and counts those that come.
    let server = async {
        let stream = TlsAcceptor::from(server)
            .accept(far)
            .await
            .expect("a client");
        let transport = apart(stream);
        let (mut receive, mut transmit) = ([0; 64], [0; 4096]);
        let buffers = Buffers {
            receive: &mut receive,
            transmit: &mut transmit,
        };
        let ws = WebSocket::server(transport, buffers).expect("room");
        let mut ws = ws.with_clock(Tokio::new());
        ws.accept().await.expect("a request");
        let mut halves = ws.split::<std::io::Error>().expect("it is open");
        let (mut receiver, mut sender) = halves.both();
        let receive = async {
            let mut messages = MessageBuffer::new(vec![0; 4096]);
            let mut came = 0;
            while let Some(message) = receiver.recv(&mut messages).await.expect("open") {
                let Message::Binary(bytes) = message else {
                    panic!("{message:?}")
                };
                check(bytes, &mut came);
            }
            came
        };
        let send = async {
            let mut state = 1;
            let mut sent = 0;
            while began.elapsed() < HOUR {
                sleep(Duration::from_millis(random(&mut state, 2000))).await;
                let bytes = message(sent, &mut state);
                sender.send(Message::Binary(&bytes)).await.expect("open");
                sender.flush().await.expect("open");
                sent += 1;
            }
            // The last of all.
            sender.send(Message::Text("end")).await.expect("open");
            sender.flush().await.expect("open");
            sent
        };
        tokio::join!(receive, send)
    };

    let talk = async |stream: TlsStream<'_>| {
        let request = Request::new("localhost", "/").expect("right");
        let (mut receive, mut transmit) = ([0; 64], [0; 4096]);
        let buffers = Buffers {
            receive: &mut receive,
            transmit: &mut transmit,
        };
        let ws = WebSocket::client(stream, buffers, request, Os).expect("room");
        let mut ws = ws.with_clock(Tokio::new());
        ws.connect().await.expect("a response");

        let (orders, mut ordered) = mpsc::channel::<Vec<u8>>(4);
        let order = async move {
            let mut state = 2;
            let mut number = 0;
            while began.elapsed() < HOUR {
                sleep(Duration::from_millis(random(&mut state, 1500))).await;
                let bytes = message(number, &mut state);
                orders.send(bytes).await.expect("somebody takes them");
                number += 1;
            }
            number
        };
        let work = async {
            let mut messages = MessageBuffer::new(vec![0; 4096]);
            let mut state = 3;
            let (mut came, mut dropped) = (0, 0_u64);
            let mut tick = Instant::now();
            let mut waiting: Option<Vec<u8>> = None;
            loop {
                // What was taken from the channel is sent in the same `select`, and dropped as well.
                if let Some(bytes) = waiting.take() {
                    tokio::select! {
                        biased;
                        sent = ws.send(Message::Binary(&bytes)) => sent.expect("open"),
                        () = polls(random(&mut state, 3)) => {
                            dropped += 1;
                            waiting = Some(bytes);
                        }
                    }
                    continue;
                }
                tokio::select! {
                    biased;
                    received = ws.recv(&mut messages) => match received.expect("open") {
                        Some(Message::Binary(bytes)) => check(bytes, &mut came),
                        Some(Message::Text("end")) => break,
                        other => panic!("{other:?}"),
                    },
                    Some(bytes) = ordered.recv() => waiting = Some(bytes),
                    () = polls(1 + random(&mut state, 5)) => dropped += 1,
                    () = sleep_until(tick) => {
                        tick += Duration::from_millis(1 + random(&mut state, 300));
                        dropped += 1;
                    }
                }
            }
            // All that was ordered goes out.
            if let Some(bytes) = waiting {
                ws.send(Message::Binary(&bytes)).await.expect("open");
            }
            while let Some(bytes) = ordered.recv().await {
                ws.send(Message::Binary(&bytes)).await.expect("open");
            }
            ws.close(CloseCode::NORMAL, "").expect("open");
            while let Some(event) = ws.next_event().await.expect("open") {
                assert!(!matches!(event, Event::Data(_)), "{event:?}");
            }
            (came, dropped)
        };
        tokio::join!(order, work)
    };

    let (((ordered, (came, dropped)), _), (received, sent)) =
        tokio::join!(client(near, &config, talk), server);
    assert!(began.elapsed() >= HOUR);
    assert_eq!((came, received), (sent, ordered));
    assert!(
        sent > 3000 && ordered > 3000 && dropped > 20_000,
        "{sent} {ordered} {dropped}"
    );
}

/// Is ready when it was polled so many times, whatever woke its task, and asks for none.
async fn polls(mut count: u64) {
    core::future::poll_fn(move |_| match count.checked_sub(1) {
        None => core::task::Poll::Ready(()),
        Some(left) => {
            count = left;
            core::task::Poll::Pending
        }
    })
    .await;
}
