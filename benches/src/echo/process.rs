//! A server as a process of its own, and the processor time it takes.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::{fs, thread};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The first two processors that this process may use.
///
/// # Errors
/// What the system says, and where there is only one.
pub fn two_processors() -> io::Result<[usize; 2]> {
    let set = sched_getaffinity(None)?;
    let mut allowed = (0..CpuSet::MAX_CPU).filter(|processor| set.is_set(*processor));
    match (allowed.next(), allowed.next()) {
        (Some(first), Some(second)) => Ok([first, second]),
        _ => {
            let reason = "client and server need a processor each";
            Err(io::Error::new(ErrorKind::Unsupported, reason))
        }
    }
}

/// Keeps this thread, and those it starts, on one processor.
///
/// # Errors
/// What the system says.
pub fn pin(processor: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor);
    Ok(sched_setaffinity(None, &set)?)
}

/// A server that runs; dropping it ends it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Running {
    /// Starts this same program as `--serve ARGUMENTS PROCESSOR`.
    ///
    /// # Errors
    /// What the system says, and a server that tells no address.
    pub fn start(arguments: &[&str], processor: usize) -> io::Result<Self> {
        Self::start_of(&std::env::current_exe()?, arguments, processor)
    }

    /// Starts another program like that: another build of this one, or one that takes the same
    /// arguments.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_of(program: &Path, arguments: &[&str], processor: usize) -> io::Result<Self> {
        let mut child = Command::new(program)
            .arg("--serve")
            .args(arguments)
            .arg(processor.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        match line.trim().parse() {
            Ok(address) => Ok(Self { child, address }),
            Err(_) => {
                child.kill()?;
                child.wait()?;
                let reason = format!("{} did not start", arguments.join(", "));
                Err(io::Error::new(ErrorKind::NotConnected, reason))
            }
        }
    }

    /// The processor time that the server has taken since it started.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub fn processor_time(&self) -> io::Result<Duration> {
        // The count is brought up to date when the server goes to sleep.
        thread::sleep(Duration::from_millis(5));
        processor_time(self.child.id())
    }

    /// The memory that the server has to itself now, in bytes.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub fn memory(&self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("Private_Dirty:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kib.ok_or(ErrorKind::InvalidData)? * 1024)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processor time, in the system and outside, of all threads of a process, to the nanosecond.
fn processor_time(process: u32) -> io::Result<Duration> {
    let mut time = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let nanoseconds = text.split(' ').next().and_then(|text| text.parse().ok());
        let nanoseconds = nanoseconds.ok_or(ErrorKind::InvalidData)?;
        time += Duration::from_nanos(nanoseconds);
    }
    Ok(time)
}
