//! Calls every async function of the embedded-io adapter, over a transport that does anything at all.
//! An `async fn` panics where it is polled after its end, and the optimizer cannot tell that this is
//! never done to those inside of others. So this one links, and `.ci/panic-free` looks that there is
//! no other way to a panic in it: see `README.md`.
#![no_std]
#![no_main]

use core::future::Future;
use core::hint::black_box;
use core::pin::{Pin, pin};
use core::task::{Context, Waker};

use motews::handshake::{HandshakeError, RequestEvent, ResponseEvent};
use motews::reconnect::Cause;
use motews::{Client, MessageBuffer, Role, Server};
use motews_embedded_io::deflate::Deflate;
use motews_embedded_io::{AsyncTime, Buffers, Config, Decision, Duplex, Time, Untimed, asynch};
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
    run(halves());
    run(reconnecting());
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

fn decide(event: Result<RequestEvent<'_>, HandshakeError>) -> Option<Decision<'static>> {
    used(black_box(&event).is_ok());
    any()
}

fn look(event: ResponseEvent<'_>) {
    used(black_box(&event) as *const _);
}

type WebSocket<R, K = Watch> = asynch::WebSocket<'static, Wire, R, K>;

fn buffers() -> Buffers<'static> {
    Buffers {
        receive: bytes(),
        transmit: bytes(),
    }
}

/// Everything before the handshake.
fn begin<R: Role + 'static>(ws: WebSocket<R, Untimed>) {
    let mut ws = ws.with_config(place::<Config<'_>>());
    if happened() {
        ws = ws.with_deflate(place::<Deflate<'static>>());
    }
    if happened() {
        *place::<WebSocket<R>>() = ws.with_clock(Watch);
    } else {
        *place::<WebSocket<R, Untimed>>() = ws;
    }
}

async fn async_server() {
    if let Ok(ws) = asynch::WebSocket::server(Wire::any(), buffers()) {
        begin(ws);
    }
    if let Ok(ws) = asynch::WebSocket::from_upgraded(Wire::any(), Server, buffers(), bytes(), any())
    {
        begin(ws);
    }
    let ws = place::<WebSocket<Server>>();
    used(ws.has_heard());
    used(ws.accept().await);
    used(ws.accept_with(decide).await);
    talk(ws).await;
    let ws = place::<WebSocket<Server, Untimed>>();
    used(ws.accept().await);
    used(ws.accept_with(decide).await);
    talk(ws).await;
}

async fn async_client() {
    if let Ok(ws) = asynch::WebSocket::client(Wire::any(), buffers(), any(), Generator) {
        begin(ws);
    }
    let ws = place::<WebSocket<Client<Generator>>>();
    used(ws.connect().await);
    used(ws.connect_with(look).await);
    talk(ws).await;
}

/// With compression, too: it may be lent to any of them.
async fn talk<R: Role + 'static, K: Time + AsyncTime + 'static>(ws: &mut WebSocket<R, K>) {
    used(ws.open());
    used(ws.next_event().await);
    used(ws.next_chunk().await);
    used(ws.recv(place::<MessageBuffer<Buffer>>()).await);
    used(ws.send(any()).await);
    used(ws.send_uncompressed(any()).await);
    used(ws.send_fragment(any(), bytes(), any()).await);
    used(ws.send_fragment_uncompressed(any(), bytes(), any()).await);
    used(ws.ping(bytes()).await);
    used(ws.flush().await);
    used(ws.close(any(), any()));
    used(ws.closed().await);
    used(ws.drain().await);
    ws.fail(any());
    used(ws.deflate());
    used(ws.is_open());
    used(ws.ended());
    used(ws.connection().is_some());
    used(ws.subprotocol());
    used(ws.transport() as *const Wire);
    used(ws.transport_mut() as *mut Wire);
    used(any::<WebSocket<R, K>>().into_transport());
    let reply = place::<asynch::Reply<'static, Wire, R, K>>();
    used(reply.send(any()).await);
    used(reply.send_uncompressed(any()).await);
    used(reply.send_fragment(any(), bytes(), any()).await);
    used(
        reply
            .send_fragment_uncompressed(any(), bytes(), any())
            .await,
    );
    used(reply.ping(bytes()).await);
    used(reply.close(any(), any()));
    used(reply.flush().await);
}

/// A client that comes back.
async fn reconnecting() {
    let connect = |wire: Wire, task: asynch::Task| async move {
        used(task);
        happens().await;
        (wire, any::<Result<(), Cause>>())
    };
    let new = asynch::Reconnecting::new(
        pinned(),
        Wire::any(),
        connect,
        buffers(),
        any(),
        Generator,
        Watch,
    );
    let Ok(new) = new else {
        return;
    };
    let new = new.with_config(place()).with_backoff(any());
    let mut client = new.with_backlog(any()).with_deflate(place());
    while happened() {
        used(client.queue(any()));
        used(client.backlog() as *mut _);
        used(client.send(any()).await);
        client.set_request(any());
        client.network_changed();
        used(client.close(any(), any()));
        used(client.is_open());
        used(client.subprotocol());
        used(client.next(place::<MessageBuffer<Buffer>>()).await);
    }
}

/// Where a future may lie.
fn pinned<F>() -> Pin<&'static mut Option<F>> {
    // SAFETY: never run, and nothing moves what is there.
    unsafe { Pin::new_unchecked(place()) }
}

/// Waits as long as it likes.
async fn happens() {
    core::future::poll_fn(|_| any::<core::task::Poll<()>>()).await;
}

/// Both halves of a client, the one with the more to do.
async fn halves() {
    type Split = asynch::WebSocket<'static, Duplex<Wire, Wire>, Client<Generator>, Watch>;
    let Ok(mut halves) = place::<Split>().split::<Fault>() else {
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
        used(sender.close(any(), any()));
        used(sender.ended());
    });
    core::future::poll_fn(|context| {
        used(send.as_mut().poll(context));
        receive.as_mut().poll(context)
    })
    .await;
}

motews_linked::entry!(main);
