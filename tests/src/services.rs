//! What a board's network has to offer, on the operating system's end of its TAP device: addresses by DHCP,
//! names by DNS, and the time by SNTP.

use core::net::Ipv4Addr;
use core::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use core::time::Duration;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::namespace::{HOST, Namespace};
use crate::{Process, find_program};

/// The name of the server that a board calls.
pub const SERVER: &str = "server.example";

/// DHCP and DNS: the board gets the address that ends with this number, and what leases there were are
/// forgotten. `server.example` and `time.example` are at [`HOST`].
#[must_use]
pub fn dnsmasq(namespace: &Namespace, folder: &Path, last: u8) -> Process {
    let program = find_program("dnsmasq").unwrap_or_else(|| PathBuf::from("/usr/sbin/dnsmasq"));
    let address = Ipv4Addr::new(10, 9, 0, last);
    let leases = folder.join("leases");
    _ = fs::remove_file(&leases);
    let mut command = namespace.command(program);
    command
        .args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-hosts",
            "--no-resolv",
        ])
        .args([
            "--interface=tap0",
            "--bind-interfaces",
            "--user=root",
            "--pid-file",
        ])
        .args(["--dhcp-authoritative", "--log-dhcp", "--log-facility=-"])
        .arg(format!(
            "--dhcp-range={address},{address},255.255.255.0,120"
        ))
        .arg(format!("--dhcp-leasefile={}", leases.display()))
        .arg(format!("--address=/{SERVER}/{HOST}"))
        .arg(format!("--address=/time.example/{HOST}"));
    Process::start("dnsmasq", &mut command, folder)
}

/// The time, in seconds since 1970.
///
/// # Panics
/// If it is not after 1970.
#[must_use]
pub fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("it is after 1970").as_secs()
}

/// A server that tells whoever asks the time (RFC 4330), or another one. Dropped, it does not any more.
#[derive(Debug)]
pub struct Clock {
    ahead: Arc<AtomicI64>,
    is_over: Arc<AtomicBool>,
}

impl Clock {
    /// Starts in a namespace.
    ///
    /// # Panics
    /// If its port is taken there.
    #[must_use]
    pub fn start(namespace: &Namespace) -> Self {
        let socket = namespace.within(|| UdpSocket::bind((HOST, 123)).expect("root may"));
        let patience = Some(Duration::from_millis(100));
        socket.set_read_timeout(patience).expect("it can be");
        let clock = Self {
            ahead: Arc::default(),
            is_over: Arc::default(),
        };
        let (ahead, is_over) = (clock.ahead.clone(), clock.is_over.clone());
        thread::spawn(move || {
            let mut packet = [0; 48];
            while !is_over.load(Ordering::Relaxed) {
                if let Ok((48, asker)) = socket.recv_from(&mut packet) {
                    let now = now().saturating_add_signed(ahead.load(Ordering::Relaxed));
                    _ = socket.send_to(&answer(&packet, now), asker);
                }
            }
        });
        clock
    }

    /// Goes wrong, by so many seconds.
    pub fn set_ahead(&self, seconds: i64) {
        self.ahead.store(seconds, Ordering::Relaxed);
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn answer(question: &[u8; 48], now: u64) -> [u8; 48] {
    // Seconds since 1900, and a fraction.
    let seconds = (now + 2_208_988_800) as u32;
    let mut answer = [0; 48];
    answer[0] = 0b00_100_100; // no leap second, version 4, a server
    answer[1] = 1; // with a clock of its own
    answer[24..32].copy_from_slice(&question[40..48]);
    for at in [16, 32, 40] {
        answer[at..at + 4].copy_from_slice(&seconds.to_be_bytes());
    }
    answer
}
