//! Every live series, once, and the limits on their number.

use parking_lot::{Mutex, MutexGuard};
use std::borrow::Cow;
use std::sync::Arc;
use std::thread;

use model::Series;

use super::AggregationConfig;
use super::identity::{Identifier, Identity};
use super::metrics::{MetricUsage, Metrics};
use super::spread::Spread;
use crate::protocol::Tags;

/// The tag that marks a series into which others were folded.
const OVERFLOW_TAG: (&str, &str) = ("overflow", "true");
/// Metric name for what cannot even be folded by name, because the names themselves explode.
const OVERFLOW_NAME: &str = "tallyd.overflow";
/// Overflow series may be so many times fewer than the limit for ordinary ones allows, and their
/// names so many times shorter altogether.
const OVERFLOW_SHARE: usize = 10;

/// Series that are forgotten under one lock.
const FORGOTTEN_AT_ONCE: usize = 1_024;

/// Series that are looked at under one lock.
const LOOKED_AT_AT_ONCE: usize = 1_024;

/// A number for a live series; free numbers are used again.
pub type SeriesId = u32;

/// A series as a table remembers it.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// Its number in the store.
    pub id: SeriesId,
    /// The hash of its identity.
    pub hash: u64,
    /// The series itself, shared by all tables and snapshots.
    pub series: Arc<Series>,
    /// Whether the sample's own series had to be folded into this one.
    pub folded: bool,
}

/// The live series of all tables.
///
/// A lock guards it, which listeners take when they meet a series for the first time, and then no
/// more.
#[derive(Debug)]
pub struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Clone, Copy, Debug)]
struct SeriesLimits {
    series: usize,
    series_per_metric: usize,
    overflow_series: usize,
    text_bytes: u64,
}

#[derive(Debug)]
struct Inner {
    identifier: Arc<Identifier>,
    limits: SeriesLimits,
    index: Spread<SeriesId>,
    entries: Vec<Option<Entry>>,
    free: Vec<SeriesId>,
    metrics: Metrics,
    ordinary: usize,
    overflow: usize,
    text_bytes: u64,
    overflow_text_bytes: u64,
    overflowed_samples: u64,
    newly_overflowing: Vec<String>,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    series: Arc<Series>,
    is_overflow: bool,
}

impl SeriesLimits {
    fn new(config: &AggregationConfig) -> Self {
        Self {
            series: config.max_series,
            series_per_metric: config.max_series_per_metric,
            overflow_series: (config.max_series / OVERFLOW_SHARE).max(100),
            text_bytes: config.max_series_bytes.get(),
        }
    }
}

impl Registry {
    /// An empty registry with the configured limits.
    #[must_use]
    pub fn new(config: &AggregationConfig, identifier: Arc<Identifier>) -> Self {
        Self { inner: Mutex::new(Inner::new(SeriesLimits::new(config), identifier)) }
    }

    /// Takes other limits and other tags of the agent, with the same seed. Series beyond a limit
    /// stay; no other is admitted as long as there are too many.
    pub fn reconfigure(&self, config: &AggregationConfig, identifier: Arc<Identifier>) {
        let mut inner = self.lock();
        inner.limits = SeriesLimits::new(config);
        inner.identifier = identifier;
    }

    /// Finds the series or admits it; over a limit, finds or makes the one to fold it into.
    #[must_use]
    pub fn admit(&self, identity: &Identity<'_>) -> Admitted {
        let mut inner = self.lock();
        if let Some(known) = inner.find(identity) {
            return known;
        }
        if inner.has_room(identity) {
            return inner.insert(identity.hash, Arc::new(identity.to_series()), false);
        }
        let folded_into = inner.overflow(identity);
        inner.count_overflowed(folded_into.series.name());
        folded_into
    }

    /// Admits a series again that was forgotten while a table still held samples of it.
    #[must_use]
    pub fn readmit(&self, series: &Series) -> Admitted {
        let tags: Tags<'_> = series.tags().map(|(key, value)| (key.into(), value.into())).collect();
        let identifier = Arc::clone(&self.lock().identifier);
        self.admit(&identifier.identify(series.kind(), series.name(), &tags))
    }

    /// Whether `id` is still the number of `series`.
    #[must_use]
    pub fn is_current(&self, id: SeriesId, series: &Arc<Series>) -> bool {
        self.lock().entry(id).is_some_and(|entry| Arc::ptr_eq(&entry.series, series))
    }

    /// Forgets series; their numbers may be given to others.
    pub fn forget(&self, ids: &[SeriesId]) {
        for some in ids.chunks(FORGOTTEN_AT_ONCE) {
            let mut inner = self.lock();
            some.iter().for_each(|id| inner.remove(*id));
            drop(inner);
            // A listener that waits for the lock is not to wait for all of them.
            thread::yield_now();
        }
    }

    /// Live series, the overflow ones included.
    #[must_use]
    pub fn series_count(&self) -> usize {
        let inner = self.lock();
        inner.ordinary + inner.overflow
    }

    /// The most series without the overflow ones.
    #[must_use]
    pub fn series_max(&self) -> usize {
        self.lock().limits.series
    }

    /// Samples that were folded into an overflow series since the start.
    #[must_use]
    pub fn overflowed_samples(&self) -> u64 {
        self.lock().overflowed_samples
    }

    /// The metrics with the most series, at most `most` of them.
    #[must_use]
    pub fn usage(&self, most: usize) -> Vec<MetricUsage> {
        self.lock().metrics.usage(most)
    }

    /// Samples of these metrics that were folded, in the same order.
    #[must_use]
    pub fn overflowed<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<u64> {
        let inner = self.lock();
        names.map(|name| inner.metrics.overflowed(name)).collect()
    }

    /// Live series with numbers from `from` on, up to a thousand of them; and the number to go on
    /// with, as long as there are more. So all of them can be looked at, and no listener has to wait.
    #[must_use]
    pub fn some_series(&self, from: usize) -> (Vec<Arc<Series>>, Option<usize>) {
        let inner = self.lock();
        let until = (from + LOOKED_AT_AT_ONCE).min(inner.entries.len());
        let entries = inner.entries.get(from..until).unwrap_or_default();
        let some = entries.iter().flatten().map(|entry| Arc::clone(&entry.series)).collect();
        (some, (until < inner.entries.len()).then_some(until))
    }

    /// Metrics that overflowed for the first time since last asked.
    #[must_use]
    pub fn take_newly_overflowing(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().newly_overflowing)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

impl Inner {
    fn new(limits: SeriesLimits, identifier: Arc<Identifier>) -> Self {
        Self {
            identifier,
            limits,
            index: Spread::default(),
            entries: Vec::new(),
            free: Vec::new(),
            metrics: Metrics::default(),
            ordinary: 0,
            overflow: 0,
            text_bytes: 0,
            overflow_text_bytes: 0,
            overflowed_samples: 0,
            newly_overflowing: Vec::new(),
        }
    }

    /// The series of the same name and kind whose only tags are the agent's and `overflow=true`.
    /// Should the names explode as well, one name stands for all that have no such series yet.
    fn overflow(&mut self, identity: &Identity<'_>) -> Admitted {
        let identifier = Arc::clone(&self.identifier);
        let tags = overflow_tags(&identifier);
        let by_name = identifier.identify(identity.kind, identity.name, &tags);
        let admitted = self.find(&by_name).unwrap_or_else(|| {
            if self.has_overflow_room(identity) {
                return self.insert(by_name.hash, Arc::new(by_name.to_series()), true);
            }
            let nameless = identifier.identify(identity.kind, OVERFLOW_NAME, &tags);
            self.find(&nameless)
                .unwrap_or_else(|| self.insert(nameless.hash, Arc::new(nameless.to_series()), true))
        });
        Admitted { folded: true, ..admitted }
    }

    fn find(&self, identity: &Identity<'_>) -> Option<Admitted> {
        let id = *self.index.find(identity.hash, |id| {
            self.entry(*id)
                .is_some_and(|entry| entry.hash == identity.hash && identity.is_of(&entry.series))
        })?;
        let series = Arc::clone(&self.entry(id)?.series);
        Some(Admitted { id, hash: identity.hash, series, folded: false })
    }

    fn has_room(&self, identity: &Identity<'_>) -> bool {
        let limits = &self.limits;
        let of_metric = self.metrics.ordinary(identity.name, identity.kind);
        let text_bytes = identity.name.len()
            + identity.tags.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        self.ordinary < limits.series
            && of_metric < limits.series_per_metric
            && self.text_bytes + text_bytes as u64 <= limits.text_bytes
    }

    fn has_overflow_room(&self, identity: &Identity<'_>) -> bool {
        let limits = &self.limits;
        let text_bytes = self.overflow_text_bytes + identity.name.len() as u64;
        self.overflow < limits.overflow_series
            && text_bytes <= limits.text_bytes / OVERFLOW_SHARE as u64
    }

    fn insert(&mut self, hash: u64, series: Arc<Series>, is_overflow: bool) -> Admitted {
        self.metrics.add(&series, is_overflow);
        if is_overflow {
            self.overflow += 1;
            self.overflow_text_bytes += series.text_bytes() as u64;
        } else {
            self.ordinary += 1;
            self.text_bytes += series.text_bytes() as u64;
        }
        let entry = Entry { hash, series: Arc::clone(&series), is_overflow };
        let id = if let Some(id) = self.free.pop() {
            self.entries[id as usize] = Some(entry);
            id
        } else {
            self.entries.push(Some(entry));
            // A series costs far more than its number: memory ends before 2^32 of them.
            (self.entries.len() - 1) as SeriesId
        };
        let Self { index, entries, .. } = self;
        index.insert_unique(hash, id, |id| {
            entries[*id as usize].as_ref().map_or(0, |entry| entry.hash)
        });
        Admitted { id, hash, series, folded: false }
    }

    fn remove(&mut self, id: SeriesId) {
        let Some(entry) = self.entries.get_mut(id as usize).and_then(Option::take) else { return };
        self.index.remove(entry.hash, |other| *other == id);
        self.free.push(id);
        if entry.is_overflow {
            self.overflow -= 1;
            self.overflow_text_bytes -= entry.series.text_bytes() as u64;
        } else {
            self.ordinary -= 1;
            self.text_bytes -= entry.series.text_bytes() as u64;
        }
        self.metrics.remove(&entry.series, entry.is_overflow);
    }

    fn count_overflowed(&mut self, name: &str) {
        self.overflowed_samples += 1;
        if self.metrics.overflow(name) && self.newly_overflowing.len() < 10 {
            self.newly_overflowing.push(name.to_owned());
        }
    }

    fn entry(&self, id: SeriesId) -> Option<&Entry> {
        self.entries.get(id as usize)?.as_ref()
    }
}

fn overflow_tags(identifier: &Identifier) -> Tags<'_> {
    let (key, value) = OVERFLOW_TAG;
    let agent = identifier.agent_tags().iter().filter(|(agent_key, _)| agent_key != key);
    let mut tags: Tags<'_> =
        agent.map(|(key, value)| (Cow::Borrowed(&**key), Cow::Borrowed(&**value))).collect();
    let place = tags.partition_point(|(other, _)| other.as_ref() < key);
    tags.insert(place, (key.into(), value.into()));
    tags
}

#[cfg(test)]
mod tests {
    use model::MetricKind;

    use super::*;
    use crate::aggregator::identity::AgentConfig;

    struct Bench {
        registry: Registry,
        identifier: Arc<Identifier>,
    }

    fn bench(max_series: usize, max_series_per_metric: usize) -> Bench {
        let tags = [("env".to_owned(), "stage".to_owned())].into();
        let identifier = Arc::new(Identifier::new(&AgentConfig { tags, ..AgentConfig::default() }));
        let config =
            AggregationConfig { max_series, max_series_per_metric, ..AggregationConfig::default() };
        Bench { registry: Registry::new(&config, Arc::clone(&identifier)), identifier }
    }

    impl Bench {
        fn admit(&self, kind: MetricKind, name: &str, host: u32) -> Admitted {
            let host = host.to_string();
            let mut tags: Tags<'_> = [("host".into(), Cow::Borrowed(&*host))].into_iter().collect();
            self.identifier.add_agent_tags(&mut tags);
            self.registry.admit(&self.identifier.identify(kind, name, &tags))
        }
    }

    #[test]
    fn a_series_is_admitted_once_and_found_again() {
        let bench = bench(10, 10);
        let first = bench.admit(MetricKind::Counter, "m", 1);
        let again = bench.admit(MetricKind::Counter, "m", 1);
        assert!(Arc::ptr_eq(&first.series, &again.series));
        assert_eq!(bench.registry.series_count(), 1);
    }

    #[test]
    fn over_the_limit_new_series_fold_into_one_of_the_metric_and_known_ones_go_on() {
        let bench = bench(3, 2);
        let known = bench.admit(MetricKind::Counter, "m", 1);
        assert!(!bench.admit(MetricKind::Counter, "m", 2).folded);
        for host in 3..10 {
            let folded = bench.admit(MetricKind::Counter, "m", host);
            assert!(folded.folded);
            assert_eq!(folded.series.to_string(), "counter m env=stage overflow=true");
        }
        assert_eq!(bench.admit(MetricKind::Counter, "m", 1).id, known.id);
        assert!(!bench.admit(MetricKind::Gauge, "m", 1).folded, "the limit is by name and type");
        let other = bench.admit(MetricKind::Counter, "n", 1);
        assert_eq!(other.series.to_string(), "counter n env=stage overflow=true");
        assert_eq!(bench.registry.overflowed_samples(), 8);
        assert_eq!(bench.registry.take_newly_overflowing(), ["m", "n"]);
        let usage = bench.registry.usage(1);
        assert_eq!((usage[0].name.as_str(), usage[0].series, usage[0].overflowed), ("m", 4, 7));
    }

    #[test]
    fn names_that_explode_end_in_one_series_a_kind() {
        let bench = bench(1, 1);
        for number in 0..1000 {
            let _ = bench.admit(MetricKind::Counter, &format!("m{number}"), 1);
        }
        assert!(bench.registry.series_count() <= 1 + 100 + 1);
        let last = bench.admit(MetricKind::Counter, "another", 1);
        assert_eq!(last.series.to_string(), "counter tallyd.overflow env=stage overflow=true");
    }

    #[test]
    fn long_names_cannot_use_more_memory_than_allowed() {
        let config = AggregationConfig {
            max_series_bytes: basics::units::ByteSize::from_bytes(100),
            ..AggregationConfig::default()
        };
        let identifier = Arc::new(Identifier::new(&AgentConfig::default()));
        let registry = Registry::new(&config, Arc::clone(&identifier));
        let name = "x".repeat(101);
        assert!(registry.admit(&identifier.identify(MetricKind::Trace, &name, &[])).folded);
        assert!(!registry.admit(&identifier.identify(MetricKind::Trace, "x", &[])).folded);
    }

    #[test]
    fn a_forgotten_series_makes_room() {
        let bench = bench(1, 1);
        let first = bench.admit(MetricKind::Counter, "m", 1);
        bench.registry.forget(&[first.id]);
        assert_eq!(bench.registry.series_count(), 0);
        let second = bench.admit(MetricKind::Counter, "m", 2);
        assert!(!second.folded);
        assert_eq!(second.id, first.id, "numbers are used again");
        assert!(bench.registry.readmit(&first.series).folded);
    }
}
