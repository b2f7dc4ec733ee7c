//! The same board with an echo over plain TCP: what everything but WebSocket takes.
#![no_std]
#![no_main]

use firmware::board::{self, Board, entry};
use firmware::network;
use smoltcp::iface::{SocketSet, SocketStorage};
use smoltcp::socket::tcp::{RecvError, Socket, SocketBuffer};

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
    let handle = sockets.add(socket);
    defmt::info!("an echo over TCP");

    loop {
        interface.poll(network::now(), &mut board.ethernet, &mut sockets);
        let tcp = sockets.get_mut::<Socket<'_>>(handle);
        if !tcp.is_open() {
            _ = tcp.listen(network::PORT);
        }
        let mut part = [0; 512];
        let room = tcp.send_capacity().saturating_sub(tcp.send_queue());
        let part = &mut part[..room.min(512)];
        match tcp.recv_slice(part) {
            Ok(len @ 1..) => _ = tcp.send_slice(part.get(..len).unwrap_or_default()),
            Err(RecvError::Finished) => tcp.close(),
            _ => board::sleep(),
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("panicked");
    board::exit(101)
}
