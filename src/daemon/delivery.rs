//! The destinations that run: a task each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::aggregator::thread::Emit;
use forwarders::delivery::destination::{Destination, QueueHandle, Running};
use forwarders::spool::SpoolPlace;
use forwarders::stats::ForwarderStats;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::info;

use super::StartError;
use crate::runtime::ObservedForwarder;

/// All of them, in the order of the configuration.
pub(super) struct Delivery {
    place: SpoolPlace,
    destinations: Vec<Delivering>,
    tasks: JoinSet<()>,
}

/// One that runs.
struct Delivering {
    running: Running,
    /// By when it has to end.
    deadline: watch::Sender<Option<Instant>>,
    is_removed: Arc<AtomicBool>,
}

/// The destinations of a configuration, each with what it needs on this host.
pub(super) struct Prepared(Vec<Next>);

/// A destination of the next configuration; the number is that of the one that runs.
enum Next {
    Stays(usize),
    Becomes(usize, Destination),
    Begins(Destination),
}

/// Those that the next configuration does not have.
#[must_use = "they go on trying until they are told by when to end"]
pub(super) struct Removed(Vec<Delivering>);

impl Delivery {
    /// None yet; spools are in `place`.
    pub(super) fn new(place: SpoolPlace) -> Self {
        Self { place, destinations: Vec::new(), tasks: JoinSet::new() }
    }

    /// Starts what is to run and does not; nothing that runs is changed.
    ///
    /// # Errors
    /// When one cannot have what it needs on this host.
    pub(super) async fn prepare(
        &self,
        destinations: Vec<Destination>,
    ) -> Result<Prepared, StartError> {
        let mut prepared = Vec::new();
        for mut destination in destinations {
            let mut running = self.destinations.iter().map(|one| &one.running).enumerate();
            let same = running.find(|(_, running)| running.can_become(&destination));
            if same.is_none_or(|(_, running)| !running.starts_by_itself(&destination)) {
                let started = destination.forwarder.start().await;
                let name = &destination.common.name;
                started.map_err(|source| StartError::Forwarder { name: name.clone(), source })?;
            }
            prepared.push(match same {
                Some((number, running)) if running.is(&destination) => Next::Stays(number),
                Some((number, _)) => Next::Becomes(number, destination),
                None => Next::Begins(destination),
            });
        }
        Ok(Prepared(prepared))
    }

    /// Has them run. Returns the function that pushes each window into their queues; removed
    /// destinations end when the previous one is dropped.
    pub(super) fn apply(&mut self, Prepared(prepared): Prepared) -> (Emit, Removed) {
        let mut before: Vec<Option<Delivering>> =
            std::mem::take(&mut self.destinations).into_iter().map(Some).collect();
        let mut outlets = Vec::new();
        for next in prepared {
            let (outlet, delivering) = match next {
                Next::Stays(number) => {
                    let Some(delivering) = before[number].take() else { continue };
                    (delivering.running.another_outlet(), delivering)
                }
                Next::Becomes(number, destination) => {
                    let Some(mut delivering) = before[number].take() else { continue };
                    (delivering.running.become_this(destination), delivering)
                }
                Next::Begins(destination) => {
                    let (outlet, delivering) = self.begin(destination);
                    (Some(outlet), delivering)
                }
            };
            outlets.extend(outlet);
            self.destinations.push(delivering);
        }
        let removed: Vec<_> = before.into_iter().flatten().collect();
        removed.iter().for_each(|one| one.is_removed.store(true, Ordering::Release));
        let emit = move |snapshot: &_| {
            outlets.iter().for_each(|outlet: &QueueHandle| outlet.push(snapshot))
        };
        (Box::new(emit), Removed(removed))
    }

    /// As the status shows them.
    pub(super) fn observed(&self) -> Vec<ObservedForwarder> {
        let observed = |Delivering { running, .. }: &Delivering| ObservedForwarder {
            name: running.name().to_owned(),
            kind: running.kind(),
            stats: Arc::clone(running.stats()),
        };
        self.destinations.iter().map(observed).collect()
    }

    /// Waits until all have ended, which they have to by then. Their input has ended already.
    pub(super) async fn stop(self, until: Instant) {
        self.destinations.iter().for_each(|one| one.end_by(until));
        self.tasks.join_all().await;
    }

    fn begin(&mut self, destination: Destination) -> (QueueHandle, Delivering) {
        let (outlet, running, task) = destination.split_with_spool(&self.place);
        info!(forwarder = running.name(), kind = running.kind(), "forwarding");
        let (deadline, watched) = watch::channel(None);
        let is_removed = Arc::<AtomicBool>::default();
        let (removed, stats) = (Arc::clone(&is_removed), Arc::clone(running.stats()));
        let name = running.name().to_owned();
        self.tasks.spawn(async move {
            task.run(watched).await;
            if removed.load(Ordering::Acquire) {
                log_ledger(&name, &stats);
            }
        });
        (outlet, Delivering { running, deadline, is_removed })
    }
}

impl Delivering {
    fn end_by(&self, until: Instant) {
        // Nobody listens any more if it has ended already.
        let _has_ended = self.deadline.send(Some(until));
    }
}

impl Removed {
    /// Gives them this long to deliver what they have. What they have not then is on disk or, where
    /// there is no spool, counted as dropped, and the log tells.
    pub(super) fn end_within(self, time: Duration) {
        for one in self.0 {
            info!(forwarder = one.running.name(), "removed: delivering what is left");
            one.end_by(Instant::now() + time);
        }
    }
}

/// The last word on what was flushed to a destination.
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
