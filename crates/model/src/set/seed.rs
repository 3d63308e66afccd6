//! The secret of the hash over the members of sets.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64_with_secret, xxh3_64_with_seed};

/// Words of the key, which other processes need for the same hashes.
const KEY_WORDS: usize = 4;
/// Words of XXH3's secret, which is derived from the key.
const SECRET_WORDS: usize = 24;

/// The secret of the hash over the members of sets.
///
/// A member comes from the network. With a known hash, a sender could choose members that all have the
/// same place in a sketch, so that they count as one, or as a number beyond all bounds. Sets can be
/// merged only if their members were hashed with the same seed.
#[derive(Clone)]
pub struct SetSeed(Arc<SeedParts>);

#[derive(PartialEq, Eq)]
struct SeedParts {
    key: [u64; KEY_WORDS],
    secret: [u8; SECRET_WORDS * size_of::<u64>()],
}

impl SetSeed {
    /// The length of [`SetSeed::to_bytes`].
    pub const BYTES: usize = KEY_WORDS * size_of::<u64>();

    /// Draws an unpredictable seed.
    #[must_use]
    pub fn random() -> Self {
        // The system seeds each state, and its hash is made for keys that must stay secret.
        let state = RandomState::new();
        Self::of_key(std::array::from_fn(|word| state.hash_one(word)))
    }

    /// Derives a seed from a secret text, the same one in every process and version.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self::of_key(std::array::from_fn(|word| xxh3_64_with_seed(text.as_bytes(), word as u64)))
    }

    /// The seed in a form that can be stored.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        bytes_of(&self.0.key)
    }

    /// Reads the stored form.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut words = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
        Self::of_key(std::array::from_fn(|_| words.next().unwrap_or_default()))
    }

    fn of_key(key: [u64; KEY_WORDS]) -> Self {
        let bytes: [u8; Self::BYTES] = bytes_of(&key);
        let word = |word| xxh3_64_with_seed(&bytes, word as u64);
        let secret = bytes_of(&std::array::from_fn::<u64, SECRET_WORDS, _>(word));
        Self(Arc::new(SeedParts { key, secret }))
    }

    /// The hash that represents a member.
    #[inline]
    pub(super) fn hash(&self, member: &[u8]) -> u64 {
        xxh3_64_with_secret(member, &self.0.secret)
    }
}

fn bytes_of<const BYTES: usize>(words: &[u64]) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
    bytes
}

impl PartialEq for SetSeed {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for SetSeed {}

impl fmt::Debug for SetSeed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_the_same_wherever_it_comes_from() {
        let seed = SetSeed::from_text("a secret");
        assert_eq!(SetSeed::from_bytes(&seed.to_bytes()), seed);
        assert_eq!(SetSeed::from_bytes(&seed.to_bytes()).hash(b"member"), seed.hash(b"member"));
        // Hosts of different versions must agree.
        assert_eq!(seed.hash(b"member"), 9_907_019_101_854_562_533);
        assert_eq!(format!("{seed:?}"), "***");
    }

    #[test]
    fn other_seeds_give_other_hashes() {
        let seeds = [
            SetSeed::random(),
            SetSeed::random(),
            SetSeed::from_text("a"),
            SetSeed::from_text("b"),
        ];
        for length in [1, 4, 8, 12, 16, 40, 200, 1_000] {
            let member = vec![b'x'; length];
            let mut hashes: Vec<u64> = seeds.iter().map(|seed| seed.hash(&member)).collect();
            hashes.sort_unstable();
            hashes.dedup();
            assert_eq!(hashes.len(), seeds.len(), "{length}");
        }
        assert_ne!(seeds[2], seeds[3]);
    }
}
