//! The number of series of each metric, for the limits.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::hash_table::Entry;
use model::{MetricKind, Series};

use super::incremental_map::IncrementalMap;
use super::seed::{self, Seeded};
use basics::largest::largest;

/// The number of series of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricUsage {
    /// The metric name.
    pub name: String,
    /// Live series of that name, of all kinds.
    pub series: u64,
    /// Samples that overflowed.
    pub overflowed: u64,
}

/// The metrics that have live series. There may be as many metrics as series, so an entry is small:
/// it shares its name with one of its series.
#[derive(Debug)]
pub(super) struct UsageByMetric {
    by_name: IncrementalMap<UsageEntry>,
    /// Samples that overflowed, by metric name; few metrics have any.
    overflowed: HashMap<Box<str>, u64>,
    seed: Seeded,
}

#[derive(Debug)]
struct UsageEntry {
    /// One of its present or former series, which has its name.
    named_by: Arc<Series>,
    /// Live series other than overflow series, by kind, because the limit applies to each kind.
    ordinary: [u32; 5],
    /// Live overflow series, at most one per kind.
    overflow: u8,
}

impl UsageEntry {
    fn series(&self) -> u64 {
        self.ordinary.iter().map(|count| u64::from(*count)).sum::<u64>() + u64::from(self.overflow)
    }
}

impl Default for UsageByMetric {
    fn default() -> Self {
        Self { by_name: IncrementalMap::default(), overflowed: HashMap::new(), seed: seed::draw() }
    }
}

impl UsageByMetric {
    /// The number of live series of this name and kind, without overflow series.
    pub(super) fn ordinary(&self, name: &str, kind: MetricKind) -> usize {
        let is_it = |metric: &UsageEntry| metric.named_by.name() == name;
        let metric = self.by_name.find(self.seed.hash_one(name), is_it);
        metric.map_or(0, |metric| metric.ordinary[kind as usize] as usize)
    }

    /// Counts a new series.
    pub(super) fn add(&mut self, series: &Arc<Series>, is_overflow: bool) {
        let entry = entry(&mut self.by_name, &self.seed, series.name());
        let metric = entry
            .or_insert_with(|| UsageEntry {
                named_by: Arc::clone(series),
                ordinary: [0; 5],
                overflow: 0,
            })
            .into_mut();
        if is_overflow {
            metric.overflow += 1;
        } else {
            metric.ordinary[series.kind() as usize] += 1;
        }
    }

    /// Counts the removal of a series.
    pub(super) fn remove(&mut self, series: &Series, is_overflow: bool) {
        let Entry::Occupied(mut entry) = entry(&mut self.by_name, &self.seed, series.name()) else {
            return;
        };
        let metric = entry.get_mut();
        if is_overflow {
            metric.overflow -= 1;
        } else {
            metric.ordinary[series.kind() as usize] -= 1;
        }
        if metric.series() == 0 {
            entry.remove();
            // Otherwise names that senders have used only once would stay in memory forever.
            self.overflowed.remove(series.name());
        }
    }

    /// Counts a sample that overflowed into a series of this name. Returns whether it is the first.
    pub(super) fn overflow(&mut self, name: &str) -> bool {
        if let Some(samples) = self.overflowed.get_mut(name) {
            *samples += 1;
            return false;
        }
        self.overflowed.insert(name.into(), 1);
        true
    }

    /// The metrics with the most series, at most `most` of them, in descending order.
    pub(super) fn usage(&self, most: usize) -> Vec<MetricUsage> {
        let metrics = self.by_name.iter().map(|metric| (metric.series(), metric));
        let usage = |(series, name): (u64, &str)| MetricUsage {
            name: name.to_owned(),
            series,
            overflowed: self.overflowed(name),
        };
        largest(metrics, most, |metric| metric.named_by.name()).into_iter().map(usage).collect()
    }

    /// The number of samples that overflowed into a series of this name.
    pub(super) fn overflowed(&self, name: &str) -> u64 {
        self.overflowed.get(name).copied().unwrap_or_default()
    }
}

fn entry<'a>(
    by_name: &'a mut IncrementalMap<UsageEntry>,
    seed: &Seeded,
    name: &str,
) -> Entry<'a, UsageEntry> {
    let hash = |metric: &UsageEntry| seed.hash_one(metric.named_by.name());
    by_name.entry(seed.hash_one(name), |metric| metric.named_by.name() == name, hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(kind: MetricKind, name: &str) -> Arc<Series> {
        Arc::new(Series::new::<&str, &str>(kind, name, &[]))
    }

    #[test]
    fn the_metrics_with_the_most_series_come_first() {
        let mut metrics = UsageByMetric::default();
        for (name, count) in [("few", 1), ("most", 5), ("many", 3), ("more", 4)] {
            (0..count).for_each(|_| metrics.add(&series(MetricKind::Gauge, name), false));
        }
        metrics.add(&series(MetricKind::Timer, "most"), true);
        assert!(metrics.overflow("most") && !metrics.overflow("most"));
        let usage: Vec<_> = metrics
            .usage(3)
            .into_iter()
            .map(|metric| (metric.name, metric.series, metric.overflowed))
            .collect();
        assert_eq!(usage, [("most".into(), 6, 2), ("more".into(), 4, 0), ("many".into(), 3, 0)]);
        assert_eq!(metrics.usage(100).len(), 4);
    }

    #[test]
    fn a_metric_without_series_is_removed() {
        let mut metrics = UsageByMetric::default();
        let (counter, overflow) = (series(MetricKind::Counter, "m"), series(MetricKind::Set, "m"));
        metrics.add(&counter, false);
        metrics.add(&overflow, true);
        assert_eq!(metrics.ordinary("m", MetricKind::Counter), 1);
        assert_eq!(metrics.ordinary("m", MetricKind::Set), 0, "overflow series do not count");
        metrics.overflow("m");
        metrics.remove(&counter, false);
        assert_eq!(metrics.usage(1)[0].overflowed, 1);
        metrics.remove(&overflow, true);
        assert_eq!(metrics.usage(1), []);
        assert!(metrics.overflow("m"), "counting starts over");
    }
}
