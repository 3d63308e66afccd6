//! Tags of which only the text matters.

use std::borrow::Cow;
use std::cmp::Ordering;

use model::SeriesTextWriter;
use smallvec::SmallVec;

use super::{Tag, TagValue, compare};

/// Tags whose texts are parts of the message, as in a statsd line. Such a tag takes less memory than a
/// [`Tag`], and a list of them has nothing to drop.
pub type TextTags<'a> = SmallVec<[TextTag<'a>; 8]>;

/// A tag as a part of the message: a key, an ASCII character and a value, or only a key.
#[derive(Clone, Copy, Debug)]
pub struct TextTag<'a> {
    text: &'a str,
    /// As long as `text` if the tag has no value.
    key_length: usize,
    /// See [`key_prefix`].
    prefix: u64,
}

/// The value of a tag without one.
const NO_VALUE: &str = "true";

impl<'a> TextTag<'a> {
    /// Creates it from the text of the whole tag, of which the first `key_length` bytes are the key.
    #[inline]
    #[must_use]
    pub fn new(text: &'a str, key_length: usize) -> Self {
        // Cuts the prefix of the whole text, which has enough bytes more often than the key.
        let prefix = match u32::try_from(8 * key_length) {
            Ok(bits @ 0..64) => key_prefix(text.as_bytes()) & !(u64::MAX >> bits),
            _ => key_prefix(text.as_bytes()),
        };
        Self { text, key_length, prefix }
    }

    /// Whether its key has no characters.
    #[inline]
    pub(super) fn is_without_key(self) -> bool {
        self.key_length == 0
    }

    /// Whether it has a value without characters.
    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.key_length + 1 == self.text.len()
    }

    /// Whether its key comes before that of another tag.
    #[inline]
    pub(super) fn precedes(self, other: Self) -> bool {
        match self.prefix.cmp(&other.prefix) {
            Ordering::Less => true,
            Ordering::Equal => self.parts().0 < other.parts().0,
            Ordering::Greater => false,
        }
    }

    /// The same as a [`Tag`].
    #[must_use]
    pub fn into_tag(self) -> Tag<'a> {
        let (key, value) = self.parts();
        (Cow::Borrowed(key), value.into())
    }

    #[inline]
    fn parts(self) -> (&'a str, &'a str) {
        let value = if self.has_value() { &self.text[self.key_length + 1..] } else { NO_VALUE };
        (&self.text[..self.key_length], value)
    }

    #[inline]
    fn has_value(self) -> bool {
        self.key_length < self.text.len()
    }
}

/// The key and the value of a tag.
pub trait TagText {
    /// The key.
    fn key(&self) -> &str;

    /// The value.
    fn value(&self) -> &str;

    /// The tag, borrowed from this one.
    fn to_tag(&self) -> Tag<'_>;

    /// Compares the key with another one, whose prefix is `prefix`.
    fn compare_key(&self, key: &str, prefix: u64) -> Ordering;

    /// Appends key and value to the text of a series.
    fn push_to(&self, text: &mut SeriesTextWriter<'_>);
}

/// The first eight bytes of a key as a number. If those of two keys differ, the keys have the same
/// order as the numbers.
#[inline]
#[must_use]
pub fn key_prefix(key: &[u8]) -> u64 {
    match key.first_chunk() {
        Some(start) => u64::from_be_bytes(*start),
        None => (0..8).fold(0, |prefix, place| {
            prefix << 8 | u64::from(key.get(place).copied().unwrap_or_default())
        }),
    }
}

impl TagText for Tag<'_> {
    #[inline]
    fn key(&self) -> &str {
        &self.0
    }

    #[inline]
    fn value(&self) -> &str {
        &self.1
    }

    fn to_tag(&self) -> Tag<'_> {
        let value = match &self.1 {
            TagValue::Text(text) => TagValue::from(&**text),
            TagValue::Literal(text) => TagValue::Literal(text),
        };
        (Cow::Borrowed(&self.0), value)
    }

    #[inline]
    fn compare_key(&self, key: &str, _: u64) -> Ordering {
        compare(&self.0, key)
    }

    #[inline]
    fn push_to(&self, text: &mut SeriesTextWriter<'_>) {
        text.push(&self.0);
        text.push(&self.1);
    }
}

impl TagText for TextTag<'_> {
    #[inline]
    fn key(&self) -> &str {
        self.parts().0
    }

    #[inline]
    fn value(&self) -> &str {
        self.parts().1
    }

    fn to_tag(&self) -> Tag<'_> {
        self.into_tag()
    }

    #[inline]
    fn compare_key(&self, key: &str, prefix: u64) -> Ordering {
        match self.prefix.cmp(&prefix) {
            Ordering::Equal => self.parts().0.cmp(key),
            order => order,
        }
    }

    #[inline]
    fn push_to(&self, text: &mut SeriesTextWriter<'_>) {
        if self.has_value() {
            text.push_pair(self.text, self.key_length);
        } else {
            text.push(self.text);
            text.push(NO_VALUE);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tag_has_the_parts_of_its_text() {
        for (text, key_length, parts) in [
            ("a:1", 1, ("a", "1")),
            ("region:eu:west", 6, ("region", "eu:west")),
            ("urgent", 6, ("urgent", "true")),
            ("urgent:", 6, ("urgent", "")),
        ] {
            let tag = TextTag::new(text, key_length);
            assert_eq!((tag.key(), tag.value()), parts);
            assert_eq!(tag.is_empty(), parts.1.is_empty());
        }
    }

    proptest! {
        #[test]
        fn tags_have_the_order_of_their_keys(
            keys in prop::collection::vec("[ab\u{0}é]{1,10}", 2), value in "[a:]{0,9}",
        ) {
            let texts: Vec<String> = keys.iter().map(|key| format!("{key}:{value}")).collect();
            let tags = [0, 1].map(|at| TextTag::new(&texts[at], keys[at].len()));
            prop_assert_eq!(tags[0].precedes(tags[1]), keys[0] < keys[1]);
            let prefix = key_prefix(keys[1].as_bytes());
            prop_assert_eq!(tags[0].compare_key(&keys[1], prefix), keys[0].cmp(&keys[1]));
        }
    }
}
