//! UTF-8 as it arrives (RFC 6455 §8.1, RFC 3629), against the standard library.
#![expect(
    clippy::indexing_slicing,
    reason = "an index out of bounds fails the test"
)]

use core::str::from_utf8;

use motews::Utf8Validator;
use proptest::prelude::*;

/// What is to be told of these bytes: whether they end with a whole code point, or the index of
/// the first impossible byte.
fn expected(bytes: &[u8]) -> Result<bool, usize> {
    match from_utf8(bytes) {
        Ok(_) => Ok(true),
        Err(error) => match error.error_len() {
            None => Ok(false),
            // The bytes that may stand are counted as well: the impossible one comes after them.
            Some(len) => {
                let start = error.valid_up_to();
                let possible = (1..=len).rev().find(|&possible| {
                    let octets = &bytes[start..start + possible];
                    from_utf8(octets).is_err_and(|error| error.error_len().is_none())
                });
                Err(start + possible.unwrap_or(0))
            }
        },
    }
}

fn verdict<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Result<bool, usize> {
    let mut validator = Utf8Validator::new();
    let mut before = 0;
    for part in parts {
        validator.validate(part).map_err(|index| before + index)?;
        before += part.len();
    }
    Ok(validator.is_complete())
}

fn check(bytes: &[u8]) {
    assert_eq!(verdict([bytes]), expected(bytes), "{bytes:02x?}");
}

/// The same whole, and in two parts split anywhere.
fn check_splits(bytes: &[u8]) {
    check(bytes);
    for split in 0..=bytes.len() {
        let (head, tail) = bytes.split_at(split);
        assert_eq!(
            verdict([head, tail]),
            expected(bytes),
            "{head:02x?} {tail:02x?}"
        );
    }
}

/// MS11: all sequences of one and two bytes, each split.
#[test]
fn text_each_one_or_two_octets_agree_with_the_standard_library() {
    for first in 0..=u8::MAX {
        check_splits(&[first]);
        for second in 0..=u8::MAX {
            check_splits(&[first, second]);
        }
    }
}

/// MS11: all sequences of three bytes.
#[test]
fn text_each_three_octets_agree_with_the_standard_library() {
    for first in 0..=u8::MAX {
        for second in 0..=u8::MAX {
            for third in 0..=u8::MAX {
                check(&[first, second, third]);
            }
        }
    }
}

/// Both sides of each boundary in RFC 3629's table.
const EDGES: [u8; 24] = [
    0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED,
    0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF,
];

/// MS11: all sequences of four bytes from the edges of the table, each split; and of five, so
/// that something follows a whole code point.
#[test]
fn text_each_edge_of_the_table_agrees_with_the_standard_library() {
    for first in EDGES {
        for second in EDGES {
            for third in EDGES {
                for fourth in EDGES {
                    check_splits(&[first, second, third, fourth]);
                    check(&[b'a', first, second, third, fourth]);
                }
            }
        }
    }
}

/// MS11, MS12: each scalar value there is, cut anywhere.
#[test]
fn text_each_scalar_value_is_accepted_in_any_two_parts() {
    for scalar in '\0'..=char::MAX {
        let mut octets = [0; 4];
        let octets = scalar.encode_utf8(&mut octets).as_bytes();
        for split in 0..=octets.len() {
            let (head, tail) = octets.split_at(split);
            assert_eq!(verdict([head, tail]), Ok(true), "{scalar:?}");
        }
    }
}

/// MS11: surrogates, overlong forms and what lies beyond U+10FFFF, by the byte that proves it.
#[test]
fn text_each_class_of_invalid_octets_fails_at_the_octet_that_proves_it() {
    let table: [(&[u8], usize); 18] = [
        (b"\x80", 0),             // a continuation that continues nothing
        (b"\xbf", 0),             // the same
        (b"\xc0\xaf", 0),         // overlong, two octets
        (b"\xc1\xbf", 0),         // overlong, two octets
        (b"\xe0\x80\xaf", 1),     // overlong, three octets
        (b"\xe0\x9f\xbf", 1),     // overlong, three octets
        (b"\xf0\x80\x80\xaf", 1), // overlong, four octets
        (b"\xf0\x8f\xbf\xbf", 1), // overlong, four octets
        (b"\xed\xa0\x80", 1),     // U+D800
        (b"\xed\xbf\xbf", 1),     // U+DFFF
        (b"\xf4\x90\x80\x80", 1), // U+110000
        (b"\xf5\x80\x80\x80", 0), // beyond
        (b"\xfe", 0),             // no UTF-8 at all
        (b"\xff", 0),             // the same
        (b"\xc3a", 1),            // cut short by ASCII
        (b"\xe2\x82a", 2),        // the same
        (b"\xf0\x9f\x98a", 3),    // the same
        (b"ab\xce\xba\xff", 4),   // after something valid
    ];
    for (bytes, index) in table {
        assert_eq!(verdict([bytes]), Err(index), "{bytes:02x?}");
        let one_by_one = bytes.chunks(1);
        assert_eq!(verdict(one_by_one), Err(index), "{bytes:02x?}");
    }
}

/// MS12: nothing of a text is valid, and parts of no length change nothing.
#[test]
fn text_empty_parts_change_nothing() {
    assert_eq!(verdict([]), Ok(true));
    assert_eq!(verdict([&b""[..]]), Ok(true));
    assert_eq!(
        verdict([&b"\xe2"[..], b"", b"\x82", b"", b"\xac", b""]),
        Ok(true)
    );
    assert_eq!(Utf8Validator::default(), Utf8Validator::new());
}

/// Texts of several scripts, long enough for wide instructions, with some bytes replaced.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let text = prop::collection::vec("[a-zé你😀\u{7ff}\u{800}\u{ffff}\u{10ffff}]{1,40}", 0..8);
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (text, damage).prop_map(|(text, damage)| {
        let mut bytes = text.concat().into_bytes();
        for (index, octet) in damage {
            if !bytes.is_empty() {
                let at = index.index(bytes.len());
                bytes[at] = octet;
            }
        }
        bytes
    })
}

proptest! {
    /// MS11, MS12, MS13: any bytes in any parts.
    #[test]
    fn text_any_parts_agree_with_the_standard_library(
        bytes in damaged(),
        cuts in prop::collection::vec(0..100_usize, 0..10),
    ) {
        let mut parts = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts {
            let (part, after) = rest.split_at(cut.min(rest.len()));
            parts.push(part);
            rest = after;
        }
        parts.push(rest);
        prop_assert_eq!(verdict(parts), expected(&bytes));
    }

    /// MS11: four bytes, the first two of them likely.
    #[test]
    fn text_four_octets_agree_with_the_standard_library(
        first in 0xE0..=0xF5_u8,
        second in 0x80..=0xBF_u8,
        rest in any::<[u8; 2]>(),
    ) {
        check_splits(&[first, second, rest[0], rest[1]]);
    }
}
