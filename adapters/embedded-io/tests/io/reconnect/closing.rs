//! The application closes, and may want a connection again.

use core::cell::RefCell;
use core::pin::Pin;
use std::rc::Rc;

use motews::handshake::Request;
use motews::reconnect::Backoff;
use motews::{Backlog, BacklogPolicy, CloseCode, MessageBuffer};
use motews_embedded_io::asynch::{Reconnecting, Task};

use super::{CONFIG, Generator, Rig, Socket, World, connect};
use crate::support::{Hand, Keys, buffers};

#[test]
fn open_client_that_closes_comes_to_its_end_and_nothing_is_in_doubt() {
    let mut rig = rig!().stable();
    rig.client.close(CloseCode::NORMAL, "").unwrap();
    let (interruption, _) = rig.interrupted();
    assert_eq!((interruption.retry_in, interruption.unconfirmed), (None, 0));
    rig.run(1_000, |_| false);
    assert!(rig.is_over && rig.interruptions.len() == 1);
    assert_eq!(rig.world.borrow().finished.last(), Some(&Task::Disconnect));
}

#[test]
fn connecting_client_that_closes_is_not_opened() {
    let mut rig = rig!();
    rig.world.borrow_mut().has_link = false;
    rig.run(100, |_| false);
    rig.client.close(CloseCode::NORMAL, "").unwrap();
    rig.world.borrow_mut().has_link = true;
    rig.run(1_000, |_| false);
    assert!(rig.is_over && rig.opened == 0);
    assert_eq!(
        rig.world.borrow().finished,
        [Task::Connect, Task::Disconnect]
    );
}

#[test]
fn opening_client_that_closes_is_not_opened() {
    let mut rig = rig!();
    rig.world.borrow_mut().is_gone = true;
    let asks = |rig: &mut Rig<_>| rig.world.borrow().finished == [Task::Connect];
    assert!(rig.run(1_000, asks));
    rig.run(100, |_| false);
    rig.client.close(CloseCode::NORMAL, "").unwrap();
    rig.world.borrow_mut().is_gone = false;
    rig.run(1_000, |_| false);
    assert!(rig.is_over && rig.opened == 0);
    assert_eq!(
        rig.world.borrow().finished,
        [Task::Connect, Task::Disconnect]
    );
}

#[test]
fn closed_client_whose_request_is_set_comes_back_again_and_again() {
    let mut rig = rig!().stable();
    rig.client.close(CloseCode::NORMAL, "").unwrap();
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
