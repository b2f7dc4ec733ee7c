//! Masking keys and where they come from (§5.1, §5.3, §10.3).

use std::collections::HashSet;

use motews::{
    Client, CloseCode, Connection, DataFrame, DataKind, Entropy, EntropyError, Message, SendError,
    State,
};

use crate::support::{Frame, binary, close, continuation, ping, pong, text};

/// Gives the bytes 1, 2, 3, ... and fails while told to.
#[derive(Debug, Default)]
struct Counting {
    given: u8,
    failing: bool,
}

impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        if self.failing {
            return Err(EntropyError);
        }
        for byte in bytes {
            self.given += 1;
            *byte = self.given;
        }
        Ok(())
    }
}

type Connected<'a> = Connection<Client<&'a mut dyn Entropy>>;

fn connect(entropy: &mut dyn Entropy) -> Connected<'_> {
    Connection::new(Client::new(entropy))
}

/// FR01, FR05: each frame, control frames too, takes four fresh bytes of the source for its key.
#[test]
fn client_each_frame_is_masked_with_a_fresh_key() {
    let mut source = Counting::default();
    let mut client = connect(&mut source);
    let mut out = [0; 256];
    let mut len = 0;
    len += client
        .send(Message::Text("a"), &mut out[len..])
        .expect("room");
    len += client
        .send(Message::Binary(b"b"), &mut out[len..])
        .expect("room");
    for fin in [false, true] {
        let sent = client.send_fragment(DataKind::Text, b"c", fin, &mut out[len..]);
        len += sent.expect("room").written;
    }
    len += client.ping(b"d", &mut out[len..]).expect("room");
    client
        .next_event(&mut &mut ping("e").encode(None)[..])
        .expect("a ping");
    len += client.poll_transmit(&mut out[len..]).expect("a key");
    client.close(CloseCode::NORMAL, "f").expect("open");
    len += client.poll_transmit(&mut out[len..]).expect("a key");

    let expected = [
        text("a"),
        binary("b"),
        text("c").more(),
        continuation("c"),
        ping("d"),
        pong("e"),
        close(1000, "f"),
    ];
    let mut wire = &out[..len];
    let mut next = 1;
    for expected in expected {
        let key = [next, next + 1, next + 2, next + 3];
        assert_eq!(Frame::decode(&mut wire), (expected, Some(key)));
        next += 4;
    }
    assert_eq!(wire, b"");
}

/// FR05: so does a frame whose payload the caller writes.
#[test]
fn client_frame_started_has_a_fresh_key() {
    let mut source = Counting::default();
    let mut client = connect(&mut source);
    let frame = DataFrame {
        kind: DataKind::Binary,
        fin: true,
        compressed: false,
        payload_len: 1,
    };
    assert_eq!(
        client.start_frame(frame).map(|header| header.mask),
        Ok(Some([1, 2, 3, 4]))
    );
    assert_eq!(
        client.start_frame(frame).map(|header| header.mask),
        Ok(Some([5, 6, 7, 8]))
    );
}

/// FR05: nothing is drawn for what is not sent.
#[test]
fn client_frame_refused_takes_no_key() {
    let mut source = Counting::default();
    let mut client = connect(&mut source);
    assert_eq!(
        client.send(Message::Text("a"), &mut [0; 6]),
        Err(SendError::NoRoom)
    );
    client.close(CloseCode::NORMAL, "").expect("open");
    assert_eq!(client.poll_transmit(&mut [0; 5]), Ok(0));
    assert_eq!(
        client.send(Message::Text("a"), &mut [0; 99]),
        Err(SendError::NotOpen)
    );
    drop(client);
    assert_eq!(source.given, 0);
}

/// FR05: where the source fails nothing is sent and nothing has changed; later it is.
#[test]
fn client_source_failing_sends_nothing() {
    struct Switch<'a>(&'a core::cell::Cell<bool>);
    impl Entropy for Switch<'_> {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
            bytes.fill(1);
            if self.0.get() {
                Err(EntropyError)
            } else {
                Ok(())
            }
        }
    }

    let failing = core::cell::Cell::new(true);
    let mut client: Connection<_> = Connection::new(Client::new(Switch(&failing)));
    let mut out = [0xEE; 32];
    let frame = DataFrame {
        kind: DataKind::Text,
        fin: false,
        compressed: false,
        payload_len: 1,
    };
    client
        .next_event(&mut &mut ping("p").encode(None)[..])
        .expect("a ping");
    assert_eq!(
        client.send(Message::Text("a"), &mut out),
        Err(SendError::Entropy)
    );
    let fragment = client.send_fragment(DataKind::Text, b"a", false, &mut out);
    assert_eq!(fragment, Err(SendError::Entropy));
    assert_eq!(client.start_frame(frame), Err(SendError::Entropy));
    assert_eq!(client.ping(b"a", &mut out), Err(SendError::Entropy));
    assert_eq!(client.poll_transmit(&mut out), Err(EntropyError));
    assert!(client.wants_transmit(), "the pong is still owed");
    assert_eq!(client.state(), State::Open);
    assert_eq!(out, [0xEE; 32]);

    failing.set(false);
    let written = client.poll_transmit(&mut out).expect("a key");
    assert_eq!(Frame::decode(&mut &out[..written]).0, pong("p"));
    // No message was begun: a whole one may be sent.
    let written = client.send(Message::Text("a"), &mut out).expect("room");
    assert_eq!(Frame::decode(&mut &out[..written]).0, text("a"));
}

/// FR05: a source that gives nothing but zeros is broken; its keys are not used.
#[test]
fn client_source_of_zeros_sends_nothing() {
    struct Zeros;
    impl Entropy for Zeros {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
            bytes.fill(0);
            Ok(())
        }
    }
    let mut zeros = Zeros;
    let mut client = connect(&mut zeros);
    let mut out = [0xEE; 32];
    assert_eq!(
        client.send(Message::Text("a"), &mut out),
        Err(SendError::Entropy)
    );
    assert_eq!(out, [0xEE; 32]);
    client.close(CloseCode::NORMAL, "").expect("open");
    assert_eq!(client.poll_transmit(&mut out), Err(EntropyError));
    assert!(client.wants_transmit());
}

/// FR05: one key of zeros is chance, and another is drawn.
#[test]
fn client_one_key_of_zeros_is_drawn_again() {
    struct ZerosOnce(u8);
    impl Entropy for ZerosOnce {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
            bytes.fill(self.0);
            self.0 += 1;
            Ok(())
        }
    }
    let mut source = ZerosOnce(0);
    let mut client = connect(&mut source);
    let mut out = [0; 32];
    let written = client.send(Message::Text("a"), &mut out).expect("room");
    assert_eq!(
        Frame::decode(&mut &out[..written]),
        (text("a"), Some([1; 4]))
    );
}

/// FR05: a key with some zeros is as good as another.
#[test]
fn client_key_with_three_zeros_is_used() {
    struct Sparse(u32);
    impl Entropy for Sparse {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
            bytes.copy_from_slice(&self.0.to_be_bytes());
            Ok(())
        }
    }
    for key in [0x0100_0000, 0x0001_0000, 0x0000_0100, 0x0000_0001] {
        let mut source = Sparse(key);
        let mut client = connect(&mut source);
        let mut out = [0; 32];
        let written = client.send(Message::Text("a"), &mut out).expect("room");
        let (_, used) = Frame::decode(&mut &out[..written]);
        assert_eq!(used, Some(key.to_be_bytes()));
    }
}

/// FR05: with an unpredictable source no key comes twice.
#[test]
fn client_keys_are_distinct() {
    /// Unpredictable enough for a test: the standard library's seeds.
    struct Seeds;
    impl Entropy for Seeds {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
            use core::hash::BuildHasher;
            let hash = std::hash::RandomState::new().hash_one(bytes.len());
            bytes
                .iter_mut()
                .zip(hash.to_ne_bytes())
                .for_each(|(to, from)| *to = from);
            Ok(())
        }
    }
    let mut source = Seeds;
    let mut client = connect(&mut source);
    let mut keys = HashSet::new();
    for _ in 0..1_000 {
        let mut out = [0; 8];
        let written = client.send(Message::Text("a"), &mut out).expect("room");
        keys.insert(Frame::decode(&mut &out[..written]).1.expect("masked"));
    }
    assert!(keys.len() > 995, "of 2^32 keys");
}
