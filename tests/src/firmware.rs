//! The images of `examples/firmware`, in QEMU.

use core::time::Duration;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::namespace::Namespace;
use crate::{Process, ServerProcess, free_port, wait_until};

/// The dashboard, on smoltcp.
pub const DASHBOARD: &str = "motews-firmware";
/// The echo on Embassy.
pub const EMBASSY: &str = "embassy";

/// The client that stays connected, on smoltcp.
pub const CLIENT: &str = "client";
/// The same on Embassy.
pub const EMBASSY_CLIENT: &str = "embassy_client";
/// The echo over TLS, as a client.
pub const WSS: &str = "wss";
/// The client that stays connected, over TLS.
pub const WSS_CLIENT: &str = "wss_client";

/// The machine that an image is for.
#[derive(Clone, Copy, Debug)]
pub enum Board {
    /// The LM3S6965 evaluation board.
    CortexM3,
    /// The `virt` machine, as a microcontroller.
    RiscV32,
}

impl Board {
    /// The target of its processor.
    #[must_use]
    pub const fn target(self) -> &'static str {
        match self {
            Self::CortexM3 => "thumbv7m-none-eabi",
            Self::RiscV32 => "riscv32imc-unknown-none-elf",
        }
    }
}

/// Builds an image for a board, and returns its path. `MOTEWS_FIRMWARE` names a build folder that has
/// them already.
///
/// # Panics
/// If it does not build.
#[must_use]
pub fn image(board: Board, name: &str) -> PathBuf {
    if let Some(folder) = env::var_os("MOTEWS_FIRMWARE") {
        let folder = Path::new(&folder).join(board.target());
        return folder.join("release").join(name);
    }
    let output = Command::new(root().join(".ci/embedded"))
        .args([board.target(), "--in", "examples/firmware"])
        .args(["build", "--release"])
        .args(["--bin", name, "--features", features(name)])
        .args(["--message-format", "json-render-diagnostics"])
        // What cargo sets for this test is not meant for that other build.
        .env_remove("CARGO")
        .env_remove("RUSTUP_TOOLCHAIN")
        .stderr(Stdio::inherit())
        .output()
        .expect("the script runs");
    assert!(output.status.success(), "the firmware does not build");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back()
        .expect("cargo names the image")
}

/// Boots an image on its board. The board's calls go to the port `echo_port` of this machine.
///
/// # Panics
/// If it does not say that it listens.
#[must_use]
pub fn boot(board: Board, name: &str, folder: &Path, echo_port: u16) -> ServerProcess {
    ServerProcess::start("firmware", &mut run(board, name, echo_port), folder)
}

/// The command that boots an image on its board.
fn run(board: Board, name: &str, echo_port: u16) -> Command {
    let mut command = Command::new(root().join("examples/firmware/run-in-qemu"));
    command
        .arg(image(board, name))
        .env("MOTEWS_PORT", free_port().to_string())
        .env("MOTEWS_ECHO_PORT", echo_port.to_string());
    command
}

/// What an emulated board's clock goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// The host's. QEMU computes as fast as it can; on a busy host ticks are lost, and deadlines come late.
    Host,
    /// The number of instructions, as many for a second as the host manages: no tick is lost.
    Instructions,
}

/// Boots an image in a namespace with a TAP device, where the network is what the test has made of it.
/// Its log goes to `board.txt` in the folder, where the files are that it reads; and it is controlled by
/// the socket that is returned.
///
/// # Panics
/// If it does not build, or QEMU does not start.
#[must_use]
pub fn boot_on_tap(
    board: Board,
    name: &str,
    time: Time,
    folder: &Path,
    namespace: &Namespace,
) -> (Process, Qmp) {
    let socket = folder.join("qmp");
    _ = fs::remove_file(&socket);
    let log = File::create(folder.join("board.txt")).expect("the folder for logs is writable");
    let mut command = namespace.command(root().join("examples/firmware/run-in-qemu"));
    command
        .arg(image(board, name))
        .env(
            "MOTEWS_NETDEV",
            "tap,id=net,ifname=tap0,script=no,downscript=no",
        )
        .env("MOTEWS_QMP", &socket)
        .current_dir(folder)
        .stdout(log);
    if time == Time::Instructions {
        command.env("MOTEWS_ICOUNT", "shift=auto");
    }
    let process = Process::start("firmware", &mut command, folder);
    (process, Qmp::connect(&socket))
}

/// QEMU's control of its machine.
#[derive(Debug)]
pub struct Qmp(BufReader<UnixStream>);

impl Qmp {
    fn connect(socket: &Path) -> Self {
        let mut stream = None;
        let connected = wait_until(Duration::from_secs(20), || {
            stream = UnixStream::connect(socket).ok();
            stream.is_some()
        });
        assert!(connected, "QEMU does not start");
        let mut qmp = Self(BufReader::new(stream.expect("it is connected")));
        qmp.line();
        qmp.execute(r#"{"execute":"qmp_capabilities"}"#);
        qmp
    }

    /// Pulls the cable, or puts it back.
    ///
    /// # Panics
    /// If QEMU does not do so.
    pub fn set_link(&mut self, is_up: bool) {
        self.execute(&format!(
            r#"{{"execute":"set_link","arguments":{{"name":"net","up":{is_up}}}}}"#
        ));
    }

    fn execute(&mut self, command: &str) {
        writeln!(self.0.get_mut(), "{command}").expect("QEMU reads");
        // Between command and answer there may be events.
        while !self.line().contains("\"return\"") {}
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("QEMU answers");
        assert!(
            !line.is_empty() && !line.contains("\"error\""),
            "QEMU: {line}"
        );
        line
    }
}

/// The features that an image is built with: for all clients the same packages.
fn features(name: &str) -> &'static str {
    match name {
        CLIENT | EMBASSY_CLIENT | WSS_CLIENT => "tls-deflate,faults",
        WSS => "tls-deflate",
        _ => "default",
    }
}

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}
