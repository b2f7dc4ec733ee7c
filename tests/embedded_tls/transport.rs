//! Transports that fail, or take their time, below the pump; and tunnels of all lengths.

use core::cell::Cell;
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;
use std::sync::Arc;

use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use motews_embedded_io::tls::{TlsBuffers, TlsError, TlsStream, TlsTunnel};
use motews_embedded_io::{Duplex, Untimed};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio_rustls::TlsAcceptor;

use super::support::{Issued, Os, apart, authority, client_with, localhost, trusting};

fn pair() -> (Issued, Arc<ServerConfig>) {
    let authority = authority("an authority");
    let server = authority.issue(localhost()).server(&[]);
    (authority, server)
}

/// What the transport does from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Read,
    Write,
    /// It takes nothing, without an error, which it must not.
    Takes0,
}

/// A half of the transport, which fails when it is told to.
struct Half<'f, T> {
    below: T,
    fault: &'f Cell<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failed;

impl core::fmt::Display for Failed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("failed")
    }
}

impl core::error::Error for Failed {}

impl embedded_io_async::Error for Failed {
    fn kind(&self) -> ErrorKind {
        ErrorKind::ConnectionReset
    }
}

impl<T> ErrorType for Half<'_, T> {
    type Error = Failed;
}

impl Read for Half<'_, FromTokio<ReadHalf<DuplexStream>>> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failed> {
        let mut read = pin!(self.below.read(buffer));
        let fault = self.fault;
        poll_fn(|context| match fault.get() {
            Fault::Read => Poll::Ready(Err(Failed)),
            _ => read.as_mut().poll(context).map_err(|_| Failed),
        })
        .await
    }
}

impl Write for Half<'_, FromTokio<WriteHalf<DuplexStream>>> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Failed> {
        match self.fault.get() {
            Fault::Write => Err(Failed),
            Fault::Takes0 => Ok(0),
            _ => self.below.write(bytes).await.map_err(|_| Failed),
        }
    }

    async fn flush(&mut self) -> Result<(), Failed> {
        Ok(())
    }
}

/// A client with such a transport, and a server that echoes.
async fn against<V>(
    first: Fault,
    talk: impl AsyncFnOnce(TlsStream<'_>, &Cell<Fault>) -> V,
) -> (V, Result<(), TlsError>) {
    let (authority, server) = pair();
    let (near, far) = tokio::io::duplex(4096);
    let (reader, writer) = tokio::io::split(near);
    let fault = &Cell::new(first);
    let transport = Duplex {
        reader: Half {
            below: FromTokio::new(reader),
            fault,
        },
        writer: Half {
            below: FromTokio::new(writer),
            fault,
        },
    };
    let authorities = [&authority.certificate[..]];
    let config = trusting(&authorities);
    let (mut incoming, mut outgoing) = ([0; 256], [0; 256]);
    let mut tunnel = TlsTunnel::new(&mut incoming, &mut outgoing);
    let (mut read, mut write) = (vec![0; 16_640], vec![0; 1024]);
    let buffers = TlsBuffers {
        read: &mut read,
        write: &mut write,
    };
    let (stream, pump) = tunnel.ends();
    let serve = async {
        let Ok(mut stream) = TlsAcceptor::from(server).accept(far).await else {
            return;
        };
        let mut bytes = [0; 64];
        while let Ok(len @ 1..) = stream.read(&mut bytes).await {
            stream.write_all(&bytes[..len]).await.expect("memory");
        }
    };
    let pump = Box::pin(pump.run(transport, buffers, &config, Os, Untimed));
    let both = async { tokio::join!(talk(stream, fault), pump) };
    tokio::select! {
        biased;
        both = both => both,
        () = async { serve.await; core::future::pending().await } => unreachable!(),
    }
}

#[tokio::test]
async fn open_transport_fails_the_stream_and_the_pump_say_how() {
    for (fault, kind) in [
        (Fault::Read, ErrorKind::ConnectionReset),
        (Fault::Write, ErrorKind::ConnectionReset),
        (Fault::Takes0, ErrorKind::WriteZero),
    ] {
        let talk = async |mut stream: TlsStream<'_>, set: &Cell<Fault>| {
            stream.write_all(b"hello").await.expect("it is open");
            stream.flush().await.expect("it is open");
            let mut bytes = [0; 5];
            stream.read_exact(&mut bytes).await.expect("it is open");
            set.set(fault);
            stream.write_all(b"again").await.expect("there is room");
            let flushed = stream.flush().await;
            (flushed, stream.write(b"x").await)
        };
        let ((flushed, written), end) = against(Fault::None, talk).await;
        let error = TlsError::Io(kind);
        match fault {
            // What was written may have left before.
            Fault::Read => assert_eq!(flushed, Ok(())),
            _ => assert_eq!(flushed, Err(error)),
        }
        if fault != Fault::Read {
            assert_eq!(written, Err(error), "{fault:?}");
        }
        assert_eq!(end, Err(error), "{fault:?}");
    }
}

#[tokio::test]
async fn opening_transport_fails_the_stream_and_the_pump_say_how() {
    for (fault, kind) in [
        (Fault::Read, ErrorKind::ConnectionReset),
        (Fault::Write, ErrorKind::ConnectionReset),
        (Fault::Takes0, ErrorKind::WriteZero),
    ] {
        let talk = async |mut stream: TlsStream<'_>, _: &Cell<Fault>| stream.read(&mut [0]).await;
        let (read, end) = against(fault, talk).await;
        let error = Err(TlsError::Io(kind));
        assert_eq!((read, end), (error.map(|()| 0), error), "{fault:?}");
    }
}

/// A ring of one byte is slow, one of none is refused, and a long one is not better than the records.
#[tokio::test]
async fn tunnel_of_any_length_moves_all_both_ways_and_one_of_none_is_refused() {
    for len in [0, 1, 2, 63, 65, 20_000] {
        let (authority, server) = pair();
        let (near, far) = tokio::io::duplex(500);
        let authorities = [&authority.certificate[..]];
        let config = trusting(&authorities);
        let transport = apart(near);
        let (mut incoming, mut outgoing) = (vec![0; len], vec![0; len]);
        let mut tunnel = TlsTunnel::new(&mut incoming, &mut outgoing);
        let (mut read, mut write) = (vec![0; 16_640], vec![0; 1024]);
        let buffers = TlsBuffers {
            read: &mut read,
            write: &mut write,
        };
        let (stream, pump) = tunnel.ends();
        let bytes: Vec<u8> = (0..3000_u32).map(|number| (number % 251) as u8).collect();
        let talk = async {
            let Duplex {
                mut reader,
                mut writer,
            } = stream;
            // Both ways at once, with all rings full.
            let mut came = vec![0; bytes.len()];
            let receive = reader.read_exact(&mut came);
            let send = async {
                writer.write_all(&bytes).await?;
                writer.flush().await
            };
            let (received, sent) = tokio::join!(receive, send);
            (received.is_ok(), sent, came)
        };
        let serve = async {
            let stream = TlsAcceptor::from(server).accept(far).await;
            let Ok(stream) = stream else { return };
            let (mut reader, mut writer) = tokio::io::split(stream);
            // It sends as much of its own before it reads.
            writer.write_all(&bytes).await.expect("memory");
            writer.flush().await.expect("memory");
            let mut came = vec![0; bytes.len()];
            reader.read_exact(&mut came).await.expect("memory");
            assert!(came == bytes);
            _ = reader.read(&mut [0]).await;
        };
        let pump = Box::pin(pump.run(transport, buffers, &config, Os, Untimed));
        let ((received, sent, came), end, ()) = tokio::join!(talk, pump, serve);
        if len == 0 {
            assert_eq!((received, sent), (false, Err(TlsError::NoRoom)));
            assert_eq!(end, Err(TlsError::NoRoom));
            continue;
        }
        assert!(received && came == bytes, "{len}");
        assert_eq!((sent, end), (Ok(()), Ok(())), "{len}");
    }
}

/// rustls does not do as it is asked to: its record is longer than the buffer.
#[tokio::test]
async fn open_record_longer_than_the_buffer_ends_the_session_with_an_error_of_its_own() {
    let (authority, server) = pair();
    let (near, far) = tokio::io::duplex(50_000);
    let authorities = [&authority.certificate[..]];
    let config = trusting(&authorities);
    let talk = async |mut stream: TlsStream<'_>| {
        let mut bytes = [0; 100];
        stream.read_exact(&mut bytes).await.expect("a short one");
        stream.read(&mut bytes).await
    };
    let serve = async {
        let stream = TlsAcceptor::from(server).accept(far).await;
        let mut stream = stream.expect("a client");
        stream.write_all(&[7; 100]).await.expect("memory");
        stream.flush().await.expect("memory");
        stream.write_all(&[7; 5000]).await.expect("memory");
        stream.flush().await.expect("memory");
        _ = stream.read(&mut [0]).await;
    };
    let ((read, end), ()) = tokio::join!(client_with(near, &config, (2304, 640), talk), serve);
    assert_eq!((read, end), (Err(TlsError::NoRoom), Err(TlsError::NoRoom)));
}
