//! Calls every public function of the smoltcp adapter, over a stand-in for smoltcp that does
//! anything at all. It links only if no panic path survives in the adapter: see `README.md`.
#![no_std]
#![no_main]

use motews::Client;
use motews::deflate::Compressor;
use motews::handshake::{Answer, Request, Response, Upgrade};
use motews_linked::machine::{Generator, any, bytes, place, used};
use motews_smoltcp::{
    ClientSocket, Config, Dhcp, Host, Reconnecting, ServerSocket, WebSocket, gives_way,
};
use smoltcp::socket::tcp::Socket;
use smoltcp::time::Instant;

fn main() {
    let server = place::<ServerSocket<'_>>();
    *server = ServerSocket::new(place::<Config<'_>>());
    used(server.poll(socket(), any::<Instant>(), any()));
    server.accept(any::<Upgrade>());
    server.accept_with(any::<Upgrade>(), any::<Answer<'_>>());
    server.respond(any::<Response<'_>>());
    used(server.is_idle());
    used(server.poll_at(any()));
    server.give_way(socket());
    used(gives_way::<128>([&*place(), &*place()], any()));
    open(server);

    let client = place::<ClientSocket<'_, Generator>>();
    match ClientSocket::new(place(), any::<Request<'_>>(), Generator, any()) {
        Ok(new) => *client = new,
        Err(error) => return used(error),
    }
    used(client.poll(socket(), any::<Instant>(), any()));
    used(client.poll_at(any()));
    open::<Client<Generator>, _>(client);
    reconnecting();
    used(any::<Dhcp>().poll(place(), place(), any(), any()));
    used(Dhcp::new(any()));
    if cfg!(feature = "one_panic_path") {
        used(bytes()[any::<usize>()]);
    }
}

/// What both roles have.
fn open<R: motews::Role, H>(websocket: &mut WebSocket<'static, R, H>) {
    used(websocket.send(socket(), any()));
    used(websocket.send_fragment(socket(), any(), bytes(), any()));
    let compressor = place::<Compressor<[u8; 4096]>>();
    used(websocket.send_compressed(socket(), compressor, any(), bytes(), any()));
    used(websocket.send_room(socket()));
    used(websocket.ping(socket(), bytes()));
    used(websocket.close(any(), any()));
    websocket.fail(any());
    used(websocket.is_open());
    used(websocket.agreed());
}

/// A client that comes back.
fn reconnecting() {
    let server = (any::<Host<'_>>(), any());
    let new = Reconnecting::new(place(), any(), server, any(), Generator, any());
    let client = place::<Reconnecting<'_, Generator>>();
    *client = new.with_backoff(any()).with_backlog(any());
    used(client.poll(place(), place(), any(), any()));
    used(client.poll_at(any()));
    used(client.queue(any()));
    used(client.backlog() as *mut _);
    used(client.socket(place()).is_some());
    client.set_request(any(), any());
    client.set_server(place(), (any(), any()), any());
    client.set_link(any());
    used(client.close(place(), any(), any()));
    used(client.is_open());
    used(client.is_over());
}

fn socket() -> &'static mut Socket<'static> {
    place()
}

motews_linked::entry!(main);
