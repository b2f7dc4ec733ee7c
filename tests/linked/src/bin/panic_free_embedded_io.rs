//! Calls every public function of the embedded-io adapter in its blocking mode, over a transport
//! that does anything at all. It links only if no panic path survives in the adapter: see `README.md`.
#![no_std]
#![no_main]

use core::hint::black_box;

use motews::deflate::Level;
use motews::handshake::{HandshakeError, Request, RequestEvent, ResponseEvent};
use motews::{Client, MessageBuffer, Role, Server};
use motews_embedded_io::deflate::Memory;
use motews_embedded_io::{Config, Decision, Error, Time, Untimed, blocking};
use motews_linked::machine::{Generator, any, bytes, happened, place, used};
use motews_linked::transport::{Fault, Watch, Wire};

type Buffer = &'static mut [u8];

fn main() {
    blocking_server();
    blocking_client();
    if cfg!(feature = "one_panic_path") {
        used(bytes()[any::<usize>()]);
    }
}

fn judge(event: Result<RequestEvent<'_>, HandshakeError>) -> Option<Decision<'static>> {
    used(black_box(&event).is_ok());
    any()
}

fn look(event: ResponseEvent<'_>) {
    used(black_box(&event) as *const _);
}

type BlockingServer<K> = blocking::WebSocket<'static, Wire, Server, Buffer, Buffer, K>;
type BlockingClient<K> = blocking::WebSocket<'static, Wire, Client<Generator>, Buffer, Buffer, K>;
type Packed = Memory<Buffer, Buffer, Buffer>;
type Packing<R, K> = blocking::WebSocket<'static, Wire, R, Buffer, Buffer, K, Packed>;

fn blocking_server() {
    let Ok(ws) = blocking::WebSocket::server(Wire::any(), bytes(), bytes()) else {
        return;
    };
    let ws = ws.with_config(place::<Config<'_>>());
    if happened() {
        *place::<BlockingServer<Watch>>() = ws.with_clock(Watch);
    } else {
        *place::<BlockingServer<_>>() = ws;
    }
    let ws = place::<BlockingServer<Watch>>();
    used(ws.accept());
    used(ws.accept_with(judge));
    blocking_open(ws);
    let ws = place::<BlockingServer<Untimed>>();
    used(ws.accept());
    used(ws.accept_with(judge));
    blocking_open(ws);

    let ws = any::<BlockingServer<Watch>>();
    let Ok(ws) = ws.with_deflate(any(), any::<Level>(), any::<Packed>()) else {
        return;
    };
    *place::<Packing<Server, Watch>>() = ws;
    let ws = place::<Packing<Server, Watch>>();
    used(ws.accept());
    used(ws.accept_with(judge));
    used(ws.has_heard());
    used(ws.deflate());
    blocking_packing(ws);
    let ws = place::<Packing<Server, Untimed>>();
    used(ws.accept());
    blocking_packing(ws);
}

fn blocking_client() {
    let request = any::<Request<'_>>();
    let Ok(ws) = blocking::WebSocket::client(Wire::any(), bytes(), bytes(), request, Generator)
    else {
        return;
    };
    *place::<BlockingClient<_>>() = ws;
    let ws = place::<BlockingClient<Watch>>();
    used(ws.connect());
    used(ws.connect_with(look));
    blocking_open(ws);

    let ws = any::<BlockingClient<Watch>>();
    let Ok(ws) = ws.with_deflate(any(), any::<Level>(), any::<Packed>()) else {
        return;
    };
    *place::<Packing<Client<Generator>, Watch>>() = ws;
    let ws = place::<Packing<Client<Generator>, Watch>>();
    used(ws.connect());
    used(ws.connect_with(look));
    blocking_packing(ws);
}

/// What is the same with compression and without: two types.
macro_rules! open {
    ($ws:ident, $socket:ty, $reply:ty) => {
        used($ws.next_event());
        used($ws.next_chunk());
        used($ws.recv(place::<MessageBuffer<Buffer>>()));
        used($ws.send(any()));
        used($ws.send_uncompressed(any()));
        used($ws.send_fragment(any(), bytes(), any()));
        used($ws.send_fragment_uncompressed(any(), bytes(), any()));
        used($ws.ping(bytes()));
        used($ws.flush());
        used($ws.close(any(), any()));
        used($ws.drain());
        let reply = place::<$reply>();
        used(reply.send(any()));
        used(reply.send_uncompressed(any()));
        used(reply.send_fragment(any(), bytes(), any()));
        used(reply.send_fragment_uncompressed(any(), bytes(), any()));
        used(reply.ping(bytes()));
        used(reply.flush());
        used::<Result<(), Error<Fault>>>($ws.start_close(any(), any()));
        $ws.fail(any());
        used($ws.is_open());
        used($ws.ended());
        used($ws.connection().is_some());
        used($ws.subprotocol());
        used($ws.transport() as *const Wire);
        used($ws.transport_mut() as *mut Wire);
        used(any::<$socket>().into_transport());
    };
}

fn blocking_open<R: Role + 'static, K: Time + 'static>(
    ws: &mut blocking::WebSocket<'static, Wire, R, Buffer, Buffer, K>,
) {
    open!(
        ws,
        blocking::WebSocket<'static, Wire, R, Buffer, Buffer, K>,
        blocking::Reply<'static, Wire, R, Buffer, K>
    );
}

fn blocking_packing<R: Role + 'static, K: Time + 'static>(ws: &mut Packing<R, K>) {
    open!(
        ws,
        Packing<R, K>,
        blocking::Reply<'static, Wire, R, Buffer, K, Packed>
    );
}

motews_linked::entry!(main);
