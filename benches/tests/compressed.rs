//! The program `compressed` itself: it starts its servers and measures.
#![cfg(all(target_os = "linux", feature = "deflate"))]

use std::process::Command;

use motews_bench::echo::compressed::{Terms, Workload};
use motews_bench::echo::process;

fn compressed(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_compressed"));
    let brief = ["--rounds", "1", "--milliseconds", "20"];
    let output = command.args(brief).args(arguments).output();
    let output = output.expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    text
}

#[test]
fn each_workload_gives_figures_for_motews_on_all_terms() {
    if let Err(reason) = process::two_processors() {
        println!("not run: {reason}");
        return;
    }
    let text = compressed(&["motews, blocking"]);
    for workload in Workload::ALL {
        let (_, part) = text
            .split_once(&format!("### {workload}\n"))
            .expect("a part");
        let part = part.split("###").next().expect("a part");
        let octets = Terms::ALL.map(|terms| {
            let (_, table) = part.split_once(&format!("| {terms} |")).expect("a table");
            let row = table.lines().nth(2).expect("a row");
            let octets = row.split('|').nth(7).expect("a column");
            octets.trim().parse::<u32>().expect("a number")
        });
        let [off, alone, _, takeover] = octets;
        // A frame's header has 2 to 10 bytes.
        assert!(
            off as usize > workload.size && off as usize <= workload.size + 10,
            "{text}"
        );
        assert!(takeover < alone && alone < off, "{text}");
    }
}

#[test]
fn on_tokio_each_runtime_gives_figures_and_its_workers_are_stated() {
    if let Err(reason) = process::two_processors() {
        println!("not run: {reason}");
        return;
    }
    let asked = ["--tokio", "motews-tokio", "takeover-12", "telemetry:256"];
    let text = compressed(&asked);
    let stated = "multi-thread: 2 workers, on the server's processor.";
    assert!(text.contains(stated), "{text}");
    for runtime in ["current-thread", "multi-thread"] {
        let (_, part) = text
            .split_once(&format!("On tokio, {runtime}.\n"))
            .expect("a part");
        let (_, row) = part.split_once("| motews-tokio | ").expect("a row");
        let time = row.split(" | ").next().expect("a column");
        assert!(time.parse::<f64>().expect("a number") > 0.0, "{text}");
    }
}
