//! UTF-8 (RFC 3629), checked as it arrives (RFC 6455 §8.1).

/// Checks text that arrives in parts of any size; a part may end within a code point.
///
/// ```
/// use motews::Utf8Validator;
///
/// let mut validator = Utf8Validator::new();
/// assert_eq!(validator.validate(b"caf\xc3"), Ok(()));
/// assert!(!validator.is_complete());
/// assert_eq!(validator.validate(b"\xa9"), Ok(()));
/// assert!(validator.is_complete());
/// assert_eq!(validator.validate(b"ab\xc0"), Err(2)); // 0xC0 begins no code point
/// ```
// [MS12]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utf8Validator {
    /// Continuation bytes still due.
    due: u8,
    /// The least and the greatest value the next of them may have.
    least: u8,
    greatest: u8,
}

impl Default for Utf8Validator {
    fn default() -> Self {
        Self::new()
    }
}

impl Utf8Validator {
    /// A validator at the start of a text.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            due: 0,
            least: 0x80,
            greatest: 0xBF,
        }
    }

    /// Whether `bytes` are a whole text.
    #[inline]
    pub(crate) fn is_text(bytes: &[u8]) -> bool {
        let mut validator = Self::new();
        validator.validate(bytes).is_ok() && validator.is_complete()
    }

    /// Whether the text so far ends with a whole code point.
    #[inline]
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.due == 0
    }

    /// Checks the next part of the text.
    ///
    /// # Errors
    /// The index in `bytes` of the first byte that cannot stand there, whatever may follow.
    /// The validator is of no use after that.
    // [MS13]
    pub fn validate(&mut self, bytes: &[u8]) -> Result<(), usize> {
        #[cfg(feature = "simdutf8")]
        let (skipped, bytes) = self.skip_valid(bytes);
        #[cfg(not(feature = "simdutf8"))]
        let (skipped, bytes) = self.skip_code_points(bytes);

        // A copy stays in registers.
        let mut state = *self;
        for (index, &byte) in bytes.iter().enumerate() {
            state.push(byte).map_err(|Impossible| skipped + index)?;
        }
        *self = state;
        Ok(())
    }

    /// RFC 3629 §4, byte by byte: surrogates (0xED 0xA0..), overlong forms (0xC0, 0xE0 0x80..)
    /// and what lies beyond U+10FFFF (0xF4 0x90.., 0xF5) have no place in the table.
    // [MS11]
    #[inline]
    fn push(&mut self, byte: u8) -> Result<(), Impossible> {
        if self.due > 0 {
            if byte < self.least || byte > self.greatest {
                return Err(Impossible);
            }
            *self = Self {
                due: self.due - 1,
                ..Self::new()
            };
            return Ok(());
        }
        let (due, least, greatest) = match byte {
            0x00..=0x7F => return Ok(()),
            0xC2..=0xDF => (1, 0x80, 0xBF),
            0xE0 => (2, 0xA0, 0xBF),
            0xED => (2, 0x80, 0x9F),
            0xE1..=0xEF => (2, 0x80, 0xBF),
            0xF0 => (3, 0x90, 0xBF),
            0xF1..=0xF3 => (3, 0x80, 0xBF),
            0xF4 => (3, 0x80, 0x8F),
            _ => return Err(Impossible),
        };
        *self = Self {
            due,
            least,
            greatest,
        };
        Ok(())
    }

    /// RFC 3629 §4, by whole code points: twice as fast. Returns how many bytes they fill, and the rest.
    /// Does nothing on 32-bit targets, to save flash.
    #[cfg(not(feature = "simdutf8"))]
    fn skip_code_points<'a>(&self, bytes: &'a [u8]) -> (usize, &'a [u8]) {
        let mut rest = bytes;
        if cfg!(target_pointer_width = "64") && self.due == 0 {
            while let [0x00..=0x7F, after @ ..]
            | [0xC2..=0xDF, 0x80..=0xBF, after @ ..]
            | [0xE0, 0xA0..=0xBF, 0x80..=0xBF, after @ ..]
            | [
                0xE1..=0xEC | 0xEE..=0xEF,
                0x80..=0xBF,
                0x80..=0xBF,
                after @ ..,
            ]
            | [0xED, 0x80..=0x9F, 0x80..=0xBF, after @ ..]
            | [0xF0, 0x90..=0xBF, 0x80..=0xBF, 0x80..=0xBF, after @ ..]
            | [
                0xF1..=0xF3,
                0x80..=0xBF,
                0x80..=0xBF,
                0x80..=0xBF,
                after @ ..,
            ]
            | [0xF4, 0x80..=0x8F, 0x80..=0xBF, 0x80..=0xBF, after @ ..] = rest
            {
                rest = after;
            }
        }
        (bytes.len() - rest.len(), rest)
    }

    /// Checks whole code points with SIMD instructions. Returns how many bytes they fill, and the rest.
    #[cfg(feature = "simdutf8")]
    fn skip_valid<'a>(&mut self, bytes: &'a [u8]) -> (usize, &'a [u8]) {
        let mut skipped = 0;
        let mut rest = bytes;
        while self.due > 0
            && let Some((&byte, after)) = rest.split_first()
        {
            if self.push(byte).is_err() {
                return (skipped, rest);
            }
            (skipped, rest) = (skipped + 1, after);
        }
        let whole = rest.len() - unfinished(rest);
        let Some((bulk, tail)) = rest.split_at_checked(whole) else {
            return (skipped, rest);
        };
        match simdutf8::basic::from_utf8(bulk) {
            Ok(_) => (skipped + whole, tail),
            Err(_) => (skipped, rest),
        }
    }
}

/// How many bytes at the end of `bytes` begin a code point that does not end there.
#[cfg(feature = "simdutf8")]
fn unfinished(bytes: &[u8]) -> usize {
    let lead = bytes
        .iter()
        .rev()
        .take(3)
        .position(|byte| byte & 0xC0 != 0x80);
    let Some((back, byte)) = lead.and_then(|back| Some((back, bytes.iter().nth_back(back)?)))
    else {
        return 0;
    };
    // The number of leading ones is the length of the sequence that this byte begins.
    if byte.leading_ones() as usize > back + 1 {
        back + 1
    } else {
        0
    }
}

/// A byte that cannot stand where it stands.
struct Impossible;
