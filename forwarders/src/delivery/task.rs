//! The task of one destination.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{error, info};

use crate::delivery::backlog::Backlog;
use crate::delivery::delivery_loop::{DeliveryChange, DeliveryLoop};
use crate::delivery::shared_backlog::SharedBacklog;
use crate::delivery::spool_loop::SpoolLoop;

/// The part of the time for a stop that is reserved for writing undelivered windows to disk; at
/// most a quarter of it.
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

    /// Runs until the last queue handle is dropped and nothing is left to do, or until the moment
    /// that `deadline` announces. Undelivered points are on disk then or, without a spool, counted
    /// as dropped.
    pub async fn run(self, mut deadline: watch::Receiver<Option<Instant>>) {
        let Self { name, delivery_loop, spool_loop, backlog, changes } = self;
        let margin = if spool_loop.is_some() { SPOOL_TIME } else { Duration::ZERO };
        let deliver = deliver(delivery_loop, changes, &backlog, deadline.clone(), margin);
        let spool = async {
            if let Some(spool_loop) = spool_loop {
                spool_loop.run().await;
            }
        };
        tokio::select! {
            _ = async { tokio::join!(deliver, spool) } => {}
            () = before(&mut deadline, Duration::ZERO) => {}
        }
        finish(&name, &backlog);
    }
}

/// Delivers until the input has ended or the time is up, then settles the window in flight.
async fn deliver(
    mut delivery_loop: DeliveryLoop,
    mut changes: mpsc::UnboundedReceiver<DeliveryChange>,
    backlog: &SharedBacklog,
    mut deadline: watch::Receiver<Option<Instant>>,
    margin: Duration,
) {
    loop {
        // A change interrupts `run`, which resumes where it was.
        tokio::select! {
            () = delivery_loop.run() => break,
            () = backlog.stop_wanted() => break,
            () = before(&mut deadline, margin) => break,
            Some(change) = changes.recv() => delivery_loop.change(change),
        }
    }
    delivery_loop.finish().await;
    backlog.apply(Backlog::end_delivery);
}

/// Counts and logs points that are left at the end.
fn finish(name: &str, backlog: &SharedBacklog) {
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
}

/// Returns `margin` before the moment that `deadline` announces, but not before three quarters of
/// the time until then are over.
async fn before(deadline: &mut watch::Receiver<Option<Instant>>, margin: Duration) {
    loop {
        let moment = *deadline.borrow_and_update();
        match moment {
            Some(moment) => {
                let left = moment.saturating_duration_since(Instant::now());
                return tokio::time::sleep_until(moment - margin.min(left / 4)).await;
            }
            // The sender is gone: only the end of the input ends the task.
            None if deadline.changed().await.is_err() => std::future::pending().await,
            None => {}
        }
    }
}
