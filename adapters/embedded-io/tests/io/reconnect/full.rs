//! All buffers on the way are full.

use motews::interruption::Interrupted;
use motews::reconnect::Backoff;
use motews::{BacklogPolicy, Deadline, Ended, Message};

use super::{Comes, Face, backlog, on_both};

on_both! {
    open_both_send_more_than_the_buffers_hold_and_all_comes_through,
    open_network_that_takes_nothing_ends_by_the_time_for_writing,
}

/// The server reads nothing until all that it sends was taken, and there is more to send than the network
/// takes, or as much: who does not read while it writes waits for ever, and so does who waits for the
/// transport to be flushed, or answers each ping first.
fn open_both_send_more_than_the_buffers_hold_and_all_comes_through<C: Comes>(face: Face<C>) {
    let pings: [&[u8]; 2] = [b"", b"\x89\x00"];
    for (len, window) in [(10, 64), (50, 64), (300, 64), (10, 20 * (6 + 10))] {
        for ping in pings {
            let mut rig = face(Backoff::DEFAULT, backlog(BacklogPolicy::DropNewest, 8192));
            rig.world.borrow_mut().window = window;
            assert!(rig.run(1_000, |rig| rig.client.is_open()));
            let frame = [&[0x81, 60][..], &[b'x'; 60], ping].concat();
            rig.world.borrow_mut().burst = frame.repeat(50);
            let text = "y".repeat(len);
            for _ in 0..20 {
                rig.client.queue(Message::Text(&text)).unwrap();
            }
            let through = rig.run(20_000, |rig| {
                rig.received.len() == 50 && rig.world.borrow().got.len() == 20
            });
            assert!(
                through && rig.interruptions.is_empty(),
                "{len}, {window}, {ping:?}: {} received, {:?}",
                rig.received.len(),
                rig.interruptions
            );
            rig.is_usable();
        }
    }
}

/// A ping is due meanwhile, and then its pong.
fn open_network_that_takes_nothing_ends_by_the_time_for_writing<C: Comes>(face: Face<C>) {
    for (silent, says, takes) in [
        (0, false, 0),
        (25_000, false, 0),
        (0, true, 0),
        (0, true, 10),
    ] {
        let mut rig = face(Backoff::DEFAULT, backlog(BacklogPolicy::DropNewest, 8192)).stable();
        rig.run(silent, |_| false);
        rig.world.borrow_mut().window = 10;
        rig.world.borrow_mut().close_window();
        rig.world.borrow_mut().takes = takes;
        if says {
            // The server does not read, and goes on sending.
            rig.world.borrow_mut().burst = b"\x81\x01x".repeat(1_000_000);
        } else {
            rig.world.borrow_mut().is_gone = true;
        }
        for _ in 0..20 {
            let text = "x".repeat(100);
            rig.client.queue(Message::Text(&text)).unwrap();
        }
        let (interruption, after) = rig.interrupted();
        let late = Ended::TimedOut(Deadline::Write);
        assert_eq!(interruption.reason, Interrupted::Connection(late, None));
        assert!((30_000..60_000).contains(&after), "{after}");
        let mut world = rig.world.borrow_mut();
        (world.window, world.is_gone) = (usize::MAX, false);
        world.burst.clear();
        world.takes = 0;
        drop(world);
        rig.is_usable();
    }
}
