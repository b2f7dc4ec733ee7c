//! The application closes, and may want a connection again.

use core::time::Duration;

use motews::handshake::Request;
use motews::interruption::Interrupted;
use motews::reconnect::{Backoff, Cause};
use motews::{BacklogPolicy, CloseCode, Ended};
use motews_embedded_io::asynch::Task;

use super::{Comes, Face, Rig, awaited, backlog, on_both, usual};

const SOON: Duration = Duration::from_secs(5);

fn other() -> Request<'static> {
    Request::new("example.com", "/other").unwrap()
}

on_both! {
    open_client_that_closes_comes_to_its_end_and_nothing_is_in_doubt,
    opening_client_that_closes_is_not_opened,
    closed_client_whose_request_is_set_comes_back_again_and_again,
    closing_client_whose_request_is_set_comes_back,
    open_request_that_was_set_is_tried_after_a_close_that_ends_all,
    opening_request_that_was_set_is_tried_after_a_refusal,
    opening_client_whose_network_changes_tries_again_soon,
}

fn open_client_that_closes_comes_to_its_end_and_nothing_is_in_doubt<C: Comes>(face: Face<C>) {
    let mut rig = usual(face).stable();
    rig.client.close(CloseCode::NORMAL).unwrap();
    let (interruption, _) = rig.interrupted();
    assert_eq!((interruption.retry_in, interruption.unconfirmed), (None, 0));
    rig.run(1_000, |_| false);
    assert!(rig.is_over && rig.interruptions.len() == 1);
    assert_eq!(rig.world.borrow().finished.last(), Some(&Task::Disconnect));
}

#[test]
fn connecting_client_that_closes_is_not_opened() {
    let mut rig = usual(awaited);
    rig.cut(500);
    rig.run(100, |_| false);
    rig.client.close(CloseCode::NORMAL).unwrap();
    rig.run(1_000, |_| false);
    assert!(rig.is_over && rig.opened == 0);
    assert_eq!(
        rig.world.borrow().finished,
        [Task::Connect, Task::Disconnect]
    );
}

fn opening_client_that_closes_is_not_opened<C: Comes>(face: Face<C>) {
    let mut rig = usual(face);
    rig.world.borrow_mut().is_gone = true;
    let asks = |rig: &mut Rig<C>| rig.world.borrow().finished == [Task::Connect];
    assert!(rig.run(1_000, asks));
    rig.run(100, |_| false);
    rig.client.close(CloseCode::NORMAL).unwrap();
    rig.world.borrow_mut().is_gone = false;
    rig.run(1_000, |_| false);
    assert!(rig.is_over && rig.opened == 0);
    assert_eq!(
        rig.world.borrow().finished,
        [Task::Connect, Task::Disconnect]
    );
}

fn closed_client_whose_request_is_set_comes_back_again_and_again<C: Comes>(face: Face<C>) {
    let mut rig = usual(face).stable();
    rig.client.close(CloseCode::NORMAL).unwrap();
    rig.run(1_000, |_| false);
    assert!(rig.is_over);
    let request = Request::new("example.com", "/other").unwrap();
    rig.client.set_request(request);
    rig.is_over = false;
    rig.is_usable();
    rig.world.borrow_mut().is_reset = true;
    let (interruption, _) = rig.interrupted();
    assert!(interruption.retry_in.is_some(), "{interruption:?}");
    rig.is_usable();
}

/// The Close is under way, and is not taken back.
fn closing_client_whose_request_is_set_comes_back<C: Comes>(face: Face<C>) {
    let mut rig = usual(face).stable();
    rig.client.close(CloseCode::NORMAL).unwrap();
    rig.client.set_request(other());
    let (interruption, _) = rig.interrupted();
    assert!(interruption.retry_in <= Some(SOON), "{interruption:?}");
    assert!(interruption.retry_in.is_some(), "{interruption:?}");
    rig.is_usable();
    assert!(rig.world.borrow().head.starts_with("GET /other "));
    // And once more is a close the end.
    rig.client.set_request(other());
    rig.client.close(CloseCode::NORMAL).unwrap();
    assert_eq!(rig.interrupted().0.retry_in, None);
}

/// Credentials are changed while the connection lives on, and then the server lets go of the old ones.
fn open_request_that_was_set_is_tried_after_a_close_that_ends_all<C: Comes>(face: Face<C>) {
    for persist in [false, true] {
        let mut rig = persisting(face, persist).stable();
        rig.client.set_request(other());
        rig.world.borrow_mut().closes = Some(CloseCode::POLICY_VIOLATION);
        let (interruption, _) = rig.interrupted();
        assert!(interruption.retry_in <= Some(SOON), "{interruption:?}");
        assert!(interruption.retry_in.is_some(), "{interruption:?}");
        rig.is_usable();
        assert!(rig.world.borrow().head.starts_with("GET /other "));
        // It was tried: the same is hopeless now.
        rig.world.borrow_mut().closes = Some(CloseCode::POLICY_VIOLATION);
        is_hopeless(rig.interrupted().0.retry_in, persist);
    }
}

fn opening_request_that_was_set_is_tried_after_a_refusal<C: Comes>(face: Face<C>) {
    for persist in [false, true] {
        let mut rig = persisting(face, persist);
        rig.world.borrow_mut().is_gone = true;
        let asks = |rig: &mut Rig<C>| rig.world.borrow().finished == [Task::Connect];
        assert!(rig.run(1_000, asks));
        rig.run(100, |_| false);
        rig.client.set_request(other());
        {
            let mut world = rig.world.borrow_mut();
            (world.is_gone, world.response) = (false, b"HTTP/1.1 401 No\r\n\r\n".to_vec());
        }
        let (interruption, _) = rig.interrupted();
        assert!(interruption.retry_in <= Some(SOON), "{interruption:?}");
        assert!(interruption.retry_in.is_some(), "{interruption:?}");
        let (interruption, _) = rig.interrupted();
        assert!(rig.world.borrow().head.starts_with("GET /other "));
        is_hopeless(interruption.retry_in, persist);
    }
}

fn persisting<C: Comes>(face: Face<C>, persist: bool) -> Rig<C> {
    let backoff = Backoff {
        persist,
        ..Backoff::DEFAULT
    };
    face(backoff, backlog(BacklogPolicy::DropOldest, 256))
}

/// There is no further attempt, or the longest wait before it.
fn is_hopeless(retry_in: Option<Duration>, persist: bool) {
    let longest = Duration::from_secs(64);
    assert_eq!(retry_in.is_some(), persist);
    assert!(retry_in.is_none_or(|wait| wait >= longest), "{retry_in:?}");
}

/// What was sent over the old network is not waited for, and what had failed before is forgotten.
fn opening_client_whose_network_changes_tries_again_soon<C: Comes>(face: Face<C>) {
    let mut rig = usual(face);
    rig.world.borrow_mut().fate = Err(Cause::Unreachable);
    for _ in 0..6 {
        rig.interrupted();
    }
    {
        let mut world = rig.world.borrow_mut();
        (world.fate, world.is_gone) = (Ok(()), true);
    }
    // Six times both, and once more.
    let asks = |rig: &mut Rig<C>| rig.world.borrow().finished.len() == 13;
    assert!(rig.run(90_000, asks));
    rig.run(100, |_| false);
    rig.client.network_changed();
    let (interruption, after) = rig.interrupted();
    assert_eq!(
        interruption.reason,
        Interrupted::Attempt(Ended::Lost.into())
    );
    assert!(after < 100, "{after}");
    assert!(interruption.retry_in <= Some(SOON), "{interruption:?}");
    rig.world.borrow_mut().is_gone = false;
    rig.is_usable();
}
