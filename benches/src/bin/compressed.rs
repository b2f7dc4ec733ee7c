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
    use std::time::Instant;

    use motews_bench::echo::client::Client;
    use motews_bench::echo::compressed::servers::Entry;
    use motews_bench::echo::compressed::{CONNECTIONS, LEVEL, Terms, Workload};
    use motews_bench::echo::on_tokio::{Runtime, WORKERS};
    use motews_bench::echo::process::{self, Running};
    use motews_bench::figures::{least, median, option, ratio};

    use super::Failure;

    const HELP: &str = "compressed [--tokio] [--rounds N] [--milliseconds N] [TERMS ...] \
        [SERVER ...] [WORKLOAD ...]";

    /// A server on its terms, and what was measured of it, round by round.
    struct Lane {
        entry: Entry,
        /// Microseconds of the processor that the server took for a message.
        times: Vec<f64>,
        /// Messages in a second.
        rates: Vec<f64>,
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
            ["--serve", name, terms, runtime, processor] => {
                let entry = Entry::named(name).ok_or("no such server")?;
                return entry.serve(terms.parse()?, runtime.parse()?, processor.parse()?);
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
        let is_on_tokio = words.contains(&"--tokio");
        let mut entries = Entry::all();
        entries.retain(|entry| !is_on_tokio || entry.is_on_tokio());
        let runtimes = &Runtime::ALL[..if is_on_tokio { 2 } else { 1 }];
        let is_asked_for = |entry: &Entry| words.iter().any(|word| entry.name.starts_with(word));
        if entries.iter().any(is_asked_for) {
            entries.retain(is_asked_for);
        }

        let [own, servers] = process::two_processors()?;
        process::pin(own)?;
        println!(
            "{rounds} rounds of {} ms; {CONNECTIONS} connections. motews compresses at Level::Default, the others at \
            zlib's level {LEVEL}.",
            time.as_millis()
        );
        if is_on_tokio {
            println!("multi-thread: {WORKERS} workers, on the server's processor.");
        }
        for workload in workloads {
            for runtime in runtimes {
                println!("\n### {workload}");
                if is_on_tokio {
                    println!("\nOn tokio, {runtime}.");
                }
                for &terms in &all_terms {
                    let entries = entries.iter().filter(|entry| entry.terms.contains(&terms));
                    let entries: Vec<Entry> = entries.copied().collect();
                    let plan = Plan {
                        workload,
                        terms,
                        runtime: *runtime,
                        processor: servers,
                        rounds: rounds as usize,
                        time,
                    };
                    print(terms, &plan.measure(&entries)?);
                }
            }
        }
        Ok(())
    }

    /// What is measured, and how often.
    struct Plan {
        workload: Workload,
        terms: Terms,
        runtime: Runtime,
        /// Where the servers run.
        processor: usize,
        rounds: usize,
        time: Duration,
    }

    impl Plan {
        fn measure(&self, entries: &[Entry]) -> Result<Vec<Lane>, Failure> {
            let &Self {
                workload,
                terms,
                runtime,
                processor,
                rounds,
                time,
            } = self;
            let mut lanes: Vec<_> = entries
                .iter()
                .map(|&entry| Lane {
                    entry,
                    times: Vec::new(),
                    rates: Vec::new(),
                    octets: Vec::new(),
                    memory: Vec::new(),
                })
                .collect();
            let count = lanes.len();
            for round in 0..rounds {
                // Nobody always follows the same neighbour.
                for turn in 0..count {
                    let lane = &mut lanes[(round + turn) % count];
                    let name = lane.entry.name;
                    let failed = |error| format!("{name}, {terms}, {workload}: {error}");
                    let server =
                        Running::start(&[name, &terms.to_string(), runtime.name()], processor)?;
                    let idle = server.memory()?;
                    let mut client =
                        Client::compressed(server.address, workload, terms).map_err(failed)?;
                    // Every window is full after the first message.
                    client.run(time / 10).map_err(failed)?;
                    let (before, octets) = (server.processor_time()?, client.received());
                    let start = Instant::now();
                    let messages = client.run(time).map_err(failed)? as f64;
                    lane.rates.push(messages / start.elapsed().as_secs_f64());
                    let taken = (server.processor_time()? - before).as_secs_f64();
                    lane.times.push(taken * 1e6 / messages);
                    let octets = (client.received() - octets) as f64 / messages;
                    // What was agreed upon is also done.
                    let compresses = lane.entry.compresses && terms != Terms::Off;
                    if (octets < workload.size as f64) != compresses {
                        let reason =
                            format!("{name}, {terms}, {workload}: {octets:.0} bytes an answer");
                        return Err(reason.into());
                    }
                    lane.octets.push(octets);
                    let memory = server.memory()?.saturating_sub(idle);
                    lane.memory
                        .push(memory as f64 / 1024.0 / CONNECTIONS as f64);
                }
            }
            Ok(lanes)
        }
    }

    fn print(terms: Terms, lanes: &[Lane]) {
        let Some(first) = lanes.first() else {
            return;
        };
        println!(
            "\n| {terms} | µs/message | best | time | messages/s | rate | octets | KiB/connection |"
        );
        println!("|---|--:|--:|--:|--:|--:|--:|--:|");
        for lane in lanes {
            println!(
                "| {} | {:.2} | {:.2} | {:.2} | {:.0} | {:.2} | {:.0} | {:.0} |",
                lane.entry.name,
                median(lane.times.clone()),
                least(lane.times.clone()),
                ratio(&lane.times, &first.times),
                median(lane.rates.clone()),
                ratio(&lane.rates, &first.rates),
                median(lane.octets.clone()),
                median(lane.memory.clone()),
            );
        }
    }
}
