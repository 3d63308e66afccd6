//! Selects the largest of many items.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The names of the items with the largest numbers, at most `most`, sorted by number (largest first)
/// and then by name. `name` is called only for items that may be among them.
pub fn largest<K: Ord, I: Copy, N: Ord>(
    items: impl IntoIterator<Item = (K, I)>,
    most: usize,
    name: impl Fn(I) -> N,
) -> Vec<(K, N)> {
    // A heap whose top is the smallest of the items selected so far.
    let mut top: BinaryHeap<(Reverse<K>, N)> = BinaryHeap::with_capacity(most.min(1_024) + 1);
    for (number, item) in items {
        // Names are expensive to look up, and of a million metrics most have a single series.
        let is_among = |(Reverse(least), _): &(Reverse<K>, N)| number >= *least;
        if top.len() < most || top.peek().is_some_and(is_among) {
            top.push((Reverse(number), name(item)));
        }
        if top.len() > most {
            top.pop();
        }
    }
    top.into_sorted_vec().into_iter().map(|(Reverse(number), name)| (number, name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_first_and_equal_ones_are_sorted_by_name() {
        let items = [(1, "few"), (5, "z"), (3, "c"), (5, "a"), (3, "b"), (3, "d")];
        assert_eq!(largest(items, 4, |name| name), [(5, "a"), (5, "z"), (3, "b"), (3, "c")]);
        assert_eq!(largest(items, 100, |name| name).len(), 6);
        assert_eq!(largest(items, 0, |name| name), []);
    }
}
