//! A value that remembers its place in the file, for checks that come after deserialization.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use super::source::{Position, Span};

/// The name by which `Spanned` asks our deserializer for a place. No struct of anyone else has it.
pub(super) const SPANNED: &str = "$tallyd::config::Spanned";

/// A `T` and where it stands: the value or, for a section or a list in block style, its key.
///
/// It deserializes with [`parse`](super::parse) only. Pass its span to
/// [`Source::error_at`](super::Source::error_at) to complain about the value later. Comparisons
/// between two of them look at the values alone.
#[derive(Debug, Clone, Copy)]
pub struct Spanned<T> {
    value: T,
    span: Span,
}

impl<T> Spanned<T> {
    /// Puts a value at a place.
    #[must_use]
    pub const fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }

    /// Where the value stands. A built-in default stands at the beginning of the file.
    #[must_use]
    pub const fn span(&self) -> Span {
        self.span
    }

    /// The value.
    #[must_use]
    pub const fn get(&self) -> &T {
        &self.value
    }

    /// The value, without its place.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.value
    }
}

/// A value that comes from no file.
impl<T> From<T> for Spanned<T> {
    fn from(value: T) -> Self {
        Self::new(value, Span::START)
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

impl<T: Eq> Eq for Spanned<T> {}

impl<T: std::hash::Hash> std::hash::Hash for Spanned<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.value.hash(state);
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct(SPANNED, &[], SpannedVisitor(PhantomData))
    }
}

/// Takes the four numbers of a span, then the value.
struct SpannedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for SpannedVisitor<T> {
    type Value = Spanned<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its place")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut numbers = [0; 4];
        for (index, number) in numbers.iter_mut().enumerate() {
            *number = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(index, &self))?;
        }
        let value = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(4, &self))?;
        let [line, column, end_line, end_column] = numbers;
        let start = Position { line, column };
        let end = Position { line: end_line, column: end_column };
        Ok(Spanned { value, span: Span { start, end } })
    }
}
