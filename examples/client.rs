//! A WebSocket client for the terminal.

use core::fmt::Display;
use core::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use core::time::Duration;
use std::fs::{self, File};
use std::io::{self, BufRead, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use clap::Parser;
use motews_examples::compression::{self, Saved};
use motews_std::role::Client;
use motews_std::{
    CloseCode, ConnectError, Connector, DEFAULT_LIMITS, Limits, Message, NetStream, OsEntropy,
    ProtocolViolation, Proxy, RecvError, RedirectPolicy, SendError, Sender, Timeouts, WebSocket,
};

/// A WebSocket client for the terminal: what you type goes out, a line a message; what comes in is
/// printed.
///
/// At the end of the input it waits until nothing more comes, closes the WebSocket, and ends. So it
/// serves scripts: printf 'a\nb\n' | client URL
#[derive(Parser)]
#[command(name = "client", after_help = AFTER_HELP)]
struct Options {
    /// ws://HOST:PORT/PATH or wss://...; user:password@ before the host logs in (HTTP Basic)
    url: String,

    /// Add a header to the request; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,

    /// Offer a subprotocol, the best first; several with commas, or given several times
    #[arg(
        short = 'p',
        long = "protocol",
        value_name = "NAME",
        value_delimiter = ','
    )]
    protocols: Vec<String>,

    #[command(flatten)]
    compression: compression::Options,

    /// The request's Origin header, as a browser would send for a page from there
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,

    /// Connect through this proxy: http://, socks5:// or socks5h://, with user:password@ if need be.
    /// Without it, the one that http_proxy, https_proxy or all_proxy names, unless no_proxy has the host
    #[arg(short = 'x', long, value_name = "URL")]
    proxy: Option<Proxy>,

    /// Follow redirects, at most 5
    #[arg(short = 'L', long = "location")]
    follow: bool,

    /// The longest message that is received, in MiB
    #[arg(long, value_name = "MIB", default_value = "64")]
    max_message: u32,

    /// Trust the certificates in this PEM file, and no others
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Send this file as a binary message first; may be given several times
    #[arg(short, long = "binary", value_name = "FILE")]
    binaries: Vec<PathBuf>,

    /// Write the bytes of binary messages to this file, instead of their length and beginning
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// After the end of the input, close when nothing has come for this long
    #[arg(short, long, value_name = "SECONDS", default_value = "0.5",
          allow_negative_numbers = true, value_parser = seconds)]
    wait: Duration,

    /// Ping a server that has been silent for this long; 0 is never
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    ping: Duration,

    /// Give up if connecting, or closing, takes longer
    #[arg(short, long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    timeout: Duration,

    /// Read commands from an input that is no terminal, too
    #[arg(short, long)]
    commands: bool,

    /// Tell what happens, even if the input is no terminal
    #[arg(short, long)]
    verbose: bool,
}

const AFTER_HELP: &str = "\
Commands, if the input is a terminal:
  /ping [TEXT]           send a ping
  /send FILE             send a file as a binary message
  /close [CODE [REASON]] close the WebSocket, with the code 1000 if there is none
  /help                  list the commands
  //TEXT                 send /TEXT

Exit status:
  0  closed cleanly, by this side, or by the server with the code 1000, 1001 or none
  1  the connection broke, or the server closed it for another reason
  2  the command line is wrong
  3  no connection could be opened";

const COMMANDS: &str = "/ping [TEXT], /send FILE, /close [CODE [REASON]], //TEXT sends /TEXT";

/// How many bytes of a binary message are printed.
const HEAD: usize = 16;

const BROKEN: u8 = 1;
const USAGE: u8 = 2;
const NOT_CONNECTED: u8 = 3;

/// What ends the program early: its exit status, and why.
type Failure = (u8, String);

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err((status, message)) => {
            complain(message);
            ExitCode::from(status)
        }
    }
}

fn run(options: Options) -> Result<(), Failure> {
    let is_terminal = io::stdin().is_terminal();
    let tells = options.verbose || is_terminal;
    let binaries = options.binaries.iter().map(|path| read(path));
    let binaries = binaries.collect::<Result<Vec<_>, _>>();
    let binaries = binaries.map_err(|message| (USAGE, message))?;
    let mut printer =
        Printer::new(options.output.as_deref()).map_err(|message| (USAGE, message))?;

    let mut ws = open(&options)?;
    if tells {
        let protocol = ws.subprotocol().map(|name| format!(", {name}"));
        note(format_args!(
            "connected to {}{}",
            without_user(&options.url),
            protocol.unwrap_or_default()
        ));
    }
    let sender = ws.sender().map_err(|error| (BROKEN, error.to_string()))?;
    let progress = Arc::new(Progress {
        closing: AtomicU16::new(0),
        failed: AtomicBool::new(false),
        last: Mutex::new(Instant::now()),
    });
    let input = Input {
        sender: sender.clone(),
        wait: options.wait,
        commands: options.commands || is_terminal,
        progress: Arc::clone(&progress),
    };
    // It may be waiting for a line when the server closes: then the program ends without it.
    thread::spawn(move || input.run(binaries));

    let ended = listen(&mut ws, &sender, &mut printer, &progress, &options, tells);
    if options.compression.wanted().is_some() {
        note(compression(&ws));
    }
    ended
}

/// Prints what comes, until the WebSocket is closed.
fn listen(
    ws: &mut WebSocket,
    sender: &Sender,
    printer: &mut Printer,
    progress: &Progress,
    options: &Options,
    tells: bool,
) -> Result<(), Failure> {
    let broken = |error| match error {
        RecvError::Protocol(ProtocolViolation::MessageTooBig) => {
            let limit = options.max_message;
            let text = format!("a message is longer than {limit} MiB; --max-message allows more");
            (BROKEN, text)
        }
        error => (BROKEN, error.to_string()),
    };
    while let Some(message) = ws.recv().map_err(broken)? {
        progress.note_message();
        match printer.print(&message) {
            Ok(()) => {}
            // Whoever read our output has seen enough: `client URL | head -1`
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                _ = sender.close(CloseCode::GOING_AWAY, "");
                return Ok(());
            }
            Err(error) => return Err((BROKEN, format!("cannot write the output: {error}"))),
        }
    }
    let Some(ended) = ws.ended() else {
        return Err((BROKEN, "the connection is lost".to_owned()));
    };
    let code = ended.code();
    let closed = match ws.close_reason() {
        "" => format!("closed: {}", code.as_u16()),
        reason => format!("closed: {} {}", code.as_u16(), printable(reason)),
    };
    let is_fine = code.as_u16() == progress.closing.load(Ordering::Acquire)
        || [
            CloseCode::NORMAL,
            CloseCode::GOING_AWAY,
            CloseCode::NO_STATUS_RECEIVED,
        ]
        .contains(&code);
    if !is_fine {
        return Err((BROKEN, closed));
    }
    if tells {
        note(closed);
    }
    match progress.failed.load(Ordering::Acquire) {
        true => Err((BROKEN, "not all of the input was sent".to_owned())),
        false => Ok(()),
    }
}

/// What was agreed upon for compression, and what that has saved.
fn compression(ws: &WebSocket) -> String {
    match (ws.deflate(), ws.traffic()) {
        (Some(agreed), Some(traffic)) => {
            format!("{}: {}", compression::extension(agreed), Saved(traffic))
        }
        _ => "no compression: the server does not agree on it".to_owned(),
    }
}

/// Opens the connection.
fn open(options: &Options) -> Result<WebSocket, Failure> {
    let mut connector = Connector::new()
        .subprotocols(options.protocols.iter().map(|name| name.trim()))
        .connect_timeout(Some(options.timeout))
        .limits(Limits {
            message: u64::from(options.max_message).saturating_mul(1 << 20),
            ..DEFAULT_LIMITS
        })
        .timeouts(Timeouts {
            handshake: Some(millis(options.timeout)),
            keepalive: (!options.ping.is_zero()).then_some(millis(options.ping)),
            close: Some(millis(options.timeout)),
            ..Timeouts::default()
        });
    for (name, value) in &options.headers {
        connector = connector.header(name, value);
    }
    connector = match &options.proxy {
        Some(proxy) => connector.proxy(proxy.clone()),
        None => connector.proxy_from_env(),
    };
    if options.follow {
        connector = connector.redirects(RedirectPolicy::DEFAULT);
    }
    if let Some(origin) = &options.origin {
        connector = connector.origin(origin);
    }
    #[cfg(feature = "tls")]
    if let Some(path) = &options.ca {
        let config = tls::trust(path).map_err(|message| (USAGE, message))?;
        connector = connector.tls(config);
    }
    if let Some(wanted) = options.compression.wanted() {
        connector = connector.deflate(wanted);
    }
    connector.connect(&options.url).map_err(|error| {
        let status = match error {
            ConnectError::Url(_) | ConnectError::Config(_) | ConnectError::Proxy(_) => USAGE,
            _ => NOT_CONNECTED,
        };
        (status, explain(&options.url, &error))
    })
}

/// Why there is no connection, with a hint where there is one.
fn explain(url: &str, error: &ConnectError) -> String {
    // The error may quote the server.
    let text = format!("{}: {}", without_user(url), printable(&error.to_string()));
    match error {
        ConnectError::Io(error) => match error.kind() {
            ErrorKind::ConnectionRefused => {
                format!("{}: refused: nothing listens there", without_user(url))
            }
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => {
                text + ": is it wss:// for ws://, or the reverse?"
            }
            _ => text,
        },
        #[cfg(feature = "tls")]
        ConnectError::Tls(motews_std::rustls::Error::InvalidCertificate(_)) => {
            text + "; --ca FILE trusts an authority of your own"
        }
        ConnectError::Refused(refused) => {
            let wants = refused.header("WWW-Authenticate");
            let wants = wants.map(|wants| format!("; it wants {}", printable(wants)));
            // What a person can read of the body: pages are for browsers.
            let body = String::from_utf8_lossy(&refused.body);
            let line = body.lines().map(str::trim).find(|line| !line.is_empty());
            let line = line.filter(|line| !line.starts_with('<'));
            let line = line.map(|line| format!("\n  {}", printable(line)));
            text + &wants.unwrap_or_default() + &line.unwrap_or_default()
        }
        _ => text,
    }
}

/// The URL, to be shown: nobody is to read a password over a shoulder.
fn without_user(url: &str) -> String {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(after_scheme);
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{scheme}{host}{path}")
}

/// How far things have come, for the other thread.
struct Progress {
    /// The code with which this side has begun to close, or 0.
    closing: AtomicU16,
    /// Something could not be sent.
    failed: AtomicBool,
    /// When the last message came, or the input ended.
    last: Mutex<Instant>,
}

impl Progress {
    fn note_message(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long nothing has come.
    fn silence(&self) -> Duration {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.elapsed()
    }
}

/// Standard input, on its way to the server.
struct Input {
    sender: Sender<NetStream, Client<OsEntropy>>,
    wait: Duration,
    commands: bool,
    progress: Arc<Progress>,
}

impl Input {
    fn run(self, binaries: Vec<Vec<u8>>) {
        let sent = binaries
            .iter()
            .try_for_each(|bytes| self.sender.send(bytes));
        match sent.and_then(|()| self.lines()) {
            Ok(()) => {
                self.progress.note_message();
                while let Some(left) = self.wait.checked_sub(self.progress.silence()) {
                    thread::sleep(left.max(Duration::from_millis(1)));
                }
                _ = self.close(CloseCode::NORMAL, "");
            }
            // The side that receives tells why.
            Err(SendError::Closed) => self.progress.failed.store(true, Ordering::Release),
            Err(error) => {
                self.complain(error);
                _ = self.close(CloseCode::GOING_AWAY, "");
            }
        }
    }

    /// Sends line after line, until there are no more or the WebSocket is closed.
    fn lines(&self) -> Result<(), SendError> {
        let mut stdin = io::stdin().lock();
        let mut line = Vec::new();
        loop {
            line.clear();
            if stdin.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            let Ok(text) = core::str::from_utf8(text) else {
                self.complain("a line that is not UTF-8 was not sent");
                continue;
            };
            match text.strip_prefix('/') {
                Some(command) if self.commands => self.command(command)?,
                _ => self.sender.send(text)?,
            }
        }
    }

    fn command(&self, command: &str) -> Result<(), SendError> {
        if command.starts_with('/') {
            return self.sender.send(command);
        }
        let (name, argument) = command.split_once(' ').unwrap_or((command, ""));
        let argument = argument.trim();
        let done = match name {
            "ping" => self.sender.ping(argument.as_bytes()),
            "send" => match read(Path::new(argument)) {
                Ok(bytes) => self.sender.send(bytes),
                Err(message) => {
                    self.complain(message);
                    Ok(())
                }
            },
            "close" => {
                let (code, reason) = argument.split_once(' ').unwrap_or((argument, ""));
                match code {
                    "" => self.close(CloseCode::NORMAL, ""),
                    code => match code.parse() {
                        Ok(code) => self.close(CloseCode::new(code), reason.trim()),
                        Err(_) => {
                            self.complain(format_args!("{code:?} is no close code"));
                            Ok(())
                        }
                    },
                }
            }
            "help" => {
                note(COMMANDS);
                Ok(())
            }
            _ => {
                self.complain(format_args!("no command /{name}: {COMMANDS}"));
                Ok(())
            }
        };
        match done {
            Err(SendError::Invalid(error)) => {
                self.complain(error);
                Ok(())
            }
            done => done,
        }
    }

    fn close(&self, code: CloseCode, reason: &str) -> Result<(), SendError> {
        let before = self.progress.closing.swap(code.as_u16(), Ordering::AcqRel);
        let closed = self.sender.close(code, reason);
        if closed.is_err() {
            self.progress.closing.store(before, Ordering::Release);
        }
        closed
    }

    fn complain(&self, message: impl Display) {
        self.progress.failed.store(true, Ordering::Release);
        complain(message);
    }
}

/// Standard output, and the file for binary messages.
struct Printer {
    stdout: io::StdoutLock<'static>,
    /// Control characters are harmless in a file, and not in a terminal.
    escapes: bool,
    output: Option<File>,
}

impl Printer {
    fn new(output: Option<&Path>) -> Result<Self, String> {
        let output = output.map(|path| {
            File::create(path).map_err(|error| format!("cannot write {}: {error}", path.display()))
        });
        Ok(Self {
            stdout: io::stdout().lock(),
            escapes: io::stdout().is_terminal(),
            output: output.transpose()?,
        })
    }

    fn print(&mut self, message: &Message) -> io::Result<()> {
        match (message, &mut self.output) {
            (Message::Text(text), _) if self.escapes => {
                writeln!(self.stdout, "{}", printable(text))
            }
            (Message::Text(text), _) => writeln!(self.stdout, "{text}"),
            (Message::Binary(bytes), Some(file)) => file.write_all(bytes),
            (Message::Binary(bytes), None) => writeln!(self.stdout, "{}", hex(bytes)),
        }?;
        self.stdout.flush()
    }
}

/// `binary, 300 bytes: 00 01 02 ...`
fn hex(bytes: &[u8]) -> String {
    let mut text = format!("binary, {} bytes", bytes.len());
    for (index, byte) in bytes.iter().take(HEAD).enumerate() {
        let colon = if index == 0 { ":" } else { "" };
        text.push_str(&format!("{colon} {byte:02x}"));
    }
    if bytes.len() > HEAD {
        text.push_str(" ...");
    }
    text
}

/// Without the control characters that would make a terminal do things.
fn printable(text: &str) -> String {
    let escape = |c: char| match c {
        '\t' | '\n' => c.to_string(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("cannot read {:?}: {error}", path.display().to_string()))
}

fn note(message: impl Display) {
    _ = writeln!(io::stderr(), "{message}");
}

fn complain(message: impl Display) {
    _ = writeln!(io::stderr(), "client: {message}");
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("a header is written NAME: VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// As long as a timeout can be, at the most.
fn millis(time: Duration) -> u32 {
    time.as_millis().try_into().unwrap_or(u32::MAX)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "not a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "not a number of seconds".to_owned())
}

#[cfg(feature = "tls")]
mod tls {
    //! Trust in a certificate authority of one's own.

    use std::path::Path;
    use std::sync::Arc;

    use motews_std::rustls::pki_types::CertificateDer;
    use motews_std::rustls::pki_types::pem::PemObject;
    use motews_std::rustls::{ClientConfig, RootCertStore};
    use motews_std::tls::config_with_roots;

    /// Trusts the certificates in a PEM file.
    pub(super) fn trust(path: &Path) -> Result<Arc<ClientConfig>, String> {
        let fail = |error: &dyn core::fmt::Display| format!("{}: {error}", path.display());
        let pem = super::read(path)?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| fail(&error))?;
            roots.add(certificate).map_err(|error| fail(&error))?;
        }
        if roots.is_empty() {
            return Err(fail(&"there is no certificate in it, in PEM"));
        }
        config_with_roots(roots).map_err(|error| fail(&error))
    }
}
