//! The stack: what it has used at most.
//!
//! The startup code paints all of it, from where the static variables end to where the memory ends.
//! What has lost the paint has been in use.

use core::ptr;

/// What the startup code paints with.
const PAINT: u32 = 0xcccc_cccc;

unsafe extern "C" {
    /// The end of the memory, where the stack begins.
    static _stack_start: u32;
    /// The end of the static variables, where the stack would meet them.
    static _stack_end: u32;
}

/// Bytes of RAM that the static variables leave to the stack.
#[must_use]
pub fn size() -> usize {
    (&raw const _stack_start).addr() - (&raw const _stack_end).addr()
}

/// Bytes of it that were never in use.
#[must_use]
pub fn untouched() -> usize {
    let end = &raw const _stack_end;
    let words = size() / size_of::<u32>();
    let is_painted = |word: &usize| {
        // SAFETY: the word is between the two symbols, where there is memory and nothing but the
        // stack; whatever is in it is a number.
        unsafe { ptr::read_volatile(end.wrapping_add(*word)) == PAINT }
    };
    (0..words).take_while(is_painted).count() * size_of::<u32>()
}

/// Bytes that were in use at most.
#[must_use]
pub fn high_water_mark() -> usize {
    size() - untouched()
}
