//! Where in the text the same bytes were before, and how hard to look for them.

use super::symbols::{MAX_MATCH, MIN_MATCH};

/// How many bytes are hashed to find a match, and must be there.
pub(super) const HASHED: usize = 4;
/// A match of three bytes that is farther away than this takes more bits than three literals.
pub(super) const NEAR: usize = 4096;

/// How hard to look for matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Level {
    /// Takes the first good match: for throughput.
    Fast,
    /// Looks at some, and at those of the next byte: as zlib's level 6.
    #[default]
    Default,
    /// Looks at nearly all.
    Best,
}

/// What a [`Level`] means.
#[derive(Clone, Copy)]
pub(super) struct Search {
    /// How many places are looked at.
    pub(super) places: u32,
    /// A match of this length is long enough to stop.
    pub(super) nice: usize,
    /// A match of this length is not given up for one of the next byte; 0: none is.
    pub(super) lazy: usize,
    /// With a match of this length, only a quarter of the places are looked at for the next byte.
    pub(super) good: usize,
}

impl Level {
    pub(super) const fn search(self) -> Search {
        match self {
            Self::Fast => Search {
                places: 6,
                nice: 24,
                lazy: 0,
                good: 8,
            },
            Self::Default => Search {
                places: 48,
                nice: 128,
                lazy: 16,
                good: 8,
            },
            Self::Best => Search {
                places: 2048,
                nice: MAX_MATCH,
                lazy: MAX_MATCH,
                good: 32,
            },
        }
    }
}

/// Where in the text the same bytes were before. 0 stands for nowhere.
pub(super) struct Index<'a> {
    /// For each hash, the newest place.
    pub(super) heads: &'a mut [[u8; 2]],
    /// For each place, the next older one with the same hash; as many as there is memory for.
    pub(super) chains: &'a mut [[u8; 2]],
    /// The farthest distance.
    pub(super) size: usize,
    /// Which of four bytes are hashed.
    pub(super) mask: u32,
}

impl Index<'_> {
    /// Enters the place `at`. Returns the newest one before with the same hash.
    #[inline(always)]
    pub(super) fn insert(&mut self, text: &[u8], at: usize) -> usize {
        let bytes = word(text, at) & self.mask;
        let hash = bytes.wrapping_mul(0x9E37_79B1) as usize >> 7;
        let hash = (hash ^ hash >> 11) & self.heads.len().wrapping_sub(1);
        let Some(head) = self.heads.get_mut(hash) else {
            return 0;
        };
        let before = *head;
        *head = (at as u16).to_le_bytes();
        let place = at & self.chains.len().wrapping_sub(1);
        if let Some(place) = self.chains.get_mut(place) {
            *place = before;
        }
        u16::from_le_bytes(before).into()
    }

    #[inline(always)]
    fn older(&self, at: usize) -> Option<usize> {
        let place = at & self.chains.len().wrapping_sub(1);
        let older = self.chains.get(place)?;
        Some(u16::from_le_bytes(*older).into())
    }

    /// The text has moved to the front by `by`.
    pub(super) fn slide(&mut self, by: usize) {
        let by = by as u16;
        let places = self.heads.iter_mut().chain(self.chains.iter_mut());
        places.for_each(|place| {
            *place = u16::from_le_bytes(*place).saturating_sub(by).to_le_bytes();
        });
    }

    /// The longest match for the text at `at`, if it is longer than `least`: its length (or
    /// `least`) and distance. `place` is where to look first.
    #[inline(always)]
    pub(super) fn longest(
        &self,
        text: &[u8],
        at: usize,
        mut place: usize,
        mut least: usize,
        most: usize,
        search: Search,
    ) -> (usize, usize) {
        let ours = text.get(at..at.wrapping_add(most)).unwrap_or_default();
        let oldest = at.saturating_sub(self.size).max(1);
        // Beyond these the chains have been used for newer places.
        let chained = at.saturating_sub(self.chains.len());
        let mut distance = 0;
        let mut places = search.places;
        let mut newest = at;
        // What a longer match must have in the end; at first, what was hashed.
        let (mut end, mut mask) = (0, self.mask);
        if least >= MIN_MATCH {
            (end, mask) = (least.wrapping_sub(MIN_MATCH), u32::MAX);
        }
        let mut ours_end = word(text, at.wrapping_add(end)) & mask;
        // What lies in the index may be of another message: then it leads nowhere.
        while place >= oldest && place < newest {
            let theirs_end = text.get(place.wrapping_add(end)..);
            let Some(theirs_end) = theirs_end.and_then(<[u8]>::first_chunk) else {
                break;
            };
            if u32::from_le_bytes(*theirs_end) & mask == ours_end {
                let theirs = text.get(place..place.wrapping_add(most));
                let len = common(ours, theirs.unwrap_or_default());
                if len > least {
                    least = len;
                    distance = at.wrapping_sub(place);
                    if len >= search.nice || len >= most {
                        break;
                    }
                    (end, mask) = (len.saturating_sub(MIN_MATCH), u32::MAX);
                    ours_end = word(text, at.wrapping_add(end));
                }
            }
            places = places.wrapping_sub(1);
            if places == 0 || place <= chained {
                break;
            }
            newest = place;
            let Some(older) = self.older(place) else {
                break;
            };
            place = older;
        }
        (least, distance)
    }
}

/// Four bytes of the text, all of which are there.
#[inline(always)]
fn word(text: &[u8], at: usize) -> u32 {
    let bytes = text.get(at..).and_then(<[u8]>::first_chunk);
    u32::from_le_bytes(*bytes.unwrap_or(&[0; HASHED]))
}

/// How many bytes both begin with.
#[inline(always)]
fn common(a: &[u8], b: &[u8]) -> usize {
    let ((a_words, a_rest), (b_words, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut len = 0_usize;
    for (a, b) in a_words.iter().zip(b_words) {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return len.wrapping_add((differ.trailing_zeros() / 8) as usize);
        }
        len = len.wrapping_add(8);
    }
    let same = a_rest
        .iter()
        .zip(b_rest)
        .take_while(|(a, b)| a == b)
        .count();
    len.wrapping_add(same)
}
