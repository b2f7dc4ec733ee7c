//! What is held by messages that are kept, by connections that have ended, and by compression, counted by
//! the allocator.

use core::cell::Cell;
use core::future::Future;
use std::sync::PoisonError;

use motews_testkit::frame::{self, Frame};
use motews_tokio::role::Client;
use motews_tokio::{
    Acceptor, CloseCode, Connector, DeflateConfig, Message, OsEntropy, WebSocketStream,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::runtime::Builder;

#[path = "support/allocator.rs"]
mod allocator;

use allocator::{COUNTS, IS_COUNTED, held};

type ServerWs = WebSocketStream<DuplexStream>;
type ClientWs = WebSocketStream<DuplexStream, Client<OsEntropy>>;

/// Runs a test on this thread, in paused time, as the only one that counts.
fn counted(test: impl Future<Output = ()>) {
    let _counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    IS_COUNTED.set(true);
    runtime.block_on(test);
    IS_COUNTED.set(false);
}

fn acceptor(config: Option<DeflateConfig>) -> Acceptor {
    let acceptor = Acceptor::new();
    match config {
        Some(config) => acceptor.deflate(config),
        None => acceptor,
    }
}

fn both(config: Option<DeflateConfig>) -> (ServerWs, ClientWs) {
    let (one, other) = duplex(1 << 20);
    let connector = match config {
        Some(config) => Connector::new().deflate(config),
        None => Connector::new(),
    };
    (
        acceptor(config).from_upgraded(one, b""),
        connector.from_upgraded(other, b""),
    )
}

/// How frames come: all of them in one read if there is room.
#[derive(Clone, Copy, Debug)]
enum Comes {
    Alone,
    BeforeAnother,
    InFragments,
    BehindTheHandshake,
}

fn messages(len: usize) -> [Message; 2] {
    let bytes: Vec<u8> = (0..251).cycle().take(len).collect();
    let text: String = "Grüße ".chars().cycle().take(len / 8 * 6).collect();
    [text.into(), bytes.into()]
}

fn frames(message: &Message, comes: Comes) -> Vec<Frame> {
    let bytes = message.as_bytes();
    let opcode = if message.as_text().is_some() { 1 } else { 2 };
    let whole = frame::frame(0x80 | opcode, bytes);
    match comes {
        Comes::Alone | Comes::BehindTheHandshake => vec![whole],
        Comes::BeforeAnother => vec![whole, frame::text("after")],
        Comes::InFragments => {
            let (start, rest) = bytes.split_at(bytes.len() / 3);
            let (middle, end) = rest.split_at(rest.len() / 2);
            vec![
                frame::frame(opcode, start),
                frame::frame(0, middle),
                frame::continuation(end),
            ]
        }
    }
}

/// What each of several messages holds that connections have received, which are gone.
async fn held_by(message: &Message, comes: Comes) -> usize {
    let mut kept = Vec::with_capacity(COUNT);
    // The first half fills what the thread keeps for all of its connections.
    let mut before = 0;
    for number in 0..2 * COUNT {
        if number == COUNT {
            kept.clear();
            before = held();
        }
        let (own, mut peer) = duplex(1 << 20);
        let bytes: Vec<u8> = frames(message, comes)
            .iter()
            .flat_map(|frame| frame.encode(Some(frame::KEY)))
            .collect();
        let received = match comes {
            Comes::BehindTheHandshake => {
                let mut ws = Acceptor::new().from_upgraded(own, &bytes);
                ws.recv().await
            }
            _ => {
                let mut ws = Acceptor::new().from_upgraded(own, b"");
                peer.write_all(&bytes).await.unwrap();
                ws.recv().await
            }
        };
        let received = received.unwrap().unwrap();
        assert!(received == *message);
        kept.push(received);
    }
    held().wrapping_sub(before).div_ceil(COUNT)
}

/// How many messages are kept.
const COUNT: usize = 8;

/// From 32,793 on, what was read fills more than half of its buffer, and stays there.
const LENS: [usize; 12] = [
    0, 1, 16, 125, 126, 1024, 4096, 20_000, 32_768, 32_800, 65_536, 200_001,
];

#[test]
fn message_that_is_kept_holds_at_most_twice_its_length_and_64_bytes() {
    counted(async {
        for len in LENS {
            for message in messages(len) {
                for comes in [
                    Comes::Alone,
                    Comes::BeforeAnother,
                    Comes::InFragments,
                    Comes::BehindTheHandshake,
                ] {
                    let held = held_by(&message, comes).await;
                    let len = message.len();
                    assert!(held <= 2 * len + 64, "{len} {comes:?}: {held}");
                }
            }
        }
    });
}

#[test]
fn compressed_message_that_is_kept_holds_no_more() {
    counted(async {
        for len in LENS {
            for message in messages(len) {
                let (mut ws, mut peer) = both(Some(DeflateConfig::DEFAULT));
                let mut kept = Vec::with_capacity(COUNT);
                let mut before = 0;
                // The first half fills what the thread keeps for all of its connections.
                for number in 0..2 * COUNT {
                    if number == COUNT {
                        kept.clear();
                        before = held();
                    }
                    peer.send(message.clone()).await.unwrap();
                    kept.push(ws.recv().await.unwrap().unwrap());
                }
                let held = held().wrapping_sub(before).div_ceil(COUNT);
                let len = message.len();
                assert!(held <= 2 * len + 64, "{len}: {held}");
            }
        }
    });
}

/// How a message in parts is received.
#[derive(Clone, Copy, Debug)]
enum Parts {
    Chunks,
    Stream,
}

/// A message that is longer than there is memory for, from one side to the other: compressed it is a
/// thousandth on the wire.
#[test]
fn message_in_parts_takes_little_memory_however_long_it_is() {
    const LEN: usize = 6 << 20;
    counted(async {
        for config in [None, Some(DeflateConfig::DEFAULT)] {
            for parts in [Parts::Chunks, Parts::Stream] {
                let (mut server, client) = both(config);
                let (sender, _receiver) = client.split();
                let before = held();
                let most = Cell::new(0);
                let sample = || most.set(most.get().max(held()));
                let sending = async {
                    let mut message = sender.stream_binary();
                    let piece = [7; 8192];
                    for _ in 0..LEN / piece.len() {
                        message.write_all(&piece).await.unwrap();
                        sample();
                    }
                    message.finish().await.unwrap();
                };
                let receiving = async {
                    let mut len = 0;
                    match parts {
                        Parts::Chunks => {
                            let mut is_last = false;
                            while !is_last {
                                let chunk = server.next_chunk().await.unwrap().unwrap();
                                assert!(chunk.bytes.iter().all(|byte| *byte == 7));
                                len += chunk.bytes.len();
                                is_last = chunk.last;
                                sample();
                            }
                        }
                        Parts::Stream => {
                            let mut message = server.recv_stream().await.unwrap().unwrap();
                            let mut piece = [0; 5000];
                            while let read @ 1.. = message.read(&mut piece).await.unwrap() {
                                len += read;
                                sample();
                            }
                        }
                    }
                    assert_eq!(len, LEN);
                };
                tokio::join!(sending, receiving);
                let taken = most.get() - before;
                // The stream in memory holds 1 MiB each way.
                assert!(taken < 3 << 19, "{parts:?}: {taken}");
            }
        }
    });
}

/// As [`Acceptor::deflate`] says.
#[test]
fn compression_takes_62_kb_by_default_and_234_at_most() {
    counted(async {
        for (config, says) in [(DeflateConfig::DEFAULT, 62), (DeflateConfig::MAX, 234)] {
            let taken = [None, Some(config)].map(|config| {
                let (acceptor, (own, _peer)) = (acceptor(config), duplex(16));
                let before = held();
                let ws = acceptor.from_upgraded(own, b"");
                let taken = held() - before;
                drop(ws);
                taken
            });
            let [plain, compressing] = taken;
            assert_eq!((compressing - plain + 500) / 1000, says);
        }
    });
}

/// Neither a deadline nor a waker: whoever has waited for a message has both.
#[test]
fn connections_that_have_ended_leave_nothing_behind() {
    counted(async {
        let mut before = 0;
        for round in 0..2000 {
            if round == 8 {
                before = held(); // with what all share
            }
            let (mut server, mut client) = both(None);
            server.send("x").await.unwrap();
            client.recv().await.unwrap();
            tokio::select! {
                biased;
                message = server.recv() => panic!("{message:?}"),
                message = client.recv() => panic!("{message:?}"),
                () = tokio::task::yield_now() => {}
            }
            match round % 4 {
                0 => drop((server, client)),
                1 => server.abort(),
                2 => {
                    server.close(CloseCode::NORMAL, "").unwrap();
                    tokio::join!(server.closed(), client.closed());
                }
                _ => {
                    drop(client);
                    assert!(server.recv().await.is_err());
                    let (sender, receiver) = server.split();
                    drop(receiver);
                    drop(sender);
                }
            }
        }
        assert_eq!(held(), before);
    });
}
