//! What a client that comes back meets, by turns, and what that costs its process.

use std::fs;

/// What an attempt comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The name has no address.
    Unresolved,
    /// Nobody listens.
    Refused,
    /// The certificate is by somebody else.
    Untrusted,
    /// The server goes while it is being asked.
    Gone,
    /// [`BUSY`].
    Busy,
    /// An echo, and then 1012.
    Restarts,
    /// An echo, and then the server goes without a word.
    Lost,
    /// An echo, and then 1001.
    Leaves,
}

/// 503, and a `Retry-After` of 120 s.
pub const BUSY: &[u8] = b"HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n";

impl Fate {
    /// All of them: those before the connection is open and those after, by turns.
    pub const ALL: [Self; 8] = [
        Self::Unresolved,
        Self::Lost,
        Self::Refused,
        Self::Leaves,
        Self::Untrusted,
        Self::Restarts,
        Self::Gone,
        Self::Busy,
    ];

    /// Returns the one of an attempt, of which the first is 0.
    #[must_use]
    pub const fn of(attempt: usize) -> Self {
        Self::ALL[attempt % Self::ALL.len()]
    }
}

/// What this process uses, as Linux has it.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// The bytes in memory.
    pub resident: usize,
    /// The open files and sockets.
    pub descriptors: usize,
    /// The threads.
    pub threads: usize,
}

impl Usage {
    /// Looks at it.
    ///
    /// # Panics
    /// If there is no `/proc`.
    #[must_use]
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").expect("Linux");
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            let number = word.and_then(|word| word.parse::<usize>().ok());
            number.expect("a number")
        };
        Self {
            resident: number("VmRSS:") * 1024,
            descriptors: fs::read_dir("/proc/self/fd").expect("Linux").count(),
            threads: number("Threads:"),
        }
    }

    /// Prints this, the usage after so many reconnects, beside that after a tenth of them.
    ///
    /// # Panics
    /// If the memory has grown by 100 bytes for each of them; what an allocator does with a few of them
    /// is its own affair.
    pub fn check(&self, before: &Self, turns: usize) {
        let grown = self.resident.saturating_sub(before.resident);
        println!(
            "{turns} reconnects: {} descriptors, {} threads, {} KiB resident, {} KiB of it since the first tenth",
            self.descriptors,
            self.threads,
            self.resident / 1024,
            grown / 1024
        );
        assert!(grown < 512 * 1024 + 100 * turns, "{grown} bytes more");
    }
}
