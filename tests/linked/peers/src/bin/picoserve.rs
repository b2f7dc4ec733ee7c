//! An async server of picoserve, with a page.
#![no_std]
#![no_main]

use core::convert::Infallible;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

use embedded_io_async::{Read, Write};
use motews_embedded_io::Timer as _;
use motews_linked::machine::{bytes, hand};
use motews_linked::transport::{Fault, Watch, Wire};
use motews_linked_peers::{ram, run, size_of_future};
use picoserve::response::ws::{Message, SocketRx, SocketTx, WebSocketCallback, WebSocketUpgrade};
use picoserve::routing::get;
use picoserve::time::{Duration, TimeoutError, Timer};

struct Transport(Wire);
struct Runtime;
struct Time;

impl picoserve::io::Socket<Runtime> for Transport {
    type Error = Fault;
    type ReadHalf<'a> = Wire;
    type WriteHalf<'a> = Wire;

    fn split(&mut self) -> (Wire, Wire) {
        (self.0, self.0)
    }

    async fn abort<T: Timer<Runtime>>(
        self,
        _: &picoserve::Timeouts,
        _: &mut T,
    ) -> Result<(), picoserve::Error<Fault>> {
        Ok(())
    }

    async fn shutdown<T: Timer<Runtime>>(
        self,
        _: &picoserve::Timeouts,
        _: &mut T,
    ) -> Result<(), picoserve::Error<Fault>> {
        Ok(())
    }
}

impl Timer<Runtime> for Time {
    async fn delay(&self, duration: Duration) {
        Watch.wait(duration.as_millis() as u32).await;
    }

    async fn run_with_timeout<F: Future>(
        &self,
        duration: Duration,
        future: F,
    ) -> Result<F::Output, TimeoutError> {
        let (mut future, mut delay) = (pin!(future), pin!(self.delay(duration)));
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => delay.as_mut().poll(cx).map(|()| Err(TimeoutError)),
        })
        .await
    }
}

struct Echo;

impl WebSocketCallback for Echo {
    async fn run<R: Read, W: Write<Error = R::Error>>(
        self,
        mut rx: SocketRx<R>,
        mut tx: SocketTx<W>,
    ) -> Result<(), W::Error> {
        loop {
            let message = rx
                .next_message(bytes(), core::future::pending::<Infallible>())
                .await?;
            match message.ignore_never_b() {
                Ok(Message::Text(text)) => {
                    hand(text.len());
                    tx.send_text("Hello").await?;
                }
                Ok(Message::Binary(_)) => {}
                Ok(Message::Ping(bytes)) => tx.send_pong(bytes).await?,
                Ok(Message::Pong(_)) => {}
                Ok(Message::Close(_)) | Err(_) => return tx.close(None).await,
            }
        }
    }
}

async fn server() {
    let app = picoserve::Router::new()
        .route("/", get(|| async { "Hello" }))
        .route(
            "/chat",
            get(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(Echo)),
        );
    let config = picoserve::Config::new(picoserve::Timeouts::default());
    _ = picoserve::Server::custom(&app, Time, &config, bytes())
        .serve(Transport(Wire::any()))
        .await;
}

fn main() {
    run(server());
}

ram!(size_of_future(&server));
motews_linked::entry!(main);
