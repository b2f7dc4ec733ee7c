//! Messages without compression: between them and frames there is nothing.

use motews::{DataKind, Role, SendError, Session, Step, Window};

/// A part of a message to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment<'a> {
    pub(crate) kind: DataKind,
    pub(crate) payload: &'a [u8],
    pub(crate) fin: bool,
    /// The message may be compressed, if it begins here.
    #[cfg_attr(
        not(feature = "deflate"),
        expect(dead_code, reason = "nothing compresses")
    )]
    pub(crate) compress: bool,
}

impl<'a> Fragment<'a> {
    pub(crate) const fn new(kind: DataKind, payload: &'a [u8], fin: bool, compress: bool) -> Self {
        Self {
            kind,
            payload,
            fin,
            compress,
        }
    }
}

/// The next event in the receive window, which is empty if there is none.
#[inline]
pub(crate) fn receive<R: Role>(
    session: &mut Session<R>,
    window: &mut Window<&mut [u8]>,
) -> Option<Step> {
    if window.is_empty() {
        return None;
    }
    match session.step(window.unread()) {
        Ok(step) if step.is_event() => return Some(step),
        Ok(step) => _ = window.take(step.consumed()),
        Err(_) => _ = window.take(usize::MAX), // Nothing more is received.
    }
    None
}

/// Sends a fragment. Returns how many bytes were taken, and how many written.
#[inline]
pub(crate) fn send_fragment<R: Role>(
    session: &mut Session<R>,
    fragment: Fragment<'_>,
    out: &mut [u8],
) -> Result<(usize, usize), SendError> {
    let sent = session.send_fragment(fragment.kind, fragment.payload, fragment.fin, out)?;
    Ok((sent.consumed, sent.written))
}
