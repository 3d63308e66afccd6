//! The error during deserialization: which value does not fit its type, and the reason.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use crate::read::tree::YamlNode;
use crate::values::quote::quoted;

/// The error for a value that does not fit its type.
pub(crate) struct Mismatch<'de> {
    pub(crate) reason: MismatchReason,
    /// The innermost key or value at the time of the error, added by its reader: serde lets a
    /// visitor fail without knowledge of the node.
    pub(crate) node: Option<&'de YamlNode>,
}

/// A list of words, in the form in which serde's derive passes it.
pub(crate) type Words = &'static [&'static str];

/// The reason why a value does not fit.
pub(crate) enum MismatchReason {
    /// A message of the type itself.
    Custom(String),
    UnknownKey(String, Words),
    MissingKey(&'static str),
    RepeatedKey(&'static str),
    /// A word that is not among the allowed words.
    UnknownWord(String, Words),
    /// A value of another type or out of range. `found` describes the value about which a visitor
    /// of a list or section complains.
    WrongValue {
        expected: String,
        found: Option<String>,
    },
}

/// The expectation for a word that needs a section below it.
pub(crate) const SECTION_OF_ONE_KEY: &str = "a section with one key";

impl<'de> Mismatch<'de> {
    fn new(reason: MismatchReason) -> Self {
        Self { reason, node: None }
    }

    /// Adds the current node, unless an inner reader has added one.
    #[must_use]
    pub(crate) fn at(self, node: &'de YamlNode) -> Self {
        Self { node: self.node.or(Some(node)), ..self }
    }
}

impl de::Error for Mismatch<'_> {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(MismatchReason::Custom(message.to_string()))
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = match unexpected {
            Unexpected::UnitVariant => SECTION_OF_ONE_KEY.to_owned(),
            _ => in_plain_words(&expected.to_string()),
        };
        let found = match unexpected {
            Unexpected::Map | Unexpected::Seq | Unexpected::Unit => None,
            Unexpected::Str(text) => Some(quoted(text)),
            other => Some(other.to_string()),
        };
        Self::new(MismatchReason::WrongValue { expected, found })
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn invalid_length(found: usize, expected: &dyn Expected) -> Self {
        Self::new(MismatchReason::WrongValue {
            expected: in_plain_words(&expected.to_string()),
            found: Some(format!("a list of {found}")),
        })
    }

    fn unknown_variant(word: &str, allowed: Words) -> Self {
        Self::new(MismatchReason::UnknownWord(word.to_owned(), allowed))
    }

    fn unknown_field(key: &str, allowed: Words) -> Self {
        Self::new(MismatchReason::UnknownKey(key.to_owned(), allowed))
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(MismatchReason::MissingKey(key))
    }

    fn duplicate_field(key: &'static str) -> Self {
        Self::new(MismatchReason::RepeatedKey(key))
    }
}

/// For types that include another error in their message: omits the value, which may be secret.
impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            MismatchReason::Custom(message) => f.write_str(message),
            MismatchReason::WrongValue { expected, .. } => write!(f, "must be {expected}"),
            _ => f.write_str("does not fit"),
        }
    }
}

impl fmt::Debug for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Mismatch<'_> {}

/// Translates the names of serde's types into words for the author of a YAML file.
fn in_plain_words(expected: &str) -> String {
    match whole_numbers(expected) {
        // The upper bound is beyond any sensible value, so it would only distract.
        Some((low, high)) if high == i128::from(u64::MAX) => {
            return format!("a whole number from {low}");
        }
        Some((low, high)) => return format!("a whole number from {low} to {high}"),
        None => {}
    }
    let words = match expected {
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "a borrowed string" | "string" => "text",
        "a sequence" => "a list",
        "a map" => "a section",
        "unit" => "empty",
        _ if expected.starts_with("struct ") => "a section",
        _ => expected,
    };
    match expected.strip_prefix("a nonzero ") {
        Some(number) => in_plain_words(number).replacen("from 0", "from 1", 1),
        None => words.to_owned(),
    }
}

/// Returns the smallest and the largest number of an integer type.
fn whole_numbers(name: &str) -> Option<(i128, i128)> {
    let range = |bits: &str| match bits {
        "8" | "16" | "32" | "64" => bits.parse().ok().map(|bits: u32| 1_i128 << bits),
        "size" => Some(1 << usize::BITS),
        _ => None,
    };
    match name.split_at_checked(1)? {
        ("u", bits) => range(bits).map(|count| (0, count - 1)),
        ("i", bits) => range(bits).map(|count| (-count / 2, count / 2 - 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_serde_become_plain() {
        assert_eq!(in_plain_words("u16"), "a whole number from 0 to 65535");
        assert_eq!(in_plain_words("i8"), "a whole number from -128 to 127");
        assert_eq!(in_plain_words("usize"), "a whole number from 0");
        assert_eq!(in_plain_words("a nonzero u8"), "a whole number from 1 to 255");
        assert_eq!(in_plain_words("a nonzero u64"), "a whole number from 1");
        assert_eq!(in_plain_words("struct Config"), "a section");
        assert_eq!(in_plain_words("a duration such as `10s`"), "a duration such as `10s`");
    }
}
