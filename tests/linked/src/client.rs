//! An async client on `embedded-io`, over whatever it is given: it opens, says something, receives whole
//! messages, closes, and has deadlines.

use core::pin::Pin;
use core::task::{Context, Waker};

use embedded_io_async::{Read, Write};
use motews::handshake::Request;
use motews::{CloseCode, Message, MessageBuffer};
use motews_embedded_io::asynch::WebSocket;
use motews_embedded_io::{Buffers, Error};

use crate::machine::{Generator, bytes, hand, happened, place};
use crate::transport::Watch;

/// The client. Its buffers are elsewhere.
///
/// # Errors
/// How it ended.
pub async fn client<T: Read + Write>(transport: T) -> Result<(), Error<T::Error>>
where
    T::Error: core::fmt::Debug,
{
    let buffers = Buffers {
        receive: bytes(),
        transmit: bytes(),
    };
    let request = Request::new("example.com", "/chat")?;
    let mut ws = WebSocket::client(transport, buffers, request, Generator)?.with_clock(Watch);
    ws.connect().await?;
    let mut messages = MessageBuffer::new(bytes());
    loop {
        ws.send(Message::Text("Hello")).await?;
        match ws.recv(&mut messages).await? {
            Some(Message::Text(text)) => hand(text.len()),
            Some(_) => {}
            None => return Ok(()),
        }
        if happened() {
            ws.close(CloseCode::NORMAL, "")?;
        }
    }
}

/// Runs a future, which is in static memory and not on the stack.
pub fn run<F: Future + 'static>(future: F) {
    let place = place::<F>();
    *place = future;
    let mut future = Pin::static_mut(place);
    let mut context = Context::from_waker(Waker::noop());
    while future.as_mut().poll(&mut context).is_pending() && happened() {}
}

/// Bytes of the future that a function of one argument returns.
pub const fn size_of_future<A, F: Future>(_: &impl Fn(A) -> F) -> usize {
    size_of::<F>()
}

/// Symbols that are as large as something is, each with a name.
#[macro_export]
macro_rules! sizes {
    ($($name:ident $what:literal: $size:expr,)*) => {
        $(
            #[doc = concat!("As large as ", $what, ".")]
            #[unsafe(export_name = concat!("size_of ", $what))]
            #[used]
            static $name: [u8; $size] = [0; $size];
        )*
    };
}
