//! Why access cannot be set up.

use thiserror::Error;

/// Why access cannot be set up.
#[derive(Debug, Error)]
#[error("`{key}` {reason}")]
pub struct AccessError {
    /// The key in the section.
    pub key: &'static str,
    /// The problem: the rest of a sentence that begins with the key.
    pub reason: String,
}
