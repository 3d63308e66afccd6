//! The running destinations: a task each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::aggregator::thread::Emit;
use forwarders::delivery::destination::Destination;
use forwarders::delivery::handle::{DestinationHandle, QueueHandle};
use forwarders::spool::SpoolPlace;
use forwarders::stats::ForwarderStats;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::info;

use super::StartError;
use crate::runtime::ObservedForwarder;

/// The running destinations, in the order of the configuration.
pub(super) struct Delivery {
    place: SpoolPlace,
    destinations: Vec<RunningDestination>,
    tasks: JoinSet<()>,
}

/// A running destination.
struct RunningDestination {
    handle: DestinationHandle,
    /// Tells its task by when to end.
    deadline: watch::Sender<Option<Instant>>,
    is_removed: Arc<AtomicBool>,
}

/// The destinations of the next configuration, each with the sockets that it needs on this host.
pub(super) struct PreparedDestinations(Vec<PreparedDestination>);

/// A destination of the next configuration; the number is the place of the running one.
enum PreparedDestination {
    Stays(usize),
    Changes(usize, Destination),
    Starts(Destination),
}

/// The destinations that the next configuration does not have.
#[must_use = "they keep retrying until they get a deadline"]
pub(super) struct RemovedDestinations(Vec<RunningDestination>);

impl Delivery {
    /// Runs no destination yet; spools are in `place`.
    pub(super) fn new(place: SpoolPlace) -> Self {
        Self { place, destinations: Vec::new(), tasks: JoinSet::new() }
    }

    /// Starts the forwarders of new and changed destinations; changes no running one.
    ///
    /// # Errors
    /// When a forwarder cannot have the sockets that it needs on this host.
    pub(super) async fn prepare(
        &self,
        destinations: Vec<Destination>,
    ) -> Result<PreparedDestinations, StartError> {
        let mut prepared = Vec::new();
        for mut destination in destinations {
            let mut handles = self.destinations.iter().map(|running| &running.handle).enumerate();
            let same = handles.find(|(_, handle)| handle.can_reconfigure(&destination));
            if same.is_none_or(|(_, handle)| !handle.defers_start(&destination)) {
                let started = destination.forwarder.start().await;
                let name = &destination.common.name;
                started.map_err(|source| StartError::Forwarder { name: name.clone(), source })?;
            }
            prepared.push(match same {
                Some((number, handle)) if handle.same_config(&destination) => {
                    PreparedDestination::Stays(number)
                }
                Some((number, _)) => PreparedDestination::Changes(number, destination),
                None => PreparedDestination::Starts(destination),
            });
        }
        Ok(PreparedDestinations(prepared))
    }

    /// Runs the prepared destinations. Returns the function that pushes each window into their
    /// queues; removed destinations end when the previous one is dropped.
    pub(super) fn apply(
        &mut self,
        PreparedDestinations(prepared): PreparedDestinations,
    ) -> (Emit, RemovedDestinations) {
        let before = std::mem::take(&mut self.destinations);
        let mut before: Vec<Option<RunningDestination>> = before.into_iter().map(Some).collect();
        let mut queues = Vec::new();
        for next in prepared {
            let (queue, running) = match next {
                PreparedDestination::Stays(number) => {
                    let Some(running) = before[number].take() else { continue };
                    (running.handle.queue(), running)
                }
                PreparedDestination::Changes(number, destination) => {
                    let Some(mut running) = before[number].take() else { continue };
                    (running.handle.reconfigure(destination), running)
                }
                PreparedDestination::Starts(destination) => {
                    let (queue, running) = self.start(destination);
                    (Some(queue), running)
                }
            };
            queues.extend(queue);
            self.destinations.push(running);
        }
        let removed: Vec<_> = before.into_iter().flatten().collect();
        removed.iter().for_each(|running| running.is_removed.store(true, Ordering::Release));
        let emit =
            move |snapshot: &_| queues.iter().for_each(|queue: &QueueHandle| queue.push(snapshot));
        (Box::new(emit), RemovedDestinations(removed))
    }

    /// The destinations as the status shows them.
    pub(super) fn observed(&self) -> Vec<ObservedForwarder> {
        let observed = |RunningDestination { handle, .. }: &RunningDestination| ObservedForwarder {
            name: handle.name().to_owned(),
            kind: handle.kind(),
            stats: Arc::clone(handle.stats()),
        };
        self.destinations.iter().map(observed).collect()
    }

    /// Waits until all destinations have ended, at the latest at `until`. Their input has ended
    /// already.
    pub(super) async fn stop(self, until: Instant) {
        self.destinations.iter().for_each(|running| running.end_by(until));
        self.tasks.join_all().await;
    }

    fn start(&mut self, destination: Destination) -> (QueueHandle, RunningDestination) {
        let (queue, handle, task) = destination.split_with_spool(&self.place);
        info!(forwarder = handle.name(), kind = handle.kind(), "forwarding");
        let (deadline, watched) = watch::channel(None);
        let is_removed = Arc::<AtomicBool>::default();
        let (removed, stats) = (Arc::clone(&is_removed), Arc::clone(handle.stats()));
        let name = handle.name().to_owned();
        self.tasks.spawn(async move {
            task.run(watched).await;
            if removed.load(Ordering::Acquire) {
                log_ledger(&name, &stats);
            }
        });
        (queue, RunningDestination { handle, deadline, is_removed })
    }
}

impl RunningDestination {
    fn end_by(&self, until: Instant) {
        // A task that has ended no longer listens.
        let _has_ended = self.deadline.send(Some(until));
    }
}

impl RemovedDestinations {
    /// Gives the destinations this long to deliver their windows. The rest is on disk then or,
    /// without a spool, is logged and counted as dropped.
    pub(super) fn end_within(self, time: Duration) {
        for running in self.0 {
            info!(forwarder = running.handle.name(), "removed: delivering what is left");
            running.end_by(Instant::now() + time);
        }
    }
}

/// Logs the ledger of a destination that has ended.
pub(super) fn log_ledger(name: &str, stats: &ForwarderStats) {
    let counts = stats.counts();
    info!(
        forwarder = name,
        flushed = counts.flushed,
        recovered = counts.recovered,
        delivered = counts.delivered,
        queued = counts.queued,
        spooled = counts.spooled,
        dropped = ?counts.dropped,
        "ledger of a forwarder"
    );
}
