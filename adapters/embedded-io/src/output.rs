//! What is on its way to the transport: whole frames in the caller's transmit buffer.

use motews::{EntropyError, MAX_CONTROL_LEN, Message, Role, SendError, Session, Window};

use crate::config::MIN_BUFFER;
use crate::engine::Io;
use crate::extension::{Extension, Fragment};

/// The octets of the longest control frame that the smallest buffer has no room for.
const OVERHANG: usize = MAX_CONTROL_LEN - MIN_BUFFER;

/// Whether a deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    No,
    /// One has. The transport may have what would have settled it.
    Yes,
    /// It was asked since.
    Asked,
}

impl Late {
    /// The transport is asked for input.
    pub(crate) fn ask(&mut self) {
        if *self == Self::Yes {
            *self = Self::Asked;
        }
    }
}

/// The transmit buffer, and what messages pass through on their way into it.
#[derive(Debug)]
pub(crate) struct Output<Tx, X: Extension> {
    window: Window<Tx>,
    pub(crate) outgoing: X::Outgoing,
    /// The rest of a control frame that is longer than the buffer.
    overhang: [u8; OVERHANG],
    start: u8,
    end: u8,
    /// Something was written that the transport may have kept back.
    unflushed: bool,
    /// Whether a deadline has passed: here because there is room for it.
    pub(crate) late: Late,
}

#[cfg(feature = "deflate")]
impl<Tx, X: Extension> Output<Tx, X> {
    /// The same with another extension.
    pub(crate) fn with_extension<Y: Extension>(self, outgoing: Y::Outgoing) -> Output<Tx, Y> {
        Output {
            window: self.window,
            outgoing,
            overhang: self.overhang,
            start: self.start,
            end: self.end,
            unflushed: self.unflushed,
            late: self.late,
        }
    }
}

impl<Tx: AsRef<[u8]> + AsMut<[u8]>, X: Extension> Output<Tx, X> {
    pub(crate) const fn new(buffer: Tx, outgoing: X::Outgoing) -> Self {
        Self {
            window: Window::new(buffer),
            outgoing,
            overhang: [0; OVERHANG],
            start: 0,
            end: 0,
            unflushed: false,
            late: Late::No,
        }
    }

    /// What is to be written next.
    pub(crate) fn unwritten(&mut self) -> &[u8] {
        self.window.unread()
    }

    /// So much of it was written.
    pub(crate) fn written(&mut self, len: usize) {
        self.window.take(len);
        self.unflushed = true;
        if self.window.is_empty() {
            self.refill();
        }
    }

    /// The transport keeps nothing back any more.
    pub(crate) const fn flushed(&mut self) {
        self.unflushed = false;
    }

    /// What the transport is to do so that all of it goes out; `None`: nothing.
    pub(crate) const fn pending(&self, flush: bool) -> Option<Io> {
        if !self.window.is_empty() {
            Some(Io::Write)
        } else if self.unflushed && flush {
            Some(Io::Flush)
        } else {
            None
        }
    }

    /// How many bytes the transport has not taken: as long as it has to be flushed, at least one.
    pub(crate) const fn left(&self, flush: bool) -> usize {
        let overhang = self.end.saturating_sub(self.start) as usize;
        let unflushed = (self.unflushed && flush) as usize;
        self.window.len().saturating_add(overhang + unflushed)
    }

    /// The whole buffer, where nothing is on its way.
    pub(crate) fn idle(&mut self) -> (&mut [u8], &mut X::Outgoing) {
        (self.window.spare(), &mut self.outgoing)
    }

    /// Has `put` write to the room there is, and tells whether it did: `false` means to write
    /// first.
    pub(crate) fn put(
        &mut self,
        put: impl FnOnce(&mut [u8], &mut X::Outgoing) -> Result<usize, SendError>,
    ) -> Result<bool, SendError> {
        let idle = self.window.is_empty();
        if self.start < self.end {
            return Ok(false);
        }
        match put(self.window.spare(), &mut self.outgoing) {
            Ok(len) => self.window.fill(len),
            Err(SendError::NoRoom) if !idle => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// The same with a message as one frame.
    pub(crate) fn put_message<R: Role>(
        &mut self,
        session: &mut Session<R>,
        message: Message<'_>,
        compress: bool,
    ) -> Result<bool, SendError> {
        let idle = self.window.is_empty();
        self.put(|out, outgoing| X::send(outgoing, session, message, compress, out, idle))
    }

    /// The same with a fragment, and as much of it as there is room for, which is told.
    pub(crate) fn put_fragment<R: Role>(
        &mut self,
        session: &mut Session<R>,
        fragment: Fragment<'_>,
    ) -> Result<Option<usize>, SendError> {
        let mut taken = 0;
        let put = self.put(|out, outgoing| {
            let (consumed, written) = X::send_fragment(outgoing, session, fragment, out)?;
            taken = consumed;
            Ok(written)
        })?;
        Ok(put.then_some(taken))
    }

    /// The same with a control frame, which may be longer than the whole buffer.
    pub(crate) fn put_control(
        &mut self,
        put: impl FnOnce(&mut [u8]) -> Result<usize, SendError>,
    ) -> Result<bool, SendError> {
        if self.start < self.end {
            return Ok(false);
        }
        let idle = self.window.is_empty();
        let room = self.window.spare();
        let mut frame = [0; MAX_CONTROL_LEN];
        let limit = if idle { frame.len() } else { room.len() };
        let frame = frame.get_mut(..limit.min(MAX_CONTROL_LEN));
        let frame = frame.unwrap_or_default();
        let len = match put(frame) {
            Ok(len) => len,
            Err(SendError::NoRoom) if !idle => return Ok(false),
            Err(error) => return Err(error),
        };
        let (now, later) = frame
            .get(..len)
            .and_then(|frame| frame.split_at_checked(len.min(room.len())))
            .unwrap_or_default();
        copy(room, now);
        self.window.fill(now.len());
        copy(&mut self.overhang, later);
        (self.start, self.end) = (0, later.len() as u8);
        Ok(true)
    }

    /// Takes what is owed to the peer, by the protocol or as the end of a message, and returns whether
    /// nothing is owed any more: `false` means to write first.
    pub(crate) fn put_owed<R: Role>(
        &mut self,
        session: &mut Session<R>,
    ) -> Result<bool, EntropyError> {
        while session.wants_transmit() {
            let put = self.put_control(|out| match session.poll_transmit(out) {
                Ok(0) => Err(SendError::NoRoom),
                Ok(len) => Ok(len),
                Err(EntropyError) => Err(SendError::Entropy),
            });
            match put {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(_) => return Err(EntropyError), // There is room for it.
            }
        }
        while X::is_ending(&self.outgoing) {
            match self.put(|out, outgoing| X::end(outgoing, session, out)) {
                Ok(true) => {}
                Err(SendError::Entropy) => return Err(EntropyError),
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The octets of room that there are.
    pub(crate) fn room(&mut self) -> usize {
        self.window.spare().len()
    }

    /// The end of a long control frame follows.
    fn refill(&mut self) {
        let rest = self.overhang.get(self.start.into()..self.end.into());
        let rest = rest.unwrap_or_default();
        let room = self.window.spare();
        let len = rest.len().min(room.len());
        copy(room, rest);
        self.window.fill(len);
        self.start = self.start.wrapping_add(len as u8);
    }
}

/// Copies as much of `from` as `to` has room for.
fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}
