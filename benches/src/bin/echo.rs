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
    use std::path::{Path, PathBuf};
    use std::time::Instant;

    use motews_bench::echo::chart::Row;
    use motews_bench::echo::client::{Client, Kind, Protocol};
    use motews_bench::echo::on_tokio::{Runtime, WORKERS};
    use motews_bench::echo::process::{self, Running};
    use motews_bench::echo::servers::Entry;
    use motews_bench::echo::{Workload, chart, uws};
    use motews_bench::figures::{least, median, option, ratio};

    use super::Failure;

    const HELP: &str = "echo [--tokio] [--starts N] [--rounds N] [--milliseconds N] [--text] \
        [--csv FILE] [--one-processor] [--limits] [--beside PROGRAM] [SERVER ...] [WORKLOAD ...]
echo --chart FILE.csv FILE.svg";

    /// A server that can be started.
    struct Contestant {
        name: String,
        /// What it is called where it is served, and by which program.
        arguments: Vec<&'static str>,
        program: PathBuf,
        protocol: Protocol,
    }

    /// What was measured of it.
    #[derive(Default)]
    struct Lane {
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
                return entry.serve(Runtime::CurrentThread, processor.parse()?);
            }
            ["--serve", name, runtime, processor] => {
                let entry = Entry::named(name).ok_or("no such server")?;
                return entry.serve(runtime.parse()?, processor.parse()?);
            }
            ["--chart", csv, svg] => {
                let rows = chart::read(&fs::read_to_string(csv)?)?;
                return Ok(fs::write(svg, chart::draw(&rows))?);
            }
            _ => {}
        }

        let plan = Plan {
            starts: option(&arguments, "--starts", 4)? as usize,
            rounds: option(&arguments, "--rounds", 50)? as usize,
            time: Duration::from_millis(option(&arguments, "--milliseconds", 20)?),
            one_processor: words.contains(&"--one-processor"),
        };
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
        let folder = std::env::temp_dir().join(format!("motews-echo-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let contestants = contestants(&words, &folder)?;
        let [own, other] = process::two_processors()?;
        let servers = if plan.one_processor { own } else { other };
        process::pin(own)?;
        let Plan {
            starts,
            rounds,
            time,
            ..
        } = plan;
        println!(
            "{kind:?} messages; {starts} starts of {rounds} rounds of {} ms.",
            time.as_millis()
        );
        let is_on_tokio = words.contains(&"--tokio");
        if is_on_tokio {
            println!("multi-thread: {WORKERS} workers, on the server's processor.");
        } else if std::env::var_os("MOTEWS_UWS").is_none() {
            println!("{}: not there.", uws::NAME);
        }
        let mut rows = Vec::new();
        for workload in workloads {
            let lanes = measure(workload, kind, &contestants, servers, &plan)?;
            rows.extend(print(workload, &contestants, &lanes, rounds));
        }
        let _ = fs::remove_dir_all(folder);
        if let Some(file) = csv {
            fs::write(file, chart::write(&rows))?;
        }
        Ok(())
    }

    /// How often is measured, and for how long.
    struct Plan {
        starts: usize,
        rounds: usize,
        time: Duration,
        /// Whether client and server share a processor, by turns.
        one_processor: bool,
    }

    /// The servers that are asked for: all if none is. A raw echo always runs, for the figures of
    /// those behind it are against it.
    fn contestants(words: &[&str], folder: &Path) -> Result<Vec<Contestant>, Failure> {
        let program = std::env::current_exe()?;
        let is_on_tokio = words.contains(&"--tokio");
        let mut all = Vec::new();
        match is_on_tokio {
            true => {
                for runtime in Runtime::ALL {
                    all.extend(Entry::on_tokio().iter().map(|entry| Contestant {
                        name: format!("{}, {runtime}", entry.name),
                        arguments: vec![entry.name, runtime.name()],
                        program: program.clone(),
                        protocol: entry.protocol,
                    }));
                }
            }
            false => {
                let mut entries = Entry::all();
                if words.contains(&"--limits") {
                    // Behind the raw echo, which they are measured against.
                    entries.splice(1..1, Entry::limits());
                }
                all.extend(entries.iter().map(|entry| Contestant {
                    name: entry.name.to_owned(),
                    arguments: vec![entry.name],
                    program: program.clone(),
                    protocol: entry.protocol,
                }));
            }
        }
        if !is_on_tokio && let Some(program) = uws::build(folder)? {
            all.push(Contestant {
                name: uws::NAME.to_owned(),
                arguments: vec![uws::NAME],
                program,
                protocol: Protocol::WebSocket,
            });
        }
        let is_asked_for =
            |name: &str| (words.iter()).any(|word| !word.is_empty() && name.starts_with(word));
        if all.iter().any(|each| is_asked_for(&each.name)) {
            let limits = Entry::limits().map(|entry| entry.name);
            all.retain(|each| {
                each.protocol == Protocol::Tcp
                    || is_asked_for(&each.name)
                    || limits.contains(&&*each.name)
            });
        }
        if let Some(at) = words.iter().position(|word| *word == "--beside") {
            let other = words.get(at + 1).ok_or("--beside takes a program")?;
            let own = all.iter().filter(|each| each.name.starts_with("motews"));
            let beside: Vec<_> = own
                .map(|each| Contestant {
                    name: format!("{}, beside", each.name),
                    arguments: each.arguments.clone(),
                    program: other.into(),
                    protocol: each.protocol,
                })
                .collect();
            for each in beside {
                let own = |one: &Contestant| one.arguments == each.arguments;
                let at = all.iter().position(own).map_or(all.len(), |at| at + 1);
                all.insert(at, each);
            }
        }
        Ok(all)
    }

    /// All servers are up at once, and have their turns in an order that each round draws anew: what
    /// the machine does beside is shared out among them.
    fn measure(
        workload: Workload,
        kind: Kind,
        contestants: &[Contestant],
        processor: usize,
        plan: &Plan,
    ) -> Result<Vec<Lane>, Failure> {
        let mut lanes: Vec<_> = contestants.iter().map(|_| Lane::default()).collect();
        let mut random = 0x9E37_79B9_u32;
        // Where a process lies in memory makes a difference, too.
        for _ in 0..plan.starts {
            let mut up = Vec::new();
            for each in contestants {
                let failed = |error| format!("{}, {workload}: {error}", each.name);
                let server =
                    Running::start_of(&each.program, &each.arguments, processor).map_err(failed)?;
                let client = Client::connect(server.address, workload, kind, each.protocol);
                let mut client = client.map_err(failed)?;
                client.sleeps = plan.one_processor;
                client.run(plan.time).map_err(failed)?;
                up.push((server, client));
            }
            let mut order: Vec<usize> = (0..up.len()).collect();
            for _ in 0..plan.rounds {
                for last in (1..order.len()).rev() {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    order.swap(last, (random >> 8) as usize % (last + 1));
                }
                for &turn in &order {
                    let (server, client) = &mut up[turn];
                    let failed = |error| format!("{}, {workload}: {error}", contestants[turn].name);
                    let before = server.processor_time()?;
                    let start = Instant::now();
                    let messages = client.run(plan.time).map_err(failed)?;
                    let elapsed = start.elapsed();
                    let taken = (server.processor_time()? - before).as_secs_f64();
                    lanes[turn].rounds.push(taken * 1e6 / messages as f64);
                    lanes[turn].shares.push(taken / elapsed.as_secs_f64());
                }
            }
        }
        Ok(lanes)
    }

    fn print(
        workload: Workload,
        contestants: &[Contestant],
        lanes: &[Lane],
        rounds: usize,
    ) -> Vec<Row> {
        println!("\n### {workload}\n");
        println!("| | µs/message | best | figure | by start | of its processor |");
        println!("|---|--:|--:|--:|--:|--:|");
        let mut rows = Vec::new();
        let mut raw = &Lane::default();
        for (each, lane) in contestants.iter().zip(lanes) {
            if each.name.starts_with("raw ") {
                raw = lane;
            }
            let row = Row {
                workload,
                server: each.name.clone(),
                time: median(lane.rounds.clone()),
                least: least(lane.rounds.clone()),
                figure: ratio(&raw.rounds, &lane.rounds),
                share: median(lane.shares.clone()),
            };
            let starts = raw.rounds.chunks(rounds).zip(lane.rounds.chunks(rounds));
            let starts: Vec<f64> = starts.map(|(raw, own)| ratio(raw, own)).collect();
            let most = starts.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            println!(
                "| {} | {:.3} | {:.3} | {:.3} | {:.3} to {most:.3} | {:.0} % |",
                row.server,
                row.time,
                row.least,
                row.figure,
                least(starts),
                row.share * 100.0
            );
            rows.push(row);
        }
        rows
    }
}
