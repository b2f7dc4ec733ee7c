//! Compression: both roles, with takeover and without, at the limits.

use motews_testkit::frame::{self, Frame};
use motews_tokio::{
    Acceptor, CloseCode, Connector, DeflateConfig, DeflateContext, Limits, Message, SendError,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

/// Text that can be compressed.
fn text(len: usize) -> String {
    "Grüße an alle, und an den Rest der Welt. "
        .chars()
        .cycle()
        .take(len)
        .collect()
}

/// Bytes that cannot.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

async fn echo(acceptor: Acceptor, connector: Connector, holds: usize) {
    let (server, client) = duplex(holds);
    let serving = async {
        let mut ws = acceptor.accept(server).await.unwrap();
        while let Some(message) = ws.recv().await.unwrap() {
            ws.send(message).await.unwrap();
        }
    };
    let talking = async {
        let mut ws = connector.connect_over(client, "ws://h/").await.unwrap();
        for len in [0, 1, 39, 40, 1000, 70_000, 300_000] {
            for message in [Message::from(text(len)), noise(len).into()] {
                ws.send(message.clone()).await.unwrap();
                assert_eq!(ws.recv().await.unwrap(), Some(message));
            }
        }
        ws.close(CloseCode::NORMAL, "").unwrap();
        assert!(ws.closed().await.is_clean());
    };
    tokio::join!(serving, talking);
}

#[tokio::test(start_paused = true)]
async fn compressed_messages_are_echoed_with_takeover_and_without() {
    let without = DeflateContext {
        takeover: false,
        ..DeflateContext::default()
    };
    let without = DeflateConfig {
        send: without,
        receive: without,
    };
    for config in [DeflateConfig::DEFAULT, DeflateConfig::MAX, without] {
        for holds in [100, 1 << 20] {
            let acceptor = Acceptor::new().deflate(config);
            echo(acceptor, Connector::new().deflate(config), holds).await;
        }
    }
    // One side alone.
    let config = DeflateConfig::DEFAULT;
    echo(Acceptor::new(), Connector::new().deflate(config), 1000).await;
    echo(Acceptor::new().deflate(config), Connector::new(), 1000).await;
}

#[tokio::test(start_paused = true)]
async fn compressible_message_takes_less_on_the_wire() {
    let (server, mut peer) = duplex(1 << 20);
    let acceptor = Acceptor::new().deflate(DeflateConfig::DEFAULT);
    let mut ws = acceptor.from_upgraded(server, b"");
    let message = text(10_000);
    ws.send(message.clone()).await.unwrap();
    ws.send(message.clone()).await.unwrap();
    assert!(ws.deflate().is_some());
    drop(ws);
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).await.unwrap();
    assert!(bytes.len() < message.len() / 20, "{}", bytes.len());
    assert_eq!(bytes[0], 0xC1);
}

#[tokio::test(start_paused = true)]
async fn uncompressed_message_goes_as_it_is_between_compressed_ones() {
    let (server, mut client) = duplex(1 << 20);
    let acceptor = Acceptor::new().deflate(DeflateConfig::DEFAULT);
    let mut ws = acceptor.from_upgraded(server, b"");
    ws.send(text(1000)).await.unwrap();
    ws.send_uncompressed("the secret").await.unwrap();
    ws.send(text(1000)).await.unwrap();
    drop(ws);
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.unwrap();
    let mut rest = &bytes[..];
    let mut next = || Frame::decode(&mut rest).0;
    assert_eq!(next().first, 0xC1);
    assert_eq!(next(), frame::text("the secret"));
    assert_eq!(next().first, 0xC1);

    let mut ws = Connector::new()
        .deflate(DeflateConfig::DEFAULT)
        .from_upgraded(tokio::io::join(&bytes[..], tokio::io::sink()), b"");
    for expected in [&text(1000)[..], "the secret", &text(1000)] {
        assert_eq!(ws.recv().await.unwrap(), Some(expected.into()));
    }
}

/// A kept message takes no more than others.
#[tokio::test(start_paused = true)]
async fn compressed_message_kept_takes_at_most_twice_its_length_and_64_bytes() {
    let (server, client) = duplex(1 << 20);
    let config = DeflateConfig::DEFAULT;
    let mut ws = Acceptor::new().deflate(config).from_upgraded(server, b"");
    let mut peer = Connector::new().deflate(config).from_upgraded(client, b"");
    for len in [1, 16, 100, 1000, 17_000, 100_000] {
        peer.send(text(len)).await.unwrap();
        let message = ws.recv().await.unwrap().unwrap();
        let len = message.len();
        let bytes = message.into_bytes().try_into_mut().expect("its only owner");
        assert!(
            bytes.capacity() <= 2 * len + 64,
            "{len}: {}",
            bytes.capacity()
        );
    }
}

/// What is inflated is limited, whatever it is on the wire; and a message that is kept takes no more
/// than another one.
#[tokio::test(start_paused = true)]
async fn bomb_is_refused_at_the_limit() {
    let limits = Limits {
        message: 100_000,
        ..Limits::DEFAULT
    };
    let config = DeflateConfig::MAX;
    for len in [100_000, 100_001, 10_000_000_usize] {
        let (server, client) = duplex(1 << 20);
        let mut ws = Acceptor::new()
            .deflate(config)
            .limits(limits)
            .from_upgraded(server, b"");
        let mut peer = Connector::new().deflate(config).from_upgraded(client, b"");
        // Above 2 MiB nothing is compressed.
        peer.feed(vec![0; len.min(2_000_000)]).await.unwrap();
        tokio::spawn(async move { peer.closed().await });
        match ws.recv().await {
            Ok(Some(message)) => {
                assert_eq!((message.len(), len), (100_000, 100_000));
                let bytes = message.into_bytes().try_into_mut().expect("its only owner");
                assert!(bytes.capacity() <= 2 * 100_000 + 64);
            }
            received => {
                let error = received.unwrap_err();
                assert!(
                    len > 100_000 && error.to_string().contains("limit"),
                    "{error}"
                );
            }
        }
    }
}

/// Compressed text that is not UTF-8, and bytes that cannot be inflated.
#[tokio::test(start_paused = true)]
async fn wrong_compressed_messages_are_refused_with_1007() {
    // "\xff" in a stored block without its end; a block of a kind that there is not.
    for payload in [&b"\x00\x01\x00\xfe\xff\xff"[..], b"\x07"] {
        let (server, mut peer) = duplex(1 << 16);
        let acceptor = Acceptor::new().deflate(DeflateConfig::DEFAULT);
        let mut ws = acceptor.from_upgraded(server, b"");
        let frame = frame::frame(0xC1, payload).encode(Some(frame::KEY));
        peer.write_all(&frame).await.unwrap();
        peer.shutdown().await.unwrap();
        assert!(ws.recv().await.is_err());
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).await.unwrap();
        let (close, _) = Frame::decode(&mut &answer[..]);
        assert_eq!(close.close_code(), Some(1007));
    }
}

/// With a message that is taken, as with `send`: whether the peer reads is another question.
#[tokio::test(start_paused = true)]
async fn send_uncompressed_and_ping_of_what_was_taken_succeed_though_the_inbox_is_full() {
    for pings in [false, true] {
        let (server, mut peer) = duplex(4000);
        let acceptor = Acceptor::new().max_inbound(1000);
        let mut ws = acceptor.from_upgraded(server, b"");
        for _ in 0..3 {
            let frame = frame::binary(noise(600)).encode(Some(frame::KEY));
            peer.write_all(&frame).await.unwrap();
        }
        if pings {
            ws.feed(noise(50_000)).await.unwrap();
            ws.ping(b"x").await.unwrap();
        } else {
            ws.send_uncompressed(noise(50_000)).await.unwrap();
        }
        assert!(ws.buffered_amount() > 40_000);
        let full = ws.flush().await;
        assert!(matches!(full, Err(SendError::InboundFull)), "{full:?}");
    }
}
