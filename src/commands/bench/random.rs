//! Numbers that are the same with the same seed, in every version and on every machine.

/// SplitMix64 (Steele, Lea and Flood 2014). Not the `rand` crate, whose generators may differ from
/// version to version: a load has to be the same load in a year.
#[derive(Clone, Debug)]
pub(super) struct SeededRandom(u64);

impl SeededRandom {
    /// Starts at this seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is above zero.
    fn below(&mut self, bound: usize) -> usize {
        // The upper half of the product: even enough for bounds far below 2^64.
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }
}

/// Deals the numbers below a bound in random order, each once before any comes again.
#[derive(Clone, Debug)]
pub(super) struct Deck {
    cards: Vec<u32>,
    dealt: usize,
}

impl Deck {
    /// Of so many numbers, at least one.
    pub(super) fn new(size: u32) -> Self {
        Self { cards: (0..size).collect(), dealt: 0 }
    }

    /// The next number.
    pub(super) fn deal(&mut self, random: &mut SeededRandom) -> u32 {
        // A step of Fisher and Yates' shuffle at a time.
        let other = self.dealt + random.below(self.cards.len() - self.dealt);
        self.cards.swap(self.dealt, other);
        let card = self.cards[self.dealt];
        self.dealt = (self.dealt + 1) % self.cards.len();
        card
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // The first outputs of the reference implementation for this seed.
        let mut random = SeededRandom::new(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn each_number_is_dealt_once_in_a_round_and_rounds_differ() {
        let (mut deck, mut random) = (Deck::new(100), SeededRandom::new(1));
        let mut round = || (0..100).map(|_| deck.deal(&mut random)).collect::<Vec<_>>();
        let rounds = [round(), round()];
        assert_ne!(rounds[0], rounds[1]);
        for mut round in rounds {
            round.sort_unstable();
            assert_eq!(round, (0..100).collect::<Vec<_>>());
        }
    }
}
