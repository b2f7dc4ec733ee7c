//! The parts of the in-memory measurements: prepared frames, a stream that gives them in reads of
//! up to 64 KiB, the contestants that receive them, and the figures.
//!
//! `src/bin` holds the measurements themselves; README.md tells how to run and read them.

pub mod allocations;
pub mod contestants;
pub mod figures;
pub mod frames;
pub mod source;
