//! A moving test pattern, painted and compressed picture by picture: what the video examples show
//! when nobody gives them anything else.

use core::f64::consts::TAU;

use jpeg_encoder::{ColorType, Encoder};

/// How many bytes stand before the JPEG in a frame.
const HEAD: usize = 16;

/// A frame of video as it goes over the wire: a head of 16 bytes, and a JPEG.
///
/// | bytes | big endian | |
/// |---|---|---|
/// | 0..4 | `u32` | the number of the frame; a number left out was skipped for this viewer |
/// | 4..8 | `u32` | the last command that had taken effect when the picture was made |
/// | 8..16 | `f64` | when in the film the picture is, in seconds |
#[must_use]
pub fn frame(number: u32, applied: u32, time: f64, jpeg: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD + jpeg.len());
    frame.extend_from_slice(&number.to_be_bytes());
    frame.extend_from_slice(&applied.to_be_bytes());
    frame.extend_from_slice(&time.to_be_bytes());
    frame.extend_from_slice(jpeg);
    frame
}

/// The size of pictures in pixels, written `WIDTHxHEIGHT`.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// 16 to 3840.
    pub width: u16,
    /// 16 to 2160.
    pub height: u16,
}

impl core::str::FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (width, height) = text
            .split_once('x')
            .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)))
            .ok_or("a size is written WIDTHxHEIGHT, such as 640x360")?;
        if !(16..=3840).contains(&width) || !(16..=2160).contains(&height) {
            return Err("a size is 16x16 to 3840x2160");
        }
        Ok(Self { width, height })
    }
}

impl core::fmt::Display for Size {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

type Colour = [f64; 3];

const DEEP: Colour = [9.0, 22.0, 20.0];
const HIGH: Colour = [17.0, 62.0, 54.0];
const LINE: Colour = [60.0, 118.0, 106.0];
const MOTE: Colour = [79.0, 209.0, 181.0];
const LIGHT: Colour = [230.0, 238.0, 235.0];

/// The bars at the bottom: what a colour that comes out wrong shows on.
const BARS: [Colour; 8] = [
    [235.0, 235.0, 235.0],
    [214.0, 196.0, 60.0],
    [64.0, 186.0, 190.0],
    [64.0, 168.0, 74.0],
    [186.0, 74.0, 168.0],
    [196.0, 58.0, 52.0],
    [56.0, 72.0, 190.0],
    [16.0, 16.0, 16.0],
];

/// The wires that the motes run along: how high, how far they swing, how many waves, how fast.
const WIRES: [(f64, f64, f64, f64); 3] = [
    (0.20, 0.07, 1.0, 0.11),
    (0.50, 0.12, 1.5, 0.17),
    (0.74, 0.06, 2.0, 0.13),
];

/// Motes on each wire.
const MOTES: usize = 5;

/// Digits of five by seven dots, a row in each byte; then the colon and the point.
const GLYPHS: [[u8; 7]; 12] = [
    [14, 17, 19, 21, 25, 17, 14],
    [4, 12, 4, 4, 4, 4, 14],
    [14, 17, 1, 2, 4, 8, 31],
    [31, 2, 4, 2, 1, 17, 14],
    [2, 6, 10, 18, 31, 2, 2],
    [31, 16, 30, 1, 1, 17, 14],
    [6, 8, 16, 30, 17, 17, 14],
    [31, 1, 2, 4, 8, 8, 8],
    [14, 17, 17, 14, 17, 17, 14],
    [14, 17, 17, 15, 1, 2, 12],
    [0, 4, 4, 0, 4, 4, 0],
    [0, 0, 0, 0, 0, 4, 4],
];

/// A painter of the test pattern.
#[derive(Debug)]
pub struct Film {
    size: Size,
    /// What does not move.
    still: Vec<u8>,
    /// The picture, in bytes of red, green and blue.
    canvas: Vec<u8>,
}

impl Film {
    /// A film of pictures of that size.
    #[must_use]
    pub fn new(size: Size) -> Self {
        let octets = usize::from(size.width) * usize::from(size.height) * 3;
        let mut film = Self {
            size,
            still: Vec::new(),
            canvas: vec![0; octets],
        };
        film.paint_still();
        film.still.clone_from(&film.canvas);
        film
    }

    /// The picture at `time`, in seconds, as a JPEG. `quality` is 1 to 100.
    #[must_use]
    pub fn jpeg(&mut self, time: f64, quality: u8) -> Vec<u8> {
        self.paint(time);
        let mut jpeg = Vec::with_capacity(self.canvas.len() / 16);
        let encoder = Encoder::new(&mut jpeg, quality);
        let Size { width, height } = self.size;
        encoder
            .encode(&self.canvas, width, height, ColorType::Rgb)
            .expect("the canvas has the size, and a Vec takes all");
        jpeg
    }

    fn paint_still(&mut self) {
        let (width, height) = self.extent();
        let unit = height / 360.0;
        for y in 0..self.size.height {
            let part = f64::from(y) / height;
            for x in 0..self.size.width {
                let across = f64::from(x) / width - 0.5;
                let part = (part - across * across * 0.6).clamp(0.0, 1.0);
                let colour = core::array::from_fn(|i| DEEP[i] + (HIGH[i] - DEEP[i]) * part);
                self.blend(x.into(), y.into(), colour, 1.0);
            }
        }
        // A grid of squares.
        let step = height / 9.0;
        let mut at = step / 2.0;
        while at < width.max(height) {
            self.fill(at, 0.0, unit.max(1.0), height, LINE, 0.16);
            self.fill(0.0, at, width, unit.max(1.0), LINE, 0.16);
            at += step;
        }
        let bar = width / 8.0;
        for (colour, left) in BARS.into_iter().zip(0_u8..) {
            let left = f64::from(left) * bar;
            self.fill(left, height * 0.93, bar + 1.0, height * 0.07, colour, 0.85);
        }
    }

    fn paint(&mut self, time: f64) {
        self.canvas.copy_from_slice(&self.still);
        let (width, height) = self.extent();
        let unit = height / 360.0;
        for (wire, index) in WIRES.into_iter().zip(0_u8..) {
            for x in 0..self.size.width {
                let y = height_of(wire, f64::from(x) / width, time) * height;
                self.dot(f64::from(x), y, 1.1 * unit, LINE, 0.55);
            }
            for mote in 0..MOTES {
                let start = mote as f64 / MOTES as f64 + f64::from(index) * 0.13;
                let along = (start + time * wire.3).rem_euclid(1.0);
                let (x, y) = (along * width, height_of(wire, along, time) * height);
                self.glow(x, y, 22.0 * unit);
                self.dot(x, y, 5.5 * unit, LIGHT, 1.0);
            }
        }
        // A hand that turns once in two seconds: it shows each picture that is missing.
        let (x, y, radius) = (width * 0.5, height * 0.30, 34.0 * unit);
        let turn = time.rem_euclid(2.0) / 2.0 * TAU;
        for step in 0..180_u8 {
            let angle = f64::from(step) / 180.0 * TAU;
            let strong = if angle <= turn { 0.9 } else { 0.18 };
            let (sin, cos) = angle.sin_cos();
            self.dot(x + sin * radius, y - cos * radius, 1.8 * unit, MOTE, strong);
        }
        let (sin, cos) = turn.sin_cos();
        for step in 0..34_u8 {
            let out = f64::from(step) * unit;
            self.dot(x + sin * out, y - cos * out, 1.8 * unit, LIGHT, 0.9);
        }
        self.write(&clock(time), height * 0.60, 6.0 * unit);
    }

    /// Writes in the middle of the line `y`, with dots of that size.
    fn write(&mut self, text: &str, y: f64, dot: f64) {
        let (width, _) = self.extent();
        let narrow = |c| matches!(c, ':' | '.');
        let advance = |c| if narrow(c) { 3.0 } else { 6.0 };
        let total: f64 = text.chars().map(advance).sum();
        let mut left = (width - (total - 1.0) * dot) / 2.0;
        for c in text.chars() {
            let glyph = match c {
                ':' => 10,
                '.' => 11,
                c => c.to_digit(10).map_or(11, |digit| digit as usize),
            };
            let shift = if narrow(c) { 1.0 } else { 0.0 };
            for (row, line) in GLYPHS[glyph].into_iter().zip(0_u8..) {
                for column in 0..5_u8 {
                    if row & (16 >> column) != 0 {
                        let x = left + (f64::from(column) - shift) * dot;
                        let y = y + (f64::from(line) - 3.5) * dot;
                        self.fill(x, y, dot * 0.9, dot * 0.9, LIGHT, 0.96);
                    }
                }
            }
            left += advance(c) * dot;
        }
    }

    /// A round dot with a soft edge.
    fn dot(&mut self, x: f64, y: f64, radius: f64, colour: Colour, strong: f64) {
        let reach = radius + 1.0;
        for (px, py) in square(x, y, reach) {
            let far = (px as f64 + 0.5 - x).hypot(py as f64 + 0.5 - y);
            let inside = (radius + 0.5 - far).clamp(0.0, 1.0);
            self.blend(px, py, colour, inside * strong);
        }
    }

    /// A light around a point.
    fn glow(&mut self, x: f64, y: f64, radius: f64) {
        for (px, py) in square(x, y, radius) {
            let far = (px as f64 + 0.5 - x).hypot(py as f64 + 0.5 - y) / radius;
            let near = (1.0 - far).max(0.0);
            self.blend(px, py, MOTE, near * near * 0.7);
        }
    }

    fn fill(&mut self, x: f64, y: f64, width: f64, height: f64, colour: Colour, strong: f64) {
        for py in y.round() as i64..(y + height).round() as i64 {
            for px in x.round() as i64..(x + width).round() as i64 {
                self.blend(px, py, colour, strong);
            }
        }
    }

    /// Mixes a colour into a pixel, if there is such a pixel.
    fn blend(&mut self, x: i64, y: i64, colour: Colour, strong: f64) {
        let (width, height) = (i64::from(self.size.width), i64::from(self.size.height));
        if strong <= 0.0 || !(0..width).contains(&x) || !(0..height).contains(&y) {
            return;
        }
        let at = (y * width + x) as usize * 3;
        for (octet, colour) in self.canvas[at..at + 3].iter_mut().zip(colour) {
            let old = f64::from(*octet);
            *octet = (old + (colour - old) * strong) as u8;
        }
    }

    fn extent(&self) -> (f64, f64) {
        (self.size.width.into(), self.size.height.into())
    }
}

/// How high a wire is, as a part of the picture.
fn height_of((middle, swing, waves, speed): (f64, f64, f64, f64), x: f64, time: f64) -> f64 {
    middle + swing * (x * waves * TAU + time * speed * 4.0).sin()
}

/// The pixels around a point.
fn square(x: f64, y: f64, reach: f64) -> impl Iterator<Item = (i64, i64)> {
    let columns = (x - reach).floor() as i64..=(x + reach).ceil() as i64;
    let rows = (y - reach).floor() as i64..=(y + reach).ceil() as i64;
    rows.flat_map(move |y| columns.clone().map(move |x| (x, y)))
}

/// `02:07.35`, with the hours before it if there are any.
fn clock(time: f64) -> String {
    let hundredths = (time.max(0.0) * 100.0 + 1e-6) as u64;
    let (seconds, hundredths) = (hundredths / 100, hundredths % 100);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let hours = if hours == 0 {
        String::new()
    } else {
        format!("{hours}:")
    };
    format!("{hours}{minutes:02}:{seconds:02}.{hundredths:02}")
}
