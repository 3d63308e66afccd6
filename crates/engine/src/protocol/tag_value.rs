//! The value of a tag.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use basics::scalar_text::ScalarText;

/// The value of a tag: a text, and whether it was a JSON number or boolean in the message.
///
/// It is as large as a `Cow<str>`, and reading its text takes no branch: both matter, because every
/// sample has several tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagValue<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// A number or a boolean, as it was written.
    Literal(&'a str),
}

impl TagValue<'_> {
    /// Whether it was a number or a boolean.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        matches!(self, Self::Literal(_))
    }
}

impl Deref for TagValue<'_> {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Literal(text) => text,
        }
    }
}

impl AsRef<str> for TagValue<'_> {
    fn as_ref(&self) -> &str {
        self
    }
}

impl fmt::Display for TagValue<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self)
    }
}

impl<'a> From<&'a str> for TagValue<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for TagValue<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a> From<&'a ScalarText> for TagValue<'a> {
    fn from(scalar: &'a ScalarText) -> Self {
        let text = scalar.as_str();
        if scalar.is_literal() { Self::Literal(text) } else { text.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_takes_no_more_memory_than_its_text() {
        assert_eq!(size_of::<TagValue<'_>>(), size_of::<Cow<'_, str>>());
    }

    #[test]
    fn a_value_is_its_text_and_remembers_whether_it_was_a_literal() {
        let (text, literal) = (TagValue::from("5060"), TagValue::Literal("5060"));
        for value in [&text, &literal, &TagValue::from("5060".to_owned())] {
            assert_eq!(
                (&**value, value.as_ref(), value.to_string()),
                ("5060", "5060", "5060".into())
            );
        }
        assert_eq!([text.is_literal(), literal.is_literal()], [false, true]);
    }
}
