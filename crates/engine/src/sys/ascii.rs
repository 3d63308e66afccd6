//! ASCII text.
//!
//! Nearly all lines are ASCII. The standard library's validation of UTF-8 takes three times as long as
//! this one for a short line, and each part that is cut out of a text has a check of both ends.

use std::ops::Range;

use super::lanes::LANES;

/// Returns the bytes as a text if all of them are ASCII characters other than NUL.
#[inline]
#[must_use]
pub fn text(bytes: &[u8]) -> Option<&str> {
    // SAFETY: ASCII is UTF-8.
    is_ascii_without_nul(bytes).then(|| unsafe { std::str::from_utf8_unchecked(bytes) })
}

/// A text of which parts are cut out.
#[derive(Clone, Copy, Debug)]
pub struct CutText<'a> {
    text: &'a str,
    is_ascii: bool,
}

impl<'a> CutText<'a> {
    /// Creates it from ASCII characters other than NUL. `None` if there are other bytes.
    #[inline]
    #[must_use]
    pub fn of_ascii(bytes: &'a [u8]) -> Option<Self> {
        text(bytes).map(|text| Self { text, is_ascii: true })
    }

    /// Creates it from any text.
    #[must_use]
    pub fn of_text(text: &'a str) -> Self {
        Self { text, is_ascii: false }
    }

    /// The whole text.
    #[inline]
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.text
    }

    /// The text of a range. Empty if the text has no such range, or if it cuts a character.
    #[inline]
    #[must_use]
    pub fn part(self, range: Range<usize>) -> &'a str {
        if !self.is_ascii {
            return self.text.get(range).unwrap_or_default();
        }
        let bytes = self.text.as_bytes().get(range).unwrap_or_default();
        // SAFETY: any part of an ASCII text is UTF-8.
        unsafe { std::str::from_utf8_unchecked(bytes) }
    }
}

#[inline]
fn is_ascii_without_nul(bytes: &[u8]) -> bool {
    match bytes.last_chunk() {
        // The last lanes may overlap those before them.
        Some(last) => imp::is_ascii_without_nul(bytes.as_chunks().0, last),
        None => bytes.iter().all(|byte| is_wanted(*byte)),
    }
}

fn is_wanted(byte: u8) -> bool {
    matches!(byte, 1..=0x7f)
}

#[cfg(not(target_arch = "x86_64"))]
use portable as imp;
#[cfg(target_arch = "x86_64")]
use sse2 as imp;

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128,
        _mm_setzero_si128,
    };

    use super::LANES;

    #[inline]
    pub(super) fn is_ascii_without_nul(chunks: &[[u8; LANES]], last: &[u8; LANES]) -> bool {
        // SAFETY: every processor of this architecture has SSE2.
        unsafe {
            // A byte above ASCII has its highest bit set; only a NUL makes a minimum of 0. Both are
            // checked once for all lanes.
            let (mut all, mut least) = (load(last), load(last));
            for chunk in chunks {
                let lanes = load(chunk);
                all = _mm_or_si128(all, lanes);
                least = _mm_min_epu8(least, lanes);
            }
            let nuls = _mm_cmpeq_epi8(least, _mm_setzero_si128());
            _mm_movemask_epi8(_mm_or_si128(all, nuls)) == 0
        }
    }

    #[inline]
    fn load(bytes: &[u8; LANES]) -> __m128i {
        // SAFETY: the load has no alignment, and the array has as many bytes as it reads.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    use super::LANES;

    pub(super) fn is_ascii_without_nul(chunks: &[[u8; LANES]], last: &[u8; LANES]) -> bool {
        chunks.as_flattened().iter().chain(last).all(|byte| super::is_wanted(*byte))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_part_ends_between_characters() {
        for (text, range, part) in [
            ("abc", 1..3, "bc"),
            ("abc", 3..3, ""),
            ("abc", 2..4, ""),
            ("äbc", 2..4, "bc"),
            ("äbc", 1..4, ""),
            ("äbc", 0..1, ""),
        ] {
            assert_eq!(CutText::of_text(text).part(range.clone()), part, "{text} {range:?}");
            if let Some(ascii) = CutText::of_ascii(text.as_bytes()) {
                assert_eq!(ascii.part(range.clone()), part, "{text} {range:?}");
            }
        }
        #[expect(clippy::reversed_empty_ranges)]
        let reversed = 2..1;
        assert_eq!(CutText::of_ascii(b"abc").map(|text| text.part(reversed)), Some(""));
        assert!(CutText::of_ascii("äbc".as_bytes()).is_none());
    }

    proptest! {
        #[test]
        fn exactly_ascii_without_nul_is_text(
            mut bytes in prop::collection::vec(1_u8..0x80, 0..70), other in any::<u8>(), place in 0_usize..80,
        ) {
            prop_assert_eq!(text(&bytes).map(str::as_bytes), Some(&*bytes));
            if let Some(byte) = bytes.get_mut(place) {
                *byte = other;
            }
            let is_text = bytes.is_ascii() && !bytes.contains(&0);
            prop_assert_eq!(text(&bytes).is_some(), is_text);
            if let Some(last) = bytes.last_chunk() {
                prop_assert_eq!(portable::is_ascii_without_nul(bytes.as_chunks().0, last), is_text);
            }
        }
    }
}
