//! Receiving: what was read is decoded, and kept until the application takes it.

use core::task::{Context, Poll};
use std::io;

use bytes::Bytes;
use motews::{Chunk, DataKind, Ended, Event, MessageError, ProtocolViolation, Role, State};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Engine, Turn};
use crate::error::{Lost, RecvError};
use crate::inbox;
use crate::message::Message;
use crate::spare;
use crate::wakers::Side;

impl<S: AsyncRead + AsyncWrite + Unpin, R: Role> Engine<S, R> {
    /// Returns the next message; `None` after the end.
    #[inline(always)]
    pub(crate) fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Message, RecvError>>> {
        if let Some(message) = self.next_kept() {
            return Poll::Ready(Some(Ok(message)));
        }
        if self.only_reads()
            && let Some(polled) = self.poll_read_only(cx)
        {
            return polled.map(|message| Some(Ok(message)));
        }
        self.poll_recv_whatever(cx)
    }

    /// The same whatever is to be done besides.
    #[inline(never)]
    fn poll_recv_whatever(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Message, RecvError>>> {
        self.take_whole();
        self.poll_next(cx, Self::pop)
    }

    /// Whether nothing else is to be done here than to read the next message: so it is nearly always.
    #[inline(always)]
    fn only_reads(&self) -> bool {
        self.is_plain()
            && self.inbox.has_nothing()
            && self.reads
            && !self.is_lost
            && !self.discards
            && self.parts.is_none()
    }

    /// As [`poll_next`](Self::poll_next) for a connection that [only reads](Self::only_reads); `None`: there is
    /// something to write or to end first, and that has to go on.
    #[inline(always)]
    fn poll_read_only(&mut self, cx: &mut Context<'_>) -> Option<Poll<Message>> {
        let mut of_all = None;
        let waker = self.waker(cx.waker(), &mut of_all);
        self.wait(Side::Reader, cx.waker());
        // Behind that, for a shutdown in between would wake nobody.
        self.look_for_shutdown();
        if !self.is_quiet() {
            return None;
        }
        let stream = self.stream.as_mut()?;
        let mut buffer = spare::take();
        let read = inbox::poll_read(stream, &mut Context::from_waker(waker), &mut buffer);
        if self.note_read(read).is_pending() {
            spare::give(buffer);
            if !self.is_armed() {
                return None;
            }
            self.inbox.release();
            self.out.release();
            return Some(Poll::Pending);
        }
        if self.is_long_read(&buffer) || !self.session.connection().begins_message(&buffer) {
            self.take_read(buffer, 1);
            return None;
        }
        self.take_first(buffer).map(Poll::Ready)
    }

    /// Takes the message that is first in what was read, and keeps the rest.
    #[inline(always)]
    fn take_first(&mut self, mut read: Vec<u8>) -> Option<Message> {
        let Ok(step) = self.session.step(&mut read) else {
            spare::give(read); // The Close that says so is owed now.
            return None;
        };
        let consumed = step.consumed();
        if !step.is_message() {
            let event = self.session.resolve(step, &mut read[..consumed]);
            self.take_event(event);
            self.inbox.keep(read, consumed);
            return None;
        }
        let chunk = step.chunk(&mut read)?;
        let message = Message::new(chunk.kind, Bytes::copy_from_slice(chunk.bytes));
        let message = self.taken_whole(message);
        self.inbox.keep(read, consumed);
        message
    }

    /// Takes the next message if it is there, whole, and nothing else is to be done before.
    #[inline(always)]
    pub(crate) fn next_kept(&mut self) -> Option<Message> {
        if !self.owes && self.inbox.len() == 0 && self.inbox.has_bytes() {
            return self.pop_kept();
        }
        None
    }

    /// Returns what `pop` finds, as soon as there is something; `None` after the end.
    #[inline(always)]
    pub(super) fn poll_next<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut pop: impl FnMut(&mut Self) -> Option<T>,
    ) -> Poll<Option<Result<T, RecvError>>> {
        if let Some(found) = self.pop_answered(&mut pop) {
            return Poll::Ready(Some(Ok(found)));
        }
        let mut of_all = None;
        let waker = self.waker(cx.waker(), &mut of_all);
        self.wait(Side::Reader, cx.waker());
        let inner = &mut Context::from_waker(waker);
        loop {
            let turn = self.turn(inner, 1);
            if let Some(found) = self.pop_answered(&mut pop) {
                return Poll::Ready(Some(Ok(found)));
            }
            match turn {
                Turn::Again => {}
                Turn::Pending => {
                    self.inbox.release();
                    self.out.release();
                    return Poll::Pending;
                }
                Turn::Over => return Poll::Ready(self.tell_end().map(Err)),
            }
        }
    }

    /// Takes what is next. If it is the last for now, whoever gets it may not be back for long: the
    /// pongs to the pings before it are written.
    #[inline(always)]
    fn pop_answered<T>(&mut self, pop: &mut impl FnMut(&mut Self) -> Option<T>) -> Option<T> {
        let found = pop(self)?;
        if self.owes && !self.has_message() {
            self.write(&mut Context::from_waker(&self.waker_of_all()));
        }
        Some(found)
    }

    /// Whether there is another message, whole: one that waits, or the next bytes.
    pub(super) fn has_message(&self) -> bool {
        let connection = self.session.connection();
        self.inbox.len() > 0 || connection.begins_message(self.inbox.bytes())
    }

    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<Message> {
        if self.inbox.len() == 0 && self.inbox.has_bytes() {
            if let Some(message) = self.pop_kept() {
                return Some(message);
            }
            self.decode_kept(1);
        }
        let was_full = self.is_full();
        let message = self.inbox.pop()?;
        self.taken(was_full, message.cost());
        Some(message)
    }

    /// Takes a message that is next, and whole, among the bytes that were kept: as [`Self::decode_kept`],
    /// without the queue. No message waits there.
    #[inline(always)]
    fn pop_kept(&mut self) -> Option<Message> {
        if self.discards || self.parts.is_some() || !self.is_plain() {
            return None;
        }
        let rest = self.inbox.bytes_mut();
        let Ok(step) = self.session.step(rest) else {
            self.inbox.consume(usize::MAX); // The Close that says so is owed now.
            return None;
        };
        if !step.is_message() {
            let (mut bytes, start) = self.inbox.take_bytes();
            let end = start + step.consumed();
            let event = self.session.resolve(step, &mut bytes[start..end]);
            self.take_event(event);
            self.inbox.put_bytes(bytes, end);
            return None;
        }
        let consumed = step.consumed();
        let chunk = step.chunk(rest)?;
        let message = Message::new(chunk.kind, Bytes::copy_from_slice(chunk.bytes));
        self.inbox.consume(consumed);
        self.taken_whole(message)
    }

    /// A whole message of which nothing waited anywhere.
    #[inline(always)]
    fn taken_whole(&mut self, message: Result<Message, MessageError>) -> Option<Message> {
        match message {
            Ok(message) => {
                self.taken(false, message.cost());
                Some(message)
            }
            Err(error) => {
                self.session.fail(error.into());
                None
            }
        }
    }

    /// The application has taken something that costs so much.
    pub(super) fn taken(&mut self, was_full: bool, cost: usize) {
        if was_full && !self.is_full() {
            // Whoever waits to send reads again.
            self.wake_writers();
        }
        self.ahead = self.ahead.saturating_sub(cost);
    }

    /// Why there are no more messages, the first time; `None` after a clean end, and each further time.
    fn tell_end(&mut self) -> Option<RecvError> {
        if core::mem::replace(&mut self.is_told, true) {
            return None;
        }
        match self.session.ended() {
            Some(Ended::Violation(violation)) => Some(RecvError::Protocol(violation)),
            Some(Ended::TimedOut(deadline)) => Some(RecvError::TimedOut(deadline)),
            Some(Ended::NoEntropy) => Some(RecvError::Entropy),
            Some(Ended::Lost) => {
                let error = self.end.as_ref().and_then(|end| end.error.as_ref());
                let error = error.map_or(io::ErrorKind::BrokenPipe.into(), Lost::to_io);
                Some(RecvError::Io(error))
            }
            _ => None,
        }
    }

    // ---- decode ----

    /// Decodes what was kept, up to so many messages.
    pub(super) fn decode_kept(&mut self, most: usize) {
        let (mut bytes, mut start) = self.inbox.take_bytes();
        start += self.decode(bytes.get_mut(start..).unwrap_or_default(), most);
        self.inbox.put_bytes(bytes, start);
    }

    /// Decodes what was read as long as less than so many messages wait, and returns how much of it.
    /// A Close behind messages is not decoded before they were received: they may be answered.
    fn decode(&mut self, bytes: &mut [u8], most: usize) -> usize {
        let mut used = 0;
        while used < bytes.len() && self.inbox.len() < most && !self.is_full() {
            if most == 1 && self.is_part_ready() {
                break;
            }
            let end = bytes.len().min(used.saturating_add(self.at_once()));
            let rest = &mut bytes[used..end];
            let connection = self.session.connection();
            let waits = self.inbox.len() > 0 && connection.state() == State::Open;
            if waits && connection.begins_close(rest) {
                break;
            }
            match self.session.step(rest) {
                Ok(step) => {
                    let consumed = step.consumed();
                    let event = self.session.resolve(step, &mut rest[..consumed]);
                    self.take_event(event);
                    used += consumed;
                }
                // The Close that says so is owed now.
                Err(_) => return bytes.len(),
            }
        }
        used
    }

    fn take_event(&mut self, event: Option<Event<'_>>) {
        match event {
            Some(Event::Data(chunk)) => {
                if let Err(violation) = self.take_chunk(chunk) {
                    self.session.fail(violation);
                }
                self.drop_unwanted();
            }
            Some(Event::Close(Some(close))) if !close.reason().is_empty() => {
                self.end.get_or_insert_default().reason = close.reason().to_owned();
            }
            // Each of several pings in one read gets its pong, while there is room [CT07].
            Some(Event::Ping(_)) => self.transmit(),
            _ => {}
        }
    }

    fn take_chunk(&mut self, chunk: Chunk<'_>) -> Result<(), ProtocolViolation> {
        let kind = chunk.kind;
        #[cfg(feature = "deflate")]
        if let Some(deflate) = &mut self.deflate {
            if deflate.inflate(chunk, self.inbox.message(kind))? {
                self.end_message(kind)?;
            }
            return Ok(());
        }
        if chunk.first && chunk.last {
            return Ok(self.inbox.push(kind, chunk.bytes)?);
        }
        let last = chunk.last;
        if chunk.first {
            let due = self.session.connection().payload_due();
            self.inbox.begin(kind, chunk.bytes, due);
        } else {
            self.inbox.message(kind).extend_from_slice(chunk.bytes);
        }
        if last {
            self.end_message(kind)?;
        }
        Ok(())
    }

    /// Whether the rest of a message can be read to where it is collected.
    const fn is_plain(&self) -> bool {
        #[cfg(feature = "deflate")]
        return self.deflate.is_none();
        #[cfg(not(feature = "deflate"))]
        true
    }

    // ---- read ----

    /// Reads once, if there is room for what comes, and decodes it. `Ready`: something has come.
    #[inline(always)]
    pub(super) fn read(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<()> {
        if self.is_eof || self.is_full() {
            return Poll::Pending;
        }
        if self.inbox.has_bytes() {
            let before = self.inbox.len();
            self.decode_kept(most);
            if self.inbox.has_bytes() {
                // More messages are there than are wanted.
                return if self.inbox.len() > before {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                };
            }
        }
        let is_plain = self.is_plain();
        let due = self.session.connection().payload_due();
        let Some(stream) = &mut self.stream else {
            return Poll::Pending;
        };
        if is_plain && let Some(mut message) = self.inbox.take_message(due) {
            let len = message.len();
            let read = inbox::poll_read(stream, cx, &mut message);
            let result = self.note_read(read);
            if message.len() > len {
                self.decode_direct(message, len, most);
            } else {
                self.inbox.put_message(message);
            }
            return result;
        }
        let mut buffer = spare::take();
        let read = inbox::poll_read(stream, cx, &mut buffer);
        let result = self.note_read(read);
        self.take_read(buffer, most);
        result
    }

    /// Decodes what was read, or keeps it.
    fn take_read(&mut self, mut buffer: Vec<u8>, most: usize) {
        if self.drains {
            spare::give(buffer);
        } else if self.is_plain() && self.is_long_read(&buffer) {
            self.decode_long(buffer, most);
        } else if most == 1 && self.session.connection().begins_message(&buffer) {
            self.inbox.keep(buffer, 0); // It is taken from there.
        } else {
            let used = self.decode(&mut buffer, most);
            self.inbox.keep(buffer, used);
        }
    }

    /// Whether what was read fills so much of the buffer that a message may keep it.
    fn is_long_read(&self, read: &[u8]) -> bool {
        read.len() > spare::LEN / 2 && self.parts.is_none() && self.inbox.len() == 0
    }

    /// Decodes a long read. If that is a message, or the beginning of one, it stays where it is.
    fn decode_long(&mut self, mut read: Vec<u8>, most: usize) {
        let Ok(step) = self.session.step(&mut read) else {
            return spare::give(read); // The Close that says so is owed now.
        };
        let (start, mut used) = (step.start(), step.consumed());
        let is_all = used == read.len() && self.inbox.arrived() == 0;
        match self.session.resolve(step, &mut read[..used]) {
            Some(Event::Data(chunk)) if is_all && chunk.first => {
                let (kind, last) = (chunk.kind, chunk.last);
                self.inbox.begin_in(kind, read, start);
                if last && let Err(violation) = self.end_message(kind) {
                    self.session.fail(violation);
                }
                self.drop_unwanted();
            }
            event => {
                self.take_event(event);
                used += self.decode(&mut read[used..], most);
                self.inbox.keep(read, used);
            }
        }
    }

    /// Decodes what was read behind the first `len` bytes of the message that is arriving: nearly
    /// always it is more of it.
    fn decode_direct(&mut self, mut message: Vec<u8>, len: usize, most: usize) {
        let read = &mut message[len..];
        let total = read.len();
        let Ok(step) = self.session.step(read) else {
            message.truncate(len);
            return self.inbox.put_message(message);
        };
        if step.is_chunk() && step.start() == 0 && step.consumed() == total {
            let last = match self.session.resolve(step, read) {
                Some(Event::Data(chunk)) if chunk.last => Some(chunk.kind),
                _ => None,
            };
            self.inbox.put_message(message);
            if let Some(kind) = last
                && let Err(violation) = self.end_message(kind)
            {
                self.session.fail(violation);
            }
            self.drop_unwanted();
            return;
        }
        let mut read = message.split_off(len);
        self.inbox.put_message(message);
        let mut used = step.consumed();
        let event = self.session.resolve(step, &mut read[..used]);
        self.take_event(event);
        used += self.decode(&mut read[used..], most);
        self.inbox.keep(read, used);
    }

    /// The message that was arriving is whole.
    fn end_message(&mut self, kind: DataKind) -> Result<(), ProtocolViolation> {
        let kind = match self.end_part() {
            // Its text is checked already, and may begin within a code point.
            true => DataKind::Binary,
            false => kind,
        };
        Ok(self.inbox.finish(kind)?)
    }

    /// Drops what the application does not want.
    fn drop_unwanted(&mut self) {
        self.skip();
        if self.discards {
            self.inbox.clear_messages();
        }
    }

    /// Tells the session what a read came to.
    #[inline(always)]
    fn note_read(&mut self, read: Poll<io::Result<usize>>) -> Poll<()> {
        // TLS without its own end: the closing handshake shows whether anything was cut off.
        let read = read.map(|read| match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        });
        match read {
            Poll::Ready(Ok(1..)) => {
                self.has_heard = true;
                if self.settings.timeouts.idle.is_some() {
                    self.clock(); // That counts from messages, which are decoded next.
                }
            }
            Poll::Pending if !self.is_lost => return Poll::Pending,
            ended => {
                self.is_eof = true;
                match ended {
                    // If the closing handshake is not complete, this is a failure [CL18].
                    Poll::Ready(Ok(_)) if !self.is_lost => self.session.receive_eof(),
                    Poll::Ready(Err(error)) => {
                        self.lose(error);
                        self.session.lost();
                    }
                    // All that came before writing failed has been read.
                    _ => self.session.lost(),
                }
            }
        }
        Poll::Ready(())
    }
}
