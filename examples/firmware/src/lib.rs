//! What the programs for this board share.
//!
//! Everything that knows the hardware is in one module, [`board`]; for another board write another
//! one with the same names. The rest is the same on any Cortex-M: [`network`], [`stack`],
//! [`entropy`]. The application is `main.rs`.
#![no_std]

pub mod entropy;

#[path = "lm3s6965.rs"]
pub mod board;
pub mod network;
pub mod stack;
