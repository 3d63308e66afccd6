//! Reads messages of protobuf from servers: also messages that are cut, and texts that are not UTF-8,
//! which some servers make when they shorten a text.

use prost::encoding::decode_varint;

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field<'a> {
    Varint(u64),
    /// A text, bytes or another message.
    Bytes(&'a [u8]),
    /// A number of fixed length. No message of replies has one.
    Fixed,
}

/// Calls `each` with the number and the value of each field, in order. The last text of a message that
/// `is_cut` may be incomplete. Returns `None` for bytes that are no message; then `each` may have seen
/// some fields.
pub(super) fn read<'a>(
    mut bytes: &'a [u8],
    is_cut: bool,
    mut each: impl FnMut(u64, Field<'a>),
) -> Option<()> {
    while !bytes.is_empty() {
        let (number, field) = next(&mut bytes, is_cut)?;
        each(number, field);
    }
    Some(())
}

fn next<'a>(bytes: &mut &'a [u8], is_cut: bool) -> Option<(u64, Field<'a>)> {
    let key = decode_varint(bytes).ok()?;
    let field = match key & 7 {
        0 => Field::Varint(decode_varint(bytes).ok()?),
        1 => fixed(bytes, 8)?,
        2 => {
            let length = usize::try_from(decode_varint(bytes).ok()?).ok()?;
            let length = if is_cut { length.min(bytes.len()) } else { length };
            let (value, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Field::Bytes(value)
        }
        5 => fixed(bytes, 4)?,
        _ => return None,
    };
    (key >> 3 > 0).then_some((key >> 3, field))
}

fn fixed<'a>(bytes: &mut &'a [u8], length: usize) -> Option<Field<'a>> {
    *bytes = bytes.split_at_checked(length)?.1;
    Some(Field::Fixed)
}

/// The text with this number in a message; `None` for bytes that are no message.
pub(super) fn text(bytes: &[u8], is_cut: bool, wanted: u64) -> Option<String> {
    let mut text = String::new();
    read(bytes, is_cut, |number, field| {
        if let Field::Bytes(value) = field
            && number == wanted
        {
            text = String::from_utf8_lossy(value).into_owned();
        }
    })?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8], is_cut: bool) -> Option<Vec<(u64, Field<'_>)>> {
        let mut fields = Vec::new();
        read(bytes, is_cut, |number, field| fields.push((number, field)))?;
        Some(fields)
    }

    #[test]
    fn fields_of_all_types_are_read_in_order() {
        let bytes = b"\x08\x96\x01\x12\x02ab\x1d1234\x2112345678";
        let read = fields(bytes, false).unwrap();
        let expected = [
            (1, Field::Varint(150)),
            (2, Field::Bytes(b"ab")),
            (3, Field::Fixed),
            (4, Field::Fixed),
        ];
        assert_eq!(read, expected);
        assert_eq!(fields(b"", false), Some(Vec::new()));
    }

    #[test]
    fn bytes_that_are_no_message_are_rejected() {
        for bytes in [&b"ok"[..], b"\xff\xff", b"\x00\x01", b"\x12\x05abc", b"\x09123", b"\x0b"] {
            assert_eq!(fields(bytes, false), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_message_that_is_cut_ends_with_the_start_of_its_text() {
        let bytes = b"\x08\x02\x12\x05abc";
        let expected = vec![(1, Field::Varint(2)), (2, Field::Bytes(b"abc"))];
        assert_eq!(fields(bytes, true), Some(expected));
        assert_eq!(text(b"\x12\x03a\xffb", false, 2).as_deref(), Some("a\u{fffd}b"));
        assert_eq!(text(b"\x0a\x01a", false, 2).as_deref(), Some(""));
    }
}
