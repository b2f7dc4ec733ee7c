//! The program `echo` itself: it starts its servers, measures, and draws.
#![cfg(target_os = "linux")]

use std::process::Command;
use std::{env, fs};

use motews_bench::echo::{Workload, chart, process};

fn echo(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echo"));
    let output = command.args(arguments).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text}{errors}");
    text
}

#[test]
fn each_workload_gives_a_figure_for_motews_and_a_chart() {
    if let Err(reason) = process::two_processors() {
        println!("not run: {reason}");
        return;
    }
    let folder = env::temp_dir().join(format!("motews-echo-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let csv = folder.join("echo.csv").to_string_lossy().into_owned();
    let svg = folder.join("echo.svg").to_string_lossy().into_owned();

    let table = echo(&[
        "--starts",
        "1",
        "--rounds",
        "1",
        "--milliseconds",
        "20",
        "--csv",
        &csv,
        "motews",
    ]);
    let rows = chart::read(&fs::read_to_string(&csv).expect("the values")).expect("rows");
    for workload in Workload::ALL {
        assert!(table.contains(&format!("### {workload}\n")), "{table}");
        let of = |server: &str| {
            let found = rows
                .iter()
                .find(|row| row.workload == workload && row.server == server);
            found.unwrap_or_else(|| panic!("{server}, {workload}: {table}"))
        };
        let (raw, own) = (of("raw TCP"), of("motews"));
        assert!(raw.time > 0.0 && own.time > 0.0, "{table}");
        let figure = raw.time / own.time;
        assert!((own.figure - figure).abs() < 0.01 * figure, "{table}");
    }
    assert_eq!(rows.len(), 2 * Workload::ALL.len(), "{table}");

    echo(&["--chart", &csv, &svg]);
    let svg = fs::read_to_string(&svg).expect("the chart");
    assert!(svg.contains(">motews</text>"), "{svg}");
    fs::remove_dir_all(&folder).expect("the folder goes");
}

#[test]
fn on_tokio_each_runtime_gives_a_figure_and_its_workers_are_stated() {
    if let Err(reason) = process::two_processors() {
        println!("not run: {reason}");
        return;
    }
    let brief = ["--starts", "1", "--rounds", "1", "--milliseconds", "20"];
    let asked = ["--tokio", "motews-tokio", "32:16:1"];
    let table = echo(&[&asked[..], &brief].concat());
    let stated = "multi-thread: 2 workers, on the server's processor.";
    assert!(table.contains(stated), "{table}");
    for server in ["raw tokio", "motews-tokio"] {
        for runtime in ["current-thread", "multi-thread"] {
            let row = format!("| {server}, {runtime} | ");
            let (_, row) = table.split_once(&row).expect("a row");
            let time = row.split(" | ").next().expect("a column");
            assert!(time.parse::<f64>().expect("a number") > 0.0, "{table}");
        }
    }
}
