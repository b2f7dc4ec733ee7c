//! Echoes over TCP: motews, its peers and a raw echo by turns; README.md tells more.

use core::error::Error;

type Failure = Box<dyn Error + Send + Sync>;

#[cfg(not(target_os = "linux"))]
fn main() -> Result<(), Failure> {
    Err("this measurement needs Linux: epoll, and the processor time of a process".into())
}

#[cfg(target_os = "linux")]
fn main() -> Result<(), Failure> {
    linux::main()
}

#[cfg(target_os = "linux")]
mod linux {
    use core::time::Duration;
    use std::fs;
    use std::time::Instant;

    use motews_bench::echo::chart::Row;
    use motews_bench::echo::client::{Client, Kind};
    use motews_bench::echo::process::{self, Running};
    use motews_bench::echo::servers::Entry;
    use motews_bench::echo::{Workload, chart};
    use motews_bench::figures::{least, median, option, ratio};

    use super::Failure;

    const HELP: &str = "echo [--rounds N] [--milliseconds N] [--text] [--csv FILE] [SERVER ...] \
        [WORKLOAD ...]
echo --chart FILE.csv FILE.svg";

    /// A server, and what was measured of it.
    struct Lane {
        entry: Entry,
        /// Microseconds of the processor that the server took for a message, round by round.
        rounds: Vec<f64>,
        /// How much of its processor's time the server took, of 1.
        shares: Vec<f64>,
    }

    pub(super) fn main() -> Result<(), Failure> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match words[..] {
            ["--help"] => {
                println!("{HELP}");
                return Ok(());
            }
            ["--serve", name, processor] => {
                let entry = Entry::named(name).ok_or("no such server")?;
                return entry.serve(processor.parse()?);
            }
            ["--chart", csv, svg] => {
                let rows = chart::read(&fs::read_to_string(csv)?)?;
                return Ok(fs::write(svg, chart::draw(&rows))?);
            }
            _ => {}
        }

        let rounds = option(&arguments, "--rounds", 21)?;
        let time = Duration::from_millis(option(&arguments, "--milliseconds", 200)?);
        let kind = if words.contains(&"--text") {
            Kind::Text
        } else {
            Kind::Binary
        };
        let csv = words.iter().position(|word| *word == "--csv");
        let csv = csv.map(|at| words.get(at + 1).ok_or("--csv takes a file"));
        let csv = csv.transpose()?;

        let named: Vec<_> = words.iter().filter_map(|word| word.parse().ok()).collect();
        let workloads = if named.is_empty() {
            Workload::ALL.to_vec()
        } else {
            named
        };
        // The raw echo always runs: all figures are against it.
        let mut entries = Entry::all();
        let is_asked_for = |entry: &Entry| words.iter().any(|word| entry.is_called(word));
        if entries.iter().any(is_asked_for) {
            entries.retain(|entry| entry.is_raw() || is_asked_for(entry));
        }

        let [own, servers] = process::two_processors()?;
        process::pin(own)?;
        println!(
            "{kind:?} messages; {rounds} rounds of {} ms.",
            time.as_millis()
        );
        let mut rows = Vec::new();
        for workload in workloads {
            let lanes = measure(workload, kind, &entries, servers, rounds, time)?;
            rows.extend(print(workload, &lanes));
        }
        if let Some(file) = csv {
            fs::write(file, chart::write(&rows))?;
        }
        Ok(())
    }

    fn measure(
        workload: Workload,
        kind: Kind,
        entries: &[Entry],
        processor: usize,
        rounds: u64,
        time: Duration,
    ) -> Result<Vec<Lane>, Failure> {
        let mut lanes: Vec<_> = entries
            .iter()
            .map(|&entry| Lane {
                entry,
                rounds: Vec::new(),
                shares: Vec::new(),
            })
            .collect();
        let count = lanes.len();
        for round in 0..rounds as usize {
            // Nobody always follows the same neighbour.
            for turn in 0..count {
                let lane = &mut lanes[(round + turn) % count];
                let entry = lane.entry;
                let failed = |error| format!("{}, {workload}: {error}", entry.name);
                // Each round has a new process: where it lies in memory makes a difference, too.
                let server = Running::start(&[entry.name], processor)?;
                let mut client = Client::connect(server.address, workload, kind, entry.protocol)
                    .map_err(failed)?;
                client.run(time / 10).map_err(failed)?;
                let before = server.processor_time()?;
                let start = Instant::now();
                let messages = client.run(time).map_err(failed)?;
                let elapsed = start.elapsed();
                let taken = (server.processor_time()? - before).as_secs_f64();
                lane.rounds.push(taken * 1e6 / messages as f64);
                lane.shares.push(taken / elapsed.as_secs_f64());
            }
        }
        Ok(lanes)
    }

    fn print(workload: Workload, lanes: &[Lane]) -> Vec<Row> {
        let Some(raw) = lanes.first() else {
            return Vec::new();
        };
        println!("\n### {workload}\n");
        println!("| | µs/message | best | figure | of its processor |");
        println!("|---|--:|--:|--:|--:|");
        let mut rows = Vec::new();
        for lane in lanes {
            let row = Row {
                workload,
                server: lane.entry.name.to_owned(),
                time: median(lane.rounds.clone()),
                least: least(lane.rounds.clone()),
                figure: ratio(&raw.rounds, &lane.rounds),
                share: median(lane.shares.clone()),
            };
            println!(
                "| {} | {:.3} | {:.3} | {:.3} | {:.0} % |",
                row.server,
                row.time,
                row.least,
                row.figure,
                row.share * 100.0
            );
            rows.push(row);
        }
        rows
    }
}
