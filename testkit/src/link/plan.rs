//! What an application at one end of a link does.

use motews::Timeouts;

/// One thing that an application does, in the order of its script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Waits until so many milliseconds after the beginning.
    At(u32),
    /// Sends `count` binary messages of `len` bytes, as far as there is room in the queue, and waits
    /// for room.
    Send {
        /// How many messages.
        count: usize,
        /// The length of each, in bytes.
        len: usize,
    },
    /// Sends a binary message of `len` bytes, unless more than `backlog` bytes wait: what a hub does.
    Offer {
        /// The length of the message, in bytes.
        len: usize,
        /// How many bytes may wait.
        backlog: usize,
    },
    /// Puts bytes into the queue that are no frames of the session.
    Raw(Vec<u8>),
    /// Sends a ping.
    Ping,
    /// Reads, or does not.
    Read(bool),
    /// Waits until the transport has taken everything.
    Flushed,
    /// Waits until so many bytes of payload were received.
    Received(usize),
    /// Begins the closing handshake.
    Close,
    /// Ends the connection by so many milliseconds from now.
    CloseBy(u32),
    /// Gives the connection up.
    Abort,
    /// Nothing gets through from now on, in either direction.
    Cut,
}

/// What an application sends back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// Nothing.
    Nothing,
    /// Each part of a message as it comes. It does not read while more than so many bytes wait.
    Parts(usize),
    /// Each message when it is whole. It does not read while more than so many bytes wait.
    Messages(usize),
}

/// What an application does, and what its adapter can do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The timeouts of its session.
    pub timeouts: Timeouts,
    /// How many bytes per second it reads; `None` for all that comes.
    pub rate: Option<u64>,
    /// How many bytes it reads at once at most.
    pub read: usize,
    /// What it sends back.
    pub echo: Echo,
    /// How many bytes may wait outside of the transport. With 0 the adapter writes into the
    /// transport's own ring, as far as that has room.
    pub queue: usize,
    /// Whether the transport tells which bytes were acknowledged. If not, it tells which it accepted.
    pub acknowledged: bool,
    /// Whether the session is told that the application does not read. If not, it is told that there
    /// is unread input.
    pub tells_reading: bool,
    /// The clock of two calls may differ by so many milliseconds, in either order.
    pub skew: u32,
    /// Whether it calls `poll` at each event of the link, needed or not.
    pub restless: bool,
    /// What it does, in this order.
    pub script: Vec<Act>,
}

impl Plan {
    /// Reads everything at once, and sends nothing.
    pub const READER: Self = Self {
        timeouts: Timeouts::DEFAULT,
        rate: None,
        read: usize::MAX,
        echo: Echo::Nothing,
        queue: usize::MAX,
        acknowledged: false,
        tells_reading: false,
        skew: 0,
        restless: false,
        script: Vec::new(),
    };

    /// Reads so many bytes per second, a part of them ten times a second.
    #[must_use]
    pub fn slow_reader(rate: u64) -> Self {
        let tenth = rate / 10;
        Self {
            rate: Some(rate),
            read: if tenth == 0 { 1 } else { tenth as usize },
            ..Self::READER
        }
    }

    /// Does all this.
    #[must_use]
    pub fn with(self, script: impl Into<Vec<Act>>) -> Self {
        let script = script.into();
        Self { script, ..self }
    }
}
