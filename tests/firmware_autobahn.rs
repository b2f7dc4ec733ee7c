//! The same suite against two microcontrollers: the images of the firmware, in QEMU; and one as a client
//! over TLS, with HAProxy in between.

use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use motews_testkit::authority::Authority;
use motews_tests::Process;
use motews_tests::firmware::{self, Board, Time, WSS};
use motews_tests::namespace::{HOST, Namespace};
use motews_tests::services::{self, Clock, SERVER};
use serde_json::json;

use super::{Cases, folder, judge_all, suite, test_server, test_server_with};

#[test]
#[ignore = "needs QEMU, defmt-print and the Autobahn test suite: bash .ci/install"]
fn autobahn_firmware_passes() {
    let folder = folder("firmware");
    let firmware = firmware::boot(Board::CortexM3, firmware::DASHBOARD, &folder, 9);
    let url = format!("{}echo", firmware.url());
    test_server("autobahn firmware", &url, &folder);
}

#[test]
#[ignore = "needs QEMU, defmt-print and the Autobahn test suite: bash .ci/install"]
fn autobahn_firmware_on_riscv_passes() {
    let folder = folder("firmware-riscv");
    let firmware = firmware::boot(Board::RiscV32, firmware::DASHBOARD, &folder, 9);
    let url = format!("{}echo", firmware.url());
    test_server("autobahn firmware on RISC-V", &url, &folder);
}

#[test]
#[ignore = "needs QEMU, defmt-print and the Autobahn test suite: bash .ci/install"]
fn autobahn_embassy_passes() {
    let folder = folder("embassy");
    let firmware = firmware::boot(Board::CortexM3, firmware::EMBASSY, &folder, 9);
    let url = format!("{}echo", firmware.url());
    test_server("autobahn embassy", &url, &folder);
}

#[test]
#[ignore = "needs QEMU, defmt-print and the Autobahn test suite: bash .ci/install"]
fn autobahn_firmware_with_compression_passes() {
    let folder = folder("firmware-compression");
    let firmware = firmware::boot(Board::CortexM3, firmware::DASHBOARD, &folder, 9);
    let url = format!("{}echo", firmware.url());
    let title = "autobahn firmware, compressed";
    // An emulated processor takes its time.
    let limit = Duration::from_secs(2 * 3600);
    let cases = Cases {
        limit,
        ..Cases::compressed()
    };
    test_server_with(title, &url, &folder, &cases);
}

/// Starts HAProxy between the board and the suite: TLS 1.3 and nothing else. The suite wants its own
/// port in the request.
fn haproxy(namespace: &Namespace, folder: &Path, pem: &str) -> Process {
    let certificate = folder.join("server.pem");
    fs::write(&certificate, pem).expect("the folder is writable");
    let text = format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n \
        timeout tunnel 60s\n\
        frontend front\n bind {HOST}:9001 ssl crt {} ssl-min-ver TLSv1.3\n default_backend back\n\
        backend back\n http-request set-header Host 127.0.0.1:9002\n \
        server suite 127.0.0.1:9002\n",
        certificate.display()
    );
    let configuration = folder.join("haproxy.conf");
    fs::write(&configuration, text).expect("the folder is writable");
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(configuration);
    let process = Process::start("haproxy", &mut namespace.enter(&command), folder);
    namespace.wait_for_listener(9001);
    process
}

/// A board as a client over TLS, and the suite that tests it.
struct Run {
    folder: PathBuf,
    board: Process,
    suite: Process,
    _services: (Process, Process, Clock, Namespace),
}

impl Run {
    fn start(name: &str, patterns: &[&str]) -> Self {
        let folder = folder(name);
        let namespace = Namespace::with_tap(name);
        let authority = Authority::new();
        fs::write(folder.join("authority.der"), authority.der()).expect("the folder is writable");
        let pem = authority.server_pem(SERVER);
        let spec = json!({ "url": "ws://127.0.0.1:9002", "outdir": folder, "cases": patterns });
        let suite = suite("fuzzingserver", &spec, &folder);
        let suite = Process::start("wstest", &mut namespace.enter(&suite), &folder);
        namespace.wait_for_listener(9002);
        let haproxy = haproxy(&namespace, &folder, &pem);
        let names = services::dnsmasq(&namespace, &folder, 100);
        let clock = Clock::start(&namespace);
        let (board, _) =
            firmware::boot_on_tap(Board::CortexM3, WSS, Time::Host, &folder, &namespace);
        Self {
            folder,
            board,
            suite,
            _services: (haproxy, names, clock, namespace),
        }
    }

    /// Waits until all cases have run, and returns where the reports are.
    fn end(mut self, limit: Duration) -> PathBuf {
        let status = self.board.wait(limit);
        let log = fs::read_to_string(self.folder.join("board.txt")).unwrap_or_default();
        assert!(
            status.success(),
            "the board ends with {status}\n{}\n{log}",
            self.board.log()
        );
        assert!(self.suite.is_running(), "{}", self.suite.log());
        println!("{}", log.lines().next_back().unwrap_or_default());
        self.folder
    }
}

#[test]
#[ignore = "needs root, QEMU, defmt-print, dnsmasq, HAProxy and the Autobahn test suite: bash .ci/install"]
fn autobahn_wss_firmware_passes_compressed_and_not() {
    let (uncompressed, compressed) = (Cases::UNCOMPRESSED, Cases::COMPRESSED);
    let cases = Cases {
        patterns: &[],
        count: uncompressed.count + compressed.count,
        limit: Duration::from_secs(480),
    };
    // Two boards, for each takes one processor: more than half of the bytes are in these.
    let large = ["9.2.*", "9.3.*", "9.4.*"];
    let mut others = vec!["9.1.*", "9.5.*", "9.6.*", "9.7.*", "9.8.*"];
    others.extend(compressed.patterns);
    others.extend(uncompressed.patterns.iter().filter(|all| **all != "9.*"));
    let start = Instant::now();
    let runs = [Run::start("wss-large", &large), Run::start("wss", &others)];
    let folders = runs.map(|run| run.end(cases.limit));
    judge_all("autobahn wss firmware", &folders, start.elapsed(), &cases);
}
