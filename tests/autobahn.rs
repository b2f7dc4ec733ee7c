//! The Autobahn test suite, both roles: categories 1 to 7, 9 and 10, which is all of RFC 6455; and
//! of 12 and 13, which is RFC 7692, one size of message, or all if `MOTEWS_ALL_COMPRESSED` is set.
//!
//! `bash .ci/install` brings the suite's tool, `wstest`. `MOTEWS_WSTEST` names another one, and
//! where there is none, the suite's container image serves as well.

#[path = "embedded_io_autobahn.rs"]
mod embedded_io;
#[path = "firmware_autobahn.rs"]
mod firmware;
#[path = "smoltcp_autobahn.rs"]
mod smoltcp;
#[path = "tokio_autobahn.rs"]
mod tokio;

use core::time::Duration;
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use motews_tests::{Process, ServerProcess, example, find_program, free_port, tool_cache};
use serde_json::{Value, json};

/// Cases that are run.
struct Cases {
    patterns: &'static [&'static str],
    count: usize,
    /// How long a run of them may take.
    limit: Duration,
}

impl Cases {
    /// Framing, pings, reserved bits, opcodes, fragmentation, UTF-8, closing, limits, and what is
    /// in no category.
    const UNCOMPRESSED: Self = Self {
        patterns: &[
            "1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*",
        ],
        count: 301,
        limit: Duration::from_secs(240),
    };

    /// Compression: of each way to agree on it, and of each kind of message, the case with a
    /// thousand messages of 1 KiB. The others differ in the messages' size.
    const COMPRESSED: Self = Self {
        patterns: &[
            "12.1.4", "12.2.4", "12.3.4", "12.4.4", "12.5.4", "13.1.4", "13.2.4", "13.3.4",
            "13.4.4", "13.5.4", "13.6.4", "13.7.4",
        ],
        count: 12,
        limit: Duration::from_secs(240),
    };

    /// All of compression: most of an hour on a slow machine, nearly all of it the suite's own.
    const ALL_COMPRESSED: Self = Self {
        patterns: &[
            "12.1.*", "12.2.*", "12.3.*", "12.4.*", "12.5.*", "13.1.*", "13.2.*", "13.3.*",
            "13.4.*", "13.5.*", "13.6.*", "13.7.*",
        ],
        count: 216,
        limit: Duration::from_secs(3600),
    };

    /// The few, or all if `MOTEWS_ALL_COMPRESSED` is set.
    fn compressed() -> Self {
        match env::var_os("MOTEWS_ALL_COMPRESSED") {
            Some(_) => Self::ALL_COMPRESSED,
            None => Self::COMPRESSED,
        }
    }
}

/// Cases that RFC 6455 leaves open. The suite gives them no better verdict than this word.
const INFORMATIONAL: [&str; 3] = ["7.1.6", "7.13.1", "7.13.2"];

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_server_passes() {
    let folder = folder("server");
    let server = ServerProcess::example("echo_blocking", &folder);
    test_server("autobahn server", &server.url(), &folder);
}

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_server_reading_one_byte_at_a_time_passes() {
    let folder = folder("one-byte");
    let mut command = Command::new(env!("CARGO_BIN_EXE_echo_one_byte"));
    let server = ServerProcess::start("echo_one_byte", &mut command, &folder);
    test_server("autobahn server, one byte a read", &server.url(), &folder);
}

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_event_driven_server_passes_with_one_loop_and_several() {
    for loops in [1, 2, 4] {
        let folder = folder(&format!("event-driven-{loops}"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_event_server"));
        command.arg(format!("loops={loops}"));
        let server = ServerProcess::start("event_server", &mut command, &folder);
        let title = format!("autobahn event-driven server, loops: {loops}");
        test_server(&title, &server.url(), &folder);
    }
}

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_server_with_compression_passes() {
    let folder = folder("server-compressed");
    let mut command = Command::new(example("echo_blocking"));
    command.args(["--deflate", "127.0.0.1:0"]);
    let server = ServerProcess::start("echo_blocking", &mut command, &folder);
    let title = "autobahn server, compressed";
    test_server_in_parts(2, title, &server.url(), &folder, &Cases::compressed());
}

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_event_driven_server_with_compression_passes() {
    let folder = folder("event-driven-compressed");
    let mut command = Command::new(example("echo"));
    command.args(["--deflate", "127.0.0.1:0"]);
    let server = ServerProcess::start("echo", &mut command, &folder);
    let title = "autobahn event-driven server, compressed";
    test_server_in_parts(2, title, &server.url(), &folder, &Cases::compressed());
}

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_client_passes() {
    let client = example("autobahn_client");
    test_client("std", &mut Command::new(client), &Cases::UNCOMPRESSED);
}

#[test]
#[ignore = "needs the Autobahn test suite: bash .ci/install"]
fn autobahn_client_with_compression_passes() {
    let client = example("autobahn_client");
    test_client(
        "compressed",
        &mut Command::new(client),
        &Cases::compressed(),
    );
}

/// Has the suite test a client, which takes the suite's address as its argument.
fn test_client(name: &str, client: &mut Command, cases: &Cases) {
    let folder = folder(&format!("client-{name}"));
    let port = free_port();
    let url = format!("ws://127.0.0.1:{port}");
    let spec = json!({ "url": url, "outdir": folder, "cases": cases.patterns });
    let mut suite = start_suite("fuzzingserver", &spec, &folder);
    motews_tests::wait_for_listener(([127, 0, 0, 1], port).into());

    let start = Instant::now();
    let mut client = Process::start("client", client.arg(url).stdout(Stdio::null()), &folder);
    let status = client.wait(cases.limit);
    assert!(
        status.success(),
        "the client ends with {status}\n{}",
        client.log()
    );
    assert!(suite.is_running(), "{}", suite.log());
    let title = format!("autobahn {name} client");
    judge(&title, &folder, start.elapsed(), cases);
}

/// Has the suite test a server.
fn test_server(title: &str, url: &str, folder: &Path) {
    test_server_with(title, url, folder, &Cases::UNCOMPRESSED);
}

/// The same with these cases.
fn test_server_with(title: &str, url: &str, folder: &Path, cases: &Cases) {
    test_server_in_parts(1, title, url, folder, cases);
}

/// The same in so many runs at once: what the suite does takes one processor for each.
fn test_server_in_parts(parts: usize, title: &str, url: &str, folder: &Path, cases: &Cases) {
    let start = Instant::now();
    let suites: Vec<(PathBuf, Process)> = cases
        .patterns
        .chunks(cases.patterns.len().div_ceil(parts))
        .enumerate()
        .map(|(index, patterns)| {
            let folder = folder.join(format!("part-{index}"));
            fs::create_dir_all(&folder).expect("the build folder is writable");
            let spec = json!({
                "outdir": folder,
                "servers": [{ "agent": "motews", "url": url }],
                "cases": patterns,
            });
            let suite = start_suite("fuzzingclient", &spec, &folder);
            (folder, suite)
        })
        .collect();
    let mut folders = Vec::new();
    for (folder, mut suite) in suites {
        let status = suite.wait(cases.limit);
        assert!(
            status.success(),
            "wstest ends with {status}\n{}",
            suite.log()
        );
        folders.push(folder);
    }
    judge_all(title, &folders, start.elapsed(), cases);
}

/// An empty folder for a run's reports.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("autobahn")
        .join(name);
    _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the build folder is writable");
    folder
}

/// Starts `wstest`, or the container that has it.
fn start_suite(mode: &str, spec: &Value, folder: &Path) -> Process {
    Process::start("wstest", &mut suite(mode, spec, folder), folder)
}

/// The command that starts it.
fn suite(mode: &str, spec: &Value, folder: &Path) -> Command {
    let spec_path = folder.join("spec.json");
    fs::write(&spec_path, spec.to_string()).expect("the build folder is writable");

    let installed = tool_cache().join("autobahn/bin/wstest");
    let wstest = env::var_os("MOTEWS_WSTEST")
        .map(PathBuf::from)
        .or_else(|| installed.is_file().then_some(installed))
        .or_else(|| find_program("wstest"));
    let mut command = if let Some(wstest) = wstest {
        Command::new(wstest)
    } else if docker_works() {
        let mut docker = Command::new("docker");
        let volume = format!("{0}:{0}", folder.display());
        docker.args([
            "run",
            "--rm",
            "--init",
            "--network",
            "host",
            "--volume",
            &volume,
        ]);
        docker.args(["crossbario/autobahn-testsuite", "wstest"]);
        docker
    } else {
        panic!(
            "the Autobahn test suite is missing: run `bash .ci/install`, name its wstest in \
             MOTEWS_WSTEST, or start docker"
        );
    };
    command
        .args(["--mode", mode, "--webport", "0", "--spec"])
        .arg(spec_path)
        .stdout(Stdio::null())
        .current_dir(folder);
    command
}

fn docker_works() -> bool {
    let mut docker = Command::new("docker");
    docker
        .arg("info")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    docker.status().is_ok_and(|status| status.success())
}

/// Reads the suite's verdicts, prints their sum, and demands the best there is.
fn judge(title: &str, folder: &Path, duration: Duration, expected: &Cases) {
    judge_all(title, &[folder.to_owned()], duration, expected);
}

/// The same for a run in parts, each with a folder of its own.
fn judge_all(title: &str, folders: &[PathBuf], duration: Duration, expected: &Cases) {
    let mut cases = BTreeMap::new();
    for folder in folders {
        let index = fs::read(folder.join("index.json")).expect("the suite writes index.json");
        let index: Value = serde_json::from_slice(&index).expect("index.json is JSON");
        let part = index.as_object().and_then(|agents| agents.values().next());
        let part = part
            .and_then(Value::as_object)
            .expect("index.json has one agent");
        cases.extend(part.clone());
    }

    let mut verdicts = BTreeMap::<&str, usize>::new();
    let mut wrong = Vec::new();
    for (id, case) in &cases {
        let best = if INFORMATIONAL.contains(&id.as_str()) {
            "INFORMATIONAL"
        } else {
            "OK"
        };
        let verdict = |key| case[key].as_str().unwrap_or("absent");
        let (behavior, close) = (verdict("behavior"), verdict("behaviorClose"));
        *verdicts.entry(behavior).or_default() += 1;
        for (key, verdict) in [("behavior", behavior), ("behaviorClose", close)] {
            if verdict != best && verdict != "OK" {
                wrong.push(format!("{id}: {key} is {verdict}"));
            }
        }
    }
    let ok = verdicts.remove("OK").unwrap_or(0);
    let informational = verdicts.remove("INFORMATIONAL").unwrap_or(0);
    let others: usize = verdicts.values().sum();
    println!("{title}: {ok} OK, {informational} INFORMATIONAL, {others} others ({duration:.1?})");

    assert!(
        wrong.is_empty(),
        "{title}: see {folders:?}\n{}",
        wrong.join("\n")
    );
    assert_eq!(cases.len(), expected.count, "{title}: the number of cases");
}
