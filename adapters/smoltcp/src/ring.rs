//! What goes into a socket's transmit ring: whole frames, or nothing; and out of its receive ring.
//!
//! A ring wraps where it likes, so a frame may lie in two parts. The socket writes small things
//! (a header, a control frame) across the wrap from the stack; payload goes in part by part.

use motews::{
    Connection, DataFrame, DataKind, EntropyError, FrameHeader, MAX_CONTROL_LEN, Mask, Role,
    SendError,
};
use smoltcp::socket::tcp::Socket;

/// Octets that the transmit ring has room for. None where nothing may be sent any more.
pub(crate) fn free(socket: &Socket<'_>) -> usize {
    if socket.may_send() {
        socket.send_capacity().saturating_sub(socket.send_queue())
    } else {
        0
    }
}

/// Takes so many octets out of the receive ring, or as many as there are before it wraps, and tells
/// whether anything may still come.
#[inline(never)]
pub(crate) fn drop(socket: &mut Socket<'_>, len: usize) -> bool {
    socket.recv(|bytes| (bytes.len().min(len), ())).is_ok()
}

/// The longest payload whose frame surely fits into `free` octets, masked or not.
pub(crate) fn payload_room(free: usize) -> usize {
    let room = |header: usize| free.saturating_sub(header + 4);
    if room(2) < 126 {
        room(2)
    } else if room(4) <= 0xFFFF {
        room(4).max(125)
    } else {
        room(10).max(0xFFFF)
    }
}

/// Writes a data frame.
pub(crate) fn put_data<R: Role>(
    connection: &mut Connection<R>,
    socket: &mut Socket<'_>,
    kind: DataKind,
    payload: &[u8],
    fin: bool,
) -> Result<(), SendError> {
    if !socket.may_send() {
        return Err(SendError::NotOpen);
    }
    let free = free(socket);
    let room = payload_room(free);
    // What the protocol owes goes first, however busy the caller is.
    let fits = payload.len() <= room && free >= 6 && !connection.wants_transmit();
    if !fits && connection.state() == motews::State::Open {
        return Err(SendError::NoRoom);
    }
    let header = connection.start_frame(DataFrame {
        kind,
        fin,
        compressed: false,
        payload_len: payload.len() as u64,
    })?;
    let mut octets = [0; FrameHeader::MAX_LEN];
    let len = header.emit(&mut octets)?;
    put_small(socket, octets.get(..len).unwrap_or_default());

    let Some(key) = header.mask else {
        put_small(socket, payload);
        return Ok(());
    };
    // RFC 6455 §5.1: a client masks each frame [FR01]
    let mut mask = Mask::new(key);
    let mut rest = payload;
    // Once, or twice where the ring wraps.
    while !rest.is_empty() {
        let written = socket.send(|out| {
            let len = out.len().min(rest.len());
            for (to, from) in out.iter_mut().zip(rest) {
                *to = *from;
            }
            mask.apply(out.get_mut(..len).unwrap_or_default());
            (len, len)
        });
        match written {
            Ok(len @ 1..) => rest = rest.get(len..).unwrap_or_default(),
            _ => break, // There is room for all of it.
        }
    }
    Ok(())
}

/// Writes a ping.
pub(crate) fn put_ping<R: Role>(
    connection: &mut Connection<R>,
    socket: &mut Socket<'_>,
    payload: &[u8],
) -> Result<(), SendError> {
    let mut frame = [0; MAX_CONTROL_LEN];
    let room = free(socket).min(frame.len());
    let len = connection.ping(payload, frame.get_mut(..room).unwrap_or_default())?;
    put_small(socket, frame.get(..len).unwrap_or_default());
    Ok(())
}

/// Writes the control frames that the protocol owes the peer, as far as there is room.
pub(crate) fn put_owed<R: Role>(
    connection: &mut Connection<R>,
    socket: &mut Socket<'_>,
) -> Result<(), EntropyError> {
    while connection.wants_transmit() {
        let mut frame = [0; MAX_CONTROL_LEN];
        let room = free(socket).min(frame.len());
        let len = connection.poll_transmit(frame.get_mut(..room).unwrap_or_default())?;
        if len == 0 {
            break;
        }
        put_small(socket, frame.get(..len).unwrap_or_default());
    }
    Ok(())
}

/// Writes octets that there is room for.
#[inline(never)]
pub(crate) fn put_small(socket: &mut Socket<'_>, octets: &[u8]) {
    let _ = socket.send_slice(octets); // All of them: the caller asked before.
}

/// Writes what `emit_from(offset, out)` gives, from `offset` on, as far as there is room, and
/// tells the offset behind it, and whether that was all. `None`: nothing may be sent any more.
pub(crate) fn put_text(
    socket: &mut Socket<'_>,
    mut offset: usize,
    mut emit_from: impl FnMut(usize, &mut [u8]) -> usize,
) -> Option<(usize, bool)> {
    loop {
        let written = socket.send(|out| {
            let len = emit_from(offset, out).min(out.len());
            (len, (len, !out.is_empty()))
        });
        match written.ok()? {
            (0, all) => return Some((offset, all)),
            (len, _) => offset = offset.saturating_add(len),
        }
    }
}
