//! What goes into a socket's transmit ring: whole frames, or nothing; and out of its receive ring.
//!
//! A ring wraps where it likes, so a frame may lie in two parts. The socket writes small things
//! (a header, a control frame) across the wrap from the stack; payload goes in part by part.

use motews::handshake::HandshakeError;
use motews::{
    DataFrame, DataKind, FrameHeader, MAX_CONTROL_LEN, Mask, Role, SendError, Session, State,
};
use smoltcp::socket::tcp::{RecvError, SendError as TcpSendError, Socket};

/// Bytes that the transmit ring has room for. Where nothing may be sent any more it takes whatever
/// is owed, and drops it: no connection waits for that.
#[inline(always)] // smaller on a Cortex-M
pub(crate) fn free(socket: &Socket<'_>) -> usize {
    if socket.may_send() {
        socket.send_capacity().saturating_sub(socket.send_queue())
    } else {
        usize::MAX
    }
}

/// What has arrived, up to where the receive ring wraps; the first `taken` bytes of it are taken
/// out, and lent for the last time.
///
/// # Errors
/// Nothing will come any more.
#[inline(never)] // smoltcp's is generic: once is enough.
pub(crate) fn received<'s>(
    socket: &'s mut Socket<'_>,
    taken: usize,
) -> Result<&'s mut [u8], RecvError> {
    socket.recv(|bytes| (taken.min(bytes.len()), bytes))
}

/// Has `step` take what has arrived, until it has come to something, and tells whether it has.
/// `None`: nothing will come any more.
pub(crate) fn feed(
    socket: &mut Socket<'_>,
    mut step: impl FnMut(&mut &[u8]) -> Result<bool, HandshakeError>,
) -> Option<Result<bool, HandshakeError>> {
    loop {
        let bytes = received(socket, 0).ok()?;
        let mut rest = &*bytes;
        let found = step(&mut rest);
        let taken = bytes.len().wrapping_sub(rest.len());
        _ = received(socket, taken);
        // Behind the wrap there may be more.
        if taken == 0 || found != Ok(false) {
            return Some(found);
        }
    }
}

/// The room in the transmit ring, up to where it wraps, of which the first `written` bytes are
/// sent as they are.
///
/// # Errors
/// Nothing may be sent any more.
#[inline(never)] // smoltcp's is generic: once is enough.
fn room<'s>(socket: &'s mut Socket<'_>, written: usize) -> Result<&'s mut [u8], TcpSendError> {
    socket.send(|out| (written.min(out.len()), out))
}

/// The longest payload whose frame surely fits into `free` bytes, masked or not.
pub(crate) fn payload_room(free: usize) -> usize {
    // Behind the shortest header: 2 bytes and the masking key. Longer ones take 2 more, or 8.
    let room = free.saturating_sub(2 + 4);
    match room {
        0..126 => room,
        126..0x1_0002 => room.wrapping_sub(2).max(125),
        _ => room.wrapping_sub(8).max(0xFFFF),
    }
}

/// The longest payload of a data frame that there is room for now: 0 if there is room for none, or if
/// something that is owed waits for room. `None`: nothing can be sent any more.
pub(crate) fn data_room<R: Role>(session: &Session<R>, socket: &Socket<'_>) -> Option<usize> {
    let connection = session.connection();
    if connection.state() != State::Open || !socket.may_send() {
        return None;
    }
    // What the protocol owes goes first, however busy the caller is.
    Some(match connection.wants_transmit() {
        true => 0,
        false => payload_room(free(socket)),
    })
}

/// Writes a data frame that there is room for, and returns its length.
pub(crate) fn put_data<R: Role>(
    session: &mut Session<R>,
    socket: &mut Socket<'_>,
    kind: DataKind,
    payload: &[u8],
    fin: bool,
) -> Result<usize, SendError> {
    let header = session.start_frame(DataFrame {
        kind,
        fin,
        compressed: false,
        payload_len: payload.len() as u64,
    })?;
    let mut octets = [0; FrameHeader::MAX_LEN];
    let len = header.emit(&mut octets)?;
    put(socket, octets.get(..len).unwrap_or_default(), None);
    put(socket, payload, header.mask.map(Mask::new));
    Ok(len.wrapping_add(payload.len()))
}

/// Writes a ping, and returns its length.
pub(crate) fn put_ping<R: Role>(
    session: &mut Session<R>,
    socket: &mut Socket<'_>,
    payload: &[u8],
) -> Result<usize, SendError> {
    let mut frame = [0; MAX_CONTROL_LEN];
    let room = free(socket).min(frame.len());
    let len = session.ping(payload, frame.get_mut(..room).unwrap_or_default())?;
    put(socket, frame.get(..len).unwrap_or_default(), None);
    Ok(len)
}

/// Writes the control frames that the protocol owes the peer, as far as there is room, and returns
/// their length.
pub(crate) fn put_owed<R: Role>(session: &mut Session<R>, socket: &mut Socket<'_>) -> usize {
    let mut total = 0_usize;
    loop {
        let mut frame = [0; MAX_CONTROL_LEN];
        let room = free(socket).min(frame.len());
        let frame = frame.get_mut(..room).unwrap_or_default();
        // For want of a masking key the session ends by itself.
        let len = session.poll_transmit(frame).unwrap_or_default();
        if len == 0 {
            return total;
        }
        put(socket, frame.get(..len).unwrap_or_default(), None);
        total = total.wrapping_add(len);
    }
}

/// Writes bytes that there is room for.
#[inline(never)]
pub(crate) fn put(socket: &mut Socket<'_>, mut octets: &[u8], mut mask: Option<Mask>) {
    // Once, or twice where the ring wraps.
    while !octets.is_empty()
        && let Ok(out) = room(socket, 0)
    {
        let len = out.len().min(octets.len());
        let out = out.get_mut(..len).unwrap_or_default();
        for (to, from) in out.iter_mut().zip(octets) {
            *to = *from;
        }
        if let Some(mask) = &mut mask {
            // RFC 6455 §5.1: a client masks each frame [FR01]
            mask.apply(out);
        }
        octets = octets.get(len..).unwrap_or_default();
        if len == 0 || room(socket, len).is_err() {
            break; // There is room for all of it.
        }
    }
}

/// Writes what `emit_from(sent, out)` gives, as far as there is room, counts it into `sent`, and tells
/// whether that was all.
///
/// # Errors
/// Nothing may be sent any more.
pub(crate) fn put_text(
    socket: &mut Socket<'_>,
    sent: &mut usize,
    emit_from: impl Fn(usize, &mut [u8]) -> usize,
) -> Result<bool, TcpSendError> {
    loop {
        let out = room(socket, 0)?;
        let len = emit_from(*sent, out);
        if len == 0 {
            return Ok(!out.is_empty());
        }
        room(socket, len)?;
        *sent = sent.wrapping_add(len);
    }
}
