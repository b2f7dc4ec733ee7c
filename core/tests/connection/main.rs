//! An open connection (RFC 6455 §5.4-5.5, §6, §7), in both roles unless a rule is for one of them.
#![expect(
    clippy::indexing_slicing,
    reason = "an index out of bounds fails the test"
)]

mod closing;
mod control;
mod fragments;
mod framing;
mod masking;
mod sending;
mod splits;
mod storage;
mod support;
mod text;
