//! The seeds of the hashes over names, tags and lines.
//!
//! These come from the network: a sender that knew a seed could choose them so that all collide,
//! which would turn each lookup into a linear search.

use std::hash::{BuildHasher, RandomState};

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

/// A secret key of any length: the SipHash of each number, with a key that the system has drawn.
pub struct KeyStream {
    word_of: Box<dyn Fn(u64) -> u64 + Send>,
    drawn: u64,
}

impl KeyStream {
    /// Returns the next word of the key.
    pub fn draw_word(&mut self) -> u64 {
        self.drawn += 1;
        (self.word_of)(self.drawn)
    }
}

/// Returns an unpredictable key.
#[must_use]
pub fn draw_key() -> KeyStream {
    #[cfg(feature = "fixed-seed")]
    if fixed::is_fixed() {
        return KeyStream {
            word_of: Box::new(|number| Seeded::fixed().hash_one(number)),
            drawn: 0,
        };
    }
    let state = RandomState::new();
    KeyStream { word_of: Box::new(move |number| state.hash_one(number)), drawn: 0 }
}

#[cfg(feature = "fixed-seed")]
pub use fixed::fix;

#[cfg(feature = "fixed-seed")]
mod fixed {
    use std::sync::atomic::{AtomicBool, Ordering};

    static FIXED: AtomicBool = AtomicBool::new(false);

    /// Makes [`draw`](super::draw) and [`draw_key`](super::draw_key) return the same in every process,
    /// so that a program that counts instructions gets the same count each time. The daemon never
    /// calls this function: the feature alone changes nothing.
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

    #[test]
    fn the_words_of_keys_differ() {
        let (mut one, mut other) = (draw_key(), draw_key());
        let words = [one.draw_word(), one.draw_word(), other.draw_word(), other.draw_word()];
        assert!(!(1..words.len()).any(|end| words[..end].contains(&words[end])), "{words:?}");
    }
}
