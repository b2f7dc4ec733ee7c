//! Peers that are slow, silent or gone, in each mode, with the default times and in simulated time.

use core::future::{poll_fn, ready};
use core::pin::pin;
use core::task::Poll;

use motews::{CloseCode, DataKind, Ended, Event, Message, Server};
use motews::{Deadline, Millis, Timeouts};
use motews_embedded_io::{Config, Duplex, Error, asynch, blocking};

use crate::link::Link;
use crate::support::{Got, NotNow, binary, buffers, frame};

const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);

type Async = asynch::WebSocket<'static, Link, Server, Link>;
type Halved = asynch::WebSocket<'static, Duplex<Link, Link>, Server, Link>;
type Blocking = blocking::WebSocket<'static, Link, Server, Link>;

fn duplex(link: &Link) -> Duplex<Link, Link> {
    Duplex {
        reader: link.clone(),
        writer: link.clone(),
    }
}

fn whole(link: &Link) -> Async {
    let ws = asynch::WebSocket::server(link.clone(), buffers(512, 512));
    ws.expect("room").with_clock(link.clone())
}

fn halved(link: &Link) -> Halved {
    let ws = asynch::WebSocket::server(duplex(link), buffers(512, 512));
    ws.expect("room").with_clock(link.clone())
}

fn threaded(link: &Link) -> Blocking {
    let ws = blocking::WebSocket::server(link.clone(), buffers(512, 512));
    ws.expect("room").with_clock(link.clone())
}

/// What is sent: it cannot be compressed.
fn noise(len: u32) -> Vec<u8> {
    let noise = (0..len).map(|n| (n.wrapping_mul(n).wrapping_mul(2_654_435_761) >> 13) as u8);
    noise.collect()
}

// ---- one talk in each mode: a message, then a Close ----

async fn talk(ws: &mut Async, message: &[u8]) -> Result<(), Error<NotNow>> {
    ws.accept().await?;
    let mut rest = message;
    while !rest.is_empty() {
        let taken = ws.send_fragment(DataKind::Binary, rest, true).await?;
        _ = rest.split_off(..taken);
    }
    ws.close(CloseCode::NORMAL, "")?;
    ended(ws.closed().await?)
}

/// A clean end, or an error as other calls have it.
fn ended(ended: Ended) -> Result<(), Error<NotNow>> {
    match ended {
        ended if ended.is_clean() => Ok(()),
        ended => Err(Error::Ended(ended)),
    }
}

fn talk_blocking(ws: &mut Blocking, message: &[u8]) -> Result<(), Error<NotNow>> {
    ws.accept()?;
    let mut rest = message;
    while !rest.is_empty() {
        let taken = ws.send_fragment(DataKind::Binary, rest, true)?;
        _ = rest.split_off(..taken);
    }
    ws.close(CloseCode::NORMAL, "")?;
    ended(ws.closed()?)
}

/// What the receiver comes to, and what the sender does.
type Both = (Result<(), Error<NotNow>>, Result<(), Error<NotNow>>);

async fn talk_in_halves(ws: &mut Halved, message: &[u8]) -> Both {
    if let Err(error) = ws.accept().await {
        return (Err(error), Err(error));
    }
    let mut halves = ws.split::<NotNow>().expect("it is open");
    let (mut receiver, mut sender) = halves.both();
    let receive = async {
        while receiver.next_event().await?.is_some() {}
        Ok(())
    };
    let send = async {
        let mut rest = message;
        while !rest.is_empty() {
            let taken = sender.send_fragment(DataKind::Binary, rest, true).await?;
            _ = rest.split_off(..taken);
        }
        sender.flush().await?;
        sender.close(CloseCode::NORMAL, "")
    };
    join(receive, send).await
}

async fn join<A, B>(one: impl Future<Output = A>, other: impl Future<Output = B>) -> (A, B) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut first, mut second) = (None, None);
    poll_fn(|context| {
        if first.is_none()
            && let Poll::Ready(output) = one.as_mut().poll(context)
        {
            first = Some(output);
        }
        if second.is_none()
            && let Poll::Ready(output) = other.as_mut().poll(context)
        {
            second = Some(output);
        }
        match (first.take(), second.take()) {
            (Some(first), Some(second)) => Poll::Ready((first, second)),
            (one, other) => {
                (first, second) = (one, other);
                Poll::Pending
            }
        }
    })
    .await
}

fn close() -> Got {
    Got::Close(Some((CloseCode::NORMAL, String::new())))
}

/// 60,000 bytes at 200 bytes per second take five minutes.
#[test]
fn slow_peer_reads_steadily_all_comes_in_each_mode() {
    let message = noise(60_000);
    let expected = [binary(&message), close()];

    let link = Link::new(8192, 200);
    let mut ws = whole(&link);
    assert_eq!(link.run(talk(&mut ws, &message)), Ok(()));
    assert_eq!(link.got(), expected, "async");
    assert!(ws.ended().is_some_and(Ended::is_clean));

    let link = Link::new(8192, 200);
    let mut ws = threaded(&link);
    assert_eq!(talk_blocking(&mut ws, &message), Ok(()));
    assert_eq!(link.got(), expected, "blocking");
    assert!(ws.ended().is_some_and(Ended::is_clean));

    let link = Link::new(8192, 200);
    let mut ws = halved(&link);
    let both = link.run(talk_in_halves(&mut ws, &message));
    assert_eq!(both, (Ok(()), Ok(())));
    assert_eq!(link.got(), expected, "in halves");
    assert!(ws.ended().is_some_and(Ended::is_clean));
}

/// A peer that reads nothing has taken the pipe's bytes, and what they buy, and then 30 s.
#[test]
fn peer_reads_nothing_ends_at_the_stated_bound_in_each_mode() {
    let message = noise(60_000);
    let late = Err(Error::Ended(Ended::TimedOut(Deadline::Write)));
    let begin = Link::new(0, 0).millis();
    let bound = 64_000 + 30_000;
    let check = |link: &Link, mode: &str| {
        let millis = link.millis().since(begin);
        assert!((bound..bound + 500).contains(&millis), "{mode}: {millis}");
    };

    let link = Link::new(8192, 0);
    let mut ws = whole(&link);
    assert_eq!(link.run(talk(&mut ws, &message)), late);
    check(&link, "async");
    assert_eq!(ws.ended(), Some(Ended::TimedOut(Deadline::Write)));

    let link = Link::new(8192, 0);
    let mut ws = threaded(&link);
    assert_eq!(talk_blocking(&mut ws, &message), late);
    check(&link, "blocking");

    let link = Link::new(8192, 0);
    let mut ws = halved(&link);
    let both = link.run(talk_in_halves(&mut ws, &message));
    assert_eq!(both, (late, late), "the sender is told, too");
    check(&link, "in halves");
}

/// The peer sends as well, and is not read: that is no evidence against it. Rule 2 alone judges.
#[test]
fn both_send_and_neither_receives_ends_by_the_time_for_writing() {
    let message = noise(60_000);
    let late = Err(Error::Ended(Ended::TimedOut(Deadline::Write)));
    for blocking in [false, true] {
        let link = Link::new(1024, 0);
        link.say(&frame(0x82, &noise(5_000), KEY));
        let begin = link.millis();
        let end = match blocking {
            true => talk_blocking(&mut threaded(&link), &message),
            false => link.run(talk(&mut whole(&link), &message)),
        };
        assert_eq!(end, late);
        let millis = link.millis().since(begin);
        assert!((38_000..38_500).contains(&millis), "{millis}");
    }
}

#[test]
fn vanished_peer_is_noticed_while_this_side_sends_now_and_then() {
    let link = Link::new(8192, 1_000_000);
    let mut ws = whole(&link);
    link.run(ws.accept()).expect("a request");
    link.pass(100);
    link.vanish();
    let begin = link.millis();
    let ended = link.run(async {
        loop {
            // A measurement every ten seconds, and in between the receiving is given up each second.
            for _ in 0..10 {
                let at = link.millis().after(1_000);
                let mut event = pin!(ws.next_event());
                let event = poll_fn(|context| match event.as_mut().poll(context) {
                    Poll::Ready(event) => Poll::Ready(Some(event.map(|_| ()))),
                    Poll::Pending if link.millis().has_reached(at) => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                });
                if let Some(Err(error)) = event.await {
                    return error;
                }
            }
            ws.send(Message::Text("21.5 degrees")).await.expect("open");
            ws.flush().await.expect("open");
        }
    });
    assert_eq!(ended, Error::Ended(Ended::TimedOut(Deadline::Pong)));
    let millis = link.millis().since(begin);
    // Silence for 30 s, the ping, and 10 s, and what the few bytes have bought.
    assert!((39_500..41_500).contains(&millis), "{millis}");
}

/// The caller has not received for two minutes. The pong lies there, unread.
#[test]
fn caller_comes_back_late_peer_is_there_nothing_is_lost() {
    let link = Link::new(8192, 1_000_000);
    let mut ws = whole(&link);
    link.run(ws.accept()).expect("a request");
    let wait = |ws: &mut Async, millis: u32| {
        let at = link.millis().after(millis);
        let mut event = pin!(ws.next_event());
        link.run(poll_fn(|context| match event.as_mut().poll(context) {
            Poll::Ready(event) => Poll::Ready(event.map(|event| event.is_some())),
            Poll::Pending if link.millis().has_reached(at) => Poll::Ready(Ok(false)),
            Poll::Pending => Poll::Pending,
        }))
    };
    link.pass(100);
    link.set_rate(0);
    // The ping has left, and the peer reads it.
    assert_eq!(wait(&mut ws, 32_000), Ok(false));
    link.set_rate(1_000);
    link.pass(120_000);
    assert_eq!(link.pings(), 1);
    assert_eq!(wait(&mut ws, 1_000), Ok(true), "the pong");
    // And a Close, whose time has passed by then.
    assert_eq!(ws.close(CloseCode::NORMAL, ""), Ok(()));
    link.run(ws.flush()).expect("open");
    link.pass(120_000);
    assert_eq!(wait(&mut ws, 1_000), Ok(true), "the peer's Close");
    assert!(link.run(ws.closed()).is_ok_and(Ended::is_clean));
    assert!(ws.ended().is_some_and(Ended::is_clean));
}

#[test]
fn peer_trickles_pings_into_the_closing_is_given_up_in_time() {
    let link = Link::new(8192, 0);
    let mut ws = whole(&link);
    link.run(ws.accept()).expect("a request");
    assert_eq!(ws.close(CloseCode::NORMAL, ""), Ok(()));
    let begin = link.millis();
    let late = loop {
        link.say(&frame(0x89, b"", KEY));
        let event = link.run(ws.next_event()).map(|_| ());
        if let Err(error) = event {
            break error;
        }
        link.pass(10);
    };
    assert_eq!(late, Error::Ended(Ended::TimedOut(Deadline::Close)));
    let millis = link.millis().since(begin);
    assert!((5_000..7_000).contains(&millis), "{millis}");
}

/// A page is read at the client's pace, not in the time for the request.
#[test]
fn page_to_a_slow_reader_comes_whole_and_the_end_is_waited_for() {
    use motews::handshake::{HandshakeError, Response};
    use motews_embedded_io::Decision;

    let body = noise(20_000);
    let page = Response::new(200).expect("right").body(&body);
    let link = Link::new(2048, 500);
    link.expect_no_frames();
    let ws = asynch::WebSocket::server(link.clone(), buffers(512, 512));
    let mut ws: asynch::WebSocket<'_, Link, Server, Link> =
        ws.expect("room").with_clock(link.clone());
    // No upgrade is asked for.
    let accept = ws.accept_with(|event| match event {
        Ok(motews::handshake::RequestEvent::Done(_)) => Some(Decision::Respond(page)),
        Err(HandshakeError::NotUpgrade) => None,
        _ => None,
    });
    let refused = Ended::Refused(200);
    assert_eq!(link.run(accept), Err(Error::Ended(refused)));
    assert_eq!(ws.ended(), Some(refused));
    // The client does not end its half: it has the time that the bytes have bought, and 5 s.
    let begin = link.millis();
    assert_eq!(link.run(ws.drain()), Ok(()));
    let millis = link.millis().since(begin);
    assert!((5_000..200_000).contains(&millis), "{millis}");
    assert!(link.head().ends_with(&body), "all of it came");
    assert_eq!(ws.ended(), Some(refused));
}

/// A transport whose `flush` waits for the peer's acknowledgement is a write, too.
#[test]
fn flush_never_comes_back_ends_by_the_time_for_writing() {
    struct Held(Link);
    impl embedded_io::ErrorType for Held {
        type Error = NotNow;
    }
    impl embedded_io_async::Read for Held {
        async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, NotNow> {
            embedded_io_async::Read::read(&mut self.0, buffer).await
        }
    }
    impl embedded_io_async::Write for Held {
        async fn write(&mut self, bytes: &[u8]) -> Result<usize, NotNow> {
            embedded_io_async::Write::write(&mut self.0, bytes).await
        }
        async fn flush(&mut self) -> Result<(), NotNow> {
            core::future::pending().await
        }
    }
    let link = Link::new(8192, 0);
    let ws = asynch::WebSocket::server(Held(link.clone()), buffers(512, 512));
    let mut ws: asynch::WebSocket<'_, Held, Server, Link> =
        ws.expect("room").with_clock(link.clone());
    let end = link.run(ws.accept());
    assert_eq!(end, Err(Error::Ended(Ended::TimedOut(Deadline::Write))));
}

/// Each peer sends a hundred times what the pipes and the buffers hold, and receives meanwhile.
#[test]
fn both_send_at_once_in_halves_both_finish() {
    use crate::support::{Keys, block_on};
    use core::cell::RefCell;
    use motews::Client;
    use motews::handshake::Request;
    use std::collections::VecDeque;
    use std::rc::Rc;

    /// One way, for 256 bytes.
    #[derive(Clone, Default)]
    struct Pipe(Rc<RefCell<VecDeque<u8>>>);
    impl embedded_io::ErrorType for Pipe {
        type Error = NotNow;
    }
    impl embedded_io_async::Read for Pipe {
        async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, NotNow> {
            poll_fn(|_| {
                let mut pipe = self.0.borrow_mut();
                let len = buffer.len().min(pipe.len());
                for (to, from) in buffer.iter_mut().zip(pipe.drain(..len)) {
                    *to = from;
                }
                match len {
                    0 => Poll::Pending,
                    len => Poll::Ready(Ok(len)),
                }
            })
            .await
        }
    }
    impl embedded_io_async::Write for Pipe {
        async fn write(&mut self, bytes: &[u8]) -> Result<usize, NotNow> {
            poll_fn(|_| {
                let mut pipe = self.0.borrow_mut();
                let len = bytes.len().min(256 - pipe.len());
                pipe.extend(&bytes[..len]);
                match len {
                    0 => Poll::Pending,
                    len => Poll::Ready(Ok(len)),
                }
            })
            .await
        }
        async fn flush(&mut self) -> Result<(), NotNow> {
            ready(Ok(())).await
        }
    }

    async fn exchange<R: motews::Role>(
        ws: &mut asynch::WebSocket<'_, Duplex<Pipe, Pipe>, R>,
        message: &[u8],
    ) -> Vec<u8> {
        let mut halves = ws.split::<NotNow>().expect("it is open");
        let (mut receiver, mut sender) = halves.both();
        let receive = async {
            let mut got = Vec::new();
            while got.len() < message.len() {
                match receiver.next_event().await.expect("no error") {
                    Some(Event::Data(chunk)) => got.extend_from_slice(chunk.bytes),
                    _ => panic!("no data"),
                }
            }
            // What the other half still writes goes out while this one goes on receiving.
            got
        };
        let send = async {
            let mut rest = message;
            while !rest.is_empty() {
                let taken = sender.send_fragment(DataKind::Binary, rest, true).await;
                _ = rest.split_off(..taken.expect("open"));
            }
            sender.flush().await.expect("open");
        };
        join(receive, send).await.0
    }

    let (up, down) = (Pipe::default(), Pipe::default());
    let request = Request::new("h", "/").expect("right");
    let transport = Duplex {
        reader: up.clone(),
        writer: down.clone(),
    };
    let mut server = asynch::WebSocket::server(transport, buffers(64, 64)).expect("room");
    let transport = Duplex {
        reader: down,
        writer: up,
    };
    let client = asynch::WebSocket::client(transport, buffers(64, 64), request, Keys::new());
    let mut client: asynch::WebSocket<'_, _, Client<Keys>> = client.expect("room");
    let message = noise(50_000);
    let got = block_on(async {
        let opened = join(server.accept(), client.connect()).await;
        assert_eq!(opened, (Ok(()), Ok(())));
        join(
            exchange(&mut server, &message),
            exchange(&mut client, &message),
        )
        .await
    });
    assert!(got == (message.clone(), message));
}

/// The rate may fall to nothing and rise again, as long as what was taken has bought the time.
#[test]
fn peer_pauses_for_as_long_as_its_bytes_have_bought_nothing_is_lost() {
    let message = noise(60_000);
    let link = Link::new(8192, 4_000);
    let mut ws = whole(&link);
    let mut talk = pin!(talk(&mut ws, &message));
    let mut pause = Some(link.millis().after(5_000));
    let mut end: Option<Millis> = None;
    let result = link.run(poll_fn(|context| {
        if pause.is_some_and(|at| link.millis().has_reached(at)) {
            pause = None;
            link.set_rate(0);
            // It has taken 28 KB by now, which buy 218 s.
            end = Some(link.millis().after(200_000));
        }
        if end.is_some_and(|at| link.millis().has_reached(at)) {
            link.set_rate(4_000);
        }
        talk.as_mut().poll(context)
    }));
    assert_eq!(result, Ok(()));
    assert_eq!(link.got(), [binary(&message), close()]);
}

#[test]
fn min_rate_is_higher_vanished_peer_ends_sooner() {
    static STRICT: Config<'static> = Config {
        timeouts: Timeouts {
            min_rate: 8192,
            write: Some(5_000),
            ..Timeouts::DEFAULT
        },
        ..Config::DEFAULT
    };
    let link = Link::new(8192, 0);
    let begin = link.millis();
    let mut ws = whole(&link).with_config(&STRICT);
    let late = Err(Error::Ended(Ended::TimedOut(Deadline::Write)));
    assert_eq!(link.run(talk(&mut ws, &noise(60_000))), late);
    let millis = link.millis().since(begin);
    assert!((6_000..6_500).contains(&millis), "{millis}");
}

#[cfg(feature = "deflate")]
mod compressed {
    use super::*;
    use crate::deflate::{both, deflate, memory};

    /// With compression at hand, which this client does not offer, and all else the same.
    #[test]
    fn slow_peer_reads_steadily_all_comes_where_compression_is_declined() {
        let message = noise(60_000);
        let ours = both(9, true);
        let link = Link::new(8192, 200);
        let mut ws = whole(&link).with_deflate(deflate(ours, memory(ours, 100)));
        assert_eq!(link.run(talk(&mut ws, &message)), Ok(()));
        assert_eq!(link.got(), [binary(&message), close()]);

        let link = Link::new(8192, 200);
        let mut ws = halved(&link).with_deflate(deflate(ours, memory(ours, 100)));
        let both = link.run(talk_in_halves(&mut ws, &message));
        assert_eq!(both, (Ok(()), Ok(())));
        assert_eq!(link.got(), [binary(&message), close()]);
    }
}
