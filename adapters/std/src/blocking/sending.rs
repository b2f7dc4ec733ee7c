//! How frames leave: copied into what the owner and its senders share, or from their sender's own
//! slice.

use std::io::{self, IoSlice};
use std::sync::MutexGuard;

use motews::{CloseCode, DataFrame, DataKind, FrameHeader, MAX_CONTROL_LEN, Mask, Role};

use super::shared::{
    COPY_MAX, FrameWriter, Goal, Inner, MASK_CHUNK, OpenFrame, SendMode, Shared, cost,
};
use crate::error::SendError;

/// Why a frame was not sent.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: SendError,
    /// Whether the connection had taken it: the peer may have it.
    pub(crate) was_taken: bool,
}

impl From<Failure> for SendError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

fn not_taken(error: impl Into<SendError>) -> Failure {
    Failure {
        error: error.into(),
        was_taken: false,
    }
}

impl<R: Role> Shared<R> {
    /// Sends a data frame.
    pub(super) fn send(
        &self,
        writer: &mut impl FrameWriter<R>,
        kind: DataKind,
        payload: &[u8],
        fin: bool,
        mode: SendMode,
    ) -> Result<(), Failure> {
        let frame = |payload: &[u8], compressed| DataFrame {
            kind,
            fin,
            compressed,
            payload_len: payload.len() as u64,
        };
        #[cfg_attr(not(feature = "deflate"), expect(unused_mut, reason = "to compress"))]
        let mut inner = self
            .wait_for_room(writer, payload.len(), mode)
            .map_err(not_taken)?;
        #[cfg(feature = "deflate")]
        if let Some(packing) = &mut inner.packing {
            let packs = fin && !mode.streaming && !mode.plain;
            let packed = packs.then(|| packing.compress.message(payload)).flatten();
            let on_wire = packed.as_deref().unwrap_or(payload);
            packing.sent.add(payload.len(), on_wire.len());
            if let Some(packed) = packed {
                return self.send_frame(inner, writer, frame(&packed, true), &packed, mode);
            }
        }
        self.send_frame(inner, writer, frame(payload, false), payload, mode)
    }

    /// Appends a frame to `out`, and writes what can be written.
    fn send_frame<P: FrameWriter<R>>(
        &self,
        mut inner: MutexGuard<'_, Inner<R>>,
        writer: &mut P,
        frame: DataFrame,
        payload: &[u8],
        mode: SendMode,
    ) -> Result<(), Failure> {
        let fin = frame.fin;
        let header = inner.session.start_frame(frame).map_err(|error| {
            // The peer will never have what later messages could refer to.
            #[cfg(feature = "deflate")]
            if let Some(packing) = &mut inner.packing {
                packing.compress.reset();
            }
            not_taken(error)
        })?;
        inner.message_open = !fin;
        if !writer.reads() {
            let sent = &mut inner.sent_by_others;
            *sent = sent.saturating_add(cost(payload.len()));
            self.wake_owner(&mut inner);
        }
        let mut head = [0; FrameHeader::MAX_LEN];
        let emitted = header.emit(&mut head).map_err(motews::SendError::from);
        let len = emitted.map_err(not_taken)?;
        inner.out.extend_from_slice(&head[..len]);

        // A stream that cannot be waited for takes the message whole, or not at all.
        let is_large = payload.len() > COPY_MAX && !inner.frame_open();
        let written = if is_large && writer.can_wait() {
            self.send_large(inner, writer, payload, header.mask, !mode.now)
        } else {
            append(&mut inner.out, payload, header.mask.map(Mask::new).as_mut());
            if mode.hold && inner.waiting() < self.max_backlog {
                return Ok(());
            }
            self.flush(inner, writer, !mode.now)
        };
        if fin && mode.streaming {
            self.notify(&mut self.lock());
        }
        match written {
            // It was taken, and is written by the calls that follow.
            Err(SendError::InboundFull) => Ok(()),
            written => written.map_err(|error| Failure {
                error,
                was_taken: true,
            }),
        }
    }

    /// Waits for this frame's turn, and for room in `out`.
    fn wait_for_room<P: FrameWriter<R>>(
        &self,
        writer: &mut P,
        len: usize,
        mode: SendMode,
    ) -> Result<MutexGuard<'_, Inner<R>>, SendError> {
        let mut inner = self.lock();
        loop {
            inner.check_open()?;
            let can_wait = writer.can_wait() && !mode.now;
            // RFC 6455 §5.4: the fragments of two messages are not interleaved [MS07]
            let goal = if inner.is_turn(mode.streaming) {
                // Room for one message is always there once nothing waits, however long it is.
                let waiting = inner.waiting();
                if waiting == 0 || waiting.saturating_add(len) <= self.max_backlog {
                    return Ok(inner);
                }
                match inner.flush(writer, &self.clock) {
                    Ok(()) => continue,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(self.lose_for(&mut inner, error)),
                }
                let waiting = inner.waiting();
                let has_room = waiting.saturating_add(len) <= self.max_backlog;
                if has_room {
                    return Ok(inner);
                }
                Goal::Room
            } else {
                Goal::Turn(mode.streaming)
            };
            if !can_wait {
                // Behind a frame that is open, there is room in `out`.
                return if mode.insist {
                    Ok(inner)
                } else {
                    Err(would_block())
                };
            }
            drop(inner);
            let waited = writer.wait(self, goal);
            inner = self.lock();
            match waited {
                Err(SendError::InboundFull) if mode.insist => {
                    inner.check_open()?;
                    return Ok(inner);
                }
                waited => waited?,
            }
        }
    }

    /// Writes what is in `out` now; waits for it if `wait` and the stream can be waited for.
    pub(super) fn flush<'a, P: FrameWriter<R>>(
        &'a self,
        mut inner: MutexGuard<'a, Inner<R>>,
        writer: &mut P,
        wait: bool,
    ) -> Result<(), SendError> {
        // Others may append behind what is there now: that is theirs to wait for.
        let end = inner.left + (inner.taken_over() + inner.waiting()) as u64;
        loop {
            match inner.flush(writer, &self.clock) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(self.lose_for(&mut inner, error)),
            }
            let others = inner.left >= end && (inner.frame_open() || inner.waiting() > 0);
            if others || !wait || !writer.can_wait() {
                return Ok(());
            }
            // A frame that was opened took over what was to be written here.
            let goal = match inner.frame_open() {
                true => Goal::Turn(true),
                false => Goal::Room,
            };
            drop(inner);
            writer.wait(self, goal)?;
            inner = self.lock();
        }
    }

    /// Writes all there is, and what the stream itself holds. `WouldBlock`: the stream cannot be
    /// waited for, and has not taken everything.
    pub(super) fn flush_all<P: FrameWriter<R>>(&self, writer: &mut P) -> Result<(), SendError> {
        let flushed = self.flush_owed(self.lock(), writer, true);
        let inner = self.lock();
        let waits = inner.frame_open() || inner.waiting() > 0 || inner.held;
        match flushed {
            Ok(()) | Err(SendError::Entropy) if waits && !writer.can_wait() => Err(would_block()),
            flushed => flushed,
        }
    }

    /// Writes what is in `out`, as [`flush`](Self::flush), and what is owed behind it.
    fn flush_owed<'a, P: FrameWriter<R>>(
        &'a self,
        mut inner: MutexGuard<'a, Inner<R>>,
        writer: &mut P,
        wait: bool,
    ) -> Result<(), SendError> {
        let owed = inner.transmit();
        self.flush(inner, writer, wait)?;
        owed?;
        let mut inner = self.lock();
        if !inner.session.wants_transmit() {
            return Ok(());
        }
        // It had no room behind what waited.
        inner.transmit()?;
        self.flush(inner, writer, wait)
    }

    /// Writes the payload of a frame whose header ends `out`, from where the payload is. What cannot
    /// be written without waiting is copied to `out` if it is not to be waited for.
    fn send_large<P: FrameWriter<R>>(
        &self,
        mut inner: MutexGuard<'_, Inner<R>>,
        writer: &mut P,
        payload: &[u8],
        key: Option<[u8; 4]>,
        wait: bool,
    ) -> Result<(), SendError> {
        let taken_over = inner.waiting();
        let total = taken_over + payload.len();
        inner.frame = Some(OpenFrame {
            taken_over,
            rest: total,
        });
        let mut head = core::mem::take(&mut inner.out);
        head.drain(..core::mem::take(&mut inner.start));
        drop(inner);

        let mut panics = LoseOnPanic(Some(self));
        let mut body = payload;
        let mut mask = key.map(Mask::new);
        let result = loop {
            // RFC 6455 §5.1: a server masks nothing, so nothing is copied [FR02]
            if let Some(mask) = &mut mask
                && head.len() < MASK_CHUNK
            {
                let (chunk, rest) = body.split_at(body.len().min(MASK_CHUNK));
                append(&mut head, chunk, Some(mask));
                body = rest;
            }
            let direct = if mask.is_some() { &[][..] } else { body };
            if head.is_empty() && direct.is_empty() {
                break self.flush_frame(writer, wait);
            }
            match self.write_parts(writer, &head, direct) {
                Ok(written) => {
                    let of_head = written.min(head.len());
                    head.drain(..of_head);
                    body = &body[written - of_head..];
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    break Err(self.lose_for(&mut self.lock(), error));
                }
                Err(_) if !wait => break Ok(()),
                Err(_) => {}
            }
            if let Err(error) = self.wait_in_frame(writer) {
                break Err(error);
            }
        };
        panics.0 = None;

        let mut inner = self.lock();
        let rest = inner.frame.take().map_or(0, |frame| frame.rest);
        inner.left += taken_over.min(total - rest) as u64;
        match result {
            Ok(()) | Err(SendError::InboundFull) => {}
            Err(error) => {
                // Half a frame is on its way: nothing can follow it.
                inner.lose();
                self.notify(&mut inner);
                return Err(error);
            }
        }
        append(&mut head, body, mask.as_mut());
        // The owner may have finished a message behind the frame.
        head.append(&mut inner.out);
        inner.out = head;
        self.notify(&mut inner);
        // What the protocol came to owe in the meantime. The message has been taken, whatever fails.
        self.write(&mut inner, writer);
        result
    }

    /// Writes a part of the frame that is open.
    fn write_parts<P: FrameWriter<R>>(
        &self,
        writer: &mut P,
        head: &[u8],
        body: &[u8],
    ) -> io::Result<usize> {
        let written = match (head.is_empty(), body.is_empty()) {
            (false, false) => writer.write_now(&[IoSlice::new(head), IoSlice::new(body)]),
            (false, true) => writer.write_now(&[IoSlice::new(head)]),
            (true, _) => writer.write_now(&[IoSlice::new(body)]),
        };
        match written {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                let held = writer.held();
                self.lock().advance_frame(&self.clock, written, held);
                Ok(written)
            }
            Err(error) => Err(error),
        }
    }

    /// Passes on what the stream itself holds of the frame that is open.
    fn flush_frame<P: FrameWriter<R>>(&self, writer: &mut P, wait: bool) -> Result<(), SendError> {
        loop {
            let flushed = writer.flush_now();
            let mut inner = self.lock();
            match flushed {
                Ok(()) => {
                    inner.held = false;
                    inner.advance_frame(&self.clock, 0, writer.held());
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => inner.held = true,
                Err(error) => return Err(self.lose_for(&mut inner, error)),
            }
            drop(inner);
            if !wait {
                return Ok(());
            }
            self.wait_in_frame(writer)?;
        }
    }

    /// Waits for room for the frame that is open.
    fn wait_in_frame<P: FrameWriter<R>>(&self, writer: &mut P) -> Result<(), SendError> {
        // The session learns that something waits.
        let held = writer.held();
        self.lock().advance_frame(&self.clock, 0, held);
        writer.wait(self, Goal::Room)?;
        let inner = self.lock();
        match inner.lost {
            true => Err(inner.refusal()),
            false => Ok(()),
        }
    }

    /// Sends a ping.
    pub(super) fn ping<P: FrameWriter<R>>(
        &self,
        writer: &mut P,
        payload: &[u8],
    ) -> Result<(), SendError> {
        let mode = SendMode {
            streaming: true, // a control frame may stand between fragments (§5.4)
            ..SendMode::default()
        };
        let mut inner = self.wait_for_room(writer, MAX_CONTROL_LEN, mode)?;
        let mut frame = [0; MAX_CONTROL_LEN];
        let len = inner.session.ping(payload, &mut frame)?;
        inner.out.extend_from_slice(&frame[..len]);
        match self.flush(inner, writer, true) {
            // It was taken, and is written by the calls that follow.
            Err(SendError::InboundFull) => Ok(()),
            flushed => flushed,
        }
    }

    /// Begins the closing handshake. The Close goes out as soon as there is room.
    pub(super) fn close<P: FrameWriter<R>>(
        &self,
        writer: &mut P,
        code: CloseCode,
        reason: &str,
    ) -> Result<(), SendError> {
        let mut inner = self.lock();
        inner.session.close(code, reason)?;
        self.changed.notify_all();
        self.flush_owed(inner, writer, false)
    }

    /// A streamed message will not be finished: without its end the peer must not take what it has
    /// for a message, so the connection closes.
    pub(super) fn abandon_message<P: FrameWriter<R>>(&self, writer: &mut P) {
        self.lock().message_open = false;
        // An error means that the connection is closing already.
        let _ = self.close(writer, CloseCode::INTERNAL_ERROR, "unfinished message");
    }
}

fn would_block() -> SendError {
    SendError::Io(io::ErrorKind::WouldBlock.into())
}

fn append(out: &mut Vec<u8>, payload: &[u8], mask: Option<&mut Mask>) {
    let at = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        mask.apply(&mut out[at..]);
    }
}

/// A stream that panics in the midst of a frame loses the connection, so that nobody waits for the
/// end of the frame.
struct LoseOnPanic<'a, R: Role>(Option<&'a Shared<R>>);

impl<R: Role> Drop for LoseOnPanic<'_, R> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            let mut inner = shared.lock();
            inner.frame = None;
            inner.lose();
            shared.notify(&mut inner);
        }
    }
}
