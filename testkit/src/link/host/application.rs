//! What the application at an end sends: its script, and what it sends back.

use motews::{CloseCode, DataKind, MAX_CONTROL_LEN, Message, Role, SendError};

use super::super::plan::Act;
use super::super::wire::{Micros, Wire};
use super::{Host, pattern};

/// The most that an application writes at once when it sends in parts, in bytes.
const PART: usize = 4096;

impl<R: Role + core::fmt::Debug> Host<R> {
    /// The room for one more frame.
    pub(super) fn room(&self, wire: &Wire) -> usize {
        let ring = match self.plan.queue {
            0 => wire.room(self.me),
            _ => 0,
        };
        (self.plan.queue + ring).saturating_sub(self.out.len())
    }

    /// Sends back what there is room for.
    pub(super) fn echo(&mut self, wire: &Wire) -> bool {
        let mut moved = false;
        // Two messages are not interleaved.
        while self.begun == 0
            && let Some((kind, bytes, last)) = self.back.pop_front()
        {
            let room = self.room(wire);
            let mut frame = vec![0; room.min(bytes.len() + 14)];
            match self.session.send_fragment(kind, &bytes, last, &mut frame) {
                Ok(sent) => {
                    moved = true;
                    self.seen.accepted += sent.consumed;
                    self.out.extend(&frame[..sent.written]);
                    self.echoes = !last || sent.consumed < bytes.len();
                    if sent.consumed < bytes.len() {
                        let rest = bytes[sent.consumed..].to_vec();
                        self.back.push_front((kind, rest, last));
                    }
                }
                Err(SendError::NoRoom) => {
                    self.back.push_front((kind, bytes, last));
                    break;
                }
                Err(_) => self.seen.is_refused = true,
            }
        }
        moved
    }

    /// Follows the script as far as it goes now. Returns whether it did something.
    pub(super) fn act(&mut self, now: Micros, wire: &mut Wire) -> bool {
        let mut moved = self.echo(wire);
        while let Some(act) = self.script.pop_front() {
            let is_done = match act {
                Act::At(millis) => now >= Micros::from(millis) * 1000,
                Act::Send { count: 0, .. } => true,
                Act::Send { .. } | Act::Offer { .. } if self.echoes => false,
                Act::Send { count, len } => {
                    let (sent, part) = self.send(len, wire);
                    if sent || part {
                        moved = true;
                        let count = count - usize::from(sent);
                        self.script.push_front(Act::Send { count, len });
                        continue;
                    }
                    false
                }
                Act::Offer { len, backlog } => {
                    if self.out.len() <= backlog {
                        self.script.push_front(Act::Send { count: 1, len });
                        continue;
                    }
                    true
                }
                Act::Raw(ref bytes) => {
                    self.out.extend(bytes);
                    self.is_broken = true;
                    true
                }
                Act::Ping => {
                    let mut frame = [0; MAX_CONTROL_LEN];
                    let room = self.room(wire).min(frame.len());
                    if let Ok(len) = self.session.ping(b"ping", &mut frame[..room]) {
                        self.out.extend(&frame[..len]);
                    }
                    true
                }
                Act::Read(reads) => {
                    self.reads = reads;
                    self.bounds.heard(now / 1000);
                    true
                }
                Act::Flushed => {
                    let kernel = if self.plan.acknowledged {
                        wire.send_queue(self.me)
                    } else {
                        0
                    };
                    self.out.is_empty() && self.back.is_empty() && kernel == 0
                }
                Act::Received(len) => self.seen.payload >= len,
                Act::Close => {
                    let _ = self.session.close(CloseCode::NORMAL, "done");
                    true
                }
                Act::CloseBy(millis) => {
                    let at = self.now(now).after(millis);
                    self.session.close_by(at);
                    let at = now / 1000 + u64::from(millis);
                    let by = self.bounds.close_by.get_or_insert(at);
                    *by = at;
                    true
                }
                Act::Abort => {
                    self.session.abort();
                    true
                }
                Act::Cut => {
                    self.cuts = true;
                    wire.cut();
                    true
                }
            };
            if !is_done {
                self.script.push_front(act);
                break;
            }
            moved |= !matches!(act, Act::At(_) | Act::Flushed | Act::Received(_));
        }
        moved
    }

    /// Sends a message, or the next part of it: whether it is whole now, and whether a part of it was
    /// sent.
    fn send(&mut self, len: usize, wire: &Wire) -> (bool, bool) {
        let room = self.room(wire);
        let rest = len - self.begun;
        if room < rest.min(64) + 14 {
            return (false, false);
        }
        let mut frame;
        let result = if room > len + 14 && self.begun == 0 {
            frame = vec![0; len + 14];
            let sent = self
                .session
                .send(Message::Binary(&pattern(len)), &mut frame);
            sent.map(|written| (len, written))
        } else {
            let part = &self.pattern[self.begun % 251..][..rest.min(PART)];
            frame = vec![0; room.min(PART)];
            let (kind, is_last) = (DataKind::Binary, part.len() == rest);
            let sent = self.session.send_fragment(kind, part, is_last, &mut frame);
            sent.map(|sent| (sent.consumed, sent.written))
        };
        let Ok((consumed, written)) = result else {
            // It ends: nothing of the script can be sent any more.
            self.seen.is_refused = true;
            self.begun = 0;
            return (true, false);
        };
        self.seen.accepted += consumed;
        self.out.extend(&frame[..written]);
        self.begun += consumed;
        let is_whole = self.begun == len;
        if is_whole {
            self.begun = 0;
        }
        (is_whole, true)
    }
}
