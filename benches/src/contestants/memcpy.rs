//! The refill alone.

use std::io::Read;

use super::{Contestant, Failed, Sink};
use crate::source::{READ_LEN, Source};

/// Copies the bytes as a read does, and nothing else: the floor for all.
pub(super) struct Memcpy {
    source: Source,
    buffer: Vec<u8>,
}

impl Contestant for Memcpy {
    const NAME: &'static str = "memcpy";

    fn new(source: Source) -> Self {
        Self {
            source,
            buffer: vec![0; READ_LEN],
        }
    }

    /// It sees no frames, so it stops when as many bytes went by.
    fn receive(&mut self, messages: u64, sink: &mut impl Sink) -> Result<(), Failed> {
        let mut left = self.source.len_of(messages);
        while left > 0 {
            let len = self
                .source
                .read(&mut self.buffer)
                .map_err(Failed::because)?;
            sink.payload(&self.buffer[..len], false);
            left = left.saturating_sub(len as u64);
        }
        Ok(())
    }
}
