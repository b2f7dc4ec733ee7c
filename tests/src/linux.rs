//! What Linux tells of a process, and what it allows it.

use std::fs;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// The memory that a process has for itself, in bytes. What the kernel keeps for its sockets is
/// not in it.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// All pages that no other process has: heap, stacks, what it uses of its program.
    pub private: u64,
    /// Of these, heap and stacks.
    pub anonymous: u64,
}

/// The memory of a process.
///
/// # Panics
/// If the process has ended.
#[must_use]
pub fn memory(process: u32) -> Memory {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"));
    let text = text.expect("the process runs, on Linux 4.14 or later");
    let sum = |names: &[&str]| {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let figures = lines
            .filter(|(name, _)| names.contains(name))
            .filter_map(|(_, figure)| figure.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        figures.sum::<u64>() * 1024
    };
    Memory {
        private: sum(&["Private_Clean", "Private_Dirty", "Swap"]),
        anonymous: sum(&["Anonymous", "Swap"]),
    }
}

/// The most resident memory that a process ever had, in bytes.
///
/// # Panics
/// If the process has ended.
#[must_use]
pub fn peak_memory(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/status"));
    let text = text.expect("the process runs, on Linux");
    let kib = text.lines().find_map(|line| {
        let figure = line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?;
        figure.parse::<u64>().ok()
    });
    kib.expect("Linux tells it") * 1024
}

/// How many file descriptors a process has open.
///
/// # Panics
/// If the process has ended.
#[must_use]
pub fn open_files(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd"))
        .expect("the process runs, on Linux")
        .count()
}

/// Sets how many files a process may open, up to its hard limit, which stays.
///
/// # Panics
/// If the hard limit is lower.
pub fn limit_files(process: u32, files: u64) {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    let pid = pid.expect("the id of a process");
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    prlimit(
        Some(pid),
        Resource::Nofile,
        Rlimit {
            current: Some(files),
            maximum,
        },
    )
    .unwrap_or_else(|error| panic!("{files} open files of {maximum:?} are not allowed: {error}"));
}
