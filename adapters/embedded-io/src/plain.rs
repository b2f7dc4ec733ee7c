//! What is received and sent where the crate has no compression. `codec` has the same with it.

use core::marker::PhantomData;

use motews::handshake::{Agreed, Offers};
use motews::{
    Chunk, Event, Message, MessageBuffer, NoRoom, ProtocolViolation, Role, SendError, Session,
    Step, Window,
};

use crate::messages::{self, Fragment};

/// An event in the receive window.
#[derive(Debug)]
pub(crate) struct Found(Step);

impl Found {
    pub(crate) const fn is_chunk(&self) -> bool {
        self.0.is_chunk()
    }

    pub(crate) const fn ends_message(&self) -> bool {
        self.0.ends_message()
    }
}

/// The receive buffer.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    window: Window<&'a mut [u8]>,
}

impl<'a> Input<'a> {
    pub(crate) const fn new(buffer: &'a mut [u8]) -> Self {
        Self {
            window: Window::new(buffer),
        }
    }

    pub(crate) const fn window(&mut self) -> &mut Window<&'a mut [u8]> {
        &mut self.window
    }

    pub(crate) const fn open(&mut self, _: &Agreed) -> bool {
        false
    }

    /// Nothing was received yet, over another connection.
    pub(crate) fn restart(&mut self) {
        self.discard_all();
    }

    /// Messages are received in parts from now on, or whole.
    pub(crate) const fn begin(&mut self, _: bool) -> Result<(), NoRoom> {
        Ok(())
    }

    /// The next event; if there is none, the window is empty.
    #[inline]
    pub(crate) fn receive<R: Role>(&mut self, session: &mut Session<R>) -> Option<Found> {
        messages::receive(session, &mut self.window).map(Found)
    }

    #[inline]
    pub(crate) fn discard(&mut self, found: Found) {
        self.window.take(found.0.consumed());
    }

    /// Drops all that was received, and whatever follows.
    pub(crate) fn discard_all(&mut self) {
        self.window.take(usize::MAX);
    }

    #[inline]
    pub(crate) fn lend<'s, R: Role>(
        &'s mut self,
        session: &mut Session<R>,
        Found(step): Found,
    ) -> Option<Event<'s>> {
        session.resolve(step, self.window.take(step.consumed()))
    }

    /// A part of a message.
    #[inline]
    pub(crate) fn chunk(&mut self, Found(step): Found) -> Option<Chunk<'_>> {
        step.chunk(self.window.take(step.consumed()))
    }

    /// Appends it to a message that is received whole.
    #[inline]
    pub(crate) fn push<'s, B: AsRef<[u8]> + AsMut<[u8]>>(
        &'s mut self,
        found: Found,
        messages: &'s mut MessageBuffer<B>,
    ) -> Result<Option<Message<'s>>, ProtocolViolation> {
        match self.chunk(found) {
            Some(chunk) => Ok(messages.push(chunk)?),
            None => Ok(None),
        }
    }
}

/// The transmit buffer. As with compression, its lifetime cannot be shortened.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    window: Window<&'a mut [u8]>,
    lifetime: PhantomData<&'a mut &'a ()>,
}

impl<'a> Outgoing<'a> {
    pub(crate) const fn new(buffer: &'a mut [u8]) -> Self {
        Self {
            window: Window::new(buffer),
            lifetime: PhantomData,
        }
    }

    pub(crate) const fn window(&mut self) -> &mut Window<&'a mut [u8]> {
        &mut self.window
    }

    pub(crate) const fn len(&self) -> usize {
        self.window.len()
    }

    /// Nothing was sent yet, over another connection.
    pub(crate) fn restart(&mut self) {
        self.window.take(usize::MAX);
    }

    pub(crate) const fn offers<'o>(&self, offers: Offers<'o>) -> Offers<'o> {
        offers
    }

    pub(crate) const fn open(&mut self, _: &Agreed) {}

    pub(crate) const fn is_open(&self, _: &Agreed) -> bool {
        true
    }

    #[inline]
    pub(crate) fn send<R: Role>(
        &mut self,
        session: &mut Session<R>,
        message: Message<'_>,
        _: bool,
    ) -> Result<usize, SendError> {
        session.send(message, self.window.spare())
    }

    #[inline]
    pub(crate) fn send_fragment<R: Role>(
        &mut self,
        session: &mut Session<R>,
        fragment: Fragment<'_>,
    ) -> Result<(usize, usize), SendError> {
        messages::send_fragment(session, fragment, self.window.spare())
    }

    pub(crate) const fn is_ending(&self) -> bool {
        false
    }

    pub(crate) const fn end<R: Role>(&mut self, _: &mut Session<R>) -> Result<usize, SendError> {
        Ok(0)
    }
}
