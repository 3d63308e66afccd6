//! Globs in a configuration.

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Deserialize;
use serde::de::{Deserializer, Error};

/// Maximum number of globs in a list, and of bytes of their text. Compiling takes about 5 KiB of
/// memory for each glob.
const GLOBS_MAX: usize = 1_000;
const TEXT_BYTES_MAX: usize = 64 << 10;

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
    /// When there are more than 1,000 globs or 64 KiB of text, or when a text is not a glob. The error
    /// names the first one.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, String> {
        if texts.is_empty() {
            return Ok(Self::default());
        }
        check_size(texts)?;
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

fn check_size<T: AsRef<str>>(texts: &[T]) -> Result<(), String> {
    let count = texts.len();
    if count > GLOBS_MAX {
        return Err(format!("a list may contain at most {GLOBS_MAX} globs, not {count}"));
    }
    let bytes: usize = texts.iter().map(|text| text.as_ref().len()).sum();
    if bytes > TEXT_BYTES_MAX {
        let kibibytes = TEXT_BYTES_MAX >> 10;
        return Err(format!("the globs of a list may have at most {kibibytes} KiB together"));
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Globs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Vec::<String>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_bounded_before_it_is_compiled() {
        let globs: Vec<String> = (0..GLOBS_MAX).map(|n| format!("*a{n}*b")).collect();
        assert!(Globs::parse(&globs).unwrap().matches("xa7yb").unwrap());
        let one_more: Vec<String> = globs.iter().cloned().chain(["*".to_owned()]).collect();
        let error = Globs::parse(&one_more).unwrap_err();
        assert_eq!(error, "a list may contain at most 1000 globs, not 1001");
        let error = Globs::parse(&["a".repeat(TEXT_BYTES_MAX + 1)]).unwrap_err();
        assert_eq!(error, "the globs of a list may have at most 64 KiB together");
    }
}
