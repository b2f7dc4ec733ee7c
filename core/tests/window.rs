//! The fixed buffer between a core and a byte stream, against a queue.
#![expect(
    clippy::indexing_slicing,
    reason = "an index out of bounds fails the test"
)]

use motews::Window;
use proptest::prelude::*;

#[test]
fn window_new_is_empty_and_has_room_for_all() {
    let mut window = Window::new([0; 8]);
    assert_eq!(
        (window.len(), window.is_empty(), window.capacity()),
        (0, true, 8)
    );
    assert_eq!(window.spare().len(), 8);
    assert_eq!(window.unread(), b"");
    assert_eq!(window.take(1), b"");
}

#[test]
fn window_filled_gives_bytes_in_order_and_begins_anew_when_empty() {
    let mut window = Window::new([0; 8]);
    window.spare()[..6].copy_from_slice(b"abcdef");
    window.fill(6);
    assert_eq!(window.take(2), b"ab");
    assert_eq!(window.len(), 4);
    assert_eq!(window.spare().len(), 2, "nothing is moved");
    assert_eq!(window.unread(), b"cdef");
    assert_eq!(window.take(9), b"cdef", "no more than there is");
    assert!(window.is_empty());
    assert_eq!(window.spare().len(), 8, "the room is whole again");
}

#[test]
fn window_of_one_byte_or_none_works() {
    let mut window = Window::new([0; 1]);
    for byte in 0..3 {
        window.spare()[0] = byte;
        window.fill(1);
        assert_eq!(window.spare(), b"");
        assert_eq!(window.take(1), [byte]);
    }
    let mut window = Window::new([0; 0]);
    window.fill(1);
    assert_eq!((window.len(), window.capacity()), (0, 0));
    assert_eq!(window.spare(), b"");
}

#[test]
fn window_told_more_than_its_room_counts_its_room() {
    let mut window = Window::new(*b"abcd");
    window.fill(3);
    window.fill(usize::MAX);
    assert_eq!(window.unread(), b"abcd");
    assert_eq!(window.take(usize::MAX), b"abcd");
}

#[test]
fn window_bytes_are_lent_to_be_changed() {
    let mut window = Window::new(*b"abcd");
    window.fill(4);
    window.unread()[3] = b'D';
    window.take(1)[0] = b'A';
    assert_eq!(window.unread(), b"bcD");
}

proptest! {
    /// Whatever is done in whatever order, bytes come out as they went in.
    #[test]
    fn window_any_use_keeps_the_order(
        size in 0..20_usize,
        uses in prop::collection::vec((any::<bool>(), 0..20_usize), 0..60),
    ) {
        let mut window = Window::new(vec![0; size]);
        let mut queue: Vec<u8> = Vec::new();
        let mut next = 0;
        for (fill, len) in uses {
            if fill {
                let spare = window.spare();
                let len = len.min(spare.len());
                for slot in &mut spare[..len] {
                    *slot = next;
                    queue.push(next);
                    next = next.wrapping_add(1);
                }
                window.fill(len);
            } else {
                let expected: Vec<u8> = queue.drain(..len.min(queue.len())).collect();
                prop_assert_eq!(window.take(len), expected);
            }
            prop_assert_eq!(window.unread(), &queue[..]);
            prop_assert_eq!(window.len(), queue.len());
            prop_assert_eq!(window.is_empty(), queue.is_empty());
        }
    }
}
