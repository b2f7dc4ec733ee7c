//! Calls every public function of the embedded-io adapter in its blocking mode, over a transport
//! that does anything at all. It links only if no panic path survives in the adapter: see `README.md`.
#![no_std]
#![no_main]

use core::hint::black_box;

use motews::handshake::{HandshakeError, Request, RequestEvent, ResponseEvent};
use motews::reconnect::Cause;
use motews::{Client, MessageBuffer, Role, Server};
use motews_embedded_io::deflate::Deflate;
use motews_embedded_io::{Buffers, Config, Decision, Time, Untimed, blocking};
use motews_linked::machine::{Generator, any, bytes, happened, place, used};
use motews_linked::transport::{Watch, Wire};

type Buffer = &'static mut [u8];

fn main() {
    blocking_server();
    blocking_client();
    reconnecting();
    if cfg!(feature = "one_panic_path") {
        used(bytes()[any::<usize>()]);
    }
}

fn decide(event: Result<RequestEvent<'_>, HandshakeError>) -> Option<Decision<'static>> {
    used(black_box(&event).is_ok());
    any()
}

fn look(event: ResponseEvent<'_>) {
    used(black_box(&event) as *const _);
}

type WebSocket<R, K> = blocking::WebSocket<'static, Wire, R, K>;

fn buffers() -> Buffers<'static> {
    Buffers {
        receive: bytes(),
        transmit: bytes(),
    }
}

fn blocking_server() {
    let Ok(ws) = blocking::WebSocket::server(Wire::any(), buffers()) else {
        return;
    };
    begin(ws);
    let ws = place::<WebSocket<Server, Watch>>();
    used(ws.accept());
    used(ws.accept_with(decide));
    used(ws.has_heard());
    talk(ws);
    let ws = place::<WebSocket<Server, Untimed>>();
    used(ws.accept());
    used(ws.accept_with(decide));
    talk(ws);
    let upgraded =
        blocking::WebSocket::from_upgraded(Wire::any(), Server, buffers(), bytes(), any());
    if let Ok(ws) = upgraded {
        begin(ws);
    }
}

fn blocking_client() {
    let request = any::<Request<'_>>();
    let Ok(ws) = blocking::WebSocket::client(Wire::any(), buffers(), request, Generator) else {
        return;
    };
    begin(ws);
    let ws = place::<WebSocket<Client<Generator>, Watch>>();
    used(ws.connect());
    used(ws.connect_with(look));
    talk(ws);
}

/// A client that comes back.
fn reconnecting() {
    let connect = |wire: &mut Wire, task: blocking::Task| {
        used(wire as *mut Wire);
        used(task);
        any::<Result<(), Cause>>()
    };
    let new = blocking::Reconnecting::new(Wire::any(), connect, buffers(), any(), Generator, Watch);
    let Ok(new) = new else {
        return;
    };
    let new = new.with_config(place()).with_backoff(any());
    let mut client = new.with_backlog(any()).with_deflate(place());
    while happened() {
        used(client.queue(any()));
        used(client.backlog() as *mut _);
        used(client.send(any()));
        client.set_request(any());
        client.network_changed();
        used(client.close(any(), any()));
        used(client.is_open());
        used(client.is_over());
        used(client.wait());
        used(client.subprotocol());
        used(client.next(place::<MessageBuffer<Buffer>>()));
        used(client.poll(place::<MessageBuffer<Buffer>>()));
    }
}

/// Everything before the handshake.
fn begin<R: Role + 'static>(ws: WebSocket<R, Untimed>) {
    let mut ws = ws.with_config(place::<Config<'_>>());
    if happened() {
        let Ok(deflate) = Deflate::new(any(), any(), any()) else {
            return;
        };
        let lent = place::<Deflate<'static>>();
        *lent = deflate;
        ws = ws.with_deflate(lent);
    }
    if happened() {
        *place::<WebSocket<R, Watch>>() = ws.with_clock(Watch);
    } else {
        *place::<WebSocket<R, Untimed>>() = ws;
    }
}

fn talk<R: Role + 'static, K: Time + 'static>(ws: &mut WebSocket<R, K>) {
    used(ws.open());
    used(ws.next_event());
    used(ws.next_chunk());
    used(ws.recv(place::<MessageBuffer<Buffer>>()));
    used(ws.send(any()));
    used(ws.send_uncompressed(any()));
    used(ws.send_fragment(any(), bytes(), any()));
    used(ws.send_fragment_uncompressed(any(), bytes(), any()));
    used(ws.ping(bytes()));
    used(ws.flush());
    used(ws.close(any(), any()));
    used(ws.closed());
    used(ws.drain());
    let reply = place::<blocking::Reply<'static, Wire, R, K>>();
    used(reply.send(any()));
    used(reply.send_uncompressed(any()));
    used(reply.send_fragment(any(), bytes(), any()));
    used(reply.send_fragment_uncompressed(any(), bytes(), any()));
    used(reply.ping(bytes()));
    used(reply.close(any(), any()));
    used(reply.flush());
    ws.fail(any());
    used(ws.deflate());
    used(ws.is_open());
    used(ws.ended());
    used(ws.connection().is_some());
    used(ws.subprotocol());
    used(ws.transport() as *const Wire);
    used(ws.transport_mut() as *mut Wire);
    used(any::<WebSocket<R, K>>().into_transport());
}

motews_linked::entry!(main);
