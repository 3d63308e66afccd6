//! A hash with a flag in one of its bits.

/// The bit of the flag. An [`IncrementalMap`](super::incremental_map::IncrementalMap) uses other bits for the
/// shard, the tag and, as long as a shard has fewer than 2^30 places, the place of an entry.
const FLAG: u64 = 1 << 30;

/// On a target with 32 bits, the tag contains this bit.
const _: () = assert!(usize::BITS == 64, "the flag needs another bit");

/// The hash of a series and a flag. There are several of them for each series, and a flag of its own would
/// take eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlaggedHash(u64);

impl FlaggedHash {
    pub(super) fn new(hash: u64, is_set: bool) -> Self {
        Self(if is_set { hash | FLAG } else { hash & !FLAG })
    }

    /// The hash without the bit of the flag.
    #[inline]
    pub(super) fn hash(self) -> u64 {
        self.0 & !FLAG
    }

    #[inline]
    pub(super) fn is_set(self) -> bool {
        self.0 & FLAG != 0
    }

    /// Whether it is that of this hash, with or without the flag.
    #[inline]
    pub(super) fn is_of(self, hash: u64) -> bool {
        self.0 | FLAG == hash | FLAG
    }

    /// Whether it is that of this hash, and the flag is set.
    #[inline]
    pub(super) fn is_set_and_of(self, hash: u64) -> bool {
        self.0 == hash | FLAG
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_hash_is_recognised_with_and_without_the_flag(
            hash in any::<u64>(), is_set in any::<bool>(), bit in 0..64,
        ) {
            let flagged = FlaggedHash::new(hash, is_set);
            prop_assert_eq!(flagged.is_set(), is_set);
            prop_assert_eq!((flagged.is_of(hash), flagged.is_set_and_of(hash)), (true, is_set));
            prop_assert!(flagged.is_of(flagged.hash()));
            let changed = 1_u64 << bit;
            let other = hash ^ changed;
            prop_assert_eq!(flagged.is_of(other), changed == FLAG);
            prop_assert_eq!(flagged.is_set_and_of(other), is_set && changed == FLAG);
        }
    }
}
