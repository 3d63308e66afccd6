//! The hash that stands for a line in the cache.

use std::num::NonZero;

use super::super::seed::{self, KeyStream};
use crate::protocol::split::{LinePieces, PIECES};

/// Bytes that are hashed in one step.
pub(super) const STEP: usize = 16;
/// Bytes that fit into one word of a step.
const SHORT: usize = 8;

/// The key grows by multiples of this many steps.
const KEYS_ADDED: usize = 64;
/// Maximum length of a line in the cache.
pub(super) const LINE_BYTES_MAX: usize = 65_536;

/// The hash of a line's pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LineHash {
    pub(super) first: u64,
    /// The lowest bit is always set, so that 0 can mark a free place; the highest one never is, so
    /// that the index can use it as a flag.
    pub(super) second: NonZero<u32>,
}

/// Hashes the pieces of lines.
///
/// The cache stores the hash in place of the line, so a collision would add a sample to the wrong
/// series. Senders choose the lines, so it is not enough that results look random: the hash is
/// constructed so that, for any two lines, the probability over the secret key that they collide is
/// bounded. It is a universal hash: NH, the hash of UMAC (RFC 4418), with words of 64 bits, the sum of
/// the products `(m0 + k0) · (m1 + k1)` modulo 2^128. The hashes of two different lines are equal with
/// a probability of at most 2^-63. Two such hashes with independent keys are calculated, and each is
/// reduced by a strongly universal hash, to 64 and 30 bits: in total less than 2^-92 for any two
/// lines. A sender does not learn from tallyd whether a line was known, let alone its hash.
///
/// The key has a pair of words for each step, so it is as long as the longest line so far.
pub(super) struct LineHasher {
    keys: Vec<StepKey>,
    reduction: [ReductionKey; 2],
    key_stream: KeyStream,
}

/// The keys of one step: two for each of the two hashes.
type StepKey = [u64; 4];

/// The key of a strongly universal hash of two words: `(x·a + y·b + c) mod 2^128`, of which the
/// upper bits are the result.
struct ReductionKey {
    x: u128,
    y: u128,
    c: u128,
}

impl LineHasher {
    pub(super) fn new() -> Self {
        let mut key_stream = seed::draw_key();
        let mut wide =
            || u128::from(key_stream.draw_word()) << 64 | u128::from(key_stream.draw_word());
        let mut reduction_key = || ReductionKey { x: wide(), y: wide(), c: wide() };
        let reduction = [reduction_key(), reduction_key()];
        Self { keys: Vec::new(), reduction, key_stream }
    }

    /// Extends the key, so that a line of this length can be hashed. The length must be at most
    /// [`LINE_BYTES_MAX`].
    pub(super) fn make_fit(&mut self, line_bytes: usize) {
        // Each further piece may have one more incomplete step, and the lengths take one.
        let steps = line_bytes.div_ceil(STEP) + PIECES;
        let Self { keys, key_stream, .. } = self;
        // Rounded up, so that the key is rarely reallocated while ever longer lines arrive.
        let steps = steps.next_multiple_of(KEYS_ADDED);
        keys.reserve_exact(steps.saturating_sub(keys.len()));
        keys.extend((keys.len()..steps).map(|_| [(); 4].map(|()| key_stream.draw_word())));
    }

    /// Hashes the pieces of a line. `None` if the line is longer than the key.
    #[inline(never)]
    pub(super) fn hash(&self, pieces: &LinePieces<'_>) -> Option<LineHash> {
        let [first, second, third, fourth] = pieces.pieces;
        if pieces.gaps <= 1 {
            return self.hash_two(first, second, pieces.gaps == 1);
        }
        let (key, mut keys) = self.keys.split_first()?;
        let mut sums = Sums::default();
        // The lengths come first. Without them, lines with the same bytes and other borders between
        // the pieces would have the same hash.
        let gaps = u64::from(pieces.gaps) << 62;
        sums.add([lengths(first, second), lengths(third, fourth) | gaps], key);
        for piece in pieces.pieces {
            keys = sums.add_piece(piece, keys)?;
        }
        Some(self.reduce(&sums))
    }

    /// The same for the pieces of a line with one gap, or without a gap and with an empty second piece.
    // Separate, because most lines are such lines. Not inlined: the sums and the words of a step need
    // most registers. Inlined into a large caller, some of them went to the stack and back in each
    // step, depending on the rest of the caller.
    #[inline(never)]
    pub(super) fn hash_two(&self, first: &[u8], second: &[u8], has_gap: bool) -> Option<LineHash> {
        let (key, keys) = self.keys.split_first()?;
        let mut sums = Sums::default();
        let gaps = u64::from(has_gap) << 62;
        if second.len() <= SHORT {
            // The end of most statsd lines fits into the step of the lengths. With a longer end, this
            // step has no lengths in its second word, as for an empty line, but a length in its first.
            sums.add([short_word(second), lengths(first, second) | gaps], key);
            sums.add_piece(first, keys)?;
        } else {
            sums.add([lengths(first, second), gaps], key);
            let keys = sums.add_piece(first, keys)?;
            sums.add_piece(second, keys)?;
        }
        Some(self.reduce(&sums))
    }

    /// The same for a line with one gap and an end of at most [`SHORT`] bytes.
    // Without a loop, for the most common lines.
    #[inline(never)]
    pub(super) fn hash_short(&self, first: &[u8], second: &[u8]) -> Option<LineHash> {
        let [key, first_key, last_key, ..] = self.keys.as_slice() else { return None };
        let steps = (first.first_chunk(), first.last_chunk());
        let (Some(start), Some(end), true) = (steps.0, steps.1, first.len() <= 2 * STEP) else {
            return self.hash_two(first, second, true);
        };
        if second.len() > SHORT {
            return self.hash_two(first, second, true);
        }
        let mut sums = Sums::default();
        sums.add([short_word(second), lengths(first, second) | 1 << 62], key);
        sums.add(words(start), first_key);
        if first.len() > STEP {
            sums.add(words(end), last_key);
        }
        Some(self.reduce(&sums))
    }

    #[inline]
    fn reduce(&self, sums: &Sums) -> LineHash {
        let [first, second] = &self.reduction;
        let (first, second) = (first.reduce(sums.first), second.reduce(sums.second));
        // The upper 30 bits of the second hash, between the two reserved bits.
        LineHash { first, second: NonZero::<u32>::MIN | (second >> 34 << 1) as u32 }
    }
}

/// The lengths of two pieces in one word.
#[inline]
fn lengths(one: &[u8], other: &[u8]) -> u64 {
    one.len() as u64 | ((other.len() as u64) << 32)
}

/// The state of the two hashes.
#[derive(Default)]
struct Sums {
    first: u128,
    second: u128,
}

impl Sums {
    #[inline]
    fn add(&mut self, [low, high]: [u64; 2], key: &StepKey) {
        let product = |a: u64, b: u64| u128::from(a) * u128::from(b);
        let first = product(low.wrapping_add(key[0]), high.wrapping_add(key[1]));
        let second = product(low.wrapping_add(key[2]), high.wrapping_add(key[3]));
        self.first = self.first.wrapping_add(first);
        self.second = self.second.wrapping_add(second);
    }

    /// Adds a piece, whose length is hashed separately. Returns the keys that are left.
    #[inline]
    fn add_piece<'k>(&mut self, piece: &[u8], keys: &'k [StepKey]) -> Option<&'k [StepKey]> {
        let (steps, rest) = piece.as_chunks::<STEP>();
        let (own, keys) = keys.split_at_checked(steps.len())?;
        for (step, key) in steps.iter().zip(own) {
            self.add(words(step), key);
        }
        if rest.is_empty() {
            return Some(keys);
        }
        let (key, keys) = keys.split_first()?;
        // The last step of a longer piece overlaps the previous one, which saves a copy.
        let step = piece.last_chunk().map_or_else(|| short_words(piece), words);
        self.add(step, key);
        Some(keys)
    }
}

#[inline]
pub(super) fn words(step: &[u8; STEP]) -> [u64; 2] {
    let both = u128::from_le_bytes(*step);
    [both as u64, (both >> 64) as u64]
}

/// The bytes of a piece that is shorter than a step. Different bytes of the same length give different
/// words.
#[inline]
pub(super) fn short_words(piece: &[u8]) -> [u64; 2] {
    let wide = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    if let (Some(start), Some(end)) = (piece.first_chunk(), piece.last_chunk()) {
        return [wide(start), wide(end)];
    }
    [short_word(piece), 0]
}

/// The same in one word, for a piece of at most [`SHORT`] bytes.
#[inline]
fn short_word(piece: &[u8]) -> u64 {
    let narrow = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
    if let (Some(start), Some(end)) = (piece.first_chunk(), piece.last_chunk()) {
        return narrow(start) | narrow(end) << 32;
    }
    let (Some(first), Some(last)) = (piece.first(), piece.last()) else { return 0 };
    let middle = piece[piece.len() / 2];
    u64::from(*first) | u64::from(middle) << 8 | u64::from(*last) << 16
}

impl ReductionKey {
    /// The upper half of the result.
    #[inline]
    fn reduce(&self, sum: u128) -> u64 {
        let (low, high) = (u128::from(sum as u64), sum >> 64);
        let result = self.x.wrapping_mul(low).wrapping_add(self.y.wrapping_mul(high));
        (result.wrapping_add(self.c) >> 64) as u64
    }
}

#[cfg(test)]
mod tests;
