//! Decodes JSON messages: one object, several objects on separate lines, or an array of objects.
//!
//! This is a parser for exactly these messages. A general parser builds a tree or calls a visitor
//! for each value, and loses the original text of numbers, which becomes the value of a tag. The
//! tests compare it with `serde_json` on generated input.

use std::ops::Range;

mod cursor;
mod elements;
mod escapes;
mod members;
mod message;
mod split;
mod tags;

use self::cursor::{Cursor, reject};
pub use self::escapes::{FIRST_HALF, SECOND_HALF};
use self::members::Members;
pub use self::message::JsonMessage;
pub use self::split::split;
use super::{
    LineFacts, MessageLimits, RejectReason, Rejection, Sample, Tags, is_blank, lines,
    normalize_tags,
};
use crate::sys::ascii::CutText;

/// Decodes a datagram and passes each message to `each`, in order.
///
/// An invalid message does not affect the others. An array in which it is unclear where the
/// elements end is one rejection.
pub fn decode<'a>(
    datagram: &'a [u8],
    limits: &MessageLimits,
    each: &mut impl FnMut(Result<Sample<'a>, Rejection>),
) {
    if is_array(datagram) {
        return decode_array(datagram, limits, each);
    }
    for line in lines(datagram) {
        decode_part(datagram, line, limits, each);
    }
}

/// Decodes one line that is not an array.
///
/// The tags replace those in `tags`. They are then sorted by key; keys are unique, and no value is
/// empty. After an error, `tags` may contain anything.
///
/// # Errors
/// The reason why the line is not a message.
pub fn decode_line<'a>(
    line: &'a [u8],
    limits: &MessageLimits,
    tags: &mut Tags<'a>,
) -> Result<JsonMessage<'a>, Rejection> {
    let text = match CutText::of_ascii(line) {
        Some(text) => text,
        None => std::str::from_utf8(line)
            .map(CutText::of_text)
            .map_err(|error| not_utf8(error.valid_up_to()))?,
    };
    let mut cursor = Cursor::new(text);
    if cursor.peek() != Some(b'{') {
        // Read to its end: JSON of another kind is a different mistake from text that is not JSON.
        cursor.skip_value()?;
        cursor.end()?;
        return Err(reject(RejectReason::NotAnObject, 0, "an object"));
    }
    let mut members = Members::new(tags, limits);
    members.read(&mut cursor)?;
    cursor.end()?;
    let message = members.reserved.message();
    // The tags of a rejected message are not sorted. Not with `?`, which would copy the message.
    if message.is_ok() {
        normalize_tags(tags);
    }
    message
}

/// Decodes a part of a datagram that is one message, and passes it to `each`.
#[inline]
fn decode_part<'a>(
    datagram: &'a [u8],
    part: Range<usize>,
    limits: &MessageLimits,
    each: &mut impl FnMut(Result<Sample<'a>, Rejection>),
) {
    let start = part.start;
    let mut tags = Tags::new();
    let message = decode_line(&datagram[part], limits, &mut tags);
    each(match message {
        Ok(JsonMessage { name, value, weight, .. }) => {
            Ok(Sample { name, value, weight, tags, facts: LineFacts::default() })
        }
        Err(rejection) => Err(rejection.shifted_by(start)),
    });
}

/// Whether the datagram must be parsed as an array.
#[must_use]
pub fn is_array(datagram: &[u8]) -> bool {
    datagram.iter().find(|byte| !is_blank(**byte)) == Some(&b'[')
}

fn decode_array<'a>(
    datagram: &'a [u8],
    limits: &MessageLimits,
    each: &mut impl FnMut(Result<Sample<'a>, Rejection>),
) {
    // Scanned to its end first, so that no message of a truncated array is counted.
    match elements::elements(datagram) {
        Ok(elements) => {
            for element in elements {
                decode_part(datagram, element, limits, each);
            }
        }
        Err(rejection) => each(Err(rejection)),
    }
}

fn not_utf8(offset: usize) -> Rejection {
    Rejection { reason: RejectReason::BadJson, offset, expected: "UTF-8" }
}

#[cfg(test)]
mod tests;
