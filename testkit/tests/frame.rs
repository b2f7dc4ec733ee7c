//! Frames, against the examples of RFC 6455 §5.7 and the three forms of a length.

use std::io::ErrorKind;

use motews_testkit::frame::{self, Frame, KEY, ZERO_KEY, encode, header, masked, unmasked};

#[test]
fn frames_of_the_rfc_are_encoded_as_there() {
    assert_eq!(unmasked(0x81, b"Hello"), b"\x81\x05Hello");
    assert_eq!(
        masked(0x81, b"Hello"),
        b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
    );
    assert_eq!(frame::text("Hel").more().encode(None), b"\x01\x03Hel");
    assert_eq!(frame::continuation("lo").encode(None), b"\x80\x02lo");
    assert_eq!(header(0x82, 256, None), b"\x82\x7e\x01\x00");
    assert_eq!(header(0x82, 65_536, None), b"\x82\x7f\0\0\0\0\0\x01\0\0");
}

#[test]
fn frame_of_each_form_is_decoded_and_the_rest_is_left() {
    for len in [0, 1, 125, 126, 127, 65_535, 65_536] {
        for key in [None, Some(KEY), Some(ZERO_KEY)] {
            let frame = frame::binary(vec![7; len]);
            let wire = [frame.encode(key), b"rest".to_vec()].concat();
            let mut wire = &wire[..];
            assert_eq!(Frame::decode(&mut wire), (frame, key));
            assert_eq!(wire, b"rest");
        }
    }
}

#[test]
fn frame_cut_short_or_with_a_longer_length_than_need_be_is_refused() {
    let whole = encode(0x82, &[7; 300], Some(KEY));
    for len in 0..whole.len() {
        let error = Frame::read(&mut &whole[..len]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }
    for wire in [&b"\x82\x7e\0\x7d"[..], b"\x82\x7f\0\0\0\0\0\0\xff\xff"] {
        let wire = [wire, &[0; 65_535]].concat();
        let error = Frame::read(&mut &wire[..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}
