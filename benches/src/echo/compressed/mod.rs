//! Echo of messages that permessage-deflate compresses (RFC 7692).
//!
//! The client's messages are binary, and were compressed beforehand, by zlib at level 6; it inflates each echo, and
//! compares it with what it sent.

pub mod client;
#[cfg(feature = "peers")]
mod peers;
pub mod servers;
#[cfg(feature = "peers-zlib")]
mod zlib_peers;

use core::fmt;
use core::str::FromStr;

use motews_std::{DeflateConfig, DeflateContext, WindowBits};

use crate::samples;

/// Open connections, each with one message on its way.
pub const CONNECTIONS: usize = 32;

/// The level of zlib that the client has, and all peers, each of which lets it be chosen.
pub const LEVEL: u8 = 6;

/// What messages are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// JSON.
    Telemetry,
    /// English.
    Prose,
}

/// What the client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// What the messages are made of.
    pub sample: Sample,
    /// Bytes in each, before they are compressed.
    pub size: usize,
}

impl Workload {
    /// All that is measured.
    pub const ALL: [Self; 6] = [
        Self::new(Sample::Telemetry, 256),
        Self::new(Sample::Telemetry, 4 * 1024),
        Self::new(Sample::Telemetry, 64 * 1024),
        Self::new(Sample::Prose, 256),
        Self::new(Sample::Prose, 4 * 1024),
        Self::new(Sample::Prose, 64 * 1024),
    ];

    const fn new(sample: Sample, size: usize) -> Self {
        Self { sample, size }
    }

    /// A text, which messages are cut from without end: twice as long as the longest window, so
    /// that none finds itself again.
    fn text(self) -> Vec<u8> {
        let len = 2 * WindowBits::MAX.size();
        match self.sample {
            Sample::Telemetry => samples::telemetry(len),
            Sample::Prose => samples::prose(len),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.sample {
            Sample::Telemetry => "telemetry",
            Sample::Prose => "prose",
        };
        write!(f, "{name}:{}", self.size)
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|w| w.to_string() == text);
        found.ok_or_else(|| format!("no such workload: {text:?}"))
    }
}

/// What both sides have agreed upon. The client's window is always the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terms {
    /// No compression.
    Off,
    /// Each message is compressed by itself, both ways.
    Alone,
    /// Both take their context over, and the server's window has 4 KiB: motews' default.
    Takeover12,
    /// Both take their context over, and the server's window has 32 KiB.
    Takeover15,
}

impl Terms {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Off, Self::Alone, Self::Takeover12, Self::Takeover15];

    /// The extension, as the client offers it and a server accepts it.
    #[must_use]
    pub const fn extension(self) -> Option<&'static str> {
        match self {
            Self::Off => None,
            Self::Alone => {
                Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover")
            }
            Self::Takeover12 => Some("permessage-deflate; server_max_window_bits=12"),
            Self::Takeover15 => Some("permessage-deflate"),
        }
    }

    /// Whether messages refer to those before.
    #[must_use]
    pub const fn takeover(self) -> bool {
        matches!(self, Self::Takeover12 | Self::Takeover15)
    }

    /// The server's window.
    #[cfg(feature = "peers")]
    fn bits(self) -> WindowBits {
        match self {
            Self::Takeover12 => WindowBits::new(12).unwrap_or_default(),
            _ => WindowBits::MAX,
        }
    }

    /// As a server of motews has it.
    #[must_use]
    pub fn deflate(self) -> Option<DeflateConfig> {
        let alone = DeflateContext {
            takeover: false,
            ..DeflateContext::default()
        };
        match self {
            Self::Off => None,
            Self::Alone => Some(DeflateConfig {
                send: alone,
                receive: alone,
            }),
            Self::Takeover12 => Some(DeflateConfig::default()),
            Self::Takeover15 => Some(DeflateConfig::MAX),
        }
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Alone => "alone",
            Self::Takeover12 => "takeover-12",
            Self::Takeover15 => "takeover-15",
        })
    }
}

impl FromStr for Terms {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|t| t.to_string() == text);
        found.ok_or_else(|| format!("no such terms: {text:?}"))
    }
}
