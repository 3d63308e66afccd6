//! A backlog with a lock, for the tasks that share it.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout_at;

use crate::config::DeliveryConfig;
use crate::delivery::backlog::{Backlog, NextWindow, Wakes, WindowSource};
use crate::delivery::output_watch::OutputWatch;
use crate::delivery::payload::Settled;
use crate::delivery::stats::{Counts, ForwarderStats};
use model::PointRanges;

/// A [`Backlog`] with a lock. Publishes the counts after each event, and wakes the tasks that the
/// event concerns. The lock is never held across an await or an access to the disk.
#[derive(Debug)]
pub(crate) struct SharedBacklog {
    backlog: Mutex<Backlog>,
    stats: Arc<ForwarderStats>,
    /// Shared with the gates of windows, which other destinations open.
    for_delivery: Arc<Notify>,
    for_spool: Notify,
    for_stop: Notify,
}

impl SharedBacklog {
    /// The watchers of what leaves the destination.
    pub(crate) fn output(&self) -> &OutputWatch {
        self.stats.output()
    }

    /// An empty backlog; `has_spool` says whether windows may go to disk.
    pub(crate) fn new(
        delivery: &DeliveryConfig,
        has_spool: bool,
        stats: Arc<ForwarderStats>,
    ) -> Self {
        Self {
            backlog: Mutex::new(Backlog::new(delivery, has_spool)),
            stats,
            for_delivery: Arc::default(),
            for_spool: Notify::new(),
            for_stop: Notify::new(),
        }
    }

    /// Applies an event to the backlog and returns its result.
    pub(crate) fn apply<T>(&self, event: impl FnOnce(&mut Backlog) -> T) -> T {
        let mut backlog = self.backlog.lock();
        let result = event(&mut backlog);
        let wakes = backlog.take_wakes();
        // Under the lock, so that counts are published in the order of the events.
        self.stats.update(|counts| publish(&backlog, counts));
        // Before the wakes: a task that is woken takes the lock at once.
        drop(backlog);
        self.wake(wakes);
        result
    }

    /// Reads the state of the backlog.
    pub(crate) fn read<T>(&self, question: impl FnOnce(&Backlog) -> T) -> T {
        question(&self.backlog.lock())
    }

    fn wake(&self, wakes: Wakes) {
        for (is_wanted, notify) in [
            (wakes.delivery, &*self.for_delivery),
            (wakes.spool, &self.for_spool),
            (wakes.stop, &self.for_stop),
        ] {
            if is_wanted {
                // Stores a permit if the task does not wait yet, so a wake between the task's
                // question and its wait is not lost.
                notify.notify_one();
            }
        }
    }

    // ---- For the delivery loop ----------------------------------------------------------------

    /// Waits for the next window to deliver. `None` if the delivery loop has to end.
    pub(crate) async fn next_window(&self) -> Option<WindowSource> {
        loop {
            match self.apply(Backlog::next_window) {
                NextWindow::Deliver(source) => return Some(source),
                NextWindow::End => return None,
                NextWindow::Wait => self.for_delivery.notified().await,
                NextWindow::WaitForGate(gate) => {
                    // The gate wakes this loop when it opens before its time.
                    let _opens = timeout_at(gate.opens_at(), self.for_delivery.notified()).await;
                }
            }
        }
    }

    /// Wakes the delivery loop.
    pub(crate) fn delivery_waker(&self) -> Arc<Notify> {
        Arc::clone(&self.for_delivery)
    }

    /// Waits until no further window will be pushed. Only for the delivery loop.
    pub(crate) async fn closed(&self) {
        while !self.read(Backlog::is_closed) {
            self.for_delivery.notified().await;
        }
    }

    /// Waits until further attempts are useless, see [`Backlog::is_stop_wanted`].
    pub(crate) async fn stop_wanted(&self) {
        // A wake is only a hint: an event can concern the stop without deciding it.
        while !self.read(Backlog::is_stop_wanted) {
            self.for_stop.notified().await;
        }
    }

    /// Settles points of the window in flight, see [`Backlog::settle`].
    pub(crate) fn settle(&self, settled: Settled, left: PointRanges, is_done: bool) {
        self.stats.note_settled(&settled);
        self.apply(|backlog| backlog.settle(settled, left, is_done));
    }

    /// Counts a failed attempt. Returns whether it is the first failure in a row.
    pub(crate) fn attempt_failed(&self, words: String) -> bool {
        self.stats.note_failure(words);
        self.apply(Backlog::attempt_failed)
    }

    // ---- For the spool loop -------------------------------------------------------------------

    /// Waits until the next work of the spool loop may have changed.
    pub(crate) async fn spool_work_changed(&self) {
        self.for_spool.notified().await;
    }

    /// Waits until the delivery loop has ended. Only for the spool loop.
    pub(crate) async fn delivery_ended(&self) {
        while !self.read(Backlog::has_ended) {
            // Consumes hints that the spool loop does not need: it looks for work after each wait.
            self.spool_work_changed().await;
        }
    }

    /// Records a failure of the spool with the event `failure`, and counts it; `words` is the
    /// reason.
    pub(crate) fn spool_failed<T>(
        &self,
        words: String,
        failure: impl FnOnce(&mut Backlog) -> T,
    ) -> T {
        self.apply(|backlog| {
            let result = failure(backlog);
            // Under the lock of the backlog: an event of another task in between would publish
            // counts that show a working spool.
            self.stats.note_spool_failure(words);
            result
        })
    }
}

/// Copies the state of a backlog to the counts that the status shows.
fn publish(backlog: &Backlog, counts: &mut Counts) {
    counts.set_ledger(backlog.ledger());
    counts.queued_bytes = backlog.memory_bytes();
    counts.down = backlog.is_down();
    let Some(usage) = backlog.spool_usage() else { return };
    let spool = counts.spool.get_or_insert_default();
    (spool.files, spool.bytes, spool.oldest_ms) = (usage.files, usage.bytes, usage.oldest_ms);
    (spool.unremoved, spool.replaced) = (usage.unremoved, usage.replaced);
    spool.quarantined = usage.quarantine.kept;
    spool.not_quarantined = usage.quarantine.not_kept;
    // Set by the failure itself, which knows the reason. The backlog only knows when it is over.
    if usage.is_well {
        spool.degraded = None;
    }
}
