//! Who is woken, and how often: a connection that is polled by one task, and by several.

use core::pin::Pin;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;
use std::task::Wake;

use futures_util::{Sink, Stream};
use motews_testkit::frame;
use motews_tokio::{Acceptor, Message};
use tokio::time::{Instant, sleep};

use crate::support::{ServerWs, payload, server, server_with};

/// A task that counts how often it is woken.
#[derive(Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Task {
    fn wakes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn receives(self: &Arc<Self>, ws: &mut ServerWs) -> Poll<Option<Message>> {
        let waker = self.clone().into();
        let polled = Pin::new(ws).poll_next(&mut Context::from_waker(&waker));
        polled.map(|message| message.map(Result::unwrap))
    }

    fn flushes(self: &Arc<Self>, ws: &mut ServerWs) -> Poll<()> {
        let waker = self.clone().into();
        let polled = Sink::<Message>::poll_flush(Pin::new(ws), &mut Context::from_waker(&waker));
        polled.map(Result::unwrap)
    }
}

/// Whoever waits to send reads, too, and the stream then knows that task last.
#[tokio::test(start_paused = true)]
async fn connection_polled_by_two_tasks_message_comes_both_are_woken_once() {
    let (mut ws, mut peer) = server(64);
    let (receiver, sender) = (Arc::<Task>::default(), Arc::<Task>::default());
    ws.try_send(payload(500)).unwrap();
    assert!(receiver.receives(&mut ws).is_pending());
    assert!(sender.flushes(&mut ws).is_pending());
    // The first time, what the stream knew of the other was lost.
    assert!(receiver.receives(&mut ws).is_pending());
    assert!(sender.flushes(&mut ws).is_pending());
    assert!(receiver.receives(&mut ws).is_pending());
    assert_eq!((receiver.wakes(), sender.wakes()), (1, 0));
    peer.write(&[frame::text("x")]).await;
    assert_eq!((receiver.wakes(), sender.wakes()), (2, 1));
    assert_eq!(
        receiver.receives(&mut ws),
        Poll::Ready(Some(Message::text("x")))
    );
}

/// Both halves of futures' `split` in one task: the one that flushes had to stop reading.
#[tokio::test(start_paused = true)]
async fn inbox_full_message_is_taken_the_same_task_goes_on_flushing() {
    let acceptor = Acceptor::new().max_inbound(1);
    let (mut ws, mut peer) = server_with(&acceptor, 64);
    let task = Arc::<Task>::default();
    ws.try_send(payload(500)).unwrap();
    peer.write(&[frame::text("x"), frame::text("y")]).await;
    assert!(task.flushes(&mut ws).is_pending());
    let before = task.wakes();
    assert!(task.receives(&mut ws).is_ready());
    assert_eq!(task.wakes(), before + 1);
    assert!(task.flushes(&mut ws).is_pending());
}

/// The connection moves to another task, which knows nothing of the first one.
#[tokio::test(start_paused = true)]
async fn connection_moved_to_another_task_message_comes_that_is_woken() {
    let (mut ws, mut peer) = server(64);
    let (first, second) = (Arc::<Task>::default(), Arc::<Task>::default());
    assert!(first.receives(&mut ws).is_pending());
    assert!(second.receives(&mut ws).is_pending());
    peer.write(&[frame::text("x")]).await;
    assert_eq!(second.wakes(), 1);
    assert!(second.receives(&mut ws).is_ready());
}

/// The timer wakes a task that the stream wakes itself, each time.
#[tokio::test(start_paused = true)]
async fn connection_polled_by_one_task_deadlines_pass_it_is_woken_for_each() {
    let (mut ws, mut peer) = server(64);
    let task = Arc::<Task>::default();
    assert!(task.receives(&mut ws).is_pending());
    for wakes in [1, 3, 5] {
        sleep(Duration::from_millis(30_001)).await;
        assert_eq!(task.wakes(), wakes);
        assert!(task.receives(&mut ws).is_pending());
        assert_eq!(peer.read().await, Some(frame::ping("")));
        peer.write(&[frame::pong("")]).await;
        assert_eq!(task.wakes(), wakes + 1);
        assert!(task.receives(&mut ws).is_pending());
    }
}

/// A message that nobody answers.
#[tokio::test(start_paused = true)]
async fn peer_silent_after_a_message_is_pinged_in_the_time_of_the_keepalive() {
    let (mut ws, mut peer) = server(64);
    tokio::spawn(async move { while ws.recv().await.is_ok() {} });
    sleep(Duration::from_secs(10)).await;
    peer.write(&[frame::text("x")]).await;
    let start = Instant::now();
    assert_eq!(peer.read().await, Some(frame::ping("")));
    let late = start.elapsed().checked_sub(Duration::from_secs(30));
    assert!(late.unwrap() <= Duration::from_millis(3), "{late:?}");
}
