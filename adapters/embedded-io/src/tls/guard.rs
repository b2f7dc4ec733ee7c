//! [`Guard`]: the transport as embedded-tls sees it.
//!
//! It gives both halves of TLS the same transport, and stops records that embedded-tls would do wrong
//! with: it believes records that are not encrypted after the handshake, so anybody on the way could
//! end a session, and it panics at an encrypted one without content. It also panics where a transport
//! takes nothing, which none should do.

use core::cell::{Cell, RefCell};

use embedded_io::{Error, ErrorKind};
use embedded_io_async::{ErrorType, Read, Write};

use super::error::TlsError;
use super::ring::yield_once;
use crate::Duplex;

const HEADER: usize = 5;
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// A transport that is shared by those who read it and those who write it.
pub(super) struct Shared<Rd, Wr> {
    reader: RefCell<Rd>,
    writer: RefCell<Wr>,
    /// The header that is arriving, and how much of it has.
    header: Cell<([u8; HEADER], usize)>,
    /// How much of the record is to come.
    body: Cell<usize>,
    /// What may come.
    stage: Cell<Stage>,
    is_broken: Cell<bool>,
    /// The transport took nothing.
    is_full: Cell<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The server's first message, in the clear.
    Hello,
    /// Encrypted records, and for old boxes on the way a change of cipher that means nothing.
    Handshake,
    /// Encrypted records.
    Open,
}

impl<Rd, Wr> Shared<Rd, Wr> {
    pub(super) fn new(transport: Duplex<Rd, Wr>) -> Self {
        Self {
            reader: RefCell::new(transport.reader),
            writer: RefCell::new(transport.writer),
            header: Cell::new(([0; HEADER], 0)),
            body: Cell::new(0),
            stage: Cell::new(Stage::Hello),
            is_broken: Cell::new(false),
            is_full: Cell::new(false),
        }
    }

    /// The handshake is over.
    pub(super) fn open(&self) {
        self.stage.set(Stage::Open);
    }

    /// Whether a record came that must not come.
    pub(super) const fn is_broken(&self) -> bool {
        self.is_broken.get()
    }

    /// Fails if the transport took nothing: what was sent since then is nowhere.
    pub(super) const fn check_full(&self) -> Result<(), TlsError> {
        match self.is_full.get() {
            true => Err(TlsError::Io(ErrorKind::WriteZero)),
            false => Ok(()),
        }
    }

    /// Whether a record of the handshake is through, and no other has begun.
    fn is_between(&self) -> bool {
        self.stage.get() == Stage::Handshake && self.body.get() == 0 && self.header.get().1 == 0
    }

    /// How much may be read before the record or its header is whole.
    const fn due(&self) -> usize {
        match self.body.get() {
            0 => HEADER.saturating_sub(self.header.get().1),
            body => body,
        }
    }

    /// Whether these bytes, read of what was due, may come.
    fn is_good(&self, bytes: &[u8]) -> bool {
        if self.body.get() > 0 {
            self.body.set(self.body.get().saturating_sub(bytes.len()));
            return true;
        }
        let (mut header, mut len) = self.header.get();
        for (place, byte) in header.iter_mut().skip(len).zip(bytes) {
            *place = *byte;
            len = len.saturating_add(1);
        }
        if len < HEADER {
            self.header.set((header, len));
            return true;
        }
        self.header.set((header, 0));
        let [kind, _, _, high, low] = header;
        let body = usize::from(u16::from_be_bytes([high, low]));
        self.body.set(body);
        match (self.stage.get(), kind) {
            (Stage::Hello, HANDSHAKE) => {
                self.stage.set(Stage::Handshake);
                body > 0
            }
            (Stage::Hello, ALERT) => body == 2,
            (Stage::Handshake, CHANGE_CIPHER_SPEC) => body == 1,
            // One byte of content, or of its kind, and the tag.
            (Stage::Handshake | Stage::Open, APPLICATION_DATA) => body > 16,
            _ => false,
        }
    }
}

impl<Rd, Wr: Write> Shared<Rd, Wr> {
    /// Flushes the transport.
    #[expect(
        clippy::await_holding_refcell_ref,
        reason = "one half of TLS writes, and nobody else"
    )]
    pub(super) async fn flush(&self) -> Result<(), ErrorKind> {
        let mut writer = self.writer.borrow_mut();
        writer.flush().await.map_err(|error| error.kind())
    }
}

pub(super) struct Guard<'s, Rd, Wr>(pub(super) &'s Shared<Rd, Wr>);

impl<Rd, Wr> Clone for Guard<'_, Rd, Wr> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<Rd: ErrorType, Wr> ErrorType for Guard<'_, Rd, Wr> {
    type Error = Rd::Error;
}

impl<Rd: Read, Wr> Read for Guard<'_, Rd, Wr> {
    #[expect(
        clippy::await_holding_refcell_ref,
        reason = "one half of TLS reads, and nobody else"
    )]
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        if self.0.is_between() {
            // Each record of the handshake takes its time, and all may be there at once.
            yield_once().await;
        }
        if self.0.is_full.get() {
            // Nothing will come: as good as the end.
            return Ok(0);
        }
        let due = self.0.due().min(buffer.len());
        let buffer = buffer.get_mut(..due).unwrap_or_default();
        let len = self.0.reader.borrow_mut().read(buffer).await?;
        match self.0.is_good(buffer.get(..len).unwrap_or_default()) {
            true => Ok(len),
            false => {
                self.0.is_broken.set(true);
                // embedded-tls takes it for the end.
                Ok(0)
            }
        }
    }
}

impl<Rd: ErrorType, Wr: Write<Error = Rd::Error>> Write for Guard<'_, Rd, Wr> {
    #[expect(
        clippy::await_holding_refcell_ref,
        reason = "one half of TLS writes, and nobody else"
    )]
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        match self.0.writer.borrow_mut().write(bytes).await? {
            0 if !bytes.is_empty() => {
                self.0.is_full.set(true);
                Ok(bytes.len())
            }
            len => Ok(len),
        }
    }

    #[expect(
        clippy::await_holding_refcell_ref,
        reason = "one half of TLS writes, and nobody else"
    )]
    async fn flush(&mut self) -> Result<(), Self::Error> {
        self.0.writer.borrow_mut().flush().await
    }
}
