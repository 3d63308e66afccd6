//! All live series, and the limits on their number.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use model::Series;

use super::AggregationConfig;
use super::flagged_hash::FlaggedHash;
use super::identity::{Identifier, Identity, tags_of};
use super::incremental_map::IncrementalMap;
use super::usage::{MetricUsage, OVERFLOW_NAME, UsageByMetric};
use crate::protocol::Tags;
use crate::sync::{Mutex, MutexGuard};

/// The tag that marks an overflow series.
const OVERFLOW_TAG: (&str, &str) = ("overflow", "true");
/// The limits on overflow series and on the bytes of their names are those on ordinary series
/// divided by this.
const OVERFLOW_SHARE: usize = 10;

/// Maximum number of series to remove before releasing the lock.
const REMOVED_PER_LOCK: usize = 1_024;

/// Maximum number of series to list before releasing the lock.
const LISTED_PER_LOCK: usize = 1_024;

/// The number of a live series; free numbers are reused.
pub type SeriesId = u32;

/// A series to record into.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// Its number in the store.
    pub id: SeriesId,
    /// The hash of its identity.
    pub hash: u64,
    /// The series itself, shared by all tables and snapshots.
    pub series: Arc<Series>,
    /// Whether it is an overflow series that takes the place of the requested one.
    pub overflowed: bool,
}

/// The live series of all tables.
///
/// A lock guards it. A listener takes the lock when it sees a series for the first time, and for
/// each line that overflows.
#[derive(Debug)]
pub struct Registry {
    state: Mutex<RegistryState>,
    forgotten_gauges: AtomicU64,
    removed_series: AtomicU64,
    forgotten_names: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct SeriesLimits {
    series: usize,
    series_per_metric: usize,
    overflow_series: usize,
    text_bytes: u64,
}

#[derive(Debug)]
struct RegistryState {
    identifier: Arc<Identifier>,
    limits: SeriesLimits,
    /// The number of each series, by the hash of its identity.
    index: IncrementalMap<SeriesId>,
    /// By number; `None` where the number is free.
    entries: Vec<Option<RegistryEntry>>,
    free: Vec<SeriesId>,
    metrics: UsageByMetric,
    /// Number of ordinary series.
    ordinary: usize,
    /// Number of overflow series.
    overflow: usize,
    /// Bytes of names and tags of ordinary series.
    text_bytes: u64,
    /// Bytes of names and tags of overflow series.
    overflow_text_bytes: u64,
    overflowed_samples: u64,
    newly_overflowing: Vec<String>,
}

#[derive(Debug)]
struct RegistryEntry {
    /// The flag is set if it is an overflow series.
    hash: FlaggedHash,
    series: Arc<Series>,
}

/// There is one for each series.
const _: () = assert!(size_of::<Option<RegistryEntry>>() == 16, "an entry has grown");

impl SeriesLimits {
    fn new(config: &AggregationConfig) -> Self {
        Self {
            series: config.max_series,
            series_per_metric: config.max_series_per_metric,
            // At least 100, so that with a low limit, most metrics still have an overflow series
            // each.
            overflow_series: (config.max_series / OVERFLOW_SHARE).max(100),
            text_bytes: config.max_series_bytes.get(),
        }
    }
}

impl Registry {
    /// Creates an empty registry with the configured limits.
    #[must_use]
    pub fn new(config: &AggregationConfig, identifier: Arc<Identifier>) -> Self {
        let state = RegistryState::new(SeriesLimits::new(config), identifier);
        Self {
            state: Mutex::new(state),
            forgotten_gauges: AtomicU64::new(0),
            removed_series: AtomicU64::new(0),
            forgotten_names: AtomicU64::new(0),
        }
    }

    /// Applies new limits and new tags of the agent. The new identifier must have the seed of the
    /// previous one. Series above a lowered limit stay, and no other series is admitted until
    /// enough of them have expired.
    pub fn reconfigure(&self, config: &AggregationConfig, identifier: Arc<Identifier>) {
        let mut state = self.lock();
        state.limits = SeriesLimits::new(config);
        state.identifier = identifier;
    }

    /// Finds the series or admits it. If a limit is reached, returns an overflow series instead.
    #[must_use]
    pub fn admit(&self, identity: &Identity<'_>) -> Admitted {
        let mut state = self.lock();
        // Another listener may have admitted it before. Both must get the same number, or there
        // would be two points with the same name and tags in a window.
        if let Some(known) = state.find(identity) {
            return known;
        }
        // Under the same lock as the insertion: two listeners must not both take the last place.
        if state.has_room(identity) {
            return state.insert(identity.hash, Arc::new(identity.to_series()), false);
        }
        let overflow = state.overflow(identity);
        state.count_overflowed(overflow.series.name(), 1);
        overflow
    }

    /// Counts the other samples of a line, after its first one overflowed. `name` is the name of
    /// the overflow series.
    pub fn count_overflowed(&self, name: &str, samples: u64) {
        self.lock().count_overflowed(name, samples);
    }

    /// Admits a series again that ended while a table still held samples of it. If it overflows, one
    /// sample is counted. An overflow series, whose samples were counted, stays one.
    #[must_use]
    pub fn readmit(&self, series: &Series) -> Admitted {
        // They already include the agent's tags, which must not be merged a second time.
        let tags = tags_of(series);
        // The lock is free again at the end of this line, because `admit` takes it.
        let identifier = Arc::clone(&self.lock().identifier);
        let identity = identifier
            .identify(series.kind(), series.name(), &tags)
            .with_timer_type(series.timer_type());
        let of_overflow = overflow_tags(&identifier);
        if identifier.identify(series.kind(), series.name(), &of_overflow).text == identity.text {
            return Admitted { overflowed: false, ..self.lock().overflow(&identity) };
        }
        self.admit(&identity)
    }

    /// Admits a series of an earlier run; `None` if a limit is reached.
    #[must_use]
    pub fn restore(&self, series: &Series) -> Option<Admitted> {
        // They already include the agent's tags, as in `readmit`.
        let tags = tags_of(series);
        let mut state = self.lock();
        let identifier = Arc::clone(&state.identifier);
        let identity = identifier
            .identify(series.kind(), series.name(), &tags)
            .with_timer_type(series.timer_type());
        let known = state.find(&identity);
        known.or_else(|| {
            let has_room = state.has_room(&identity);
            has_room.then(|| state.insert(identity.hash, Arc::new(identity.to_series()), false))
        })
    }

    /// Whether `id` is still the number of this series.
    #[must_use]
    pub fn is_current(&self, id: SeriesId, series: &Arc<Series>) -> bool {
        self.lock().entry(id).is_some_and(|entry| Arc::ptr_eq(&entry.series, series))
    }

    /// Removes series, whose numbers are then reused.
    pub fn remove(&self, ids: &[SeriesId]) {
        for some in ids.chunks(REMOVED_PER_LOCK) {
            let mut state = self.lock();
            some.iter().for_each(|id| state.remove(*id));
            drop(state);
            // Unlocking does not pass the lock on, so let a waiting listener take it.
            thread::yield_now();
        }
    }

    /// The number of live series, including overflow series.
    #[must_use]
    pub fn series_count(&self) -> usize {
        let state = self.lock();
        state.ordinary + state.overflow
    }

    /// The limit on the number of series, without overflow series.
    #[must_use]
    pub fn series_max(&self) -> usize {
        self.lock().limits.series
    }

    /// The number of samples that overflowed since the start.
    #[must_use]
    pub fn overflowed_samples(&self) -> u64 {
        self.lock().overflowed_samples
    }

    /// The number of gauges whose level was forgotten since the start.
    #[must_use]
    pub fn forgotten_gauges(&self) -> u64 {
        self.forgotten_gauges.load(Ordering::Relaxed)
    }

    /// Counts gauges whose level was forgotten.
    pub(super) fn count_forgotten_gauges(&self, gauges: u64) {
        self.forgotten_gauges.fetch_add(gauges, Ordering::Relaxed);
    }

    /// The number of series that operators have removed since the start.
    #[must_use]
    pub fn removed_series(&self) -> u64 {
        self.removed_series.load(Ordering::Relaxed)
    }

    /// Counts series that an operator removes.
    pub(super) fn count_removed(&self, series: u64) {
        self.removed_series.fetch_add(series, Ordering::Relaxed);
    }

    /// The number of names that rules change and that a listener forgot since the start, because it has
    /// no more memory for them.
    #[must_use]
    pub fn forgotten_names(&self) -> u64 {
        self.forgotten_names.load(Ordering::Relaxed)
    }

    /// Counts names that a listener forgot.
    pub(super) fn count_forgotten_names(&self, names: u64) {
        self.forgotten_names.fetch_add(names, Ordering::Relaxed);
    }

    /// The number of samples that overflowed since the start, in total and by metric name. The list
    /// has the `most` metrics with the largest numbers; all others are counted under the name
    /// `tallyd.overflow`. The numbers add up to the total.
    #[must_use]
    pub fn overflowed_by_metric(&self, most: usize) -> (u64, Vec<(String, u64)>) {
        let state = self.lock();
        (state.overflowed_samples, state.metrics.overflowed_by_metric(most))
    }

    /// The metrics with the most series, at most `most` of them.
    #[must_use]
    pub fn usage(&self, most: usize) -> Vec<MetricUsage> {
        self.lock().metrics.usage(most)
    }

    /// The number of samples that overflowed, for each of these metrics.
    #[must_use]
    pub fn overflowed<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<u64> {
        let state = self.lock();
        names.map(|name| state.metrics.overflowed(name)).collect()
    }

    /// A page of the live series, and the start of the next page if there is one. A page covers
    /// about a thousand series numbers, starting at `from`; listeners can take the lock between two
    /// pages.
    #[must_use]
    pub fn series_page(&self, from: usize) -> (Vec<Arc<Series>>, Option<usize>) {
        let state = self.lock();
        let until = (from + LISTED_PER_LOCK).min(state.entries.len());
        let entries = state.entries.get(from..until).unwrap_or_default();
        let some = entries.iter().flatten().map(|entry| Arc::clone(&entry.series)).collect();
        (some, (until < state.entries.len()).then_some(until))
    }

    /// The metrics that began to overflow since the previous call, at most ten.
    #[must_use]
    pub fn take_newly_overflowing(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().newly_overflowing)
    }

    fn lock(&self) -> MutexGuard<'_, RegistryState> {
        self.state.lock()
    }
}

impl RegistryState {
    fn new(limits: SeriesLimits, identifier: Arc<Identifier>) -> Self {
        Self {
            identifier,
            limits,
            index: IncrementalMap::default(),
            entries: Vec::new(),
            free: Vec::new(),
            metrics: UsageByMetric::default(),
            ordinary: 0,
            overflow: 0,
            text_bytes: 0,
            overflow_text_bytes: 0,
            overflowed_samples: 0,
            newly_overflowing: Vec::new(),
        }
    }

    /// The overflow series for a name and kind: its only tags are the agent's and `overflow=true`.
    /// When there are too many names as well, all further names share one series per kind.
    fn overflow(&mut self, identity: &Identity<'_>) -> Admitted {
        let identifier = Arc::clone(&self.identifier);
        let tags = overflow_tags(&identifier);
        let by_name = identifier
            .identify(identity.kind, identity.name, &tags)
            .with_timer_type(identity.timer_type);
        let admitted = self.find(&by_name).unwrap_or_else(|| {
            if self.has_overflow_room(identity) {
                return self.insert(by_name.hash, Arc::new(by_name.to_series()), true);
            }
            // Admitted without a check of the limits: there is only one per kind, and the sample
            // has no other place left.
            let nameless = identifier.identify(identity.kind, OVERFLOW_NAME, &tags);
            self.find(&nameless)
                .unwrap_or_else(|| self.insert(nameless.hash, Arc::new(nameless.to_series()), true))
        });
        Admitted { overflowed: true, ..admitted }
    }

    fn find(&self, identity: &Identity<'_>) -> Option<Admitted> {
        // The table compares only seven bits of the hash. Comparing the whole hash first avoids
        // most comparisons of names and tags.
        let id = *self.index.find(identity.hash, |id| {
            self.entry(*id).is_some_and(|entry| {
                entry.hash.is_of(identity.hash) && identity.matches(&entry.series)
            })
        })?;
        let series = Arc::clone(&self.entry(id)?.series);
        Some(Admitted { id, hash: identity.hash, series, overflowed: false })
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
        let flagged = FlaggedHash::new(hash, is_overflow);
        let entry = RegistryEntry { hash: flagged, series: Arc::clone(&series) };
        // Free numbers are reused before a new one is added, because the store has an entry for
        // each number up to the largest.
        let id = if let Some(id) = self.free.pop() {
            self.entries[id as usize] = Some(entry);
            id
        } else {
            self.entries.push(Some(entry));
            // No truncation: memory would run out long before 2^32 series.
            (self.entries.len() - 1) as SeriesId
        };
        let Self { index, entries, .. } = self;
        // The hash is stored with the entry: growing must not read the names and tags of all
        // series, while listeners wait for the lock.
        index.insert_unique(hash, id, |id| {
            entries[*id as usize].as_ref().map_or(0, |entry| entry.hash.hash())
        });
        Admitted { id, hash, series, overflowed: false }
    }

    fn remove(&mut self, id: SeriesId) {
        let Some(entry) = self.entries.get_mut(id as usize).and_then(Option::take) else { return };
        self.index.remove(entry.hash.hash(), |other| *other == id);
        // Free at once, although tallies may still refer to the number: the store also compares the
        // series, and notices that the number belongs to another one.
        self.free.push(id);
        let is_overflow = entry.hash.is_set();
        if is_overflow {
            self.overflow -= 1;
            self.overflow_text_bytes -= entry.series.text_bytes() as u64;
        } else {
            self.ordinary -= 1;
            self.text_bytes -= entry.series.text_bytes() as u64;
        }
        self.metrics.remove(&entry.series, is_overflow);
    }

    fn count_overflowed(&mut self, name: &str, samples: u64) {
        self.overflowed_samples += samples;
        // Bounded, because senders choose the names and each one becomes a line of the log.
        if self.metrics.overflow(name, samples) && self.newly_overflowing.len() < 10 {
            self.newly_overflowing.push(name.to_owned());
        }
    }

    fn entry(&self, id: SeriesId) -> Option<&RegistryEntry> {
        self.entries.get(id as usize)?.as_ref()
    }
}

/// The agent's tags with `overflow=true`, sorted.
fn overflow_tags(identifier: &Identifier) -> Tags<'_> {
    let (key, value) = OVERFLOW_TAG;
    let agent = identifier.agent_tags().filter(|(agent_key, _)| *agent_key != key);
    let mut tags: Tags<'_> = agent.map(|(key, value)| (Cow::Borrowed(key), value.into())).collect();
    let index = tags.partition_point(|(other, _)| other.as_ref() < key);
    tags.insert(index, (key.into(), value.into()));
    tags
}

#[cfg(test)]
mod tests {
    use model::MetricKind;

    use basics::scalar_text::ScalarText;

    use super::*;
    use crate::aggregator::identity::AgentConfig;
    use crate::protocol::TagValue;

    struct Bench {
        registry: Registry,
        identifier: Arc<Identifier>,
    }

    fn bench(max_series: usize, max_series_per_metric: usize) -> Bench {
        let tags = [("env".to_owned(), "stage".into())].into();
        let identifier = Arc::new(Identifier::new(&AgentConfig { tags, ..AgentConfig::default() }));
        let config =
            AggregationConfig { max_series, max_series_per_metric, ..AggregationConfig::default() };
        Bench { registry: Registry::new(&config, Arc::clone(&identifier)), identifier }
    }

    impl Bench {
        fn admit(&self, kind: MetricKind, name: &str, host: u32) -> Admitted {
            let host = host.to_string();
            let mut tags: Tags<'_> = [("host".into(), (&*host).into())].into_iter().collect();
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
    fn a_series_keeps_the_types_of_its_first_message() {
        let bench = bench(10, 10);
        let admit = |value| {
            let tags: Tags<'_> = [("port".into(), value)].into_iter().collect();
            bench.registry.admit(&bench.identifier.identify(MetricKind::Trace, "m", &tags))
        };
        let first = admit(TagValue::Literal("5060"));
        let again = admit("5060".into());
        assert!(first.series.is_literal(0) && Arc::ptr_eq(&first.series, &again.series));
        bench.registry.remove(&[first.id]);
        let readmitted = bench.registry.readmit(&first.series);
        assert!(readmitted.series.is_literal(0));
        bench.registry.remove(&[readmitted.id]);
        assert!(bench.registry.restore(&first.series).unwrap().series.is_literal(0));
    }

    #[test]
    fn overflow_series_have_the_types_of_the_agents_tags() {
        let tags = [("rack".to_owned(), ScalarText::literal("7"))].into();
        let identifier = Arc::new(Identifier::new(&AgentConfig { tags, ..AgentConfig::default() }));
        let config = AggregationConfig { max_series: 0, ..AggregationConfig::default() };
        let registry = Registry::new(&config, Arc::clone(&identifier));
        let overflow = registry.admit(&identifier.identify(MetricKind::Trace, "m", &[]));
        assert_eq!(overflow.series.to_string(), "trace m overflow=true rack=7");
        assert_eq!([0, 1].map(|index| overflow.series.is_literal(index)), [false, true]);
    }

    #[test]
    fn over_the_limit_new_series_overflow_and_known_ones_continue() {
        let bench = bench(3, 2);
        let known = bench.admit(MetricKind::Counter, "m", 1);
        assert!(!bench.admit(MetricKind::Counter, "m", 2).overflowed);
        for host in 3..10 {
            let admitted = bench.admit(MetricKind::Counter, "m", host);
            assert!(admitted.overflowed);
            assert_eq!(admitted.series.to_string(), "counter m env=stage overflow=true");
        }
        assert_eq!(bench.admit(MetricKind::Counter, "m", 1).id, known.id);
        assert!(
            !bench.admit(MetricKind::Gauge, "m", 1).overflowed,
            "the limit is by name and type"
        );
        let other = bench.admit(MetricKind::Counter, "n", 1);
        assert_eq!(other.series.to_string(), "counter n env=stage overflow=true");
        assert_eq!(bench.registry.overflowed_samples(), 8);
        assert_eq!(bench.registry.take_newly_overflowing(), ["m", "n"]);
        let usage = bench.registry.usage(1);
        assert_eq!((usage[0].name.as_str(), usage[0].series), ("m", 4));
        assert_eq!(bench.registry.overflowed(["m", "n"].into_iter()), [7, 1]);
    }

    #[test]
    fn at_most_ten_metrics_are_reported_as_newly_overflowing() {
        let bench = bench(0, 0);
        for number in 0..12 {
            let _ = bench.admit(MetricKind::Counter, &format!("m{number}"), 1);
        }
        let reported: Vec<String> = (0..10).map(|number| format!("m{number}")).collect();
        assert_eq!(bench.registry.take_newly_overflowing(), reported);
        assert!(bench.registry.take_newly_overflowing().is_empty());
    }

    #[test]
    fn too_many_names_share_one_overflow_series_per_kind() {
        let bench = bench(1, 1);
        for number in 0..1000 {
            let _ = bench.admit(MetricKind::Counter, &format!("m{number}"), 1);
        }
        assert!(bench.registry.series_count() <= 1 + 100 + 1);
        let last = bench.admit(MetricKind::Counter, "another", 1);
        assert_eq!(last.series.to_string(), "counter tallyd.overflow env=stage overflow=true");
    }

    #[test]
    fn long_names_cannot_exceed_the_memory_limit() {
        let config = AggregationConfig {
            max_series_bytes: basics::units::ByteSize::from_bytes(100),
            ..AggregationConfig::default()
        };
        let identifier = Arc::new(Identifier::new(&AgentConfig::default()));
        let registry = Registry::new(&config, Arc::clone(&identifier));
        let name = "x".repeat(101);
        assert!(registry.admit(&identifier.identify(MetricKind::Trace, &name, &[])).overflowed);
        assert!(!registry.admit(&identifier.identify(MetricKind::Trace, "x", &[])).overflowed);
    }

    fn with_series_bytes(max_series: usize, bytes: usize) -> Bench {
        let config = AggregationConfig {
            max_series,
            max_series_bytes: basics::units::ByteSize::from_bytes(bytes as u64),
            ..AggregationConfig::default()
        };
        let identifier = Arc::new(Identifier::new(&AgentConfig::default()));
        Bench { registry: Registry::new(&config, Arc::clone(&identifier)), identifier }
    }

    #[test]
    fn names_and_tags_fill_the_memory_limit_to_the_last_byte() {
        let one = Series::new(MetricKind::Counter, "abc", &[("key", "4444")]).text_bytes();
        let bench = with_series_bytes(100, one + 10);
        let admit = |name: &str| {
            let tags: Tags<'_> = [("key".into(), "4444".into())].into_iter().collect();
            bench.registry.admit(&bench.identifier.identify(MetricKind::Counter, name, &tags))
        };
        let first = admit("abc");
        assert!(!first.overflowed && !admit("def").overflowed && admit("g").overflowed);
        bench.registry.remove(&[first.id]);
        assert!(admit("four").overflowed, "a byte too many");
        assert!(!admit("ghi").overflowed);
    }

    #[test]
    fn the_names_of_overflow_series_fill_a_tenth_of_the_memory_limit() {
        let one = Series::new(MetricKind::Trace, "a", &[OVERFLOW_TAG]).text_bytes();
        for (length, name) in [(7, "bbbbbbb"), (8, OVERFLOW_NAME)] {
            let Bench { registry, identifier } = with_series_bytes(0, 10 * (one + 7));
            let admit =
                |name: &str| registry.admit(&identifier.identify(MetricKind::Trace, name, &[]));
            let first = admit("a");
            assert_eq!(first.series.name(), "a");
            let other = admit(&"b".repeat(length));
            assert_eq!(other.series.name(), name);
            registry.remove(&[first.id, other.id]);
            let long = "c".repeat(one + 7);
            assert_eq!(admit(&long).series.name(), long, "all is free again");
        }
    }

    #[test]
    fn a_removed_overflow_series_frees_the_memory_of_its_own_text() {
        let one = Series::new(MetricKind::Trace, "a", &[OVERFLOW_TAG]).text_bytes();
        for (next, name) in [("c", "c"), ("cc", OVERFLOW_NAME)] {
            let Bench { registry, identifier } = with_series_bytes(0, 10 * (one + 7));
            let admit =
                |name: &str| registry.admit(&identifier.identify(MetricKind::Trace, name, &[]));
            let first = admit("a");
            assert_eq!(admit("bbbbbbb").series.text_bytes(), one + 6);
            registry.remove(&[first.id]);
            assert_eq!(admit(next).series.name(), name, "one byte is left");
        }
    }

    #[test]
    fn samples_that_overflowed_add_up_after_their_series_have_expired() {
        let bench = bench(2, 1);
        let numbers = (0..5).map(|host| bench.admit(MetricKind::Counter, "m", host).id);
        let numbers: Vec<SeriesId> =
            numbers.chain([bench.admit(MetricKind::Set, "m", 0).id]).collect();
        assert_eq!(bench.registry.overflowed_by_metric(10), (4, vec![("m".to_owned(), 4)]));
        bench.registry.remove(&numbers);
        assert_eq!(bench.registry.series_count(), 0);
        assert_eq!(bench.registry.overflowed_by_metric(10), (4, vec![("m".to_owned(), 4)]));
    }

    #[test]
    fn a_removed_series_makes_room() {
        let bench = bench(1, 1);
        let first = bench.admit(MetricKind::Counter, "m", 1);
        bench.registry.remove(&[first.id]);
        assert_eq!(bench.registry.series_count(), 0);
        assert_eq!(bench.registry.lock().index.iter().count(), 0);
        let second = bench.admit(MetricKind::Counter, "m", 2);
        assert!(!second.overflowed);
        assert_eq!(second.id, first.id, "numbers are reused");
        assert!(bench.registry.readmit(&first.series).overflowed);
    }

    #[test]
    fn a_number_is_current_until_its_series_is_removed() {
        let bench = bench(10, 10);
        let first = bench.admit(MetricKind::Counter, "m", 1);
        assert!(bench.registry.is_current(first.id, &first.series));
        bench.registry.remove(&[first.id]);
        assert!(!bench.registry.is_current(first.id, &first.series));
        let again = bench.admit(MetricKind::Counter, "m", 1);
        assert_eq!(again.id, first.id);
        assert!(!bench.registry.is_current(first.id, &first.series), "an equal series is another");
        assert!(bench.registry.is_current(again.id, &again.series));
    }

    #[test]
    fn the_limit_on_series_is_the_configured_one() {
        let bench = bench(7, 3);
        assert_eq!(bench.registry.series_max(), 7);
        let config = AggregationConfig { max_series: 8, ..AggregationConfig::default() };
        bench.registry.reconfigure(&config, Arc::clone(&bench.identifier));
        assert_eq!(bench.registry.series_max(), 8);
    }

    #[test]
    fn pages_list_each_live_series_once() {
        let bench = bench(10_000, 10_000);
        let ids: Vec<SeriesId> =
            (0..2_500).map(|host| bench.admit(MetricKind::Counter, "m", host).id).collect();
        bench.registry.remove(&ids[..10]);
        let (first, second) = bench.registry.series_page(0);
        let (second, third) = bench.registry.series_page(second.unwrap());
        let (third, end) = bench.registry.series_page(third.unwrap());
        assert_eq!([&first, &second, &third].map(Vec::len), [1_014, 1_024, 452]);
        assert_eq!(end, None);
        let texts: std::collections::HashSet<_> =
            [first, second, third].iter().flatten().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 2_490);
        assert_eq!(bench.registry.series_page(2_500), (vec![], None));
        assert_eq!(bench.registry.series_page(9_999), (vec![], None));
    }

    #[test]
    fn the_last_page_may_be_full() {
        let bench = bench(10_000, 10_000);
        for host in 0..1_024 {
            let _ = bench.admit(MetricKind::Counter, "m", host);
        }
        let (page, end) = bench.registry.series_page(0);
        assert_eq!((page.len(), end), (1_024, None));
    }

    #[test]
    fn series_with_equal_hashes_are_two_series() {
        let bench = bench(10, 10);
        let identity = |name| {
            let identity = bench.identifier.identify(MetricKind::Counter, name, &[]);
            Identity { hash: 7, ..identity }
        };
        let [one, other] = ["one", "other"].map(|name| bench.registry.admit(&identity(name)));
        assert_ne!(one.id, other.id);
        assert_eq!(bench.registry.admit(&identity("other")).id, other.id);
    }
}
