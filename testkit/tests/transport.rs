//! The streams do to their users what they say.

use std::io::{ErrorKind, Read, Write};

use motews_testkit::transport::{Script, Trickle};

#[track_caller]
fn assert_refused<T: core::fmt::Debug>(result: std::io::Result<T>) {
    assert_eq!(result.unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn script_silent_refuses_until_the_far_end_speaks_or_ends() {
    let peer = Script::new("one", usize::MAX, false);
    peer.ends(false);
    let mut stream = peer.clone();
    let mut buffer = [0; 8];
    assert_eq!(stream.read(&mut buffer).unwrap(), 3);
    assert_refused(stream.read(&mut buffer));
    peer.say(b"two");
    assert_eq!(stream.read(&mut buffer).unwrap(), 3);
    assert_refused(stream.read(&mut buffer));
    peer.ends(true);
    assert_eq!(stream.read(&mut buffer).unwrap(), 0);
}

#[test]
fn script_hesitating_refuses_each_read_and_write_once() {
    let mut stream = Script::new("ab", 1, true);
    let mut buffer = [0; 8];
    for _ in 0..2 {
        assert_refused(stream.read(&mut buffer));
        assert_eq!(stream.read(&mut buffer).unwrap(), 1);
        assert_refused(stream.write(b"cd"));
        assert_eq!(stream.write(b"cd").unwrap(), 1);
    }
}

#[test]
fn script_of_reads_gives_each_read_its_own_words() {
    let mut stream = Script::of_reads(["one", "", "twelve", "3"]);
    let mut buffer = [0; 4];
    let mut reads = Vec::new();
    while let len @ 1.. = stream.read(&mut buffer).unwrap() {
        reads.push(String::from_utf8_lossy(&buffer[..len]).into_owned());
    }
    assert_eq!(reads, ["one", "twel", "ve", "3"]);
}

#[test]
fn script_closed_window_takes_nothing_until_it_opens() {
    let peer = Script::new("", 4, false);
    let mut stream = peer.clone();
    peer.window(5);
    assert_eq!(stream.write(b"Hello!").unwrap(), 4);
    assert_eq!(stream.write(b"o!").unwrap(), 1);
    assert_refused(stream.write(b"!"));
    peer.window(usize::MAX);
    assert_eq!(stream.write(b"!").unwrap(), 1);
    assert_eq!(peer.written(), b"Hello!");
    assert_eq!(peer.writes(), [4, 1, 1]);
}

#[test]
fn script_holding_shows_what_was_flushed() {
    let mut stream = Script::new("", usize::MAX, false).holding();
    stream.write_all(b"one").unwrap();
    assert_eq!(stream.take_written(), b"");
    stream.flush().unwrap();
    stream.write_all(b"two").unwrap();
    assert_eq!(stream.take_written(), b"one");
    stream.flush().unwrap();
    assert_eq!(stream.written(), b"two");
}

#[test]
fn pair_last_handle_dropped_the_other_end_reads_to_the_end() {
    let (mut one, mut other) = Script::pair(usize::MAX, false);
    let handle = one.clone();
    one.write_all(b"Hello").unwrap();
    drop(one);
    let mut buffer = [0; 8];
    assert_eq!(other.read(&mut buffer).unwrap(), 5);
    assert_refused(other.read(&mut buffer));
    drop(handle);
    assert_eq!(other.read(&mut buffer).unwrap(), 0);
}

#[test]
fn pair_shut_down_writes_no_more_and_still_reads() {
    let (mut one, mut other) = Script::pair(usize::MAX, false);
    one.shutdown();
    assert_eq!(one.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    other.write_all(b"Hello").unwrap();
    let mut buffer = [0; 8];
    assert_eq!(other.read(&mut buffer).unwrap(), 0);
    assert_eq!(one.read(&mut buffer).unwrap(), 5);
}

#[test]
fn trickle_moves_as_many_bytes_as_it_may() {
    let peer = Script::new("Hello", usize::MAX, false);
    let mut stream = Trickle::new(peer.clone(), 2);
    let mut buffer = [0; 8];
    assert_eq!(stream.read(&mut buffer).unwrap(), 2);
    stream.write_all(b"abc").unwrap();
    assert_eq!(peer.writes(), [2, 1]);
}
