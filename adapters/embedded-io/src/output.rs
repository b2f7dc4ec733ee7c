//! What is on its way to the transport: whole frames in the caller's transmit buffer.

use motews::{
    CloseCode, EntropyError, FrameHeader, MAX_CONTROL_LEN, Message, Role, SendError, Session,
};

use crate::compression::Outgoing;
use crate::config::MIN_BUFFER;
use crate::error::Failure;
use crate::messages::Fragment;

/// What the transport is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Io {
    /// To read into the spare room of the receive window, which is empty.
    Read,
    /// To write what is unwritten.
    Write,
    /// To flush.
    Flush,
}

/// The bytes of the longest control frame that the smallest buffer has no room for.
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

/// The transmit buffer, and what goes with it.
#[derive(Debug)]
pub(crate) struct Output<'a> {
    pub(crate) outgoing: Outgoing<'a>,
    /// The rest of a control frame that is longer than the buffer.
    overhang: [u8; OVERHANG],
    start: u8,
    end: u8,
    /// Something was written that the transport may have kept back.
    unflushed: bool,
    /// Whether a deadline has passed. It is here because there is room for it.
    pub(crate) late: Late,
    /// The transport has ended. It is here because there is room for it.
    pub(crate) at_eof: bool,
}

impl<'a> Output<'a> {
    pub(crate) fn new(buffer: &'a mut [u8]) -> Self {
        Self {
            outgoing: Outgoing::new(buffer),
            overhang: [0; OVERHANG],
            start: 0,
            end: 0,
            unflushed: false,
            late: Late::No,
            at_eof: false,
        }
    }

    /// Nothing was sent yet, over another connection.
    pub(crate) fn restart(&mut self) {
        self.outgoing.restart();
        (self.start, self.end) = (0, 0);
        self.unflushed = false;
        self.late = Late::No;
        self.at_eof = false;
    }

    /// What is to be written next.
    pub(crate) fn unwritten(&mut self) -> &[u8] {
        self.outgoing.window().unread()
    }

    /// So much of it was written.
    pub(crate) fn written(&mut self, len: usize) {
        let window = self.outgoing.window();
        window.take(len);
        self.unflushed = true;
        if window.is_empty() {
            self.refill();
        }
    }

    /// The transport keeps nothing back any more.
    pub(crate) const fn flushed(&mut self) {
        self.unflushed = false;
    }

    /// What the transport is to do so that all of it goes out; `None`: nothing.
    pub(crate) const fn pending(&self, flush: bool) -> Option<Io> {
        if self.outgoing.len() > 0 {
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
        self.outgoing.len().saturating_add(overhang + unflushed)
    }

    /// The whole buffer, while nothing is on its way.
    pub(crate) fn idle(&mut self) -> &mut [u8] {
        self.outgoing.window().spare()
    }

    /// Calls `put`, which writes to the spare room of the window. Returns whether it has: if not,
    /// something has to be written to the transport first.
    pub(crate) fn put(
        &mut self,
        put: impl FnOnce(&mut Outgoing<'a>) -> Result<usize, SendError>,
    ) -> Result<bool, SendError> {
        if self.start < self.end {
            return Ok(false);
        }
        let idle = self.outgoing.len() == 0;
        match put(&mut self.outgoing) {
            Ok(len) => self.outgoing.window().fill(len),
            Err(SendError::NoRoom) if !idle => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Puts a message as one frame. `None`: something has to be written first.
    pub(crate) fn send<R: Role>(
        &mut self,
        session: &mut Session<R>,
        message: Message<'_>,
        compress: bool,
    ) -> Result<Option<()>, Failure> {
        let put = self.put_owed(session)?
            && self.put(|outgoing| outgoing.send(session, message, compress))?;
        Ok(put.then_some(()))
    }

    /// Puts a frame of a message, whole or the next part of it, and returns how many bytes of its
    /// payload it has. `None`: something has to be written first.
    pub(crate) fn send_fragment<R: Role>(
        &mut self,
        session: &mut Session<R>,
        fragment: Fragment<'_>,
    ) -> Result<Option<usize>, Failure> {
        if !self.put_owed(session)? {
            return Ok(None);
        }
        // Better whole after the next write than in parts now.
        let len = fragment.payload.len();
        if self.outgoing.len() > 0
            && self.outgoing.window().spare().len() < len.saturating_add(FrameHeader::MAX_LEN)
        {
            return Ok(None);
        }
        let mut taken = 0;
        let put = self.put(|outgoing| {
            let (consumed, written) = outgoing.send_fragment(session, fragment)?;
            taken = consumed;
            Ok(written)
        })?;
        // The room was needed for what was taken before.
        Ok((put && (taken > 0 || len == 0)).then_some(taken))
    }

    /// Puts a ping. `None`: something has to be written first.
    pub(crate) fn ping<R: Role>(
        &mut self,
        session: &mut Session<R>,
        payload: &[u8],
    ) -> Result<Option<()>, Failure> {
        let put = self.put_owed(session)? && self.put_control(|out| session.ping(payload, out))?;
        Ok(put.then_some(()))
    }

    /// Queues a Close.
    pub(crate) fn close<R: Role>(
        &mut self,
        session: &mut Session<R>,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), Failure> {
        // RFC 6455 §5.5.1: after a Close there are no frames of a message any more [CL05]
        if self.outgoing.is_ending() && !self.put_owed(session)? {
            return Err(Failure::Send(SendError::MessageInProgress));
        }
        Ok(session.close(code, reason)?)
    }

    /// Puts a control frame, which may be longer than the whole buffer.
    fn put_control(
        &mut self,
        put: impl FnOnce(&mut [u8]) -> Result<usize, SendError>,
    ) -> Result<bool, SendError> {
        if self.start < self.end {
            return Ok(false);
        }
        let window = self.outgoing.window();
        let idle = window.is_empty();
        let room = window.spare();
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
        window.fill(now.len());
        copy(&mut self.overhang, later);
        (self.start, self.end) = (0, later.len() as u8);
        Ok(true)
    }

    /// Takes what is owed to the peer, by the protocol or as the end of a message, and returns whether
    /// nothing is owed any more. If not, something has to be written first.
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
        while self.outgoing.is_ending() {
            match self.put(|outgoing| outgoing.end(session)) {
                Ok(true) => {}
                Err(SendError::Entropy) => return Err(EntropyError),
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The end of a long control frame follows.
    fn refill(&mut self) {
        let rest = self.overhang.get(self.start.into()..self.end.into());
        let rest = rest.unwrap_or_default();
        let window = self.outgoing.window();
        let room = window.spare();
        let len = rest.len().min(room.len());
        copy(room, rest);
        window.fill(len);
        self.start = self.start.wrapping_add(len as u8);
    }
}

/// Copies as much of `from` as `to` has room for.
fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}
