//! What a connection has told and written is recorded, in both roles: input to events and to the
//! exact bytes on the wire. A change that is to leave the wire alone leaves these records alone.
//!
//! A record is a list of lines. Those that begin with `>` or `!` are what is done, and the rest is
//! what came of it:
//!
//! | line | what |
//! |---|---|
//! | `== NAME` | a new connection; `limit N` after it sets the longest message |
//! | `> 81 BYTES` | the peer sends a frame, of which this is the first byte and the payload |
//! | `>> BYTES` | the peer sends these bytes |
//! | `! CALL` | a method is called |
//! | two spaces | an event |
//! | `< BYTES` | what is written |
//! | `= ERROR` | a call is refused |
//! | `: STATE CODE` | where the connection stands, if that has changed |
//!
//! `BYTES` are hexadecimal, repeated if `*N` follows, or text in quotes. With `RECORD=1` in the
//! environment the test writes the records anew, and fails.
#![expect(clippy::indexing_slicing, reason = "a test may panic")]

use core::fmt::{Debug, Write};
use std::path::Path;
use std::{env, fs};

use motews::handshake::{
    ClientHandshake, Key, Offers, Request, RequestEvent, ResponseEvent, ServerHandshake,
};
use motews::{
    Client, CloseCode, Connection, ConnectionConfig, DataKind, Entropy, EntropyError, Event,
    MAX_CONTROL_LEN, Message, Role, Server,
};
use motews_testkit::frame::{KEY, encode};
use motews_testkit::head;

/// 1, 2, 3, ...: the masking keys can be told apart. The nonce is the one of the RFC.
#[derive(Debug, Default)]
struct Counter(u8);

impl Entropy for Counter {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        if bytes.len() == 16 {
            bytes.copy_from_slice(&head::NONCE);
        } else {
            bytes.fill_with(|| {
                self.0 += 1;
                self.0
            });
        }
        Ok(())
    }
}

/// A role: how it is made, what its peer masks with, and its opening handshake, which writes and
/// returns what it read or wrote in text.
trait Side: Role + Sized {
    const PEERS_KEY: Option<[u8; 4]>;
    fn new() -> Self;
    fn handshake(record: &mut String);
}

impl Side for Server {
    const PEERS_KEY: Option<[u8; 4]> = Some(KEY);

    fn new() -> Self {
        Self
    }

    fn handshake(record: &mut String) {
        let mut handshake = ServerHandshake::new([0; 64]);
        let mut input = head::REQUEST.as_bytes();
        let upgrade = loop {
            match handshake.next_event(&mut input, &Offers::new()) {
                Ok(Some(RequestEvent::Done(upgrade))) => break upgrade,
                Ok(Some(_)) => {}
                other => panic!("{other:?}"),
            }
        };
        let mut out = [0; 256];
        let len = upgrade.emit_from(0, &mut out, &upgrade.answer(&Offers::new()));
        write_lines(record, "<", &out[..len]);
    }
}

impl Side for Client<Counter> {
    const PEERS_KEY: Option<[u8; 4]> = None;

    fn new() -> Self {
        Self::new(Counter::default())
    }

    fn handshake(record: &mut String) {
        let key = Key::new(&mut Counter::default()).expect("there is a nonce");
        let request = Request::new("example.com", "/chat").expect("it is right");
        let mut out = [0; 256];
        let len = request.emit_from(0, &mut out, &key);
        write_lines(record, "<", &out[..len]);
        let mut handshake = ClientHandshake::new(&key, [0; 64]);
        let mut input = head::RESPONSE.as_bytes();
        loop {
            match handshake.next_event(&mut input, &Offers::new()) {
                Ok(Some(ResponseEvent::Done(_))) => break,
                Ok(Some(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn write_lines(record: &mut String, mark: &str, head: &[u8]) {
    let head = str::from_utf8(head).expect("a head is text");
    assert!(head.ends_with("\r\n\r\n"));
    for line in head.split_terminator("\r\n") {
        line_of(record, format_args!("{mark} {line}"));
    }
}

fn line_of(record: &mut String, line: impl core::fmt::Display) {
    let line = line.to_string();
    writeln!(record, "{}", line.trim_end()).expect("there is memory");
}

/// The bytes that a line names.
fn bytes(mut words: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        words = words.trim_start();
        if let Some(quoted) = words.strip_prefix('"') {
            let (text, rest) = quoted.split_once('"').expect("the other quote");
            bytes.extend(text.as_bytes());
            words = rest;
        } else {
            let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
            let (hex, times) = word.split_once('*').unwrap_or((word, "1"));
            let digits: Vec<char> = hex.chars().collect();
            let part: Vec<u8> = digits
                .chunks(2)
                .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16))
                .collect::<Result<_, _>>()
                .expect("hexadecimal");
            bytes.extend(part.repeat(times.parse().expect("a number")));
            words = rest;
        }
        if words.is_empty() {
            return bytes;
        }
    }
}

/// The same the other way: text if it is some, else hexadecimal with what repeats told once.
fn shown(bytes: &[u8]) -> String {
    let is_plain = |c: char| !c.is_control() && c != '"';
    match str::from_utf8(bytes) {
        Ok(text) if text.len() < 60 && text.chars().all(is_plain) => format!("\"{text}\""),
        _ => hex(bytes),
    }
}

fn hex(mut bytes: &[u8]) -> String {
    let mut shown = String::new();
    while let [first, ..] = bytes {
        let repeats = |len: usize| {
            let unit = &bytes[..len.min(bytes.len())];
            let chunks = bytes.chunks(len).take_while(|chunk| *chunk == unit);
            chunks.count()
        };
        let (len, times) = [1, 4]
            .map(|len| (len, repeats(len)))
            .into_iter()
            .find(|(len, times)| len * times >= 12)
            .unwrap_or((1, 1));
        if times == 1 {
            write!(shown, "{first:02x}").expect("there is memory");
        } else {
            let unit = hex(&bytes[..len]);
            shown = format!("{} {unit}*{times} ", shown.trim_end());
        }
        bytes = &bytes[len * times..];
    }
    shown.trim().to_owned()
}

/// A connection, and the record of it.
struct Player<R: Side> {
    connection: Connection<R>,
    record: String,
    stands: String,
}

impl<R: Side> Player<R> {
    fn new() -> Self {
        Self {
            connection: Connection::new(R::new()),
            record: String::new(),
            stands: String::new(),
        }
    }

    fn write(&mut self, line: impl core::fmt::Display) {
        line_of(&mut self.record, line);
    }

    /// Does what a line says, and records what comes of it.
    fn play(&mut self, line: &str) {
        self.write(line);
        if let Some(title) = line.strip_prefix("== ") {
            let limit = title.split_once(" limit ");
            let limit = limit.map_or(u64::MAX, |(_, limit)| limit.parse().expect("a number"));
            let config = ConnectionConfig {
                max_message_len: limit,
                ..ConnectionConfig::default()
            };
            self.connection = Connection::with_config(R::new(), config);
            self.stands.clear();
        } else if let Some(raw) = line.strip_prefix(">> ") {
            self.receive(&bytes(raw));
        } else if let Some(frame) = line.strip_prefix("> ") {
            let (first, payload) = frame.split_once(' ').expect("a payload");
            let first = u8::from_str_radix(first, 16).expect("hexadecimal");
            self.receive(&encode(first, &bytes(payload), R::PEERS_KEY));
        } else if let Some(call) = line.strip_prefix("! ") {
            self.call(call);
        }
        self.stand();
    }

    fn receive(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let mut input = &mut bytes[..];
        loop {
            let told = match self.connection.next_event(&mut input) {
                Ok(None) => break,
                Ok(Some(event)) => told(event),
                Err(violation) => {
                    let left = input.len();
                    self.write(format_args!("  {violation:?}, {left} bytes before the end"));
                    break;
                }
            };
            self.write(format_args!("  {told}"));
        }
    }

    fn call(&mut self, call: &str) {
        let (name, rest) = call.split_once(' ').unwrap_or((call, ""));
        let mut out = vec![0; 70_000];
        match name {
            "handshake" => R::handshake(&mut self.record),
            "eof" => {
                let result = self.connection.receive_eof();
                self.refused(result);
            }
            "text" => {
                let text = String::from_utf8(bytes(rest)).expect("UTF-8");
                let sent = self.connection.send(Message::Text(&text), &mut out);
                self.sent(sent, &out);
            }
            "binary" => {
                let payload = bytes(rest);
                let sent = self.connection.send(Message::Binary(&payload), &mut out);
                self.sent(sent, &out);
            }
            "fragment" | "last" => {
                let (kind, fin) = (DataKind::Text, name == "last");
                let connection = &mut self.connection;
                let sent = connection.send_fragment(kind, &bytes(rest), fin, &mut out);
                self.sent(sent.map(|sent| sent.written), &out);
            }
            "ping" => {
                let sent = self.connection.ping(&bytes(rest), &mut out);
                self.sent(sent, &out);
            }
            "close" => {
                let (code, reason) = rest.split_once(' ').expect("a reason");
                let code = CloseCode::new(code.parse().expect("a code"));
                let reason = String::from_utf8(bytes(reason)).expect("UTF-8");
                let result = self.connection.close(code, &reason);
                self.refused(result);
            }
            "transmit" => loop {
                let mut out = [0; MAX_CONTROL_LEN];
                let len = self.connection.poll_transmit(&mut out).expect("keys");
                if len == 0 {
                    break;
                }
                self.sent::<()>(Ok(len), &out);
            },
            _ => panic!("no call: {call}"),
        }
    }

    fn sent<E: Debug>(&mut self, sent: Result<usize, E>, out: &[u8]) {
        match sent {
            Ok(len) => self.write(format_args!("< {}", hex(&out[..len]))),
            Err(error) => self.write(format_args!("= {error:?}")),
        }
    }

    fn refused<E: Debug>(&mut self, result: Result<(), E>) {
        if let Err(error) = result {
            self.write(format_args!("= {error:?}"));
        }
    }

    fn stand(&mut self) {
        let connection = &self.connection;
        let code = connection.close_code().as_u16();
        let mut stands = format!("{:?} {code}", connection.state());
        for (is, what) in [
            (connection.wants_transmit(), ", wants to transmit"),
            (connection.should_shutdown(), ", is to shut down"),
            (connection.is_clean(), ", clean"),
        ] {
            stands += if is { what } else { "" };
        }
        if stands != self.stands {
            self.write(format_args!(": {stands}"));
            self.stands = stands;
        }
    }
}

fn told(event: Event<'_>) -> String {
    match event {
        Event::Data(chunk) => {
            let part = match (chunk.first, chunk.last) {
                (true, true) => "whole",
                (true, false) => "begins",
                (false, false) => "goes on",
                (false, true) => "ends",
            };
            format!("{:?} {part}: {}", chunk.kind, shown(chunk.bytes))
        }
        Event::Ping(payload) => format!("Ping: {}", shown(payload.as_bytes())),
        Event::Pong(payload) => format!("Pong: {}", shown(payload.as_bytes())),
        Event::Close(None) => "Close".to_owned(),
        Event::Close(Some(close)) => {
            let (code, reason) = (close.code().as_u16(), close.reason());
            format!("Close: {code} \"{reason}\"")
        }
        _ => unreachable!("there is no other event"),
    }
}

/// Plays a record again: the same comes of it.
fn replay<R: Side>(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts");
    let path = folder.join(name);
    let recorded = fs::read_to_string(&path).expect("a record");
    let mut player = Player::<R>::new();
    for line in recorded.lines() {
        if line.is_empty() || line.starts_with('#') {
            player.write(line);
        } else if line.starts_with("==") || line.starts_with('>') || line.starts_with('!') {
            player.play(line);
        }
    }
    if env::var_os("RECORD").is_some() {
        fs::write(&path, &player.record).expect("it is written");
        panic!("{name} is written anew: read the difference, and run again without RECORD");
    }
    let lines = recorded.lines().zip(player.record.lines()).enumerate();
    for (number, (recorded, now)) in lines {
        assert_eq!(now, recorded, "{name}, line {}", number + 1);
    }
    assert_eq!(player.record, recorded, "{name}: the lines at the end");
}

#[test]
fn server_recorded_input_gives_the_recorded_events_and_wire() {
    replay::<Server>("server.txt");
}

#[test]
fn client_recorded_input_gives_the_recorded_events_and_wire() {
    replay::<Client<Counter>>("client.txt");
}
