//! Masking (RFC 6455 §5.3), against the formula of the RFC.
#![expect(
    clippy::indexing_slicing,
    reason = "an index out of bounds fails the test"
)]

use motews::Mask;
use motews_testkit::frame::KEY;
use proptest::prelude::*;

/// `transformed-octet-i = original-octet-i XOR masking-key-octet-j`, with `j = i MOD 4`.
fn transformed(key: [u8; 4], original: &[u8]) -> Vec<u8> {
    let octets = original.iter().enumerate();
    octets.map(|(i, octet)| octet ^ key[i % 4]).collect()
}

/// FR06: every length around a word, split into three parts at every pair of points.
#[test]
fn mask_each_length_and_split_follows_the_formula() {
    let original: Vec<u8> = (0..40_u8).map(|i| i.wrapping_mul(37)).collect();
    for len in 0..=original.len() {
        let expected = transformed(KEY, &original[..len]);
        for first in 0..=len {
            for second in first..=len {
                let mut bytes = original[..len].to_vec();
                let mut mask = Mask::new(KEY);
                mask.apply(&mut bytes[..first]);
                mask.apply(&mut bytes[first..second]);
                mask.apply(&mut bytes[second..]);
                assert_eq!(
                    bytes, expected,
                    "{len} octets split at {first} and {second}"
                );
            }
        }
    }
}

/// MS11: one byte beyond ASCII, wherever it is, is noticed; none is not.
#[test]
fn mask_one_octet_beyond_ascii_is_told() {
    for len in 0..=40 {
        let mut ascii = transformed(KEY, &vec![0x7F; len]);
        assert!(Mask::new(KEY).apply(&mut ascii), "{len} octets");
        for at in 0..len {
            let mut text = vec![b'a'; len];
            text[at] = 0x80;
            let mut bytes = transformed(KEY, &text);
            assert!(!Mask::new(KEY).apply(&mut bytes), "octet {at} of {len}");
            assert_eq!(bytes, text);
        }
    }
}

/// FR06, MS11: a long part is masked from an aligned word on, wherever it lies.
#[test]
fn mask_long_part_anywhere_follows_the_formula() {
    let original: Vec<u8> = (0..5000_u32).map(|i| (i * 37 % 127) as u8).collect();
    let expected = transformed(KEY, &original);
    for start in 0..20 {
        for first in [0, 1, 2, 3, 2047, 2048, 2049, 2061] {
            let mut bytes = [&vec![0; start][..], &original].concat();
            let mut mask = Mask::new(KEY);
            let (head, tail) = bytes[start..].split_at_mut(first);
            mask.apply(head);
            mask.apply(tail);
            assert!(bytes[start..] == expected, "at {start}, cut at {first}");
        }
        for beyond in [0, 1, 15, 16, 17, 2500, 4999] {
            let mut bytes = [&vec![0; start][..], &expected].concat();
            assert!(Mask::new(KEY).apply(&mut bytes[start..]), "at {start}");
            assert!(bytes[start..] == original);
            bytes[start + beyond] |= 0x80;
            Mask::new(KEY).apply(&mut bytes[start..]);
            assert!(!Mask::new(KEY).apply(&mut bytes[start..]), "{beyond}");
        }
    }
}

proptest! {
    /// FR06: any payload in any parts; and masking twice is not masking.
    #[test]
    fn mask_any_parts_follow_the_formula(
        key in any::<[u8; 4]>(),
        original in prop::collection::vec(any::<u8>(), 0..600),
        cuts in prop::collection::vec(1..70_usize, 0..20),
    ) {
        let mut bytes = original.clone();
        let mut mask = Mask::new(key);
        let mut rest = &mut bytes[..];
        for cut in cuts {
            let (part, after) = rest.split_at_mut(cut.min(rest.len()));
            mask.apply(part);
            rest = after;
        }
        mask.apply(rest);
        prop_assert_eq!(&bytes, &transformed(key, &original));

        let ascii = Mask::new(key).apply(&mut bytes);
        prop_assert_eq!(&bytes, &original);
        prop_assert_eq!(ascii, original.is_ascii());
    }
}
