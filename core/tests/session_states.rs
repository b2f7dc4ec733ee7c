//! The diagram in the docs of [`motews::Session`], printed from what each input does in each state.
//!
//! A state is found by what can be seen of it, and reached by the shortest series of inputs. Every
//! input is tried in every state that is found, so the diagram leaves nothing out and cannot lie.
//! If a transition has changed on purpose, run this with `MOTEWS_BLESS=1` to write the file anew.
#![expect(
    clippy::indexing_slicing,
    reason = "an index out of bounds fails the test"
)]

use core::fmt::Write as _;
use std::collections::BTreeMap;
use std::path::Path;

use motews::{
    CloseCode, ConnectionConfig, Message, ProtocolViolation, Server, Session, State, Wants,
};
use motews::{Deadline, Millis, Timeouts};

/// All different, so that each can be told from the others.
const T: &Timeouts = &Timeouts {
    handshake: None,
    idle: Some(1_000_000),
    keepalive: Some(30_000),
    pong: Some(10_000),
    close: Some(5_000),
    write: Some(40_000),
    min_rate: 0,
    max_grace: 0,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Input {
    Message,
    Ping,
    Pong,
    Close,
    Violation,
    Eof,
    Lost,
    Send,
    TakenSome,
    TakenAll,
    OwnClose,
    CloseBy,
    Abort,
    Pause,
    Resume,
    /// The deadline comes that is due next.
    Time,
}

use Input::*;

const INPUTS: [(Input, &str); 16] = [
    (Message, "a message comes"),
    (Ping, "a ping comes"),
    (Pong, "a pong comes"),
    (Close, "a Close comes"),
    (Violation, "a violation comes"),
    (Eof, "input ends"),
    (Lost, "lost()"),
    (Send, "send()"),
    (TakenSome, "sent(), some left"),
    (TakenAll, "sent(), none left"),
    (OwnClose, "close()"),
    (CloseBy, "close_by()"),
    (Abort, "abort()"),
    (Pause, "reading(false)"),
    (Resume, "reading(true)"),
    (Time, "time"),
];

struct Run {
    session: Session<Server>,
    now: Millis,
    wants: Wants,
    /// Bytes that wait.
    out: usize,
}

impl Run {
    fn new(inputs: &[Input]) -> Self {
        let mut run = Self {
            session: Session::new(Server, ConnectionConfig::default(), Millis(0)),
            now: Millis(0),
            wants: Wants::default(),
            out: 0,
        };
        run.poll();
        for input in inputs {
            run.apply(*input);
        }
        run
    }

    fn apply(&mut self, input: Input) {
        let session = &mut self.session;
        match input {
            Message => self.receive(b"\x81\x80\0\0\0\0"),
            Ping => self.receive(b"\x89\x80\0\0\0\0"),
            Pong => self.receive(b"\x8A\x80\0\0\0\0"),
            Close => self.receive(b"\x88\x80\0\0\0\0"),
            Violation => self.receive(b"\x83\x80\0\0\0\0"),
            Eof => session.receive_eof(),
            Lost => session.lost(),
            Send => {
                if let Ok(len) = session.send(Message::Text(""), &mut [0; 8]) {
                    self.out += len;
                    self.session.sent(self.now, T, 0, self.out);
                }
            }
            TakenSome | TakenAll => {
                let taken = if input == TakenAll {
                    self.out
                } else {
                    self.out / 2
                };
                self.out -= taken;
                session.sent(self.now, T, taken, self.out);
            }
            OwnClose => _ = session.close(CloseCode::NORMAL, ""),
            CloseBy => session.close_by(self.now.after(20_000)),
            Abort => session.abort(),
            Pause | Resume => session.reading(self.now, input == Resume),
            Time => {
                if let Some(at) = session.poll_at(T) {
                    self.now = self.now.max(at);
                }
            }
        }
        self.poll();
    }

    fn receive(&mut self, frame: &[u8]) {
        self.session.received(self.now);
        let mut frame = frame.to_vec();
        let mut input = &mut frame[..];
        while let Ok(Some(_)) = self.session.next_event(&mut input) {}
    }

    /// Polls until nothing is wanted at once; what is owed then waits.
    fn poll(&mut self) {
        loop {
            self.wants = self.session.poll(self.now, T, false);
            match self.session.poll_transmit(&mut [0; 131]) {
                Ok(0) => break,
                Ok(len) => self.out += len,
                Err(error) => panic!("{error}"),
            }
            self.session.sent(self.now, T, 0, self.out);
        }
        // The contract: nobody polls in vain.
        let next = self.session.poll_at(T);
        assert!(
            next.is_none_or(|at| !self.now.has_reached(at)),
            "due at {next:?} still"
        );
        if !self.wants.shutdown {
            assert_eq!(
                self.session.poll(self.now, T, false),
                self.wants,
                "again, the same"
            );
        }
    }
}

/// The name of the state that these inputs lead to.
fn state(inputs: &[Input]) -> String {
    let run = Run::new(inputs);
    if let Some(ended) = run.session.ended() {
        return match run.wants.drop {
            true => "over".into(),
            false if ended.is_clean() => "draining, both Closes are through".into(),
            false => "draining, after a violation".into(),
        };
    }
    let open = run.session.connection().state() == State::Open;
    // What is judged if nothing waits, and if something does.
    let judged = |left| {
        let mut run = Run::new(inputs);
        run.session.sent(run.now, T, 0, left);
        run.session
            .deadline(&Timeouts { idle: None, ..*T })
            .map(|(_, deadline)| deadline)
    };
    let waits = if run.out > 0 { ", bytes wait" } else { "" };
    let connection = run.session.connection();
    let why = match connection.violation() {
        Some(ProtocolViolation::UnexpectedEof) => ": input ended",
        Some(_) => ": a violation came",
        None if connection.close_code() != CloseCode::ABNORMAL_CLOSURE => ": a Close came",
        None if !open => ": close() was called",
        None => "",
    };
    let name = match (open, judged(1)) {
        (true, Some(Deadline::Close)) => "open, ending by a time",
        (false, Some(Deadline::Close)) => {
            let mut by = Run::new(inputs);
            by.now = by.now.after(19_000);
            by.session.sent(by.now, T, 1, 0);
            match by.session.deadline(T) {
                Some((at, _)) if at == by.now.after(5_000) => unreachable!("renewed"),
                Some((at, _)) if at.since(run.now) > 5_000 => "closing, ending by a time",
                _ => "closing, the Close has left",
            }
        }
        (false, _) => "closing",
        (true, _) if !run.wants.read => "open, not reading",
        (true, _) => match judged(0) {
            Some(Deadline::Keepalive) => "open",
            _ => "open, pinged",
        },
    };
    format!("{name}{why}{waits}")
}

#[test]
fn diagram_in_the_docs_is_what_each_input_does_in_each_state() {
    let mut paths: BTreeMap<String, Vec<Input>> = BTreeMap::new();
    let mut order = vec![state(&[])];
    paths.insert(order[0].clone(), Vec::new());
    let mut text = String::from("```text\n");
    let mut next = 0;
    while next < order.len() {
        let from = order[next].clone();
        let path = paths[&from].clone();
        next += 1;
        let mut changes: Vec<(String, Vec<&str>)> = Vec::new();
        for (input, name) in INPUTS {
            let mut path = path.clone();
            path.push(input);
            let to = state(&path);
            if !paths.contains_key(&to) {
                order.push(to.clone());
                paths.insert(to.clone(), path.clone());
            }
            // Once over, for ever, and with the same end.
            if from == "over" {
                assert_eq!(to, from);
                let ended = |path: &[Input]| Run::new(path).session.ended();
                assert_eq!(ended(&path), ended(&path[..path.len() - 1]));
            }
            if to == from {
                continue;
            }
            match changes.iter_mut().find(|(state, _)| *state == to) {
                Some((_, names)) => names.push(name),
                None => changes.push((to, vec![name])),
            }
        }
        writeln!(text, "{from}").unwrap();
        for (to, names) in changes {
            writeln!(text, "    {} -> {to}", names.join(" | ")).unwrap();
        }
    }
    text.push_str("```\n");

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/session.txt");
    if std::env::var_os("MOTEWS_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        written, text,
        "the diagram is no longer true: see the top of this file"
    );
}
