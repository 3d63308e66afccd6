//! Tags of which only the text matters.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{Tag, TagValue};

/// Tags whose texts are parts of the message, as in a statsd line. A pair takes less memory than a
/// [`Tag`], and a list of pairs has nothing to drop.
pub type TextTags<'a> = SmallVec<[TextTag<'a>; 8]>;

/// A key and its value, parts of the message.
pub type TextTag<'a> = (&'a str, &'a str);

/// The key and the value of a tag.
pub trait TagText {
    /// The key.
    fn key(&self) -> &str;

    /// The value.
    fn value(&self) -> &str;

    /// The tag, borrowed from this one.
    fn to_tag(&self) -> Tag<'_>;
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
}

impl TagText for TextTag<'_> {
    #[inline]
    fn key(&self) -> &str {
        self.0
    }

    #[inline]
    fn value(&self) -> &str {
        self.1
    }

    fn to_tag(&self) -> Tag<'_> {
        (Cow::Borrowed(self.0), self.1.into())
    }
}
