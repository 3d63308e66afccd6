//! The identity of a series: kind, metric name and tags.

use std::fmt;

use crate::kind::MetricKind;

/// A series: its kind, metric name and tags, sorted by tag key.
///
/// Name, keys and values are in one string, each after its length, because there may be a million
/// series, and an allocation for each tag would cost more memory than the tags.
#[derive(PartialEq, Eq, Hash)]
pub struct Series {
    kind: MetricKind,
    is_ordinary: bool,
    tag_count: u32,
    text: Box<str>,
}

impl Series {
    /// Creates a series; `tags` must be sorted by key, and no key may occur twice.
    #[must_use]
    pub fn new<K: AsRef<str>, V: AsRef<str>>(
        kind: MetricKind,
        name: &str,
        tags: &[(K, V)],
    ) -> Self {
        debug_assert!(tags.is_sorted_by(|a, b| a.0.as_ref() < b.0.as_ref()));
        let parts = || {
            let tags = tags.iter().flat_map(|(key, value)| [key.as_ref(), value.as_ref()]);
            std::iter::once(name).chain(tags)
        };
        let bytes = parts().map(|part| part.len() + length_digits(part.len())).sum();
        let mut text = String::with_capacity(bytes);
        for part in parts() {
            push_length(&mut text, part.len());
            text.push_str(part);
        }
        let is_ordinary = parts().all(is_ordinary);
        Self { kind, is_ordinary, tag_count: tags.len() as u32, text: text.into_boxed_str() }
    }

    /// The kind of the metric.
    #[must_use]
    pub fn kind(&self) -> MetricKind {
        self.kind
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

    /// Whether no part is empty, contains a backslash or an ASCII control character, begins with `#` or
    /// is the word `time`. Formats that reserve these need to look closer at other series only. Known
    /// since the series was created, because a format asks for every point.
    #[must_use]
    pub fn is_ordinary(&self) -> bool {
        self.is_ordinary
    }

    /// The memory that name, keys and values take together, in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    fn parts(&self) -> TextParts<'_> {
        TextParts { rest: &self.text }
    }
}

fn is_ordinary(part: &str) -> bool {
    let is_notable = |byte: u8| byte < b' ' || byte == b'\\' || byte == 0x7f;
    !part.is_empty() && !part.starts_with('#') && part != "time" && !part.bytes().any(is_notable)
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

fn push_length(text: &mut String, mut length: usize) {
    while length >= usize::from(MORE) {
        text.push(char::from((length as u8 % MORE) | MORE));
        length >>= DIGIT_BITS;
    }
    text.push(char::from(length as u8));
}

/// The number of bytes that [`push_length`] writes.
fn length_digits(length: usize) -> usize {
    (length.max(1).ilog2() / DIGIT_BITS + 1) as usize
}

/// A length and the number of its bytes.
#[inline]
fn read_length(text: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (index, byte) in text.iter().enumerate() {
        length |= usize::from(byte % MORE) << (index as u32 * DIGIT_BITS);
        if byte & MORE == 0 {
            return Some((length, index + 1));
        }
    }
    None
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
    use super::*;

    #[test]
    fn a_series_returns_its_parts() {
        let series = Series::new(MetricKind::Timer, "user.latency", &[("a", "1"), ("b", "zwei")]);
        assert_eq!(series.name(), "user.latency");
        assert_eq!(series.tags().collect::<Vec<_>>(), [("a", "1"), ("b", "zwei")]);
        assert_eq!(series.tag("b"), Some("zwei"));
        assert_eq!(series.tag("c"), None);
        assert_eq!(series.to_string(), "timer user.latency a=1 b=zwei");
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
    fn tags_whose_concatenation_is_equal_are_different_series() {
        let one = Series::new(MetricKind::Trace, "m", &[("a", "bc")]);
        let other = Series::new(MetricKind::Trace, "m", &[("ab", "c")]);
        assert_ne!(one, other);
    }
}
