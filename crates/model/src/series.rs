//! The identity of a series: kind, metric name and tags.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::kind::MetricKind;
use crate::literal::is_json_literal;
use crate::timer_type::TimerType;

/// A series: its kind, metric name and tags, sorted by tag key.
///
/// Name, keys and values are in one string, each after its length, because there may be a million
/// series, and an allocation for each tag would cost more memory than the tags. If any value is a
/// literal, the marks of the literals follow. They do not belong to the identity: `5060` and
/// `"5060"` are the same value of a tag.
pub struct Series {
    kind: MetricKind,
    timer_type: TimerType,
    text_class: TextClass,
    has_literals: bool,
    tag_count: u32,
    text: Box<str>,
}

/// The characters in name and tags of a series, by which formats decide whether they must look closer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TextClass {
    /// See [`Series::is_plain`].
    Plain,
    /// See [`Series::is_ordinary`].
    Ordinary,
    Other,
}

impl Series {
    /// Creates a series whose tags all have texts as values; `tags` must be sorted by key, and no
    /// key may occur twice.
    #[must_use]
    pub fn new<K: AsRef<str>, V: AsRef<str>>(
        kind: MetricKind,
        name: &str,
        tags: &[(K, V)],
    ) -> Self {
        Self::with_literals(kind, name, tags, |_| false)
    }

    /// Creates a series like [`Series::new`]. `is_literal` says by index whether the value of a tag
    /// was a number or boolean where it came from; a value that JSON cannot hold without quotes is a
    /// text nevertheless.
    #[must_use]
    pub fn with_literals<K: AsRef<str>, V: AsRef<str>>(
        kind: MetricKind,
        name: &str,
        tags: &[(K, V)],
        is_literal: impl Fn(usize) -> bool,
    ) -> Self {
        debug_assert!(tags.is_sorted_by(|a, b| a.0.as_ref() < b.0.as_ref()));
        let is_literal =
            |index: usize| is_literal(index) && is_json_literal(tags[index].1.as_ref());
        let has_literals = (0..tags.len()).any(is_literal);
        let bytes = |part: &str| part.len() + length_digits(part.len());
        let tag_bytes = |(key, value): &(K, V)| bytes(key.as_ref()) + bytes(value.as_ref());
        let parts_bytes = bytes(name) + tags.iter().map(tag_bytes).sum::<usize>();
        let mark_bytes = mark_bytes(has_literals, tags.len());
        let mut text = TextBuilder::with_capacity(parts_bytes + mark_bytes);
        text.push(name);
        for (key, value) in tags {
            text.push(key.as_ref());
            text.push(value.as_ref());
        }
        // Before the marks, which may look like reserved bytes.
        let text_class = if text.is_plain() {
            TextClass::Plain
        } else if text.is_ordinary() {
            TextClass::Ordinary
        } else {
            TextClass::Other
        };
        let mut text = text.text;
        if has_literals {
            push_marks(&mut text, tags.len(), is_literal);
        }
        let tag_count = tags.len() as u32;
        let text = text.into_boxed_str();
        let timer_type = TimerType::default();
        Self { kind, timer_type, text_class, has_literals, tag_count, text }
    }

    /// The kind of the metric.
    #[must_use]
    pub fn kind(&self) -> MetricKind {
        self.kind
    }

    /// The same series with the type with which its timer was first sent. The type does not belong to the
    /// identity.
    #[must_use]
    pub fn with_timer_type(self, timer_type: TimerType) -> Self {
        Self { timer_type, ..self }
    }

    /// The type with which a timer was first sent.
    #[must_use]
    pub fn timer_type(&self) -> TimerType {
        self.timer_type
    }

    /// The metric name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.parts().next().unwrap_or_default()
    }

    /// The tags as (key, value), sorted by key.
    #[must_use]
    pub fn tags(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        let mut parts = self.parts();
        parts.next();
        (0..self.tag_count())
            .map(move |_| (parts.next().unwrap_or_default(), parts.next().unwrap_or_default()))
    }

    /// The number of tags.
    #[must_use]
    pub fn tag_count(&self) -> usize {
        self.tag_count as usize
    }

    /// The value of the tag `key`.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags().find(|(candidate, _)| *candidate == key).map(|(_, value)| value)
    }

    /// Whether the value of any tag is a literal.
    #[must_use]
    pub fn has_literals(&self) -> bool {
        self.has_literals
    }

    /// Whether the value of the tag at `index` of [`Series::tags`] is a literal: a valid JSON number
    /// or boolean that was one in the first message of the series, or in the configuration.
    #[must_use]
    pub fn is_literal(&self, index: usize) -> bool {
        let marks = &self.text.as_bytes()[self.text.len() - self.mark_bytes()..];
        marks
            .get(index / TAGS_PER_MARK)
            .is_some_and(|mark| mark >> (index % TAGS_PER_MARK) & 1 == 1)
    }

    /// Whether no part is empty, contains a backslash or an ASCII control character, begins with `#` or
    /// is the word `time`. Formats that reserve these need to look closer at other series only. Known
    /// since the series was created, because a format asks for every point.
    #[must_use]
    pub fn is_ordinary(&self) -> bool {
        self.text_class != TextClass::Other
    }

    /// Whether the series is ordinary ([`Series::is_ordinary`]), and all parts consist of graphic
    /// ASCII characters other than `"`, `=` and `,`. Most series are: no format has to quote or
    /// escape them, so it can write them at once.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.text_class == TextClass::Plain
    }

    /// Appends the name, and each key and value after its separator.
    pub fn write_joined(&self, out: &mut Vec<u8>, before_key: u8, before_value: u8) {
        let text = self.identity().as_bytes();
        let Some((name_length, digits)) = read_length(text) else { return };
        let start = out.len();
        // Copies the whole text at once; then each length, which has one byte, becomes a separator.
        out.extend_from_slice(&text[digits..]);
        let joined = &mut out[start..];
        let (mut separator, mut next) = (before_key, before_value);
        let mut place = name_length;
        while let Some(length) = joined.get_mut(place) {
            if *length & MORE != 0 {
                out.truncate(start);
                out.extend_from_slice(self.name().as_bytes());
                return self.write_tags(out, &[before_key], &[before_key], &[before_value]);
            }
            place += 1 + usize::from(std::mem::replace(length, separator));
            std::mem::swap(&mut separator, &mut next);
        }
    }

    /// Appends each key and value after its separator; the first key has another one.
    pub fn write_tags<const N: usize>(
        &self,
        out: &mut Vec<u8>,
        before_first: &[u8; N],
        before_key: &[u8; N],
        before_value: &[u8; N],
    ) {
        // As bytes, which need no check for boundaries of characters.
        let text = self.identity().as_bytes();
        let Some((_, mut rest)) = split_part(text) else { return };
        let mut separator = before_first;
        while let Some((key, after)) = split_part(rest)
            && let Some((value, after)) = split_part(after)
        {
            out.extend_from_slice(separator);
            out.extend_from_slice(key);
            out.extend_from_slice(before_value);
            out.extend_from_slice(value);
            separator = before_key;
            rest = after;
        }
    }

    /// The memory that name, keys and values take together, in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Whether name and tags equal a text made with [`SeriesText`](crate::SeriesText).
    #[inline]
    #[must_use]
    pub fn has_text(&self, text: &[u8]) -> bool {
        self.identity().as_bytes() == text
    }

    fn parts(&self) -> TextParts<'_> {
        TextParts { rest: &self.text }
    }

    /// The text without the marks of literals.
    fn identity(&self) -> &str {
        &self.text[..self.text.len() - self.mark_bytes()]
    }

    fn mark_bytes(&self) -> usize {
        mark_bytes(self.has_literals, self.tag_count())
    }
}

impl PartialEq for Series {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.tag_count == other.tag_count
            && self.identity() == other.identity()
    }
}

impl Eq for Series {}

impl Hash for Series {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind.hash(state);
        self.tag_count.hash(state);
        self.identity().hash(state);
    }
}

/// Joins name, keys and values to the text of a series.
struct TextBuilder {
    text: String,
    /// Number of special bytes among the lengths.
    special_in_lengths: usize,
    has_reserved_part: bool,
}

impl TextBuilder {
    fn with_capacity(bytes: usize) -> Self {
        let text = String::with_capacity(bytes);
        Self { text, special_in_lengths: 0, has_reserved_part: false }
    }

    #[inline]
    fn push(&mut self, part: &str) {
        self.special_in_lengths += push_length(&mut self.text, part.len());
        self.text.push_str(part);
        self.has_reserved_part |= part.is_empty() || part.starts_with('#') || part == "time";
    }

    /// See [`Series::is_plain`].
    fn is_plain(&self) -> bool {
        // One pass over the whole text, 16 bytes at once, is faster than one over each short part.
        let special = count_bytes(self.text.as_bytes(), is_special);
        !self.has_reserved_part && special == self.special_in_lengths
    }

    /// See [`Series::is_ordinary`].
    fn is_ordinary(&self) -> bool {
        let mut parts = TextParts { rest: &self.text };
        !self.has_reserved_part && parts.all(|part| count_bytes(part.as_bytes(), is_reserved) == 0)
    }
}

/// Whether the byte is a backslash or an ASCII control character.
fn is_reserved(byte: u8) -> bool {
    // No short circuit, so that the compiler can compare several bytes at once.
    (byte < b' ') | (byte == b'\\') | (byte == 0x7f)
}

/// Whether the byte is reserved, no graphic ASCII character, or one that a format has to quote or
/// escape.
const fn is_special(byte: u8) -> bool {
    let is_graphic = byte.wrapping_sub(b'!') <= b'~' - b'!';
    !is_graphic | (byte == b'\\') | (byte == b'"') | (byte == b'=') | (byte == b',')
}

/// [`is_special`] of each digit of a length.
static IS_SPECIAL_DIGIT: [bool; 2 * MORE as usize] = {
    let mut is_special_digit = [false; 2 * MORE as usize];
    let mut digit = 0;
    while digit < 2 * MORE {
        is_special_digit[digit as usize] = is_special(digit);
        digit += 1;
    }
    is_special_digit
};

#[inline]
fn count_bytes(text: &[u8], is_counted: impl Fn(u8) -> bool) -> usize {
    // The number in a chunk fits into a byte, which keeps the lanes narrow.
    let count = |chunk: &[u8]| chunk.iter().map(|byte| u8::from(is_counted(*byte))).sum::<u8>();
    text.chunks(usize::from(u8::MAX)).map(|chunk| usize::from(count(chunk))).sum()
}

/// The name, keys and values in a series' text.
#[derive(Clone)]
struct TextParts<'a> {
    rest: &'a str,
}

impl<'a> Iterator for TextParts<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        let (length, digits) = read_length(self.rest.as_bytes())?;
        let (part, rest) = self.rest[digits..].split_at(length);
        self.rest = rest;
        Some(part)
    }
}

// A length is written in base 64, the lowest digit first, each digit in a byte whose bit 6 is set if
// more digits follow. So it is ASCII, and the whole text is a string that can be split without
// checking it again.

const DIGIT_BITS: u32 = 6;
const MORE: u8 = 1 << DIGIT_BITS;

/// Most parts of a series are shorter, so that their lengths have one digit.
pub(crate) const SHORT: usize = MORE as usize;

/// Returns how many of the appended bytes are special.
fn push_length(text: &mut String, length: usize) -> usize {
    if length < SHORT {
        text.push(char::from(length as u8));
        return usize::from(IS_SPECIAL_DIGIT[length]);
    }
    let mut special = 0;
    for byte in length_bytes(length) {
        text.push(char::from(byte));
        special += usize::from(IS_SPECIAL_DIGIT[usize::from(byte)]);
    }
    special
}

pub(crate) fn length_bytes(length: usize) -> impl Iterator<Item = u8> {
    let digits = length_digits(length) as u32;
    (0..digits).map(move |digit| {
        let low = (length >> (digit * DIGIT_BITS)) as u8 % MORE;
        if digit + 1 < digits { low | MORE } else { low }
    })
}

/// The number of bytes that [`push_length`] writes.
fn length_digits(length: usize) -> usize {
    (length.max(1).ilog2() / DIGIT_BITS + 1) as usize
}

/// The first part of a text, and the rest.
#[inline]
fn split_part(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, digits) = read_length(text)?;
    text[digits..].split_at_checked(length)
}

/// A length and the number of its bytes.
#[inline]
fn read_length(text: &[u8]) -> Option<(usize, usize)> {
    // Most lengths have one digit.
    let first = *text.first()?;
    if first & MORE == 0 {
        return Some((usize::from(first), 1));
    }
    let mut length = 0;
    for (index, byte) in text.iter().enumerate() {
        length |= usize::from(byte % MORE) << (index as u32 * DIGIT_BITS);
        if byte & MORE == 0 {
            return Some((length, index + 1));
        }
    }
    None
}

/// A mark is a bit for each tag. Only seven are in a byte, so that the text stays ASCII here.
const TAGS_PER_MARK: usize = 7;

fn mark_bytes(has_literals: bool, tags: usize) -> usize {
    if has_literals { tags.div_ceil(TAGS_PER_MARK) } else { 0 }
}

fn push_marks(text: &mut String, tags: usize, is_literal: impl Fn(usize) -> bool) {
    for first in (0..tags).step_by(TAGS_PER_MARK) {
        let some = first..tags.min(first + TAGS_PER_MARK);
        let byte =
            some.fold(0, |byte, index| byte | u8::from(is_literal(index)) << (index - first));
        text.push(char::from(byte));
    }
}

impl fmt::Display for Series {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.kind, self.name())?;
        for (key, value) in self.tags() {
            write!(formatter, " {key}={value}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Series({self})")
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

    use super::*;

    fn hash(series: &Series) -> u64 {
        BuildHasherDefault::<DefaultHasher>::default().hash_one(series)
    }

    #[test]
    fn a_series_returns_its_parts() {
        let series = Series::new(MetricKind::Timer, "user.latency", &[("a", "1"), ("b", "zwei")]);
        assert_eq!(series.name(), "user.latency");
        assert_eq!(series.tags().collect::<Vec<_>>(), [("a", "1"), ("b", "zwei")]);
        assert_eq!(series.tag("b"), Some("zwei"));
        assert_eq!(series.tag("c"), None);
        assert_eq!(series.to_string(), "timer user.latency a=1 b=zwei");
        assert_eq!(format!("{series:?}"), "Series(timer user.latency a=1 b=zwei)");
    }

    #[test]
    fn parts_of_any_length_are_returned() {
        for length in [0, 1, 63, 64, 65, 4_095, 4_096, 70_000, 300_000] {
            let (name, value) = ("n".repeat(length + 1), "v".repeat(length));
            let series = Series::new(MetricKind::Timer, &name, &[("key", &value), ("z", &value)]);
            assert_eq!(series.name(), name);
            let tags: Vec<_> = series.tags().collect();
            assert_eq!(tags, [("key", value.as_str()), ("z", &value)]);
        }
    }

    #[test]
    fn a_series_with_a_reserved_part_is_not_ordinary() {
        let is_ordinary =
            |name, key, value| Series::new(MetricKind::Timer, name, &[(key, value)]).is_ordinary();
        assert!(is_ordinary("a b,c=d", "käy#", "timer"));
        for part in ["", "#a", "time", "a\\", "a\tb", "\u{7f}"] {
            assert!(!is_ordinary(part, "k", "v"), "{part:?}");
            assert!(!is_ordinary("a", part, "v") && !is_ordinary("a", "k", part), "{part:?}");
        }
    }

    #[test]
    fn only_a_series_that_needs_no_quotes_and_escapes_is_plain() {
        fn is_plain(name: &str, key: &str, value: &str) -> bool {
            Series::new(MetricKind::Timer, name, &[(key, value)]).is_plain()
        }
        assert!(is_plain("a.b-c_d", "k:/+*", "~v!#'"));
        for part in ["", "#a", "time", "a\\", "a b", "a,", "=a", "\"", "\u{7f}", "é", "\n"] {
            assert!(!is_plain(part, "k", "v"), "{part:?}");
            assert!(!is_plain("a", part, "v") && !is_plain("a", "k", part), "{part:?}");
        }
        // The length of a part may be a special byte; it does not count.
        for length in 1..300 {
            let plain = "v".repeat(length);
            assert!(is_plain(&plain, "k", &plain), "{length}");
            assert!(!is_plain(&plain, "k", &format!("{plain} ")), "{length}");
        }
    }

    #[test]
    fn parts_of_any_length_are_joined_with_separators() {
        for length in [0, 1, 63, 64, 65, 4_095, 4_096, 70_000] {
            let (name, value) = ("n".repeat(length), "v".repeat(length));
            for name in ["name", name.as_str()] {
                let tags = [("a", "1"), ("key", value.as_str()), ("z", "y")];
                let series =
                    Series::with_literals(MetricKind::Timer, name, &tags, |index| index == 0);
                let mut out = b"before ".to_vec();
                series.write_joined(&mut out, b',', b'=');
                let expected = format!("before {name},a=1,key={value},z=y");
                assert_eq!(String::from_utf8(out).unwrap(), expected);
                let mut out = b"before ".to_vec();
                series.write_tags(&mut out, b"{ ", b", ", b": ");
                let expected = format!("before {{ a: 1, key: {value}, z: y");
                assert_eq!(String::from_utf8(out).unwrap(), expected);
            }
        }
        let (mut out, series) = (Vec::new(), Series::new::<&str, &str>(MetricKind::Set, "m", &[]));
        series.write_joined(&mut out, b',', b'=');
        series.write_tags(&mut out, b"{", b",", b":");
        assert_eq!(out, b"m");
    }

    #[test]
    fn keys_of_any_length_are_joined_with_separators() {
        for length in [1, 63, 64, 65, 128, 4_096] {
            // Letters and `@` look like a byte of a length that more bytes follow, digits do not.
            for character in ["1", "@", "k"] {
                let key = character.repeat(length);
                let next = format!("{key}~");
                let tags = [(&key, "3"), (&next, key.as_str())];
                let mut out = Vec::new();
                Series::new(MetricKind::Timer, "1.2", &tags).write_joined(&mut out, b',', b'=');
                assert_eq!(String::from_utf8(out).unwrap(), format!("1.2,{key}=3,{next}={key}"));
            }
        }
    }

    #[test]
    fn the_memory_of_the_text_counts_lengths_and_marks() {
        let long = "v".repeat(64);
        let tags = [("a", "1"), ("b", &long)];
        assert_eq!(Series::new(MetricKind::Set, "name", &tags).text_bytes(), 5 + 4 + 2 + 66);
        let marked = Series::with_literals(MetricKind::Set, "name", &tags, |_| true);
        assert_eq!(marked.text_bytes(), 5 + 4 + 2 + 66 + 1);
    }

    #[test]
    fn a_reserved_byte_is_found_in_a_part_of_any_length() {
        for length in (1..300).chain([4_095, 4_096, 4_124, 5_888, 8_128]) {
            let ordinary = "v".repeat(length);
            let is_ordinary = |value: &str| {
                Series::new(MetricKind::Gauge, &ordinary, &[("k", value)]).is_ordinary()
            };
            assert!(is_ordinary(&ordinary), "{length}");
            assert!(!is_ordinary(&format!("{ordinary}\\")), "{length}");
            assert!(!is_ordinary(&format!("\n{}", &ordinary[1..])), "{length}");
        }
    }

    #[test]
    fn tags_whose_concatenation_is_equal_are_different_series() {
        let one = Series::new(MetricKind::Trace, "m", &[("a", "bc")]);
        let other = Series::new(MetricKind::Trace, "m", &[("ab", "c")]);
        assert_ne!(one, other);
        assert!(!one.has_text(other.text.as_bytes()) && one.has_text(one.text.as_bytes()));
        assert_ne!(hash(&one), hash(&other));
    }

    #[test]
    fn literals_are_marked_and_do_not_change_the_identity() {
        for count in [1, 6, 7, 8, 14, 15, 100] {
            let tags: Vec<_> =
                (0..count).map(|n: usize| (format!("k{n:03}"), n.to_string())).collect();
            let text = Series::new(MetricKind::Trace, "m", &tags);
            assert!(!text.has_literals() && !(0..=count).any(|index| text.is_literal(index)));
            for every in [1, 2, 5] {
                let is_marked = |index: usize| (index + 1).is_multiple_of(every);
                let series = Series::with_literals(MetricKind::Trace, "m", &tags, is_marked);
                assert_eq!(series.has_literals(), every <= count);
                let marks: Vec<_> = (0..count).map(|index| series.is_literal(index)).collect();
                assert_eq!(marks, (0..count).map(is_marked).collect::<Vec<_>>());
                assert!(!series.is_literal(count) && !series.is_literal(1_000));
                assert_eq!(series, text);
                assert!(series.has_text(text.text.as_bytes()));
                assert_eq!(hash(&series), hash(&text));
                assert!(series.tags().eq(text.tags()));
            }
        }
    }

    #[test]
    fn a_value_that_json_cannot_hold_without_quotes_is_no_literal() {
        let tags = [("a", "0x10"), ("b", "1"), ("c", "1e999"), ("d", "True"), ("e", "true")];
        let series = Series::with_literals(MetricKind::Trace, "m", &tags, |_| true);
        let marks = [0, 1, 2, 3, 4].map(|index| series.is_literal(index));
        assert_eq!(marks, [false, true, false, false, true]);
        assert!(
            !Series::with_literals(MetricKind::Trace, "m", &tags[..1], |_| true).has_literals()
        );
    }
}
