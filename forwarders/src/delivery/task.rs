//! The task of one destination.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::delivery::backlog::Backlog;
use crate::delivery::delivery_loop::{DeliveryChange, DeliveryLoop};
use crate::delivery::forwarder::{Forwarder, SavedState};
use crate::delivery::shared_backlog::SharedBacklog;
use crate::delivery::spool_loop::SpoolLoop;
use crate::delivery::window_parts::WindowParts;

/// The time before the deadline of a stop that is reserved for writing undelivered windows to disk.
/// It is at most half of the time until the deadline.
const SPOOL_TIME: Duration = Duration::from_secs(1);

/// Delivers a destination's windows until its last [`QueueHandle`](super::handle::QueueHandle) is
/// dropped.
pub struct ForwarderTask {
    name: String,
    delivery_loop: DeliveryLoop,
    /// `None` without a spool.
    spool_loop: Option<SpoolLoop>,
    backlog: Arc<SharedBacklog>,
    changes: mpsc::UnboundedReceiver<DeliveryChange>,
}

impl ForwarderTask {
    pub(super) fn new(
        name: String,
        delivery_loop: DeliveryLoop,
        spool_loop: Option<SpoolLoop>,
        backlog: Arc<SharedBacklog>,
        changes: mpsc::UnboundedReceiver<DeliveryChange>,
    ) -> Self {
        Self { name, delivery_loop, spool_loop, backlog, changes }
    }

    /// Runs until the last queue handle is dropped and nothing is left to do, or until the time
    /// that `deadline` announces. Undelivered points are then on disk or, without a spool, counted
    /// as dropped.
    ///
    /// Returns the forwarder, whose state a successor may need.
    pub async fn run(self, mut deadline: watch::Receiver<Option<Instant>>) -> EndedForwarder {
        let Self { name, mut delivery_loop, spool_loop, backlog, changes } = self;
        let folder = spool_loop.as_ref().map(|spool_loop| spool_loop.folder().to_owned());
        // Without a spool, attempts get all the time: points that are left are dropped anyway.
        let margin = if spool_loop.is_some() { SPOOL_TIME } else { Duration::ZERO };
        let deliver = deliver(&mut delivery_loop, changes, &backlog, deadline.clone(), margin);
        let spool = async {
            if let Some(spool_loop) = spool_loop {
                spool_loop.run().await;
            }
        };
        tokio::select! {
            // In a fixed order, so that a simulation can be repeated.
            biased;
            _ = async { tokio::join!(deliver, spool) } => {}
            // For a disk that hangs: the daemon stops although the spool loop does not end.
            () = before(&mut deadline, Duration::ZERO) => {}
        }
        finish(&name, folder.as_deref(), &backlog);
        let (forwarder, parts) = delivery_loop.into_forwarder();
        EndedForwarder { name, forwarder, parts }
    }
}

/// The forwarder of a task that has ended.
pub struct EndedForwarder {
    name: String,
    forwarder: Box<dyn Forwarder>,
    /// The window that it was delivering.
    parts: WindowParts,
}

impl EndedForwarder {
    /// The name of the destination.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the state from which the next run continues, see [`Forwarder::save_state`].
    #[must_use]
    pub fn save_state(&mut self, max: u64) -> Option<SavedState> {
        self.forwarder.save_state(self.parts.batch(), max)
    }
}

/// Delivers until the input has ended or the time is up. Then settles the window in flight, and
/// leaves the rest to the spool loop.
async fn deliver(
    delivery_loop: &mut DeliveryLoop,
    mut changes: mpsc::UnboundedReceiver<DeliveryChange>,
    backlog: &SharedBacklog,
    mut deadline: watch::Receiver<Option<Instant>>,
    margin: Duration,
) {
    loop {
        // A change interrupts `run`, which then resumes. If all handles are dropped, `changes`
        // ends, which disables its branch and leaves the others.
        tokio::select! {
            biased;
            () = delivery_loop.run() => break,
            () = backlog.stop_wanted() => break,
            () = before(&mut deadline, margin) => break,
            Some(change) = changes.recv() => delivery_loop.change(change),
        }
    }
    // Half of the rest of the time is for the spool loop: points whose outcome is not reported by then
    // are spooled.
    let moment = *deadline.borrow();
    let left =
        moment.map_or(Duration::MAX, |moment| moment.saturating_duration_since(Instant::now()));
    // In this order: `end_delivery` lets the spool loop write the points that are left.
    delivery_loop.finish(left / 2).await;
    backlog.apply(Backlog::end_delivery);
}

/// Drops points that are only in memory at the end, and logs the points that are left.
fn finish(name: &str, folder: Option<&Path>, backlog: &SharedBacklog) {
    let lost = backlog.apply(Backlog::drop_unsaved);
    if lost > 0 {
        error!(
            forwarder = name,
            points = lost,
            "dropped points that could not be delivered within shutdown_timeout"
        );
    }
    let spooled = backlog.read(|backlog| backlog.ledger().spooled);
    if spooled > 0 {
        info!(forwarder = name, points = spooled, "points stay in the spool for the next start");
    }
    if let Some(folder) = folder.filter(|_| backlog.read(Backlog::has_debt)) {
        let folder = folder.display();
        error!(
            forwarder = name,
            %folder,
            "cannot remove delivered windows from the spool: the next start delivers them again"
        );
    }
    let points = backlog.read(Backlog::settled_on_disk);
    if points > 0 {
        error!(
            forwarder = name,
            points,
            "cannot write the rest of a window that was delivered in part: the next start delivers \
                these points again"
        );
    }
    let windows = backlog.read(Backlog::unsynced);
    if windows > 0 {
        warn!(
            forwarder = name,
            windows,
            "the disk did not sync windows of the spool in time; a power failure in the next \
             seconds can damage them"
        );
    }
}

/// Waits until `margin` before the time that `deadline` announces. A margin longer than half of the
/// remaining time is shortened to that half.
async fn before(deadline: &mut watch::Receiver<Option<Instant>>, margin: Duration) {
    loop {
        let moment = *deadline.borrow_and_update();
        match moment {
            Some(moment) => {
                let left = moment.saturating_duration_since(Instant::now());
                return tokio::time::sleep_until(moment - margin.min(left / 2)).await;
            }
            // The sender was dropped without a deadline: only the end of the input ends the task.
            None if deadline.changed().await.is_err() => std::future::pending().await,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::forwarder::SendError;
    use crate::delivery::payload::Batch;
    use async_trait::async_trait;
    use model::Snapshot;

    #[tokio::test(start_paused = true)]
    async fn the_margin_before_a_deadline_is_at_most_half_of_the_time() {
        for (time_ms, margin_ms, waits_ms) in
            [(10_000, 1_000, 9_000), (1_000, 1_000, 500), (1_000, 0, 1_000), (0, 1_000, 0)]
        {
            let began = Instant::now();
            let time = Duration::from_millis(time_ms);
            let (_sender, mut deadline) = watch::channel(Some(began + time));
            before(&mut deadline, Duration::from_millis(margin_ms)).await;
            assert_eq!(began.elapsed(), Duration::from_millis(waits_ms), "{time_ms} {margin_ms}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_may_be_announced_later_or_never() {
        let (sender, mut deadline) = watch::channel(None);
        let began = Instant::now();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            sender.send_replace(Some(began + Duration::from_secs(3)));
        });
        before(&mut deadline, Duration::ZERO).await;
        assert_eq!(began.elapsed(), Duration::from_secs(3));
        let mut never = watch::channel(None).1;
        let hour = Duration::from_secs(3_600);
        let waited = tokio::time::timeout(hour, before(&mut never, Duration::ZERO)).await;
        assert!(waited.is_err());
    }

    struct Totals;

    #[async_trait]
    impl Forwarder for Totals {
        fn encode(&mut self, _snapshot: &Snapshot, _batch: &mut Batch) {}

        async fn send(&mut self, _batch: &mut Batch) -> Result<(), SendError> {
            Ok(())
        }

        fn save_state(&self, batch: &Batch, max: u64) -> Option<SavedState> {
            Some(SavedState { bytes: b"totals".to_vec(), left_out: batch.points() + max })
        }
    }

    #[test]
    fn an_ended_forwarder_has_its_name_and_its_state() {
        let forwarder = Box::new(Totals);
        let mut parts = WindowParts::default();
        parts.batch().push(3, |_| (), |_| ());
        let mut ended = EndedForwarder { name: "page".into(), forwarder, parts };
        assert_eq!(ended.name(), "page");
        let state = SavedState { bytes: b"totals".to_vec(), left_out: 10 };
        assert_eq!(ended.save_state(7), Some(state));
    }
}
