//! The part of a line before its values: the name, and tags of Telegraf, SignalFx, Graphite and Librato.

use std::borrow::Cow;

use memchr::memchr;

use super::super::scan::{find, find_in_either, find_or_alike};
use super::super::{RejectReason, Rejection};
use super::tags::TagReader;
use super::text::LineText;
use crate::sys::lanes::Alike;

/// `[` and `;`, and `{` and Escape, which few names have.
const LIKE_BRACKET: Alike = Alike { bits: 0x60, equal: b'{' };
/// `]` and `|`, and `}` and `\`, which few names have.
const LIKE_BAR: Alike = Alike { bits: 0x21, equal: b'}' };

/// Returns the name of a line and the place of the colon after it. `None` if the name has tags, or a
/// character that may begin some or is like one, which few names have.
#[inline]
pub(super) fn plain_name(line: LineText<'_>) -> Option<(Cow<'_, str>, usize)> {
    // Seven bytes with five comparisons.
    let colon = find_or_alike(line.bytes(), 0, [b':', b',', b'#'], [LIKE_BRACKET, LIKE_BAR]);
    let is_plain = colon > 0 && line.bytes().get(colon) == Some(&b':');
    is_plain.then(|| (Cow::Borrowed(line.part(0..colon)), colon))
}

/// Reads a name with tags. Returns the name and the place of the colon after it. The tags after the
/// type may contain brackets and colons, too, so nothing after the first bar belongs to the name.
pub(super) fn read_name_with_tags<'a>(
    line: LineText<'a>,
    tags: &mut TagReader<'a, '_>,
) -> Result<(Cow<'a, str>, usize), Rejection> {
    let bytes = line.bytes();
    let brackets = Brackets::find(bytes);
    let start = brackets.as_ref().map_or(0, |brackets| brackets.close + 1);
    // One search for the colon and for a bracket that must not be there.
    let bracket = find(bytes, start, [b':', b'|', b'[', b']']);
    let colon = match bytes.get(bracket) {
        Some(b'[' | b']') => find(bytes, bracket, [b':', b'|']),
        _ => bracket,
    };
    if bytes.get(colon) != Some(&b':') {
        let bar = find(bytes, 0, [b'|']);
        return Err(line.reject(bar, RejectReason::BadLine, "`:` and a value"));
    }
    let name_end = find_name_end(bytes, start);
    let rest = line.part(start..name_end);
    let mut name = Cow::Borrowed(rest);
    match brackets {
        None if bracket < colon => reject_half_of_brackets(line, bracket, name_end, colon)?,
        None => {}
        Some(Brackets { open, .. }) => {
            tags.read::<b'=', b',', b']'>(line, open + 1)?;
            name = joined(line.part(0..open), rest);
        }
    }
    match bytes[name_end] {
        b':' => {}
        b';' => {
            tags.read::<b'=', b';', b':'>(line, name_end + 1)?;
        }
        _ => {
            tags.read::<b'=', b',', b':'>(line, name_end + 1)?;
        }
    }
    if name.is_empty() {
        return Err(line.reject(0, RejectReason::BadName, "a name"));
    }
    Ok((name, colon))
}

/// Returns the end of a name from `start`: its colon, or the character that begins tags; the end of the
/// line if there is neither. A comma always begins tags. A `;` or a `#` does only before a key and `=`,
/// because names may contain both.
fn find_name_end(line: &[u8], mut start: usize) -> usize {
    loop {
        let end = find(line, start, [b':', b',', b';', b'#']);
        let Some(b';' | b'#') = line.get(end) else { return end };
        let key_end = find(line, end + 1, [b'=', b':', b',', b';', b'#', b'[', b']']);
        if line.get(key_end) == Some(&b'=') {
            return end;
        }
        // No byte is searched twice, however many of these characters a name has.
        start = key_end;
    }
}

fn joined<'a>(start: &'a str, end: &'a str) -> Cow<'a, str> {
    match (start, end) {
        (start, "") => Cow::Borrowed(start),
        ("", end) => Cow::Borrowed(end),
        (start, end) => Cow::Owned([start, end].concat()),
    }
}

/// The places of the brackets around the tags of SignalFx.
struct Brackets {
    open: usize,
    close: usize,
}

impl Brackets {
    /// Finds brackets in the name. Their content may contain colons.
    fn find(line: &[u8]) -> Option<Self> {
        let is_at = |place: usize, byte: u8| line.get(place) == Some(&byte);
        let mut open = find_in_either(line, 0, [b'[', b',', b':', b'|'], [b';', b'#']);
        if let Some(b';' | b'#') = line.get(open) {
            let name_end = find_name_end(line, open);
            open = find(line, open, [b'[', b',', b':', b'|']);
            // After the beginning of other tags, a bracket belongs to these.
            if name_end < open {
                return None;
            }
        }
        if !is_at(open, b'[') {
            return None;
        }
        let close = find(line, open + 1, [b']', b'|']);
        let colon = find(line, close + 1, [b':', b'|']);
        (is_at(close, b']') && is_at(colon, b':')).then_some(Self { open, close })
    }
}

/// Rejects tags of SignalFx that lack one of their brackets: as part of a name or of another tag,
/// they would make a series for each of their values. `bracket` is the first one, and the values begin
/// after `colon`.
#[cold]
fn reject_half_of_brackets(
    line: LineText<'_>,
    bracket: usize,
    name_end: usize,
    colon: usize,
) -> Result<(), Rejection> {
    let bytes = &line.bytes()[..colon];
    let bad = |expected| Err(line.reject(bracket, RejectReason::BadLine, expected));
    let has_tag = |part: &[u8]| memchr(b'=', part).is_some();
    match bytes[bracket] {
        b'[' if bracket < name_end && has_tag(&bytes[bracket..]) => {
            bad("`]` after the tags, before `:`")
        }
        b']' if has_tag(&bytes[..bracket.min(name_end)]) => bad("`[` before the tags"),
        _ => Ok(()),
    }
}
