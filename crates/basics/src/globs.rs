//! Globs in a configuration.

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// A compiled list of globs.
#[derive(Clone, Debug, Default)]
pub struct Globs {
    texts: Vec<String>,
    /// `None` if the list is empty.
    compiled: Option<GlobSet>,
}

impl PartialEq for Globs {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

impl Globs {
    /// Compiles the globs.
    ///
    /// # Errors
    /// When a text is not a glob. The error names the first one.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, String> {
        if texts.is_empty() {
            return Ok(Self::default());
        }
        let texts: Vec<String> = texts.iter().map(|text| text.as_ref().to_owned()).collect();
        let mut builder = GlobSetBuilder::new();
        for text in &texts {
            let glob = Glob::new(text);
            builder.add(glob.map_err(|e| format!("`{text}` is not a glob: {}", e.kind()))?);
        }
        let compiled = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { texts, compiled: Some(compiled) })
    }

    /// Whether the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.compiled.is_none()
    }

    /// Whether a name matches one of the globs; `None` if the list is empty.
    #[must_use]
    pub fn matches(&self, name: &str) -> Option<bool> {
        self.compiled.as_ref().map(|globs| globs.is_match(name))
    }
}

impl<'de> Deserialize<'de> for Globs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Vec::<String>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
