//! A session of a client over TLS, replayed, on a chip in QEMU: how deep its stack is, and how many
//! instructions it takes. `.ci/size` runs it.
#![no_std]
#![no_main]

mod qemu;

use core::cell::Cell;
use core::fmt::Write as _;
use core::mem::MaybeUninit;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use motews_embedded_io::tls::{TlsBuffers, TlsError, TlsTunnel};
use motews_embedded_io::{Buffers, Error};
use motews_linked::session::{Memory, Recording, config, pump, replay, talk};
use qemu::Log;

/// The session, as it was recorded.
static FILE: &[u8] = include_bytes!("../../session.bin");
/// How many rounds the session may take.
const ROUNDS: usize = 1_000_000;

#[unsafe(no_mangle)]
extern "C" fn motews_panic_path_survives() -> ! {
    _ = Log.write_str("failed\n");
    qemu::exit(1)
}

/// Moves something to memory that is not the stack.
fn keep<T>(value: T) -> &'static mut T {
    static mut MEMORY: MaybeUninit<[u128; 4096]> = MaybeUninit::uninit();
    static mut TAKEN: usize = 0;
    // SAFETY: nothing else runs, and each part is given once.
    unsafe {
        let place = (&raw mut MEMORY).cast::<u8>().add(TAKEN);
        TAKEN += size_of::<T>().next_multiple_of(16);
        assert!(TAKEN <= 4096 * 16);
        let place = place.cast::<T>();
        place.write(value);
        &mut *place
    }
}

/// What is run: the session of TLS and the WebSocket, and when the WebSocket is open.
struct Session<P: 'static, T: 'static> {
    pump: &'static mut P,
    talk: &'static mut T,
    opened: &'static Cell<u32>,
}

/// Makes the futures, which are on the stack for a moment only.
#[inline(never)]
fn session() -> Session<impl Future, impl Future<Output = Result<(), Error<TlsError>>>> {
    static mut MEMORY: Memory = Memory::EMPTY;
    // SAFETY: once.
    let memory: &'static mut Memory = unsafe { &mut *(&raw mut MEMORY) };
    let recording = Recording::read(FILE).unwrap_or_else(|| motews_panic_path_survives());
    let config = keep(config(keep([recording.authority]), recording.built));
    let [incoming, outgoing] = &mut memory.rings;
    let tunnel = keep(TlsTunnel::new(incoming, outgoing));
    let (stream, session) = tunnel.ends();
    let transport = replay(recording.parts, keep(Cell::new(0)));
    let records = TlsBuffers {
        read: &mut memory.read,
        write: &mut memory.write,
    };
    let began = qemu::instructions();
    let opened: &'static Cell<u32> = keep(Cell::new(0));
    let tell = move || opened.set(qemu::instructions().wrapping_sub(began));
    let [receive, transmit] = &mut memory.buffers;
    let buffers = Buffers { receive, transmit };
    Session {
        pump: keep(pump(session, transport, records, config)),
        talk: keep(talk(stream, buffers, &mut memory.message, tell)),
        opened,
    }
}

fn main() {
    qemu::begin();
    let session = session();
    let mut pump = Pin::static_mut(session.pump);
    let mut talk = Pin::static_mut(session.talk);
    let mut context = Context::from_waker(Waker::noop());
    let (mut longest, mut has_ended) = (0, false);
    for _ in 0..ROUNDS {
        if !has_ended {
            let before = qemu::instructions();
            has_ended = pump.as_mut().poll(&mut context).is_ready();
            longest = longest.max(qemu::instructions().wrapping_sub(before));
        }
        if let Poll::Ready(end) = talk.as_mut().poll(&mut context) {
            let (stack, open) = (qemu::stack(), session.opened.get());
            _ = match &end {
                Ok(()) => writeln!(Log, "stack {stack} open {open} longest {longest}"),
                Err(error) => writeln!(Log, "failed: {error}"),
            };
            qemu::exit(end.is_err().into());
        }
    }
    _ = writeln!(Log, "no end, of TLS: {has_ended}");
    qemu::exit(1)
}

motews_linked::entry!(main);
