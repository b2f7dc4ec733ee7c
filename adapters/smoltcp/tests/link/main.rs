//! The adapter over smoltcp's own TCP, in memory: both roles against each other and against raw
//! bytes, with rings of any size, over good wires and bad ones.

mod echo;
mod support;
