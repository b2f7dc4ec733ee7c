//! What a connection takes in memory: the size of each symbol here is the size of a type.
#![no_std]
#![no_main]

use motews::handshake::{ClientHandshake, ServerHandshake};
use motews::{
    Client, Connection, ControlSlots, ControlStorage, MessageBuffer, Pace, Server, Session, Window,
};
use motews_embedded_io::deflate::{Deflate, Memory};
use motews_embedded_io::{Buffers, Error, asynch};
use motews_linked::machine::{Generator, any, bytes, hand, place};
use motews_linked::transport::{Fault, Watch, Wire};
use motews_smoltcp::{ClientSocket, ServerSocket};

/// Control slots that are not in the connection.
#[derive(Default)]
struct Elsewhere;

impl ControlStorage for Elsewhere {
    fn slots(&mut self) -> &mut ControlSlots {
        place()
    }
}

/// A generator behind a reference, as a driver is.
type Driver = &'static mut Generator;

macro_rules! size_of {
    ($($name:ident: $type:ty,)*) => {
        $(
            #[doc = concat!("As large as a `", stringify!($type), "`.")]
            #[unsafe(export_name = concat!("size_of ", stringify!($type)))]
            static $name: [u8; size_of::<$type>()] = [0; size_of::<$type>()];
        )*

        fn main() {
            $(hand(&raw const $name as usize);)*
        }
    };
}

/// An echo server as the adapter's documentation has it. Its buffers are elsewhere.
macro_rules! echo {
    ($name:ident, |$ws:ident| $with:expr $(, $deflate:ident = $new:expr)?) => {
        async fn $name(wire: Wire) -> Result<(), Error<Fault>> {
            $(let mut $deflate = $new;)?
            let $ws = asynch::WebSocket::server(wire, buffers())?;
            let mut ws = $with;
            ws.accept().await?;
            while let Some((chunk, reply)) = ws.next_chunk().await? {
                let mut rest = &*chunk.bytes;
                loop {
                    let taken = reply.send_fragment(chunk.kind, rest, chunk.last).await?;
                    rest = rest.get(taken..).unwrap_or_default();
                    if rest.is_empty() {
                        break;
                    }
                }
            }
            Ok(())
        }
    };
}

echo!(echo, |ws| ws);
echo!(echo_timed, |ws| ws.with_clock(Watch));
echo!(
    echo_deflate,
    |ws| ws.with_deflate(&mut deflate),
    deflate = Deflate::new(any(), any(), memory())?
);

fn buffers() -> Buffers<'static> {
    Buffers {
        receive: bytes(),
        transmit: bytes(),
    }
}

/// The memory for compression, elsewhere as well.
fn memory() -> Memory<'static> {
    Memory {
        window: bytes(),
        deflater: bytes(),
        parts: bytes(),
    }
}

/// As large as the future of `make`.
const fn size_of_future<F: Future>(_: &impl Fn(Wire) -> F) -> usize {
    size_of::<F>()
}

type EchoFuture = [u8; size_of_future(&echo)];
type EchoFutureTimed = [u8; size_of_future(&echo_timed)];
type EchoFutureDeflate = [u8; size_of_future(&echo_deflate)];

size_of! {
    ECHO: EchoFuture,
    ECHO_TIMED: EchoFutureTimed,
    ECHO_DEFLATE: EchoFutureDeflate,
    HOT: Connection<Server, Elsewhere>,
    SLOTS: ControlSlots,
    SERVER: Connection<Server>,
    CLIENT: Connection<Client<Driver>>,
    SERVER_HANDSHAKE: ServerHandshake<[u8; 0]>,
    CLIENT_HANDSHAKE: ClientHandshake<[u8; 0]>,
    SESSION: Session<Server, Elsewhere>,
    PACE: Pace,
    MESSAGE: MessageBuffer<[u8; 0]>,
    WINDOW: Window<[u8; 0]>,
    SMOLTCP_SERVER: ServerSocket<'static>,
    SMOLTCP_CLIENT: ClientSocket<'static, Driver>,
}

motews_linked::entry!(main);
