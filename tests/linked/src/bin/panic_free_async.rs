//! Calls every async function of the embedded-io adapter, over a transport that does anything at all.
//! An `async fn` panics where it is polled after its end, and the optimizer cannot tell that this is
//! never done to those inside of others. So this one links, and `.ci/panic-free` looks that there is
//! no other way to a panic in it: see `README.md`.
#![no_std]
#![no_main]

use core::future::Future;
use core::hint::black_box;
use core::pin::pin;
use core::task::{Context, Waker};

use motews::handshake::{HandshakeError, RequestEvent, ResponseEvent};
use motews::{Client, MessageBuffer, Role, Server};
use motews_embedded_io::deflate::Memory;
use motews_embedded_io::{Decision, Duplex, Untimed, asynch};
use motews_linked::machine::{Generator, any, bytes, happened, place, used};
use motews_linked::transport::{Fault, Watch, Wire};

type Buffer = &'static mut [u8];

#[unsafe(no_mangle)]
extern "C" fn motews_panic_path_survives() -> ! {
    loop {}
}

fn main() {
    run(async_server());
    run(async_client());
    run(async_packing());
    run(halves());
    if cfg!(feature = "one_panic_path") {
        used(bytes()[any::<usize>()]);
    }
}

/// Polls it a number of times, and then drops it.
fn run(future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    let waker = Waker::noop();
    let mut context = Context::from_waker(waker);
    while future.as_mut().poll(&mut context).is_pending() && happened() {}
}

fn judge(event: Result<RequestEvent<'_>, HandshakeError>) -> Option<Decision<'static>> {
    used(black_box(&event).is_ok());
    any()
}

fn look(event: ResponseEvent<'_>) {
    used(black_box(&event) as *const _);
}

type AsyncServer<K> = asynch::WebSocket<'static, Wire, Server, Buffer, Buffer, K>;
type AsyncClient<K> = asynch::WebSocket<'static, Wire, Client<Generator>, Buffer, Buffer, K>;
type Packed = Memory<Buffer, Buffer, Buffer>;
type Packing<R> = asynch::WebSocket<'static, Wire, R, Buffer, Buffer, Watch, Packed>;

async fn async_server() {
    let ws = place::<AsyncServer<Watch>>();
    used(ws.accept().await);
    used(ws.accept_with(judge).await);
    async_open(ws).await;
    let ws = place::<AsyncServer<Untimed>>();
    used(ws.accept().await);
    used(ws.accept_with(judge).await);
    used(ws.next_event().await);
    used(ws.next_chunk().await);
    used(ws.send(any()).await);
    used(ws.flush().await);
}

async fn async_client() {
    let ws = place::<AsyncClient<Watch>>();
    used(ws.connect().await);
    used(ws.connect_with(look).await);
    async_open(ws).await;
}

async fn async_packing() {
    let ws = place::<Packing<Server>>();
    used(ws.accept().await);
    used(ws.accept_with(judge).await);
    packing_open(ws).await;
    let ws = place::<Packing<Client<Generator>>>();
    used(ws.connect().await);
    used(ws.connect_with(look).await);
    packing_open(ws).await;
}

/// What is the same with compression and without: two types.
macro_rules! open {
    ($ws:ident, $reply:ty) => {
        used($ws.next_event().await);
        used($ws.next_chunk().await);
        used($ws.recv(place::<MessageBuffer<Buffer>>()).await);
        used($ws.send(any()).await);
        used($ws.send_uncompressed(any()).await);
        used($ws.send_fragment(any(), bytes(), any()).await);
        used($ws.send_fragment_uncompressed(any(), bytes(), any()).await);
        used($ws.ping(bytes()).await);
        used($ws.flush().await);
        used($ws.close(any(), any()).await);
        used($ws.drain().await);
        let reply = place::<$reply>();
        used(reply.send(any()).await);
        used(reply.send_uncompressed(any()).await);
        used(reply.send_fragment(any(), bytes(), any()).await);
        used(
            reply
                .send_fragment_uncompressed(any(), bytes(), any())
                .await,
        );
        used(reply.ping(bytes()).await);
        used(reply.flush().await);
    };
}

async fn async_open<R: Role + 'static>(
    ws: &mut asynch::WebSocket<'static, Wire, R, Buffer, Buffer, Watch>,
) {
    open!(ws, asynch::Reply<'static, Wire, R, Buffer, Watch>);
}

async fn packing_open<R: Role + 'static>(ws: &mut Packing<R>) {
    open!(
        ws,
        asynch::Reply<'static, Wire, R, Buffer, Watch, Packed>
    );
}

/// What is the same for the halves of one that compresses and of one that does not.
macro_rules! halves {
    ($split:ty) => {
        let Ok(mut halves) = place::<$split>().split::<Fault>() else {
            return;
        };
        let (mut receiver, mut sender) = halves.both();
        let mut receive = pin!(async {
            used(receiver.next_event().await);
            used(receiver.recv(place::<MessageBuffer<Buffer>>()).await);
            used(receiver.ended());
        });
        let mut send = pin!(async {
            used(sender.send(any()).await);
            used(sender.send_uncompressed(any()).await);
            used(sender.send_fragment(any(), bytes(), any()).await);
            used(
                sender
                    .send_fragment_uncompressed(any(), bytes(), any())
                    .await,
            );
            used(sender.ping(bytes()).await);
            used(sender.flush().await);
            used(sender.start_close(any(), any()));
            used(sender.ended());
        });
        core::future::poll_fn(|context| {
            used(send.as_mut().poll(context));
            receive.as_mut().poll(context)
        })
        .await;
    };
}

/// Both halves of a client, the one with the more to do.
async fn halves() {
    type Both = Duplex<Wire, Wire>;
    type Random = Client<Generator>;
    halves!(asynch::WebSocket<'static, Both, Random, Buffer, Buffer, Watch>);
    halves!(asynch::WebSocket<'static, Both, Random, Buffer, Buffer, Watch, Packed>);
}

motews_linked::entry!(main);
