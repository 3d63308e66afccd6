//! The errors of one configuration file.

use std::fmt;

use crate::messages::error::ConfigError;

/// Maximum number of errors that are shown together. A file with more, such as one for another
/// program, is not fixed from the list anyway.
pub(crate) const ERRORS_MAX: usize = 20;

/// The errors of one configuration file: at least one, in the order of the file.
///
/// Its `Display` shows up to twenty errors, with an empty line between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    first: ConfigError,
    others: Vec<ConfigError>,
}

impl ConfigErrors {
    /// Succeeds if there are no errors.
    ///
    /// # Errors
    /// The errors, if there are any.
    pub fn check(mut errors: Vec<ConfigError>) -> Result<(), Self> {
        errors.sort_by_key(ConfigError::position);
        errors.dedup();
        let mut errors = errors.into_iter();
        match errors.next() {
            None => Ok(()),
            Some(first) => Err(Self { first, others: errors.collect() }),
        }
    }

    /// Returns the first error of the file.
    #[must_use]
    pub const fn first(&self) -> &ConfigError {
        &self.first
    }

    /// Returns the errors that are shown, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        std::iter::once(&self.first).chain(&self.others).take(ERRORS_MAX)
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(first: ConfigError) -> Self {
        Self { first, others: Vec::new() }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        for error in self.iter().skip(1) {
            write!(f, "\n\n{error}")?;
        }
        if self.others.len() >= ERRORS_MAX {
            write!(f, "\n\nthe file has more errors; the first {ERRORS_MAX} are shown")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
