//! What a connection takes in memory: the size of each symbol here is the size of a type.
#![no_std]
#![no_main]

use motews::handshake::{ClientHandshake, ServerHandshake};
use motews::{
    Client, Connection, ControlSlots, ControlStorage, Deadlines, MessageBuffer, Server, Window,
};
use motews_linked::machine::{Generator, hand, place};
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

size_of! {
    HOT: Connection<Server, Elsewhere>,
    SLOTS: ControlSlots,
    SERVER: Connection<Server>,
    CLIENT: Connection<Client<Driver>>,
    SERVER_HANDSHAKE: ServerHandshake<'static, [u8; 0]>,
    CLIENT_HANDSHAKE: ClientHandshake<'static, [u8; 0]>,
    DEADLINES: Deadlines,
    MESSAGE: MessageBuffer<[u8; 0]>,
    WINDOW: Window<[u8; 0]>,
    SMOLTCP_SERVER: ServerSocket<'static>,
    SMOLTCP_CLIENT: ClientSocket<'static, Driver>,
}

motews_linked::entry!(main);
