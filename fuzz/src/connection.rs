//! `Connection`, both roles: any stream, cut in any way, with anything sent in between.
//!
//! The bytes of an input:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | bit 0: a client, else a server; bit 1: compression; bit 2: messages of at most 1000 bytes; bit 3: each fourth masking key cannot be had; bits 4 to 7: the script's length |
//! | 4 | the sizes of the pieces that the stream is cut into, over and over |
//! | 0 to 15 | the script: what is done after each piece, over and over; see [`Sender::act`] |
//! | the rest | the stream that the peer sends |

use motews::{
    Client, CloseCode, Connection, ConnectionConfig, ControlSlots, ControlStorage, DataFrame,
    DataKind, Event, FrameHeader, MAX_CONTROL_LEN, Mask, Message, OpCode, ProtocolViolation, Role,
    SendError, Server, State,
};

use super::{Sequence, pieces};

/// What a session is made of.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// Whether the connection is a client's.
    pub is_client: bool,
    /// Each fourth masking key cannot be had.
    pub is_flaky: bool,
    /// The connection's.
    pub config: ConnectionConfig,
    /// The sizes of the pieces that the stream is cut into.
    pub sizes: &'a [u8],
    /// What is done after each piece.
    pub script: &'a [u8],
    /// What the peer sends.
    pub stream: &'a [u8],
}

impl<'a> Session<'a> {
    /// Reads an input.
    #[must_use]
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let (flags, data) = data.split_first()?;
        let (sizes, data) = data.split_at_checked(4)?;
        let (script, stream) = data.split_at_checked(usize::from(flags >> 4))?;
        let is_limited = flags & 4 != 0;
        Some(Self {
            is_client: flags & 1 != 0,
            is_flaky: flags & 8 != 0,
            config: ConnectionConfig {
                compression: flags & 2 != 0,
                max_message_len: if is_limited { 1000 } else { u64::MAX },
            },
            sizes,
            script,
            stream,
        })
    }
}

/// Any bytes as a session.
///
/// # Panics
/// Where a property of the connection does not hold.
pub fn check(data: &[u8]) {
    let Some(session) = Session::parse(data) else {
        return;
    };
    if session.is_client {
        check_session::<Client<Sequence>>(&session);
    } else {
        check_session::<Server>(&session);
    }
}

/// A role that can be made, and the one at the other end.
pub trait Side: Role {
    /// Who answers.
    type Peer: Side;
    /// Bytes of a masking key in each frame.
    const KEY_LEN: usize;
    /// The role; `is_flaky` where its masking keys sometimes cannot be had.
    fn new(is_flaky: bool) -> Self;
}

impl Side for Server {
    type Peer = Client<Sequence>;
    const KEY_LEN: usize = 0;
    fn new(_: bool) -> Self {
        Self
    }
}

impl Side for Client<Sequence> {
    type Peer = Server;
    const KEY_LEN: usize = 4;
    fn new(is_flaky: bool) -> Self {
        Self::new(Sequence {
            is_flaky,
            ..Sequence::new()
        })
    }
}

/// Control slots that are let go as soon as they may be.
#[derive(Default)]
pub struct OnDemand(Option<Box<ControlSlots>>);

impl ControlStorage for OnDemand {
    fn slots(&mut self) -> &mut ControlSlots {
        self.0.get_or_insert_default()
    }
    fn release(&mut self) {
        self.0 = None;
    }
}

/// An event, by value; neighbouring chunks of a message count as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A part of a message, as long as nothing else came in between.
    Data {
        /// What the message is.
        kind: DataKind,
        /// The chunks' bytes.
        bytes: Vec<u8>,
        /// It begins here.
        first: bool,
        /// It ends here.
        last: bool,
        /// It is compressed.
        compressed: bool,
    },
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A Close.
    Close(Option<(CloseCode, String)>),
}

/// What a connection has told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tape {
    /// The events, each with the number of bytes consumed by then. An unfinished part of a
    /// message has none: where it ends is no more than where the stream was cut.
    pub told: Vec<(Told, Option<usize>)>,
    /// The violation, and the number of bytes consumed by then.
    pub violation: Option<(ProtocolViolation, usize)>,
    /// Bytes consumed so far.
    pub consumed: usize,
}

impl Tape {
    fn event(&mut self, event: Event<'_>) {
        self.record(match event {
            Event::Data(chunk) => Told::Data {
                kind: chunk.kind,
                bytes: chunk.bytes.to_vec(),
                first: chunk.first,
                last: chunk.last,
                compressed: chunk.compressed,
            },
            Event::Ping(payload) => Told::Ping(payload.as_bytes().to_vec()),
            Event::Pong(payload) => Told::Pong(payload.as_bytes().to_vec()),
            Event::Close(close) => {
                Told::Close(close.map(|close| (close.code(), close.reason().to_owned())))
            }
            other => panic!("an event of no known kind: {other:?}"),
        });
    }

    fn record(&mut self, told: Told) {
        let at = match &told {
            Told::Data { last: false, .. } => None,
            _ => Some(self.consumed),
        };
        if let Told::Data {
            kind,
            bytes,
            first: false,
            last,
            compressed,
        } = &told
            && let Some((
                Told::Data {
                    kind: open,
                    bytes: before,
                    last: done @ false,
                    compressed: was_compressed,
                    ..
                },
                end,
            )) = self.told.last_mut()
        {
            assert_eq!((kind, compressed), (&*open, &*was_compressed));
            before.extend(bytes);
            *done = *last;
            *end = at;
            return;
        }
        self.told.push((told, at));
    }

    /// The events, without the bytes.
    #[must_use]
    pub fn events(&self) -> Vec<&Told> {
        self.told.iter().map(|(told, _)| told).collect()
    }

    fn is_closed(&self) -> bool {
        matches!(self.told.last(), Some((Told::Close(_), _)))
    }

    /// Gives `piece` to the connection, until it wants more.
    ///
    /// # Panics
    /// Where the connection breaks its own rules.
    pub fn receive<R: Role, C: ControlStorage>(
        &mut self,
        connection: &mut Connection<R, C>,
        piece: &mut [u8],
    ) {
        let mut input = piece;
        while self.receive_event(connection, &mut input) {}
    }

    /// Gives `input` to the connection up to the next event, and tells whether there was one.
    ///
    /// # Panics
    /// Where the connection breaks its own rules.
    pub fn receive_event<R: Role, C: ControlStorage>(
        &mut self,
        connection: &mut Connection<R, C>,
        input: &mut &mut [u8],
    ) -> bool {
        let before = input.len();
        let result = connection.next_event(input);
        self.consumed += before - input.len();
        match result {
            Ok(Some(event)) => {
                assert!(!self.is_closed(), "{event:?} after a Close");
                assert_eq!(self.violation, None, "{event:?} after a failure");
                self.event(event);
                true
            }
            Ok(None) => {
                // The first law: it consumes all that it is given.
                assert!(input.is_empty(), "more is wanted, but not all is consumed");
                assert_eq!(self.violation, None, "a failure is forgotten");
                false
            }
            Err(violation) => {
                if let Some((first, _)) = self.violation {
                    assert_eq!(violation, first, "the first violation stays");
                    assert_eq!(input.len(), before, "nothing is consumed after it");
                }
                self.violation.get_or_insert((violation, self.consumed));
                false
            }
        }
    }
}

/// Receives `stream` in pieces of these sizes, and does nothing else.
#[must_use]
pub fn listen<R: Side>(config: ConnectionConfig, stream: &[u8], sizes: &[u8]) -> Tape {
    let mut connection = Connection::<R>::with_config(R::new(false), config);
    let mut tape = Tape::default();
    let mut stream = stream.to_vec();
    for piece in pieces(stream.len(), sizes) {
        tape.receive(&mut connection, &mut stream[piece]);
    }
    tape
}

/// The same by way of `step` and `resolve`, as adapters do it.
fn listen_in_steps<R: Side>(config: ConnectionConfig, stream: &[u8], sizes: &[u8]) -> Tape {
    let mut connection = Connection::<R>::with_config(R::new(false), config);
    let mut tape = Tape::default();
    let mut stream = stream.to_vec();
    'pieces: for piece in pieces(stream.len(), sizes) {
        let mut input = &mut stream[piece];
        loop {
            let Ok(step) = connection.step(input) else {
                let violation = connection.violation().expect("it failed");
                tape.violation = Some((violation, 0));
                break 'pieces;
            };
            let consumed = step.consumed();
            let is_event = step.is_event();
            let bytes = input
                .split_off_mut(..consumed)
                .expect("it was given that much");
            tape.consumed += consumed;
            match connection.resolve(step, bytes) {
                Some(event) => tape.event(event),
                None => assert!(input.is_empty(), "more is wanted, but not all is consumed"),
            }
            if !is_event {
                break;
            }
        }
    }
    tape
}

fn check_session<R: Side>(session: &Session<'_>) {
    let &Session {
        config,
        sizes,
        stream,
        ..
    } = session;
    let whole = listen::<R>(config, stream, &[]);
    // RFC 6455 §6.2: how it is cut makes no difference [FR16]
    assert_eq!(listen::<R>(config, stream, &[1]), whole, "octet by octet");
    assert_eq!(listen::<R>(config, stream, sizes), whole, "in pieces");

    let steps = listen_in_steps::<R>(config, stream, sizes);
    assert_eq!(steps.events(), whole.events(), "in steps");
    let violation = |tape: &Tape| tape.violation.map(|(violation, _)| violation);
    assert_eq!(violation(&steps), violation(&whole), "in steps");

    // The last byte consumed is the one that proves a violation [FR15].
    if let Some((violation, at)) = whole.violation {
        assert_eq!(whole.consumed, at);
        let proof = listen::<R>(config, &stream[..at], &[]);
        assert_eq!(proof.violation, Some((violation, at)));
        let before = listen::<R>(config, &stream[..at - 1], &[]);
        assert_eq!(before.violation, None, "{violation:?} shows too late");
    }

    // Nor does what is sent in between, wherever the control slots are.
    check_script::<R, ControlSlots>(session, &whole);
    check_script::<R, OnDemand>(session, &whole);
}

fn check_script<R: Side, C: ControlStorage>(session: &Session<'_>, whole: &Tape) {
    let &Session {
        config,
        sizes,
        stream,
        ..
    } = session;
    let mut connection = Connection::<R, C>::with_config(R::new(session.is_flaky), config);
    let mut sender = Sender::new(config);
    let mut tape = Tape::default();
    let mut input = stream.to_vec();
    let mut script = session.script.iter().cycle();
    for piece in pieces(input.len(), sizes) {
        let seen = tape.told.len();
        tape.receive(&mut connection, &mut input[piece]);
        sender.hear(&tape, seen);
        // As many actions as pieces would be too many for a stream of single bytes.
        if sender.turn < 100
            && let Some(&action) = script.next()
        {
            sender.act(&mut connection, action);
        }
        sender.look(&connection, &tape);
    }
    assert_eq!(&tape, whole, "with a script");

    // The end of the stream, and what is owed after it
    let eof = connection.receive_eof();
    let expected = match (&tape.violation, tape.is_closed()) {
        (Some((violation, _)), _) => Err(*violation),
        (None, true) => Ok(()),
        (None, false) => Err(ProtocolViolation::UnexpectedEof),
    };
    assert_eq!(eof, expected);
    if let (Err(violation), None) = (eof, tape.violation) {
        tape.violation = Some((violation, tape.consumed));
        sender.fail(violation);
    }
    for _ in 0..16 {
        sender.poll(&mut connection, MAX_CONTROL_LEN);
        sender.look(&connection, &tape);
    }
    assert!(!connection.wants_transmit(), "all that is owed is sent");
    assert!(connection.should_shutdown());
    tape.receive(&mut connection, &mut [0x81, 0x00, 0x89, 0x80]);

    // The peer understands all of it.
    let peer_config = ConnectionConfig {
        compression: config.compression,
        ..ConnectionConfig::default()
    };
    let heard = listen::<R::Peer>(peer_config, &sender.wire, &[255, 0, 1]);
    assert_eq!(
        heard.violation, None,
        "the peer finds fault with what was sent"
    );
    assert_eq!(
        heard.events(),
        sender.said.events(),
        "the peer hears what was said"
    );
}

/// This side's Close, as it should be.
#[derive(Debug)]
enum OwnClose {
    None,
    /// `None` stands for an empty body. `cut` where a pong may have taken the reason's room.
    Owed {
        code: Option<CloseCode>,
        reason: String,
        cut: bool,
    },
    Sent,
}

/// The sending half: what it may do, and what should come of it.
#[derive(Debug)]
struct Sender {
    config: ConnectionConfig,
    /// What was written.
    wire: Vec<u8>,
    /// What the peer should make of it.
    said: Tape,
    outgoing: Option<DataKind>,
    compressed: bool,
    /// Bytes of the outgoing message so far.
    sent: usize,
    pong: Option<Vec<u8>>,
    /// A pong has left while a Close is owed: the Close is next.
    close_is_next: bool,
    own_close: OwnClose,
    close_received: bool,
    failed: bool,
    /// Changes the room from one action to the next.
    turn: usize,
}

/// Code points of one to four bytes, over and over.
const TEXT: &[u8] = "aé€😀".as_bytes();
const ROOMS: [usize; 6] = [400, 0, 7, MAX_CONTROL_LEN, 20, 3];
const CODES: [u16; 8] = [1000, 1001, 1005, 1010, 999, 3000, 4999, 5000];

impl Sender {
    fn new(config: ConnectionConfig) -> Self {
        Self {
            config,
            wire: Vec::new(),
            said: Tape::default(),
            outgoing: None,
            compressed: false,
            sent: 0,
            pong: None,
            close_is_next: false,
            own_close: OwnClose::None,
            close_received: false,
            failed: false,
            turn: 0,
        }
    }

    /// What was received obliges.
    fn hear(&mut self, tape: &Tape, seen: usize) {
        for (told, _) in tape.told.iter().skip(seen) {
            match told {
                Told::Ping(payload) => {
                    self.pong = Some(payload.clone());
                    if let OwnClose::Owed { cut, .. } = &mut self.own_close {
                        *cut = true;
                    }
                }
                Told::Close(close) => {
                    self.close_received = true;
                    self.pong = None;
                    if matches!(self.own_close, OwnClose::None) {
                        self.own_close = OwnClose::Owed {
                            code: close.as_ref().map(|(code, _)| *code),
                            reason: String::new(),
                            cut: false,
                        };
                    }
                }
                Told::Data { .. } | Told::Pong(_) => {}
            }
        }
        if let (Some((violation, _)), false) = (tape.violation, self.failed) {
            self.fail(violation);
        }
    }

    fn fail(&mut self, violation: ProtocolViolation) {
        self.failed = true;
        self.pong = None;
        if violation == ProtocolViolation::UnexpectedEof {
            self.own_close = OwnClose::Sent;
        } else if !matches!(self.own_close, OwnClose::Sent) {
            self.own_close = OwnClose::Owed {
                code: Some(violation.close_code()),
                reason: String::new(),
                cut: false,
            };
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.own_close, OwnClose::None)
    }

    /// The connection shows what it should.
    fn look<R: Side, C: ControlStorage>(&self, connection: &Connection<R, C>, tape: &Tape) {
        let close_is_sent = matches!(self.own_close, OwnClose::Sent);
        let state = match (self.failed, self.close_received) {
            (true, _) => State::Failed,
            (_, true) if close_is_sent => State::Closed,
            (_, received) if received || !self.is_open() => State::Closing,
            _ => State::Open,
        };
        assert_eq!(connection.state(), state);
        assert_eq!(connection.is_clean(), state == State::Closed);
        let owes = self.pong.is_some() || matches!(self.own_close, OwnClose::Owed { .. });
        assert_eq!(connection.wants_transmit(), owes);
        let violation = tape.violation.map(|(violation, _)| violation);
        assert_eq!(connection.violation(), violation);
        let code = match tape.told.last() {
            Some((Told::Close(Some((code, _))), _)) => *code,
            Some((Told::Close(None), _)) => CloseCode::NO_STATUS_RECEIVED,
            _ => CloseCode::ABNORMAL_CLOSURE,
        };
        assert_eq!(connection.close_code(), code);
        match state {
            State::Open | State::Closing => assert!(!connection.should_shutdown()),
            State::Failed => assert_eq!(connection.should_shutdown(), !owes),
            // A client waits for the end of the stream.
            State::Closed => assert!(connection.should_shutdown() || R::KEY_LEN > 0),
        }
    }

    /// Does one thing: `action % 8` says what, `action / 8` how much of it.
    fn act<R: Side, C: ControlStorage>(&mut self, connection: &mut Connection<R, C>, action: u8) {
        let amount = usize::from(action / 8);
        let kind = if amount % 2 == 0 {
            DataKind::Text
        } else {
            DataKind::Binary
        };
        let fin = amount & 2 != 0;
        let len = amount / 4 * 20; // 0 to 140
        self.turn += 1;
        let room = ROOMS[self.turn % ROOMS.len()];
        match action % 8 {
            0 => {}
            1 => self.send(connection, kind, amount / 2 * 10, room),
            2 => self.fragment(connection, kind, fin, len, room),
            3 => self.start_frame(connection, kind, fin, len),
            4 => self.ping(connection, amount * 5, room),
            5 => self.close(connection, CODES[amount % 8], amount / 8 * 45),
            _ => self.poll(connection, room),
        }
    }

    /// The next bytes of the outgoing message; of a text's last ones, up to a whole code point.
    fn payload(&self, kind: DataKind, len: usize, fin: bool) -> Vec<u8> {
        let start = if self.outgoing.is_some() {
            self.sent
        } else {
            0
        };
        match kind {
            DataKind::Text => {
                let text: Vec<u8> = TEXT.iter().copied().cycle().take(start + len + 4).collect();
                let is_boundary = |at: usize| text[at] & 0xC0 != 0x80;
                let mut end = start + len;
                while fin && !is_boundary(end) {
                    end += 1;
                }
                text[start..end].to_vec()
            }
            DataKind::Binary => (start..start + len).map(|at| at as u8).collect(),
        }
    }

    fn said_data(&mut self, kind: DataKind, payload: &[u8], fin: bool, compressed: bool) {
        let first = self.outgoing.is_none();
        if first {
            self.sent = 0;
            self.compressed = compressed;
        }
        self.sent += payload.len();
        self.outgoing = if fin { None } else { Some(kind) };
        if !payload.is_empty() || first || fin {
            self.say(Told::Data {
                kind,
                bytes: payload.to_vec(),
                first,
                last: fin,
                compressed: self.compressed,
            });
        }
    }

    /// After a Close the peer listens no more.
    fn say(&mut self, told: Told) {
        if !self.said.is_closed() {
            self.said.record(told);
        }
    }

    /// Calls `write` with `room` bytes, checks its error against those that are `due`, and that
    /// it writes a frame of the length it tells or nothing. `Some`: how long the frame is.
    fn write<T>(
        &mut self,
        room: usize,
        due: &[(bool, SendError)],
        write: impl FnOnce(&mut [u8]) -> Result<T, SendError>,
        written: impl FnOnce(&T) -> usize,
    ) -> Option<T> {
        let mut out = vec![0xEE; room];
        let due: Vec<SendError> = due.iter().filter(|due| due.0).map(|due| due.1).collect();
        let result = write(&mut out);
        let len = match &result {
            Ok(value) => {
                assert_eq!(due, [], "it should have failed");
                let len = written(value);
                assert!(len >= 2, "a frame has at least two octets");
                len
            }
            // With a flaky source, only.
            Err(SendError::Entropy) => 0,
            Err(error) => {
                assert!(due.contains(error), "{error:?}, not of {due:?}");
                0
            }
        };
        assert!(
            out[len..].iter().all(|octet| *octet == 0xEE),
            "more is written than told"
        );
        self.wire.extend(&out[..len]);
        result.ok()
    }

    fn send<R: Side, C: ControlStorage>(
        &mut self,
        connection: &mut Connection<R, C>,
        kind: DataKind,
        len: usize,
        room: usize,
    ) {
        let payload = match self.outgoing {
            None => self.payload(kind, len, true),
            Some(_) => Vec::new(),
        };
        let message = match kind {
            DataKind::Text => Message::Text(str::from_utf8(&payload).expect("whole code points")),
            DataKind::Binary => Message::Binary(&payload),
        };
        let due = [
            (!self.is_open(), SendError::NotOpen),
            (self.outgoing.is_some(), SendError::MessageInProgress),
            (frame_len::<R>(payload.len()) > room, SendError::NoRoom),
        ];
        let sent = self.write(room, &due, |out| connection.send(message, out), |len| *len);
        if let Some(len) = sent {
            assert_eq!(len, frame_len::<R>(payload.len()));
            self.said_data(kind, &payload, true, false);
        }
    }

    fn fragment<R: Side, C: ControlStorage>(
        &mut self,
        connection: &mut Connection<R, C>,
        kind: DataKind,
        fin: bool,
        len: usize,
        room: usize,
    ) {
        let payload = self.payload(kind, len, fin);
        let least = frame_len::<R>(payload.len().min(1));
        let due = [
            (!self.is_open(), SendError::NotOpen),
            (
                self.outgoing.is_some_and(|open| open != kind),
                SendError::MessageInProgress,
            ),
            (least > room, SendError::NoRoom),
        ];
        let sent = self.write(
            room,
            &due,
            |out| connection.send_fragment(kind, &payload, fin, out),
            |sent| sent.written,
        );
        if let Some(sent) = sent {
            assert_eq!(sent.written, frame_len::<R>(sent.consumed));
            if sent.consumed < payload.len() {
                // As much as fits
                assert!(frame_len::<R>(sent.consumed + 1) > room);
            }
            let whole = sent.consumed == payload.len();
            self.said_data(kind, &payload[..sent.consumed], fin && whole, false);
        }
    }

    fn start_frame<R: Side, C: ControlStorage>(
        &mut self,
        connection: &mut Connection<R, C>,
        kind: DataKind,
        fin: bool,
        len: usize,
    ) {
        let compressed = len.is_multiple_of(40);
        let mut payload = self.payload(kind, len, fin);
        let due = [
            (!self.is_open(), SendError::NotOpen),
            (
                self.outgoing.is_some_and(|open| open != kind),
                SendError::MessageInProgress,
            ),
            (
                compressed && !self.config.compression,
                SendError::CompressionNotNegotiated,
            ),
        ];
        let mut key = None;
        let sent = self.write(
            FrameHeader::MAX_LEN,
            &due,
            |out| {
                let header = connection.start_frame(DataFrame {
                    kind,
                    fin,
                    compressed,
                    payload_len: payload.len() as u64,
                })?;
                key = header.mask;
                Ok(header.emit(out)?)
            },
            |len| *len,
        );
        if sent.is_some() {
            self.said_data(kind, &payload, fin, compressed);
            assert_eq!(key.is_some(), R::KEY_LEN > 0);
            Mask::new(key.unwrap_or_default()).apply(&mut payload);
            self.wire.extend(payload);
        }
    }

    fn ping<R: Side, C: ControlStorage>(
        &mut self,
        connection: &mut Connection<R, C>,
        len: usize,
        room: usize,
    ) {
        let payload = vec![0x50; len];
        let due = [
            (!self.is_open(), SendError::NotOpen),
            (len > 125, SendError::ControlTooLong),
            (frame_len::<R>(len) > room, SendError::NoRoom),
        ];
        let sent = self.write(room, &due, |out| connection.ping(&payload, out), |len| *len);
        if sent.is_some() {
            self.say(Told::Ping(payload));
        }
    }

    fn close<R: Side, C: ControlStorage>(
        &mut self,
        connection: &mut Connection<R, C>,
        code: u16,
        len: usize,
    ) {
        // Of code points of one to four bytes, to be cut where none of them is.
        let mut reason = String::new();
        let code_points = str::from_utf8(TEXT).expect("it was made of one");
        for code_point in code_points.chars().cycle() {
            if reason.len() + code_point.len_utf8() > len {
                break;
            }
            reason.push(code_point);
        }
        let is_forbidden = matches!(code, 999 | 1005 | 5000) || (code == 1010 && R::KEY_LEN == 0);
        let due = [
            (!self.is_open(), SendError::NotOpen),
            (is_forbidden, SendError::InvalidCloseCode),
            (reason.len() > 123, SendError::ReasonTooLong),
        ];
        let due: Vec<SendError> = due.iter().filter(|due| due.0).map(|due| due.1).collect();
        match connection.close(CloseCode::new(code), &reason) {
            Ok(()) => {
                assert_eq!(due, [], "it should have failed");
                self.own_close = OwnClose::Owed {
                    code: Some(CloseCode::new(code)),
                    reason,
                    cut: self.pong.is_some(),
                };
            }
            Err(error) => assert!(due.contains(&error), "{error:?}, not of {due:?}"),
        }
    }

    fn poll<R: Side, C: ControlStorage>(&mut self, connection: &mut Connection<R, C>, room: usize) {
        let mut out = vec![0xEE; room];
        let Ok(len) = connection.poll_transmit(&mut out) else {
            assert!(out.iter().all(|octet| *octet == 0xEE), "nothing is written");
            return;
        };
        assert!(
            out[len..].iter().all(|octet| *octet == 0xEE),
            "more is written than told"
        );
        if len == 0 {
            let owed = match (&self.pong, &self.own_close) {
                (Some(pong), _) if !self.close_is_next => frame_len::<R>(pong.len()),
                (_, OwnClose::Owed { code: None, .. }) => frame_len::<R>(0),
                (_, OwnClose::Owed { reason, .. }) => frame_len::<R>(2 + reason.len()),
                _ => return,
            };
            assert!(owed > room, "{self:?}: there is room for what is owed");
            return;
        }
        self.wire.extend(&out[..len]);
        let (header, start) = FrameHeader::parse(&out).expect("sound").expect("whole");
        let body = &mut out[start..len];
        Mask::new(header.mask.unwrap_or_default()).apply(body);
        assert_eq!(header.payload_len, body.len() as u64);
        if let Some(pong) = self.pong.take_if(|_| !self.close_is_next) {
            self.close_is_next = matches!(self.own_close, OwnClose::Owed { .. });
            // RFC 6455 §5.5.3: the newest ping's payload [CT02] [CT03]
            assert_eq!((header.opcode, &body[..]), (OpCode::Pong, &pong[..]));
            self.say(Told::Pong(pong));
            return;
        }
        assert_eq!(header.opcode, OpCode::Close);
        self.close_is_next = false;
        let OwnClose::Owed { code, reason, cut } =
            core::mem::replace(&mut self.own_close, OwnClose::Sent)
        else {
            panic!("no Close was owed");
        };
        let Some(code) = code else {
            assert_eq!(body, []);
            return self.say(Told::Close(None));
        };
        let (number, sent) = body.split_at(2);
        assert_eq!(number, code.as_u16().to_be_bytes());
        let sent = str::from_utf8(sent).expect("the reason is UTF-8");
        assert!(
            reason.starts_with(sent) && (cut || sent == reason),
            "{sent} for {reason}"
        );
        self.say(Told::Close(Some((code, sent.to_owned()))));
    }
}

/// Bytes of a frame with this much payload, which is less than 64 KiB.
fn frame_len<R: Side>(payload: usize) -> usize {
    let header = if payload < 126 { 2 } else { 4 };
    header + R::KEY_LEN + payload
}
