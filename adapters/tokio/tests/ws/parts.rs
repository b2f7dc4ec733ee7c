//! Messages in parts and as streams, both ways.

use core::time::Duration;

use motews_testkit::frame;
use motews_tokio::{Acceptor, Chunk, CloseCode, DataKind, Limits, Message, RecvError, SendError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::support::{ServerWs, both, payload, server, server_with};

/// Takes a message in parts; how it was cut is of no interest.
async fn whole(ws: &mut ServerWs) -> Option<(DataKind, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut is_first = true;
    loop {
        let Chunk {
            kind,
            bytes: part,
            first,
            last,
            ..
        } = ws.next_chunk().await.unwrap()?;
        assert_eq!(first, is_first);
        assert!(last || !part.is_empty(), "a part has bytes, or is the last");
        is_first = false;
        bytes.extend_from_slice(&part);
        if last {
            return Some((kind, bytes));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn messages_in_parts_are_those_that_were_sent_however_they_are_cut() {
    for holds in [1, 7, 1000, 1 << 20] {
        let (mut ws, mut peer) = server(holds);
        let long = payload(if holds < 100 { 3000 } else { 300_000 });
        let frames = [
            frame::text("Hello"),
            frame::binary(""),
            // A code point in three frames, with control frames between them.
            frame::frame(0x01, &"€".as_bytes()[..1]),
            frame::ping("one"),
            frame::frame(0x00, &"€".as_bytes()[1..2]),
            frame::frame(0x00, b""),
            frame::continuation(&"€".as_bytes()[2..]),
            frame::frame(0x02, &long[..100]),
            frame::frame(0x00, &long[100..]),
            frame::continuation(b""),
            frame::close(1000, ""),
        ];
        let writing = async {
            peer.write(&frames).await;
            assert_eq!(peer.read().await, Some(frame::pong("one")));
            assert_eq!(peer.read().await, Some(frame::close(1000, "")));
            peer
        };
        let reading = async {
            let expected = [
                (DataKind::Text, "Hello".into()),
                (DataKind::Binary, Vec::new()),
                (DataKind::Text, "€".into()),
                (DataKind::Binary, long.clone()),
            ];
            for message in expected {
                assert_eq!(whole(&mut ws).await, Some(message));
            }
            assert_eq!(ws.next_chunk().await.unwrap(), None);
        };
        tokio::join!(reading, async { drop(writing.await) });
        assert!(ws.ended().unwrap().is_clean());
    }
}

/// What is kept of a message without end is what one read has brought.
#[tokio::test(start_paused = true)]
async fn message_in_parts_may_be_longer_than_the_limit_and_a_whole_one_may_not() {
    let limits = Limits {
        message: 1000,
        ..Limits::DEFAULT
    };
    let acceptor = Acceptor::new().limits(limits);
    let (mut ws, mut peer) = server_with(&acceptor, 1 << 16);
    let len = 10_000_000;
    let writing = async {
        peer.write(&[frame::binary(payload(len)), frame::text("after")])
            .await;
    };
    let reading = async {
        let mut received = 0;
        loop {
            let chunk = ws.next_chunk().await.unwrap().unwrap();
            assert!(chunk.bytes.len() <= 2 * 64 * 1024, "{}", chunk.bytes.len());
            received += chunk.bytes.len();
            if chunk.last {
                assert_eq!(received, len);
                return;
            }
        }
    };
    tokio::join!(writing, reading);
    assert_eq!(ws.recv().await.unwrap(), Some("after".into()));
    peer.write(&[frame::binary(payload(1001))]).await;
    let error = ws.recv().await.unwrap_err();
    assert!(error.to_string().contains("Limits::message"), "{error}");
}

/// Whole messages again, in the midst of one: what is left of it is dropped, however long it is.
#[tokio::test(start_paused = true)]
async fn recv_in_the_midst_of_a_message_in_parts_drops_the_rest_of_it() {
    for (holds, rest_is_there) in [(1 << 20, true), (1 << 20, false), (100, false)] {
        let limits = Limits {
            message: 1000,
            ..Limits::DEFAULT
        };
        let acceptor = Acceptor::new().limits(limits);
        let (mut ws, mut peer) = server_with(&acceptor, holds);
        let rest = [
            frame::frame(0x00, payload(100_000)),
            frame::ping("x"),
            frame::continuation(payload(100_000)),
            frame::text("next"),
        ];
        let start = frame::frame(0x02, b"start");
        if rest_is_there {
            let mut frames = vec![start];
            frames.extend(rest.clone());
            peer.write(&frames).await;
        } else {
            peer.write(&[start]).await;
        }
        let chunk = ws.next_chunk().await.unwrap().unwrap();
        assert!(chunk.first && !chunk.last && chunk.bytes.starts_with(b"start"));
        let writing = async {
            if !rest_is_there {
                peer.write(&rest).await;
            }
            assert_eq!(peer.read().await, Some(frame::pong("x")));
        };
        let (message, ()) = tokio::join!(ws.recv(), writing);
        assert_eq!(message.unwrap(), Some("next".into()));
        // Parts again.
        peer.write(&[frame::text("more")]).await;
        assert_eq!(&ws.next_chunk().await.unwrap().unwrap().bytes[..], b"more");
    }
}

/// A message that has begun in parts, and is whole for whoever receives it, has to keep to the limit.
#[tokio::test(start_paused = true)]
async fn message_above_the_limit_of_which_nothing_was_taken_fails_when_it_is_wanted_whole() {
    let limits = Limits {
        message: 1000,
        ..Limits::DEFAULT
    };
    let acceptor = Acceptor::new().limits(limits).max_backlog(1);
    let (mut ws, mut peer) = server_with(&acceptor, 100);
    peer.write(&[frame::text("x")]).await;
    ws.next_chunk().await.unwrap().unwrap();
    // It is read while something is sent, and not taken.
    let sending = async { ws.send(payload(5000)).await.unwrap() };
    let talking = async {
        peer.write(&[frame::frame(0x02, payload(2000))]).await;
        assert_eq!(peer.read().await, Some(frame::binary(payload(5000))));
    };
    tokio::join!(sending, talking);
    let error = ws.recv().await.unwrap_err();
    assert!(
        matches!(error, RecvError::Protocol(_)) && error.to_string().contains("Limits::message"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn text_in_parts_that_is_no_utf8_fails_at_the_byte_that_shows_it() {
    let (mut ws, mut peer) = server(1 << 16);
    peer.write(&[frame::frame(0x01, b"good \xC3"), frame::frame(0x00, b"(")])
        .await;
    let chunk = ws.next_chunk().await.unwrap().unwrap();
    assert_eq!(&chunk.bytes[..], b"good \xC3");
    drop(peer.stream.shutdown().await);
    let error = ws.next_chunk().await.unwrap_err();
    assert!(matches!(error, RecvError::Protocol(_)), "{error}");
    assert_eq!(peer.read().await.unwrap().close_code(), Some(1007));
    assert_eq!(ws.next_chunk().await.unwrap(), None);
}

/// A sender that waits reads parts as well, no more than there is room for.
#[tokio::test(start_paused = true)]
async fn sender_that_waits_keeps_no_more_of_a_message_in_parts_than_max_inbound() {
    let acceptor = Acceptor::new().max_inbound(10_000).max_backlog(1);
    let (ws, mut peer) = server_with(&acceptor, 1000);
    let (sender, mut receiver) = ws.split();
    let message = payload(200_000);
    peer.write(&[frame::text("x")]).await;
    receiver.next_chunk().await.unwrap().unwrap();
    let (mut reads, mut writes) = tokio::io::split(peer.stream);
    let sending = tokio::spawn(async move { sender.send(payload(50_000)).await });
    let bytes = crate::support::encode(&[frame::binary(&message[..])]);
    let writing = tokio::spawn(async move { writes.write_all(&bytes).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!writing.is_finished() && !sending.is_finished());
    let receiving = async {
        let mut received = Vec::new();
        loop {
            let chunk = receiver.next_chunk().await.unwrap().unwrap();
            assert!(chunk.bytes.len() <= 80_000, "{}", chunk.bytes.len());
            received.extend_from_slice(&chunk.bytes);
            if chunk.last {
                return received;
            }
        }
    };
    assert!(receiving.await == message);
    writing.await.unwrap().unwrap();
    let mut echoed = vec![0; 50_004];
    reads.read_exact(&mut echoed).await.unwrap();
    sending.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn message_as_a_stream_is_read_to_its_end_and_no_further() {
    let (mut ws, mut peer) = server(1000);
    let long = payload(200_000);
    let writing = async {
        peer.write(&[
            frame::frame(0x02, &long[..70_000]),
            frame::continuation(&long[70_000..]),
            frame::text("next"),
            frame::binary(""),
            frame::frame(0x01, b"cut off"),
        ])
        .await;
        peer.write(&[frame::close(1000, "")]).await;
        while peer.read().await.is_some() {}
    };
    let reading = async {
        let mut message = ws.recv_stream().await.unwrap().unwrap();
        assert_eq!(message.kind(), DataKind::Binary);
        let mut read = Vec::new();
        message.read_to_end(&mut read).await.unwrap();
        assert!(read == long);
        assert_eq!(message.read(&mut [0; 8]).await.unwrap(), 0);

        let mut message = ws.recv_stream().await.unwrap().unwrap();
        assert_eq!(message.kind(), DataKind::Text);
        let mut text = String::new();
        message.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "next");

        let mut message = ws.recv_stream().await.unwrap().unwrap();
        assert_eq!(message.read(&mut [0; 8]).await.unwrap(), 0);

        let mut message = ws.recv_stream().await.unwrap().unwrap();
        let error = message.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        assert!(ws.recv_stream().await.unwrap().is_none());
        assert!(ws.ended().unwrap().is_clean());
        drop(ws);
    };
    tokio::join!(reading, writing);
}

#[tokio::test(start_paused = true)]
async fn reader_dropped_in_the_midst_next_chunk_goes_on_and_recv_begins_with_the_next_message() {
    for goes_on in [true, false] {
        let (mut ws, mut peer) = server(1 << 16);
        peer.write(&[frame::binary(b"0123456789"), frame::text("next")])
            .await;
        let mut some = [0; 4];
        {
            let mut message = ws.recv_stream().await.unwrap().unwrap();
            message.read_exact(&mut some).await.unwrap();
        }
        assert_eq!(&some, b"0123");
        if goes_on {
            let chunk = ws.next_chunk().await.unwrap().unwrap();
            assert_eq!(&chunk.bytes[..], b"456789");
            assert!(!chunk.first && chunk.last);
        }
        assert_eq!(ws.recv().await.unwrap(), Some("next".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn stream_of_a_message_is_sent_in_fragments_until_it_is_finished() {
    let (mut server, mut client) = both(4096);
    let long = payload(300_000);
    let sending = async {
        let mut message = client.stream_binary();
        tokio::io::copy(&mut &long[..], &mut message).await.unwrap();
        message.finish().await.unwrap();
        let mut message = client.stream_text();
        message.write("Hel").await.unwrap();
        message.flush().await.unwrap();
        message.write("lo").await.unwrap();
        message.finish().await.unwrap();
        client.stream_text().finish().await.unwrap();
        // Never begun.
        client.stream_binary().write_all(b"nothing").await.unwrap();
        client.send("last").await.unwrap();
    };
    let receiving = async {
        assert!(server.recv().await.unwrap() == Some(long.clone().into()));
        for text in ["Hello", "", "last"] {
            assert_eq!(server.recv().await.unwrap(), Some(text.into()));
        }
    };
    tokio::join!(sending, receiving);
}

#[tokio::test(start_paused = true)]
async fn fragments_leave_as_flush_cuts_them_and_others_wait_until_the_message_is_finished() {
    let (ws, mut peer) = server(1 << 16);
    let (sender, _receiver) = ws.split();
    let permit = sender.reserve().await.unwrap();
    let mut message = sender.stream_text();
    message.write("one").await.unwrap();
    message.flush().await.unwrap();
    assert_eq!(peer.read().await, Some(frame::frame(0x01, b"one")));
    let other = sender.clone();
    let sending = tokio::spawn(async move { other.send("behind").await });
    assert!(matches!(
        sender.try_send("no room"),
        Err(motews_tokio::TrySendError::Full(_))
    ));
    // Control frames may come between, and whoever has a permit does not wait.
    sender
        .ping(b"between")
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    permit.send("permitted").unwrap();
    assert!(sender.buffered_amount() >= 9);
    assert_eq!(peer.read().await, Some(frame::ping("between")));
    message.write("two").await.unwrap();
    message.finish().await.unwrap();
    assert_eq!(peer.read().await, Some(frame::continuation("two")));
    assert_eq!(peer.read().await, Some(frame::text("permitted")));
    assert_eq!(peer.read().await, Some(frame::text("behind")));
    sending.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn writer_dropped_unfinished_closes_with_1011() {
    let (mut ws, mut peer) = server(1 << 16);
    let mut message = ws.stream_binary();
    message.write_all(b"half").await.unwrap();
    message.flush().await.unwrap();
    drop(message);
    assert_eq!(peer.read().await, Some(frame::frame(0x02, b"half")));
    assert_eq!(peer.read().await.unwrap().close_code(), Some(1011));
    assert!(matches!(ws.send("late").await, Err(SendError::Closed)));
    tokio::join!(peer.finish(), async {
        ws.closed().await;
        drop(ws);
    });
}

/// One waits with its message until the other has finished its own.
#[tokio::test(start_paused = true)]
async fn two_senders_stream_one_after_the_other() {
    let (ws, mut client) = both(1000);
    let (sender, _receiver) = ws.split();
    let stream = async |sender: motews_tokio::Sender<_>, byte: u8| {
        let mut message = sender.stream_binary();
        for _ in 0..10 {
            message.write_all(&vec![byte; 10_000]).await.unwrap();
        }
        message.finish().await.unwrap();
    };
    let receiving = async {
        let mut bytes = Vec::new();
        for _ in 0..2 {
            let message = client.recv().await.unwrap().unwrap().into_bytes();
            assert_eq!(message.len(), 100_000);
            assert!(message.iter().all(|byte| *byte == message[0]));
            bytes.push(message[0]);
        }
        bytes.sort_unstable();
        assert_eq!(bytes, [1, 2]);
    };
    let all = async {
        tokio::join!(
            stream(sender.clone(), 1),
            stream(sender.clone(), 2),
            receiving
        )
    };
    timeout(Duration::from_secs(20), all).await.unwrap();
}

/// A close of another half cuts a message in fragments off.
#[tokio::test(start_paused = true)]
async fn close_amid_a_streamed_message_goes_at_once_and_the_message_is_not_finished() {
    let (ws, mut peer) = server(1 << 16);
    let (sender, _receiver) = ws.split();
    let permit = sender.reserve().await.unwrap();
    let mut message = sender.stream_binary();
    message.write_all(b"half").await.unwrap();
    message.flush().await.unwrap();
    permit.send("lost").unwrap();
    sender.close(CloseCode::NORMAL, "").unwrap();
    assert!(matches!(message.finish().await, Err(SendError::Closed)));
    assert_eq!(peer.read().await, Some(frame::frame(0x02, b"half")));
    assert_eq!(peer.read().await, Some(frame::close(1000, "")));
    assert!(matches!(sender.flush().await, Err(SendError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn newest_message_takes_the_place_of_the_one_that_waits() {
    let (ws, mut peer) = server(100);
    let (sender, mut receiver) = ws.split();
    let receiving = tokio::spawn(async move { receiver.recv().await });
    // There is room: it leaves at once.
    assert_eq!(sender.send_newest("frame 0").unwrap(), None);
    assert_eq!(peer.read().await, Some(frame::text("frame 0")));
    // There is none.
    sender.try_send(payload(1000)).unwrap();
    assert_eq!(sender.send_newest("frame 1").unwrap(), None);
    for n in 2..1000 {
        let replaced = sender.clone().send_newest(format!("frame {n}")).unwrap();
        assert_eq!(replaced, Some(Message::from(format!("frame {}", n - 1))));
    }
    assert!(sender.buffered_amount() < 1020);
    let flushing = async { sender.flush().await.unwrap() };
    let reading = async {
        assert_eq!(peer.read().await, Some(frame::binary(payload(1000))));
        assert_eq!(peer.read().await, Some(frame::text("frame 999")));
    };
    tokio::join!(flushing, reading);
    // A Close goes behind it.
    sender.try_send(payload(1000)).unwrap();
    sender.send_newest("the end").unwrap();
    sender.close(CloseCode::NORMAL, "").unwrap();
    assert!(matches!(sender.send_newest("late"), Err(SendError::Closed)));
    assert_eq!(peer.read().await, Some(frame::binary(payload(1000))));
    assert_eq!(peer.read().await, Some(frame::text("the end")));
    assert_eq!(peer.read().await, Some(frame::close(1000, "")));
    peer.finish().await;
    drop(peer);
    assert_eq!(receiving.await.unwrap().unwrap(), None);
}

/// The receiver alone keeps it going.
#[tokio::test(start_paused = true)]
async fn newest_message_leaves_behind_a_streamed_one() {
    let (ws, mut peer) = server(1 << 16);
    let (sender, mut receiver) = ws.split();
    tokio::spawn(async move { receiver.recv().await });
    let mut message = sender.stream_text();
    message.write("one").await.unwrap();
    message.flush().await.unwrap();
    assert_eq!(sender.send_newest("a").unwrap(), None);
    assert_eq!(sender.send_newest("b").unwrap(), Some("a".into()));
    message.finish().await.unwrap();
    assert_eq!(peer.read().await, Some(frame::frame(0x01, b"one")));
    assert_eq!(peer.read().await, Some(frame::continuation("")));
    assert_eq!(peer.read().await, Some(frame::text("b")));
}

/// What others have put behind the message waits for its end, and a flush in its midst does not wait for them.
#[tokio::test(start_paused = true)]
async fn streamed_message_flushed_with_others_behind_it_does_not_wait_for_them() {
    let (ws, mut peer) = server(1 << 16);
    let (sender, _receiver) = ws.split();
    let permit = sender.reserve().await.unwrap();
    let mut message = sender.stream_binary();
    message.write_all(b"one").await.unwrap();
    message.flush().await.unwrap();
    permit.send("permitted").unwrap();
    assert_eq!(sender.send_newest("newest").unwrap(), None);
    message.write_all(b"two").await.unwrap();
    let flushed = timeout(Duration::from_secs(1), message.flush()).await;
    flushed.expect("the fragment has left").unwrap();
    message.finish().await.unwrap();
    assert_eq!(peer.read().await, Some(frame::frame(0x02, b"one")));
    assert_eq!(peer.read().await, Some(frame::frame(0x00, b"two")));
    assert_eq!(peer.read().await, Some(frame::continuation("")));
    assert_eq!(peer.read().await, Some(frame::text("permitted")));
    assert_eq!(peer.read().await, Some(frame::text("newest")));
}

/// Whoever waits for its end learns at once that there will be none.
#[tokio::test(start_paused = true)]
async fn streamed_message_dropped_unfinished_others_that_wait_for_it_fail_at_once() {
    let (ws, _peer) = server(1 << 16);
    let (sender, _receiver) = ws.split();
    let mut message = sender.stream_binary();
    message.write_all(b"half").await.unwrap();
    message.flush().await.unwrap();
    let other = sender.clone();
    let sending = tokio::spawn(async move { other.send("behind").await });
    tokio::task::yield_now().await;
    drop(message);
    let sent = timeout(Duration::from_secs(1), sending).await;
    let sent = sent.expect("no end of the message will come").unwrap();
    assert!(matches!(sent, Err(SendError::Closed)), "{sent:?}");
}
