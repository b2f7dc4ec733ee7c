//! The client that the Autobahn test suite's `fuzzingserver` tests, over TLS: the async WebSocket and the
//! TLS of the embedded-io adapter on Tokio, as firmware has them.

use core::error::Error as StdError;
use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use embedded_io_adapters::tokio_1::FromTokio;
use motews::deflate::DeflateConfig;
use motews::handshake::Request;
use motews::{Client, CloseCode, Message, MessageBuffer};
use motews_embedded_io::asynch::WebSocket;
use motews_embedded_io::tls::{
    MAX_RECORD, TlsBuffers, TlsConfig, TlsError, TlsStream, TlsTime, TlsTunnel, Trust,
};
use motews_embedded_io::{Buffers, Duplex};
use motews_examples::embedded_io::{Os, Owned, OwnedDeflate, TokioTime, echo_async};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

type Fallible<T> = Result<T, Box<dyn StdError>>;
type Ws<'a> = WebSocket<'a, TlsStream<'a>, Client<Os>, TokioTime>;

/// The name that the server's certificate must have.
const NAME: &str = "localhost";

/// Runs all cases of a fuzzingserver behind TLS.
#[derive(Parser)]
#[command(name = "embedded_io_tls_autobahn_client")]
struct Options {
    /// Where the suite is: wss://127.0.0.1:9001
    url: String,

    /// The certificate of the authority to trust, as DER.
    #[arg(long)]
    authority: PathBuf,

    /// Offer compression.
    #[arg(long)]
    deflate: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Fallible<()> {
    let options = Options::parse();
    let address = options.url.trim_start_matches("wss://");
    let authority = fs::read(&options.authority)?;
    let authorities = [&authority[..]];
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let config = TlsConfig::new(NAME, Trust::Authorities(&authorities), TlsTime::Now(now));

    let mut count = 0;
    let counted = session(address, &config, async |stream, buffers| {
        let mut ws = client(stream, address, "/getCaseCount", buffers)?;
        let mut messages = MessageBuffer::new([0; 16]);
        ws.connect().await?;
        if let Some(Message::Text(text)) = ws.recv(&mut messages).await? {
            count = text.parse()?;
        }
        ws.close(CloseCode::NORMAL, "")?;
        ws.closed().await?;
        Ok(())
    });
    counted.await?;

    for case in 1..=count {
        let target = format!("/runCase?case={case}&agent=motews");
        let mut memory = options
            .deflate
            .then(|| OwnedDeflate::new(DeflateConfig::MAX));
        let end = session(address, &config, async |stream, buffers| {
            let mut deflate = memory.as_mut().map(OwnedDeflate::lend).transpose()?;
            let mut ws = client(stream, address, &target, buffers)?;
            if let Some(deflate) = &mut deflate {
                ws = ws.with_deflate(deflate);
            }
            ws.connect().await?;
            echo_async(&mut ws).await?;
            ws.closed().await?;
            Ok(())
        });
        // Most cases end with a failure of the connection, which is what they test.
        if let Err(error) = end.await {
            println!("case {case} of {count}: {error}");
        }
    }

    let report = session(address, &config, async |stream, buffers| {
        let mut ws = client(stream, address, "/updateReports?agent=motews", buffers)?;
        ws.connect().await?;
        while ws.next_event().await?.is_some() {}
        Ok(())
    });
    report.await
}

fn client<'a>(
    stream: TlsStream<'a>,
    host: &'a str,
    target: &'a str,
    buffers: Buffers<'a>,
) -> Fallible<Ws<'a>> {
    let request = Request::new(host, target)?;
    let ws = WebSocket::client(stream, buffers, request, Os)?;
    Ok(ws.with_clock(TokioTime::new()))
}

/// One connection, from TCP's beginning to its end. TLS is beside what `talk` does.
async fn session(
    address: &str,
    config: &TlsConfig<'_>,
    talk: impl AsyncFnOnce(TlsStream<'_>, Buffers<'_>) -> Fallible<()>,
) -> Fallible<()> {
    let mut tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let end = {
        let (reader, writer) = tcp.split();
        let transport = Duplex {
            reader: FromTokio::new(reader),
            writer: FromTokio::new(writer),
        };
        let (mut incoming, mut outgoing) = ([0; 512], [0; 512]);
        let mut tunnel = TlsTunnel::new(&mut incoming, &mut outgoing);
        let (stream, pump) = tunnel.ends();
        let (mut read, mut write) = (vec![0; MAX_RECORD], vec![0; 4096]);
        let records = TlsBuffers {
            read: &mut read,
            write: &mut write,
        };
        let pump = Box::pin(pump.run(transport, records, config, Os, TokioTime::new()));
        let mut buffers = Owned::new(16 * 1024);
        let (end, tls) = tokio::join!(Box::pin(talk(stream, buffers.lend())), pump);
        match tls {
            // The suite ends TCP as soon as it is through.
            Ok(()) | Err(TlsError::Truncated | TlsError::Io(_) | TlsError::Closed) => end,
            Err(error) => end.and(Err(error.into())),
        }
    };
    _ = tcp.shutdown().await;
    end
}
