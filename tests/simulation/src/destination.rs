//! A simulated destination: its settings and its state, as the simulation records it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use basics::units::{ByteSize, Span};
use forwarders::config::{
    DeliveryConfig, QueueConfig, RetryConfig, SpoolConfig, SpoolOrder, SpoolWrite,
};
use forwarders::spool::{FileName, folder_of};
use forwarders::stats::{Counts, ForwarderStats};
use forwarders::testing::simulation::packed_bytes;
use model::{IdleLimits, MetricKind, PointRanges};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::mode::Mode;
use crate::point::{Fate, PushedWindow, points_of};

/// The folder that contains the spools.
pub(crate) const SPOOLS: &str = "/state/spool";

/// The properties of a destination that do not change in a simulation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits {
    pub(crate) has_spool: bool,
    pub(crate) keeps_last_write: bool,
    pub(crate) wants_idle: bool,
    /// The idle series that have points.
    pub(crate) idle: IdleLimits,
    pub(crate) has_attempt_limit: bool,
    /// Whether payloads are in another order than points.
    pub(crate) is_reversed: bool,
    pub(crate) points_a_payload: usize,
    pub(crate) payloads_a_request: usize,
}

/// A simulated destination.
pub(crate) struct DestinationState {
    pub(crate) name: String,
    pub(crate) root: PathBuf,
    pub(crate) traits: Traits,
    pub(crate) delivery: DeliveryConfig,
    pub(crate) mode: Mode,
    pub(crate) stats: Option<Arc<ForwarderStats>>,
    pub(crate) fates: HashMap<u64, Fate>,
    /// The windows that were pushed in this run.
    pub(crate) pushed: BTreeMap<u32, PushedWindow>,
    /// The window of the last write of each timestamp and series.
    pub(crate) stored: HashMap<(u64, u8), u32>,
    pub(crate) run: RunCounts,
    pub(crate) totals: Totals,
}

/// Counts of the current run.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunCounts {
    pub(crate) pushed: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    /// The newest window that was taken in its turn.
    pub(crate) latest_old: u32,
    /// The window that was encoded last.
    pub(crate) encoded: Option<u32>,
    /// Points in files that were damaged or taken away.
    pub(crate) tampered: u64,
    /// Maximum number of files in the spool: the limit, or the number of files found if it is
    /// larger.
    pub(crate) files_max: u64,
    /// The same for the size of the files.
    pub(crate) bytes_max: u64,
    /// Files that are synced when the stop begins.
    pub(crate) synced_at_stop: Option<BTreeSet<FileName>>,
    /// The second of the latest failed attempt, and the number of failed attempts in it.
    pub(crate) failing_second: u64,
    pub(crate) failures_in_second: u32,
}

/// Counts of a whole simulation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    /// Points that were dropped, except those that the destination refused.
    pub(crate) dropped: u64,
    /// Points that were only in memory when the process crashed.
    pub(crate) lost: u64,
    /// Points in files that were damaged or taken away.
    pub(crate) tampered: u64,
    /// Whether a crash may have brought removed files back.
    pub(crate) is_blurred: bool,
    /// Files that earlier runs wrote and did not sync. The next run syncs them in the background.
    pub(crate) unsynced: BTreeSet<FileName>,
    /// Synced files that those replace.
    pub(crate) replaced: BTreeSet<FileName>,
    /// Whether a power failure damaged a file that replaced a synced one.
    pub(crate) has_damaged_rest: bool,
    /// Whether a run may have left files of windows that it had dropped.
    pub(crate) is_inexact: bool,
    /// Whether the disk had a fault in an earlier run.
    pub(crate) had_trouble: bool,
}

impl DestinationState {
    pub(crate) fn choose(index: usize, random: &mut StdRng) -> Self {
        let name = format!("destination {index}");
        let traits = Traits {
            has_spool: random.random_bool(0.8),
            keeps_last_write: random.random_bool(0.4),
            wants_idle: random.random_bool(0.2),
            idle: idle(random),
            has_attempt_limit: random.random_bool(0.5),
            is_reversed: random.random_bool(0.2),
            points_a_payload: random.random_range(1..=3),
            payloads_a_request: random.random_range(1..=4),
        };
        Self {
            root: Path::new(SPOOLS).join(folder_of(&name)),
            name,
            traits,
            delivery: delivery(traits, random),
            mode: Mode::Ok,
            stats: None,
            fates: HashMap::new(),
            pushed: BTreeMap::new(),
            stored: HashMap::new(),
            run: RunCounts::default(),
            totals: Totals::default(),
        }
    }

    /// The ledger of the current run.
    pub(crate) fn counts(&self) -> Counts {
        self.stats.as_ref().map(|stats| stats.counts()).unwrap_or_default()
    }

    pub(crate) fn is_strict(&self) -> bool {
        let spool = &self.delivery.spool;
        !self.traits.has_spool || spool.order == SpoolOrder::Oldest
    }

    pub(crate) fn writes_ahead(&self) -> bool {
        self.traits.has_spool && self.delivery.spool.write == SpoolWrite::Always
    }

    /// Begins a run.
    pub(crate) fn begin_run(&mut self, files: u64, bytes: u64) {
        self.pushed.clear();
        let (files_max, bytes_max) = self.limits();
        self.run = RunCounts {
            files_max: files_max.max(files),
            bytes_max: bytes_max.max(bytes),
            ..RunCounts::default()
        };
    }

    /// Sets other limits.
    pub(crate) fn reconfigure(&mut self, delivery: DeliveryConfig) {
        self.delivery = delivery;
        let (files_max, bytes_max) = self.limits();
        // Files beyond the new limits stay until the next write.
        self.run.files_max = self.run.files_max.max(files_max);
        self.run.bytes_max = self.run.bytes_max.max(bytes_max);
    }

    /// Points of this run's windows that are not settled and whose file would exceed the whole spool.
    pub(crate) fn too_large(&self) -> u64 {
        let is_open = |value: u64| self.fates.get(&value).is_none_or(|fate| !fate.is_settled());
        let unsettled = self.pushed.values().map(|window| {
            let mut left = PointRanges::default();
            for (place, point) in points_of(&window.snapshot).enumerate() {
                if is_open(point.value) {
                    left.add(place..place + 1);
                }
            }
            (packed_bytes(&window.snapshot, &left), left.count())
        });
        let largest = self.delivery.spool.max_bytes.get();
        unsettled.filter(|(bytes, _)| *bytes > largest).map(|(_, points)| points).sum()
    }

    fn limits(&self) -> (u64, u64) {
        let spool = &self.delivery.spool;
        (u64::from(spool.max_files.get()), spool.max_bytes.get())
    }
}

fn idle(random: &mut StdRng) -> IdleLimits {
    [MetricKind::Counter, MetricKind::Timer].into_iter().fold(
        IdleLimits::default(),
        |limits, kind| {
            let limit = Duration::from_secs(random.random_range(1..=100));
            if random.random_bool(0.2) { limits.with(kind, limit) } else { limits }
        },
    )
}

/// Chooses the settings that a reload may change.
pub(crate) fn delivery(traits: Traits, random: &mut StdRng) -> DeliveryConfig {
    let write = match traits.has_spool {
        true if random.random_bool(0.3) => SpoolWrite::Always,
        true => SpoolWrite::Behind,
        false => SpoolWrite::Never,
    };
    let order = if random.random_bool(0.5) { SpoolOrder::Fair } else { SpoolOrder::Oldest };
    let max_files = if random.random_bool(0.3) { random.random_range(1..10) } else { 60 };
    let max_bytes = if random.random_bool(0.2) { random.random_range(200..6_000) } else { 1 << 20 };
    let max_points = if random.random_bool(0.2) { random.random_range(1..30) } else { 2_000 };
    let queue_bytes =
        if random.random_bool(0.2) { random.random_range(1_000..20_000) } else { 64 << 20 };
    let max_age = Span::from_secs(if random.random_bool(0.2) { 400 } else { 24 * 3600 });
    let min_free = if random.random_bool(0.5) { 0 } else { 1 << 20 };
    DeliveryConfig {
        timeout: Span::from_secs(random.random_range(2..=10)),
        retry: RetryConfig {
            initial: Span::from_millis(random.random_range(100..=500)),
            max: Span::from_millis(random.random_range(500..=30_000)),
            ..RetryConfig::default()
        },
        queue: QueueConfig { max_points, max_bytes: ByteSize::from_bytes(queue_bytes) },
        spool: SpoolConfig {
            write,
            max_bytes: ByteSize::from_bytes(max_bytes),
            max_age,
            max_files: max_files.try_into().expect("above zero"),
            min_free: ByteSize::from_bytes(min_free),
            order,
        },
        ..DeliveryConfig::default()
    }
}
