//! Video without end: the server pushes a JPEG in a binary message, 30 times a second, to everyone
//! who watches.
//!
//! Each viewer has room for one frame that waits: a newer one takes its place
//! ([`SlowPolicy::KeepNewest`]). So a slow viewer skips frames, and what it sees is never old; the
//! others do not notice.
//!
//! # The messages
//! The server sends, and the viewer need not say anything:
//! - first a text, in JSON: `{"type":"hello","source":"test pattern","fps":30}`;
//! - then frames, binary: see [`film::frame`](motews_examples::film::frame);
//! - and, when the source ends, `{"type":"source","text":"..."}` for people to read.

use core::time::Duration;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use clap::Parser;
use motews_examples::ffmpeg::{Input, Pictures, Running};
use motews_examples::film::{Film, Size, frame};
use motews_examples::run::{self, MAX_REFUSALS, Place, Places};
use motews_examples::site;
use motews_std::{
    Handler, Hub, Membership, MessageRef, Peer, Request, Response, SendError, Server, ServerLimits,
    SlowPolicy,
};
use serde_json::json;

/// What a browser gets.
const PAGE: &str = include_str!("web/video.html");

/// How much the operating system holds for a viewer, in bytes: what it holds is older than the
/// newest frame.
const SEND_BUFFER: usize = 128 * 1024;

/// How long to wait before a source that has ended is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// A video server. It sends JPEG pictures as binary messages to everyone who connects, and never
/// waits for anyone: a slow viewer skips pictures and stays live.
///
/// A browser that asks the same port for / gets a page that shows them. The pictures are a moving
/// test pattern, or come from a file, a URL or a camera through the program ffmpeg.
#[derive(Parser)]
#[command(name = "video")]
struct Options {
    /// Where to listen, as HOST:PORT. Port 0 is any port that is free.
    #[arg(default_value = "127.0.0.1:9001")]
    addr: String,

    /// Show this in place of the test pattern: a file, a URL, or a camera such as /dev/video0. A
    /// file begins again when it ends.
    #[arg(long, short, value_name = "FILE|URL|DEVICE")]
    input: Option<String>,

    /// The program that reads the input.
    #[arg(long, value_name = "PROGRAM", default_value = "ffmpeg")]
    ffmpeg: String,

    /// Pictures a second, 1 to 60.
    #[arg(long, value_name = "N", default_value_t = 30,
          value_parser = clap::value_parser!(u8).range(1..=60))]
    fps: u8,

    /// The size of the pictures. Those of an input fit into it.
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "640x360")]
    size: Size,

    /// The quality of the JPEGs, 1 to 100.
    #[arg(long, value_name = "N", default_value_t = 75,
          value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,

    /// Viewers at a time; one more is answered with the status 503.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    max_connections: usize,

    /// Threads, each with an event loop of its own; the viewers are spread over them.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
}

/// Shows the film to those in the hub.
#[derive(Clone)]
struct Cinema {
    places: Places,
    hub: Hub,
    hello: String,
}

impl Handler for Cinema {
    /// Whoever leaves, leaves the hub.
    type Data = (Place, Membership);

    fn on_request(&mut self, request: &Request) -> Response {
        site::welcome(request, PAGE, &self.places)
    }

    fn on_open(&mut self, peer: &mut Peer<'_>, _: &Request) -> Result<Self::Data, SendError> {
        peer.send(&self.hello)?;
        let membership = self.hub.join(&peer.sender());
        Ok((self.places.take(), membership))
    }

    fn on_message(
        &mut self,
        _: &mut Peer<'_, Self::Data>,
        _: MessageRef<'_>,
    ) -> Result<(), SendError> {
        Ok(())
    }
}

fn main() -> ExitCode {
    run::end("video", show(Options::parse()))
}

fn show(options: Options) -> Result<(), String> {
    let hub = Hub::new(SlowPolicy::KeepNewest);
    let source = options.input.as_deref().unwrap_or("test pattern");
    let cinema = Cinema {
        places: Places::new(options.max_connections),
        hub: hub.clone(),
        hello: json!({ "type": "hello", "source": source, "fps": options.fps }).to_string(),
    };
    let builder = Server::builder()
        .send_buffer(SEND_BUFFER)
        .limits(ServerLimits {
            connections: options.max_connections.saturating_add(MAX_REFUSALS),
            message: 1024,
            ..ServerLimits::DEFAULT
        });
    let Options {
        fps, size, quality, ..
    } = options;
    let running = Running::default();
    match options.input {
        None => {
            thread::spawn(move || pattern(&hub, fps, size, quality));
        }
        Some(source) => {
            let input = Input {
                program: options.ffmpeg,
                source,
                fps,
                size,
                quality,
                running: running.clone(),
            };
            let mut pictures = input.start()?;
            let Some(first) = pictures.next_picture() else {
                return Err(format!(
                    "cannot read {:?}: {}",
                    input.source,
                    pictures.end()
                ));
            };
            thread::spawn(move || relay(&hub, &input, pictures, first));
        }
    }
    let served = run::serve(builder, options.threads, &options.addr, cinema);
    running.end();
    served
}

/// Paints the test pattern, in time.
fn pattern(hub: &Hub, fps: u8, size: Size, quality: u8) {
    let mut film = Film::new(size);
    let start = Instant::now();
    for number in 0_u32.. {
        let due = Duration::from_secs(number.into()) / u32::from(fps);
        let Some(wait) = due.checked_sub(start.elapsed()) else {
            // This machine is too slow for so many: the number is left out.
            continue;
        };
        thread::sleep(wait);
        if hub.is_empty() {
            continue;
        }
        let time = due.as_secs_f64();
        let jpeg = film.jpeg(time, quality);
        _ = hub.broadcast(frame(number, 0, time, &jpeg));
    }
}

/// Passes on what `ffmpeg` reads, and starts it again when it has ended.
fn relay(hub: &Hub, input: &Input, mut pictures: Pictures, first: Vec<u8>) {
    let start = Instant::now();
    let mut numbers = 0_u32..;
    let mut show = |jpeg: &[u8]| {
        let number = numbers.next().unwrap_or_default();
        _ = hub.broadcast(frame(number, 0, start.elapsed().as_secs_f64(), jpeg));
    };
    show(&first);
    loop {
        while let Some(jpeg) = pictures.next_picture() {
            show(&jpeg);
        }
        let complaint = pictures.end();
        run::log(format_args!("video: {:?} ended: {complaint}", input.source));
        let text = "The source has ended. It is tried again.";
        _ = hub.broadcast(json!({ "type": "source", "text": text }).to_string());
        pictures = loop {
            thread::sleep(AGAIN);
            match input.start() {
                Ok(pictures) => break pictures,
                Err(message) => run::log(format_args!("video: {message}")),
            }
        };
    }
}
