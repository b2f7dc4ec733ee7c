//! Network namespaces that a test makes and removes: hosts of its own on this machine, which no
//! other network reaches. They need root, and Debian's iproute2.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::process::{self, Command};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::wait_until;

/// The operating system's end of the TAP device, and smoltcp's.
pub const HOST: &str = "10.9.0.1";
/// The end of the TAP device that is smoltcp's.
pub const BOARD: &str = "10.9.0.2";

/// A network namespace, removed when dropped.
#[derive(Debug)]
pub struct Namespace(String);

impl Namespace {
    /// A namespace with a loopback device and nothing else.
    ///
    /// # Panics
    /// If that is not allowed.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let namespace = Self(format!("motews-{}-{name}", process::id()));
        ip(&["netns", "add", &namespace.0]);
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// A namespace with a TAP device, `tap0`, whose address is [`HOST`].
    ///
    /// # Panics
    /// If that is not allowed.
    #[must_use]
    pub fn with_tap(name: &str) -> Self {
        let namespace = Self::new(name);
        namespace.ip(&["tuntap", "add", "tap0", "mode", "tap"]);
        namespace.ip(&["address", "add", &format!("{HOST}/24"), "dev", "tap0"]);
        namespace.ip(&["link", "set", "tap0", "up"]);
        namespace
    }

    /// Two namespaces, and a cable between them: `cable0` at the address `ends[0]` of the first and
    /// at `ends[1]` of the second.
    ///
    /// # Panics
    /// If that is not allowed.
    #[must_use]
    pub fn pair(name: &str, ends: [Ipv4Addr; 2]) -> [Self; 2] {
        let pair = [0, 1].map(|end| Self::new(&format!("{name}{end}")));
        let [first, second] = [&pair[0].0, &pair[1].0];
        ip(&[
            "-n", first, "link", "add", "cable0", "type", "veth", "peer", "name", "cable0",
            "netns", second,
        ]);
        for (namespace, address) in pair.iter().zip(ends) {
            namespace.ip(&["address", "add", &format!("{address}/24"), "dev", "cable0"]);
            namespace.ip(&["link", "set", "cable0", "up"]);
        }
        pair
    }

    /// Runs `ip` in the namespace.
    ///
    /// # Panics
    /// If it fails.
    pub fn ip(&self, arguments: &[&str]) {
        ip(&[&["-n", &self.0], arguments].concat());
    }

    /// Moves this thread into the namespace: its sockets from now on are there.
    ///
    /// # Panics
    /// If that is not allowed.
    pub fn enter_thread(&self) {
        let file =
            File::open(format!("/var/run/netns/{}", self.0)).expect("the namespace is there");
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("root may move a thread");
    }

    /// Runs `f` in a thread that is in the namespace: what sockets it makes stay there.
    ///
    /// # Panics
    /// As [`enter_thread`](Self::enter_thread), or `f`, does.
    pub fn within<V: Send>(&self, f: impl FnOnce() -> V + Send) -> V {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter_thread();
                f()
            });
            inside.join().expect("it does not panic")
        })
    }

    /// Waits until something listens at this port in the namespace.
    ///
    /// # Panics
    /// If nothing does within ten seconds.
    pub fn wait_for_listener(&self, port: u16) {
        let listens = || {
            let mut sockets = self.command("ss");
            let output = sockets
                .args(["-Hltn", &format!("sport = :{port}")])
                .output();
            !output.expect("ss runs").stdout.is_empty()
        };
        let is_there = wait_until(Duration::from_secs(10), listens);
        assert!(is_there, "nothing listens at port {port}");
    }

    /// A command in the namespace.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).arg(program);
        command
    }

    /// The same command, in the namespace.
    #[must_use]
    pub fn enter(&self, command: &Command) -> Command {
        let mut entered = self.command(command.get_program());
        entered
            .args(command.get_args())
            .stdout(process::Stdio::null());
        if let Some(folder) = command.get_current_dir() {
            entered.current_dir(folder);
        }
        entered
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status();
    assert!(
        status.as_ref().is_ok_and(process::ExitStatus::success),
        "ip {arguments:?}: {status:?}. It wants root, and Debian's iproute2"
    );
}
