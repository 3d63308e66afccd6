//! How many values each tag key has: what makes series many.

use std::collections::HashMap;

use model::{DistinctSet, Series};

use basics::largest::largest;

/// The keys of the series that were looked at, each with its distinct values.
#[derive(Debug)]
pub struct TagKeys {
    /// Keys that are told apart.
    most: usize,
    by_key: HashMap<Box<str>, Key>,
    /// Of the others, their names.
    others: DistinctSet,
    series: u64,
}

#[derive(Debug, Default)]
struct Key {
    /// Up to some thousands exact, an estimate of fixed size beyond.
    values: DistinctSet,
    series: u64,
}

/// What is known of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagKey {
    /// The key.
    pub key: String,
    /// Distinct values that it has; within 1 % beyond some thousands.
    pub values: u64,
    /// Series that have the key.
    pub series: u64,
}

impl TagKeys {
    /// No series yet. Keys beyond the first `most` are only counted.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, by_key: HashMap::new(), others: DistinctSet::default(), series: 0 }
    }

    /// Looks at a series.
    pub fn add(&mut self, series: &Series) {
        self.series += 1;
        for (key, value) in series.tags() {
            if let Some(known) = self.by_key.get_mut(key) {
                known.add(value);
            } else if self.by_key.len() < self.most {
                self.by_key.entry(key.into()).or_default().add(value);
            } else {
                self.others.insert(key.as_bytes());
            }
        }
    }

    /// Series that were looked at.
    #[must_use]
    pub fn series(&self) -> u64 {
        self.series
    }

    /// Keys that there are besides those that are told apart.
    #[must_use]
    pub fn other_keys(&self) -> u64 {
        self.others.count() as u64
    }

    /// All keys that are told apart, those with the most values first.
    #[must_use]
    pub fn by_values(&self) -> Vec<TagKey> {
        let counted = self.by_key.iter().map(|(key, found)| (found.values.count() as u64, &**key));
        let shown = |(values, key): (u64, &str)| TagKey {
            key: key.to_owned(),
            values,
            series: self.by_key.get(key).map_or(0, |found| found.series),
        };
        largest(counted, self.most, |key| key).into_iter().map(shown).collect()
    }
}

impl Key {
    fn add(&mut self, value: &str) {
        self.series += 1;
        self.values.insert(value.as_bytes());
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
    fn keys_come_by_how_many_values_they_have() {
        let mut keys = TagKeys::new(10);
        for user in 0..100 {
            keys.add(&series(&[("host", "a"), ("user", &user.to_string())]));
        }
        keys.add(&series(&[("host", "b")]));
        let key = |key: &str, values, series| TagKey { key: key.to_owned(), values, series };
        assert_eq!(keys.by_values(), [key("user", 100, 100), key("host", 2, 101)]);
        assert_eq!((keys.series(), keys.other_keys()), (101, 0));
    }

    #[test]
    fn keys_without_end_take_no_memory_without_end() {
        let mut keys = TagKeys::new(2);
        for number in 0..50 {
            keys.add(&series(&[(&format!("key{number:02}"), "x")]));
            keys.add(&series(&[(&format!("key{number:02}"), "y")]));
        }
        assert_eq!(keys.by_values().len(), 2);
        assert_eq!(keys.other_keys(), 48);
    }
}
