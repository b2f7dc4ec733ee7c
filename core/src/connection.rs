//! An open connection: every state transition of RFC 6455 §5.4-5.5, §6 and §7 is here.

use crate::close::CloseFrame;
use crate::close_code::{CloseCode, Side};
use crate::control::{ControlSlots, ControlStorage};
use crate::error::{EntropyError, ProtocolViolation, SendError};
use crate::event::{
    COMPRESSED, DataFrame, DataKind, Event, FIRST, Found, Incoming, LAST, Sent, Step, TEXT,
};
use crate::frame::{ControlPayload, FrameHeader, FrameReader, OpCode};
use crate::mask::Mask;
use crate::message::Message;
use crate::role::Role;
use crate::utf8::Utf8Validator;

/// What the caller decides about a connection, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ConnectionConfig {
    /// The longest message accepted from the peer, in bytes of payload as they are on the wire;
    /// a longer one fails the connection with 1009, on the header that announces it (§10.4).
    /// `u64::MAX`, the default, means no limit: the connection itself keeps nothing of a message.
    pub max_message_len: u64,
    /// Whether permessage-deflate was negotiated, so that RSV1 may mark a message as compressed
    /// (RFC 7692 §6). `false` by default.
    pub compression: bool,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            max_message_len: u64::MAX,
            compression: false,
        }
    }
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum State {
    /// Messages flow both ways.
    Open,
    /// One Close has been queued, sent or received, but not both sent and received (§7.1.3).
    Closing,
    /// Both have: the closing handshake is complete (§7.1.4).
    Closed,
    /// The peer broke the protocol, or left without a Close (§7.1.7). Nothing more is received.
    Failed,
}

/// Cuts `input` in two, and leaves nothing of it.
#[inline]
fn split<'a>(input: &mut &'a mut [u8], at: usize) -> (&'a mut [u8], &'a mut [u8]) {
    core::mem::take(input)
        .split_at_mut_checked(at)
        .unwrap_or_default()
}

/// Copies as much of `from` as `to` has room for: all of it, wherever this is called.
#[inline]
fn copy(to: &mut [u8], from: &[u8]) {
    let len = to.len().min(from.len());
    if cfg!(target_pointer_width = "64")
        && let (Some(to), Some(from)) = (to.get_mut(..len), from.get(..len))
    {
        to.copy_from_slice(from);
        return;
    }
    // A loop takes less flash.
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// What the next byte of input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiving {
    /// A part of a frame's header.
    Header,
    /// The payload of a data frame.
    Data,
    /// The payload of a control frame; what came of it so far is in its slot.
    Control,
    /// Of no interest: the peer's Close was received.
    // [FR18]
    Closed,
    /// Of no interest: the connection failed.
    // [FR18] [CL17]
    Failed,
}

/// This side's Close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OwnClose {
    /// There is none.
    None,
    /// It is owed, with this code; [`CloseCode::NO_STATUS_RECEIVED`] stands for an empty body.
    Owed(CloseCode),
    /// It was sent, or cannot be.
    Sent,
}

/// An open connection, from the first frame to the last.
///
/// It holds no buffer: bytes go in, [`Event`]s that borrow them come out; messages go in, frames
/// come out. Its size is fixed and small: 64 bytes of state and the [`ControlSlots`], which `C`
/// keeps inline or elsewhere.
///
/// # The methods, by kind
/// - **receive**: [`next_event`](Self::next_event), or its two halves [`step`](Self::step) and
///   [`resolve`](Self::resolve); [`receive_eof`](Self::receive_eof); [`fail`](Self::fail)
/// - **send**: [`send`](Self::send), [`send_fragment`](Self::send_fragment),
///   [`start_frame`](Self::start_frame), [`ping`](Self::ping), [`close`](Self::close)
/// - **transmit**: [`poll_transmit`](Self::poll_transmit) writes what the protocol owes the peer
/// - **look**: [`state`](Self::state), [`wants_transmit`](Self::wants_transmit),
///   [`should_shutdown`](Self::should_shutdown), [`close_code`](Self::close_code),
///   [`is_clean`](Self::is_clean), [`violation`](Self::violation)
///
/// # The run loop
/// 1. Read bytes from the transport.
/// 2. Call [`next_event`](Self::next_event) until it gives `None`; send what the events call for.
///    It consumes all that it is given, so nothing has to be kept for the next round.
/// 3. Call [`poll_transmit`](Self::poll_transmit) until it gives 0. Do so after an error too: it
///    writes the Close that tells the peer.
/// 4. Write the output to the transport.
/// 5. If [`should_shutdown`](Self::should_shutdown), shut the transport down for writing, read and
///    drop what still comes, and close it (§7.1.1).
/// 6. When the transport ends, call [`receive_eof`](Self::receive_eof).
///
/// # States
/// ```text
///                close(), or a Close received         the other one
///        +------+                            +---------+          +--------+
///        | Open |--------------------------->| Closing |--------->| Closed |
///        +------+                            +---------+          +--------+
///            |                                    |
///            |   a violation, or the end of input |
///            |            +--------+              |
///            +----------->| Failed |<-------------+
///                         +--------+
/// ```
///
/// ```
/// use motews::{Connection, Event, Message, Server};
///
/// let mut connection: Connection<Server> = Connection::new(Server);
///
/// // "Hello" as a client sends it (RFC 6455 §5.7), in whatever parts it arrives.
/// let mut input = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
/// let mut input = &mut input[..];
/// let mut out = [0; 64];
/// let mut written = 0;
/// while let Some(event) = connection.next_event(&mut input)? {
///     if let Event::Data(chunk) = event {
///         let text = core::str::from_utf8(chunk.bytes).unwrap();
///         written += connection.send(Message::Text(text), &mut out[written..]).unwrap();
///     }
/// }
/// written += connection.poll_transmit(&mut out[written..]).unwrap();
/// assert_eq!(&out[..written], b"\x81\x05Hello");
/// # Ok::<(), motews::ProtocolViolation>(())
/// ```
#[derive(Debug)]
pub struct Connection<R, C = ControlSlots> {
    role: R,
    max_message_len: u64,
    compression: bool,

    /// The frame that is arriving.
    frame: FrameReader,
    receiving: Receiving,
    /// What failed the connection, if it has failed.
    violation: ProtocolViolation,
    /// Who sent a Close first, if the peer has sent one.
    closed_by: Side,
    incoming: Incoming,
    in_message: bool,
    /// Bytes of payload that the message may still have: all that a fragment costs [MS16].
    message_room: u64,
    utf8: Utf8Validator,
    /// The code of the Close received.
    // [CL13]
    close_code: CloseCode,
    eof: bool,

    /// The fragmented message that is being sent.
    outgoing: Option<DataKind>,
    own_close: OwnClose,
    pong_owed: bool,
    /// A pong has gone before the Close that is owed.
    close_is_next: bool,

    /// The payload of a control frame lies in its slot until the event is resolved.
    event_waits: bool,
    control: C,
}

/// The hot state of a connection, which is all but the control slots, fits into a cache line.
const _: () = assert!(
    size_of::<Connection<crate::Server, ()>>() <= 64,
    "a connection's hot state is at most 64 bytes"
);

impl<R: Role, C: ControlStorage> Connection<R, C> {
    /// An open connection, right after the opening handshake, with the default [`ConnectionConfig`].
    #[must_use]
    pub fn new(role: R) -> Self {
        Self::with_config(role, ConnectionConfig::default())
    }

    /// An open connection, right after the opening handshake.
    #[must_use]
    pub fn with_config(role: R, config: ConnectionConfig) -> Self {
        Self {
            role,
            max_message_len: config.max_message_len,
            compression: config.compression,
            frame: FrameReader::new(),
            receiving: Receiving::Header,
            violation: ProtocolViolation::ReservedBit,
            closed_by: Side::Local,
            incoming: 0,
            in_message: false,
            message_room: 0,
            utf8: Utf8Validator::new(),
            close_code: CloseCode::ABNORMAL_CLOSURE,
            eof: false,
            outgoing: None,
            own_close: OwnClose::None,
            pong_owed: false,
            close_is_next: false,
            event_waits: false,
            control: C::default(),
        }
    }

    // ---- receive ----

    /// Consumes `input` up to and including the next event, and unmasks it in place. `None`: all
    /// of it is consumed, and more is needed.
    ///
    /// How the stream was cut into inputs makes no difference but for where a message is cut into
    /// chunks: events, errors and the byte at which an error shows are the same.
    ///
    /// # Errors
    /// The peer's first violation, which fails the connection (§7.1.7): `input` is consumed up to
    /// and including the byte that proves it, a Close that tells the peer is owed, and each later
    /// call gives the same error.
    // [FR16]
    #[inline]
    pub fn next_event<'a>(
        &mut self,
        input: &mut &'a mut [u8],
    ) -> Result<Option<Event<'a>>, ProtocolViolation> {
        if let Some(step) = self.receive_message(input) {
            let (bytes, rest) = split(input, step.consumed);
            *input = rest;
            return Ok(step.chunk(bytes).map(Event::Data));
        }
        self.next_event_by_state(input)
    }

    /// The same the long way.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    fn next_event_by_state<'a>(
        &mut self,
        input: &mut &'a mut [u8],
    ) -> Result<Option<Event<'a>>, ProtocolViolation> {
        let (consumed, step) = match self.advance(input) {
            Ok(step) => (step.consumed, Ok(step)),
            Err(failure) => (failure.consumed, Err(failure.violation)),
        };
        let (bytes, rest) = split(input, consumed);
        *input = rest;
        Ok(self.resolve(step?, bytes))
    }

    /// The second half of [`next_event`](Self::next_event): the event, given the same input again, or
    /// as much of it as was consumed. To be called before the next step, once for each: the payload of
    /// a control frame lies in the connection until then.
    #[inline]
    pub fn resolve<'a>(&mut self, step: Step, input: &'a mut [u8]) -> Option<Event<'a>> {
        match step.found {
            Found::Nothing => None,
            Found::Chunk => Some(Event::Data(step.lend(input))),
            Found::Control => Some(self.control_event()),
        }
    }

    #[inline(never)]
    fn control_event<'a>(&mut self) -> Event<'a> {
        let payload = core::mem::take(&mut self.control.slots().incoming);
        self.event_waits = false;
        self.release_slots();
        if self.frame.is(OpCode::Close) {
            Event::Close(CloseFrame::checked(payload))
        } else if self.frame.is(OpCode::Ping) {
            Event::Ping(payload)
        } else {
            Event::Pong(payload)
        }
    }

    /// The first half of [`next_event`](Self::next_event): returns what is found and where, without
    /// a borrow, so that an adapter can go round its read loop before it lends the event to its
    /// caller.
    ///
    /// # Errors
    /// As [`next_event`](Self::next_event).
    #[inline]
    pub fn step(&mut self, input: &mut [u8]) -> Result<Step, ProtocolViolation> {
        if let Some(step) = self.receive_message(input) {
            return Ok(step);
        }
        self.advance(input).map_err(|failure| failure.violation)
    }

    /// Fast path for the most common input: between two messages, a whole message in one frame. It
    /// leaves the state as it is, and is equivalent to [`advance`](Self::advance), which everything
    /// else goes through. Compiled out on 32-bit targets to save flash.
    #[inline(always)] // An event that is not put together where it is used is copied, all 130 bytes.
    fn receive_message(&self, input: &mut [u8]) -> Option<Step> {
        let between_messages =
            self.receiving == Receiving::Header && self.frame.len == 0 && !self.in_message;
        if cfg!(not(target_pointer_width = "64")) || !between_messages {
            return None;
        }
        let [first, second, rest @ ..] = &*input else {
            return None;
        };
        let kind = match first {
            0x81 => DataKind::Text,
            0x82 => DataKind::Binary,
            _ => return None,
        };
        let (start, rest, len) = match second ^ if R::IS_CLIENT { 0 } else { 0x80 } {
            len @ 0..126 => (2, rest, usize::from(len)),
            126 => match rest.split_first_chunk()? {
                ([0, 0..126], _) => return None,
                (len, rest) => (4, rest, usize::from(u16::from_be_bytes(*len))),
            },
            _ => return None,
        };
        let (start, key) = if R::IS_CLIENT {
            (start, [0; 4])
        } else {
            (start + 4, *rest.first_chunk()?)
        };
        if len as u64 > self.max_message_len {
            return None;
        }
        let end = start + len;
        let bytes = input.get_mut(start..end)?;
        let ascii = Mask::new(key).apply(bytes);
        if kind == DataKind::Text && !ascii && !Utf8Validator::is_text(bytes) {
            Mask::new(key).apply(bytes); // As it was.
            return None;
        }
        Some(Step {
            start,
            consumed: end,
            found: Found::Chunk,
            len,
            incoming: FIRST | LAST | if kind == DataKind::Text { TEXT } else { 0 },
        })
    }

    #[inline]
    fn advance(&mut self, input: &mut [u8]) -> Result<Step, Failure> {
        let mut consumed = 0;
        loop {
            let before = self.receiving;
            let mut step = Step {
                start: consumed,
                consumed,
                found: Found::Nothing,
                len: 0,
                incoming: self.incoming,
            };
            let rest = input.get_mut(consumed..).unwrap_or_default();
            match before {
                Receiving::Header => step.consumed += self.receive_header(rest),
                Receiving::Data => self.receive_data(rest, &mut step),
                Receiving::Control => {
                    step.consumed += self.receive_control(rest);
                    if self.event_waits {
                        step.found = Found::Control;
                    }
                }
                // RFC 6455 §5.5.1: nothing after a Close is processed [FR18]
                Receiving::Closed => step.consumed = input.len(),
                // RFC 6455 §7.1.7: nor is anything after a failure [FR18] [CL17]
                Receiving::Failed => {
                    return Err(Failure {
                        consumed,
                        violation: self.violation,
                    });
                }
            }
            // As long as the state is the same, it needs more.
            if self.receiving == before || step.is_event() {
                return Ok(step);
            }
            consumed = step.consumed;
        }
    }

    /// Consumes a header, or a part of one, byte by byte: an error shows at the first byte that
    /// proves it, and a header may arrive in any parts. Returns how many bytes that was.
    // [FR15]
    #[inline]
    fn receive_header(&mut self, input: &[u8]) -> usize {
        let mut len = 0;
        for byte in input {
            len += 1;
            if let Err(violation) = self.push_header(*byte) {
                self.fail(violation);
            }
            if self.receiving != Receiving::Header {
                break;
            }
        }
        len
    }

    /// Takes the next byte of a header, and begins the frame if that was the last one. Checks what
    /// depends on the role, on what was negotiated, and on the message that is open.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))] // smaller on a Cortex-M
    fn push_header(&mut self, byte: u8) -> Result<(), ProtocolViolation> {
        match self.frame.len {
            0 => {
                let opcode = byte & 0x0F;
                let starts_message = matches!(opcode, 0x1 | 0x2);
                // RFC 6455 §5.2: reserved bits are 0 unless negotiated [FR08] [EX03]. RFC 7692 §6:
                // RSV1 stands on the first frame of a message only [PD13] [PD14]
                let allowed = if self.compression && starts_message {
                    0x40
                } else {
                    0
                };
                if byte & 0x70 & !allowed != 0 {
                    return Err(ProtocolViolation::ReservedBit);
                }
                // RFC 6455 §5.4: a continuation continues something [MS02]
                if opcode == 0x0 && !self.in_message {
                    return Err(ProtocolViolation::NothingToContinue);
                }
                // RFC 6455 §5.4: the fragments of two messages are not interleaved [MS03]
                if starts_message && self.in_message {
                    return Err(ProtocolViolation::MessageInterrupted);
                }
            }
            1 => match (R::IS_CLIENT, byte & 0x80 != 0) {
                // RFC 6455 §5.1: a server masks nothing [FR04]
                (true, true) => return Err(ProtocolViolation::Masked),
                // RFC 6455 §5.1: a client masks everything [FR03]
                (false, false) => return Err(ProtocolViolation::Unmasked),
                _ => {}
            },
            _ => {}
        }
        self.frame.push(byte)?;
        if self.frame.len != 0 {
            return Ok(());
        }
        if self.frame.is_control() {
            // RFC 6455 §5.4: also in the midst of a fragmented message [MS04]
            self.receiving = Receiving::Control;
            self.event_waits = false;
            self.control.slots().incoming.truncate(0);
            return Ok(());
        }
        // RFC 6455 §6.2: the next message begins afresh [MS10]
        if !self.in_message {
            self.message_room = self.max_message_len;
            self.utf8 = Utf8Validator::new();
            self.in_message = true;
            self.incoming = FIRST;
            // RFC 6455 §5.4: the first frame's opcode is the message's type [MS05]
            if self.frame.is(OpCode::Text) {
                self.incoming |= TEXT;
            }
            if self.frame.rsv1() {
                self.incoming |= COMPRESSED;
            }
        }
        // RFC 6455 §10.4: checked by the length announced, before any of it arrives [FR17]
        let room = self.message_room.checked_sub(self.frame.remaining);
        self.message_room = room.ok_or(ProtocolViolation::MessageTooBig)?;
        self.receiving = Receiving::Data;
        Ok(())
    }

    /// Consumes payload of a data frame.
    #[inline]
    fn receive_data(&mut self, input: &mut [u8], step: &mut Step) {
        let bytes = self.payload(input);
        // RFC 6455 §5.3: unmasked where it lies, across any split [FR06]
        let ascii = self.frame.mask.apply(bytes);

        let mut is_told = !bytes.is_empty();
        let mut last = false;
        if self.frame.remaining == 0 {
            self.receiving = Receiving::Header;
            last = self.frame.fin();
            // A frame may be empty; that is worth telling where a message begins or ends [MS01] [MS15]
            is_told |= last || step.incoming & FIRST != 0;
        }
        step.len = bytes.len();
        step.consumed += bytes.len();
        // RFC 6455 §5.6: binary data is any bytes [MS14]
        if step.incoming & (TEXT | COMPRESSED) == TEXT {
            let mut is_valid = true;
            // RFC 6455 §8.1: text is UTF-8, checked as it arrives; what came before the impossible
            // byte is an event, and the failure is the next [MS11] [MS13]
            if (!ascii || !self.utf8.is_complete())
                && let Err(index) = self.utf8.validate(bytes)
            {
                step.len = index;
                step.consumed = step.start + index + 1;
                is_valid = false;
            }
            // RFC 6455 §8.1: nor may it end within a code point [MS11]
            if !is_valid || (last && !self.utf8.is_complete()) {
                self.fail(ProtocolViolation::InvalidUtf8);
                if step.len > 0 {
                    step.found = Found::Chunk;
                }
                return;
            }
        }
        if is_told {
            step.found = Found::Chunk;
            self.incoming &= !FIRST;
        }
        if last {
            step.incoming |= LAST;
            self.in_message = false;
        }
    }

    /// As much of the frame's payload as `input` has.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))] // Saves flash.
    fn payload<'a>(&mut self, input: &'a mut [u8]) -> &'a mut [u8] {
        let due = usize::try_from(self.frame.remaining).unwrap_or(usize::MAX);
        let len = due.min(input.len());
        self.frame.remaining -= len as u64;
        input.get_mut(..len).unwrap_or_default()
    }

    /// Consumes payload of a control frame, and returns how many bytes that was.
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))] // smaller on a Cortex-M
    fn receive_control(&mut self, input: &mut [u8]) -> usize {
        let bytes = self.payload(input);
        self.frame.mask.apply(bytes);
        self.control.slots().incoming.extend(bytes);
        if self.frame.remaining == 0 {
            self.receiving = Receiving::Header;
            self.event_waits = true;
            self.control_frame();
        }
        bytes.len()
    }

    /// A whole control frame (§5.5).
    #[inline]
    fn control_frame(&mut self) {
        let slots = self.control.slots();
        if self.frame.is(OpCode::Ping) {
            // RFC 6455 §5.5.2, §5.5.3: a pong with the same payload, for the newest ping only; after
            // this side's Close as well [CT01] [CT02] [CT03] [CT07]
            slots.owe_pong();
            self.pong_owed = true;
        }
        // RFC 6455 §5.5.3: there may be a pong that was not asked for, too [CT04]
        if self.frame.is(OpCode::Close) {
            match CloseFrame::check(slots.incoming.as_bytes()) {
                Ok(code) => {
                    self.close_code = code;
                    // RFC 6455 §5.5.2: after a Close no pong is owed [CT01]
                    self.pong_owed = false;
                    // RFC 6455 §5.5.1: replied to with the same code, unless this side has a Close
                    // of its own, which the peer takes for the reply [CL03] [CL15]
                    if self.own_close == OwnClose::None {
                        self.own_close = OwnClose::Owed(code);
                    }
                    // One that has not left yet is not what the peer has answered.
                    if !self.has_sent_close() {
                        self.closed_by = Side::Remote;
                    }
                    self.receiving = Receiving::Closed;
                }
                Err(violation) => {
                    self.event_waits = false;
                    self.fail(violation);
                }
            }
        }
    }

    /// The peer will send no more: its half of the transport has ended.
    ///
    /// # Errors
    /// [`ProtocolViolation::UnexpectedEof`] where no Close was received before: the connection
    /// fails, and a message that was arriving is not whole.
    // [CL18]
    pub fn receive_eof(&mut self) -> Result<(), ProtocolViolation> {
        self.eof = true;
        self.fail(ProtocolViolation::UnexpectedEof);
        self.violation().map_or(Ok(()), Err)
    }

    /// Fails the connection (§7.1.7) for a violation that shows outside of it: a message that is
    /// too big for its buffer, or compressed text that is not UTF-8. A Close that tells the peer
    /// is owed then. Of no effect after a Close or an earlier failure.
    pub fn fail(&mut self, violation: ProtocolViolation) {
        if !self.is_receiving() {
            return;
        }
        crate::log::debug!("the connection failed: {}", violation);
        self.receiving = Receiving::Failed;
        self.violation = violation;
        self.pong_owed = false;
        if violation == ProtocolViolation::UnexpectedEof {
            // RFC 6455 §7.1.7: the peer has left; there is no one to tell
            self.own_close = OwnClose::Sent;
        } else if self.own_close != OwnClose::Sent {
            // RFC 6455 §7.1.7: a Close with a fitting code goes first [CL16]
            if self.own_close != OwnClose::None {
                self.control.slots().clear_owed();
            }
            self.own_close = OwnClose::Owed(violation.close_code());
        }
        self.release_slots();
    }

    // ---- send ----

    /// Writes a message as one frame to the start of `out` and returns its length in bytes.
    ///
    /// # Errors
    /// [`SendError::NoRoom`], [`SendError::NotOpen`], [`SendError::MessageInProgress`] or
    /// [`SendError::Entropy`]; nothing has changed then.
    #[inline]
    pub fn send(&mut self, message: Message<'_>, out: &mut [u8]) -> Result<usize, SendError> {
        self.check_open()?;
        if self.outgoing.is_some() {
            // RFC 6455 §5.4: the fragments of two messages are not interleaved [MS07]
            return Err(SendError::MessageInProgress);
        }
        let (kind, payload) = match message {
            Message::Text(text) => (DataKind::Text, text.as_bytes()),
            Message::Binary(bytes) => (DataKind::Binary, bytes),
        };
        self.put_data(kind, payload, true, out)
    }

    /// Writes the next frame of a message to the start of `out`: the message may be of any length,
    /// unknown when it begins. The frame takes as much of `payload` as `out` has room for; send the
    /// rest as the next one. With `fin` the message ends when all of `payload` was taken.
    ///
    /// Text must be UTF-8 as a whole; a frame may end within a code point (§5.6).
    ///
    /// # Errors
    /// [`SendError::NoRoom`] where `out` has no room for a header and one byte,
    /// [`SendError::NotOpen`], [`SendError::MessageInProgress`] where a message of the other kind
    /// is open, or [`SendError::Entropy`]; nothing has changed then.
    ///
    /// ```
    /// use motews::{Connection, DataKind, Server};
    ///
    /// let mut connection: Connection<Server> = Connection::new(Server);
    /// let mut out = [0; 5]; // a tiny output
    /// let sent = connection.send_fragment(DataKind::Text, b"Hello", true, &mut out).unwrap();
    /// assert_eq!(out, *b"\x01\x03Hel");
    /// let rest = &b"Hello"[sent.consumed..];
    /// let sent = connection.send_fragment(DataKind::Text, rest, true, &mut out).unwrap();
    /// assert_eq!(out[..sent.written], *b"\x80\x02lo");
    /// ```
    // [MS09]
    #[inline]
    pub fn send_fragment(
        &mut self,
        kind: DataKind,
        payload: &[u8],
        fin: bool,
        out: &mut [u8],
    ) -> Result<Sent, SendError> {
        let room = payload_room::<R>(out.len());
        let (consumed, fin) = if payload.len() <= room {
            (payload.len(), fin)
        } else {
            (room, false)
        };
        if consumed == 0 && !payload.is_empty() {
            return Err(SendError::NoRoom);
        }
        let part = payload.get(..consumed).unwrap_or_default();
        let written = self.put_data(kind, part, fin, out)?;
        Ok(Sent { consumed, written })
    }

    /// Begins a data frame whose payload the caller writes: for vectored writes, for compressed
    /// messages, for a payload shared by many connections. Emit the header, then exactly
    /// [`payload_len`](DataFrame::payload_len) bytes, passed through [`Mask`] where the header
    /// has a masking key; nothing may come between.
    ///
    /// # Errors
    /// [`SendError::NotOpen`], [`SendError::MessageInProgress`],
    /// [`SendError::CompressionNotNegotiated`], [`SendError::TooLong`] or [`SendError::Entropy`];
    /// nothing has changed then.
    pub fn start_frame(&mut self, frame: DataFrame) -> Result<FrameHeader, SendError> {
        if frame.compressed && !self.compression {
            return Err(SendError::CompressionNotNegotiated);
        }
        // RFC 6455 §5.2: the most significant bit is 0 [FR12]
        if frame.payload_len > u64::MAX >> 1 {
            return Err(SendError::TooLong);
        }
        let opcode = self.data_opcode(frame.kind)?;
        let header = FrameHeader {
            // RFC 7692 §6: on the first frame of a message only [PD13] [PD14]
            rsv1: frame.compressed && opcode != OpCode::Continuation,
            mask: self.role.masking_key()?,
            ..header::<R>(opcode, frame.fin, frame.payload_len)
        };
        self.outgoing = if frame.fin { None } else { Some(frame.kind) };
        Ok(header)
    }

    /// The message that is being sent, if one is open.
    #[cfg(feature = "deflate")]
    pub(crate) const fn outgoing(&self) -> Option<DataKind> {
        self.outgoing
    }

    /// For a frame of which it shows after it was started whether it is the last, or none at all.
    #[cfg(feature = "deflate")]
    pub(crate) const fn set_outgoing(&mut self, outgoing: Option<DataKind>) {
        self.outgoing = outgoing;
    }

    /// Writes a ping with at most 125 bytes of payload to the start of `out`.
    ///
    /// # Errors
    /// [`SendError::NoRoom`], [`SendError::NotOpen`], [`SendError::ControlTooLong`] or
    /// [`SendError::Entropy`]; nothing has changed then.
    // [CT05]
    pub fn ping(&mut self, payload: &[u8], out: &mut [u8]) -> Result<usize, SendError> {
        if payload.len() > ControlPayload::MAX_LEN {
            return Err(SendError::ControlTooLong);
        }
        self.check_open()?;
        put_control(&mut self.role, OpCode::Ping, &[], payload, out)
    }

    /// Begins the closing handshake: a Close is owed now, and no message can be sent any more.
    /// Receive until the peer's Close or the end of input. A message that is being sent in
    /// fragments stays unfinished.
    ///
    /// # Errors
    /// [`SendError::NotOpen`] where a Close was sent, received or queued before,
    /// [`SendError::InvalidCloseCode`] for what may not be on the wire or, from a server, 1010,
    /// [`SendError::ReasonTooLong`] beyond [`CloseFrame::MAX_REASON_LEN`] bytes.
    // [CL05] [CL20] [CL19]
    pub fn close(&mut self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        self.check_open()?;
        let clients_only = code == CloseCode::MANDATORY_EXTENSION;
        // RFC 6455 §7.4.1: codes that stand for no Close are never in one [CL09] [CL10] [CL20]
        if !code.is_allowed_on_wire() || (clients_only && !R::IS_CLIENT) {
            return Err(SendError::InvalidCloseCode);
        }
        if reason.len() > CloseFrame::MAX_REASON_LEN {
            return Err(SendError::ReasonTooLong);
        }
        // RFC 6455 §5.5.1: no message is finished first, it need not be [CL04]
        self.own_close = OwnClose::Owed(code);
        if !reason.is_empty() {
            self.control.slots().owe_reason(reason.as_bytes());
        }
        Ok(())
    }

    #[inline]
    fn put_data(
        &mut self,
        kind: DataKind,
        payload: &[u8],
        fin: bool,
        out: &mut [u8],
    ) -> Result<usize, SendError> {
        let opcode = self.data_opcode(kind)?;
        let written = self.put_frame(opcode, payload, fin, out)?;
        self.outgoing = if fin { None } else { Some(kind) };
        Ok(written)
    }

    /// The opcode of the next data frame.
    #[inline]
    fn data_opcode(&self, kind: DataKind) -> Result<OpCode, SendError> {
        self.check_open()?;
        match self.outgoing {
            None => Ok(kind.opcode()),
            // RFC 6455 §5.4: the opcode stands on the first frame only [MS06]
            Some(open) if open == kind => Ok(OpCode::Continuation),
            Some(_) => Err(SendError::MessageInProgress),
        }
    }

    /// RFC 6455 §5.5.1, §6.1: no data frame unless open, and none after a Close.
    // [MS08] [CL05]
    #[inline]
    fn check_open(&self) -> Result<(), SendError> {
        if self.own_close == OwnClose::None {
            Ok(())
        } else {
            Err(SendError::NotOpen)
        }
    }

    /// Writes a whole frame or nothing, so that what is owed goes between frames [CT06].
    #[inline]
    fn put_frame(
        &mut self,
        opcode: OpCode,
        payload: &[u8],
        fin: bool,
        out: &mut [u8],
    ) -> Result<usize, SendError> {
        let header = header::<R>(opcode, fin, payload.len() as u64);
        let total = header.wire_len().saturating_add(payload.len());
        let frame = out.get_mut(..total).ok_or(SendError::NoRoom)?;
        let header = FrameHeader {
            mask: self.role.masking_key()?,
            ..header
        };
        let len = header.emit(frame)?;
        let body = frame.get_mut(len..).unwrap_or_default();
        copy(body, payload);
        if let Some(key) = header.mask {
            // RFC 6455 §5.1: a client masks each frame [FR01]
            Mask::new(key).apply(body);
        }
        Ok(total)
    }

    // ---- transmit ----

    /// Writes a control frame that the protocol owes the peer, if there is one, to the start of
    /// `out`, and returns its length in bytes. 0: nothing is owed, or `out` has no room for it;
    /// [`MAX_CONTROL_LEN`] bytes always suffice.
    ///
    /// # Errors
    /// [`EntropyError`] where a client has no masking key; the frame is still owed then.
    pub fn poll_transmit(&mut self, out: &mut [u8]) -> Result<usize, EntropyError> {
        match self.wants_transmit() {
            true => self.transmit(out, false),
            false => Ok(0),
        }
    }

    /// Writes what is owed, or an empty ping where nothing else is.
    #[inline]
    pub(crate) fn transmit(&mut self, out: &mut [u8], ping: bool) -> Result<usize, EntropyError> {
        let (reason, pong) = self.control.slots().owed();
        let code;
        let (opcode, start, rest): (_, &[u8], _) = match self.own_close {
            // A peer that pings without end holds the Close back by one pong.
            _ if self.pong_owed && !self.close_is_next => (OpCode::Pong, &[], pong),
            OwnClose::Owed(owed) if owed != CloseCode::NO_STATUS_RECEIVED => {
                code = owed.as_u16().to_be_bytes();
                (OpCode::Close, &code, reason)
            }
            _ if ping => (OpCode::Ping, &[], &[][..]),
            _ => (OpCode::Close, &[], &[][..]),
        };
        let written = match put_control(&mut self.role, opcode, start, rest, out) {
            Ok(written) => written,
            Err(SendError::Entropy) if R::IS_CLIENT => return Err(EntropyError),
            Err(_) => return Ok(0),
        };
        if opcode == OpCode::Pong {
            self.pong_owed = false;
            self.control.slots().clear_pong();
            self.close_is_next = matches!(self.own_close, OwnClose::Owed(_));
        } else if !ping {
            self.own_close = OwnClose::Sent;
            self.close_is_next = false;
        }
        self.release_slots();
        Ok(written)
    }

    /// The slots may go when they hold nothing.
    fn release_slots(&mut self) {
        if self.receiving != Receiving::Control && !self.event_waits && !self.wants_transmit() {
            self.control.release();
        }
    }

    // ---- look ----

    /// Where the connection stands.
    #[inline(always)] // smaller on a Cortex-M
    #[must_use]
    pub const fn state(&self) -> State {
        match (self.receiving, self.own_close) {
            (Receiving::Failed, _) => State::Failed,
            // RFC 6455 §7.1.4: closed when both Closes are through [CL06]
            (Receiving::Closed, OwnClose::Sent) => State::Closed,
            (Receiving::Closed, _) | (_, OwnClose::Owed(_) | OwnClose::Sent) => State::Closing,
            (_, OwnClose::None) => State::Open,
        }
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has something to write.
    #[inline]
    #[must_use]
    pub const fn wants_transmit(&self) -> bool {
        self.pong_owed || matches!(self.own_close, OwnClose::Owed(_))
    }

    /// Whether the transport is to be shut down now (§7.1.1): by a server as soon as the closing
    /// handshake is complete; by a client when the server has done so, which it
    /// should await for a limited time only; by both after a failure, once the Close is written.
    // [CL06] [CL07]
    #[must_use]
    pub const fn should_shutdown(&self) -> bool {
        match self.state() {
            State::Open | State::Closing => false,
            State::Closed => !R::IS_CLIENT || self.eof,
            State::Failed => !self.wants_transmit(),
        }
    }

    /// _The WebSocket Connection Close Code_ (§7.1.5): that of the Close received; 1005 where it
    /// had none; 1006 as long as none was received.
    // [CL13]
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        self.close_code
    }

    /// Whether the closing handshake is complete (§7.1.4).
    // [CL14]
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        matches!(self.state(), State::Closed)
    }

    /// Returns whether a message is being sent in fragments, and its last one has not been: one of the
    /// same kind would go on with it.
    #[must_use]
    pub const fn is_sending_message(&self) -> bool {
        self.outgoing.is_some()
    }

    /// Returns whether `input` begins with a whole message in one frame. It is not consumed, and its
    /// payload is not checked. A caller that answers messages uses it to know, before the first one is
    /// answered, that another can be decoded without a further read.
    #[must_use]
    pub fn begins_message(&self, input: &[u8]) -> bool {
        if self.in_message || !self.is_between_frames() {
            return false;
        }
        // By far the commonest: a message of less than 64 KiB in one frame.
        if let [0x81 | 0x82, second, rest @ ..] = input {
            let key_len = 4 * usize::from(second >> 7);
            match (second & 0x7F, rest) {
                (126, [high, low, rest @ ..]) => {
                    let len = usize::from(u16::from_be_bytes([*high, *low]));
                    return len > 125 && rest.len() >= key_len + len;
                }
                (len @ ..126, rest) => return rest.len() >= key_len + usize::from(len),
                _ => {}
            }
        }
        match FrameHeader::parse(input) {
            Ok(Some((header, len))) => {
                let rest = input.len().saturating_sub(len) as u64;
                header.fin && !header.opcode.is_control() && header.payload_len <= rest
            }
            _ => false,
        }
    }

    /// Returns how many bytes of payload are still to come of the frame that is arriving; 0 between frames,
    /// and within a header. A caller that collects messages makes room for them.
    #[must_use]
    pub const fn payload_due(&self) -> u64 {
        match self.receiving {
            Receiving::Data => self.frame.remaining,
            _ => 0,
        }
    }

    /// Returns whether `input` begins with the peer's Close, or with a part of it. It is not consumed. A
    /// caller that keeps messages can so let the application answer them before it decodes the Close.
    #[must_use]
    pub fn begins_close(&self, input: &[u8]) -> bool {
        let first = input.first().copied().unwrap_or_default();
        self.is_between_frames() && OpCode::new(first & 0x0F) == Some(OpCode::Close)
    }

    const fn is_between_frames(&self) -> bool {
        matches!(self.receiving, Receiving::Header) && self.frame.len == 0
    }

    // ---- for the session ----

    /// Sets the longest message. See [`Session::set_max_message_len`](crate::Session::set_max_message_len).
    pub(crate) fn set_max_message_len(&mut self, max_message_len: u64) -> u64 {
        if self.in_message {
            let announced = self.max_message_len.saturating_sub(self.message_room);
            match max_message_len.checked_sub(announced) {
                Some(room) => self.message_room = room,
                None => self.fail(ProtocolViolation::MessageTooBig),
            }
        }
        core::mem::replace(&mut self.max_message_len, max_message_len)
    }

    /// Whether what comes is of interest: there was no Close of the peer's, and no failure.
    pub(crate) const fn is_receiving(&self) -> bool {
        !matches!(self.receiving, Receiving::Closed | Receiving::Failed)
    }

    pub(crate) const fn has_received_close(&self) -> bool {
        matches!(self.receiving, Receiving::Closed)
    }

    pub(crate) const fn has_received_eof(&self) -> bool {
        self.eof
    }

    /// Whether this side's Close was written, or cannot be.
    pub(crate) const fn has_sent_close(&self) -> bool {
        matches!(self.own_close, OwnClose::Sent)
    }

    /// Who sent a Close first, if the peer has sent one.
    pub const fn closed_by(&self) -> Side {
        self.closed_by
    }

    // ---- look ----

    /// What failed the connection.
    #[must_use]
    pub const fn violation(&self) -> Option<ProtocolViolation> {
        match self.receiving {
            Receiving::Failed => Some(self.violation),
            _ => None,
        }
    }
}

/// Bytes of output that a control frame takes at most.
pub const MAX_CONTROL_LEN: usize = 2 + 4 + ControlPayload::MAX_LEN;

/// A header without masking key, but of the length that it will have with one.
#[inline]
const fn header<R: Role>(opcode: OpCode, fin: bool, payload_len: u64) -> FrameHeader {
    // RFC 6455 §5.2: reserved bits are 0 unless negotiated [FR07]
    let (rsv1, rsv2, rsv3) = (false, false, false);
    let mask = if R::IS_CLIENT { Some([0; 4]) } else { None };
    FrameHeader {
        fin,
        rsv1,
        rsv2,
        rsv3,
        opcode,
        mask,
        payload_len,
    }
}

/// Writes a whole control frame or nothing. The payload is `start` and `rest`, at most 125 bytes.
#[inline]
fn put_control<R: Role>(
    role: &mut R,
    opcode: OpCode,
    start: &[u8],
    rest: &[u8],
    out: &mut [u8],
) -> Result<usize, SendError> {
    let payload_len = start.len().wrapping_add(rest.len());
    let key_len = if R::IS_CLIENT { 4 } else { 0 };
    let total = payload_len.wrapping_add(2 + key_len);
    let Some([first, second, body @ ..]) = out.get_mut(..total) else {
        return Err(SendError::NoRoom);
    };
    let key = role.masking_key()?;
    *first = 0x80 | opcode as u8;
    *second = payload_len as u8;
    let (to_key, body) = body.split_at_mut_checked(key_len).unwrap_or_default();
    copy(body, start);
    copy(body.get_mut(start.len()..).unwrap_or_default(), rest);
    if let Some(key) = key {
        // RFC 6455 §5.1: a client masks each frame [FR01]
        *second |= 0x80;
        copy(to_key, &key);
        Mask::new(key).apply(body);
    }
    Ok(total)
}

/// The longest payload whose frame fits into `out` bytes.
#[inline]
pub(crate) fn payload_room<R: Role>(out: usize) -> usize {
    let key = if R::IS_CLIENT { 4 } else { 0 };
    let room = |header: usize| out.saturating_sub(header + key);
    if room(2) < 126 {
        room(2)
    } else if room(4) <= 0xFFFF {
        room(4).max(125)
    } else {
        room(10).max(0xFFFF)
    }
}

/// A violation, and the bytes of input up to the one that proves it.
struct Failure {
    consumed: usize,
    violation: ProtocolViolation,
}
