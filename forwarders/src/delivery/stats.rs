//! The counts of one forwarder, as the status and the self-metrics show them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::delivery::forwarder::Forwarder;
use crate::delivery::ledger::PointLedger;
use crate::delivery::output_watch::OutputWatch;
use crate::delivery::payload::Settled;

pub use crate::delivery::reason;

/// Counts of points and the latest outcome. At any instant `flushed` + `recovered` = `delivered` +
/// `queued` + `spooled` + the sum of `dropped`.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Points handed to this forwarder.
    pub flushed: u64,
    /// Points found in the spool at the start: an earlier run of the daemon flushed them.
    pub recovered: u64,
    /// Points that the destination acknowledged or, for a protocol without acknowledgements, that
    /// were sent.
    pub delivered: u64,
    /// Points in memory only, including points in flight.
    pub queued: u64,
    /// An estimate of the memory that the windows in memory occupy, in bytes, including the window
    /// in flight. A window that several destinations share counts in full for each of them.
    pub queued_bytes: u64,
    /// Points on disk, including points in flight.
    pub spooled: u64,
    /// Points that will never be delivered, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Attempts that failed.
    pub failures: u64,
    /// The latest error and when it happened.
    pub last_error: Option<(SystemTime, String)>,
    /// When points were last delivered.
    pub last_success: Option<SystemTime>,
    /// Whether the latest attempt failed; false before the first.
    pub down: bool,
    /// The forwarder's spool; `None` if it has none.
    pub spool: Option<SpoolCounts>,
    /// Connections that the forwarder closed because it had too many; `None` if it accepts none.
    pub refused_connections: Option<u64>,
    /// Failed attempts to accept a connection; `None` if the forwarder accepts none.
    pub accept_errors: Option<u64>,
    /// Requests without valid credentials and failed TLS handshakes; `None` if the forwarder accepts no
    /// connections.
    pub refused_access: Option<u64>,
    /// Pages of other programs that the forwarder could not fetch or use; `None` if it fetches
    /// none.
    pub failed_fetches: Option<u64>,
    /// Series whose total stays constant because of negative increments; `None` if the forwarder
    /// keeps no totals.
    pub held_totals: Option<u64>,
    /// How often a native histogram has lost resolution because of a limit; `None` if the forwarder
    /// sends none.
    pub reduced_histograms: Option<u64>,
    /// Records that went to the fallback topic because theirs could not be used; `None` if the
    /// forwarder has one topic.
    pub fallback_records: Option<u64>,
    /// Targets that did not answer a probe; `None` if the forwarder probes none.
    pub failed_probes: Option<u64>,
    /// Refused requests for a probe; `None` if the forwarder probes no targets.
    pub refused_probes: Option<u64>,
}

/// The state of a forwarder's spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpoolCounts {
    /// Its folder.
    pub folder: PathBuf,
    /// Files in it: a window each. The file of a delivered window counts until it is removed.
    pub files: u64,
    /// The size of these files.
    pub bytes: u64,
    /// Start of the oldest window in it, in Unix milliseconds.
    pub oldest_ms: Option<u64>,
    /// Settled windows whose file the disk does not remove. They are recorded, and not delivered
    /// again.
    pub unremoved: u64,
    /// Files found at the start that another file had replaced: a crash interrupted the
    /// replacement.
    pub replaced: u64,
    /// Why windows cannot be written, read or removed at the moment.
    pub degraded: Option<String>,
    /// Failed attempts to write, read or remove a window or to open the folder.
    pub failures: u64,
    /// Refused points that were stored in the quarantine.
    pub quarantined: u64,
    /// Refused points that were not stored: they exceeded the limits of the quarantine, the
    /// destination did not identify them, or the disk failed.
    pub not_quarantined: u64,
}

impl Counts {
    /// Copies the counts of points from the ledger.
    pub(crate) fn set_ledger(&mut self, ledger: &PointLedger) {
        self.flushed = ledger.flushed;
        self.recovered = ledger.recovered;
        self.delivered = ledger.delivered;
        self.queued = ledger.queued;
        self.spooled = ledger.spooled;
        // Cloning a map allocates. Drops are rare, and this runs several times per window.
        if self.dropped != ledger.dropped {
            self.dropped.clone_from(&ledger.dropped);
        }
    }
}

/// The counts of one forwarder, shared between its tasks and the readers of the status.
#[derive(Debug, Default)]
pub struct ForwarderStats {
    counts: Mutex<Counts>,
    continued: Mutex<ContinuedCounts>,
    output: OutputWatch,
}

/// Counts that the forwarders keep themselves, continued when a reload replaces a forwarder.
#[derive(Debug, Default)]
struct ContinuedCounts {
    refused_connections: ContinuedCount,
    accept_errors: ContinuedCount,
    refused_access: ContinuedCount,
    failed_fetches: ContinuedCount,
    reduced_histograms: ContinuedCount,
    fallback_records: ContinuedCount,
    failed_probes: ContinuedCount,
    refused_probes: ContinuedCount,
    /// Not a count of events: that of the current forwarder.
    held_totals: Option<Arc<AtomicU64>>,
}

/// A count of the current forwarder plus the counts of the forwarders that a reload replaced.
#[derive(Debug, Default)]
struct ContinuedCount {
    /// The sum of the replaced forwarders.
    replaced: u64,
    /// The count of the current forwarder; `None` if it has no such count.
    current: Option<Arc<AtomicU64>>,
}

impl ContinuedCount {
    fn get(&self) -> Option<u64> {
        self.current.as_ref().map(|current| self.replaced + current.load(Ordering::Relaxed))
    }

    fn continue_with(&mut self, current: Option<Arc<AtomicU64>>) {
        // The self-metric is a counter: it must not fall because a new forwarder starts at 0.
        *self = Self { replaced: self.get().unwrap_or_default(), current };
    }
}

impl ForwarderStats {
    /// The watchers of what leaves the forwarder.
    #[must_use]
    pub fn output(&self) -> &OutputWatch {
        &self.output
    }

    /// The counts of a destination with this forwarder.
    pub(crate) fn new(forwarder: &dyn Forwarder) -> Self {
        let stats = Self::default();
        stats.continue_with(forwarder);
        stats
    }

    /// Adds the counts of a new forwarder, which replaces the current one.
    pub(crate) fn continue_with(&self, forwarder: &dyn Forwarder) {
        let mut continued = self.continued.lock();
        continued.refused_connections.continue_with(forwarder.refused_connections());
        continued.accept_errors.continue_with(forwarder.accept_errors());
        continued.refused_access.continue_with(forwarder.refused_access());
        continued.failed_fetches.continue_with(forwarder.failed_fetches());
        continued.reduced_histograms.continue_with(forwarder.reduced_histograms());
        continued.fallback_records.continue_with(forwarder.fallback_records());
        continued.failed_probes.continue_with(forwarder.failed_probes());
        continued.refused_probes.continue_with(forwarder.refused_probes());
        continued.held_totals = forwarder.held_totals();
    }

    /// All counts. The counts of points are of one instant.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let continued = self.continued.lock();
        let refused_connections = continued.refused_connections.get();
        let accept_errors = continued.accept_errors.get();
        let refused_access = continued.refused_access.get();
        let failed_fetches = continued.failed_fetches.get();
        let reduced_histograms = continued.reduced_histograms.get();
        let fallback_records = continued.fallback_records.get();
        let failed_probes = continued.failed_probes.get();
        let refused_probes = continued.refused_probes.get();
        let held_totals = continued.held_totals.as_ref().map(|held| held.load(Ordering::Relaxed));
        drop(continued);
        let counts = self.counts.lock().clone();
        Counts {
            refused_connections,
            accept_errors,
            refused_access,
            failed_fetches,
            held_totals,
            reduced_histograms,
            fallback_records,
            failed_probes,
            refused_probes,
            ..counts
        }
    }

    /// Sets the folder of the spool.
    pub(crate) fn set_spool_folder(&self, folder: &Path) {
        self.counts.lock().spool.get_or_insert_default().folder = folder.to_owned();
    }

    /// Applies a change to several counts, which readers see as a whole.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock());
    }

    /// Records the time of a delivery and the reason of a refusal. The ledger counts the points.
    pub(crate) fn note_settled(&self, settled: &Settled) {
        let mut counts = self.counts.lock();
        if let Some(words) = settled.last_refusal() {
            counts.last_error = Some((SystemTime::now(), words.to_owned()));
        }
        if settled.delivered > 0 {
            counts.last_success = Some(SystemTime::now());
        }
    }

    /// Counts a failed attempt; `words` is its error.
    pub(crate) fn note_failure(&self, words: String) {
        let mut counts = self.counts.lock();
        counts.failures += 1;
        counts.last_error = Some((SystemTime::now(), words));
    }

    /// Counts a failure of the spool; `words` is the reason.
    pub(crate) fn note_spool_failure(&self, words: String) {
        let mut counts = self.counts.lock();
        let spool = counts.spool.get_or_insert_default();
        spool.failures += 1;
        spool.degraded = Some(words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::forwarder::SendError;
    use crate::delivery::payload::Batch;
    use async_trait::async_trait;
    use model::Snapshot;

    #[test]
    fn a_count_of_the_forwarder_continues_when_another_one_replaces_it() {
        let mut count = ContinuedCount::default();
        assert_eq!(count.get(), None, "no forwarder counts");
        let [first, second] = [5, 2].map(|number| Arc::new(AtomicU64::new(number)));
        count.continue_with(Some(Arc::clone(&first)));
        assert_eq!(count.get(), Some(5));
        first.store(6, Ordering::Relaxed);
        count.continue_with(Some(Arc::clone(&second)));
        assert_eq!(count.get(), Some(8));
        count.continue_with(None);
        assert_eq!(count.get(), None);
    }

    /// Has all counts; each one differs from the others.
    struct Counting([Arc<AtomicU64>; 9]);

    impl Counting {
        fn from(first: u64) -> Self {
            Self([0, 1, 2, 3, 4, 5, 6, 7, 8].map(|more| Arc::new(AtomicU64::new(first + more))))
        }
    }

    #[async_trait]
    impl Forwarder for Counting {
        fn encode(&mut self, _snapshot: &Snapshot, _batch: &mut Batch) {}

        async fn send(&mut self, _batch: &mut Batch) -> Result<(), SendError> {
            Ok(())
        }

        fn refused_connections(&self) -> Option<Arc<AtomicU64>> {
            Some(Arc::clone(&self.0[0]))
        }

        fn accept_errors(&self) -> Option<Arc<AtomicU64>> {
            Some(Arc::clone(&self.0[1]))
        }

        fn failed_fetches(&self) -> Option<Arc<AtomicU64>> {
            Some(Arc::clone(&self.0[2]))
        }

        fn reduced_histograms(&self) -> Option<Arc<AtomicU64>> {
            Some(Arc::clone(&self.0[3]))
        }

        fn held_totals(&self) -> Option<Arc<AtomicU64>> {
            Some(Arc::clone(&self.0[4]))
        }

        fn fallback_records(&self) -> Option<Arc<AtomicU64>> {
            Some(Arc::clone(&self.0[5]))
        }

        fn failed_probes(&self) -> Option<Arc<AtomicU64>> {
            Some(Arc::clone(&self.0[6]))
        }

        fn refused_probes(&self) -> Option<Arc<AtomicU64>> {
            Some(Arc::clone(&self.0[7]))
        }

        fn refused_access(&self) -> Option<Arc<AtomicU64>> {
            Some(Arc::clone(&self.0[8]))
        }
    }

    fn kept_by_the_forwarder(stats: &ForwarderStats) -> [u64; 9] {
        let counts = stats.counts();
        [
            counts.refused_connections,
            counts.accept_errors,
            counts.failed_fetches,
            counts.reduced_histograms,
            counts.held_totals,
            counts.fallback_records,
            counts.failed_probes,
            counts.refused_probes,
            counts.refused_access,
        ]
        .map(Option::unwrap)
    }

    #[test]
    fn all_counts_of_a_forwarder_continue_but_the_totals_it_holds_at_the_moment() {
        let stats = ForwarderStats::new(&Counting::from(1));
        assert_eq!(kept_by_the_forwarder(&stats), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        stats.continue_with(&Counting::from(10));
        assert_eq!(kept_by_the_forwarder(&stats), [11, 13, 15, 17, 14, 21, 23, 25, 27]);
    }

    #[test]
    fn the_folder_of_a_spool_is_shown_with_its_counts() {
        let stats = ForwarderStats::default();
        assert_eq!(stats.counts().spool, None);
        stats.set_spool_folder(Path::new("/spool/kafka"));
        stats.note_spool_failure("no space".into());
        let spool = stats.counts().spool.unwrap();
        assert_eq!(spool.folder, Path::new("/spool/kafka"));
        assert_eq!((spool.failures, spool.degraded.as_deref()), (1, Some("no space")));
    }

    #[test]
    fn a_refusal_is_the_latest_error_and_only_delivered_points_are_a_success() {
        let stats = ForwarderStats::default();
        let mut batch = Batch::default();
        (0..2).for_each(|_| batch.push(1, |_| (), |_| ()));
        batch.refused(0, reason::REFUSED, "too old");
        stats.note_settled(&batch.take_settled());
        let counts = stats.counts();
        assert_eq!(counts.last_error.unwrap().1, "too old");
        assert!(counts.last_success.is_none());
        batch.delivered(1);
        stats.note_settled(&batch.take_settled());
        assert!(stats.counts().last_success.is_some());
    }
}
