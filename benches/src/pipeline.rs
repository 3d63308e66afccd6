//! The daemon's parts from a datagram to a snapshot, assembled as in the daemon but without
//! threads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::aggregator::AggregationConfig;
use engine::aggregator::handover::{AggregatorEnd, HandedOver};
use engine::aggregator::identity::{AgentConfig, Identifier};
use engine::aggregator::registry::Registry;
use engine::aggregator::seed;
use engine::aggregator::store::Store;
use engine::aggregator::windows::WindowStats;
use engine::listener::Protocol;
use engine::listener::recorder::{PendingLines, Recorder, RecorderContext};
use engine::listener::signature::SignatureContext;
use engine::listener::stats::ListenerStats;
use engine::protocol::MessageLimits;
use engine::rules::Rules;
use engine::wake::Waker;
use model::{SetSeed, Snapshot, Window};

use crate::datagrams::DatagramList;
use crate::message_format::MessageFormat;

/// Number of datagrams per batch, as with one system call.
pub(crate) const BATCH: usize = 64;
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);
/// The default of `aggregation.rule_cache`.
const RULE_CACHE: usize = 32 << 20;
/// More than any benchmark has.
const MAX_SERIES: usize = 2_000_000;

/// One listener and the aggregator, on one thread.
pub struct BenchPipeline {
    recorder: Recorder,
    stats: Arc<ListenerStats>,
    tallies: AggregatorEnd,
    store: Store,
    windows: WindowStats,
    end_ms: u64,
}

impl BenchPipeline {
    /// Creates a pipeline without series, with the same hashes in every process. The agent has two
    /// tags.
    #[must_use]
    pub fn new(protocol: Protocol) -> Self {
        let (shared, store) = shared_parts();
        Self::of_parts(protocol, shared, store)
    }

    /// Creates a pipeline without series, whose listener applies these rules.
    #[must_use]
    pub fn with_rules(protocol: Protocol, rules: Arc<Rules>) -> Self {
        let (shared, store) = shared_parts();
        let shared = RecorderContext { rules, rule_cache: RULE_CACHE, ..shared };
        Self::of_parts(protocol, shared, store)
    }

    fn of_parts(protocol: Protocol, shared: RecorderContext, store: Store) -> Self {
        let mut tallies = AggregatorEnd::new();
        let waker = Arc::new(Waker::new().expect("an event descriptor"));
        let handover = tallies.add_listener("bench", waker);
        let stats = Arc::new(ListenerStats::without_drops("a benchmark".to_owned()));
        let recorder = Recorder::new(shared, protocol, Arc::clone(&stats), handover);
        let windows = WindowStats::new(INTERVAL);
        Self { recorder, stats, tallies, store, windows, end_ms: 1_490_114_074_000 }
    }

    /// Creates a pipeline whose listener knows this many series and their lines.
    #[must_use]
    pub fn warm(format: &MessageFormat, series: usize) -> Self {
        Self::new(format.protocol).warmed(format, series)
    }

    /// Creates a pipeline whose listener knows this many series and no lines.
    #[must_use]
    pub fn warm_without_line_cache(format: &MessageFormat, series: usize) -> Self {
        let (shared, store) = shared_parts();
        let shared = RecorderContext { line_cache: 0, ..shared };
        Self::of_parts(format.protocol, shared, store).warmed(format, series)
    }

    /// Creates a pipeline whose listener knows this many series and their lines, to which these rules
    /// apply.
    #[must_use]
    pub fn warm_with_rules(format: &MessageFormat, series: usize, rules: Arc<Rules>) -> Self {
        Self::with_rules(format.protocol, rules).warmed(format, series)
    }

    fn warmed(mut self, format: &MessageFormat, series: usize) -> Self {
        let datagrams = DatagramList::of_metrics(format, series, 0..2);
        for _ in 0..2 {
            self.record(&datagrams);
            assert_eq!(self.flush().points.len(), series, "series");
        }
        self
    }

    /// Records datagrams, batch by batch.
    pub fn record(&mut self, datagrams: &DatagramList) {
        let mut datagrams = datagrams.iter();
        while datagrams.len() > 0 {
            self.recorder.begin_batch();
            let mut ahead = PendingLines::new();
            for datagram in datagrams.by_ref().take(BATCH) {
                self.recorder.record_datagram(datagram, "a benchmark", &mut ahead);
            }
            self.recorder.record_pending(&mut ahead);
            self.recorder.publish();
            self.recorder.hand_over_at_edge();
        }
    }

    /// Takes the listener's tally, as at the end of a window; the listener continues with the
    /// other.
    #[must_use]
    pub fn hand_over(&mut self) -> HandedOver {
        let awaited = self.tallies.announce_edge();
        assert_eq!(awaited, 1, "expected tallies");
        self.recorder.hand_over_at_edge();
        self.tallies.tallies().try_recv().expect("the tally")
    }

    /// Closes the window with a tally that was handed over, and returns the tally. Does all work that
    /// the aggregator does for a window.
    #[must_use]
    pub fn flush_tally(&mut self, mut handed: HandedOver) -> Snapshot {
        self.store.merge(handed.listener, &mut handed.tally);
        self.tallies.give_back(handed);
        self.end_ms += INTERVAL.as_millis() as u64;
        close_window(&mut self.store, &self.windows, self.end_ms)
    }

    /// Closes the window.
    #[must_use]
    pub fn flush(&mut self) -> Snapshot {
        let handed = self.hand_over();
        self.flush_tally(handed)
    }

    /// The number of samples recorded.
    ///
    /// # Panics
    /// If a message was rejected.
    #[must_use]
    pub fn recorded(&self) -> u64 {
        let counts = self.stats.counts();
        assert_eq!(counts.received(), counts.aggregated, "received, aggregated");
        counts.aggregated
    }
}

/// The state and settings that all listeners share, and the aggregator's store.
pub(crate) fn shared_parts() -> (RecorderContext, Store) {
    seed::fix();
    let config = AggregationConfig {
        max_series: MAX_SERIES,
        max_series_per_metric: MAX_SERIES,
        ..AggregationConfig::default()
    };
    let tags = [("datacenter", "fra-2"), ("role", "web")];
    let tags = tags.map(|(key, value)| (key.to_owned(), value.into())).into();
    let agent = AgentConfig { tags, ..AgentConfig::default() };
    let identifier = Arc::new(Identifier::new(&agent));
    let registry = Arc::new(Registry::new(&config, Arc::clone(&identifier)));
    let shared = RecorderContext {
        identifier,
        registry: Arc::clone(&registry),
        rejected: Arc::default(),
        started: Instant::now(),
        limits: MessageLimits::default(),
        // Fixed, so that the instructions can be counted.
        cells: config.cells(Some(SetSeed::from_text(""))),
        line_cache: config.line_cache_bytes(),
        rules: Arc::default(),
        rule_cache: 0,
        signatures: SignatureContext::default(),
    };
    (shared, Store::new(&config, INTERVAL, registry))
}

/// Closes the window that ends at this time, as the aggregator does.
pub(crate) fn close_window(store: &mut Store, windows: &WindowStats, end_ms: u64) -> Snapshot {
    let window = Window { end_ms, length: INTERVAL };
    let snapshot = store.flush(window);
    windows.set_top_metrics(store.top_metrics(window));
    store.expire();
    snapshot
}
