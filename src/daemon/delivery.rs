//! The running destinations: one task for each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::aggregator::thread::Emit;
use forwarders::delivery::destination::Destination;
use forwarders::delivery::handle::{DestinationHandle, QueueHandle, push_all};
use forwarders::delivery::task::EndedForwarder;
use forwarders::spool::SpoolPlace;
use model::IdleLimits;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::info;

use super::report::log_forwarder_ledger;
use super::start_error::StartError;
use crate::runtime::ForwarderInfo;

/// The time that tasks have to leave their windows on disk, also if the listeners and the aggregator
/// have used up `shutdown_timeout`.
const LEAST_TIME: Duration = Duration::from_secs(1);

/// All running destinations, in the order of the configuration.
pub(super) struct Delivery {
    place: SpoolPlace,
    destinations: Vec<DestinationTask>,
    /// `None` of a destination that was removed.
    tasks: JoinSet<Option<EndedForwarder>>,
}

/// A running destination and the controls of its task.
struct DestinationTask {
    handle: DestinationHandle,
    /// The time by which the task has to end; unset while the destination is in use.
    deadline: watch::Sender<Option<Instant>>,
    is_removed: Arc<AtomicBool>,
}

/// The running destinations as the aggregator sees them.
pub(super) struct WindowReceiver {
    /// Pushes a window into the queue of each.
    pub(super) emit: Emit,
    /// The idle series whose points any of them wants.
    pub(super) idle: IdleLimits,
}

/// The destinations of a configuration, each ready to run on this host.
pub(super) struct StagedDestinations(Vec<StagedDestination>);

/// A destination of the next configuration; the index is that of the running destination.
enum StagedDestination {
    Unchanged(usize),
    Reconfigured(usize, Destination),
    Added(Destination),
}

/// The running destinations that the next configuration does not contain.
#[must_use = "without a deadline their tasks retry forever"]
pub(super) struct RemovedDestinations(Vec<DestinationTask>);

impl Delivery {
    /// Creates it without destinations; their spools are in `place`.
    pub(super) fn new(place: SpoolPlace) -> Self {
        Self { place, destinations: Vec::new(), tasks: JoinSet::new() }
    }

    /// Starts the forwarders of new and reconfigured destinations. Running destinations are not
    /// changed.
    ///
    /// # Errors
    /// When a forwarder lacks something that it needs on this host.
    pub(super) async fn stage(
        &self,
        destinations: Vec<Destination>,
    ) -> Result<StagedDestinations, StartError> {
        let mut staged = Vec::new();
        for mut destination in destinations {
            let mut handles = self.destinations.iter().map(|task| &task.handle).enumerate();
            let same = handles.find(|(_, handle)| handle.can_reconfigure(&destination));
            // Not started here: a forwarder with unchanged settings, which runs already, and one that
            // listens at its predecessor's address, which its task starts when that one has stopped.
            if same.is_none_or(|(_, handle)| !handle.defers_start(&destination)) {
                let started = destination.forwarder.start().await;
                let name = &destination.common.name;
                started.map_err(|source| StartError::Forwarder { name: name.clone(), source })?;
            }
            staged.push(match same {
                Some((index, handle)) if handle.same_config(&destination) => {
                    StagedDestination::Unchanged(index)
                }
                Some((index, _)) => StagedDestination::Reconfigured(index, destination),
                None => StagedDestination::Added(destination),
            });
        }
        Ok(StagedDestinations(staged))
    }

    /// Replaces the running destinations. The removed ones receive windows until the receiver that this
    /// one replaces is dropped.
    pub(super) fn apply(
        &mut self,
        StagedDestinations(staged): StagedDestinations,
    ) -> (WindowReceiver, RemovedDestinations) {
        let mut previous: Vec<Option<DestinationTask>> =
            std::mem::take(&mut self.destinations).into_iter().map(Some).collect();
        let mut queues = Vec::new();
        for destination in staged {
            let (queue, task) = match destination {
                StagedDestination::Unchanged(index) => {
                    let Some(task) = previous[index].take() else { continue };
                    (task.handle.queue(), task)
                }
                StagedDestination::Reconfigured(index, destination) => {
                    let Some(mut task) = previous[index].take() else { continue };
                    (task.handle.reconfigure(destination), task)
                }
                StagedDestination::Added(destination) => {
                    let (queue, task) = self.spawn(destination);
                    (Some(queue), task)
                }
            };
            queues.extend(queue);
            self.destinations.push(task);
        }
        let removed: Vec<_> = previous.into_iter().flatten().collect();
        // Set before the task can end: it decides by this flag whether to log its ledger, which the
        // log at the end of the daemon will not contain.
        removed.iter().for_each(|task| task.is_removed.store(true, Ordering::Release));
        let all = |limits: IdleLimits, queue: &QueueHandle| limits.union(queue.idle());
        let idle = queues.iter().fold(IdleLimits::default(), all);
        let emit = Box::new(move |window: &_| push_all(&queues, window));
        (WindowReceiver { emit, idle }, RemovedDestinations(removed))
    }

    /// Names, kinds and ledgers of the running destinations.
    pub(super) fn info(&self) -> Vec<ForwarderInfo> {
        let info = |DestinationTask { handle, .. }: &DestinationTask| ForwarderInfo {
            name: handle.name().to_owned(),
            kind: handle.kind(),
            stats: Arc::clone(handle.stats()),
        };
        self.destinations.iter().map(info).collect()
    }

    /// Waits until all tasks have ended, at the latest at `until`, which was `limit` away when the stop
    /// began, unless that leaves too little time. Their input must have ended: a task ends when no
    /// further window can arrive and all points are delivered. Returns the forwarders.
    pub(super) async fn stop(self, until: Instant, limit: Duration) -> Vec<EndedForwarder> {
        let until = until.max(Instant::now() + limit.min(LEAST_TIME));
        self.destinations.iter().for_each(|task| task.end_by(until));
        self.tasks.join_all().await.into_iter().flatten().collect()
    }

    fn spawn(&mut self, destination: Destination) -> (QueueHandle, DestinationTask) {
        let (queue, handle, task) = destination.split_with_spool(&self.place);
        info!(forwarder = handle.name(), kind = handle.kind(), "forwarding");
        let (deadline, watched) = watch::channel(None);
        let is_removed = Arc::<AtomicBool>::default();
        let (removed, stats) = (Arc::clone(&is_removed), Arc::clone(handle.stats()));
        let name = handle.name().to_owned();
        self.tasks.spawn(async move {
            let ended = task.run(watched).await;
            if removed.load(Ordering::Acquire) {
                log_forwarder_ledger(&name, &stats);
                return None;
            }
            Some(ended)
        });
        (queue, DestinationTask { handle, deadline, is_removed })
    }
}

impl DestinationTask {
    fn end_by(&self, until: Instant) {
        // Sending fails if the task has already ended.
        let _has_ended = self.deadline.send(Some(until));
    }
}

impl RemovedDestinations {
    /// Gives the tasks this time to deliver their remaining points, without waiting for them. Points
    /// that are still undelivered then stay on disk or, without a spool, are counted as dropped.
    pub(super) fn end_within(self, time: Duration) {
        for task in self.0 {
            info!(
                forwarder = task.handle.name(),
                "forwarder removed; delivering its remaining points"
            );
            task.end_by(Instant::now() + time);
        }
    }
}
