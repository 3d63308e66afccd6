//! Texts in a configuration: secrets, and texts that are parsed.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// A text that no log line and no error shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Protects a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the code that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor::new("a text", |text| Ok(Self::new(text))))
    }
}

/// Parses a text while a configuration is deserialized, so that an error has its place.
pub struct TextVisitor<T, F> {
    expecting: &'static str,
    parse: F,
    parsed: PhantomData<T>,
}

impl<T, F: FnOnce(&str) -> Result<T, String>> TextVisitor<T, F> {
    /// A visitor that applies `parse` to the text. `expecting` names the value in errors, such as
    /// "a URL".
    pub fn new(expecting: &'static str, parse: F) -> Self {
        Self { expecting, parse, parsed: PhantomData }
    }
}

impl<T, F: FnOnce(&str) -> Result<T, String>> Visitor<'_> for TextVisitor<T, F> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.expecting)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
}
