//! Compresses and inflates messages in memory, motews and zlib-rs by turns; README.md tells more.

use core::error::Error;
use core::hint::black_box;
use std::time::Instant;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use motews::deflate::{Deflated, Deflater, Inflated, Inflater, Level, WindowBits};
use motews_bench::figures::{least, option};

/// Octets that a payload has at least, cut into messages.
const PAYLOAD_LEN: usize = 160 * 1024;

/// What zlib leaves at the end of each message, and a sender takes off (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// Compresses a message into a buffer.
type Compressing = dyn FnMut(&[u8], &mut Vec<u8>);

/// A compressor of a stream of messages.
struct Contestant {
    name: String,
    memory: usize,
    compress: Box<Compressing>,
}

fn motews(level: Level, memory: usize, bits: WindowBits) -> Result<Contestant, Box<dyn Error>> {
    let mut deflater = Deflater::new(vec![0; memory], bits, level)?;
    Ok(Contestant {
        name: format!("motews {level:?}, {} bits", bits.bits()),
        memory,
        compress: Box::new(move |mut message, out| {
            let mut filled = 0;
            loop {
                out.resize(filled + message.len() + 1024, 0);
                if deflater.deflate(&mut message, true, out, &mut filled) == Deflated::All {
                    break;
                }
            }
            out.truncate(filled);
        }),
    })
}

fn zlib(level: u32) -> Contestant {
    let mut compress = Compress::new_with_window_bits(Compression::new(level), false, 15);
    Contestant {
        name: format!("zlib-rs {level}"),
        memory: 0,
        compress: Box::new(move |message, out| {
            out.clear();
            out.reserve(message.len() + message.len() / 8 + 1024);
            compress
                .compress_vec(message, out, FlushCompress::Sync)
                .expect("there is room");
            out.truncate(out.len() - TAIL.len());
        }),
    }
}

/// Readings of sensors as JSON.
fn telemetry() -> Vec<u8> {
    let mut text = String::new();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut temperature = 21.5_f64;
    let mut time = 1_700_000_000_000_u64;
    while text.len() < PAYLOAD_LEN {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        temperature += ((state >> 20) % 21) as f64 / 50.0 - 0.2;
        time += 900 + (state >> 40) % 200;
        text += &format!(
            "{{\"time\":{time},\"device\":\"mote-{}\",\"temperature\":{temperature:.2},\
             \"humidity\":{:.1},\"battery\":{},\"status\":\"{}\"}}\n",
            state % 16,
            40.0 + (state >> 30) as f64 % 200.0 / 10.0,
            3000 + (state >> 50) % 700,
            if state.is_multiple_of(11) {
                "warning"
            } else {
                "ok"
            },
        );
    }
    text.into_bytes()
}

/// Prose: what this project says of itself.
fn prose() -> Vec<u8> {
    let texts = [
        include_str!("../../../ARCHITECTURE.md"),
        include_str!("../../../README.md"),
        include_str!("../../../examples/firmware/README.md"),
        include_str!("../../../fuzz/README.md"),
        include_str!("../../../tests/traceability.md"),
    ];
    let mut text = texts.concat().into_bytes();
    text.truncate(PAYLOAD_LEN);
    text
}

/// Source code.
fn source() -> Vec<u8> {
    let texts = [
        include_str!("../../../core/src/connection.rs"),
        include_str!("../../../core/src/handshake/server.rs"),
        include_str!("../../../core/src/handshake/client.rs"),
        include_str!("../../../core/src/frame.rs"),
    ];
    texts.concat().into_bytes()
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        println!("deflate [--rounds N] [--message OCTETS]");
        return Ok(());
    }
    let rounds = option(&arguments, "--rounds", 41)?;
    let only = option(&arguments, "--message", 0)?;
    for (name, payload) in [
        ("telemetry", telemetry()),
        ("prose", prose()),
        ("source", source()),
    ] {
        for message_len in [256, 4096, 65536] {
            if only == 0 || only == message_len as u64 {
                println!("\n{name}, messages of {message_len} octets, {rounds} rounds\n");
                measure(&payload, message_len, rounds)?;
            }
        }
    }
    Ok(())
}

fn measure(payload: &[u8], message_len: usize, rounds: u64) -> Result<(), Box<dyn Error>> {
    let messages: Vec<&[u8]> = payload.chunks(message_len).collect();
    let full = Deflater::<Vec<u8>>::full_memory(WindowBits::MAX);
    let small = WindowBits::new(12).unwrap_or_default();
    let tiny = WindowBits::new(10).unwrap_or_default();
    let mut contestants = [
        zlib(1),
        zlib(6),
        motews(Level::Fast, full, WindowBits::MAX)?,
        motews(Level::Default, full, WindowBits::MAX)?,
        motews(Level::Best, full, WindowBits::MAX)?,
        motews(Level::Default, 20 * 1024, small)?,
        motews(Level::Default, 2900, tiny)?,
        motews(Level::Default, 800, WindowBits::MIN)?,
    ];
    let mut times = vec![Vec::new(); contestants.len()];
    let mut lens = vec![0; contestants.len()];
    let mut out = Vec::new();
    for _ in 0..rounds {
        for ((contestant, times), total) in contestants.iter_mut().zip(&mut times).zip(&mut lens) {
            *total = 0;
            let begin = Instant::now();
            for message in &messages {
                (contestant.compress)(black_box(message), &mut out);
                *total += out.len();
            }
            times.push(begin.elapsed().as_secs_f64());
        }
    }
    println!("| compressor | memory | ratio | MB/s | speed to zlib-rs 1 | to zlib-rs 6 |");
    println!("|---|--:|--:|--:|--:|--:|");
    // The least: what nothing else on the machine has slowed down.
    let speed =
        |other: &[f64], own: &[f64]| least(other.iter().copied()) / least(own.iter().copied());
    for ((contestant, own), total) in contestants.iter().zip(&times).zip(&lens) {
        println!(
            "| {} | {} | {:.3} | {:.0} | {:.2} | {:.2} |",
            contestant.name,
            contestant.memory,
            payload.len() as f64 / *total as f64,
            payload.len() as f64 / least(own.iter().copied()) / 1e6,
            speed(&times[0], own),
            speed(&times[1], own),
        );
    }
    inflate(payload, &messages, rounds)
}

fn inflate(payload: &[u8], messages: &[&[u8]], rounds: u64) -> Result<(), Box<dyn Error>> {
    let mut six = zlib(6);
    let mut out = Vec::new();
    let compressed: Vec<Vec<u8>> = messages
        .iter()
        .map(|message| {
            (six.compress)(message, &mut out);
            out.clone()
        })
        .collect();
    let mut room = vec![0; messages.first().map_or(0, |message| message.len()) + 300];
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut inflater = Inflater::new(vec![0; 1 << 15], WindowBits::MAX)?;
    for _ in 0..rounds {
        inflater.reset();
        let begin = Instant::now();
        for (compressed, message) in compressed.iter().zip(messages) {
            let mut filled = 0;
            let mut input = black_box(&compressed[..]);
            let done = inflater.inflate(&mut input, &mut room, &mut filled)?;
            inflater.finish()?;
            assert!(done == Inflated::All && filled == message.len());
        }
        ours.push(begin.elapsed().as_secs_f64());

        let mut decompress = Decompress::new_with_window_bits(false, 15);
        let begin = Instant::now();
        for (compressed, message) in compressed.iter().zip(messages) {
            let before = decompress.total_out();
            decompress.decompress(black_box(compressed), &mut room, FlushDecompress::Sync)?;
            let filled = (decompress.total_out() - before) as usize;
            decompress.decompress(&TAIL, &mut room[filled..], FlushDecompress::Sync)?;
            assert_eq!(decompress.total_out() - before, message.len() as u64);
        }
        theirs.push(begin.elapsed().as_secs_f64());
    }
    println!(
        "\ninflate: motews {:.0} MB/s, zlib-rs {:.0} MB/s, ratio {:.2}",
        payload.len() as f64 / least(ours.iter().copied()) / 1e6,
        payload.len() as f64 / least(theirs.iter().copied()) / 1e6,
        least(theirs.iter().copied()) / least(ours.iter().copied()),
    );
    Ok(())
}
