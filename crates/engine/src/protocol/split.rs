//! Splits a line around its number: the rest stays the same from one sample of a series to the
//! next.

/// A line with the position of its number, found without decoding.
#[derive(Clone, Copy, Debug)]
pub struct Split<'a> {
    /// The whole line.
    pub line: &'a [u8],
    /// Start of the number; the end of the line if there is none.
    pub number_start: usize,
    /// End of the number.
    pub number_end: usize,
    /// The number; 1 if there is none, and NaN if there are several, which needs no room of its own.
    pub number: f64,
}

impl<'a> Split<'a> {
    /// A line without a number.
    #[must_use]
    pub fn without_number(line: &'a [u8]) -> Self {
        Self { line, number_start: line.len(), number_end: line.len(), number: 1.0 }
    }

    /// A line whose number starts at `start`. `None` unless the number is simple: digits with an
    /// optional sign and fraction, few enough for the double to be exact.
    #[inline]
    #[must_use]
    pub fn at_number(line: &'a [u8], start: usize, may_be_negative: bool) -> Option<Self> {
        let negative = may_be_negative && line.get(start) == Some(&b'-');
        let first = start + usize::from(negative);
        let (whole, point) = digits(line, first, 0);
        let whole_digits = point - first;
        // JSON does not allow leading zeros, and in statsd they are unusual: leave them to
        // decoding.
        if whole_digits == 0 || (whole_digits > 1 && line[first] == b'0') {
            return None;
        }
        let (mantissa, end, fraction_digits) = if line.get(point) == Some(&b'.') {
            let (mantissa, end) = digits(line, point + 1, whole);
            // A point without digits.
            if end == point + 1 {
                return None;
            }
            (mantissa, end, end - point - 1)
        } else {
            (whole, point, 0)
        };
        let goes_on = matches!(line.get(end), Some(b'e' | b'E' | b'.' | b'0'..=b'9'));
        if goes_on || whole_digits + fraction_digits > EXACT_DIGITS {
            return None;
        }
        // Both are exact doubles, so the quotient is the double nearest to the decimal number.
        let magnitude = match fraction_digits {
            0 => mantissa as f64,
            _ => mantissa as f64 / POWERS_OF_TEN[fraction_digits],
        };
        let number = if negative { -magnitude } else { magnitude };
        Some(Self { line, number_start: start, number_end: end, number })
    }

    /// The same line with several numbers, which end at `number_end`.
    #[must_use]
    pub fn packed_until(self, number_end: usize) -> Self {
        Self { number_end, number: f64::NAN, ..self }
    }

    /// Whether there are several numbers.
    #[inline]
    #[must_use]
    pub fn is_packed(&self) -> bool {
        self.number.is_nan()
    }

    /// The bytes before and after the number.
    #[inline]
    #[must_use]
    pub fn around(&self) -> (&'a [u8], &'a [u8]) {
        (&self.line[..self.number_start], &self.line[self.number_end..])
    }
}

/// Number of decimal digits that always fit into the 53 bits of a double.
const EXACT_DIGITS: usize = 15;

const POWERS_OF_TEN: [f64; EXACT_DIGITS + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Reads digits from `at`, at most as many as are exact. Returns the number and the end of the
/// digits.
#[inline]
fn digits(line: &[u8], at: usize, mut number: u64) -> (u64, usize) {
    let mut end = at;
    for byte in line.get(at..).unwrap_or_default().iter().take(EXACT_DIGITS) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        // At most 30 digits, before and after the point. A number of more than 15 is not used, so
        // its overflow does no harm.
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        end += 1;
    }
    (number, end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_simple_numbers_are_accepted() {
        for odd in [
            "01",
            "1e3",
            "1.",
            ".5",
            "",
            "-",
            "+1",
            "1.2.3",
            "1234567890123456",
            "0.1234567890123456",
        ] {
            assert!(Split::at_number(odd.as_bytes(), 0, true).is_none(), "{odd}");
        }
        assert!(Split::at_number(b"-1", 0, false).is_none());
    }

    #[test]
    fn numbers_of_as_many_digits_as_are_exact_are_accepted() {
        for text in ["123456789012345", "0.12345678901234", "1234567890.12345", "999999999999999"] {
            let split = Split::at_number(text.as_bytes(), 0, false).unwrap();
            assert_eq!(split.number, text.parse::<f64>().unwrap());
            assert_eq!(split.number_end, text.len());
        }
    }

    #[test]
    fn the_rest_of_a_line_is_around_its_numbers() {
        let split = Split::at_number(b"ab:12:3|c", 3, false).unwrap();
        assert_eq!(split.around(), (&b"ab:"[..], &b":3|c"[..]));
        assert!(!split.is_packed());
        let packed = split.packed_until(7);
        assert_eq!(packed.around(), (&b"ab:"[..], &b"|c"[..]));
        assert!(packed.is_packed());
        assert_eq!(Split::without_number(b"ab").around(), (&b"ab"[..], &b""[..]));
        assert_eq!(Split::without_number(b"ab").number, 1.0);
    }

    proptest! {
        #[test]
        fn a_number_equals_that_of_the_standard_library(text in "-?(0|[1-9][0-9]{0,9})(\\.[0-9]{1,5})?") {
            let split = Split::at_number(text.as_bytes(), 0, true).unwrap();
            prop_assert_eq!(split.number_end, text.len());
            prop_assert_eq!(split.number.to_bits(), text.parse::<f64>().unwrap().to_bits());
        }

        #[test]
        fn any_bytes_are_split_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), start in 0_usize..70) {
            let _ = Split::at_number(&bytes, start, true);
        }
    }
}
