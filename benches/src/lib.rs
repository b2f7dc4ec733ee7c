//! The parts of the measurements. In memory: prepared frames, a stream that gives them in reads of
//! up to 64 KiB, the contestants that receive them, and the figures. Over TCP: [`echo`].
//!
//! `src/bin` holds the measurements themselves; README.md tells how to run and read them.

pub mod allocations;
pub mod contestants;
#[cfg(target_os = "linux")]
pub mod echo;
pub mod figures;
pub mod frames;
#[cfg(feature = "deflate")]
pub mod samples;
pub mod source;
