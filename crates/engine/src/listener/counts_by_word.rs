//! Reads an array of counts by the names of its places.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counts by name, without zeros.
pub(super) fn by_word<const N: usize>(
    words: [&'static str; N],
    counts: &[AtomicU64; N],
) -> BTreeMap<&'static str, u64> {
    let counts = counts.iter().map(|count| count.load(Ordering::Acquire));
    words.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect()
}
