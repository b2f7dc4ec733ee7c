//! The application closes, and may want a connection again.

use motews::CloseCode;
use motews::handshake::Request;
use motews_embedded_io::asynch::Task;

use super::{Comes, Face, Rig, awaited, on_both, usual};

on_both! {
    open_client_that_closes_comes_to_its_end_and_nothing_is_in_doubt,
    opening_client_that_closes_is_not_opened,
    closed_client_whose_request_is_set_comes_back_again_and_again,
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
