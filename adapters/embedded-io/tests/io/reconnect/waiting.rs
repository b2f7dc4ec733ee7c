//! The blocking client waits: for the next attempt, and for a transport that gives up for now.

use core::cell::RefCell;
use std::rc::Rc;

use motews::interruption::Interrupted;
use motews::reconnect::{Backoff, Cause};
use motews::{BacklogPolicy, CloseCode, Ended, Message, MessageBuffer, Millis, ProtocolViolation};
use motews_embedded_io::blocking::{Reconnecting, Update};
use motews_embedded_io::{Clock, Error};

use super::world::{Generator, Socket, World, connect_blocking};
use super::{Connect, backlog, request, usual, waited};
use crate::support::{Hand, Keys, buffers};

/// A clock that moves when it is looked at, and the world with it.
struct Turning(Hand, Rc<RefCell<World>>);

impl Clock for Turning {
    fn now(&mut self) -> Millis {
        self.1.borrow_mut().poll();
        self.0.pass(1);
        self.0.now()
    }
}

#[test]
fn next_waits_for_all_that_is_to_come_and_for_the_next_attempt() {
    let mut clock = Hand::default();
    let world = Rc::new(RefCell::new(World::new(clock.clone())));
    let generator = RefCell::new(Generator {
        keys: Keys::new(),
        is_broken: false,
    });
    let socket = Socket {
        near: None,
        world: world.clone(),
    };
    let turning = Turning(clock.clone(), world.clone());
    let connect: Connect = connect_blocking;
    let client = Reconnecting::new(
        socket,
        connect,
        buffers(64, 64),
        request(),
        &generator,
        turning,
    );
    let mut client = client.unwrap();
    let mut messages = MessageBuffer::new([0; 64]);
    assert!(matches!(
        client.next(&mut messages),
        Some(Update::Opened(()))
    ));
    world.borrow_mut().says = b"\x81\x05Hello".to_vec();
    assert!(matches!(
        client.next(&mut messages),
        Some(Update::Message(Message::Text("Hello")))
    ));
    world.borrow_mut().closes = Some(CloseCode::SERVICE_RESTART);
    let Some(Update::Ended(end)) = client.next(&mut messages) else {
        panic!("it has not ended");
    };
    let wait = end.retry_in.expect("a further attempt").as_millis() as u32;
    assert!((5_000..=30_000).contains(&wait));
    let before = clock.now();
    assert!(matches!(
        client.next(&mut messages),
        Some(Update::Opened(()))
    ));
    let waited = clock.now().since(before);
    assert!(
        (wait - 10..wait + 1_000).contains(&waited),
        "{waited} of {wait}"
    );
    world.borrow_mut().closes = Some(CloseCode::NORMAL);
    assert!(matches!(
        client.next(&mut messages),
        Some(Update::Ended(end)) if end.retry_in.is_none()
    ));
    assert!(client.next(&mut messages).is_none() && client.is_over());
}

#[test]
fn waiting_client_says_how_long_and_polls_without_waiting() {
    let mut rig = usual(waited);
    assert_eq!(rig.client.wait(), Some(0));
    rig.world.borrow_mut().fate = Err(Cause::Tls);
    let (end, _) = rig.interrupted();
    assert_eq!(end.reason, Interrupted::Attempt(Cause::Tls));
    assert_eq!(rig.client.wait(), None, "the transport is to be ended");
    assert!(rig.client.poll(&mut rig.messages).is_none());
    let wait = rig.client.wait().expect("it waits");
    assert!((63_000..=74_000).contains(&wait));
    rig.clock.pass(1_000);
    assert!(rig.client.poll(&mut rig.messages).is_none());
    assert_eq!(rig.client.wait(), Some(wait - 1_000));
    assert_eq!(rig.world.borrow().begun.len(), 2, "no attempt meanwhile");
}

/// The write that is refused for now has its deadline; who sends past what waits is held until then.
#[test]
fn open_peer_reads_nothing_sending_ends_with_its_deadline() {
    let mut rig = waited(Backoff::DEFAULT, backlog(BacklogPolicy::DropNewest, 256));
    assert!(rig.run(1_000, |rig| rig.client.is_open()));
    {
        let mut world = rig.world.borrow_mut();
        world.is_gone = true;
        world.passes = 100;
        world.window = 0;
        world.close_window();
    }
    let text = "x".repeat(100);
    assert!(
        rig.client.send(Message::Text(&text)).is_ok(),
        "there is room for one"
    );
    let sent = rig.client.send(Message::Text(&text));
    assert!(
        matches!(sent, Err(Error::Ended(Ended::TimedOut(_)))),
        "{sent:?}"
    );
    let (end, _) = rig.interrupted();
    assert!(matches!(
        end.reason,
        Interrupted::Connection(Ended::TimedOut(_), None)
    ));
    assert_eq!(end.unconfirmed, 1);
    let mut world = rig.world.borrow_mut();
    (world.is_gone, world.passes, world.window) = (false, 0, usize::MAX);
    drop(world);
    rig.is_usable();
}

/// A message is too long, and the peer is to be told: that goes out when the transport takes it.
#[test]
fn open_violation_that_cannot_be_told_yet_polling_returns_when_the_transport_gives_up() {
    let mut rig = waited(Backoff::DEFAULT, backlog(BacklogPolicy::DropNewest, 256));
    assert!(rig.run(1_000, |rig| rig.client.is_open()));
    {
        let mut world = rig.world.borrow_mut();
        world.passes = 100;
        world.window = 0;
        world.says = [&b"\x81\x64"[..], &[b'x'; 100]].concat();
    }
    for _ in 0..20 {
        let before = rig.clock.now();
        rig.step(10);
        let after = rig.clock.now().since(before);
        assert!(after <= 300, "it has blocked for {after} ms");
    }
    assert!(rig.interruptions.is_empty() && rig.received.is_empty());
    rig.world.borrow_mut().window = usize::MAX;
    let (end, after) = rig.interrupted();
    assert!(after <= 1_000, "{after}");
    let too_long = Ended::Violation(ProtocolViolation::MessageTooBig);
    assert_eq!(end.reason, Interrupted::Connection(too_long, None));
    rig.world.borrow_mut().passes = 0;
    rig.is_usable();
}
