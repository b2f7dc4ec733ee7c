//! The same board with an echo over WebSocket, and nothing else.
#![no_std]
#![no_main]

use firmware::board::{self, Board, entry};
use firmware::network;
use motews::Event;
use motews::handshake::RequestEvent;
use motews_smoltcp::{Config, ServerEvent, ServerSocket};
use smoltcp::iface::{SocketSet, SocketStorage};
use smoltcp::socket::tcp::{Socket, SocketBuffer};

static CONFIG: Config<'static> = Config::DEFAULT;

#[entry]
fn main() -> ! {
    let Some(mut board) = Board::take() else {
        board::exit(1)
    };
    let mut interface = network::interface(&mut board.ethernet, 0);
    let (mut rx, mut tx) = ([0; 2048], [0; 2048]);
    let mut storage = [SocketStorage::EMPTY];
    let mut sockets = SocketSet::new(&mut storage[..]);
    let mut socket = Socket::new(
        SocketBuffer::new(&mut rx[..]),
        SocketBuffer::new(&mut tx[..]),
    );
    socket.set_nagle_enabled(false);
    _ = socket.listen(network::PORT);
    let handle = sockets.add(socket);
    let mut server: ServerSocket<'_> = ServerSocket::new(&CONFIG);
    defmt::info!("an echo over WebSocket");

    loop {
        let now = network::now();
        interface.poll(now, &mut board.ethernet, &mut sockets);
        let tcp = sockets.get_mut::<Socket<'_>>(handle);
        let mut part = [0; 512];
        let room = server.send_room(tcp).min(part.len());
        match server.poll(tcp, now, room) {
            Some(ServerEvent::Request(RequestEvent::Done(upgrade))) => server.accept(upgrade),
            Some(ServerEvent::Received(Event::Data(chunk))) => {
                let (kind, last) = (chunk.kind, chunk.last);
                let part = &mut part[..chunk.bytes.len()];
                part.copy_from_slice(chunk.bytes);
                _ = server.send_fragment(tcp, kind, part, last);
            }
            Some(_) => {}
            None => board::sleep(),
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("panicked");
    board::exit(101)
}
