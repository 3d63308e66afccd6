//! Comparison of 16 bytes at a time.
//!
//! A line consists of short strings, and finding their ends is most of its decoding. The `memchr`
//! crate is made for long texts: a call takes longer than a search of 16 bytes here, and it has no
//! search for a range of bytes.

/// As many bytes as are compared at once.
pub const LANES: usize = 16;

/// Returns a bit for each of the bytes, the lowest for the first: 1 if it equals one of `wanted`.
#[inline]
#[must_use]
pub fn equal_to<const N: usize>(bytes: &[u8; LANES], wanted: [u8; N]) -> u32 {
    imp::mask::<N, false>(bytes, wanted)
}

/// Like [`equal_to`], but bytes that equal one of `alike` with its bits set are also wanted: one
/// comparison for up to `2^bits` bytes.
#[inline]
#[must_use]
pub fn equal_to_or_alike<const N: usize, const M: usize>(
    bytes: &[u8; LANES],
    wanted: [u8; N],
    alike: [Alike; M],
) -> u32 {
    imp::mask_or_alike(bytes, wanted, alike)
}

/// The bytes that become `equal` when `bits` are set in them.
#[derive(Clone, Copy, Debug)]
pub struct Alike {
    /// The bits in which the bytes may differ.
    pub bits: u8,
    /// The byte with all of them.
    pub equal: u8,
}

/// Like [`equal_to`], but control characters, those below a blank, are also wanted.
#[inline]
#[must_use]
pub fn control_or_equal_to<const N: usize>(bytes: &[u8; LANES], wanted: [u8; N]) -> u32 {
    imp::mask::<N, true>(bytes, wanted)
}

/// Whether any of these bytes equals `wanted`. Faster than [`equal_to`] for each of the lanes.
#[inline]
#[must_use]
pub fn any_equal(bytes: &[[u8; LANES]; 4], wanted: u8) -> bool {
    imp::any_equal(bytes, wanted)
}

/// Bytes that [`equal_unless`] reads.
pub const AROUND: usize = LANES + 3;

/// Returns a bit for each byte of `around` from the third to the last but one, the lowest for the third:
/// 1 if it equals `wanted`, unless the next byte equals `unless_next` and the second byte before is not
/// `but_after`.
#[inline]
#[must_use]
pub fn equal_unless(around: &[u8; AROUND], wanted: u8, but_after: u8, unless_next: u8) -> u32 {
    imp::mask_unless(around, wanted, but_after, unless_next)
}

#[cfg(not(target_arch = "x86_64"))]
use portable as imp;
#[cfg(target_arch = "x86_64")]
use sse2 as imp;

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        _mm_andnot_si128, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8,
        _mm_or_si128, _mm_set1_epi8, _mm_setzero_si128,
    };

    use super::{AROUND, Alike, LANES};

    #[inline]
    pub(super) fn mask_or_alike<const N: usize, const M: usize>(
        bytes: &[u8; LANES],
        wanted: [u8; N],
        alike: [Alike; M],
    ) -> u32 {
        // SAFETY: as below.
        unsafe {
            let lanes = _mm_loadu_si128(bytes.as_ptr().cast());
            let mut hits = _mm_setzero_si128();
            for byte in wanted {
                let equal = _mm_cmpeq_epi8(lanes, _mm_set1_epi8(byte.cast_signed()));
                hits = _mm_or_si128(hits, equal);
            }
            for Alike { bits, equal } in alike {
                let set = _mm_or_si128(lanes, _mm_set1_epi8(bits.cast_signed()));
                let equal = _mm_cmpeq_epi8(set, _mm_set1_epi8(equal.cast_signed()));
                hits = _mm_or_si128(hits, equal);
            }
            _mm_movemask_epi8(hits).cast_unsigned()
        }
    }

    #[inline]
    pub(super) fn mask<const N: usize, const CONTROLS: bool>(
        bytes: &[u8; LANES],
        wanted: [u8; N],
    ) -> u32 {
        // SAFETY: every processor of this architecture has SSE2. The load has no alignment, and the
        // array has as many bytes as it reads.
        unsafe {
            let lanes = _mm_loadu_si128(bytes.as_ptr().cast());
            let mut hits = if CONTROLS {
                _mm_cmpeq_epi8(lanes, _mm_min_epu8(lanes, _mm_set1_epi8(0x1f)))
            } else {
                _mm_setzero_si128()
            };
            for byte in wanted {
                let equal = _mm_cmpeq_epi8(lanes, _mm_set1_epi8(byte.cast_signed()));
                hits = _mm_or_si128(hits, equal);
            }
            _mm_movemask_epi8(hits).cast_unsigned()
        }
    }

    /// One mask for four comparisons.
    #[inline]
    pub(super) fn any_equal(bytes: &[[u8; LANES]; 4], wanted: u8) -> bool {
        // SAFETY: as above.
        unsafe {
            let [a, b, c, d] = bytes.each_ref().map(|lanes| {
                let lanes = _mm_loadu_si128(lanes.as_ptr().cast());
                _mm_cmpeq_epi8(lanes, _mm_set1_epi8(wanted.cast_signed()))
            });
            let any = _mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d));
            _mm_movemask_epi8(any) != 0
        }
    }

    /// One mask for three comparisons: each mask takes as long as three of them.
    #[inline]
    pub(super) fn mask_unless(
        around: &[u8; AROUND],
        wanted: u8,
        but_after: u8,
        unless_next: u8,
    ) -> u32 {
        // SAFETY: as above. The last load begins at the fourth of the `LANES + 3` bytes.
        unsafe {
            let equal = |start: usize, byte: u8| {
                let lanes = _mm_loadu_si128(around.as_ptr().add(start).cast());
                _mm_cmpeq_epi8(lanes, _mm_set1_epi8(byte.cast_signed()))
            };
            let excluded = _mm_andnot_si128(equal(0, but_after), equal(3, unless_next));
            _mm_movemask_epi8(_mm_andnot_si128(excluded, equal(2, wanted))).cast_unsigned()
        }
    }
}

/// The same with eight bytes in an integer.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    use super::{AROUND, Alike, LANES};

    const ONES: u64 = 0x0101_0101_0101_0101;
    const LOWS: u64 = 0x7f * ONES;

    #[inline]
    pub(super) fn mask<const N: usize, const CONTROLS: bool>(
        bytes: &[u8; LANES],
        wanted: [u8; N],
    ) -> u32 {
        let both = u128::from_le_bytes(*bytes);
        let half = |word| mask_of_word::<N, CONTROLS>(word, wanted);
        half(both as u64) | half((both >> 64) as u64) << 8
    }

    #[inline]
    pub(super) fn mask_or_alike<const N: usize, const M: usize>(
        bytes: &[u8; LANES],
        wanted: [u8; N],
        alike: [Alike; M],
    ) -> u32 {
        let with_bits = |bits: u8| bytes.map(|byte| byte | bits);
        let hits = |mask, Alike { bits, equal }: Alike| {
            mask | self::mask::<1, false>(&with_bits(bits), [equal])
        };
        alike.into_iter().fold(mask::<N, false>(bytes, wanted), hits)
    }

    #[inline]
    pub(super) fn any_equal(bytes: &[[u8; LANES]; 4], wanted: u8) -> bool {
        bytes.as_flattened().contains(&wanted)
    }

    #[inline]
    pub(super) fn mask_unless(
        around: &[u8; AROUND],
        wanted: u8,
        but_after: u8,
        unless_next: u8,
    ) -> u32 {
        let equal = |start: usize, byte: u8| {
            let lanes = around[start..].first_chunk().unwrap_or(&[0; LANES]);
            mask::<1, false>(lanes, [byte])
        };
        equal(2, wanted) & !(equal(3, unless_next) & !equal(0, but_after))
    }

    #[inline]
    fn mask_of_word<const N: usize, const CONTROLS: bool>(word: u64, wanted: [u8; N]) -> u32 {
        // Bytes of 0 become a high bit. The low bits are added separately, so that no byte carries
        // into the next one.
        let zeros = |word: u64| !(((word & LOWS) + LOWS) | word | LOWS);
        let mut hits = if CONTROLS { !(((word & LOWS) + 0x60 * ONES) | word | LOWS) } else { 0 };
        for byte in wanted {
            hits |= zeros(word ^ (ONES * u64::from(byte)));
        }
        // Moves the high bits of the eight bytes next to each other.
        ((hits >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expected(bytes: [u8; LANES], is_wanted: impl Fn(u8) -> bool) -> u32 {
        (0..LANES).fold(0, |mask, lane| mask | u32::from(is_wanted(bytes[lane])) << lane)
    }

    proptest! {
        #[test]
        fn each_implementation_marks_exactly_the_wanted_bytes(
            mut bytes in any::<[u8; LANES]>(), places in any::<[(bool, bool); LANES]>(), wanted in any::<[u8; 2]>(),
        ) {
            for (byte, (is_replaced, is_first)) in bytes.iter_mut().zip(places) {
                if is_replaced {
                    *byte = wanted[usize::from(is_first)];
                }
            }
            let equal = expected(bytes, |byte| wanted.contains(&byte));
            prop_assert_eq!(equal_to(&bytes, wanted), equal);
            prop_assert_eq!(portable::mask::<2, false>(&bytes, wanted), equal);
            for lane in 0..4 {
                let mut four = [[!wanted[0]; LANES]; 4];
                prop_assert!(!any_equal(&four, wanted[0]));
                four[lane] = bytes;
                let is_any = bytes.contains(&wanted[0]);
                prop_assert_eq!(any_equal(&four, wanted[0]), is_any);
                prop_assert_eq!(portable::any_equal(&four, wanted[0]), is_any);
            }
            let controls = expected(bytes, |byte| byte < b' ' || wanted.contains(&byte));
            prop_assert_eq!(control_or_equal_to(&bytes, wanted), controls);
            prop_assert_eq!(portable::mask::<2, true>(&bytes, wanted), controls);
        }

        #[test]
        fn bytes_that_differ_only_in_given_bits_are_alike(
            bytes in any::<[u8; LANES]>(), wanted in any::<u8>(), bits in any::<u8>(), equal in any::<u8>(),
        ) {
            let is_wanted = |byte: u8| byte == wanted || byte | bits == equal | bits;
            let expected = expected(bytes, is_wanted);
            let alike = [Alike { bits, equal: equal | bits }];
            prop_assert_eq!(equal_to_or_alike(&bytes, [wanted], alike), expected);
            prop_assert_eq!(portable::mask_or_alike(&bytes, [wanted], alike), expected);
        }
    }

    proptest! {
        #[test]
        fn a_byte_is_marked_depending_on_its_neighbours(
            around in prop::array::uniform19(prop::sample::select(b"p:\"x".to_vec())),
        ) {
            let is_marked = |at: usize| {
                around[at] == b':' && (around[at + 1] != b'"' || around[at - 2] == b'p')
            };
            let expected = (0..LANES).fold(0, |mask, at| mask | u32::from(is_marked(at + 2)) << at);
            prop_assert_eq!(equal_unless(&around, b':', b'p', b'"'), expected);
            prop_assert_eq!(portable::mask_unless(&around, b':', b'p', b'"'), expected);
        }
    }

    #[test]
    fn a_control_character_is_below_a_blank() {
        for byte in 0..=u8::MAX {
            let expected = if byte < b' ' { 0xffff } else { 0 };
            assert_eq!(control_or_equal_to(&[byte; LANES], []), expected, "{byte}");
            assert_eq!(portable::mask::<0, true>(&[byte; LANES], []), expected, "{byte}");
        }
    }
}
