//! Selects the largest of many items.

use std::cmp::Reverse;

/// The names of the items with the largest numbers, at most `most`, sorted by number (largest first)
/// and then by name. For a few thousand items; [`Largest`] is for more.
pub fn largest<K: Ord, N: Ord>(
    items: impl IntoIterator<Item = (K, N)>,
    most: usize,
) -> Vec<(K, N)> {
    let named = items.into_iter().map(|(number, name)| (Reverse(number), name));
    let mut named: Vec<_> = named.collect();
    named.sort_unstable();
    named.truncate(most);
    named.into_iter().map(|(Reverse(number), name)| (number, name)).collect()
}

/// Selects the items with the largest numbers from a sequence of any length. If more items than
/// selected have the same number, the first of them are selected.
///
/// An item that is too small costs one comparison, and so does one of many equal items: most metrics of
/// a million have a single series.
#[derive(Debug)]
pub struct Largest<K, I> {
    most: usize,
    /// At most twice `most` candidates, so that the selection among them is amortised.
    candidates: Vec<Candidate<K, I>>,
    offered: usize,
    /// The smallest number of the last selection: later items need a larger one.
    least: Option<K>,
}

#[derive(Debug)]
struct Candidate<K, I> {
    number: K,
    place: usize,
    item: I,
}

impl<K: Ord + Copy, I> Largest<K, I> {
    /// Selects at most `most` items.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, candidates: Vec::with_capacity(2 * most), offered: 0, least: None }
    }

    /// Adds the next item of the sequence.
    #[inline]
    pub fn offer(&mut self, number: K, item: I) {
        if self.least.is_none_or(|least| number > least) {
            self.keep(number, item);
        }
    }

    fn keep(&mut self, number: K, item: I) {
        self.candidates.push(Candidate { number, place: self.offered, item });
        self.offered += 1;
        if self.candidates.len() >= 2 * self.most {
            self.select();
        }
    }

    /// Reduces the candidates to the largest ones.
    fn select(&mut self) {
        if self.candidates.len() <= self.most {
            return;
        }
        if let Some(last) = self.most.checked_sub(1) {
            let order = |one: &Candidate<K, I>| (Reverse(one.number), one.place);
            let (_, least, _) = self.candidates.select_nth_unstable_by_key(last, order);
            self.least = Some(least.number);
        }
        self.candidates.truncate(self.most);
    }

    /// The selected items in no particular order.
    pub fn into_items(mut self) -> impl ExactSizeIterator<Item = I> {
        self.select();
        self.candidates.into_iter().map(|candidate| candidate.item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_first_and_equal_ones_are_sorted_by_name() {
        let items = [(1, "few"), (5, "z"), (3, "c"), (5, "a"), (3, "b"), (3, "d")];
        assert_eq!(largest(items, 4), [(5, "a"), (5, "z"), (3, "b"), (3, "c")]);
        assert_eq!(largest(items, 100).len(), 6);
        assert_eq!(largest(items, 0), []);
    }

    fn selected(numbers: &[u32], most: usize) -> Vec<usize> {
        let mut largest = Largest::new(most);
        numbers.iter().zip(0..).for_each(|(number, place)| largest.offer(*number, place));
        let mut places: Vec<_> = largest.into_items().collect();
        places.sort_unstable();
        places
    }

    #[test]
    fn of_equal_items_the_first_are_selected() {
        assert_eq!(selected(&[7; 100], 3), [0, 1, 2]);
        assert_eq!(selected(&[1, 7, 1, 7, 8, 7, 1, 7, 7], 3), [1, 3, 4]);
        assert_eq!(selected(&[7, 7], 3), [0, 1]);
        assert_eq!(selected(&[7, 7], 0), [0; 0]);
    }

    #[test]
    fn items_in_any_order_are_selected_as_by_sorting() {
        let rising: Vec<u32> = (0..1_000).collect();
        let falling: Vec<u32> = rising.iter().rev().copied().collect();
        let mixed: Vec<u32> = rising.iter().map(|number| number * 7_919 % 101).collect();
        for numbers in [rising, falling, mixed] {
            for most in [1, 2, 10, 499, 500, 501, 999, 1_000, 1_001] {
                let mut sorted: Vec<usize> = (0..numbers.len()).collect();
                sorted.sort_by_key(|place| Reverse(numbers[*place]));
                sorted.truncate(most);
                sorted.sort_unstable();
                assert_eq!(selected(&numbers, most), sorted, "{most}");
            }
        }
    }
}
