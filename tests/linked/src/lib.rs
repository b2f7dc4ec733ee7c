//! What the programs here share: an entry, a panic handler that cannot be linked, and values that
//! the optimizer knows nothing of.
#![no_std]

pub mod client;
#[cfg(feature = "tls")]
pub mod session;
pub mod transport;

use core::panic::PanicInfo;

use motews::{CloseCode, Connection, ConnectionConfig, Event, Message, Role};

/// A comment in the assembler's language, which has a placeholder and makes no instruction.
#[cfg(target_arch = "arm")]
macro_rules! comment {
    () => {
        "@ {}"
    };
}
/// The same.
#[cfg(not(target_arch = "arm"))]
macro_rules! comment {
    () => {
        "# {}"
    };
}

unsafe extern "C" {
    /// Exists nowhere: a program that can come here does not link.
    safe fn motews_panic_path_survives() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    motews_panic_path_survives()
}

/// The machine around a connection, at no cost in bytes: where its memory is, what the transport
/// brings and takes, are numbers in registers that come from nowhere.
///
/// Nothing here is ever run: it is linked and measured.
pub mod machine {
    use core::arch::asm;

    use motews::{Entropy, EntropyError};

    #[inline(always)]
    fn register() -> usize {
        let value;
        // SAFETY: no instruction at all, but a comment.
        unsafe { asm!(comment!(), lateout(reg) value, options(nostack)) };
        value
    }

    /// A `T` in static memory.
    #[inline(always)]
    pub fn place<T>() -> &'static mut T {
        // SAFETY: never run. To the optimizer it is a pointer that assembly code gave.
        unsafe { &mut *(register() as *mut T) }
    }

    /// Some `T`, of which the optimizer knows nothing: any state that the type can hold.
    #[inline(always)]
    pub fn any<T: 'static>() -> T {
        // SAFETY: as above.
        unsafe { core::ptr::read_volatile(register() as *const T) }
    }

    /// Uses `value`, so that none of it can be left out.
    #[inline(always)]
    pub fn used<T>(value: T) {
        core::hint::black_box(value);
    }

    /// Bytes that the transport brought, or room for bytes that it will take.
    #[inline(always)]
    pub fn bytes() -> &'static mut [u8] {
        // SAFETY: as above.
        unsafe { core::slice::from_raw_parts_mut(register() as *mut u8, register()) }
    }

    /// Whether something happened: a button, a timer, the end of the transport.
    #[inline(always)]
    pub fn happened() -> bool {
        register() != 0
    }

    /// Hands a number, of bytes to transmit for example, to the machine.
    #[inline(always)]
    pub fn hand(number: usize) {
        // SAFETY: no instruction at all, but a comment.
        unsafe { asm!(comment!(), in(reg) number, options(nostack)) };
    }

    /// A random number generator: a register that is not always ready.
    #[derive(Clone, Copy, Debug)]
    pub struct Generator;

    impl Entropy for Generator {
        #[inline]
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
            for byte in bytes {
                if !happened() {
                    return Err(EntropyError);
                }
                *byte = register() as u8;
            }
            Ok(())
        }
    }
}

/// An open connection from its first frame to its last, as a firmware has it: it receives, sends,
/// pings, closes, transmits what is owed, and sees the transport end.
#[inline(always)]
pub fn frames<R: Role + 'static>(role: R, config: ConnectionConfig) {
    use machine::{bytes, hand, happened, place};

    let connection = place::<Connection<R>>();
    *connection = Connection::with_config(role, config);
    while !connection.should_shutdown() {
        let mut input = bytes();
        while let Ok(Some(event)) = connection.next_event(&mut input) {
            if let Event::Data(chunk) = event {
                hand(chunk.bytes.len());
                hand(
                    connection
                        .send(Message::Binary(chunk.bytes), bytes())
                        .unwrap_or(0),
                );
            }
        }
        if happened() {
            hand(connection.ping(&[], bytes()).unwrap_or(0));
        }
        if happened() {
            let _ = connection.close(CloseCode::GOING_AWAY, "restart");
        }
        hand(connection.poll_transmit(bytes()).unwrap_or(0));
        if happened() {
            let _ = connection.receive_eof();
        }
    }
    hand(connection.close_code().as_u16().into());
}

/// Makes `fn main()` a program: its symbol `_start` is all that the link begins with.
#[macro_export]
macro_rules! entry {
    ($main:ident) => {
        #[doc = "Where the program begins."]
        #[unsafe(no_mangle)]
        pub extern "C" fn _start() -> ! {
            loop {
                $main();
            }
        }
    };
}
