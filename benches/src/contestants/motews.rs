//! motews' core.

use std::io::Read;

use motews::{Connection, Event, MessageBuffer, Server};

use super::{Contestant, Failed, Sink};
use crate::source::{READ_LEN, Source};

/// As the documentation of `Window` advises: it stays in the first-level cache.
const BUFFER_LEN: usize = 16 * 1024;

/// Chunks as they come: a message that a read has cut is told in two.
pub(super) struct Chunks {
    source: Source,
    connection: Connection<Server>,
    buffer: Vec<u8>,
}

impl Contestant for Chunks {
    const NAME: &'static str = "motews";

    fn new(source: Source) -> Self {
        Self {
            source,
            connection: Connection::new(Server),
            buffer: vec![0; BUFFER_LEN],
        }
    }

    #[inline]
    fn receive(&mut self, messages: u64, sink: &mut impl Sink) -> Result<(), Failed> {
        let mut received = 0;
        while received < messages {
            let len = self
                .source
                .read(&mut self.buffer)
                .map_err(Failed::because)?;
            let mut input = &mut self.buffer[..len];
            while let Some(event) = self
                .connection
                .next_event(&mut input)
                .map_err(Failed::because)?
            {
                if let Event::Data(chunk) = event {
                    received += u64::from(chunk.last);
                    sink.payload(chunk.bytes, chunk.last);
                }
            }
        }
        Ok(())
    }
}

/// Whole messages, assembled in a buffer of 64 KiB where a read has cut them.
pub(super) struct Messages {
    source: Source,
    connection: Connection<Server>,
    buffer: Vec<u8>,
    messages: MessageBuffer<Vec<u8>>,
}

impl Contestant for Messages {
    const NAME: &'static str = "motews, whole messages";

    fn new(source: Source) -> Self {
        Self {
            source,
            connection: Connection::new(Server),
            buffer: vec![0; BUFFER_LEN],
            messages: MessageBuffer::new(vec![0; READ_LEN]),
        }
    }

    #[inline]
    fn receive(&mut self, messages: u64, sink: &mut impl Sink) -> Result<(), Failed> {
        let mut received = 0;
        while received < messages {
            let len = self
                .source
                .read(&mut self.buffer)
                .map_err(Failed::because)?;
            let mut input = &mut self.buffer[..len];
            while let Some(event) = self
                .connection
                .next_event(&mut input)
                .map_err(Failed::because)?
            {
                if let Event::Data(chunk) = event
                    && let Some(message) = self.messages.push(chunk).map_err(Failed::because)?
                {
                    received += 1;
                    sink.payload(message.as_bytes(), true);
                }
            }
        }
        Ok(())
    }
}

/// Step by step, as the adapters go: an event is looked at where the read loop is left.
pub(super) struct Steps {
    source: Source,
    connection: Connection<Server>,
    buffer: Vec<u8>,
}

impl Contestant for Steps {
    const NAME: &'static str = "motews, by steps";

    fn new(source: Source) -> Self {
        Self {
            source,
            connection: Connection::new(Server),
            buffer: vec![0; BUFFER_LEN],
        }
    }

    #[inline]
    fn receive(&mut self, messages: u64, sink: &mut impl Sink) -> Result<(), Failed> {
        let mut received = 0;
        while received < messages {
            let len = self
                .source
                .read(&mut self.buffer)
                .map_err(Failed::because)?;
            let mut input = &mut self.buffer[..len];
            loop {
                let step = self.connection.step(input).map_err(Failed::because)?;
                if !step.is_event() {
                    break;
                }
                let (bytes, rest) = input.split_at_mut(step.consumed());
                input = rest;
                if let Some(Event::Data(chunk)) = self.connection.resolve(step, bytes) {
                    received += u64::from(chunk.last);
                    sink.payload(chunk.bytes, chunk.last);
                }
            }
        }
        Ok(())
    }
}
