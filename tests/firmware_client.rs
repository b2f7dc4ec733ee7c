//! The firmware that stays connected, in QEMU on a network of its own: dnsmasq gives it an address and
//! knows its server's name, and one thing after the other is taken away.

#[path = "firmware_client/rig.rs"]
mod rig;
#[path = "firmware_client/server.rs"]
mod server;
#[path = "firmware_client/tls.rs"]
mod tls;

use core::time::Duration;
use std::time::Instant;
use std::{env, thread};

use motews_tests::firmware::{CLIENT, EMBASSY_CLIENT};
use motews_tests::services::{self, dnsmasq};
use motews_tests::wait_until;

use rig::{LIMIT, Rig, depth};
use server::Serves;

/// Bytes of the stack that an interrupt takes at most.
const INTERRUPT: u32 = 256;

#[test]
#[ignore = "needs root, QEMU, defmt-print and dnsmasq: bash .ci/install"]
fn clients_come_back_from_whatever_is_taken_away() {
    at_once(&[
        &client_comes_back,
        &embassy_client_comes_back_and_knows_the_time,
        &tls::wss_client_comes_back,
        &tls::wss_client_judges_certificates_by_the_time_that_it_is_told,
    ]);
}

#[test]
#[ignore = "needs root, QEMU, defmt-print and dnsmasq: bash .ci/install"]
fn clients_that_are_sent_away_again_and_again_take_no_more_memory() {
    at_once(&[
        &|| sent_away(CLIENT),
        &|| sent_away(EMBASSY_CLIENT),
        &tls::wss_client_is_sent_away,
    ]);
}

/// Has several boards run at a time, for most of it they wait.
fn at_once(all: &[&(dyn Fn() + Sync)]) {
    thread::scope(|scope| {
        for each in all {
            scope.spawn(each);
        }
    });
}

fn client_comes_back() {
    let mut rig = Rig::start("client", CLIENT, None);
    rig.expect("the address is [10, 9, 0, 100]");
    rig.is_usable();
    assert_eq!(rig.server.got()[0], "this is the board");

    println!("--- the cable, for a second");
    let connections = rig.server.connections();
    rig.qmp.set_link(false);
    thread::sleep(Duration::from_secs(1));
    rig.qmp.set_link(true);
    let count = rig.server.got().len();
    assert!(wait_until(LIMIT, || rig.server.got().len() > count + 2));
    assert_eq!(
        rig.server.connections(),
        connections,
        "the connection lives on"
    );

    println!("--- the cable, until the board has noticed");
    rig.qmp.set_link(false);
    rig.expect("TimedOut");
    rig.qmp.set_link(true);
    rig.is_usable();

    println!("--- 1012, 401, 503");
    rig.server.set(Serves::Closes(1012));
    rig.expect("1012");
    rig.server.set(Serves::Accepts);
    rig.is_usable();

    rig.server.set(Serves::Absent);
    rig.expect("it has ended: ");
    println!("--- nobody listens");
    rig.expect("Attempt(");
    rig.server.set(Serves::Refuses(401, None));
    rig.expect("Refused(401)");
    rig.server.set(Serves::Refuses(503, Some("4")));
    let since = Instant::now();
    rig.expect("Refused(503)");
    rig.server.set(Serves::Accepts);
    rig.is_usable();
    assert!(
        since.elapsed() >= Duration::from_secs(4),
        "it obeys Retry-After"
    );

    println!("--- no DNS");
    rig.names = None;
    rig.server.set(Serves::Closes(1001));
    rig.expect("1001");
    rig.server.set(Serves::Accepts);
    rig.expect("Unreachable");
    rig.names = Some(dnsmasq(&rig.namespace, &rig.folder, 100));
    rig.is_usable();

    rig.gives_another_address();
    rig.expect("the address is [10, 9, 0, 101]");
    rig.is_usable();
    rig.judge();
}

fn embassy_client_comes_back_and_knows_the_time() {
    let mut rig = Rig::start("embassy-client", EMBASSY_CLIENT, None);
    let told = rig.expect("s since 1970");
    let seconds = told
        .split(' ')
        .filter_map(|word| word.parse::<u64>().ok())
        .next_back();
    let now = services::now();
    assert!(seconds.is_some_and(|seconds| now - seconds <= 5), "{told}");
    rig.is_usable();

    println!("--- the cable");
    rig.qmp.set_link(false);
    rig.expect("TimedOut");
    rig.qmp.set_link(true);
    rig.is_usable();
    println!("--- nobody listens, 401");
    rig.server.set(Serves::Absent);
    rig.expect("it has ended: ");
    rig.expect("Attempt(Unreachable)");
    rig.server.set(Serves::Refuses(401, None));
    rig.expect("Refused(401)");
    rig.server.set(Serves::Accepts);
    rig.is_usable();
    rig.gives_another_address();
    rig.expect("the address is [10, 9, 0, 101]");
    rig.is_usable();
    rig.judge();
}

fn sent_away(image: &str) {
    let count = env::var("MOTEWS_RECONNECTS")
        .ok()
        .and_then(|count| count.parse().ok());
    let count: u32 = count.unwrap_or(40);
    let mut rig = Rig::start(&format!("again-{image}"), image, None);
    rig.server.set(Serves::Closes(1001));
    rig.expect("connection 10;");
    let early = depth(&rig.log());
    let since = Instant::now();
    let open = wait_until(LIMIT * (1 + count / 20), || {
        rig.log().contains(&format!("connection {count};"))
    });
    assert!(open, "{}", rig.log());
    println!(
        "{count} connections, those after the tenth in {:.1?}",
        since.elapsed()
    );
    rig.server.set(Serves::Accepts);
    let late = depth(&rig.log());
    println!("the stack at its deepest: {early} bytes after 10, {late} after {count}");
    // Sooner or later the clock's interrupt comes at the deepest place.
    assert!(late <= early + INTERRUPT, "the stack has grown");
    rig.is_usable();
    rig.judge();
}
