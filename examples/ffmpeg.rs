//! Pictures from anything that the program `ffmpeg` can read: a file, a URL, a camera. It runs as a
//! subprocess and writes JPEG after JPEG into a pipe.

use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::film::Size;

/// The largest picture in bytes; what is larger is no picture.
const MAX_PICTURE: usize = 16 << 20;

/// How much of what `ffmpeg` complains about is kept.
const MAX_COMPLAINT: usize = 4096;

/// What to show, and how.
#[derive(Clone, Debug)]
pub struct Input {
    /// The program, by name or path.
    pub program: String,
    /// A file, a URL, or a camera's device.
    pub source: String,
    /// Pictures a second.
    pub fps: u8,
    /// The pictures fit into it, and keep their shape.
    pub size: Size,
    /// 1 to 100.
    pub quality: u8,
    /// What reads it.
    pub running: Running,
}

/// A running `ffmpeg`. It ends when this is dropped.
#[derive(Debug)]
pub struct Pictures {
    running: Running,
    stdout: ChildStdout,
    complaint: Option<JoinHandle<String>>,
    splitter: Splitter,
    buffer: Vec<u8>,
}

/// The `ffmpeg` of an input, if it runs. Another thread than the one that waits for its pictures can
/// end it: one whose source hangs would not notice that nobody reads them any more.
#[derive(Clone, Debug, Default)]
pub struct Running(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    child: Option<Child>,
    is_over: bool,
}

impl State {
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it, and no other starts.
    pub fn end(&self) {
        let mut state = self.lock();
        state.is_over = true;
        state.kill();
    }
}

impl Input {
    /// Starts `ffmpeg`.
    ///
    /// # Errors
    /// In words, with what to do about it.
    pub fn start(&self) -> Result<Pictures, String> {
        let mut running = self.running.lock();
        if running.is_over {
            return Err("this program ends".to_owned());
        }
        let mut child = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| self.explain(&error))?;
        let stdout = child.stdout.take().expect("it was asked for");
        let stderr = child.stderr.take().expect("it was asked for");
        running.child = Some(child);
        drop(running);
        Ok(Pictures {
            running: self.running.clone(),
            stdout,
            complaint: Some(thread::spawn(move || end_of(stderr))),
            splitter: Splitter::default(),
            buffer: vec![0; 64 * 1024],
        })
    }

    fn command(&self) -> Command {
        let Size { width, height } = self.size;
        let mut command = Command::new(&self.program);
        command.args(["-hide_banner", "-loglevel", "error", "-nostdin"]);
        if self.source.starts_with("/dev/video") {
            command.args(["-f", "v4l2"]);
        } else if Path::new(&self.source).is_file() {
            // As fast as it was recorded, and again from the start when it ends.
            command.args(["-re", "-stream_loop", "-1"]);
        } else if self.source.starts_with("http") {
            // A recording comes faster than it was recorded; what is live is not slowed by this.
            command.arg("-re");
        }
        command.arg("-i").arg(&self.source);
        command.args(["-an", "-sn", "-dn", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p"]);
        command.arg("-q:v").arg(self.scale().to_string());
        command.arg("-vf").arg(format!(
            "fps={},scale={width}:{height}:force_original_aspect_ratio=decrease:force_divisible_by=2",
            self.fps
        ));
        command.args(["-f", "image2pipe", "pipe:1"]);
        command
    }

    /// The quality as `ffmpeg` counts it: 31 is the worst, 2 the best.
    fn scale(&self) -> u8 {
        31 - u8::try_from(u16::from(self.quality.min(100)) * 29 / 100).unwrap_or(29)
    }

    fn explain(&self, error: &io::Error) -> String {
        match error.kind() {
            ErrorKind::NotFound => format!(
                "--input needs the program {:?}, which is not installed: install ffmpeg (on \
                 Debian: apt-get install ffmpeg), or name it with --ffmpeg",
                self.program
            ),
            _ => format!("cannot start {:?}: {error}", self.program),
        }
    }
}

impl Pictures {
    /// Waits for the next picture, a JPEG. `None`: there is no other, see [`end`](Self::end).
    pub fn next_picture(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.splitter.next_picture() {
                Ok(Some(picture)) => return Some(picture),
                Ok(None) => {}
                Err(NotJpeg) => return None,
            }
            match self.stdout.read(&mut self.buffer) {
                Ok(0) => return None,
                Ok(read) => {
                    let (read, _) = self.buffer.split_at(read);
                    self.splitter.push(read);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    /// Ends `ffmpeg` and tells what it complained about; empty if it did not.
    #[must_use]
    pub fn end(mut self) -> String {
        self.running.lock().kill();
        let complaint = self.complaint.take().and_then(|thread| thread.join().ok());
        complaint.unwrap_or_default().trim().to_owned()
    }
}

impl Drop for Pictures {
    fn drop(&mut self) {
        self.running.lock().kill();
    }
}

/// Reads all, and keeps the end.
fn end_of(mut stderr: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(buffer.split_at(read).0);
        let surplus = kept.len().saturating_sub(MAX_COMPLAINT);
        kept.drain(..surplus);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Cuts a stream of JPEGs, one right after the other, into JPEGs.
#[derive(Debug, Default)]
struct Splitter {
    bytes: Vec<u8>,
    /// Where in `bytes` to look on.
    at: usize,
    /// Whether `at` is in compressed data, and not before a marker.
    in_scan: bool,
}

/// What came is no JPEG, or a picture of more than [`MAX_PICTURE`].
#[derive(Debug, PartialEq)]
struct NotJpeg;

impl Splitter {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the first picture out, if all of it has come.
    fn next_picture(&mut self) -> Result<Option<Vec<u8>>, NotJpeg> {
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            if self.in_scan {
                // In compressed data, ff stands for itself before 00 and before restart markers.
                let marker = rest.windows(2).position(
                    |pair| matches!(pair, [0xff, kind] if !matches!(kind, 0 | 0xd0..=0xd7 | 0xff)),
                );
                match marker {
                    Some(skipped) => (self.at, self.in_scan) = (self.at + skipped, false),
                    None => {
                        self.at += rest.len().saturating_sub(1);
                        return self.incomplete();
                    }
                }
                continue;
            }
            match *rest {
                // SOI
                [0xff, 0xd8, ..] if self.at == 0 => self.at += 2,
                [0xff, 0xd9, ..] if self.at > 0 => {
                    let after = self.bytes.split_off(self.at + 2);
                    self.at = 0;
                    return Ok(Some(core::mem::replace(&mut self.bytes, after)));
                }
                // Any number of ff may stand before a marker.
                [0xff, 0xff, ..] if self.at > 0 => self.at += 1,
                // A segment, with its length behind the marker; compressed data follows SOS.
                [0xff, kind, high, low, ..] if self.at > 0 => {
                    let length = usize::from(u16::from_be_bytes([high, low])).max(2);
                    self.at += 2 + length;
                    self.in_scan = kind == 0xda;
                }
                [] | [0xff] => return self.incomplete(),
                [0xff, _] | [0xff, _, _] if self.at > 0 => return self.incomplete(),
                _ => return Err(NotJpeg),
            }
        }
    }

    fn incomplete(&self) -> Result<Option<Vec<u8>>, NotJpeg> {
        if self.bytes.len() > MAX_PICTURE {
            return Err(NotJpeg);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::film::Film;

    #[test]
    fn stream_of_jpegs_split_anywhere_gives_each_of_them() {
        let size = "64x36".parse().expect("a size");
        let mut film = Film::new(size);
        let mut pictures: Vec<_> = (0..4).map(|n| film.jpeg(f64::from(n), 80)).collect();
        // With a thumbnail inside: a JPEG in a segment of a JPEG.
        let mut with_thumbnail = pictures[0].clone();
        let length = u16::try_from(pictures[1].len() + 2).expect("it is small");
        let segment = [&[0xff, 0xe1], &length.to_be_bytes()[..], &pictures[1]].concat();
        with_thumbnail.splice(2..2, segment);
        pictures.push(with_thumbnail);
        let stream = pictures.concat();

        for step in [1, 2, 3, 7, 1000, stream.len()] {
            let mut splitter = Splitter::default();
            let mut found = Vec::new();
            for part in stream.chunks(step) {
                splitter.push(part);
                while let Some(picture) = splitter.next_picture().expect("these are JPEGs") {
                    found.push(picture);
                }
            }
            assert!(found == pictures, "in steps of {step}");
            assert!(splitter.bytes.is_empty());
        }
    }

    #[test]
    fn no_jpeg_is_refused() {
        for bytes in [&b"\x89PNG"[..], b"\xff\xe0\x00\x02", b"\xff\xd8\x00"] {
            let mut splitter = Splitter::default();
            splitter.push(bytes);
            assert_eq!(splitter.next_picture(), Err(NotJpeg), "{bytes:02x?}");
        }
    }

    #[test]
    fn quality_is_turned_into_the_scale_of_ffmpeg() {
        for (quality, scale) in [(1, 31), (50, 17), (100, 2)] {
            let input = Input {
                program: "ffmpeg".to_owned(),
                source: String::new(),
                fps: 30,
                size: "64x36".parse().expect("a size"),
                quality,
                running: Running::default(),
            };
            assert_eq!(input.scale(), scale);
        }
    }
}
