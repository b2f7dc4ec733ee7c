//! The blocking WebSocket, and a server's way to one. A client's is in `connect`.

pub(crate) mod accepting;
pub(crate) mod acceptor;
pub(crate) mod pipe;
pub(crate) mod receive;
pub(crate) mod received;
pub(crate) mod sender;
pub(crate) mod sending;
pub(crate) mod settings;
pub(crate) mod shared;
pub(crate) mod socket;
pub(crate) mod wake;
pub(crate) mod writer;
