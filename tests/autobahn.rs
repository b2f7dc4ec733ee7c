//! The Autobahn test suite, both roles: categories 1 to 7, 9 and 10, which is all of RFC 6455.
//!
//! `bash .ci/install` brings the suite's tool, `wstest`. `MOTEWS_WSTEST` names another one, and
//! where there is none, the suite's container image serves as well.

#[path = "embedded_io_autobahn.rs"]
mod embedded_io;
#[path = "firmware_autobahn.rs"]
mod firmware;
#[path = "smoltcp_autobahn.rs"]
mod smoltcp;

use core::time::Duration;
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use motews_tests::{Process, ServerProcess, example, find_program, free_port, tool_cache};
use serde_json::{Value, json};

/// The cases that are run: framing, pings, reserved bits, opcodes, fragmentation, UTF-8, closing,
/// limits, and what is in no category. 12 and 13 are compression.
const CATEGORIES: [&str; 9] = [
    "1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*",
];

/// How many cases those are.
const CASES: usize = 301;

/// Cases that RFC 6455 leaves open. The suite gives them no better verdict than this word.
const INFORMATIONAL: [&str; 3] = ["7.1.6", "7.13.1", "7.13.2"];

/// How long one run of the suite may take.
const LIMIT: Duration = Duration::from_secs(240);

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
fn autobahn_client_passes() {
    let folder = folder("client");
    let port = free_port();
    let url = format!("ws://127.0.0.1:{port}");
    let client = example("autobahn_client");

    let spec = json!({ "url": url, "outdir": folder, "cases": CATEGORIES });
    let mut suite = start_suite("fuzzingserver", &spec, &folder);
    motews_tests::wait_for_listener(([127, 0, 0, 1], port).into());

    let start = Instant::now();
    let mut client = Process::start(
        "client",
        Command::new(client).arg(url).stdout(Stdio::null()),
        &folder,
    );
    let status = client.wait(LIMIT);
    assert!(
        status.success(),
        "the client ends with {status}\n{}",
        client.log()
    );
    assert!(suite.is_running(), "{}", suite.log());
    judge("autobahn client", &folder, start.elapsed());
}

/// Has the suite test a server.
fn test_server(title: &str, url: &str, folder: &Path) {
    test_server_with(title, url, folder, &CATEGORIES, CASES);
}

/// The same with these cases, of which there are so many.
fn test_server_with(title: &str, url: &str, folder: &Path, cases: &[&str], count: usize) {
    let spec = json!({
        "outdir": folder,
        "servers": [{ "agent": "motews", "url": url }],
        "cases": cases,
    });
    let start = Instant::now();
    let mut suite = start_suite("fuzzingclient", &spec, folder);
    let status = suite.wait(LIMIT);
    assert!(
        status.success(),
        "wstest ends with {status}\n{}",
        suite.log()
    );
    judge_cases(title, folder, start.elapsed(), count);
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
fn judge(title: &str, folder: &Path, duration: Duration) {
    judge_cases(title, folder, duration, CASES);
}

/// The same, of so many cases.
fn judge_cases(title: &str, folder: &Path, duration: Duration, count: usize) {
    let index = fs::read(folder.join("index.json")).expect("the suite writes index.json");
    let index: Value = serde_json::from_slice(&index).expect("index.json is JSON");
    let cases = index.as_object().and_then(|agents| agents.values().next());
    let cases = cases
        .and_then(Value::as_object)
        .expect("index.json has one agent");

    let mut verdicts = BTreeMap::<&str, usize>::new();
    let mut wrong = Vec::new();
    for (id, case) in cases {
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
        "{title}: see {}\n{}",
        folder.display(),
        wrong.join("\n")
    );
    assert_eq!(cases.len(), count, "{title}: the number of cases");
}
