//! Several listeners and the aggregator that they share, assembled as in the daemon.

use std::sync::Arc;

use engine::aggregator::handover::AggregatorEnd;
use engine::aggregator::store::Store;
use engine::aggregator::windows::WindowStats;
use engine::listener::Protocol;
use engine::listener::recorder::{PendingLines, Recorder};
use engine::listener::stats::ListenerStats;
use engine::listener::tap::taps::Taps;
use engine::wake::Waker;

use crate::datagrams::DatagramList;
use crate::pipeline::{BATCH, INTERVAL, close_window, shared_parts};

/// A listener without a socket.
pub struct BenchListener {
    recorder: Recorder,
    stats: Arc<ListenerStats>,
    waker: Arc<Waker>,
}

/// The aggregator of several listeners, on the caller's thread.
pub struct BenchAggregator {
    tallies: AggregatorEnd,
    store: Store,
    windows: WindowStats,
    end_ms: u64,
}

/// Creates an aggregator and this number of listeners for a protocol.
///
/// # Panics
/// When the process has no file descriptors left.
#[must_use]
pub fn listeners(protocol: Protocol, number: usize) -> (BenchAggregator, Vec<BenchListener>) {
    let (shared, store) = shared_parts();
    let mut tallies = AggregatorEnd::new();
    let taps = Arc::<Taps>::default();
    // One after the other, as the daemon does, so that their memory lies as in the daemon.
    let stats: Vec<_> = (0..number)
        .map(|index| Arc::new(ListenerStats::without_drops(format!("listener {index}"))))
        .collect();
    let listeners = stats.into_iter().map(|stats| {
        let waker = Arc::new(Waker::new().expect("an event descriptor"));
        let handover = tallies.add_listener(stats.label(), Arc::clone(&waker));
        let recorder = Recorder::new(shared.clone(), protocol, Arc::clone(&stats), handover);
        BenchListener { recorder: recorder.with_taps(Arc::clone(&taps)), stats, waker }
    });
    let listeners = listeners.collect();
    let windows = WindowStats::new(INTERVAL);
    (BenchAggregator { tallies, store, windows, end_ms: 1_490_114_074_000 }, listeners)
}

impl BenchListener {
    /// Records datagrams, batch by batch, with all checks that a listener makes between two batches.
    pub fn record(&mut self, datagrams: &DatagramList) {
        let mut datagrams = datagrams.iter();
        while datagrams.len() > 0 && !self.waker.is_stopping() {
            self.recorder.hand_over_at_edge();
            if self.stats.senders().is_watched() || self.recorder.is_tapped() {
                continue;
            }
            self.recorder.begin_batch();
            let mut pending = PendingLines::new();
            for datagram in datagrams.by_ref().take(BATCH) {
                self.recorder.record_datagram(datagram, "a benchmark", &mut pending);
            }
            self.recorder.record_pending(&mut pending);
            self.recorder.publish();
        }
    }

    /// Hands over the tally if the aggregator has asked for it.
    pub fn hand_over(&mut self) {
        self.recorder.hand_over_at_edge();
    }
}

impl BenchAggregator {
    /// Asks the listeners for their tallies.
    pub fn call(&self) {
        let _awaited = self.tallies.announce_edge();
    }

    /// Merges the tallies that were handed over, and closes the window. Returns the numbers of tallies
    /// and points.
    pub fn flush(&mut self) -> (usize, usize) {
        let mut tallies = 0;
        while let Ok(mut handed) = self.tallies.tallies().try_recv() {
            self.store.merge(handed.listener, &mut handed.tally);
            self.tallies.give_back(handed);
            tallies += 1;
        }
        self.end_ms += 10_000;
        (tallies, close_window(&mut self.store, &self.windows, self.end_ms).points.len())
    }
}
