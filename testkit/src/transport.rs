//! Streams in memory that behave as badly as a test wants.

use core::task::Waker;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(feature = "embedded-io")]
mod embedded;

#[cfg(feature = "embedded-io")]
pub use embedded::NotNow;

/// One direction of a stream.
#[derive(Debug)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// The reads that are left of a script of reads: how many bytes each gets at most.
    reads: VecDeque<usize>,
    /// The bytes that each write has taken.
    writes: Vec<usize>,
    ended: bool,
    /// How many bytes it still takes.
    window: usize,
    /// The newest bytes: they go out when they are flushed.
    held: usize,
    reader: Waiting,
    writer: Waiting,
}

/// Who reads, or who writes.
#[derive(Debug, Default)]
struct Waiting {
    /// Whether it was refused the last time, by a stream that hesitates.
    refused: bool,
    waker: Option<Waker>,
}

impl Waiting {
    /// Whether it is to wait this time.
    fn hesitates(&mut self) -> bool {
        self.refused = !self.refused;
        self.refused
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Pipe {
    fn new() -> Self {
        Self {
            bytes: VecDeque::new(),
            reads: VecDeque::new(),
            writes: Vec::new(),
            ended: false,
            window: usize::MAX,
            held: 0,
            reader: Waiting::default(),
            writer: Waiting::default(),
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.reader.wake();
    }

    fn end(&mut self, ended: bool) {
        self.ended = ended;
        self.reader.wake();
        self.writer.wake();
    }

    /// What went out and was not read.
    fn out(&self) -> usize {
        self.bytes.len() - self.held
    }

    /// `None`: nothing now.
    fn take(&mut self, buffer: &mut [u8], most: usize) -> Option<usize> {
        let most = self.reads.front().map_or(most, |read| most.min(*read));
        let len = buffer.len().min(most).min(self.out());
        if let Some(read) = self.reads.front_mut() {
            *read -= len;
            if *read == 0 {
                self.reads.pop_front();
            }
        }
        for (to, from) in buffer.iter_mut().zip(self.bytes.drain(..len)) {
            *to = from;
        }
        (len > 0 || self.ended || buffer.is_empty()).then_some(len)
    }

    /// `None`: nothing now.
    fn put(&mut self, bytes: &[u8], most: usize, holds: bool) -> Option<usize> {
        let len = bytes.len().min(most).min(self.window);
        if len == 0 && !bytes.is_empty() {
            return None;
        }
        self.say(&bytes[..len]);
        self.writes.push(len);
        if self.window != usize::MAX {
            self.window -= len;
        }
        if holds {
            self.held += len;
        }
        Some(len)
    }

    fn flush(&mut self) {
        self.held = 0;
        self.reader.wake();
    }
}

/// A stream in memory, whose far end is a script: it says what it was told to say, and keeps a
/// record of what was written to it. Two such streams may be [joined](Self::pair) instead.
///
/// Each clone is a handle of the same end, so that a test keeps one and gives the other away. When
/// the last handle of an end is dropped, the far end reads to the end.
///
/// It is a [`Read`] and [`Write`] that never blocks: it refuses with
/// [`WouldBlock`](io::ErrorKind::WouldBlock). With the feature `embedded-io` it is an
/// `embedded_io::Read` and `Write` too, which refuses with `NotNow`, and an
/// `embedded_io_async::Read` and `Write`, which waits.
///
/// ```
/// use std::io::{Read, Write};
/// use motews_testkit::transport::Script;
///
/// let peer = Script::new("Hello", 3, false); // three bytes at a time
/// let mut stream = peer.clone();
/// let mut buffer = [0; 8];
/// assert_eq!(stream.read(&mut buffer)?, 3);
/// peer.window(4); // The peer takes four bytes, and then no more.
/// assert_eq!(stream.write(b"Goodbye")?, 3);
/// assert_eq!(stream.write(b"dbye")?, 1);
/// assert!(stream.write(b"bye").is_err());
/// assert_eq!(peer.written(), b"Good");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Script {
    rx: Arc<Mutex<Pipe>>,
    tx: Arc<Mutex<Pipe>>,
    /// How many handles there are of this end.
    handles: Arc<()>,
    most: usize,
    hesitates: bool,
    holds: bool,
}

impl Script {
    /// Makes a stream whose far end says `words` and then ends the stream. Each read and each write
    /// moves `most` bytes at most, and is refused once before it is done if the stream `hesitates`.
    /// (A blocking `embedded_io` stream never hesitates: there, a refusal is an error.)
    #[must_use]
    pub fn new(words: impl AsRef<[u8]>, most: usize, hesitates: bool) -> Self {
        let [rx, tx] = [Pipe::new(), Pipe::new()].map(|pipe| Arc::new(Mutex::new(pipe)));
        let script = Self {
            rx,
            tx,
            handles: Arc::default(),
            most,
            hesitates,
            holds: false,
        };
        script.say(words.as_ref());
        script.ends(true);
        script
    }

    /// Makes a stream whose far end says these words, each in a read of its own, if the reader's
    /// buffer has room for it, and then ends the stream.
    pub fn of_reads<T: AsRef<[u8]>>(reads: impl IntoIterator<Item = T>) -> Self {
        let script = Self::new("", usize::MAX, false);
        let mut rx = lock(&script.rx);
        for words in reads {
            let words = words.as_ref();
            if !words.is_empty() {
                rx.reads.push_back(words.len());
                rx.say(words);
            }
        }
        drop(rx);
        script
    }

    /// Makes both ends of a stream, which trickles as [`new`](Self::new) says.
    #[must_use]
    pub fn pair(most: usize, hesitates: bool) -> (Self, Self) {
        let one = Self::new("", most, hesitates);
        one.ends(false);
        let other = Self {
            rx: Arc::clone(&one.tx),
            tx: Arc::clone(&one.rx),
            handles: Arc::default(),
            ..one
        };
        (one, other)
    }

    /// Makes this handle hold back what is written until it is flushed.
    #[must_use]
    pub const fn holding(mut self) -> Self {
        self.holds = true;
        self
    }

    // ---- the far end ----

    /// Lets the far end say more.
    pub fn say(&self, words: &[u8]) {
        lock(&self.rx).say(words);
    }

    /// Whether the stream ends after what the far end has said; if not, the far end is silent then.
    pub fn ends(&self, ends: bool) {
        lock(&self.rx).end(ends);
    }

    /// Sets how many more bytes the far end takes: 0 closes its window, [`usize::MAX`] opens it for
    /// good.
    pub fn window(&self, bytes: usize) {
        let mut tx = lock(&self.tx);
        tx.window = bytes;
        tx.writer.wake();
    }

    /// Returns how many more bytes the far end takes.
    #[must_use]
    pub fn room(&self) -> usize {
        lock(&self.tx).window
    }

    /// Returns what was written and, if this stream holds it back, flushed.
    #[must_use]
    pub fn written(&self) -> Vec<u8> {
        let tx = lock(&self.tx);
        tx.bytes.iter().take(tx.out()).copied().collect()
    }

    /// The same, and forgets it.
    #[must_use]
    pub fn take_written(&self) -> Vec<u8> {
        let mut tx = lock(&self.tx);
        let out = tx.out();
        tx.bytes.drain(..out).collect()
    }

    /// Returns how many bytes each write took.
    #[must_use]
    pub fn writes(&self) -> Vec<usize> {
        lock(&self.tx).writes.clone()
    }

    // ---- this end ----

    /// Ends this end's half of the stream.
    pub fn shutdown(&self) {
        lock(&self.tx).end(true);
    }
}

/// A test that panics elsewhere is to fail for its own reason.
fn lock(pipe: &Mutex<Pipe>) -> MutexGuard<'_, Pipe> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Script {
    fn drop(&mut self) {
        if Arc::strong_count(&self.handles) == 1 {
            self.shutdown();
        }
    }
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut rx = lock(&self.rx);
        if self.hesitates && rx.reader.hesitates() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = rx.take(buffer, self.most);
        taken.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut tx = lock(&self.tx);
        if self.hesitates && tx.writer.hesitates() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if tx.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let put = tx.put(bytes, self.most, self.holds);
        put.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        lock(&self.tx).flush();
        Ok(())
    }
}

/// Any stream, a few bytes at a time.
#[derive(Debug)]
pub struct Trickle<S> {
    /// The stream.
    pub stream: S,
    /// How many bytes a read or a write moves at most.
    pub most: usize,
}

impl<S> Trickle<S> {
    /// Makes a stream of which a read or a write moves `most` bytes at most.
    pub const fn new(stream: S, most: usize) -> Self {
        Self { stream, most }
    }
}

impl<S: Read> Read for Trickle<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(self.most);
        self.stream.read(&mut buffer[..len])
    }
}

impl<S: Write> Write for Trickle<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(self.most);
        self.stream.write(&bytes[..len])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
