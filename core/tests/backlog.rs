//! The queue that outlasts connections, against a model that has a heap.

use std::collections::VecDeque;

use motews::{Backlog, BacklogPolicy, DataKind, Message, NoRoom};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Act {
    Push(DataKind, usize),
    /// Takes so much of the first message, or all of it.
    Take(usize),
    Interrupt,
    Clear,
}

/// The same in the simplest way: what is left of each message, and whether the first is begun.
struct Model {
    policy: BacklogPolicy,
    capacity: usize,
    begun: bool,
    messages: VecDeque<(DataKind, Vec<u8>)>,
    dropped: u32,
}

impl Model {
    fn bytes(&self) -> usize {
        self.messages.iter().map(|(_, bytes)| bytes.len() + 4).sum()
    }

    fn drop_oldest(&mut self) {
        self.messages.remove(usize::from(self.begun));
        self.dropped += 1;
    }

    fn push(&mut self, kind: DataKind, payload: Vec<u8>) -> Result<u32, NoRoom> {
        let need = payload.len() + 4;
        let begun = match self.messages.front() {
            Some((_, left)) if self.begun => left.len() + 4,
            _ => 0,
        };
        let kept = match self.policy {
            BacklogPolicy::DropNewest => self.bytes(),
            _ => begun,
        };
        if need + kept > self.capacity {
            return Err(NoRoom);
        }
        let before = self.dropped;
        while self.messages.len() > usize::from(self.begun)
            && (self.policy == BacklogPolicy::KeepNewest || self.bytes() + need > self.capacity)
        {
            self.drop_oldest();
        }
        self.messages.push_back((kind, payload));
        Ok(self.dropped - before)
    }
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let kind = prop_oneof![Just(DataKind::Text), Just(DataKind::Binary)];
    let act = prop_oneof![
        4 => (kind, 0..40_usize).prop_map(|(kind, len)| Act::Push(kind, len)),
        3 => (0..40_usize).prop_map(Act::Take),
        1 => Just(Act::Interrupt),
        1 => Just(Act::Clear),
    ];
    prop::collection::vec(act, 0..60)
}

fn policies() -> impl Strategy<Value = BacklogPolicy> {
    prop_oneof![
        Just(BacklogPolicy::DropNewest),
        Just(BacklogPolicy::DropOldest),
        Just(BacklogPolicy::KeepNewest),
    ]
}

proptest! {
    #[test]
    fn backlog_whatever_is_done_is_the_model(
        acts in acts(),
        policy in policies(),
        capacity in 0..90_usize,
    ) {
        let mut backlog = Backlog::new(vec![0; capacity], policy);
        let mut model = Model {
            policy,
            capacity,
            begun: false,
            messages: VecDeque::new(),
            dropped: 0,
        };
        for (number, act) in acts.into_iter().enumerate() {
            match act {
                Act::Push(kind, len) => {
                    let payload: Vec<u8> =
                        (0..len).map(|at| b'a' + ((at + number) % 26) as u8).collect();
                    let message = Message::new(kind, &payload).expect("ASCII");
                    let pushed = backlog.push(message);
                    prop_assert_eq!(pushed, model.push(kind, payload));
                }
                Act::Take(len) => {
                    let is_first = !model.begun && !model.messages.is_empty();
                    prop_assert_eq!(backlog.taken(len), is_first);
                    if let Some((_, left)) = model.messages.front_mut() {
                        left.drain(..len.min(left.len()));
                        model.begun = !left.is_empty();
                        if !model.begun {
                            model.messages.pop_front();
                        }
                    }
                }
                Act::Interrupt => {
                    prop_assert_eq!(backlog.interrupted(), model.begun);
                    if model.begun {
                        model.messages.pop_front();
                        model.begun = false;
                    }
                }
                Act::Clear => {
                    let before = model.dropped;
                    while model.messages.len() > usize::from(model.begun) {
                        model.drop_oldest();
                    }
                    prop_assert_eq!(backlog.clear(), model.dropped - before);
                }
            }
            let first = model.messages.front().map(|(kind, bytes)| (*kind, &bytes[..]));
            prop_assert_eq!(backlog.first(), first);
            prop_assert_eq!(backlog.is_begun(), model.begun);
            prop_assert_eq!(backlog.len(), model.messages.len());
            prop_assert_eq!(backlog.is_empty(), model.messages.is_empty());
            prop_assert_eq!(backlog.dropped(), model.dropped);
        }
    }
}
