//! What messages pass through on their way: nothing, or compression.

use core::fmt::Debug;

use motews::handshake::{Agreed, Offers};
use motews::{
    Chunk, DataKind, Event, Message, MessageBuffer, ProtocolViolation, Role, SendError, Session,
    Step, Window,
};

use crate::config::BufferTooSmall;

/// What a WebSocket's messages pass through. Sealed: [`NoExtension`], or with the feature `deflate`
/// the memory for permessage-deflate.
pub trait Extension: sealed::Extension {}

/// Messages are on the wire as they are. It takes no room.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoExtension;

pub(crate) mod sealed {
    use super::{
        Agreed, BufferTooSmall, Chunk, DataKind, Debug, Event, Message, MessageBuffer, Offers,
        ProtocolViolation, Role, SendError, Session, Window,
    };

    #[expect(unnameable_types, reason = "sealed by having no other way in")]
    pub trait Extension {
        /// What stands between the frames received and their messages.
        type Incoming: Debug;
        /// What stands between messages and the frames sent.
        type Outgoing: Debug;
        /// An event, which lies in the receive window or in [`Self::Incoming`].
        type Found;

        // ---- the opening handshake ----

        /// What is offered, or accepted, beside these.
        fn offers<'a>(outgoing: &Self::Outgoing, offers: Offers<'a>) -> Offers<'a>;
        /// The handshake is complete, and this agreed on.
        fn open(
            incoming: &mut Self::Incoming,
            outgoing: &mut Self::Outgoing,
            agreed: &Agreed,
            max_message_len: u64,
        );

        // ---- receive ----

        /// Messages are received in parts from now on, or whole.
        fn begin(incoming: &mut Self::Incoming, parts: bool) -> Result<(), BufferTooSmall>;
        /// The next event in the receive window, which is empty where there is none.
        fn receive<R: Role, Rx: AsRef<[u8]> + AsMut<[u8]>>(
            incoming: &mut Self::Incoming,
            session: &mut Session<R>,
            rx: &mut Window<Rx>,
        ) -> Option<Self::Found>;
        fn is_chunk(found: &Self::Found) -> bool;
        fn ends_message(found: &Self::Found) -> bool;
        /// Leaves it out.
        fn discard<Rx: AsRef<[u8]> + AsMut<[u8]>>(
            incoming: &mut Self::Incoming,
            found: Self::Found,
            rx: &mut Window<Rx>,
        );
        /// Whatever is received is of no interest any more.
        fn discard_all(incoming: &mut Self::Incoming);
        fn lend<'s, R: Role, Rx: AsRef<[u8]> + AsMut<[u8]>>(
            incoming: &'s mut Self::Incoming,
            session: &mut Session<R>,
            found: Self::Found,
            rx: &'s mut Window<Rx>,
        ) -> Option<Event<'s>>;
        /// Appends it to a message that is received whole.
        fn push<'s, Rx, B>(
            incoming: &mut Self::Incoming,
            found: Self::Found,
            rx: &'s mut Window<Rx>,
            messages: &'s mut MessageBuffer<B>,
        ) -> Result<Option<Message<'s>>, ProtocolViolation>
        where
            Rx: AsRef<[u8]> + AsMut<[u8]>,
            B: AsRef<[u8]> + AsMut<[u8]>;

        // ---- send ----

        /// A message as one frame, compressed if it may be. `whole`: more room there never is.
        fn send<R: Role>(
            outgoing: &mut Self::Outgoing,
            session: &mut Session<R>,
            message: Message<'_>,
            compress: bool,
            out: &mut [u8],
            whole: bool,
        ) -> Result<usize, SendError>;
        /// The next frame of a message: the octets taken, and those written.
        fn send_fragment<R: Role>(
            outgoing: &mut Self::Outgoing,
            session: &mut Session<R>,
            fragment: Fragment<'_>,
            out: &mut [u8],
        ) -> Result<(usize, usize), SendError>;
        /// Whether the end of a message, of which all was taken, is still to be put into frames.
        fn is_ending(outgoing: &Self::Outgoing) -> bool;
        /// The next frame of it.
        fn end<R: Role>(
            outgoing: &mut Self::Outgoing,
            session: &mut Session<R>,
            out: &mut [u8],
        ) -> Result<usize, SendError>;
    }

    /// A part of a message to be sent.
    #[expect(unnameable_types, reason = "sealed by having no other way in")]
    #[derive(Clone, Copy, Debug)]
    pub struct Fragment<'a> {
        pub kind: DataKind,
        pub payload: &'a [u8],
        pub fin: bool,
        /// The message may be compressed, if it begins here.
        pub compress: bool,
    }

    /// The chunk in an event.
    pub(crate) fn chunk(event: Option<Event<'_>>) -> Option<Chunk<'_>> {
        match event {
            Some(Event::Data(chunk)) => Some(chunk),
            _ => None,
        }
    }
}

pub(crate) use sealed::{Fragment, chunk};

impl<X: sealed::Extension> Extension for X {}

impl sealed::Extension for NoExtension {
    type Incoming = ();
    type Outgoing = ();
    type Found = Step;

    #[inline]
    fn offers<'a>((): &(), offers: Offers<'a>) -> Offers<'a> {
        offers
    }

    #[inline]
    fn open((): &mut (), (): &mut (), _: &Agreed, _: u64) {}

    #[inline]
    fn begin((): &mut (), _: bool) -> Result<(), BufferTooSmall> {
        Ok(())
    }

    #[inline]
    fn receive<R: Role, Rx: AsRef<[u8]> + AsMut<[u8]>>(
        (): &mut (),
        session: &mut Session<R>,
        rx: &mut Window<Rx>,
    ) -> Option<Step> {
        receive(session, rx)
    }

    #[inline]
    fn is_chunk(found: &Step) -> bool {
        found.is_chunk()
    }

    #[inline]
    fn ends_message(found: &Step) -> bool {
        found.ends_message()
    }

    #[inline]
    fn discard<Rx: AsRef<[u8]> + AsMut<[u8]>>((): &mut (), found: Step, rx: &mut Window<Rx>) {
        rx.take(found.consumed());
    }

    fn discard_all((): &mut ()) {}

    #[inline]
    fn lend<'s, R: Role, Rx: AsRef<[u8]> + AsMut<[u8]>>(
        (): &'s mut (),
        session: &mut Session<R>,
        found: Step,
        rx: &'s mut Window<Rx>,
    ) -> Option<Event<'s>> {
        session.resolve(found, rx.take(found.consumed()))
    }

    #[inline]
    fn push<'s, Rx, B>(
        (): &mut (),
        found: Step,
        rx: &'s mut Window<Rx>,
        messages: &'s mut MessageBuffer<B>,
    ) -> Result<Option<Message<'s>>, ProtocolViolation>
    where
        Rx: AsRef<[u8]> + AsMut<[u8]>,
        B: AsRef<[u8]> + AsMut<[u8]>,
    {
        match found.chunk(rx.take(found.consumed())) {
            Some(chunk) => Ok(messages.push(chunk)?),
            None => Ok(None),
        }
    }

    #[inline]
    fn send<R: Role>(
        (): &mut (),
        session: &mut Session<R>,
        message: Message<'_>,
        _: bool,
        out: &mut [u8],
        _: bool,
    ) -> Result<usize, SendError> {
        session.send(message, out)
    }

    #[inline]
    fn send_fragment<R: Role>(
        (): &mut (),
        session: &mut Session<R>,
        fragment: Fragment<'_>,
        out: &mut [u8],
    ) -> Result<(usize, usize), SendError> {
        send_plain(session, fragment, out)
    }

    #[inline]
    fn is_ending((): &()) -> bool {
        false
    }

    #[inline]
    fn end<R: Role>((): &mut (), _: &mut Session<R>, _: &mut [u8]) -> Result<usize, SendError> {
        Ok(0)
    }
}

/// The next event in the receive window, which is empty where there is none.
#[inline]
pub(crate) fn receive<R: Role, Rx: AsRef<[u8]> + AsMut<[u8]>>(
    session: &mut Session<R>,
    rx: &mut Window<Rx>,
) -> Option<Step> {
    if rx.is_empty() {
        return None;
    }
    match session.step(rx.unread()) {
        Ok(step) if step.is_event() => return Some(step),
        Ok(step) => _ = rx.take(step.consumed()),
        Err(_) => _ = rx.take(usize::MAX), // Nothing more is received.
    }
    None
}

#[inline]
pub(crate) fn send_plain<R: Role>(
    session: &mut Session<R>,
    fragment: Fragment<'_>,
    out: &mut [u8],
) -> Result<(usize, usize), SendError> {
    let sent = session.send_fragment(fragment.kind, fragment.payload, fragment.fin, out)?;
    Ok((sent.consumed, sent.written))
}
