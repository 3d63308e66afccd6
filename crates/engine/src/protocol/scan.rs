//! Finds bytes in the short strings of a line.

use crate::sys::lanes::{
    Alike, LANES, any_equal, control_or_equal_to, equal_to, equal_to_or_alike,
};

/// Finds the first byte from `start` that equals one of `wanted`. Returns the length of `bytes` if
/// no byte does.
///
/// `bytes` should be the whole line and not a part that ends at the searched text: the last bytes,
/// if fewer than the lanes, take an additional step.
#[inline]
pub(super) fn find<const N: usize>(bytes: &[u8], start: usize, wanted: [u8; N]) -> usize {
    find_marked(bytes, start, |lanes| equal_to(lanes, wanted))
}

/// Finds the first byte from `start` that is in one of two lists, like [`find`]. One list of all of them
/// would be a loop over its bytes in each step, which the compiler unrolls only if they are few.
#[inline]
pub(super) fn find_in_either<const N: usize, const M: usize>(
    bytes: &[u8],
    start: usize,
    some: [u8; N],
    others: [u8; M],
) -> usize {
    find_marked(bytes, start, |lanes| equal_to(lanes, some) | equal_to(lanes, others))
}

/// Finds the first byte from `start` that equals one of `wanted` or is one of `alike`, like [`find`].
#[inline]
pub(super) fn find_or_alike<const N: usize, const M: usize>(
    bytes: &[u8],
    start: usize,
    wanted: [u8; N],
    alike: [Alike; M],
) -> usize {
    find_marked(bytes, start, |lanes| equal_to_or_alike(lanes, wanted, alike))
}

/// Bytes that [`find_far`] searches in one step.
const BLOCK: usize = 4 * LANES;

/// Finds the first byte from `start` that equals `wanted`, like [`find`], but faster if it is far away.
#[inline]
pub(super) fn find_far(bytes: &[u8], start: usize, wanted: u8) -> usize {
    let mut at = start;
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        if has(block, wanted) {
            let marks = marks_of_block(block, |lanes| equal_to(lanes, [wanted]));
            return at + marks.trailing_zeros() as usize;
        }
        at += BLOCK;
    }
    let left = bytes.len().saturating_sub(at);
    match bytes.last_chunk() {
        Some(block) if left > 0 && !has(block, wanted) => bytes.len(),
        // The last block of the line, without the marks of bytes that were searched before, and with
        // an additional mark at the end.
        Some(block) if left > 0 => {
            let marks = marks_of_block(block, |lanes| equal_to(lanes, [wanted]));
            let marks = marks >> (BLOCK - left) | 1 << left;
            at + marks.trailing_zeros() as usize
        }
        _ => find(bytes, at, [wanted]),
    }
}

/// Whether a block has this byte. Most blocks have not.
#[inline]
fn has(block: &[u8; BLOCK], wanted: u8) -> bool {
    block.as_chunks().0.first_chunk().is_some_and(|lanes| any_equal(lanes, wanted))
}

#[inline]
fn marks_of_block(block: &[u8; BLOCK], mark: impl Fn(&[u8; LANES]) -> u32) -> u64 {
    let (lanes, _) = block.as_chunks::<LANES>();
    let marks = |part: usize| u64::from(mark(&lanes[part])) << (part * LANES);
    marks(0) | marks(1) | marks(2) | marks(3)
}

/// Finds the first byte from `start` that does not stand for itself in a JSON string: a quote, a
/// backslash or a control character. Returns the length of `bytes` if every byte does.
#[inline]
pub(super) fn plain_until(bytes: &[u8], start: usize) -> usize {
    find_near(bytes, start, |lanes| control_or_equal_to(lanes, [b'"', b'\\']))
}

/// Finds the first byte from `start` that `mark` marks, like [`find`], but faster if it is near.
///
/// `mark` should capture no variables, so that the wanted bytes are constants in its instance of this
/// function.
#[inline]
pub(super) fn find_near(bytes: &[u8], start: usize, mark: impl Fn(&[u8; LANES]) -> u32) -> usize {
    let Some(lanes) = bytes.get(start..).and_then(<[u8]>::first_chunk) else {
        return find_later(bytes, start, mark);
    };
    match mark(lanes) {
        0 => find_later(bytes, start + LANES, mark),
        marks => start + marks.trailing_zeros() as usize,
    }
}

// Not inlined: every search would have to prepare the loop, even one that ends with its first step.
#[inline(never)]
fn find_later(bytes: &[u8], start: usize, mark: impl Fn(&[u8; LANES]) -> u32) -> usize {
    find_marked(bytes, start, mark)
}

#[inline]
fn find_marked(bytes: &[u8], start: usize, mark: impl Fn(&[u8; LANES]) -> u32) -> usize {
    let mut at = start;
    while let Some(lanes) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let marks = mark(lanes);
        if marks != 0 {
            return at + marks.trailing_zeros() as usize;
        }
        at += LANES;
    }
    let left = bytes.get(at..).unwrap_or_default();
    // The last lanes of the line, without the marks of bytes that were searched before.
    let marks = match bytes.last_chunk() {
        Some(lanes) => mark(lanes) >> (LANES - left.len()),
        None => mark(&padded(left)),
    };
    // An additional mark at the end, for a line without a wanted byte.
    let end = 1 << left.len();
    bytes.len() - left.len() + (marks | end).trailing_zeros() as usize
}

/// The places of marked bytes, in order. Cheaper than a search for each: every byte is marked once.
pub(super) struct Marks<'b, M> {
    bytes: &'b [u8],
    mark: M,
    /// Start of the bytes that are not marked yet.
    unmarked: usize,
    /// The place of the lowest bit of `marks`.
    at: usize,
    /// The marks that were not returned yet.
    marks: u64,
}

impl<'b, M: Fn(&[u8; LANES]) -> u32> Marks<'b, M> {
    /// The places from `start` of the bytes that `mark` marks. It should capture no variables, as in
    /// [`find_near`].
    #[inline]
    pub(super) fn new(bytes: &'b [u8], start: usize, mark: M) -> Self {
        Self { bytes, mark, unmarked: start, at: start, marks: 0 }
    }

    /// The next place; the length of the bytes after the last one.
    #[inline]
    pub(super) fn next_place(&mut self) -> usize {
        while self.marks == 0 {
            if self.unmarked >= self.bytes.len() {
                return self.bytes.len();
            }
            self.mark_more();
        }
        let place = self.at + self.marks.trailing_zeros() as usize;
        self.marks &= self.marks - 1;
        place
    }

    #[inline]
    fn mark_more(&mut self) {
        self.at = self.unmarked;
        let left = &self.bytes[self.at..];
        // The last block overlaps bytes that were marked before, whose marks are shifted out.
        let is_long = left.len() > 2 * LANES;
        let block = left.first_chunk().or(self.bytes.last_chunk());
        if let Some(block) = block.filter(|_| is_long) {
            let marked_before = BLOCK.saturating_sub(left.len());
            self.marks = marks_of_block(block, &self.mark) >> marked_before;
            self.unmarked += BLOCK;
            return;
        }
        self.unmarked += LANES;
        let marks = match (left.first_chunk(), self.bytes.last_chunk()) {
            (Some(lanes), _) => (self.mark)(lanes),
            // Without the marks of bytes that were marked before.
            (None, Some(lanes)) => (self.mark)(lanes) >> (LANES - left.len()),
            (None, None) => (self.mark)(&padded(left)),
        };
        self.marks = marks.into();
    }
}

/// Whether a text consists of digits, at least one, as a time in seconds does.
#[inline]
pub(super) fn is_of_digits(text: &[u8]) -> bool {
    match (text.first_chunk(), text.last_chunk()) {
        (Some(first), Some(last)) if text.len() <= 16 => {
            is_word_of_digits(u64::from_le_bytes(*first))
                && is_word_of_digits(u64::from_le_bytes(*last))
        }
        _ => !text.is_empty() && text.iter().all(u8::is_ascii_digit),
    }
}

#[inline]
fn is_word_of_digits(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Both the byte and the byte plus 6 are from 0x30 to 0x3f.
    word & (0xf0 * ONES) == 0x30 * ONES
        && word.wrapping_add(0x06 * ONES) & (0xf0 * ONES) == 0x30 * ONES
}

/// Pads a text that is shorter than the lanes with zeros.
fn padded(text: &[u8]) -> [u8; LANES] {
    let mut lanes = [0; LANES];
    lanes[..text.len()].copy_from_slice(text);
    lanes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_without_a_wanted_byte_is_searched_to_its_end() {
        for length in [0, 1, 15, 16, 17, 31, 32, 33] {
            let text = vec![b'x'; length];
            assert_eq!(find(&text, 0, [b'y']), length);
            assert_eq!(plain_until(&text, 0), length);
            assert_eq!(plain_until(&text, length), length);
        }
    }

    #[test]
    fn a_text_of_digits_has_no_other_byte() {
        assert!(!is_of_digits(b""));
        let digits = b"01234567890123456789";
        for length in 1..=digits.len() {
            assert!(is_of_digits(&digits[..length]));
            for (place, byte) in
                (0..length).flat_map(|place| (0..=u8::MAX).map(move |byte| (place, byte)))
            {
                let mut text = digits[..length].to_vec();
                text[place] = byte;
                assert_eq!(
                    is_of_digits(&text),
                    byte.is_ascii_digit(),
                    "{byte} at {place} of {length}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn the_first_wanted_byte_is_found(text in "[a-d]{0,70}", start in 0_usize..80) {
            let bytes = text.as_bytes();
            let expected = bytes.iter().skip(start).position(|byte| b"cd".contains(byte));
            let expected = expected.map_or(bytes.len(), |place| start + place);
            prop_assert_eq!(find(bytes, start, [b'd', b'c']), expected);
        }

        #[test]
        fn a_byte_is_found_however_far_it_is(
            start in 0_usize..300, place in 0_usize..300, other in 0_usize..300, length in 0_usize..300,
        ) {
            let mut bytes = vec![b'a'; length];
            for place in [place, other] {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = b'b';
                }
            }
            prop_assert_eq!(find_far(&bytes, start, b'b'), find(&bytes, start, [b'b']));
        }

        #[test]
        fn all_marked_bytes_are_found_in_order(text in "[a-d]{0,200}", start in 0_usize..80) {
            let bytes = text.as_bytes();
            let mut marks = Marks::new(bytes, start, |lanes| equal_to(lanes, [b'd', b'c']));
            let wanted = |(_, byte): &(usize, &u8)| b"cd".contains(byte);
            for (place, _) in bytes.iter().enumerate().skip(start).filter(wanted) {
                prop_assert_eq!(marks.next_place(), place);
            }
            prop_assert_eq!(marks.next_place(), bytes.len());
            prop_assert_eq!(marks.next_place(), bytes.len());
        }

        #[test]
        fn a_string_is_plain_until_a_special_character(
            mut bytes in prop::collection::vec(b' '..=0xff, 0..70), special in prop::sample::select(vec![b'"', b'\\', 0, 9, 0x1f]), place in 0_usize..70,
        ) {
            bytes.iter_mut().filter(|byte| matches!(**byte, b'"' | b'\\')).for_each(|byte| *byte = b'x');
            prop_assert_eq!(plain_until(&bytes, 0), bytes.len());
            if place < bytes.len() {
                bytes[place] = special;
                prop_assert_eq!(plain_until(&bytes, 0), place);
                prop_assert_eq!(plain_until(&bytes, place + 1), bytes.len());
            }
        }
    }
}
