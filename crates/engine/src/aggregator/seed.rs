//! The seeds of the hashes over names, tags and lines.
//!
//! These come from the network: a sender that knew a seed could choose them so that all collide,
//! which would turn each lookup into a linear search.

use foldhash::fast::SeedableRandomState;

/// A seeded hash function.
pub type Seeded = SeedableRandomState;

/// Returns a hash function with an unpredictable seed.
#[must_use]
pub fn draw() -> Seeded {
    #[cfg(feature = "fixed-seed")]
    if fixed::is_fixed() {
        return Seeded::fixed();
    }
    Seeded::random()
}

#[cfg(feature = "fixed-seed")]
pub use fixed::fix;

#[cfg(feature = "fixed-seed")]
mod fixed {
    use std::sync::atomic::{AtomicBool, Ordering};

    static FIXED: AtomicBool = AtomicBool::new(false);

    /// Makes [`draw`](super::draw) return the same seed in every process, so that a program that
    /// counts instructions gets the same count each time. The daemon never calls it: the feature
    /// alone changes nothing.
    pub fn fix() {
        FIXED.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_fixed() -> bool {
        FIXED.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn two_seeds_differ() {
        assert_ne!(draw().hash_one("name"), draw().hash_one("name"));
    }
}
