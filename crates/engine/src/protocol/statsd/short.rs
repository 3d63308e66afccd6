//! Reads a short line without a search for its end: a table of known lines has the bytes after the number.

use super::super::lines::find_among_near;
use super::super::split::short_number;

/// The beginning of a line of the form `name:1|c`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShortLine<'b> {
    /// The bytes up to the first colon, with the colon.
    pub name: &'b [u8],
    /// The number after the colon.
    pub number: f64,
    /// The bytes after the number, the first one in the lowest bits. Line ends follow the end of the
    /// datagram.
    pub tail: u32,
    /// The place of these bytes in the datagram.
    pub tail_start: usize,
}

/// The bytes of [`ShortLine::tail`].
pub const TAIL_BYTES: usize = size_of::<u32>();

/// Reads the line that begins at `start`, if its first colon is near and a short number follows. Does not
/// check the bytes after the number.
// Always: it is a part of the hottest loop.
#[inline(always)]
#[must_use]
pub fn read_short(bytes: &[u8], start: usize) -> Option<ShortLine<'_>> {
    let colon = find_among_near(bytes, start, [b':'])?;
    let name = bytes.get(start..=colon)?;
    let (number, tail_start) = short_number(bytes, colon + 1)?;
    Some(ShortLine { name, number, tail: tail_at(bytes, tail_start)?, tail_start })
}

#[inline(always)]
fn tail_at(bytes: &[u8], start: usize) -> Option<u32> {
    match bytes.get(start..).and_then(<[u8]>::first_chunk) {
        Some(tail) => Some(u32::from_le_bytes(*tail)),
        None => last_tail(bytes, start),
    }
}

/// The tail of the last line.
#[inline]
fn last_tail(bytes: &[u8], start: usize) -> Option<u32> {
    const LINE_ENDS: u32 = u32::from_le_bytes([b'\n'; TAIL_BYTES]);
    let last = u32::from_le_bytes(*bytes.last_chunk()?);
    let missing = (start + TAIL_BYTES).checked_sub(bytes.len())?;
    let with_ends = u64::from(last) | u64::from(LINE_ENDS) << u32::BITS;
    Some(with_ends.checked_shr(8 * missing as u32)? as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The name, the number and the tail of the first line.
    fn read(datagram: &str) -> Option<(&str, f64, String)> {
        let line = read_short(datagram.as_bytes(), 0)?;
        let tail = String::from_utf8(line.tail.to_le_bytes().to_vec()).unwrap();
        assert!(datagram[line.tail_start..].starts_with(tail.trim_end_matches('\n')));
        Some((std::str::from_utf8(line.name).unwrap(), line.number, tail))
    }

    #[test]
    fn a_line_is_read_up_to_the_bytes_after_its_number() {
        let name = "api.requests.web-12:";
        for (rest, expected) in [
            ("1|c", Some((1.0, "|c\n\n"))),
            ("12.5|ms", Some((12.5, "|ms\n"))),
            ("12.5|ms\n", Some((12.5, "|ms\n"))),
            ("1234567|c\na", Some((1_234_567.0, "|c\na"))),
            ("1|c|#k:v", Some((1.0, "|c|#"))),
            ("1|c\r\n", Some((1.0, "|c\r\n"))),
            ("1", Some((1.0, "\n\n\n\n"))),
            ("12345678|c", None),
            ("-1|g", None),
            ("1e3|c", None),
            ("x|c", None),
            ("", None),
        ] {
            let datagram = [name, rest].concat();
            let expected = expected.map(|(number, tail)| (name, number, tail.to_owned()));
            assert_eq!(read(&datagram), expected, "{datagram}");
        }
        assert_eq!(read(&format!("{}:1|c\n", "a".repeat(32))), None, "the colon is far");
        assert_eq!(read("api.requests.web-12"), None, "no colon");
    }

    proptest! {
        #[test]
        fn the_tail_is_that_of_a_datagram_with_endless_line_ends(
            text in "[a|\n]{4,12}", start in 0_usize..=12,
        ) {
            let start = start.min(text.len());
            let endless = format!("{text}{}", "\n".repeat(TAIL_BYTES));
            let found = tail_at(text.as_bytes(), start).map(u32::to_le_bytes);
            let expected = &endless.as_bytes()[start..start + TAIL_BYTES];
            prop_assert_eq!(found.as_ref().map(<[u8; 4]>::as_slice), Some(expected));
        }
    }
}
