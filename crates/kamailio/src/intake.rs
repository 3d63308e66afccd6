//! From the pollers to the aggregator: to it, this is a listener.

use std::borrow::Cow;
use std::sync::Arc;

use engine::aggregator::handover::ListenerEnd;
use engine::aggregator::table::SeriesTable;
use engine::listener::recorder::RecorderContext;
use engine::listener::stats::{ListenerCounts, ListenerStats};
use engine::listener::tap::listener::ListenerTap;
use engine::listener::tap::taps::Taps;
use engine::protocol::{Sample, SampleValue, Tags, normalize_tags};
use engine::wake::Waker;

use super::reading::{Measured, Reading};

/// Polls that may wait here; a poller with one more waits itself.
const WAITING_MAX: usize = 16;

/// What one poll read.
#[derive(Debug)]
pub struct Batch {
    /// Whose it is.
    pub source: Arc<Source>,
    /// Its readings; totals are differences by now.
    pub readings: Vec<Reading>,
    /// How many replies they are from.
    pub replies: u64,
    /// How many bytes these had.
    pub bytes: u64,
}

/// The pollers' end.
#[derive(Clone, Debug)]
pub struct IntakeSender {
    batches: flume::Sender<Batch>,
    waker: Arc<Waker>,
}

impl IntakeSender {
    /// Hands over what a poll read; waits while too many wait.
    pub async fn send(&self, batch: Batch) {
        // The intake outlives the pollers; should it be gone, nobody can use the batch.
        let _nobody_left = self.batches.send_async(batch).await;
        self.waker.wake();
    }
}

/// One instance, as the intake knows it.
#[derive(Debug)]
pub struct Source {
    /// Tags of all its series.
    pub tags: Vec<(String, String)>,
    /// Its place in the ledger.
    pub stats: Arc<ListenerStats>,
}

/// Owns the table of all instances' series.
#[derive(Debug)]
pub struct Intake {
    shared: RecorderContext,
    /// Where other settings are left.
    changes: flume::Receiver<RecorderContext>,
    batches: flume::Receiver<Batch>,
    handover: ListenerEnd,
    table: SeriesTable,
    /// Whoever looks on.
    tap: ListenerTap,
}

/// An intake and the end to send to. Whenever the aggregator calls, it follows what is left in
/// `changes`.
#[must_use]
pub fn new(
    shared: RecorderContext,
    changes: flume::Receiver<RecorderContext>,
    handover: ListenerEnd,
    waker: Arc<Waker>,
) -> (IntakeSender, Intake) {
    let (sender, batches) = flume::bounded(WAITING_MAX);
    // Nothing comes as lines here.
    let table = SeriesTable::new(shared.exact_samples, 0);
    let tap = ListenerTap::default();
    let intake = Intake { shared, changes, batches, handover, table, tap };
    (IntakeSender { batches: sender, waker }, intake)
}

impl Intake {
    /// With those who look on at what comes.
    #[must_use]
    pub fn with_taps(self, taps: Arc<Taps>) -> Self {
        Self { tap: ListenerTap::new(taps), ..self }
    }

    /// Records what comes until the waker says that it stops, then what is left.
    pub fn run(mut self, waker: &Waker) {
        loop {
            if self.handover.hand_over_at_edge(&mut self.table)
                && let Some(shared) = self.changes.try_iter().last()
            {
                self.table.reconfigure(shared.exact_samples, 0);
                self.shared = shared;
            }
            // Asked before the channel is: what comes between is found with the last look.
            let is_stopping = waker.is_stopping();
            if let Ok(batch) = self.batches.try_recv() {
                self.record(&batch);
            } else if is_stopping {
                break;
            } else {
                waker.wait_alone();
            }
        }
        self.handover.finish(self.table);
    }

    fn record(&mut self, batch: &Batch) {
        let source = &batch.source;
        let arrival_ns = self.shared.started.elapsed().as_nanos() as u64;
        let mut counts = ListenerCounts {
            datagrams: batch.replies,
            bytes: batch.bytes,
            ..ListenerCounts::default()
        };
        self.tap.begin_batch(arrival_ns);
        for reading in &batch.readings {
            let sample = sample(reading, &source.tags);
            if self.tap.is_on() {
                let label = source.stats.label();
                self.tap.show(&self.shared.identifier, &sample, &label, label);
            }
            self.shared.record(&mut self.table, sample, arrival_ns);
            counts.aggregated += 1;
        }
        self.tap.end_batch(&counts);
        source.stats.add(&counts);
    }
}

/// A reading with its instance's tags. A label of Kamailio's wins over a tag of the same key: without
/// it two series would be one.
fn sample<'a>(reading: &'a Reading, own: &'a [(String, String)]) -> Sample<'a> {
    let own = own.iter().map(|(key, value)| (Cow::Borrowed(&**key), Cow::Borrowed(&**value)));
    let labels = reading.tags.iter();
    let labels = labels.map(|(key, value)| (Cow::Borrowed(&**key), Cow::Borrowed(&**value)));
    let mut tags: Tags<'a> = own.chain(labels).collect();
    normalize_tags(&mut tags);
    let value = match reading.value {
        Measured::Level(level) => SampleValue::GaugeSet(level),
        Measured::Growth { added, total } => SampleValue::Total { added, total },
        // A total has its growth by now: without, nothing is known to have been added.
        Measured::Total { total, .. } => SampleValue::Total { added: 0.0, total },
        Measured::Increment(count) => SampleValue::Counter(count),
    };
    Sample { name: Cow::Borrowed(&reading.name), value, weight: 1.0, tags }
}
