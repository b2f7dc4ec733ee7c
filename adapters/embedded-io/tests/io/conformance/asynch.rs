//! The async WebSocket, whole and split.

use core::future::{pending, poll_fn};
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use std::sync::Arc;
use std::task::Wake;

use motews::pace::Timeouts;
use motews::{CloseCode, Role};
use motews_embedded_io::{Duplex, asynch};
use motews_testkit::conformance::Adapter;

use super::{Act, Linked, Setting, Shared, Turn, ends_first, narrow, wide};
use crate::support::{Hand, Keys, NotNow, Script, block_on, buffers};

/// A task, which is polled as long as something has woken it.
struct Task(Pin<Box<dyn Future<Output = ()>>>);

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Turn for Task {
    fn turn(&mut self, application: &Shared) {
        if application.borrow().ended.is_some() {
            return;
        }
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        while self
            .0
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
            && woken.0.swap(false, Ordering::Relaxed)
        {}
    }
}

/// Waits until the application has something to do, or reads again, or stops reading.
async fn news(application: &Shared, pauses: bool) {
    poll_fn(|_| {
        let application = application.borrow();
        match application.acts.is_empty() && application.pauses == pauses {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    })
    .await;
}

/// Waits for the first of two, and drops the other one.
async fn first<T>(one: impl Future<Output = T>, other: impl Future<Output = ()>) -> Option<T> {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|context| {
        if let Poll::Ready(output) = one.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        other.as_mut().poll(context).map(|()| None)
    })
    .await
}

type Async<T, R> = asynch::WebSocket<'static, T, R, Hand>;

/// One task that receives and sends by turns.
async fn one_task<R: Role>(mut ws: Async<Script, R>, is_client: bool, application: Shared) {
    loop {
        while let Some(act) = { application.borrow_mut().acts.pop_front() } {
            match (&act, act.message()) {
                (_, Some((kind, mut rest))) => {
                    // If it ends, nothing more can be sent.
                    while let Ok(len) = ws.send_fragment(kind, rest, true).await {
                        rest = &rest[len..];
                        if rest.is_empty() {
                            break;
                        }
                    }
                }
                (Act::Close(code, reason), _) => {
                    let _ = ws.close(CloseCode::new(*code), reason);
                }
                _ => {}
            }
        }
        if application.borrow().pauses {
            news(&application, true).await;
            continue;
        }
        match first(ws.next_event(), news(&application, false)).await {
            None => {}
            Some(Ok(Some(event))) => application.borrow_mut().receive(event),
            Some(Ok(None) | Err(_)) => break,
        }
    }
    let ended = ws.ended();
    if ends_first(is_client, ended) {
        ws.transport().shutdown();
    }
    let _ = ws.drain().await;
    ws.transport().shutdown();
    application.borrow_mut().ended = ended;
}

/// A task with two halves: one receives, and the other one sends.
async fn two_halves<R: Role>(
    mut ws: Async<Duplex<Script, Script>, R>,
    is_client: bool,
    application: Shared,
) {
    let mut halves = ws.split::<NotNow>().unwrap();
    let (mut receiver, mut sender) = halves.both();
    let receive = async {
        while let Ok(Some(event)) = receiver.next_event().await {
            application.borrow_mut().receive(event);
        }
    };
    let send = async {
        loop {
            news(&application, false).await;
            let Some(act) = ({ application.borrow_mut().acts.pop_front() }) else {
                continue;
            };
            match (&act, act.message()) {
                (_, Some((kind, mut rest))) => loop {
                    let Ok(len) = sender.send_fragment(kind, rest, true).await else {
                        // The receiver sees it through.
                        pending::<()>().await;
                        return;
                    };
                    rest = &rest[len..];
                    if rest.is_empty() {
                        break;
                    }
                },
                (Act::Close(code, reason), _) => {
                    let _ = sender.close(CloseCode::new(*code), reason);
                }
                _ => {}
            }
        }
    };
    first(receive, send).await;
    drop(halves);
    let ended = ws.ended();
    if ends_first(is_client, ended) {
        ws.transport().writer.shutdown();
    }
    let _ = ws.drain().await;
    ws.transport().writer.shutdown();
    application.borrow_mut().ended = ended;
}

/// Whether a WebSocket is split.
#[derive(Clone, Copy)]
enum Mode {
    Whole,
    Split,
}

struct AsyncMode(Mode, Setting);

impl Adapter for AsyncMode {
    type Subject = Linked<Task>;

    fn is_client(&self) -> bool {
        self.1.is_client
    }

    fn max_message_len(&self) -> usize {
        self.1.max_message_len()
    }

    fn more_than_fits(&self) -> usize {
        self.1.more_than_fits()
    }

    fn open(&self, timeouts: Timeouts) -> Linked<Task> {
        let Self(mode, setting) = self;
        let (stream, peer) = setting.streams();
        let (clock, application) = (Hand::default(), Shared::default());
        let duplex = Duplex {
            reader: stream.clone(),
            writer: stream.clone(),
        };
        let (config, keys) = (Setting::config(timeouts), Keys::new());
        let buffers = buffers(setting.buffer, setting.buffer);
        // The four have four types.
        macro_rules! task {
            ($task:ident, $ws:expr, $open:ident) => {{
                let mut ws = $ws.unwrap().with_config(config).with_clock(clock.clone());
                block_on(ws.$open()).unwrap();
                Box::pin($task(ws, setting.is_client, application.clone()))
            }};
        }
        use asynch::WebSocket;
        let request = setting.request();
        let task: Pin<Box<dyn Future<Output = ()>>> = match (mode, setting.is_client) {
            (Mode::Whole, false) => {
                task!(one_task, WebSocket::server(stream.clone(), buffers), accept)
            }
            (Mode::Split, false) => task!(two_halves, WebSocket::server(duplex, buffers), accept),
            (Mode::Whole, true) => task!(
                one_task,
                WebSocket::client(stream.clone(), buffers, request, keys),
                connect
            ),
            (Mode::Split, true) => task!(
                two_halves,
                WebSocket::client(duplex, buffers, request, keys),
                connect
            ),
        };
        let mut linked = setting.linked(Task(task), clock, stream, peer);
        linked.application = application;
        linked.can_pause = matches!(mode, Mode::Whole);
        linked
    }
}

motews_testkit::conformance!(async_server_wide, AsyncMode(Mode::Whole, wide(false)));
motews_testkit::conformance!(async_server_narrow, AsyncMode(Mode::Whole, narrow(false)));
motews_testkit::conformance!(async_client_wide, AsyncMode(Mode::Whole, wide(true)));
motews_testkit::conformance!(async_client_narrow, AsyncMode(Mode::Whole, narrow(true)));
motews_testkit::conformance!(split_server_wide, AsyncMode(Mode::Split, wide(false)));
motews_testkit::conformance!(split_server_narrow, AsyncMode(Mode::Split, narrow(false)));
motews_testkit::conformance!(split_client_wide, AsyncMode(Mode::Split, wide(true)));
motews_testkit::conformance!(split_client_narrow, AsyncMode(Mode::Split, narrow(true)));
