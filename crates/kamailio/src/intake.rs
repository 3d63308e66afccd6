//! Feeds the readings of all pollers to the aggregator, as a listener.

use std::borrow::Cow;
use std::sync::Arc;

use engine::aggregator::handover::ListenerEnd;
use engine::aggregator::table::SeriesTable;
use engine::listener::recorder::RecorderContext;
use engine::listener::stats::{ListenerCounts, ListenerStats};
use engine::listener::tap::listener::ListenerTap;
use engine::listener::tap::taps::Taps;
use engine::protocol::{LineFacts, Sample, SampleValue, Tags, normalize_tags};
use engine::wake::Waker;

use crate::reading::{Reading, ReadingValue};

/// Most polls in the channel; pollers wait while it is full.
const WAITING_MAX: usize = 16;

/// The readings of one poll.
#[derive(Debug)]
pub struct ServerReadings {
    /// The server.
    pub server: Arc<PolledServer>,
    /// The readings, with totals converted to growths.
    pub readings: Vec<Reading>,
    /// Number of replies.
    pub replies: u64,
    /// Number of bytes of the replies.
    pub bytes: u64,
}

/// The sending end of the channel to the intake.
#[derive(Clone, Debug)]
pub struct IntakeSender {
    polls: flume::Sender<ServerReadings>,
    waker: Arc<Waker>,
}

impl IntakeSender {
    /// Sends the readings of a poll; waits while the channel is full.
    pub async fn send(&self, poll: ServerReadings) {
        // Fails only without an intake. The intake outlives the pollers, except at a shutdown.
        let _no_intake = self.polls.send_async(poll).await;
        self.waker.wake();
    }
}

/// A polled server, as the intake sees it.
#[derive(Debug)]
pub struct PolledServer {
    /// Tags of all its series.
    pub tags: Vec<(String, String)>,
    /// Its counters in the ledger.
    pub stats: Arc<ListenerStats>,
}

/// Records the readings of all servers in one table.
#[derive(Debug)]
pub struct PollIntake {
    shared: RecorderContext,
    /// Receives other settings.
    changes: flume::Receiver<RecorderContext>,
    polls: flume::Receiver<ServerReadings>,
    handover: ListenerEnd,
    table: SeriesTable,
    tap: ListenerTap,
}

/// Creates an intake and its sending end. The intake applies settings from `changes` each time it hands
/// its table over to the aggregator.
#[must_use]
pub fn new(
    shared: RecorderContext,
    changes: flume::Receiver<RecorderContext>,
    handover: ListenerEnd,
    waker: Arc<Waker>,
) -> (IntakeSender, PollIntake) {
    let (sender, polls) = flume::bounded(WAITING_MAX);
    // No line cache: readings do not arrive as lines.
    let table = SeriesTable::new(shared.cells.clone(), 0);
    let tap = ListenerTap::default();
    let intake = PollIntake { shared, changes, polls, handover, table, tap };
    (IntakeSender { polls: sender, waker }, intake)
}

impl PollIntake {
    /// Shows the readings to taps as well.
    #[must_use]
    pub fn with_taps(self, taps: Arc<Taps>) -> Self {
        Self { tap: ListenerTap::new(taps), ..self }
    }

    /// Records readings until the waker stops, and then those that are still in the channel.
    pub fn run(mut self, waker: &Waker) {
        loop {
            if self.handover.hand_over_at_edge(&mut self.table)
                && let Some(shared) = self.changes.try_iter().last()
            {
                self.table.reconfigure(shared.cells.clone(), 0);
                self.shared = shared;
            }
            // Before the channel is checked, so that readings sent before the stop are not lost.
            let is_stopping = waker.is_stopping();
            if let Ok(poll) = self.polls.try_recv() {
                self.record(&poll);
            } else if is_stopping {
                break;
            } else {
                waker.wait_alone();
            }
        }
        self.handover.finish(self.table);
    }

    fn record(&mut self, poll: &ServerReadings) {
        let server = &poll.server;
        let arrival_ns = self.shared.started.elapsed().as_nanos() as u64;
        let mut counts = ListenerCounts {
            datagrams: poll.replies,
            bytes: poll.bytes,
            ..ListenerCounts::default()
        };
        self.tap.begin_batch(arrival_ns);
        for reading in &poll.readings {
            let sample = sample(reading, &server.tags);
            if self.tap.is_on() {
                let label = server.stats.label();
                self.tap.show(&self.shared.identifier, &sample, &label, label);
            }
            self.shared.record(&mut self.table, &sample, arrival_ns);
            counts.aggregated += 1;
        }
        self.tap.end_batch(&counts);
        server.stats.add(&counts);
    }
}

/// A reading as a sample with the tags of its server. A tag from the reply wins over a configured tag
/// with the same key, because without it two series would become the same.
fn sample<'a>(reading: &'a Reading, server_tags: &'a [(String, String)]) -> Sample<'a> {
    let of_server =
        server_tags.iter().map(|(key, value)| (Cow::Borrowed(&**key), (&**value).into()));
    let own = reading.tags.iter();
    let own = own.map(|(key, value)| (Cow::Borrowed(&**key), (&**value).into()));
    let mut tags: Tags<'a> = of_server.chain(own).collect();
    normalize_tags(&mut tags);
    let value = match reading.value {
        ReadingValue::Level(level) => SampleValue::GaugeSet(level),
        ReadingValue::Growth { added, total } => SampleValue::Total { added, total },
        // The poller has converted totals to growths; nothing is known to have been added to one.
        ReadingValue::Total { total, .. } => SampleValue::Total { added: 0.0, total },
        ReadingValue::Increment(count) => SampleValue::Counter(count),
    };
    let (name, facts) = (Cow::Borrowed(&*reading.name), LineFacts::default());
    Sample { name, value, weight: 1.0, tags, facts }
}
