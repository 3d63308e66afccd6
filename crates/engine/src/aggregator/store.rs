//! Merges the tallies of all listeners at the end of the window, and creates the snapshot.

use std::sync::Arc;

use model::{MetricKind, Percentile, Point, Points, Series, Snapshot, Window};

use super::AggregationConfig;
use super::activity::{Activity, MetricId, WindowTopMetrics};
use super::cell::Cell;
use super::expiry::{ExpiryClass, ExpiryTimes};
use super::gauge_memory::GaugeMemory;
use super::listener_series::{KnownSeries, ListenerSeries};
use super::registry::{Registry, SeriesId};
use super::tally::Tally;
use super::windows_in;
use idle::GaugeArrivals;

mod idle;
mod levels;
mod removal;
mod view;

/// The state that outlives a window: every live series, the last value of gauges, and when a series
/// was last seen. Owned by the aggregator thread.
#[derive(Debug)]
pub struct Store {
    /// By number of the series.
    live: Vec<Option<LiveSeries>>,
    /// By number of the listener.
    listeners: Vec<ListenerSeries>,
    /// The series with samples in the open window.
    touched: Vec<SeriesId>,
    activity: Activity,
    gauges: GaugeMemory,
    arrivals: GaugeArrivals,
    registry: Arc<Registry>,
    percentiles: Arc<[Percentile]>,
    exact_samples: usize,
    expiry_times: ExpiryTimes,
    /// Number of the open window.
    window: u64,
    /// Number of the window in which series were last removed. Listeners that were cleaned before
    /// may still hold them.
    last_expiry: u64,
}

#[derive(Debug)]
struct LiveSeries {
    series: Arc<Series>,
    cell: Cell,
    gauge: f64,
    /// Number of the window in which it became live. 32 bits last for more than a century.
    first_window: u32,
    /// Number of the latest window with samples.
    last_window: u32,
    metric: MetricId,
    expiry: ExpiryClass,
}

impl Store {
    /// Creates an empty store for windows of this length.
    #[must_use]
    pub fn new(
        config: &AggregationConfig,
        interval: std::time::Duration,
        registry: Arc<Registry>,
    ) -> Self {
        Self {
            live: Vec::new(),
            listeners: Vec::new(),
            touched: Vec::new(),
            activity: Activity::default(),
            gauges: GaugeMemory::new(windows_in(config.gauge_memory.get(), interval)),
            arrivals: GaugeArrivals::default(),
            registry,
            percentiles: config.percentiles.clone().into(),
            exact_samples: config.exact_samples,
            expiry_times: ExpiryTimes::new(config.expire_after.get(), interval),
            window: 1,
            last_expiry: 0,
        }
    }

    /// Applies other settings, starting with the open window.
    pub fn reconfigure(&mut self, config: &AggregationConfig, interval: std::time::Duration) {
        self.percentiles = config.percentiles.clone().into();
        self.exact_samples = config.exact_samples;
        self.expiry_times.reconfigure(config.expire_after.get(), interval);
        self.gauges.set_after(windows_in(config.gauge_memory.get(), interval));
    }

    /// Drops the state of a listener that has ended, whose number may be reused.
    pub fn remove_listener(&mut self, listener: usize) {
        if let Some(series) = self.listeners.get_mut(listener) {
            *series = ListenerSeries::default();
        }
    }

    /// Adds the samples of a listener, and leaves the tally empty for it.
    pub fn merge(&mut self, listener: usize, tally: &mut Tally) {
        if self.listeners.len() <= listener {
            self.listeners.resize_with(listener + 1, ListenerSeries::default);
        }
        // Taken out of `self`, which is borrowed to merge each series.
        let mut series = std::mem::take(&mut self.listeners[listener]);
        // Before the cells, because these may belong to series that the tally introduces.
        series.update(tally);
        for (slot, after) in tally.expiries.drain() {
            if let Some(known) = series.get_mut(slot) {
                self.set_expiry(known, after);
            }
        }
        tally.drain(|slot, cell| {
            if let Some(known) = series.get_mut(slot) {
                self.merge_series(known, cell);
            }
        });
        // The empty tally is about to go back, and can take expired series to the listener.
        if series.cleaned < self.last_expiry {
            let is_all = series.list_expired(tally, |known| self.is_known(known.id, &known.series));
            if is_all {
                series.cleaned = self.window;
            }
        }
        self.listeners[listener] = series;
    }

    /// Closes the window, and returns a snapshot of all samples merged since the previous one.
    #[must_use]
    pub fn flush(&mut self, window: Window) -> Snapshot {
        let points = self.take_points();
        self.close(window, points.into())
    }

    /// Empties the cells of the series with samples, and returns their points in the order of
    /// `touched`.
    fn take_points(&mut self) -> Vec<Point> {
        let Self { live, touched, percentiles, .. } = self;
        let mut points = Vec::with_capacity(touched.len());
        // Only the series with samples, so that idle ones cost a flush nothing. None is skipped: a
        // series that is touched lives, and its cell is not empty.
        for id in &*touched {
            let Some(live) = &mut live[*id as usize] else { continue };
            let cell = std::mem::take(&mut live.cell);
            // The cell goes, the gauge stays: a change in a later window starts from its level.
            if let Some(value) = cell.into_value(&mut live.gauge, percentiles) {
                points.push(Point { series: Arc::clone(&live.series), value });
            }
        }
        points
    }

    fn close(&mut self, window: Window, points: Points) -> Snapshot {
        self.touched.clear();
        self.window += 1;
        Snapshot {
            window,
            start_ms: None,
            percentiles: Arc::clone(&self.percentiles),
            exact_samples: self.exact_samples,
            instance: None,
            points,
        }
    }

    /// Returns the top metrics of the window that was closed last. Must be called once after each
    /// flush, because it starts the counts of the next window.
    #[must_use]
    pub fn top_metrics(&mut self, window: Window) -> WindowTopMetrics {
        self.activity.close(window.end_ms)
    }

    /// Removes series that were idle for too long, and returns their number. Called between a flush
    /// and the next merge, while all cells are empty.
    pub fn expire(&mut self) -> usize {
        let window = self.window;
        // A scan of all series once per window. A list in the order of their last samples would
        // have to move each series that has samples, in every window.
        let general = self.expiry_times.windows(0);
        let expired = self.remove_all(
            |times, live| {
                let windows = if live.expiry == 0 { general } else { times.windows(live.expiry) };
                u64::from(live.last_window) + windows < window
            },
            |gauges, live| {
                if live.series.kind() == MetricKind::Gauge {
                    gauges.remember(&live.series, live.gauge, u64::from(live.last_window));
                }
            },
        );
        self.gauges.forget(window);
        self.registry.count_forgotten_gauges(self.gauges.take_forgotten());
        expired
    }

    /// Removes the live series that `is_leaving` selects, passes each to `removed`, and returns their
    /// number. All cells must be empty.
    fn remove_all(
        &mut self,
        is_leaving: impl Fn(&ExpiryTimes, &LiveSeries) -> bool,
        removed: impl Fn(&mut GaugeMemory, &LiveSeries),
    ) -> usize {
        let mut ids = Vec::new();
        for (id, entry) in self.live.iter_mut().enumerate() {
            if let Some(live) = entry.take_if(|live| is_leaving(&self.expiry_times, live)) {
                self.activity.remove(live.metric);
                removed(&mut self.gauges, &live);
                ids.push(id as SeriesId);
            }
        }
        if !ids.is_empty() {
            // All at once: the registry takes its lock once for many removals.
            self.registry.remove(&ids);
            self.last_expiry = self.window;
        }
        ids.len()
    }

    // In the loop over the cells of a tally.
    #[inline]
    fn merge_series(&mut self, known: &mut KnownSeries, mut cell: Cell) {
        let (mut id, mut series) = (known.id, Arc::clone(&known.series));
        // The store knows most series, so the registry's lock is rarely needed. A new series is
        // only in the registry as yet.
        if !self.is_known(known.id, &known.series)
            && !self.registry.is_current(known.id, &known.series)
        {
            // It expired while the listener still held samples of it, and its number may belong to
            // another series by now.
            let admitted = self.registry.readmit(&known.series);
            (id, series) = (admitted.id, admitted.series);
            if admitted.overflowed {
                // The slot stays that of the series that ended, so that the listener is asked to
                // remove it, and asks for the series again.
                let others = cell.samples().saturating_sub(1);
                self.registry.count_overflowed(series.name(), others);
                cell = cell.without_total();
            } else {
                (known.id, known.series) = (id, Arc::clone(&series));
            }
        }
        let expiry = known.expiry;
        let window = self.window as u32;
        let Self { live, touched, activity, gauges, exact_samples, expiry_times, .. } = self;
        // The registry gives out numbers without gaps and reuses free ones, so the list is no
        // longer than the most series that ever lived at a time.
        if live.len() <= id as usize {
            live.resize_with(id as usize + 1, || None);
        }
        let entry = live[id as usize].get_or_insert_with(|| LiveSeries {
            series: Arc::clone(&series),
            cell: Cell::Empty,
            gauge: gauge_level(gauges, &series),
            first_window: window,
            last_window: window,
            // Once in the life of a series. In each window its samples are then counted by number,
            // without hashing the name of the metric.
            metric: activity.add(&series),
            expiry,
        });
        // Another listener, without the rule, may have brought the series back first.
        if expiry != entry.expiry {
            entry.expiry = expiry_times.longest(entry.expiry, expiry);
        }
        activity.count(entry.metric, cell.samples());
        // Several listeners may have samples of the series, and only the first finds the cell
        // empty: `touched` lists each series once.
        if matches!(entry.cell, Cell::Empty) {
            touched.push(id);
        }
        entry.last_window = window;
        entry.cell.merge(cell, *exact_samples);
    }

    /// Sets the time after which a rule lets a series expire. The longest time of a series applies, for
    /// as long as it lives: a listener reports each time only once.
    fn set_expiry(&mut self, known: &mut KnownSeries, after: std::time::Duration) {
        known.expiry = self.expiry_times.extended(known.expiry, after);
        if let Some(Some(live)) = self.live.get_mut(known.id as usize)
            && Arc::ptr_eq(&live.series, &known.series)
        {
            live.expiry = self.expiry_times.extended(live.expiry, after);
        }
    }

    fn is_known(&self, id: SeriesId, series: &Arc<Series>) -> bool {
        // By pointer: an equal series that was admitted again is another one, with its own number.
        match self.live.get(id as usize) {
            Some(Some(live)) => Arc::ptr_eq(&live.series, series),
            Some(None) | None => false,
        }
    }
}

/// The level from which changes of a new series start.
fn gauge_level(gauges: &mut GaugeMemory, series: &Series) -> f64 {
    let remembered = (series.kind() == MetricKind::Gauge).then(|| gauges.take(series));
    remembered.flatten().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use basics::units::Span;
    use model::{IdleLimits, IdlePoints};

    use super::*;
    use crate::aggregator::identity::{AgentConfig, Identifier};
    use crate::aggregator::table::SeriesTable;
    use crate::protocol::SampleValue;

    pub(super) struct Bench {
        identifier: Arc<Identifier>,
        pub(super) registry: Arc<Registry>,
        pub(super) store: Store,
        tables: Vec<SeriesTable>,
        spare: Vec<Option<Box<Tally>>>,
        ends: u64,
    }

    pub(super) fn bench(tables: usize, config: &AggregationConfig) -> Bench {
        let identifier = Arc::new(Identifier::new(&AgentConfig::default()));
        let registry = Arc::new(Registry::new(config, Arc::clone(&identifier)));
        let store = Store::new(config, Duration::from_secs(10), Arc::clone(&registry));
        let spare = (0..tables).map(|_| None).collect();
        let tables = (0..tables).map(|_| SeriesTable::new(config.cells(None), 1 << 20)).collect();
        Bench { identifier, registry, store, tables, spare, ends: 0 }
    }

    impl Bench {
        pub(super) fn record(
            &mut self,
            table: usize,
            kind: MetricKind,
            name: &str,
            value: &SampleValue<'_>,
        ) {
            self.record_at(table, kind, name, value, 0);
        }

        pub(super) fn record_at(
            &mut self,
            table: usize,
            kind: MetricKind,
            name: &str,
            value: &SampleValue<'_>,
            arrival_ns: u64,
        ) {
            let identity = self.identifier.identify(kind, name, &[]);
            self.tables[table].record(&identity, value, 1.0, arrival_ns, &self.registry);
        }

        pub(super) fn count(&mut self, table: usize, name: &str, count: f64) {
            self.record(table, MetricKind::Counter, name, &SampleValue::Counter(count));
        }

        fn merge(&mut self, table: usize) {
            let spare = self.spare[table].take().unwrap_or_default();
            let mut tally = self.tables[table].replace_tally(spare);
            self.store.merge(table, &mut tally);
            self.spare[table] = Some(tally);
        }

        pub(super) fn flush_with_idle(
            &mut self,
            limits: &IdleLimits,
        ) -> (Snapshot, Option<IdlePoints>) {
            (0..self.tables.len()).for_each(|table| self.merge(table));
            self.ends += 10_000;
            let window = Window { end_ms: self.ends, length: Duration::from_secs(10) };
            let flushed = self.store.flush_with_idle(window, limits, window.length);
            self.store.expire();
            flushed
        }

        pub(super) fn flush(&mut self) -> Vec<String> {
            let (snapshot, _) = self.flush_with_idle(&IdleLimits::default());
            let mut points: Vec<String> = snapshot
                .points
                .iter()
                .map(|point| format!("{} = {}", point.series, point.value.headline()))
                .collect();
            points.sort();
            points
        }
    }

    #[test]
    fn samples_of_two_listeners_add_up_in_one_series() {
        let mut bench = bench(2, &AggregationConfig::default());
        bench.count(0, "m", 2.0);
        bench.count(1, "m", 3.0);
        bench.count(1, "n", 1.0);
        assert_eq!(bench.flush(), ["counter m = 5", "counter n = 1"]);
        assert_eq!(bench.flush(), [""; 0], "a window without samples has no points");
        bench.count(0, "m", 7.0);
        assert_eq!(bench.flush(), ["counter m = 7"]);
        assert_eq!(bench.registry.series_count(), 2);
    }

    #[test]
    fn a_gauge_keeps_its_value_for_deltas_in_later_windows() {
        let mut bench = bench(1, &AggregationConfig::default());
        bench.record(0, MetricKind::Gauge, "g", &SampleValue::GaugeSet(10.0));
        assert_eq!(bench.flush(), ["gauge g = 10"]);
        assert_eq!(bench.flush(), [""; 0]);
        bench.record(0, MetricKind::Gauge, "g", &SampleValue::GaugeAdd(-4.0));
        assert_eq!(bench.flush(), ["gauge g = 6"]);
    }

    #[test]
    fn an_idle_series_expires_and_may_come_back() {
        let config =
            AggregationConfig { expire_after: Span::from_secs(20), ..AggregationConfig::default() };
        let mut bench = bench(2, &config);
        bench.count(0, "idle", 1.0);
        bench.record(1, MetricKind::Gauge, "g", &SampleValue::GaugeSet(5.0));
        for _ in 0..5 {
            bench.count(1, "busy", 1.0);
            bench.flush();
        }
        assert_eq!(bench.registry.series_count(), 1);
        assert_eq!(bench.tables[0].series_count(), 0);
        bench.count(0, "idle", 2.0);
        bench.record(0, MetricKind::Gauge, "g", &SampleValue::GaugeAdd(1.0));
        assert_eq!(bench.flush(), ["counter idle = 2", "gauge g = 6"]);
    }

    #[test]
    fn a_rule_extends_or_shortens_the_life_of_its_series() {
        let config =
            AggregationConfig { expire_after: Span::from_secs(20), ..AggregationConfig::default() };
        let mut bench = bench(2, &config);
        let rules = "rules:\n- { match: long, expire_after: 50s }\n\
                     - { match: brief, expire_after: 10s }\n";
        for table in &mut bench.tables {
            table.set_rules(crate::aggregator::table::TableRules {
                rules: crate::testing::recorder::rules(rules),
                protocol: crate::listener::Protocol::Statsd,
                cache_bytes: 1 << 20,
            });
        }
        let record = |bench: &mut Bench, table: usize, name: &str| {
            let Bench { identifier, registry, tables, .. } = bench;
            let (series, no_tags) = ((MetricKind::Trace, name), &[] as &[(&str, &str)]);
            let place = tables[table].locate_message(identifier, series, no_tags, registry);
            assert!(tables[table].record_in(place, &SampleValue::Trace, 1.0, 0));
        };
        for name in ["long", "brief", "plain"] {
            record(&mut bench, 0, name);
        }
        let mut counts = Vec::new();
        for _ in 0..6 {
            bench.flush();
            counts.push(bench.registry.series_count());
        }
        assert_eq!(counts, [3, 2, 1, 1, 1, 0]);
        // The first listener still knows the series, which has just expired; the other one does not.
        record(&mut bench, 0, "long");
        record(&mut bench, 1, "long");
        let again: Vec<_> =
            (0..7).map(|_| (bench.flush(), bench.registry.series_count()).1).collect();
        assert_eq!(again, [1, 1, 1, 1, 1, 0, 0]);
    }

    #[test]
    fn a_rule_of_one_listener_holds_when_another_listener_brings_the_series_back() {
        let config =
            AggregationConfig { expire_after: Span::from_secs(20), ..AggregationConfig::default() };
        let mut bench = bench(2, &config);
        // Table 0 has no rules, and is merged first.
        bench.tables[1].set_rules(crate::aggregator::table::TableRules {
            rules: crate::testing::recorder::rules("rules:\n- { match: m, expire_after: 50s }\n"),
            protocol: crate::listener::Protocol::Statsd,
            cache_bytes: 1 << 20,
        });
        let record = |bench: &mut Bench| {
            let Bench { identifier, registry, tables, .. } = bench;
            for table in tables {
                let (series, no_tags) = ((MetricKind::Trace, "m"), &[] as &[(&str, &str)]);
                let place = table.locate_message(identifier, series, no_tags, registry);
                assert!(table.record_in(place, &SampleValue::Trace, 1.0, 0));
            }
        };
        record(&mut bench);
        // Both listeners still know the series when it has just expired.
        while bench.registry.series_count() > 0 || bench.ends == 0 {
            bench.flush();
        }
        record(&mut bench);
        let counts: Vec<_> =
            (0..7).map(|_| (bench.flush(), bench.registry.series_count()).1).collect();
        assert_eq!(counts, [1, 1, 1, 1, 1, 0, 0]);
    }

    #[test]
    fn a_change_of_a_gauge_starts_at_0_only_after_the_gauge_memory() {
        let config = AggregationConfig {
            expire_after: Span::from_secs(10),
            gauge_memory: Span::from_secs(50),
            ..AggregationConfig::default()
        };
        for (idle_windows, point, forgotten) in [(4, "gauge g = 6", 0), (9, "gauge g = 1", 1)] {
            let mut bench = bench(1, &config);
            bench.record(0, MetricKind::Gauge, "g", &SampleValue::GaugeSet(5.0));
            (0..=idle_windows).for_each(|_| drop(bench.flush()));
            assert_eq!(bench.registry.series_count(), 0);
            bench.record(0, MetricKind::Gauge, "g", &SampleValue::GaugeAdd(1.0));
            assert_eq!(bench.flush(), [point]);
            assert_eq!(bench.registry.forgotten_gauges(), forgotten);
        }
    }

    #[test]
    fn a_reused_number_does_not_mix_two_series() {
        let config =
            AggregationConfig { expire_after: Span::from_secs(10), ..AggregationConfig::default() };
        let mut bench = bench(2, &config);
        bench.count(0, "old", 1.0);
        bench.flush();
        bench.flush();
        // Table 0 receives samples of `old` before it has removed the series, while `new` takes
        // over its number through table 1.
        bench.count(0, "old", 2.0);
        bench.merge(1);
        bench.store.expire();
        bench.count(1, "new", 3.0);
        assert_eq!(bench.flush(), ["counter new = 3", "counter old = 2"]);
    }

    #[test]
    fn samples_over_the_limit_count_in_the_overflow_series() {
        let config = AggregationConfig { max_series: 2, ..AggregationConfig::default() };
        let mut bench = bench(1, &config);
        for (name, count) in [("a", 1.0), ("b", 2.0), ("c", 4.0), ("c", 8.0), ("a", 16.0)] {
            bench.count(0, name, count);
        }
        assert_eq!(
            bench.flush(),
            ["counter a = 17", "counter b = 2", "counter c overflow=true = 12"]
        );
    }
}
