//! The cardinality of tag keys, which shows the keys that multiply series.

use std::collections::HashMap;

use model::{DistinctSet, Series, SetSeed};

use basics::largest::largest;

/// Counts the distinct values of each tag key in a set of series.
#[derive(Debug)]
pub struct TagCardinality {
    /// Maximum number of keys that are counted individually.
    most: usize,
    by_key: HashMap<Box<str>, TagValues>,
    /// The names of all other keys.
    others: DistinctSet,
    /// Secret, so that senders, who choose keys and values, cannot construct collisions.
    seed: SetSeed,
    series: u64,
}

#[derive(Debug, Default)]
struct TagValues {
    /// Exact up to 4,096 values; beyond, a sketch of fixed size.
    values: DistinctSet,
    series: u64,
}

/// The cardinality of one tag key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagKeyUsage {
    /// The key.
    pub key: String,
    /// Number of distinct values: exact up to 4,096, then within 2 %.
    pub values: u64,
    /// Number of series that have the key.
    pub series: u64,
}

impl TagCardinality {
    /// Creates an empty count. Only the first `most` keys are counted individually.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let (by_key, others) = (HashMap::new(), DistinctSet::default());
        Self { most, by_key, others, seed: SetSeed::random(), series: 0 }
    }

    /// Adds the tags of a series.
    pub fn add(&mut self, series: &Series) {
        self.series += 1;
        for (key, value) in series.tags() {
            if let Some(known) = self.by_key.get_mut(key) {
                known.add(value, &self.seed);
            } else if self.by_key.len() < self.most {
                self.by_key.entry(key.into()).or_default().add(value, &self.seed);
            } else {
                // Senders choose the keys, so only their number is kept, in a set of bounded size.
                self.others.insert(key.as_bytes(), &self.seed);
            }
        }
    }

    /// The number of series added.
    #[must_use]
    pub fn series(&self) -> u64 {
        self.series
    }

    /// The number of keys that are not counted individually.
    #[must_use]
    pub fn other_keys(&self) -> u64 {
        self.others.count() as u64
    }

    /// The keys that are counted individually, those with the most values first.
    #[must_use]
    pub fn by_values(&self) -> Vec<TagKeyUsage> {
        let counted =
            self.by_key.iter().map(|(key, key_values)| (key_values.values.count() as u64, &**key));
        let shown = |(values, key): (u64, &str)| TagKeyUsage {
            key: key.to_owned(),
            values,
            series: self.by_key.get(key).map_or(0, |key_values| key_values.series),
        };
        largest(counted, self.most).into_iter().map(shown).collect()
    }
}

impl TagValues {
    fn add(&mut self, value: &str, seed: &SetSeed) {
        self.series += 1;
        self.values.insert(value.as_bytes(), seed);
    }
}

#[cfg(test)]
mod tests {
    use model::MetricKind;

    use super::*;

    fn series(tags: &[(&str, &str)]) -> Series {
        Series::new(MetricKind::Counter, "m", tags)
    }

    #[test]
    fn keys_are_ordered_by_their_number_of_values() {
        let mut keys = TagCardinality::new(10);
        for user in 0..100 {
            keys.add(&series(&[("host", "a"), ("user", &user.to_string())]));
        }
        keys.add(&series(&[("host", "b")]));
        let key = |key: &str, values, series| TagKeyUsage { key: key.to_owned(), values, series };
        assert_eq!(keys.by_values(), [key("user", 100, 100), key("host", 2, 101)]);
        assert_eq!((keys.series(), keys.other_keys()), (101, 0));
    }

    #[test]
    fn any_number_of_keys_takes_bounded_memory() {
        let mut keys = TagCardinality::new(2);
        for number in 0..50 {
            keys.add(&series(&[(&format!("key{number:02}"), "x")]));
            keys.add(&series(&[(&format!("key{number:02}"), "y")]));
        }
        assert_eq!(keys.by_values().len(), 2);
        assert_eq!(keys.other_keys(), 48);
    }
}
