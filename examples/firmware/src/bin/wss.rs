//! The board as a client over TLS that gives back what it gets: the one that the Autobahn test suite's
//! `fuzzingserver` tests. With the feature `tls-deflate` it offers compression.
//!
//! The TLS session is a future of its own beside the WebSocket's, and both are in one task. At the end the
//! board logs how deep the stack was, and QEMU ends.
#![no_std]
#![no_main]

use core::cell::RefCell;
use core::fmt::Write;
use core::pin::pin;

use embassy_futures::select::select;
use embassy_net::Stack;
use firmware::board::{self, Board, entry};
use firmware::entropy::Cipher;
use firmware::secure::{self, Sessions};
use firmware::stay::SERVER;
use firmware::{embassy, online, stack};
use heapless::String;
#[cfg(feature = "tls-deflate")]
use motews::deflate::{DeflateConfig, DeflateContext, Deflater, Level, WindowBits};
use motews::handshake::Request;
use motews::{CloseCode, Message, MessageBuffer};
use motews_embedded_io::asynch::WebSocket;
#[cfg(feature = "tls-deflate")]
use motews_embedded_io::deflate::{Deflate, Memory as Compression};
use motews_embedded_io::tls::{TlsError, TlsStream, TlsTunnel};
use motews_embedded_io::{Buffers, Config, EmbassyClock, Error};
use static_cell::ConstStaticCell;

/// Bytes of each of the WebSocket's two buffers, and of each of the tunnel's two rings. A message may be
/// longer.
const BUFFER: usize = 512;

static CONFIG: Config<'static> = Config {
    // The tunnel's waits for the server to acknowledge.
    flush: false,
    ..Config::DEFAULT
};

/// A KiB for each direction.
#[cfg(feature = "tls-deflate")]
const CONTEXT: DeflateContext = DeflateContext {
    window_bits: match WindowBits::new(10) {
        Some(bits) => bits,
        None => WindowBits::MIN,
    },
    takeover: true,
};
#[cfg(feature = "tls-deflate")]
const DEFLATE: DeflateConfig = DeflateConfig {
    send: CONTEXT,
    receive: CONTEXT,
};
/// Bytes that what is sent is compressed in.
#[cfg(feature = "tls-deflate")]
const DEFLATER: usize = Deflater::<&mut [u8]>::min_memory(CONTEXT.window_bits) + 384;

/// All that the connection needs but for its task.
struct Memory {
    tls: secure::Memory<3072, 1024, BUFFER>,
    talk: Talk,
}

/// What of it is the WebSocket's.
struct Talk {
    buffers: [[u8; BUFFER]; 2],
    #[cfg(feature = "tls-deflate")]
    window: [u8; CONTEXT.window_bits.size()],
    #[cfg(feature = "tls-deflate")]
    deflater: [u8; DEFLATER],
    #[cfg(feature = "tls-deflate")]
    parts: [u8; 256],
}

static MEMORY: ConstStaticCell<Memory> = ConstStaticCell::new(Memory {
    tls: secure::Memory::NEW,
    talk: Talk {
        buffers: [[0; BUFFER]; 2],
        #[cfg(feature = "tls-deflate")]
        window: [0; CONTEXT.window_bits.size()],
        #[cfg(feature = "tls-deflate")]
        deflater: [0; DEFLATER],
        #[cfg(feature = "tls-deflate")]
        parts: [0; 256],
    },
});

#[entry]
fn main() -> ! {
    let Some(board) = Board::take() else {
        board::exit(1)
    };
    let memory = MEMORY.take();
    let mut cipher = Cipher::new(board::seed());
    embassy::run(|spawner| {
        let network = online::start(spawner, board.ethernet, cipher.number());
        // There is one.
        if let Ok(run) = run(network, memory, cipher) {
            spawner.spawn(run);
        }
        defmt::info!("RAM for the stack: {} bytes", stack::size());
    })
}

#[embassy_executor::task]
async fn run(network: Stack<'static>, memory: &'static mut Memory, cipher: Cipher) {
    let Memory { tls, talk } = memory;
    let ([incoming, outgoing], lower) = tls.split();
    let generator = &RefCell::new(cipher);
    let tunnel = &TlsTunnel::new(incoming, outgoing);
    let sessions = &Sessions::new(tunnel);
    let talking = pin!(all(sessions, talk, generator));
    let pumping = pin!(sessions.pump(network, lower, generator));
    defmt::info!("the task of TLS: {} bytes", size_of_val(&*pumping));
    defmt::info!(
        "the task of the WebSocket: {} bytes",
        size_of_val(&*talking)
    );
    select(talking, pumping).await;
    defmt::info!(
        "the stack at its deepest: {} bytes",
        stack::high_water_mark()
    );
    board::exit(0)
}

type Ws<'a, 't> = WebSocket<'a, TlsStream<'t>, motews::Client<&'a RefCell<Cipher>>, EmbassyClock>;

/// What is left of a connection.
#[derive(Debug, defmt::Format)]
enum Failed {
    /// There was no TLS.
    Connect,
    /// It has ended so.
    Socket(Error<TlsError>),
}

/// Has all cases run.
async fn all(sessions: &Sessions<'_>, talk: &mut Talk, generator: &RefCell<Cipher>) {
    let count = match count(sessions, talk, generator).await {
        Ok(count) => count,
        Err(error) => {
            defmt::error!("there are no cases: {}", error);
            board::exit(6)
        }
    };
    defmt::info!("{} cases", count);
    for case in 1..=count {
        let mut target: String<40> = String::new();
        _ = write!(target, "/runCase?case={case}&agent=motews");
        // Most cases end with a failure of the connection, which is what they test.
        if let Err(error) = echo(sessions, talk, generator, &target).await {
            defmt::info!("case {} of {}: {}", case, count, error);
        }
    }
    let reported = echo(sessions, talk, generator, "/updateReports?agent=motews").await;
    if let Err(error) = reported {
        defmt::error!("there is no report: {}", error);
        board::exit(7)
    }
}

/// A WebSocket over the next session.
async fn client<'a, 't>(
    sessions: &Sessions<'t>,
    buffers: Buffers<'a>,
    generator: &'a RefCell<Cipher>,
    target: &'a str,
) -> Result<Ws<'a, 't>, Failed> {
    let (stream, connected) = sessions.next().await;
    connected.map_err(|_| Failed::Connect)?;
    let socket = Request::new(SERVER.0, target)
        .map_err(Error::from)
        .and_then(|request| Ok(WebSocket::client(stream, buffers, request, generator)?));
    let socket = socket.map_err(Failed::Socket)?;
    Ok(socket.with_config(&CONFIG).with_clock(EmbassyClock))
}

/// How many cases there are.
async fn count(
    sessions: &Sessions<'_>,
    talk: &mut Talk,
    generator: &RefCell<Cipher>,
) -> Result<u32, Failed> {
    let mut socket = client(sessions, talk.buffers(), generator, "/getCaseCount").await?;
    let mut messages = MessageBuffer::new([0; 16]);
    let counted = async {
        socket.connect().await?;
        let count = match socket.recv(&mut messages).await? {
            Some(Message::Text(text)) => text.parse().unwrap_or(0),
            _ => 0,
        };
        socket.close(CloseCode::NORMAL, "")?;
        socket.closed().await?;
        Ok(count)
    };
    counted.await.map_err(Failed::Socket)
}

/// Gives back what comes, until the server's Close.
async fn echo(
    sessions: &Sessions<'_>,
    talk: &mut Talk,
    generator: &RefCell<Cipher>,
    target: &str,
) -> Result<(), Failed> {
    #[cfg(feature = "tls-deflate")]
    let memory = Compression {
        window: &mut talk.window,
        deflater: &mut talk.deflater,
        parts: &mut talk.parts,
    };
    #[cfg(feature = "tls-deflate")]
    let Ok(mut deflate) = Deflate::new(DEFLATE, Level::Fast, memory) else {
        board::exit(8)
    };
    let [receive, transmit] = &mut talk.buffers;
    let buffers = Buffers { receive, transmit };
    let socket = client(sessions, buffers, generator, target).await?;
    #[cfg(feature = "tls-deflate")]
    let socket = socket.with_deflate(&mut deflate);
    let mut socket = socket;
    let echoed = async {
        socket.connect().await?;
        while let Some((chunk, reply)) = socket.next_chunk().await? {
            embassy::echo(chunk, reply).await?;
        }
        socket.closed().await?;
        Ok(())
    };
    echoed.await.map_err(Failed::Socket)
}

impl Talk {
    fn buffers(&mut self) -> Buffers<'_> {
        let [receive, transmit] = &mut self.buffers;
        Buffers { receive, transmit }
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let line = info.location().map_or(0, |location| location.line());
    let file = info.location().map_or("", |location| location.file());
    defmt::error!("panicked at {}:{}", file, line);
    board::exit(101)
}
