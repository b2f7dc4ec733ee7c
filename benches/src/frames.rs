//! Masked text frames, as a browser sends them.

use core::fmt;

use motews_testkit::frame::encode;

/// English prose: ASCII only.
const ASCII: &str = "All human beings are born free and equal in dignity and rights. They are endowed \
with reason and conscience and should act towards one another in a spirit of brotherhood. Everyone is \
entitled to all the rights and freedoms set forth in this Declaration, without distinction of any kind, \
such as race, colour, sex, language, religion, political or other opinion, national or social origin, \
property, birth or other status. Everyone has the right to life, liberty and security of person. ";

/// Chinese, Russian, Japanese, Korean and Greek prose with emoji: hardly a run of ASCII.
const MIXED: &str = "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神互相对待。🕊️ \
Все люди рождаются свободными и равными в своём достоинстве и правах. Они наделены разумом и совестью \
и должны поступать в отношении друг друга в духе братства. 🤝 すべての人間は、生まれながらにして自由であり、\
かつ、尊厳と権利とについて平等である。👩‍👩‍👧‍👦 모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 🌍\
Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. ✨ 人人有资格享有本宣言所载的\
一切权利和自由，不分种族、肤色、性别、语言、宗教、政治或其他见解。😀 ";

/// One kind of message to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Payload length, in bytes.
    pub len: usize,
    /// Whether the text is ASCII only.
    pub ascii: bool,
}

impl Workload {
    /// All that is measured.
    pub const ALL: [Self; 6] = [
        Self::ascii(16),
        Self::ascii(125),
        Self::ascii(1024),
        Self {
            len: 1024,
            ascii: false,
        },
        Self::ascii(16 * 1024),
        Self::ascii(64 * 1024),
    ];

    const fn ascii(len: usize) -> Self {
        Self { len, ascii: true }
    }

    /// The workload called `name`, as `Display` writes it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|workload| workload.to_string() == name)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.len {
            len if len < 1024 => write!(f, "{len}B")?,
            len => write!(f, "{}KiB", len / 1024)?,
        }
        if self.ascii {
            Ok(())
        } else {
            f.write_str("-mixed")
        }
    }
}

/// A byte stream of whole frames, and what receiving it must give.
#[derive(Debug)]
pub struct Frames {
    /// The frames, one after the other.
    pub bytes: Vec<u8>,
    /// Where each frame ends in `bytes`.
    pub ends: Vec<usize>,
    /// The checksum of all payloads, see [`Checksum`].
    pub checksum: u64,
}

impl Frames {
    /// How many bytes of frames to prepare, at least: more than the innermost caches hold together
    /// with a read buffer, less than the outer ones, as received bytes would be.
    const PREPARED_LEN: usize = 256 * 1024;

    /// Frames of `workload`, each with a text and a masking key of its own.
    pub fn prepare(workload: Workload) -> Self {
        let text = if workload.ascii { ASCII } else { MIXED };
        let mut frames = Self {
            bytes: Vec::new(),
            ends: Vec::new(),
            checksum: Checksum::EMPTY,
        };
        let mut checksum = Checksum::new();
        let mut keys = Keys(0x9e37_79b9_7f4a_7c15);
        let mut chars = text.chars().cycle();
        while frames.bytes.len() < Self::PREPARED_LEN {
            let payload = take_text(&mut chars, workload.len);
            checksum.payload(&payload);
            frames.push(&payload, keys.next_key());
        }
        frames.checksum = checksum.value();
        frames
    }

    /// One text frame with this payload, whatever it is.
    pub fn single(payload: &[u8]) -> Self {
        let mut frames = Self {
            bytes: Vec::new(),
            ends: Vec::new(),
            checksum: Checksum::EMPTY,
        };
        frames.push(payload, [0x12, 0xa4, 0x56, 0xf8]);
        frames
    }

    fn push(&mut self, payload: &[u8], key: [u8; 4]) {
        self.bytes.extend(encode(0x81, payload, Some(key)));
        self.ends.push(self.bytes.len());
    }
}

/// Exactly `len` bytes of text, filled up with spaces where no character fits any more.
fn take_text(chars: &mut (impl Iterator<Item = char> + Clone), len: usize) -> Vec<u8> {
    let mut text = String::with_capacity(len);
    while text.len() < len {
        let mut ahead = chars.clone();
        match ahead.next() {
            Some(next) if text.len() + next.len_utf8() <= len => {
                text.push(next);
                *chars = ahead;
            }
            _ => text.push(' '),
        }
    }
    text.into_bytes()
}

/// Masking keys, the same ones in each run (xorshift64).
struct Keys(u64);

impl Keys {
    fn next_key(&mut self) -> [u8; 4] {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let [a, b, c, d, ..] = self.0.to_be_bytes();
        [a, b, c, d]
    }
}

/// FNV-1a over payloads and their ends, however they are cut into chunks.
#[derive(Clone, Copy, Debug)]
pub struct Checksum(u64);

impl Checksum {
    const EMPTY: u64 = 0xcbf2_9ce4_8422_2325;

    /// The checksum of nothing.
    pub fn new() -> Self {
        Self(Self::EMPTY)
    }

    /// Adds a part of a payload.
    pub fn chunk(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.add(u64::from(*byte));
        }
    }

    /// Adds the end of a message.
    pub fn end(&mut self) {
        self.add(0x100);
    }

    /// Adds a whole message.
    pub fn payload(&mut self, bytes: &[u8]) {
        self.chunk(bytes);
        self.end();
    }

    /// The checksum so far.
    pub fn value(&self) -> u64 {
        self.0
    }

    fn add(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x0000_0100_0000_01b3);
    }
}

impl Default for Checksum {
    fn default() -> Self {
        Self::new()
    }
}
