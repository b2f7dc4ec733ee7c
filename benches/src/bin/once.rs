//! Receives with one contestant, for a profiler or an instruction counter; README.md tells more.

use core::error::Error;
use std::rc::Rc;

use motews_bench::contestants::Entry;
use motews_bench::frames::{Frames, Workload};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [contestant, workload, messages] = arguments.as_slice() else {
        return Err("once CONTESTANT WORKLOAD MESSAGES".into());
    };
    let entries = Entry::all();
    let entry = entries
        .iter()
        .find(|entry| entry.name.starts_with(contestant.as_str()));
    let entry = entry.ok_or_else(|| {
        let names: Vec<_> = entries.iter().map(|entry| entry.name).collect();
        format!("a contestant is one of: {}", names.join("; "))
    })?;
    let workload = Workload::named(workload).ok_or_else(|| {
        format!(
            "a workload is one of: {}",
            Workload::ALL.map(|w| w.to_string()).join(" ")
        )
    })?;
    let frames = Rc::new(Frames::prepare(workload));
    let tally = entry.open(&frames).count(messages.parse()?)?;
    println!(
        "{}: {} messages, {} octets",
        entry.name, tally.messages, tally.octets
    );
    Ok(())
}
