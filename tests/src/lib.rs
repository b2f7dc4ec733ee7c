//! What the tests of the whole system share: the programs under test, the tools they are tested
//! with, and a patient way to wait for either.
//!
//! The programs under test are examples of this workspace, built in release. An environment
//! variable puts any other program in their place, to try a test against another implementation:
//! `MOTEWS_ECHO` for `echo`, `MOTEWS_AUTOBAHN_CLIENT` for `autobahn_client`. `MOTEWS_EXAMPLES` names a
//! folder where all examples of `motews-examples` are built already.
#![cfg(feature = "peers")]

pub mod browser;
pub mod deflate;
pub mod firmware;
pub mod linux;
pub mod namespace;
pub mod raw;
pub mod services;

use core::net::SocketAddr;
use core::time::Duration;
use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Instant;

/// Builds an example of `motews-examples` in release and returns the path of its binary.
///
/// # Panics
/// If the example does not build.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    example_with("motews-examples", "embedded-io,tls,tokio", name)
}

/// Builds an example of a package of this workspace in release, with these features of the package,
/// and returns the path of its binary.
///
/// # Panics
/// If the example does not build.
#[must_use]
pub fn example_with(package: &str, features: &str, name: &str) -> PathBuf {
    let variable = format!("MOTEWS_{}", name.to_uppercase());
    if let Some(path) = env::var_os(variable) {
        return path.into();
    }
    if let Some(folder) = env::var_os("MOTEWS_EXAMPLES")
        && package == "motews-examples"
    {
        return Path::new(&folder).join(name);
    }
    // What cargo tells of the package under test is no setting: crates that look at it would be
    // built anew for each caller.
    let told = env::vars_os()
        .map(|(variable, _)| variable)
        .filter(|variable| {
            let variable = variable.to_string_lossy();
            variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
        });
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    told.for_each(|variable| _ = cargo.env_remove(variable));
    let output = cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "build",
            "--release",
            "--package",
            package,
            "--features",
            features,
            "--example",
            name,
        ])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "the example {name} does not build");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the example's binary")
}

/// The folder where `.ci/install` puts the tools that are no Debian packages.
#[must_use]
pub fn tool_cache() -> PathBuf {
    if let Some(path) = env::var_os("MOTEWS_CI_CACHE") {
        return path.into();
    }
    env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .unwrap_or_else(env::temp_dir)
        .join("motews-ci")
}

/// The path of a tool in [`tool_cache`].
///
/// # Panics
/// If it is not there, saying how to get it.
#[must_use]
pub fn cached_tool(path: &str) -> PathBuf {
    let tool = tool_cache().join(path);
    assert!(
        tool.exists(),
        "{} is missing: run `bash .ci/install`",
        tool.display()
    );
    tool
}

/// The first program called `name` that the `PATH` finds.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// A loopback port that was free a moment ago.
///
/// # Panics
/// If no port is free.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener
        .local_addr()
        .expect("a bound listener has an address")
        .port()
}

/// Runs `condition` every 20 milliseconds until it holds or `limit` has passed.
#[must_use]
pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A child process, killed when dropped. Its standard error goes to a file named after it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command`. `folder` receives its standard error, as `name.log`.
    ///
    /// # Panics
    /// If the program does not start.
    #[must_use]
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Self {
        let log = folder.join(format!("{name}.log"));
        let stderr = File::create(&log).expect("the folder for logs is writable");
        let child = command
            .stdin(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self {
            child,
            name: name.to_owned(),
            log,
        }
    }

    /// The operating system's id of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process has not ended.
    ///
    /// # Panics
    /// If the operating system cannot tell.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("a child can be asked")
            .is_none()
    }

    /// Waits for the process to end by itself.
    ///
    /// # Panics
    /// If it is still running after `limit`.
    #[must_use]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let mut status = None;
        let ended = wait_until(limit, || {
            status = self.child.try_wait().expect("a child can be asked");
            status.is_some()
        });
        assert!(
            ended,
            "{} is still running after {limit:?}\n{}",
            self.name,
            self.log()
        );
        status.expect("it has ended")
    }

    /// What the process has written to its standard error, for a failure's text: the end of it.
    #[must_use]
    pub fn log(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let tail = log.len().saturating_sub(4096);
        format!(
            "{}:\n{}",
            self.log.display(),
            String::from_utf8_lossy(&log[tail..])
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The command that runs a script of `tests/peers`, with the tools that `.ci/install` has got for it.
///
/// # Panics
/// If they are missing.
#[must_use]
pub fn script(name: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("peers")
        .join(name);
    let mut command = if name.ends_with(".py") {
        Command::new(cached_tool("python/bin/python"))
    } else {
        let mut command = Command::new("node");
        command.env("NODE_MODULES", cached_tool("node/node_modules"));
        command
    };
    command.arg(path);
    command
}

/// Runs a command to its end.
///
/// # Panics
/// If it fails, or is still running after `limit`.
pub fn run_to_end(name: &str, command: &mut Command, limit: Duration, folder: &Path) {
    let mut process = Process::start(name, command.stdout(Stdio::null()), folder);
    let status = process.wait(limit);
    let log = process.log();
    assert!(status.success(), "{name} ends with {status}\n{log}");
}

/// A server as a child process.
#[derive(Debug)]
pub struct ServerProcess {
    /// Where it listens.
    pub address: SocketAddr,
    /// The process.
    pub process: Process,
}

impl ServerProcess {
    /// Starts a server that prints the address it listens on, and waits for that.
    ///
    /// # Panics
    /// If no address appears on its standard output within ten seconds.
    #[must_use]
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Self {
        let mut process = Process::start(name, command.stdout(Stdio::piped()), folder);
        let stdout = process.child.stdout.take().expect("it was asked for");
        let (found, address) = std::sync::mpsc::channel();
        thread::spawn(move || {
            // Reads to the end, so that the server never waits for its output to be read.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(address) = address_in(&line) {
                    _ = found.send(address);
                }
            }
        });
        let address = address.recv_timeout(Duration::from_secs(10));
        let address = address.unwrap_or_else(|_| {
            panic!("{name} prints no address to connect to\n{}", process.log())
        });
        Self { address, process }
    }

    /// Starts an example of this workspace that takes the address to listen on as its argument.
    ///
    /// # Panics
    /// As [`example`] and [`start`](Self::start) do.
    #[must_use]
    pub fn example(name: &str, folder: &Path) -> Self {
        Self::start(name, Command::new(example(name)).arg("127.0.0.1:0"), folder)
    }

    /// The server's `ws://` URL, ending in `/`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}/", self.address)
    }

    /// The resident memory of the process in bytes, as Linux tells it.
    ///
    /// # Panics
    /// If the process has ended.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.unwrap_or_default();
        let kib = status.lines().find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()
        });
        kib.unwrap_or_else(|| panic!("the server has ended\n{}", self.process.log())) * 1024
    }
}

/// The first socket address in a line of text, with or without a URL around it.
fn address_in(line: &str) -> Option<SocketAddr> {
    line.split(|c: char| c.is_whitespace() || c == '/')
        .find_map(|word| {
            word.trim_matches(|c: char| !c.is_ascii_digit() && c != '[')
                .parse()
                .ok()
        })
}

/// Waits until something accepts connections at `address`.
///
/// # Panics
/// If nothing does within ten seconds.
pub fn wait_for_listener(address: SocketAddr) {
    let listening = wait_until(Duration::from_secs(10), || {
        TcpStream::connect(address).is_ok()
    });
    assert!(listening, "nothing listens on {address}");
}
