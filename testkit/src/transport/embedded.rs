//! The same stream by the traits of embedded-io, blocking and async.

use core::fmt;
use core::future::poll_fn;
use core::task::Poll;

use super::{Script, lock};

/// The transport gave up for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotNow;

impl fmt::Display for NotNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not now")
    }
}

impl core::error::Error for NotNow {}

impl embedded_io::Error for NotNow {
    fn kind(&self) -> embedded_io::ErrorKind {
        embedded_io::ErrorKind::TimedOut
    }
}

impl embedded_io::ErrorType for Script {
    type Error = NotNow;
}

impl embedded_io::Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, NotNow> {
        lock(&self.rx).take(buffer, self.most).ok_or(NotNow)
    }
}

impl embedded_io::Write for Script {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, NotNow> {
        let put = lock(&self.tx).put(bytes, self.most, self.holds);
        put.ok_or(NotNow)
    }

    fn flush(&mut self) -> Result<(), NotNow> {
        lock(&self.tx).flush();
        Ok(())
    }
}

// That it has waited is the stream's to know, not its future's: a future may be dropped and made
// anew.

impl embedded_io_async::Read for Script {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, NotNow> {
        poll_fn(|context| {
            let mut rx = lock(&self.rx);
            if self.hesitates && rx.reader.hesitates() {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            match rx.take(buffer, self.most) {
                Some(len) => Poll::Ready(Ok(len)),
                None => {
                    rx.reader.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl embedded_io_async::Write for Script {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, NotNow> {
        poll_fn(|context| {
            let mut tx = lock(&self.tx);
            if self.hesitates && tx.writer.hesitates() {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            match tx.put(bytes, self.most, self.holds) {
                Some(len) => Poll::Ready(Ok(len)),
                None => {
                    tx.writer.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), NotNow> {
        poll_fn(|context| {
            let mut tx = lock(&self.tx);
            if self.hesitates && tx.writer.hesitates() {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            tx.flush();
            Poll::Ready(Ok(()))
        })
        .await
    }
}
