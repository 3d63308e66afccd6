//! Current values: the last window and the live series, for requests to the admin endpoint.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use api::status::ValuesStatus;
use engine::aggregator::latest_window::{LatestWindow, LiveList};
use engine::aggregator::thread::{AggregatorCommand, Emit, SeriesRemoval};
use engine::series_filter::SeriesFilter;
use model::Snapshot;
use tokio::runtime::Handle;

use super::series_watches::SeriesWatches;

/// The last window, the way to the aggregator, and the counts of requests.
#[derive(Debug, Default)]
pub struct CurrentValues {
    latest: Arc<LatestWindow>,
    /// Set once, when the aggregator runs. Weak, because the aggregator ends with its last sender.
    aggregator: OnceLock<flume::WeakSender<AggregatorCommand>>,
    window_bytes_max: AtomicU64,
    window_bytes: AtomicU64,
    windows_not_kept: AtomicU64,
    running: AtomicU32,
    answered: AtomicU64,
    refused: AtomicU64,
    watches: SeriesWatches,
}

/// The right to answer a request; it ends with the value.
#[derive(Debug)]
pub struct RequestPermit(Arc<CurrentValues>);

/// The aggregator has ended: the daemon is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopping;

impl CurrentValues {
    /// Keeps windows of up to this many bytes; 0 keeps none.
    #[must_use]
    pub fn new(window_bytes_max: u64) -> Self {
        Self { window_bytes_max: window_bytes_max.into(), ..Self::default() }
    }

    /// The place of the last window.
    #[must_use]
    pub fn latest(&self) -> Arc<LatestWindow> {
        Arc::clone(&self.latest)
    }

    /// Asks this aggregator from now on.
    pub fn set_aggregator(&self, commands: &flume::Sender<AggregatorCommand>) {
        let _is_first = self.aggregator.set(commands.downgrade());
    }

    /// Keeps windows of up to this many bytes, starting with the next one.
    pub fn set_window_bytes_max(&self, bytes: u64) {
        self.window_bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// A receiver of windows that keeps the last one before it passes it to `emit`.
    #[must_use]
    pub fn keeping(self: &Arc<Self>, mut emit: Emit, runtime: Handle) -> Emit {
        let values = Arc::clone(self);
        Box::new(move |window| {
            values.keep(&window.increment, &runtime);
            emit(window);
        })
    }

    /// Keeps a window. The aggregator calls this: it costs a pointer, and the rest is done elsewhere.
    fn keep(self: &Arc<Self>, snapshot: &Arc<Snapshot>, runtime: &Handle) {
        let max = self.window_bytes_max.load(Ordering::Relaxed);
        let kept = (max > 0).then(|| Arc::clone(snapshot));
        let previous = self.latest.replace(kept.clone());
        let values = Arc::clone(self);
        // The last reference to a window frees every point.
        runtime.spawn_blocking(move || {
            drop(previous);
            values.measure(kept, max);
        });
    }

    /// The series that are watched in charts.
    #[must_use]
    pub fn watches(&self) -> &SeriesWatches {
        &self.watches
    }

    /// Records the window for charts, notes its memory, and forgets it if it is too large.
    fn measure(&self, snapshot: Option<Arc<Snapshot>>, max: u64) {
        let Some(snapshot) = snapshot else {
            self.window_bytes.store(0, Ordering::Relaxed);
            return;
        };
        self.watches.record(&snapshot, Instant::now());
        let bytes = snapshot.heap_bytes();
        if bytes <= max {
            self.window_bytes.store(bytes, Ordering::Relaxed);
            return;
        }
        drop(self.latest.forget(&snapshot));
        self.window_bytes.store(0, Ordering::Relaxed);
        self.windows_not_kept.fetch_add(1, Ordering::Relaxed);
    }

    /// Admits a request if fewer than `max` are running, and counts it either way.
    #[must_use]
    pub fn admit(self: &Arc<Self>, max: u32) -> Option<RequestPermit> {
        let one_more = |running| (running < max).then_some(running + 1);
        let admitted =
            self.running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok();
        let count = if admitted { &self.answered } else { &self.refused };
        count.fetch_add(1, Ordering::Relaxed);
        admitted.then(|| RequestPermit(Arc::clone(self)))
    }

    /// The live series, as of the last window.
    ///
    /// # Errors
    /// When the daemon is stopping.
    pub async fn list(&self) -> Result<Arc<LiveList>, Stopping> {
        let (listed, list) = flume::bounded(1);
        self.send(AggregatorCommand::List(listed))?;
        list.recv_async().await.map_err(|_| Stopping)
    }

    /// Removes the selected series at the end of the open window, also if the caller stops waiting.
    /// Calls `done` with their number, and returns it.
    ///
    /// # Errors
    /// When the daemon is stopping.
    pub async fn remove(
        &self,
        filter: SeriesFilter,
        done: impl FnOnce(usize) + Send + 'static,
    ) -> Result<usize, Stopping> {
        let (sender, removed) = flume::bounded(1);
        let done = Box::new(move |count| {
            done(count);
            let _requester_gone = sender.send(count);
        });
        self.send(AggregatorCommand::Remove(SeriesRemoval { filter, done }))?;
        removed.recv_async().await.map_err(|_| Stopping)
    }

    fn send(&self, command: AggregatorCommand) -> Result<(), Stopping> {
        let commands = self.aggregator.get().and_then(flume::WeakSender::upgrade);
        commands.ok_or(Stopping)?.send(command).map_err(|_| Stopping)
    }

    /// The counts so far.
    #[must_use]
    pub fn status(&self) -> ValuesStatus {
        let (watched, watches_refused) = self.watches.counts();
        ValuesStatus {
            watched,
            watches_refused,
            answered: self.answered.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            window_bytes: self.window_bytes.load(Ordering::Relaxed),
            windows_not_kept: self.windows_not_kept.load(Ordering::Relaxed),
        }
    }
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use model::testing::snapshot_of_counters;

    use super::*;

    #[test]
    fn a_request_over_the_limit_is_refused_and_counted() {
        let values = Arc::new(CurrentValues::default());
        let first = values.admit(1);
        assert!(first.is_some() && values.admit(1).is_none());
        drop(first);
        assert!(values.admit(1).is_some() && values.admit(0).is_none());
        let status = values.status();
        assert_eq!((status.answered, status.refused), (2, 2));
    }

    #[test]
    fn a_window_that_is_too_large_is_forgotten_and_counted() {
        let snapshot = Arc::new(snapshot_of_counters(10));
        let bytes = snapshot.heap_bytes();
        for (max, kept, not_kept) in [(bytes, bytes, 0), (bytes - 1, 0, 1)] {
            let values = CurrentValues::new(max);
            drop(values.latest.replace(Some(Arc::clone(&snapshot))));
            values.measure(Some(Arc::clone(&snapshot)), max);
            let status = values.status();
            assert_eq!((status.window_bytes, status.windows_not_kept), (kept, not_kept));
            assert_eq!(values.latest.snapshot().is_some(), kept > 0);
        }
    }

    #[tokio::test]
    async fn without_an_aggregator_the_daemon_is_stopping() {
        let values = CurrentValues::default();
        assert_eq!(values.list().await.err(), Some(Stopping));
        let (commands, received) = flume::unbounded();
        values.set_aggregator(&commands);
        drop(commands);
        assert_eq!(values.remove(SeriesFilter::default(), |_| {}).await, Err(Stopping));
        assert!(received.is_disconnected());
    }
}
