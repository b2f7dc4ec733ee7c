//! [`Pump`]: the one place where the futures of embedded-tls are polled, and never dropped in between.

use core::fmt;
use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::task::Poll;

use embedded_io_async::{BufRead, Read, Write};
use embedded_tls::{
    CryptoProvider, FlushPolicy, MaxFragmentLength, TlsCipherSuite, TlsConfig as Settings,
    TlsConnection, TlsContext, TlsError as Inner, TlsReader, TlsWriter,
};
use motews::{Entropy, Millis};

use super::config::TlsConfig;
use super::error::TlsError;
use super::guard::{Guard, Shared};
use super::provider::TlsProvider;
use super::ring::yield_once;
use super::tunnel::{Pump, Sending, TlsTunnel};
use crate::Duplex;
use crate::time::AsyncTime;

/// The least length of each buffer for records, in bytes.
pub const MIN_RECORD: usize = 640;
/// The longest record (RFC 8446 §5.2), in bytes.
pub const MAX_RECORD: usize = 16_640;
/// How many bytes go from the ring into a record at once.
const STEP: usize = 64;

/// The memory for one record each way: at least [`MIN_RECORD`] bytes.
#[derive(Debug)]
pub struct TlsBuffers<'a> {
    /// Holds one record that arrives, whole: [`MAX_RECORD`] bytes for any server. With less, the server
    /// is asked for shorter records (RFC 6066 §4): of 4,096 bytes from a buffer of 4,352 on, 2,048 from
    /// 2,304 on, 1,024 from 1,280 on, else 512. **Not every server complies**: OpenSSL does, rustls does
    /// not. And each message of the handshake, the server's certificates too, has to fit one record.
    pub read: &'a mut [u8],
    /// Holds one record that is sent, and before that each message of the handshake. Of it, 128 bytes
    /// are for TLS.
    pub write: &'a mut [u8],
}

/// A provider of the caller's own, in place of a [`TlsConfig`]: for RSA, a pre-shared key, or a key in
/// hardware.
///
/// **Who the server is, is then for its verifier to check.** embedded-tls goes on without a word if the
/// server sends no certificate, or no signature, and does not ask the verifier then.
pub struct Custom<'a, P, V> {
    /// embedded-tls's settings.
    pub settings: &'a Settings<'a>,
    /// Random numbers, the verifier, and the client's certificate.
    pub provider: &'a mut P,
    /// Asked when the handshake is over, before anything is sent, with what embedded-tls says: whether
    /// the server has proven who it is.
    pub check: V,
    /// As [`TlsConfig::close`].
    pub close: u32,
}

impl<P, V> fmt::Debug for Custom<'_, P, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Custom").finish_non_exhaustive()
    }
}

impl Pump<'_> {
    /// Opens a TLS session as a client over `transport`, moves bytes both ways, and ends it. It is done
    /// when TLS has ended, or soon after the [`TlsStream`](super::TlsStream) was dropped. The transport
    /// is not closed: that is left to do.
    ///
    /// Await it beside the WebSocket: in a `join`, or in a task of its own on the same executor. **Do
    /// not drop its future before its end**, for TLS cannot go on then; the stream ends with
    /// [`TlsError::PumpDropped`].
    ///
    /// `time` is that of the WebSocket, or [`Untimed`](crate::Untimed).
    ///
    /// # Errors
    /// How TLS ended unless in good order, as the stream is told. [`TlsError::TimedOut`] if its end could
    /// not be sent within [`TlsConfig::close`].
    pub fn run<Rd, Wr, E, K>(
        self,
        transport: Duplex<Rd, Wr>,
        buffers: TlsBuffers<'_>,
        config: &TlsConfig<'_>,
        entropy: E,
        time: K,
    ) -> impl Future<Output = Result<(), TlsError>>
    where
        Rd: Read,
        Wr: Write<Error = Rd::Error>,
        E: Entropy,
        K: AsyncTime,
    {
        // Now, for the future would keep the entropy.
        let mut provider = TlsProvider::new(config, entropy);
        let mut settings = provider
            .as_ref()
            .map(TlsProvider::settings)
            .unwrap_or_default();
        match buffers.read.len() {
            MAX_RECORD.. => {}
            4352.. => settings = settings.with_max_fragment_length(MaxFragmentLength::Bits12),
            2304.. => settings = settings.with_max_fragment_length(MaxFragmentLength::Bits11),
            1280.. => settings = settings.with_max_fragment_length(MaxFragmentLength::Bits10),
            _ => settings = settings.with_max_fragment_length(MaxFragmentLength::Bits9),
        }
        let close = config.close;
        async move {
            let end = match &mut provider {
                Ok(provider) => {
                    let check = TlsProvider::check;
                    let custom = Custom {
                        settings: &settings,
                        provider,
                        check,
                        close,
                    };
                    self.carry(transport, buffers, custom, time).await
                }
                Err(error) => Err(*error),
            };
            self.ended(end)
        }
    }

    /// As [`run`](Self::run), but with a provider of your own.
    ///
    /// # Errors
    /// The same, and what [`Custom::check`] returns.
    pub async fn run_with<Rd, Wr, P, V, K>(
        self,
        transport: Duplex<Rd, Wr>,
        buffers: TlsBuffers<'_>,
        custom: Custom<'_, P, V>,
        time: K,
    ) -> Result<(), TlsError>
    where
        Rd: Read,
        Wr: Write<Error = Rd::Error>,
        P: CryptoProvider,
        P::CipherSuite: 'static,
        V: Fn(&P, Result<(), Inner>) -> Result<(), TlsError>,
        K: AsyncTime,
    {
        let end = self.carry(transport, buffers, custom, time).await;
        self.ended(end)
    }

    /// Tells the stream, too.
    fn ended(&self, end: Result<(), TlsError>) -> Result<(), TlsError> {
        self.tunnel.end_with(end);
        end
    }

    /// Opens TLS, moves bytes until it has ended or the stream is dropped, and ends it.
    ///
    /// One future, for each that is handed an argument keeps it twice.
    fn carry<Rd, Wr, P, V, K>(
        &self,
        transport: Duplex<Rd, Wr>,
        buffers: TlsBuffers<'_>,
        custom: Custom<'_, P, V>,
        mut time: K,
    ) -> impl Future<Output = Result<(), TlsError>>
    where
        Rd: Read,
        Wr: Write<Error = Rd::Error>,
        P: CryptoProvider,
        P::CipherSuite: 'static,
        V: Fn(&P, Result<(), Inner>) -> Result<(), TlsError>,
        K: AsyncTime,
    {
        let tunnel = self.tunnel;
        let rooms = [buffers.read.len(), buffers.write.len()];
        let rings = [&tunnel.incoming, &tunnel.outgoing];
        let is_room = rooms.iter().all(|room| *room >= MIN_RECORD)
            && rings.iter().all(|ring| ring.capacity() > 0);
        let shared = Shared::new(transport);
        async move {
            if !is_room {
                return Err(TlsError::NoRoom);
            }
            let Custom {
                settings,
                provider,
                check,
                close,
            } = custom;
            let mut tls = TlsConnection::new(Guard(&shared), buffers.read, buffers.write);
            // The transport is flushed when the stream asks for it.
            tls.set_flush_policy(FlushPolicy::Relaxed);
            let opened = {
                let open = pin!(tls.open(TlsContext::new(settings, &mut *provider)));
                tunnel.unless_dropped(open).await
            };
            let Some(opened) = opened else {
                return Ok(());
            };
            let opened = check(provider, opened);
            shared.check_full()?;
            match opened {
                Err(TlsError::Truncated) if shared.is_broken() => return Err(TlsError::Protocol),
                checked => checked?,
            }
            shared.open();
            tunnel.open();

            let by;
            let sent = {
                let (reader, writer) = tls.split();
                let mut receive = pin!(receive(tunnel, reader, &shared));
                let mut send = pin!(send(tunnel, writer, &shared));
                let (mut received, mut sent) = (None, None);
                let both = pin!(poll_fn(|context| {
                    if received.is_none()
                        && let Poll::Ready(end) = receive.as_mut().poll(context)
                    {
                        received = Some(end);
                        tunnel.end_with(end);
                    }
                    if sent.is_none()
                        && let Poll::Ready(end) = send.as_mut().poll(context)
                    {
                        sent = Some(end);
                        if let Err(error) = end {
                            tunnel.refuse(error);
                        }
                    }
                    match received.is_some() && sent.is_some() {
                        true => Poll::Ready(()),
                        false => Poll::Pending,
                    }
                }));
                tunnel.unless_dropped(both).await;
                if let Some(end) = received {
                    // After the server's end embedded-tls cannot send its own.
                    return end;
                }
                by = time.time().after(close);
                match sent {
                    Some(sent) => Some(sent),
                    None => in_time(&mut time, by, send.as_mut()).await,
                }
            };
            sent.ok_or(TlsError::TimedOut)??;
            let close = pin!(tls.close());
            match in_time(&mut time, by, close).await {
                Some(Ok(_)) => shared.check_full(),
                Some(Err((_, error))) => Err(shared.call(&error, false)),
                None => Err(TlsError::TimedOut),
            }
        }
    }
}

impl<Rd, Wr> Shared<Rd, Wr> {
    fn call(&self, error: &Inner, opening: bool) -> TlsError {
        match self.check_full() {
            Err(error) => error,
            Ok(()) if self.is_broken() => TlsError::Protocol,
            Ok(()) => TlsError::of(error, opening),
        }
    }
}

/// Moves what TLS brings into the ring, until the end of TLS.
async fn receive<Rd, Wr, C>(
    tunnel: &TlsTunnel<'_>,
    mut reader: TlsReader<'_, Guard<'_, Rd, Wr>, C>,
    shared: &Shared<Rd, Wr>,
) -> Result<(), TlsError>
where
    Rd: Read,
    C: TlsCipherSuite + 'static,
{
    loop {
        let bytes = match reader.fill_buf().await {
            Ok(bytes) => bytes,
            Err(Inner::ConnectionClosed) => return Ok(()),
            Err(error) => return Err(shared.call(&error, false)),
        };
        let ring = &tunnel.incoming;
        let put = || Some(ring.put(bytes)).filter(|len| *len > 0);
        let len = ring.until_put(put).await;
        reader.consume(len);
    }
}

/// What is to be done with what the stream has written.
enum Work {
    /// So many bytes were taken out of the ring.
    Write(usize),
    /// The ring is empty. The record is to be completed.
    EndRecord,
    /// All records are with the transport, which is to be flushed.
    Flush,
    /// Nothing will come any more.
    End,
}

/// Moves what the stream writes into records, until there will be no more.
async fn send<Rd, Wr, C>(
    tunnel: &TlsTunnel<'_>,
    mut writer: TlsWriter<'_, Guard<'_, Rd, Wr>, C>,
    shared: &Shared<Rd, Wr>,
) -> Result<(), TlsError>
where
    Rd: Read,
    Wr: Write<Error = Rd::Error>,
    C: TlsCipherSuite + 'static,
{
    let call = |error| shared.call(&error, false);
    let TlsTunnel {
        outgoing: ring,
        sending,
        flush_wanted,
        ..
    } = tunnel;
    let mut bytes = [0; STEP];
    loop {
        let work = || match (ring.take(&mut bytes), sending.get()) {
            (len @ 1.., _) => Some(Work::Write(len)),
            (_, Sending::Waiting) => Some(Work::EndRecord),
            (_, Sending::Written) if flush_wanted.get() => Some(Work::Flush),
            _ => tunnel.is_over().then_some(Work::End),
        };
        match ring.until_taken(work).await {
            Work::Write(len) => {
                let bytes = bytes.get(..len).unwrap_or_default();
                writer.write_all(bytes).await.map_err(call)?;
            }
            Work::EndRecord => {
                sending.set(Sending::Written);
                // The stream may have more to write than the ring holds.
                yield_once().await;
                if sending.get() == Sending::Written {
                    writer.flush().await.map_err(call)?;
                }
            }
            Work::Flush => {
                flush_wanted.set(false);
                shared.flush().await.map_err(TlsError::Io)?;
                if sending.get() == Sending::Written {
                    sending.set(Sending::Flushed);
                    ring.wake();
                }
            }
            Work::End => return Ok(()),
        }
        shared.check_full()?;
    }
}

/// Awaits `future` until that time. Without a source of time it gets one attempt.
async fn in_time<V, K: AsyncTime>(
    time: &mut K,
    by: Millis,
    mut future: Pin<&mut impl Future<Output = V>>,
) -> Option<V> {
    let mut timer = pin!(time.wait_until(Some(by)));
    poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if !K::IS_TIMED => Poll::Ready(None),
        Poll::Pending => timer.as_mut().poll(context).map(|()| None),
    })
    .await
}
