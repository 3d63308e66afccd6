//! A value with its position in the file, for checks after deserialization.

use std::ops::Deref;

use serde::de::{Deserialize, Deserializer};

use crate::read::position::{Position, SourceSpan};

/// The name by which `Spanned` requests a span from this crate's deserializer. No other struct has
/// it.
pub(crate) const SPANNED: &str = "$yaml::Spanned";

/// A `T` and its span: that of the value or, for a section or list in block style, of its key.
///
/// It deserializes with [`parse`](crate::parse) only. Pass its span to
/// [`Source::error_at`](crate::Source::error_at) to report an error about the value later.
/// Comparisons ignore the span.
#[derive(Debug, Clone, Copy)]
pub struct Spanned<T> {
    value: T,
    span: SourceSpan,
}

impl<T> Spanned<T> {
    /// Creates a value with a span.
    #[must_use]
    pub const fn new(value: T, span: SourceSpan) -> Self {
        Self { value, span }
    }

    /// Returns the span of the value; for a built-in default, the beginning of the file.
    #[must_use]
    pub const fn span(&self) -> SourceSpan {
        self.span
    }

    /// Returns the value.
    #[must_use]
    pub const fn get(&self) -> &T {
        &self.value
    }

    /// Returns the value without its span.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.value
    }
}

/// A value that comes from no file.
impl<T> From<T> for Spanned<T> {
    fn from(value: T) -> Self {
        Self::new(value, SourceSpan::START)
    }
}

impl<T: Default> Default for Spanned<T> {
    fn default() -> Self {
        T::default().into()
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// The form in which the deserializer passes a span and its value.
#[derive(serde::Deserialize)]
#[serde(rename = "$yaml::Spanned")]
struct SpannedParts<T>([usize; 4], T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let SpannedParts([line, column, end_line, end_column], value) =
            SpannedParts::deserialize(deserializer)?;
        let start = Position { line, column };
        let end = Position { line: end_line, column: end_column };
        Ok(Self { value, span: SourceSpan { start, end } })
    }
}
