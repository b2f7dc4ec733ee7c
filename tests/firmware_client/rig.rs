//! A board on a TAP device in a namespace, its network and its server.

use core::time::Duration;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use motews_tests::firmware::{self, Board, Qmp, Time};
use motews_tests::namespace::Namespace;
use motews_tests::services::{Clock, dnsmasq};
use motews_tests::{Process, wait_until};
use rustls::ServerConfig;

use super::server::Server;

/// How long anything may take. QEMU's clock runs slow on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// TLS for a [`Rig`].
pub(crate) struct Tls<'a> {
    /// The certificate that the board trusts.
    pub(crate) authority: &'a [u8],
    /// What the server shows.
    pub(crate) server: Arc<ServerConfig>,
}

/// The board, its network and its server.
pub(crate) struct Rig {
    pub(crate) folder: PathBuf,
    pub(crate) server: Server,
    pub(crate) names: Option<Process>,
    pub(crate) qmp: Qmp,
    _clock: Option<Clock>,
    _board: Process,
    pub(crate) namespace: Namespace,
    /// How much of the log was looked at.
    seen: usize,
}

impl Rig {
    pub(crate) fn start(name: &str, image: &str, tls: Option<Tls<'_>>) -> Self {
        Self::start_with(name, image, tls, Some(0))
    }

    /// The same with a clock that is so many seconds ahead, or none.
    pub(crate) fn start_with(
        name: &str,
        image: &str,
        tls: Option<Tls<'_>>,
        ahead: Option<i64>,
    ) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("firmware")
            .join(name);
        _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("the build folder is writable");
        let namespace = Namespace::with_tap(name);
        let server = Server::start(&namespace, tls.as_ref().map(|tls| tls.server.clone()));
        if let Some(tls) = &tls {
            fs::write(folder.join("authority.der"), tls.authority).expect("it is writable");
        }
        let names = Some(dnsmasq(&namespace, &folder, 100));
        let clock = ahead.map(|ahead| {
            let clock = Clock::start(&namespace);
            clock.set_ahead(ahead);
            clock
        });
        let (board, qmp) = firmware::boot_on_tap(
            Board::CortexM3,
            image,
            Time::Instructions,
            &folder,
            &namespace,
        );
        Self {
            folder,
            namespace,
            server,
            names,
            qmp,
            _clock: clock,
            _board: board,
            seen: 0,
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("board.txt")).unwrap_or_default()
    }

    /// Waits for a line with this text in what is new in the log, and returns it.
    pub(crate) fn expect(&mut self, text: &str) -> String {
        let mut found = None;
        let is_there = wait_until(LIMIT, || {
            let log = self.log();
            let new = log.get(self.seen..).unwrap_or_default();
            found = new.find(text).and_then(|at| {
                let end = at + new[at..].find('\n')? + 1;
                let begin = new[..at].rfind('\n').map_or(0, |begin| begin + 1);
                Some((self.seen + end, new[begin..end].to_owned()))
            });
            found.is_some()
        });
        let log = self.log();
        assert!(
            is_there,
            "no {text:?}:\n{}",
            log.get(self.seen..).unwrap_or_default()
        );
        let (seen, line) = found.expect("it was found");
        self.seen = seen;
        print!("{line}");
        line
    }

    /// The network has another address for it from now on.
    pub(crate) fn gives_another_address(&mut self) {
        println!("--- another address");
        self.names = None;
        self.names = Some(dnsmasq(&self.namespace, &self.folder, 101));
    }

    /// A connection is open, and a new reading gets through.
    pub(crate) fn is_usable(&mut self) {
        self.expect("connection ");
        self.reports();
    }

    /// A new reading gets through.
    pub(crate) fn reports(&self) {
        let count = self.server.got().len();
        let through = wait_until(LIMIT, || {
            let got = self.server.got();
            got.iter()
                .skip(count)
                .any(|text| text.starts_with("reading"))
        });
        assert!(through, "no reading gets through:\n{}", self.log());
    }

    /// No reading came twice; those that did not come are counted as in doubt or as dropped.
    pub(crate) fn judge(&self) {
        let got = self.server.got();
        let readings: Vec<u32> = got
            .iter()
            .filter_map(|text| text.strip_prefix("reading ")?.parse().ok())
            .collect();
        let different: BTreeSet<_> = readings.iter().copied().collect();
        assert_eq!(different.len(), readings.len(), "some came twice");
        let last = different.last().copied().expect("some came");
        let lost = last as usize - readings.len();
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
        let number = |text: &str, before: &str| -> usize {
            let rest = text.split_once(before).map_or("", |(_, rest)| rest);
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().unwrap_or(0)
        };
        let mut ends = log.lines().filter(|line| line.contains("it has ended"));
        let in_doubt: usize = ends.clone().map(|line| number(line, "unconfirmed: ")).sum();
        let dropped = ends.next_back().map_or(0, |line| number(line, "; "));
        println!(
            "{last} readings: {lost} did not come, {in_doubt} were in doubt, {dropped} dropped"
        );
        assert!(lost <= in_doubt + dropped, "some are lost silently");
    }
}

/// The deepest stack that the board has told of.
pub(crate) fn depth(log: &str) -> u32 {
    let told = log.lines().filter_map(|line| line.split_once("deepest: "));
    told.filter_map(|(_, rest)| rest.split(' ').next()?.parse().ok())
        .max()
        .expect("it is told")
}
