//! Masks in place, motews and its peers by turns; README.md tells more.

use core::error::Error;
use core::hint::black_box;
use std::time::Instant;

use motews::Mask;
use motews_bench::figures::{least, median, option, ratio};

/// Payload lengths, in bytes.
const LENGTHS: [usize; 4] = [16, 125, 1024, 64 * 1024];

/// The payloads of one pass, with their headers: what the first-level cache holds, if it can.
const PASS_LEN: usize = 16 * 1024;

/// The bytes before a payload, of which the last four are its masking key.
const HEADER_LEN: usize = 6;

/// Bytes masked in each turn.
const TURN_LEN: usize = 8 * 1024 * 1024;

type Pass = fn(&mut [u8], usize);

/// Masks each payload of `frames`, all `len` long, with the key that stands before it.
#[inline(always)]
fn each(frames: &mut [u8], len: usize, mask: impl Fn([u8; 4], &mut [u8])) {
    for frame in frames.chunks_exact_mut(HEADER_LEN + len) {
        if let ([_, _, a, b, c, d], payload) = frame.split_at_mut(HEADER_LEN) {
            mask([*a, *b, *c, *d], payload);
            black_box(payload);
        }
    }
}

#[inline(never)]
fn motews(frames: &mut [u8], len: usize) {
    each(frames, len, |key, payload| {
        black_box(Mask::new(key).apply(payload));
    });
}

#[cfg(feature = "peers")]
#[inline(never)]
fn fastwebsockets(frames: &mut [u8], len: usize) {
    each(frames, len, |key, payload| {
        fastwebsockets::unmask(payload, key)
    });
}

#[cfg(feature = "peers")]
#[inline(never)]
fn websocket_sans_io(frames: &mut [u8], len: usize) {
    each(frames, len, |key, payload| {
        websocket_sans_io::apply_mask(key, payload, 0)
    });
}

const CONTESTANTS: &[(&str, Pass)] = &[
    ("motews", motews),
    #[cfg(feature = "peers")]
    ("fastwebsockets 0.10", fastwebsockets),
    #[cfg(feature = "peers")]
    ("websocket-sans-io 0.1", websocket_sans_io),
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = option(&arguments, "--rounds", 41)?;
    println!("{rounds} rounds.");
    for len in LENGTHS {
        measure(len, rounds as usize);
    }
    Ok(())
}

fn measure(len: usize, rounds: usize) {
    let frame_len = HEADER_LEN + len;
    let frames = (PASS_LEN / frame_len).max(1);
    let passes = (TURN_LEN / (frames * len)).max(1);
    let masked = (passes * frames) as f64;
    let mut bytes: Vec<u8> = (0..frames * frame_len)
        .map(|at| ((at * 167) >> 3) as u8)
        .collect();

    let mut times = vec![Vec::new(); CONTESTANTS.len()];
    for round in 0..=rounds {
        for turn in 0..CONTESTANTS.len() {
            let lane = (round + turn) % CONTESTANTS.len();
            let (_, pass) = CONTESTANTS[lane];
            let start = Instant::now();
            for _ in 0..passes {
                pass(black_box(&mut bytes), len);
            }
            // The first round warms up.
            if round > 0 {
                times[lane].push(start.elapsed().as_nanos() as f64 / masked);
            }
        }
    }

    let best_peer = times
        .iter()
        .skip(1)
        .min_by(|a, b| median(a.iter().copied()).total_cmp(&median(b.iter().copied())));
    println!("\n### {len} B\n");
    println!("| | ns | best | GB/s | speed against the best peer |");
    println!("|---|--:|--:|--:|--:|");
    for ((name, _), times) in CONTESTANTS.iter().zip(&times) {
        let time = median(times.iter().copied());
        let speed = match best_peer {
            Some(peer) => format!("{:.2}", ratio(peer, times)),
            None => "-".into(),
        };
        let best = least(times.iter().copied());
        println!(
            "| {name} | {time:.2} | {best:.2} | {:.1} | {speed} |",
            len as f64 / time
        );
    }
}
