//! What the programs for these boards share.
//!
//! Everything that knows the hardware is in one module, [`board`]: there is one for each of two
//! boards, with the same names. The rest is the same on any: [`network`] for smoltcp, [`embassy`] for
//! Embassy, [`stack`], [`entropy`]; for clients [`stay`], `online` and `secure`. The applications are
//! `main.rs` and `bin/`.
#![no_std]

#[cfg_attr(target_arch = "arm", path = "lm3s6965.rs")]
#[cfg_attr(target_arch = "riscv32", path = "virt.rs")]
pub mod board;
pub mod embassy;
pub mod entropy;
pub mod network;
#[cfg(feature = "client")]
pub mod online;
#[cfg(feature = "client")]
pub mod report;
#[cfg(feature = "tls")]
pub mod secure;
pub mod stack;
pub mod stay;
