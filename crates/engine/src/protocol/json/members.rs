//! Reads the members of a message.

use std::borrow::Cow;

use super::super::scan::plain_until;
use super::super::{MessageLimits, Rejection, TagValue, Tags};
use super::cursor::{Cursor, JsonValue, RawJson};
use super::message::{Reserved, ReservedKey};
use super::tags::TagList;
use crate::sys::ascii::CutText;

/// The members of a message read so far.
pub(super) struct Members<'a, 't> {
    pub(super) reserved: Reserved<'a>,
    tags: TagList<'a, 't>,
}

/// The key of a member of a message.
enum MemberKey {
    Reserved(ReservedKey),
    Timestamp,
    Tags,
    /// Any other.
    Tag,
}

impl MemberKey {
    #[inline(always)]
    fn of(key: &str) -> Self {
        // Selected by length first, so that most tag keys need no comparison.
        match key.len() {
            4 if key == "tags" => Self::Tags,
            5 if key == "value" => Self::Reserved(ReservedKey::Value),
            5 if key == "count" => Self::Reserved(ReservedKey::Count),
            9 if key == "timestamp" => Self::Timestamp,
            11 if key == "metric_name" => Self::Reserved(ReservedKey::Name),
            11 if key == "metric_type" => Self::Reserved(ReservedKey::Kind),
            11 if key == "sample_rate" => Self::Reserved(ReservedKey::SampleRate),
            _ => Self::Tag,
        }
    }
}

/// A member of the usual form: a key and a string without escapes, or a number without exponent, and
/// at most one blank between them.
struct PlainMember<'a> {
    key: &'a str,
    /// The text of the value, without quotes.
    text: &'a str,
    is_number: bool,
    /// Start of the value.
    offset: usize,
    end: usize,
}

impl<'a> PlainMember<'a> {
    /// Reads the member that starts at `start`; `None` if it has another form, or is invalid.
    #[inline]
    fn read(line: CutText<'a>, start: usize) -> Option<Self> {
        let bytes = line.as_str().as_bytes();
        if *bytes.get(start)? != b'"' {
            return None;
        }
        let key_end = plain_until(bytes, start + 1);
        let (offset, first) = match bytes.get(key_end..)?.first_chunk()? {
            [b'"', b':', b' ', first] => (key_end + 3, *first),
            [b'"', b':', first, _] => (key_end + 2, *first),
            _ => return None,
        };
        let key = line.part(start + 1..key_end);
        if first != b'"' {
            let end = plain_number_end(bytes, offset)?;
            return Some(Self { key, text: line.part(offset..end), is_number: true, offset, end });
        }
        let end = plain_until(bytes, offset + 1);
        if *bytes.get(end)? != b'"' {
            return None;
        }
        let text = line.part(offset + 1..end);
        Some(Self { key, text, is_number: false, offset, end: end + 1 })
    }

    #[inline]
    fn json_value(&self) -> JsonValue<'a> {
        let raw = match self.is_number {
            true => RawJson::Number(self.text),
            false => RawJson::String(Cow::Borrowed(self.text)),
        };
        JsonValue { raw, offset: self.offset }
    }

    #[inline]
    fn tag_value(&self) -> TagValue<'a> {
        if self.is_number { TagValue::Literal(self.text) } else { self.text.into() }
    }
}

/// Finds the end of a number without an exponent. `None` if no such number starts here.
#[inline]
fn plain_number_end(bytes: &[u8], start: usize) -> Option<usize> {
    let first = start + usize::from(*bytes.get(start)? == b'-');
    let point = digits_end(bytes, first)?;
    // JSON has no leading zeros.
    if bytes[first] == b'0' && point > first + 1 {
        return None;
    }
    let end = if *bytes.get(point)? == b'.' { digits_end(bytes, point + 1)? } else { point };
    matches!(bytes.get(end)?, b',' | b'}' | b' ').then_some(end)
}

/// Finds the end of the digits. `None` without a digit.
#[inline]
fn digits_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut end = start;
    while bytes.get(end).is_some_and(u8::is_ascii_digit) {
        end += 1;
    }
    (end > start).then_some(end)
}

impl<'a, 't> Members<'a, 't> {
    pub(super) fn new(tags: &'t mut Tags<'a>, limits: &MessageLimits) -> Self {
        Self { reserved: Reserved::default(), tags: TagList::new(tags, limits) }
    }

    /// Reads a message, starting at its opening brace.
    pub(super) fn read(&mut self, cursor: &mut Cursor<'a>) -> Result<(), Rejection> {
        cursor.depth = 1;
        if cursor.begins_empty_object() {
            return Ok(());
        }
        loop {
            if !self.read_plain(cursor)? {
                let (key, offset) = cursor.key()?;
                self.read_value(cursor, key, offset)?;
            }
            if cursor.ends_object()? {
                return Ok(());
            }
        }
    }

    /// Reads members of the usual form and the commas between them. Returns true after a member
    /// without a comma, where the object should end; false if a member of another form follows.
    #[inline]
    fn read_plain(&mut self, cursor: &mut Cursor<'a>) -> Result<bool, Rejection> {
        // A copy of the position can stay in a register; other functions may change the cursor.
        let (line, mut start) = (cursor.text, cursor.at);
        let bytes = line.as_str().as_bytes();
        while let Some(member) = PlainMember::read(line, start) {
            self.keep_plain(&member, start)?;
            if bytes.get(member.end) != Some(&b',') {
                cursor.at = member.end;
                return Ok(true);
            }
            start = member.end + 1;
            if bytes.get(start) == Some(&b' ') {
                start += 1;
            }
        }
        cursor.at = start;
        Ok(false)
    }

    /// Keeps a member of the usual form. `offset` is the position of its key.
    #[inline]
    fn keep_plain(&mut self, member: &PlainMember<'a>, offset: usize) -> Result<(), Rejection> {
        let key = Cow::Borrowed(member.key);
        match MemberKey::of(member.key) {
            MemberKey::Tag => self.tags.push(key, member.tag_value(), offset),
            MemberKey::Tags => self.tags.push_member(key, member.tag_value(), offset),
            MemberKey::Timestamp => {
                self.reserved.timestamp = Some(member.offset);
                Ok(())
            }
            MemberKey::Reserved(reserved) => {
                self.reserved.keep(reserved, member.json_value());
                Ok(())
            }
        }
    }

    /// Reads the value of a member. `offset` is the position of its key.
    fn read_value(
        &mut self,
        cursor: &mut Cursor<'a>,
        key: Cow<'a, str>,
        offset: usize,
    ) -> Result<(), Rejection> {
        match MemberKey::of(&key) {
            MemberKey::Tag => self.tags.read(cursor, key, offset),
            MemberKey::Tags => self.tags.read_member(cursor, key, offset),
            // Not used: a sample counts in the window in which it arrives, so the clocks of senders
            // do not matter.
            MemberKey::Timestamp => {
                self.reserved.timestamp = Some(cursor.at);
                cursor.skip_value()
            }
            MemberKey::Reserved(reserved) => {
                self.reserved.keep(reserved, cursor.value()?);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of a plain member, its value with its position, and its end.
    fn plain(text: &str, start: usize) -> Option<(&str, String, usize, usize)> {
        let member = PlainMember::read(CutText::of_text(text), start)?;
        let value = match member.is_number {
            true => member.text.to_owned(),
            false => format!("{:?}", member.text),
        };
        Some((member.key, value, member.offset, member.end))
    }

    #[test]
    fn a_plain_member_has_a_text_or_number_after_its_key() {
        for (text, key, value, offset, end) in [
            (r#"{"a":"b"}"#, "a", r#""b""#, 5, 8),
            (r#"{"a": "b"}"#, "a", r#""b""#, 6, 9),
            (r#"{"ab":"","c"#, "ab", r#""""#, 6, 8),
            (r#"{"":"b"}"#, "", r#""b""#, 4, 7),
            (r#"{"é": "ü"}"#, "é", r#""ü""#, 7, 11),
            (r#"{"a":7}"#, "a", "7", 5, 6),
            (r#"{"a": -1.5,"b":0}"#, "a", "-1.5", 6, 10),
        ] {
            assert_eq!(plain(text, 1), Some((key, value.to_owned(), offset, end)), "{text}");
        }
        assert_eq!(plain(r#"{"a":"b","c":3}"#, 9), Some(("c", "3".to_owned(), 13, 14)));
    }

    #[test]
    fn a_member_of_another_form_is_not_plain() {
        for text in [
            "",
            "{",
            r#"{x"a":"b"}"#,
            r#"{ "a":"b"}"#,
            r#"{"a"#,
            r#"{"a":"#,
            r#"{"a": "#,
            r#"{"a":  "b"}"#,
            r#"{"a" :"b"}"#,
            r#"{"a" "b"}"#,
            r#"{"a\n":"b"}"#,
            r#"{"a":"\n"}"#,
            r#"{"a":"b"#,
            r#"{"a":true}"#,
            r#"{"a":{}}"#,
            r#"{"a":1e3}"#,
            r#"{"a":7"#,
        ] {
            assert_eq!(plain(text, 1), None, "{text}");
        }
    }

    #[test]
    fn a_plain_number_has_no_exponent_and_an_end() {
        for (text, end) in [
            ("x0,", Some(2)),
            ("x7}", Some(2)),
            ("x10 ", Some(3)),
            ("x-20,", Some(4)),
            ("x0.25,", Some(5)),
            ("x-1.0}", Some(5)),
            ("x00,", None),
            ("x-01,", None),
            ("x01.5,", None),
            ("x1", None),
            ("x1.5", None),
            ("x1.,", None),
            ("x.5,", None),
            ("x1.5.2,", None),
            ("x1e3,", None),
            ("x1x", None),
            ("x-,", None),
            ("x--1,", None),
            ("x+1,", None),
            ("x,", None),
            ("x", None),
        ] {
            assert_eq!(plain_number_end(text.as_bytes(), 1), end, "{text}");
        }
    }

    #[test]
    fn plain_members_are_read_up_to_the_first_that_is_not() {
        for (text, is_last, at) in [
            (r#"{"a":"b"}"#, true, 8),
            (r#"{"a":"b","c":1, "d":"e"}"#, true, 23),
            (r#"{"a":1 ,"c":1}"#, true, 6),
            (r#"{"a":"b", "c":null}"#, false, 10),
            (r#"{"a":"b",  "c":1}"#, false, 10),
            (r#"{"a":[1]}"#, false, 1),
        ] {
            let mut tags = Tags::new();
            let mut members = Members::new(&mut tags, &MessageLimits::default());
            let mut cursor = Cursor { at: 1, ..Cursor::new(CutText::of_text(text)) };
            assert_eq!(members.read_plain(&mut cursor), Ok(is_last), "{text}");
            assert_eq!(cursor.at, at, "{text}");
        }
    }
}
