//! The program `compressed` itself: it starts its servers and measures.
#![cfg(all(target_os = "linux", feature = "deflate"))]

use std::process::Command;

use motews_bench::echo::compressed::{Terms, Workload};
use motews_bench::echo::process;

#[test]
fn each_workload_gives_figures_for_motews_on_all_terms() {
    if let Err(reason) = process::two_processors() {
        println!("not run: {reason}");
        return;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_compressed"));
    let arguments = ["--rounds", "1", "--milliseconds", "20", "motews, blocking"];
    let output = command.args(arguments).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    for workload in Workload::ALL {
        let (_, part) = text
            .split_once(&format!("### {workload}\n"))
            .expect("a part");
        let part = part.split("###").next().expect("a part");
        let octets = Terms::ALL.map(|terms| {
            let (_, table) = part.split_once(&format!("| {terms} |")).expect("a table");
            let row = table.lines().nth(2).expect("a row");
            let octets = row.split('|').nth(5).expect("a column");
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
