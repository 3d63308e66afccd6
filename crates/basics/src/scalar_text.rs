//! Texts from a configuration that may be numbers or booleans in it.

use std::fmt;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// The name by which [`ScalarText`] asks the deserializer of YAML files for the text of a literal.
/// That deserializer passes a literal as bytes and any other value as a text.
pub const SCALAR_TEXT: &str = "$basics::ScalarText";

/// A scalar of a configuration as it is written, and whether it is a number or a boolean there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScalarText {
    text: String,
    is_literal: bool,
}

impl ScalarText {
    /// A number or a boolean, such as `7` or `true`.
    #[must_use]
    pub fn literal(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_literal: true }
    }

    /// The scalar as it is written, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is a number or a boolean in the configuration: `7` and not `"7"`.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.is_literal
    }
}

impl Deref for ScalarText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl<T: Into<String>> From<T> for ScalarText {
    fn from(text: T) -> Self {
        Self { text: text.into(), is_literal: false }
    }
}

impl PartialEq<&str> for ScalarText {
    fn eq(&self, text: &&str) -> bool {
        self.text == *text
    }
}

impl<'de> Deserialize<'de> for ScalarText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(SCALAR_TEXT, ScalarTextVisitor)
    }
}

struct ScalarTextVisitor;

impl<'de> Visitor<'de> for ScalarTextVisitor {
    type Value = ScalarText;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<ScalarText, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ScalarText, E> {
        Ok(text.into())
    }

    fn visit_bytes<E: Error>(self, literal: &[u8]) -> Result<ScalarText, E> {
        std::str::from_utf8(literal).map(ScalarText::literal).map_err(E::custom)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<ScalarText, E> {
        Ok(ScalarText::literal(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<ScalarText, E> {
        Ok(ScalarText::literal(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<ScalarText, E> {
        Ok(ScalarText::literal(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<ScalarText, E> {
        Ok(ScalarText::literal(value.to_string()))
    }
}

/// A [`ScalarText`] that no log line and no error shows.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretScalar(ScalarText);

impl SecretScalar {
    /// The scalar, for the code that sends it.
    #[must_use]
    pub fn reveal(&self) -> &ScalarText {
        &self.0
    }
}

impl<T: Into<ScalarText>> From<T> for SecretScalar {
    fn from(scalar: T) -> Self {
        Self(scalar.into())
    }
}

impl fmt::Debug for SecretScalar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scalar_keeps_its_text_and_whether_it_was_a_literal() {
        for (json, text, is_literal) in [
            (r#""7""#, "7", false),
            ("7", "7", true),
            ("-7", "-7", true),
            ("1.5", "1.5", true),
            ("true", "true", true),
            (r#""true""#, "true", false),
        ] {
            let scalar: ScalarText = serde_json::from_str(json).unwrap();
            assert_eq!((scalar.as_str(), scalar.is_literal()), (text, is_literal), "{json}");
        }
        for wrong in ["null", "[1]", "{}"] {
            let error = serde_json::from_str::<ScalarText>(wrong).unwrap_err().to_string();
            assert!(error.contains("expected a string"), "{error}");
        }
    }

    #[test]
    fn a_secret_scalar_is_not_in_the_debug_output() {
        let secret: SecretScalar = serde_json::from_str("7444").unwrap();
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!((&**secret.reveal(), secret.reveal().is_literal()), ("7444", true));
    }
}
