//! A random number for cookies and socket names.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A number that another process cannot guess.
pub(crate) fn random() -> u32 {
    RandomState::new().build_hasher().finish() as u32
}
