//! What the client sends, and how it looks at what comes back.

use core::net::SocketAddr;
use std::io;
use std::rc::Rc;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use motews_testkit::frame::encode;

use super::{CONNECTIONS, LEVEL, Terms, Workload};
use crate::echo::client::{Client, Random, Talk, dial, open, wrong};

/// Different contents, as many as there are starts in the text: an echo to the wrong connection is
/// found out.
const SCRIPTS: usize = 5;

/// What zlib leaves at the end of each message, and a sender takes off (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// The longest read, in bytes.
const READ_LEN: usize = 128 * 1024;

const RSV1: u8 = 0x40;

/// A message as it is, and as the frame that is sent.
#[derive(Debug)]
struct Turn {
    payload: Vec<u8>,
    frame: Vec<u8>,
}

/// What a connection sends: first what fills the window, then the same messages again and again.
/// With a full window they are compressed the same each time.
fn script(number: usize, workload: Workload, terms: Terms) -> Vec<Turn> {
    let mut text = workload.text();
    let len = text.len();
    text.rotate_left(number * len / SCRIPTS);
    let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ (number as u64 + 1));
    let mut compress = Compress::new_with_window_bits(Compression::new(LEVEL.into()), false, 15);
    let first = core::iter::once(&text[len / 2..]);
    first
        .chain(text.chunks_exact(workload.size))
        .map(|payload| {
            let key = (random.next() as u32).to_be_bytes();
            let frame = if terms == Terms::Off {
                encode(0x82, payload, Some(key))
            } else {
                encode(0x82 | RSV1, &pack(&mut compress, payload), Some(key))
            };
            if !terms.takeover() {
                compress.reset();
            }
            let payload = payload.to_vec();
            Turn { payload, frame }
        })
        .collect()
}

/// Compresses a message.
fn pack(compress: &mut Compress, payload: &[u8]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(payload.len() + payload.len() / 8 + 1024);
    compress
        .compress_vec(payload, &mut packed, FlushCompress::Sync)
        .expect("there is room");
    packed.truncate(packed.len() - TAIL.len());
    packed
}

/// What one connection has to say, and what comes back to it.
#[derive(Debug)]
pub struct Script {
    turns: Rc<[Turn]>,
    /// The turn that is on its way.
    turn: usize,
    /// Of the turn that is on its way.
    reply: Reply,
}

impl Talk for Script {
    fn sent(&self) -> &[u8] {
        &self.turns[self.turn].frame
    }

    fn due(&self) -> usize {
        READ_LEN
    }

    fn receive(&mut self, came: &[u8]) -> io::Result<bool> {
        if !self.reply.add(came, &self.turns[self.turn].payload)? {
            return Ok(false);
        }
        self.turn += 1;
        if self.turn == self.turns.len() {
            self.turn = 1;
        }
        Ok(true)
    }
}

/// What comes back, frame by frame.
#[derive(Debug)]
struct Reply {
    inflate: Decompress,
    takeover: bool,
    /// What came and is no whole frame yet.
    pending: Vec<u8>,
    /// The payload of the frames so far.
    message: Vec<u8>,
    compressed: bool,
    inflated: Vec<u8>,
}

impl Reply {
    fn new(terms: Terms) -> Self {
        Self {
            inflate: Decompress::new_with_window_bits(false, 15),
            takeover: terms.takeover(),
            pending: Vec::new(),
            message: Vec::new(),
            compressed: false,
            inflated: Vec::new(),
        }
    }

    /// Tells whether `expected` is there now, and nothing else.
    fn add(&mut self, came: &[u8], expected: &[u8]) -> io::Result<bool> {
        self.pending.extend_from_slice(came);
        while let Some((first, header_len, len)) = header(&self.pending)? {
            let end = header_len + len;
            if self.pending.len() < end {
                break;
            }
            self.message.extend(&self.pending[header_len..end]);
            self.pending.drain(..end);
            if matches!(first & 0x0F, 1 | 2) {
                self.compressed = first & RSV1 != 0;
            }
            if first & 0x80 == 0 {
                continue;
            }
            let whole = self.is(expected)?;
            self.message.clear();
            if !whole || !self.pending.is_empty() {
                return Err(wrong());
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Whether the message that came is `expected`.
    fn is(&mut self, expected: &[u8]) -> io::Result<bool> {
        if !self.compressed {
            return Ok(self.message == expected);
        }
        if !self.takeover {
            self.inflate.reset(false);
        }
        self.message.extend(TAIL);
        self.inflated.clear();
        self.inflated.reserve(expected.len() + 64);
        let inflate = &mut self.inflate;
        let before = inflate.total_in();
        inflate
            .decompress_vec(&self.message, &mut self.inflated, FlushDecompress::Sync)
            .map_err(io::Error::other)?;
        let is_all = inflate.total_in() - before == self.message.len() as u64;
        Ok(is_all && self.inflated == expected)
    }
}

/// The first byte of a frame, the length of its header and that of its payload, once they are
/// there. It is neither masked nor a control frame.
fn header(octets: &[u8]) -> io::Result<Option<(u8, usize, usize)>> {
    let [first, second, rest @ ..] = octets else {
        return Ok(None);
    };
    if first & 0x08 != 0 {
        return Err(wrong());
    }
    let len = match (second, rest) {
        (126, [high, low, ..]) => Some((4, usize::from(u16::from_be_bytes([*high, *low])))),
        (127, [0, 0, 0, 0, a, b, c, d, ..]) => {
            Some((10, u32::from_be_bytes([*a, *b, *c, *d]) as usize))
        }
        (126, _) => None,
        (127, _) if rest.len() < 8 => None,
        (0..126, _) => Some((2, usize::from(*second))),
        _ => return Err(wrong()),
    };
    Ok(len.map(|(header_len, len)| (*first, header_len, len)))
}

impl Client<Script> {
    /// Opens the connections to the server at `address`, which must accept these terms.
    ///
    /// # Errors
    /// What the system says, and a server that refuses, or agrees to something else.
    pub fn compressed(address: SocketAddr, workload: Workload, terms: Terms) -> io::Result<Self> {
        let scripts: Vec<Rc<[Turn]>> = (0..SCRIPTS)
            .map(|number| script(number, workload, terms).into())
            .collect();
        let mut client = Self::new(1, READ_LEN)?;
        for number in 0..CONNECTIONS {
            let mut stream = dial(address)?;
            let head = open(&mut stream, terms.extension())?.to_ascii_lowercase();
            let is_agreed = [
                ("permessage-deflate", terms != Terms::Off),
                ("server_no_context_takeover", terms == Terms::Alone),
                ("client_no_context_takeover", terms == Terms::Alone),
                ("server_max_window_bits=12", terms == Terms::Takeover12),
            ];
            if is_agreed
                .iter()
                .any(|&(term, wanted)| head.contains(term) != wanted)
            {
                return Err(io::Error::other(format!(
                    "it agreed to other terms: {head}"
                )));
            }
            let script = Script {
                turns: Rc::clone(&scripts[number % SCRIPTS]),
                turn: 0,
                reply: Reply::new(terms),
            };
            client.add(stream, script)?;
        }
        Ok(client)
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::io::ErrorKind;
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::echo::compressed::Sample;
    use crate::echo::compressed::servers::Entry;
    use crate::echo::on_tokio::Runtime;

    #[test]
    fn each_server_echoes_every_message_on_all_its_terms() {
        for entry in Entry::all() {
            // Those that have none of tokio's run the same on each.
            let runtimes = &Runtime::ALL[usize::from(!entry.is_on_tokio())..];
            for (&terms, &runtime) in entry
                .terms
                .iter()
                .flat_map(|terms| runtimes.iter().map(move |runtime| (terms, runtime)))
            {
                let (sender, address) = mpsc::channel();
                thread::spawn(move || {
                    entry.run(terms, runtime, &mut |address| {
                        sender.send(address).unwrap_or(());
                    })
                });
                let address = address.recv().expect("it listens");
                for workload in Workload::ALL {
                    echo(address, workload, terms).unwrap_or_else(|error| {
                        panic!("{}, {runtime}, {terms}, {workload}: {error}", entry.name)
                    });
                }
            }
        }
    }

    /// Three turns of each connection and more.
    fn echo(address: SocketAddr, workload: Workload, terms: Terms) -> io::Result<()> {
        let mut client = Client::compressed(address, workload, terms)?;
        let mut messages = 0;
        while messages < 3 * CONNECTIONS as u64 {
            messages += client.run(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// The frames that a server would answer these turns with.
    fn replies(turns: &[Turn], terms: Terms) -> Vec<Vec<u8>> {
        let mut compress = Compress::new_with_window_bits(Compression::new(1), false, 15);
        let frame = |turn: &Turn| {
            let packed = pack(&mut compress, &turn.payload);
            if !terms.takeover() {
                compress.reset();
            }
            let mut frame = vec![0xC1, 127];
            frame.extend((packed.len() as u64).to_be_bytes());
            frame.extend(packed);
            frame
        };
        turns.iter().map(frame).collect()
    }

    #[test]
    fn an_honest_echo_passes_however_it_is_cut_and_a_wrong_one_does_not() {
        let workload = Workload::new(Sample::Telemetry, 256);
        for terms in [Terms::Alone, Terms::Takeover15] {
            let turns = script(0, workload, terms);
            let replies = replies(&turns, terms);
            let mut reply = Reply::new(terms);
            for (turn, frame) in turns.iter().zip(&replies) {
                let (last, rest) = frame.split_last().expect("a frame");
                for octet in rest {
                    assert!(!reply.add(&[*octet], &turn.payload).expect("an honest echo"));
                }
                assert!(reply.add(&[*last], &turn.payload).expect("an honest echo"));
            }
            let mut reply = Reply::new(terms);
            assert!(
                reply
                    .add(&replies[0], &turns[0].payload)
                    .expect("an honest echo")
            );
            let error = reply.add(&replies[1], &turns[2].payload);
            assert_eq!(
                error.map_err(|error| error.kind()),
                Err(ErrorKind::InvalidData)
            );
        }
    }

    #[test]
    fn an_echo_that_lacks_its_end_or_has_more_is_found() {
        let workload = Workload::new(Sample::Prose, 4096);
        let turns = script(1, workload, Terms::Alone);
        let payload = &turns[1].payload;
        let mut compress = Compress::new_with_window_bits(Compression::new(1), false, 15);
        let longer = [payload, &b"x"[..]].concat();
        for echo in [&payload[1..], &payload[..payload.len() - 1], &longer] {
            let packed = pack(&mut compress, echo);
            compress.reset();
            let mut frame = vec![0xC1, 126];
            frame.extend((packed.len() as u16).to_be_bytes());
            frame.extend(packed);
            assert!(Reply::new(Terms::Alone).add(&frame, payload).is_err());
        }
    }

    #[test]
    fn a_script_can_be_told_again_and_again() {
        for terms in [Terms::Alone, Terms::Takeover15] {
            let turns = script(2, Workload::new(Sample::Prose, 4096), terms);
            let mut reply = Reply::new(terms);
            for turn in turns.iter().chain(&turns[1..]).chain(&turns[1..]) {
                assert!(
                    reply
                        .add(&unmasked(&turn.frame), &turn.payload)
                        .expect("the payload")
                );
            }
        }
    }

    /// The same frame, as a server would send it.
    fn unmasked(frame: &[u8]) -> Vec<u8> {
        motews_testkit::frame::Frame::decode(&mut &frame[..])
            .0
            .encode(None)
    }
}
