//! Echoes of compressed messages over TCP: motews and its peers by turns; README.md tells more.

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

    use motews_bench::echo::client::Client;
    use motews_bench::echo::compressed::servers::Entry;
    use motews_bench::echo::compressed::{CONNECTIONS, Terms, Workload};
    use motews_bench::echo::process::{self, Running};
    use motews_bench::figures::{least, median, option, ratio};

    use super::Failure;

    const HELP: &str =
        "compressed [--rounds N] [--milliseconds N] [TERMS ...] [SERVER ...] [WORKLOAD ...]";

    /// A server on its terms, and what was measured of it, round by round.
    struct Lane {
        entry: Entry,
        /// Microseconds of the processor that the server took for a message.
        times: Vec<f64>,
        /// Bytes on the wire for an echo.
        octets: Vec<f64>,
        /// KiB that each connection added to the server's memory.
        memory: Vec<f64>,
    }

    pub(super) fn main() -> Result<(), Failure> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match words[..] {
            ["--help"] => {
                println!("{HELP}");
                return Ok(());
            }
            ["--serve", name, terms, processor] => {
                let entry = Entry::named(name).ok_or("no such server")?;
                return entry.serve(terms.parse()?, processor.parse()?);
            }
            _ => {}
        }
        let rounds = option(&arguments, "--rounds", 21)?;
        let time = Duration::from_millis(option(&arguments, "--milliseconds", 100)?);
        // None named is all.
        let mut workloads: Vec<Workload> = words.iter().filter_map(|w| w.parse().ok()).collect();
        if workloads.is_empty() {
            workloads = Workload::ALL.to_vec();
        }
        let mut all_terms: Vec<Terms> = words.iter().filter_map(|w| w.parse().ok()).collect();
        if all_terms.is_empty() {
            all_terms = Terms::ALL.to_vec();
        }
        let mut entries = Entry::all();
        let is_asked_for = |entry: &Entry| words.iter().any(|word| entry.name.starts_with(word));
        if entries.iter().any(is_asked_for) {
            entries.retain(is_asked_for);
        }

        let [own, servers] = process::two_processors()?;
        process::pin(own)?;
        println!("{rounds} rounds of {} ms.", time.as_millis());
        for workload in workloads {
            println!("\n### {workload}");
            for &terms in &all_terms {
                let entries = entries.iter().filter(|entry| entry.terms.contains(&terms));
                let entries: Vec<Entry> = entries.copied().collect();
                let lanes = measure(workload, terms, &entries, servers, rounds, time)?;
                print(terms, &lanes);
            }
        }
        Ok(())
    }

    fn measure(
        workload: Workload,
        terms: Terms,
        entries: &[Entry],
        processor: usize,
        rounds: u64,
        time: Duration,
    ) -> Result<Vec<Lane>, Failure> {
        let mut lanes: Vec<_> = entries
            .iter()
            .map(|&entry| Lane {
                entry,
                times: Vec::new(),
                octets: Vec::new(),
                memory: Vec::new(),
            })
            .collect();
        let count = lanes.len();
        for round in 0..rounds as usize {
            // Nobody always follows the same neighbour.
            for turn in 0..count {
                let lane = &mut lanes[(round + turn) % count];
                let name = lane.entry.name;
                let failed = |error| format!("{name}, {terms}, {workload}: {error}");
                let server = Running::start(&[name, &terms.to_string()], processor)?;
                let idle = server.memory()?;
                let mut client =
                    Client::compressed(server.address, workload, terms).map_err(failed)?;
                // Every window is full after the first message.
                client.run(time / 10).map_err(failed)?;
                let (before, octets) = (server.processor_time()?, client.received());
                let messages = client.run(time).map_err(failed)? as f64;
                let taken = (server.processor_time()? - before).as_secs_f64();
                lane.times.push(taken * 1e6 / messages);
                lane.octets
                    .push((client.received() - octets) as f64 / messages);
                let memory = server.memory()?.saturating_sub(idle);
                lane.memory
                    .push(memory as f64 / 1024.0 / CONNECTIONS as f64);
            }
        }
        Ok(lanes)
    }

    fn print(terms: Terms, lanes: &[Lane]) {
        let Some(first) = lanes.first() else {
            return;
        };
        println!("\n| {terms} | µs/message | best | time | octets | KiB/connection |");
        println!("|---|--:|--:|--:|--:|--:|");
        for lane in lanes {
            println!(
                "| {} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0} |",
                lane.entry.name,
                median(lane.times.clone()),
                least(lane.times.clone()),
                ratio(&lane.times, &first.times),
                median(lane.octets.clone()),
                median(lane.memory.clone()),
            );
        }
    }
}
