//! Receives masked text in memory, motews and its peers by turns; README.md tells more.

use core::error::Error;
use std::rc::Rc;
use std::time::Instant;

use motews_bench::allocations::{Counting, allocations};
use motews_bench::contestants::{Entry, Running};
use motews_bench::figures::{least, median, option, ratio};
use motews_bench::frames::{Frames, Workload};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Each turn of a contestant lasts about this long at 10 GB/s, in bytes.
const TURN_LEN: usize = 4 * 1024 * 1024;

struct Lane {
    entry: Entry,
    running: Box<dyn Running>,
    validates: bool,
    /// Allocations per message.
    allocations: f64,
    /// Nanoseconds per message, round by round.
    rounds: Vec<f64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        println!("receive [--rounds N] [WORKLOAD ...]");
        println!(
            "workloads: {}",
            Workload::ALL.map(|workload| workload.to_string()).join(" ")
        );
        return Ok(());
    }
    let rounds = option(&arguments, "--rounds", 41)?;
    let named: Vec<_> = arguments
        .iter()
        .filter_map(|name| Workload::named(name))
        .collect();
    let workloads = if named.is_empty() {
        Workload::ALL.to_vec()
    } else {
        named
    };

    let simd = if cfg!(feature = "simdutf8") {
        "with"
    } else {
        "without"
    };
    println!("motews {simd} `simdutf8`; {rounds} rounds.");
    for workload in workloads {
        measure(workload, rounds)?;
    }
    Ok(())
}

fn measure(workload: Workload, rounds: u64) -> Result<(), Box<dyn Error>> {
    let frames = Rc::new(Frames::prepare(workload));
    let prepared = frames.ends.len() as u64;
    let messages = prepared * (TURN_LEN / frames.bytes.len()).max(1) as u64;

    let mut lanes = Vec::new();
    for entry in Entry::all() {
        let mut running = entry.open(&frames);
        if !entry.is_copy() && running.checksum(prepared)? != frames.checksum {
            return Err(format!("{} received something else", entry.name).into());
        }
        let before = allocations();
        running.count(messages)?;
        let allocations = (allocations() - before) as f64 / messages as f64;
        if entry.is_own() && allocations > 0.0 {
            return Err(format!("{} allocates", entry.name).into());
        }
        let validates = entry.validates();
        lanes.push(Lane {
            entry,
            running,
            validates,
            allocations,
            rounds: Vec::new(),
        });
    }

    let count = lanes.len();
    for round in 0..rounds as usize {
        // Nobody always follows the same neighbour's heat.
        for turn in 0..count {
            let lane = &mut lanes[(round + turn) % count];
            let start = Instant::now();
            let tally = lane.running.count(messages)?;
            let elapsed = start.elapsed();
            if !lane.entry.is_copy() && tally.octets != messages * workload.len as u64 {
                return Err(format!("{} lost bytes", lane.entry.name).into());
            }
            lane.rounds
                .push(elapsed.as_nanos() as f64 / messages as f64);
        }
    }
    print(workload, &lanes);
    Ok(())
}

fn print(workload: Workload, lanes: &[Lane]) {
    let reference = lanes
        .iter()
        .filter(|lane| lane.validates && !lane.entry.is_own() && !lane.entry.is_copy())
        .min_by(|a, b| median(a.rounds.clone()).total_cmp(&median(b.rounds.clone())));

    println!("\n### {workload}\n");
    println!("| | ns/message | best | GB/s | ratio | allocations/message | checks UTF-8 |");
    println!("|---|--:|--:|--:|--:|--:|:-:|");
    for lane in lanes {
        let time = median(lane.rounds.clone());
        let ratio = match reference {
            Some(reference) => format!("{:.3}", ratio(&lane.rounds, &reference.rounds)),
            None => "-".into(),
        };
        let checks = match (lane.entry.is_copy(), lane.validates) {
            (true, _) => "-",
            (_, true) => "yes",
            (_, false) => "no",
        };
        println!(
            "| {} | {time:.1} | {:.1} | {:.2} | {ratio} | {:.3} | {checks} |",
            lane.entry.name,
            least(lane.rounds.clone()),
            workload.len as f64 / time,
            lane.allocations,
        );
    }
}
