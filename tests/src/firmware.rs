//! The images of `examples/firmware`, in QEMU.

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Process, ServerProcess, free_port};

/// The dashboard, on smoltcp.
pub const DASHBOARD: &str = "motews-firmware";
/// The echo on Embassy.
pub const EMBASSY: &str = "embassy";

/// The client over TLS.
pub const WSS: &str = "wss";

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
        .args(["--bin", name])
        .args((name == WSS).then_some("--features=tls"))
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

/// Boots an image that does not listen. What it logs is in the file `client.txt` of `folder`, and the
/// files that it reads are there.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn boot_client(board: Board, name: &str, folder: &Path, echo_port: u16) -> Process {
    let log = File::create(folder.join("client.txt")).expect("the folder is writable");
    let mut command = run(board, name, echo_port);
    Process::start(name, command.current_dir(folder).stdout(log), folder)
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

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}
