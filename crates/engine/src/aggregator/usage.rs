//! The number of series of each metric, for the limits.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::hash_table::Entry;
use model::{MetricKind, Series};

use super::incremental_map::IncrementalMap;
use super::seed::{self, Seeded};
use basics::largest::{Largest, largest};

/// The metric name of the last overflow series, which takes samples when there are too many names.
/// Samples of metrics that are no longer counted individually count under it as well.
pub(super) const OVERFLOW_NAME: &str = "tallyd.overflow";
/// Maximum number of metrics without a live series whose overflowed samples are counted individually.
const FORMER_NAMES_MAX: usize = 1_000;
/// Maximum length of the name of such a metric.
const FORMER_NAME_BYTES_MAX: usize = 256;

/// The number of series of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricUsage {
    /// The metric name.
    pub name: String,
    /// Live series of that name, of all kinds.
    pub series: u64,
}

/// The metrics that have live series. There may be as many metrics as series, so an entry is small:
/// it shares its name with one of its series.
#[derive(Debug)]
pub(super) struct UsageByMetric {
    by_name: IncrementalMap<UsageEntry>,
    /// By metric name; few metrics overflow. The sum of the samples never decreases.
    overflowed: HashMap<Box<str>, OverflowCount>,
    /// The names in `overflowed` whose last series has expired, in this order. They may have a
    /// series again.
    former: VecDeque<Box<str>>,
    seed: Seeded,
}

/// The samples of a metric that overflowed.
#[derive(Debug, Default)]
struct OverflowCount {
    samples: u64,
    /// Whether some of them overflowed after the metric last had no series.
    overflows: bool,
}

/// The series of a metric. Nearly every metric has series of one kind, and the entry of such a metric
/// takes half of the memory.
#[derive(Debug)]
enum UsageEntry {
    /// All series since the entry was added are of the kind of `named_by`.
    OneKind {
        /// One of its present or former series, which has its name.
        named_by: Arc<Series>,
        /// Live series other than overflow series.
        ordinary: u32,
        /// Live overflow series: one, and one more for each reload with other tags of the agent, until the
        /// earlier ones expire.
        overflow: u16,
    },
    SeveralKinds(Box<SeveralKinds>),
}

/// The number of entries may be that of the series.
const _: () = assert!(size_of::<UsageEntry>() == 16, "an entry has grown");

#[derive(Debug)]
struct SeveralKinds {
    /// As for a single kind.
    named_by: Arc<Series>,
    /// Live series other than overflow series, by kind, because the limit applies to each kind.
    ordinary: [u32; 5],
    /// Live overflow series of all kinds.
    overflow: u16,
}

impl UsageEntry {
    fn new(series: &Arc<Series>) -> Self {
        Self::OneKind { named_by: Arc::clone(series), ordinary: 0, overflow: 0 }
    }

    fn name(&self) -> &str {
        match self {
            Self::OneKind { named_by, .. } => named_by.name(),
            Self::SeveralKinds(kinds) => kinds.named_by.name(),
        }
    }

    /// Live series of all kinds.
    fn series(&self) -> u64 {
        match self {
            Self::OneKind { ordinary, overflow, .. } => u64::from(*ordinary) + u64::from(*overflow),
            Self::SeveralKinds(kinds) => {
                kinds.ordinary.iter().map(|count| u64::from(*count)).sum::<u64>()
                    + u64::from(kinds.overflow)
            }
        }
    }

    /// Live series of a kind, without an overflow series.
    fn ordinary(&self, kind: MetricKind) -> u32 {
        match self {
            Self::OneKind { named_by, ordinary, .. } if named_by.kind() == kind => *ordinary,
            Self::OneKind { .. } => 0,
            Self::SeveralKinds(kinds) => kinds.ordinary[kind as usize],
        }
    }

    fn add(&mut self, kind: MetricKind, is_overflow: bool) {
        match self {
            Self::OneKind { named_by, overflow, ordinary } if named_by.kind() == kind => {
                if is_overflow {
                    *overflow += 1;
                } else {
                    *ordinary += 1;
                }
            }
            Self::OneKind { .. } => {
                self.make_several();
                self.add(kind, is_overflow);
            }
            Self::SeveralKinds(kinds) if is_overflow => kinds.overflow += 1,
            Self::SeveralKinds(kinds) => kinds.ordinary[kind as usize] += 1,
        }
    }

    fn remove(&mut self, kind: MetricKind, is_overflow: bool) {
        match self {
            Self::OneKind { overflow, .. } if is_overflow => *overflow -= 1,
            Self::OneKind { ordinary, .. } => *ordinary -= 1,
            Self::SeveralKinds(kinds) if is_overflow => kinds.overflow -= 1,
            Self::SeveralKinds(kinds) => kinds.ordinary[kind as usize] -= 1,
        }
    }

    fn make_several(&mut self) {
        if let Self::OneKind { named_by, ordinary, overflow } = self {
            let mut by_kind = [0; 5];
            by_kind[named_by.kind() as usize] = *ordinary;
            *self = Self::SeveralKinds(Box::new(SeveralKinds {
                named_by: Arc::clone(named_by),
                ordinary: by_kind,
                overflow: *overflow,
            }));
        }
    }
}

impl Default for UsageByMetric {
    fn default() -> Self {
        Self {
            by_name: IncrementalMap::default(),
            overflowed: HashMap::new(),
            former: VecDeque::new(),
            seed: seed::draw(),
        }
    }
}

impl UsageByMetric {
    /// The number of live series of this name and kind, without overflow series.
    pub(super) fn ordinary(&self, name: &str, kind: MetricKind) -> usize {
        let is_it = |metric: &UsageEntry| metric.name() == name;
        let metric = self.by_name.find(self.seed.hash_one(name), is_it);
        metric.map_or(0, |metric| metric.ordinary(kind) as usize)
    }

    /// Counts a new series.
    pub(super) fn add(&mut self, series: &Arc<Series>, is_overflow: bool) {
        let entry = entry(&mut self.by_name, &self.seed, series.name());
        let metric = entry.or_insert_with(|| UsageEntry::new(series)).into_mut();
        metric.add(series.kind(), is_overflow);
    }

    /// Counts the removal of a series.
    pub(super) fn remove(&mut self, series: &Series, is_overflow: bool) {
        let Entry::Occupied(mut entry) = entry(&mut self.by_name, &self.seed, series.name()) else {
            return;
        };
        let metric = entry.get_mut();
        metric.remove(series.kind(), is_overflow);
        if metric.series() == 0 {
            entry.remove();
            if let Some(count) = self.overflowed.get_mut(series.name()) {
                count.overflows = false;
                self.retire(series.name());
            }
        }
    }

    /// Bounds the memory for metrics without a series: otherwise names that senders have used only
    /// once would stay in memory forever.
    fn retire(&mut self, name: &str) {
        if name.len() > FORMER_NAME_BYTES_MAX {
            return self.forget(name);
        }
        self.former.retain(|former| **former != *name);
        if self.former.len() == FORMER_NAMES_MAX
            && let Some(oldest) = self.former.pop_front()
            && !self.has_series(&oldest)
        {
            self.forget(&oldest);
        }
        self.former.push_back(name.into());
    }

    /// Counts the samples of a metric under the common name from now on.
    fn forget(&mut self, name: &str) {
        if name != OVERFLOW_NAME
            && let Some(count) = self.overflowed.remove(name)
        {
            self.overflowed.entry(OVERFLOW_NAME.into()).or_default().samples += count.samples;
        }
    }

    fn has_series(&self, name: &str) -> bool {
        let is_it = |metric: &UsageEntry| metric.name() == name;
        self.by_name.find(self.seed.hash_one(name), is_it).is_some()
    }

    /// Counts samples that overflowed into a series of this name. Returns whether they are the first
    /// since the metric last had no series.
    pub(super) fn overflow(&mut self, name: &str, samples: u64) -> bool {
        if let Some(count) = self.overflowed.get_mut(name) {
            count.samples += samples;
            return !std::mem::replace(&mut count.overflows, true);
        }
        self.overflowed.insert(name.into(), OverflowCount { samples, overflows: true });
        true
    }

    /// The metrics with the most series, at most `most` of them, in descending order. Among metrics
    /// with equally many series, the selection is arbitrary: listeners would wait for a comparison of
    /// names.
    pub(super) fn usage(&self, most: usize) -> Vec<MetricUsage> {
        let mut selected = Largest::new(most);
        self.by_name.iter().for_each(|metric| selected.offer(metric.series(), metric));
        let mut selected: Vec<_> = selected.into_items().collect();
        selected.sort_unstable_by_key(|metric| (Reverse(metric.series()), metric.name()));
        let usage = |metric: &UsageEntry| MetricUsage {
            name: metric.name().to_owned(),
            series: metric.series(),
        };
        selected.into_iter().map(usage).collect()
    }

    /// The samples that overflowed, by metric name: those of the `most` metrics with the most, and
    /// those of all others under the common name.
    pub(super) fn overflowed_by_metric(&self, most: usize) -> Vec<(String, u64)> {
        let counts = self.overflowed.iter().map(|(name, count)| (count.samples, &**name));
        let all: u64 = counts.clone().map(|(samples, _)| samples).sum();
        let mut shown: Vec<(String, u64)> = largest(counts, most)
            .into_iter()
            .map(|(samples, name)| (name.to_owned(), samples))
            .collect();
        let others = all - shown.iter().map(|(_, samples)| samples).sum::<u64>();
        match shown.iter_mut().find(|(name, _)| name == OVERFLOW_NAME) {
            Some((_, samples)) => *samples += others,
            None if others > 0 => shown.push((OVERFLOW_NAME.to_owned(), others)),
            None => {}
        }
        shown
    }

    /// The number of samples that overflowed into a series of this name.
    pub(super) fn overflowed(&self, name: &str) -> u64 {
        self.overflowed.get(name).map_or(0, |count| count.samples)
    }
}

fn entry<'a>(
    by_name: &'a mut IncrementalMap<UsageEntry>,
    seed: &Seeded,
    name: &str,
) -> Entry<'a, UsageEntry> {
    let hash = |metric: &UsageEntry| seed.hash_one(metric.name());
    by_name.entry(seed.hash_one(name), |metric| metric.name() == name, hash)
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
        assert!(metrics.overflow("most", 1) && !metrics.overflow("most", 1));
        let usage: Vec<_> =
            metrics.usage(3).into_iter().map(|metric| (metric.name, metric.series)).collect();
        assert_eq!(usage, [("most".into(), 6), ("more".into(), 4), ("many".into(), 3)]);
        assert_eq!(metrics.overflowed("most"), 2);
        assert_eq!(metrics.usage(100).len(), 4);
    }

    #[test]
    fn a_reload_with_other_tags_of_the_agent_adds_an_overflow_series() {
        for other in [None, Some(series(MetricKind::Timer, "m"))] {
            let mut metrics = UsageByMetric::default();
            let counter = series(MetricKind::Counter, "m");
            metrics.add(&counter, true);
            metrics.add(&counter, true);
            other.iter().for_each(|timer| metrics.add(timer, false));
            let others = other.iter().count() as u64;
            assert_eq!(metrics.usage(1)[0].series, 2 + others);
            metrics.remove(&counter, true);
            assert_eq!(metrics.usage(1)[0].series, 1 + others);
            metrics.remove(&counter, true);
            other.iter().for_each(|timer| metrics.remove(timer, false));
            assert_eq!(metrics.usage(1), []);
        }
    }

    #[test]
    fn series_of_a_metric_count_by_kind() {
        let mut metrics = UsageByMetric::default();
        let ordinary = |metrics: &UsageByMetric| {
            [MetricKind::Counter, MetricKind::Timer, MetricKind::Set]
                .map(|kind| metrics.ordinary("m", kind))
        };
        let all: Vec<_> = [MetricKind::Counter, MetricKind::Counter, MetricKind::Timer]
            .map(|kind| series(kind, "m"))
            .into();
        metrics.add(&all[0], false);
        metrics.add(&all[0], true);
        assert_eq!((ordinary(&metrics), metrics.usage(1)[0].series), ([1, 0, 0], 2));
        metrics.add(&all[1], false);
        metrics.add(&all[2], true);
        metrics.add(&all[2], false);
        assert_eq!((ordinary(&metrics), metrics.usage(1)[0].series), ([2, 1, 0], 5));
        metrics.remove(&all[0], true);
        metrics.remove(&all[0], false);
        metrics.remove(&all[1], false);
        assert_eq!((ordinary(&metrics), metrics.usage(1)[0].series), ([0, 1, 0], 2));
        metrics.remove(&all[2], false);
        metrics.remove(&all[2], true);
        assert_eq!(metrics.usage(1), []);
    }

    #[test]
    fn a_metric_with_series_of_one_kind_takes_little_memory() {
        let mut metrics = UsageByMetric::default();
        let is_small = |metrics: &UsageByMetric| {
            metrics.by_name.iter().all(|metric| matches!(metric, UsageEntry::OneKind { .. }))
        };
        for is_overflow in [false, false, true] {
            metrics.add(&series(MetricKind::Counter, "m"), is_overflow);
        }
        assert!(is_small(&metrics));
        metrics.add(&series(MetricKind::Timer, "m"), false);
        assert!(!is_small(&metrics));
        assert_eq!(metrics.usage(1)[0].series, 4);
    }

    #[test]
    fn a_metric_without_series_is_removed() {
        let mut metrics = UsageByMetric::default();
        let (counter, overflow) = (series(MetricKind::Counter, "m"), series(MetricKind::Set, "m"));
        metrics.add(&counter, false);
        metrics.add(&overflow, true);
        assert_eq!(metrics.ordinary("m", MetricKind::Counter), 1);
        assert_eq!(metrics.ordinary("m", MetricKind::Set), 0, "overflow series do not count");
        metrics.overflow("m", 3);
        metrics.remove(&counter, false);
        assert_eq!((metrics.usage(1)[0].series, metrics.overflowed("m")), (1, 3));
        metrics.remove(&overflow, true);
        assert_eq!(metrics.usage(1), []);
        assert_eq!(metrics.overflowed_by_metric(10), [("m".into(), 3)], "its samples still count");
        assert!(metrics.overflow("m", 1), "it is reported again");
    }

    #[test]
    fn the_samples_that_overflowed_add_up_whatever_becomes_of_their_series() {
        let mut metrics = UsageByMetric::default();
        let mut all = 0;
        for number in 0..3 * FORMER_NAMES_MAX {
            let name = match number % 100 {
                0 => "x".repeat(FORMER_NAME_BYTES_MAX + 1 + number),
                1 => "returns".to_owned(),
                _ => format!("m{number}"),
            };
            let overflow = series(MetricKind::Counter, &name);
            metrics.add(&overflow, true);
            metrics.overflow(&name, number as u64);
            metrics.remove(&overflow, true);
            all += number as u64;
        }
        assert!(metrics.overflowed.len() <= FORMER_NAMES_MAX + 1);
        assert!(metrics.former.len() <= FORMER_NAMES_MAX);
        for most in [0, 1, 10, 10_000] {
            let shown = metrics.overflowed_by_metric(most);
            assert!(shown.len() <= most + 1);
            assert_eq!(shown.iter().map(|(_, samples)| samples).sum::<u64>(), all, "{most}");
        }
    }

    /// The only series of a metric overflows and expires.
    fn overflow_once(metrics: &mut UsageByMetric, name: &str) {
        let overflow = series(MetricKind::Counter, name);
        metrics.add(&overflow, true);
        metrics.overflow(name, 1);
        metrics.remove(&overflow, true);
    }

    #[test]
    fn a_former_metric_with_a_long_name_counts_under_the_common_name() {
        let mut metrics = UsageByMetric::default();
        let [longest, too_long] = [0, 1].map(|more| "x".repeat(FORMER_NAME_BYTES_MAX + more));
        for name in ["m", &longest, &too_long, "n"] {
            overflow_once(&mut metrics, name);
        }
        let counts =
            ["m", "n", &longest, &too_long, OVERFLOW_NAME].map(|it| metrics.overflowed(it));
        assert_eq!(counts, [1, 1, 1, 0, 1]);
    }

    #[test]
    fn of_too_many_former_metrics_the_oldest_without_a_series_counts_under_the_common_name() {
        let mut metrics = UsageByMetric::default();
        let name = |number: usize| format!("m{number}");
        (0..FORMER_NAMES_MAX).for_each(|number| overflow_once(&mut metrics, &name(number)));
        assert_eq!(metrics.overflowed(&name(0)), 1, "there is room for all");
        metrics.add(&series(MetricKind::Counter, &name(0)), false);
        overflow_once(&mut metrics, "one more");
        overflow_once(&mut metrics, "another");
        let counts = ["m0", "m1", "m2", OVERFLOW_NAME].map(|name| metrics.overflowed(name));
        assert_eq!(counts, [1, 0, 1, 1]);
    }

    #[test]
    fn samples_of_metrics_that_are_not_shown_are_added_to_those_of_the_common_name() {
        let mut metrics = UsageByMetric::default();
        for (name, samples) in [("few", 1), (OVERFLOW_NAME, 5), ("many", 9)] {
            metrics.overflow(name, samples);
        }
        let named = |samples: &[(&str, u64)]| -> Vec<(String, u64)> {
            samples.iter().map(|(name, samples)| ((*name).to_owned(), *samples)).collect()
        };
        assert_eq!(metrics.overflowed_by_metric(1), named(&[("many", 9), (OVERFLOW_NAME, 6)]));
        assert_eq!(metrics.overflowed_by_metric(2), named(&[("many", 9), (OVERFLOW_NAME, 6)]));
    }
}
