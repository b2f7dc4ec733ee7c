//! More visitors than sockets: while fewer than all but one are in use by honest peers, an honest one
//! is served within two seconds.

use core::net::{Ipv4Addr, SocketAddrV4};

use motews_testkit::syn::stranger;
use smoltcp::socket::tcp::State;
use smoltcp::time::{Duration, Instant};

use crate::pace::Board;
use crate::support::{ACCEPTED, REQUEST, Random, Raw};

/// A SYN from somewhere, whose sender never answers.
fn syn(random: &mut Random) -> Vec<u8> {
    let number = random.next() as u32;
    let from = stranger(Ipv4Addr::new(10, 0, 0, 100), number);
    let to = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 80);
    motews_testkit::syn::syn(from, to, number)
}

/// What the others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crowd {
    /// They send a SYN, many a second.
    Syns(u64),
    /// They connect and say nothing, as a browser does in advance, and come back within half a second
    /// when they are reset.
    Silent(usize),
    Both(u64, usize),
}

/// How long it takes until an honest newcomer is served, who tries again every 50 ms when refused, with
/// so many open WebSockets on so many sockets.
fn wait(sockets: usize, open: usize, crowd: Crowd, seed: u64) -> Duration {
    let mut random = Random(seed);
    let mut board = Board::new(sockets);
    board.net.longest_step = Duration::from_millis(1);
    let mut raws = Vec::new();
    for _ in 0..open {
        let mut honest = Raw::connect(&mut board.net, 500);
        honest.send(REQUEST);
        raws.push(honest);
        board.run(&mut raws, Duration::from_millis(20));
    }
    let (per_second, silent) = match crowd {
        Crowd::Syns(per_second) => (per_second, 0),
        Crowd::Silent(silent) => (0, silent),
        Crowd::Both(per_second, silent) => (per_second, silent),
    };
    let first = raws.len();
    let mut backs = vec![None; silent];
    for _ in 0..silent {
        raws.push(Raw::connect(&mut board.net, 500));
    }
    let begin = board.net.now + Duration::from_millis(500 + random.below(500) as u64);
    let mut next_syn = board.net.now;
    let mut newcomer: Option<(Raw, Instant)> = None;
    loop {
        let now = board.net.now;
        if per_second > 0 && now >= next_syn {
            let syn = syn(&mut random);
            board.net.inject(syn);
            let gap = 1_000_000 / per_second;
            next_syn = now + Duration::from_micros(gap / 2 + random.below(gap as usize) as u64);
        }
        for at in first..raws.len() {
            if board.net.client.tcp(raws[at].handle).state() != State::Closed {
                continue;
            }
            let pause = Duration::from_millis(random.below(500) as u64);
            let back = *backs[at - first].get_or_insert(now + pause);
            if now >= back {
                backs[at - first] = None;
                let old = raws[at].handle;
                board.net.client.sockets.remove(old);
                raws[at] = Raw::connect(&mut board.net, 500);
            }
        }
        if now >= begin {
            let (mut honest, since) = newcomer.take().unwrap_or_else(|| {
                let mut honest = Raw::connect(&mut board.net, 500);
                honest.send(REQUEST);
                (honest, now)
            });
            honest.poll(&mut board.net.client);
            if honest.received == ACCEPTED.as_bytes() {
                for raw in &raws[..open] {
                    assert!(board.is_connected(raw), "an open one gave way");
                }
                return now - begin;
            }
            let state = board.net.client.tcp(honest.handle).state();
            newcomer = Some((honest, since));
            if state == State::Closed
                && now - since >= Duration::from_millis(50)
                && let Some((refused, _)) = newcomer.take()
            {
                board.net.client.sockets.remove(refused.handle);
            }
            assert!(
                now - begin < Duration::from_secs(20),
                "never served: {sockets} sockets, {open} open, {crowd:?}"
            );
        }
        board.poll(&mut raws);
    }
}

#[test]
fn crowd_that_says_nothing_an_honest_newcomer_is_served_within_two_seconds() {
    let mut longest = Duration::ZERO;
    for sockets in [2, 3, 4, 8] {
        for open in 0..sockets - 1 {
            for crowd in [
                Crowd::Syns(5),
                Crowd::Syns(50),
                Crowd::Silent(1),
                Crowd::Silent(sockets),
                Crowd::Silent(3 * sockets),
                Crowd::Both(20, sockets),
            ] {
                for seed in 1..=3 {
                    let wait = wait(sockets, open, crowd, seed * 7919);
                    assert!(
                        wait <= Duration::from_secs(2),
                        "{sockets} sockets, {open} open, {crowd:?}: {wait}"
                    );
                    longest = longest.max(wait);
                }
            }
        }
    }
    println!("at most {longest}");
}

/// The last socket is one for all: whoever is silent there has a second.
#[test]
fn crowd_that_has_come_once_the_last_socket_is_free_within_two_seconds() {
    for sockets in [1, 2, 4] {
        let mut board = Board::new(sockets);
        let mut raws = Vec::new();
        for _ in 1..sockets {
            let mut honest = Raw::connect(&mut board.net, 500);
            honest.send(REQUEST);
            raws.push(honest);
            board.run(&mut raws, Duration::from_millis(20));
        }
        let mut random = Random(9);
        let syn = syn(&mut random);
        board.net.inject(syn);
        board.run(&mut raws, Duration::from_millis(20));
        assert!(board.servers.iter().all(|(_, server)| !server.is_idle()));
        board.run(&mut raws, Duration::from_millis(1_100));
        let mut newcomer = Raw::connect(&mut board.net, 500);
        newcomer.send(REQUEST);
        raws.push(newcomer);
        board.run(&mut raws, Duration::from_millis(100));
        assert_eq!(raws[sockets - 1].received, ACCEPTED.as_bytes());
    }
}
