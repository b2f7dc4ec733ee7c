//! What the programs for this board share.
//!
//! Everything that knows the hardware is in one module, [`board`]; for another board write another
//! one with the same names. The rest is the same on any Cortex-M: [`network`] for smoltcp,
//! [`embassy`] for Embassy, [`stack`], [`entropy`]. The applications are `main.rs` and
//! `bin/embassy.rs`.
#![no_std]

#[path = "lm3s6965.rs"]
pub mod board;
pub mod embassy;
pub mod entropy;
pub mod network;
pub mod stack;
