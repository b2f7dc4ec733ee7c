//! The session that chips in QEMU replay (`tests/linked`). It is recorded here, and replayed on the host.

use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;
use std::{env, fs};

use embedded_io_async::{ErrorType, Read, Write};
use motews_embedded_io::tls::{TlsBuffers, TlsTime, TlsTunnel};
use motews_embedded_io::{Buffers, Duplex};

use super::serve;
use super::support::{PATIENCE, authority, localhost, now};

#[expect(
    unreachable_pub,
    reason = "the file is a module of a library elsewhere"
)]
#[path = "../linked/src/session.rs"]
mod session;

use session::{Memory, Recording, config, pump, replay, talk};

/// Where the recording is.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/linked/src/session.bin");

/// A connection whose server is recorded.
struct Live<'a> {
    stream: &'a TcpStream,
    written: &'a Cell<usize>,
    parts: &'a RefCell<Vec<u8>>,
}

/// What a call that does not block comes to.
async fn done(mut call: impl FnMut() -> io::Result<usize>) -> Result<usize, io::Error> {
    poll_fn(|_| match call() {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    })
    .await
}

impl ErrorType for Live<'_> {
    type Error = io::Error;
}

impl Read for Live<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, io::Error> {
        let len = done(|| (&*self.stream).read(buffer)).await?;
        let mut parts = self.parts.borrow_mut();
        for number in [self.written.get(), len] {
            parts.extend(u32::try_from(number).expect("it is short").to_le_bytes());
        }
        parts.extend(&buffer[..len]);
        Ok(len)
    }
}

impl Write for Live<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, io::Error> {
        let len = done(|| (&*self.stream).write(bytes)).await?;
        self.written.set(self.written.get() + len);
        Ok(len)
    }

    async fn flush(&mut self) -> Result<(), io::Error> {
        Ok(())
    }
}

/// Has the session over this transport.
fn run<Rd: Read, Wr: Write<Error = Rd::Error>>(
    transport: Duplex<Rd, Wr>,
    built: u64,
    authority: &[u8],
) {
    let mut memory = Memory::EMPTY;
    let authorities = [authority];
    let config = config(&authorities, built);
    let [incoming, outgoing] = &mut memory.rings;
    let mut tunnel = TlsTunnel::new(incoming, outgoing);
    let (stream, session) = tunnel.ends();
    let records = TlsBuffers {
        read: &mut memory.read,
        write: &mut memory.write,
    };
    let [receive, transmit] = &mut memory.buffers;
    let buffers = Buffers { receive, transmit };
    let is_open = Cell::new(false);
    let mut pump = Box::pin(pump(session, transport, records, &config));
    let mut talk = pin!(talk(stream, buffers, &mut memory.message, || is_open.set(true)));
    let mut context = Context::from_waker(Waker::noop());
    let (mut tls, began) = (None, Instant::now());
    while began.elapsed() < PATIENCE {
        if tls.is_none()
            && let Poll::Ready(end) = pump.as_mut().poll(&mut context)
        {
            tls = Some(end);
        }
        if let Poll::Ready(end) = talk.as_mut().poll(&mut context) {
            assert!(is_open.get());
            return end.unwrap_or_else(|error| panic!("{error}, and TLS: {tls:?}"));
        }
    }
    panic!("the session has not ended, and TLS: {tls:?}");
}

/// Records a session with rustls.
fn record() {
    let authority = authority("an authority");
    let (port, server) = serve(authority.issue(localhost()).server(&[]));
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_nonblocking(true).expect("a socket");
    let TlsTime::Now(built) = now() else {
        unreachable!("it is known")
    };
    let (written, parts) = (Cell::new(0), RefCell::new(Vec::new()));
    let half = || Live {
        stream: &stream,
        written: &written,
        parts: &parts,
    };
    let transport = Duplex {
        reader: half(),
        writer: half(),
    };
    run(transport, built, &authority.certificate);
    drop(stream);
    assert_eq!(server.join().expect("the server is well"), 1);
    let len = u32::try_from(authority.certificate.len()).expect("it is short");
    let mut file = [&built.to_le_bytes()[..], &len.to_le_bytes()].concat();
    file.extend_from_slice(&authority.certificate);
    file.extend(parts.into_inner());
    fs::write(FILE, file).expect("it is writable");
}

#[test]
fn recorded_session_replayed_is_verified_opens_and_echoes() {
    if env::var_os("MOTEWS_BLESS").is_some() {
        record();
    }
    let file = fs::read(FILE).expect("the recording is there");
    let recording = Recording::read(&file).expect("it is one");
    let written = Cell::new(0);
    let transport = replay(recording.parts, &written);
    run(transport, recording.built, recording.authority);
}
