//! Compresses and inflates messages in memory, motews and zlib-rs by turns; README.md tells more.

use core::error::Error;
use core::hint::black_box;
use std::time::Instant;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use motews::deflate::{Deflated, Deflater, Inflated, Inflater, Level, WindowBits};
use motews_bench::figures::{least, option};
use motews_bench::samples::{prose, source, telemetry};

/// Bytes of telemetry and of prose, cut into messages.
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

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        println!("deflate [--rounds N] [--message OCTETS] [--file PATH]...");
        return Ok(());
    }
    let rounds = option(&arguments, "--rounds", 41)?;
    let only = option(&arguments, "--message", 0)?;
    let mut payloads = vec![
        ("telemetry", telemetry(PAYLOAD_LEN)),
        ("prose", prose(PAYLOAD_LEN)),
        ("source", source()),
    ];
    let named = || arguments.iter().zip(arguments.iter().skip(1));
    if named().any(|(name, _)| name == "--file") {
        payloads.clear();
    }
    for (_, path) in named().filter(|(name, _)| *name == "--file") {
        payloads.push((path, std::fs::read(path)?));
    }
    for (name, payload) in payloads {
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
