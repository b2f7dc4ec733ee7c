//! A chip in QEMU: where it starts, its stack, its instructions counted, and what it says to the debugger.

use core::arch::asm;
use core::fmt::{self, Write};
use core::ptr;

/// What the stack is painted with.
const PAINT: u32 = 0xcccc_cccc;

unsafe extern "C" {
    /// Where the stack must end.
    static _stack_limit: u32;
    /// Where it begins.
    static _stack_top: u32;
}

// Where the processor reads its first stack pointer and where to begin; the faults end the program.
#[cfg(target_arch = "arm")]
core::arch::global_asm!(
    ".section .vectors, \"a\"",
    ".global _begin",
    "_begin:",
    ".word _stack_top",
    ".word _start",
    ".rept 14",
    ".word motews_panic_path_survives",
    ".endr",
);
#[cfg(not(target_arch = "arm"))]
core::arch::global_asm!(
    ".section .start, \"ax\"",
    ".global _begin",
    "_begin:",
    "la sp, _stack_top",
    "j _start",
);

/// Asks the debugger for something.
fn ask(what: usize, argument: usize) {
    #[cfg(target_arch = "arm")]
    // SAFETY: it reads what the argument points to, and changes r0.
    unsafe {
        asm!("bkpt 0xab", inout("r0") what => _, in("r1") argument, options(nostack));
    }
    #[cfg(not(target_arch = "arm"))]
    // SAFETY: the same. These three instructions are how it is recognized, within one page.
    unsafe {
        asm!(
            ".balign 16",
            ".option push",
            ".option norvc",
            "slli x0, x0, 0x1f",
            "ebreak",
            "srai x0, x0, 7",
            ".option pop",
            inout("a0") what => _,
            in("a1") argument,
            options(nostack),
        );
    }
}

/// What is said to the debugger.
#[derive(Debug)]
pub(crate) struct Log;

impl Write for Log {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            let text = [byte, 0];
            ask(0x04, text.as_ptr().addr());
        }
        Ok(())
    }
}

/// Ends the program.
pub(crate) fn exit(code: usize) -> ! {
    let reason = [0x2_0026, code];
    ask(0x20, reason.as_ptr().addr());
    loop {}
}

/// Begins to count instructions, and paints the stack below this function.
#[inline(never)]
pub(crate) fn begin() {
    #[cfg(target_arch = "arm")]
    // SAFETY: the timer's registers, to reload and to control.
    unsafe {
        ptr::write_volatile(timer(8), u32::MAX);
        ptr::write_volatile(timer(4), u32::MAX);
        ptr::write_volatile(timer(0), 1);
    }
    let here = 0_u32;
    let end = (&raw const here).addr() - 64;
    let mut word = (&raw const _stack_limit).cast_mut();
    while word.addr() < end {
        // SAFETY: between the end of the stack and 64 bytes below what is in use of it.
        unsafe { ptr::write_volatile(word, PAINT) };
        word = word.wrapping_add(1);
    }
}

/// Bytes of the stack that were in use at most.
#[must_use]
pub(crate) fn stack() -> usize {
    let mut word = &raw const _stack_limit;
    // SAFETY: in the stack.
    while word.addr() < (&raw const _stack_top).addr()
        && unsafe { ptr::read_volatile(word) } == PAINT
    {
        word = word.wrapping_add(1);
    }
    (&raw const _stack_top).addr() - word.addr()
}

/// A register of the timer 0 of Arm's boards, which counts down.
#[cfg(target_arch = "arm")]
fn timer(register: usize) -> *mut u32 {
    unsafe extern "C" {
        static _timer: u32;
    }
    (&raw const _timer).cast_mut().wrapping_byte_add(register)
}

/// How many instructions were done, by `-icount shift=0`: one takes a nanosecond.
#[must_use]
#[cfg(target_arch = "arm")]
pub(crate) fn instructions() -> u32 {
    unsafe extern "C" {
        /// Nanoseconds of a tick.
        static _tick: u32;
    }
    // SAFETY: the timer's register for its value.
    let left = unsafe { ptr::read_volatile(timer(4)) };
    (u32::MAX - left).wrapping_mul((&raw const _tick).addr() as u32)
}

/// How many instructions were done.
#[must_use]
#[cfg(not(target_arch = "arm"))]
pub(crate) fn instructions() -> u32 {
    let count: usize;
    // SAFETY: reads a counter.
    unsafe { asm!("csrr {}, minstret", out(reg) count, options(nomem, nostack)) };
    count as u32
}
