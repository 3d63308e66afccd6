//! The life of one destination: windows from its backlog, delivered by a courier, kept by a keeper.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::config::{Common, DeliveryConfig, RetryConfig, SpoolWrite};
use crate::delivery::backlog::Backlog;
use crate::delivery::delivery_loop::{DeliveryLoop, NextForwarder};
use crate::delivery::forwarder::Forwarder;
use crate::delivery::settings::ForwarderSettings;
use crate::delivery::stats::ForwarderStats;
use crate::select::SelectConfig;
use crate::spool::{SpoolPlace, SpoolWriter};
use model::Snapshot;

/// What is kept of the time for a stop to bring to disk what could not be delivered; at most a
/// quarter of it.
const KEEP_TIME: Duration = Duration::from_secs(1);

/// A destination as the registry builds it, not running yet.
pub struct Destination {
    /// Its section's kind: `kafka`, `file`…
    pub kind: &'static str,
    /// Which one of its kind in the configuration, counted from 0.
    pub index: usize,
    /// Name, selection and delivery settings.
    pub common: Common,
    /// What the forwarder was built from.
    pub settings: ForwarderSettings,
    /// What encodes and sends.
    pub forwarder: Box<dyn Forwarder>,
    /// The limit of one attempt; `None` where giving up half-way would write things twice.
    pub attempt_max: Option<Duration>,
}

/// The end of a running destination that the flush pushes into. When the last one is dropped, the
/// destination ends.
#[derive(Debug)]
pub struct QueueHandle {
    name: String,
    select: SelectConfig,
    input: Arc<Input>,
    wants_idle_windows: bool,
}

/// A backlog that is closed when nobody is left who could push into it.
#[derive(Debug)]
struct Input(Arc<Backlog>);

impl Drop for Input {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl QueueHandle {
    /// Queues what the destination wants of a snapshot. Never waits.
    pub fn push(&self, snapshot: &Arc<Snapshot>) {
        let snapshot = self.select.apply(snapshot);
        if snapshot.points.is_empty() && !self.wants_idle_windows {
            return;
        }
        let evicted = self.input.0.push(snapshot);
        if evicted > 0 {
            warn!(
                forwarder = self.name,
                points = evicted,
                "the queue is full, its oldest window was dropped"
            );
        }
    }
}

/// A running destination, for those who look at it and change it.
#[derive(Debug)]
pub struct Running {
    kind: &'static str,
    name: String,
    settings: ForwarderSettings,
    delivery: DeliveryConfig,
    select: SelectConfig,
    may_spool: bool,
    wants_idle_windows: bool,
    listen: Option<SocketAddr>,
    stats: Arc<ForwarderStats>,
    input: Weak<Input>,
    changes: mpsc::UnboundedSender<Change>,
}

/// What a running destination's task is told to go on with.
struct Change {
    retry: RetryConfig,
    next: Option<NextForwarder>,
}

impl Running {
    /// The name by which ledger and log know it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its section's kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Its ledger.
    #[must_use]
    pub fn stats(&self) -> &Arc<ForwarderStats> {
        &self.stats
    }

    /// Whether it can become this destination while it runs: one of its name and kind whose windows
    /// wait in the same place. Otherwise it has to end and the other begins.
    #[must_use]
    pub fn can_become(&self, destination: &Destination) -> bool {
        self.name == destination.common.name
            && self.kind == destination.kind
            && self.may_spool == destination.may_spool()
    }

    /// Whether it is this destination already.
    #[must_use]
    pub fn is(&self, destination: &Destination) -> bool {
        let Common { select, delivery, .. } = &destination.common;
        self.can_become(destination)
            && self.settings == destination.settings
            && self.select == *select
            && self.delivery == *delivery
    }

    /// Whether the destination's forwarder can be started only when this one's is gone, or needs no
    /// start at all because this one's stays.
    #[must_use]
    pub fn starts_by_itself(&self, destination: &Destination) -> bool {
        let listen = destination.forwarder.listen();
        self.settings == destination.settings || (listen.is_some() && listen == self.listen)
    }

    /// Has it become this destination. What it has not delivered yet goes there as well: the queue,
    /// the spool and the ledger stay. Its forwarder has been started unless
    /// [`Running::starts_by_itself`].
    ///
    /// The outlet takes the place of the one before, which is to be dropped only then.
    #[must_use]
    pub fn become_this(&mut self, destination: Destination) -> Option<QueueHandle> {
        let is_started = !self.starts_by_itself(&destination);
        let Destination { common, settings, forwarder, attempt_max, .. } = destination;
        let input = self.input.upgrade()?;
        let patience = common.delivery.timeout.get();
        let mut next = None;
        if self.settings != settings {
            self.stats.go_on_with(&*forwarder);
            self.wants_idle_windows = forwarder.wants_idle_windows();
            self.listen = forwarder.listen();
            self.settings = settings;
            next = Some(NextForwarder { forwarder, attempt_max, patience, is_started });
        }
        input.0.set_limits(&common.delivery);
        // A task that has ended has nothing left to change.
        let _has_ended = self.changes.send(Change { retry: common.delivery.retry.clone(), next });
        (self.select, self.delivery) = (common.select, common.delivery);
        Some(self.outlet(input))
    }

    /// Another end to push into, like the one that there is.
    #[must_use]
    pub fn another_outlet(&self) -> Option<QueueHandle> {
        Some(self.outlet(self.input.upgrade()?))
    }

    fn outlet(&self, input: Arc<Input>) -> QueueHandle {
        QueueHandle {
            name: self.name.clone(),
            select: self.select.clone(),
            input,
            wants_idle_windows: self.wants_idle_windows,
        }
    }
}

/// Works off a destination's backlog until its outlet is dropped.
pub struct ForwarderTask {
    name: String,
    courier: DeliveryLoop,
    /// Only where there is a spool.
    keeper: Option<SpoolWriter>,
    backlog: Arc<Backlog>,
    changes: mpsc::UnboundedReceiver<Change>,
}

impl Destination {
    /// A destination whose attempts are not limited in time: an attempt on this host that ended
    /// half-way would write data twice, and where each request has its own limit, an attempt may
    /// take many of them and continues as long as they succeed.
    #[must_use]
    pub fn new(
        kind: &'static str,
        common: Common,
        settings: ForwarderSettings,
        forwarder: impl Forwarder + 'static,
    ) -> Self {
        let forwarder = Box::new(forwarder);
        Self { kind, index: 0, common, settings, forwarder, attempt_max: None }
    }

    /// Limits each attempt to `delivery.timeout`, for a destination on the network: an attempt may
    /// be given up and made again.
    #[must_use]
    pub fn with_attempt_limit(self) -> Self {
        Self { attempt_max: Some(self.common.delivery.timeout.get()), ..self }
    }

    /// Splits it into the end to push into, what is known of it, and the task to spawn. All waits in
    /// memory.
    #[must_use]
    pub fn split(self) -> (QueueHandle, Running, ForwarderTask) {
        self.split_with(None)
    }

    /// The same with a spool in `place`, if the destination has a use for old data.
    #[must_use]
    pub fn split_with_spool(self, place: &SpoolPlace) -> (QueueHandle, Running, ForwarderTask) {
        let may_spool = self.may_spool();
        self.split_with(Some(place).filter(|_| may_spool))
    }

    /// Whether windows may wait for it on disk.
    #[must_use]
    pub fn may_spool(&self) -> bool {
        let write = self.common.delivery.spool.write;
        self.forwarder.wants_old_data() && write != SpoolWrite::Never
    }

    fn split_with(self, place: Option<&SpoolPlace>) -> (QueueHandle, Running, ForwarderTask) {
        let may_spool = self.may_spool();
        let Self { kind, common, settings, forwarder, attempt_max, .. } = self;
        let Common { name, select, delivery } = common;
        let stats = Arc::new(ForwarderStats::new(&*forwarder));
        let backlog = Arc::new(Backlog::new(&delivery, place.is_some(), Arc::clone(&stats)));
        let keeper = place.map(|place| SpoolWriter::new(name.clone(), place, Arc::clone(&backlog)));
        if let Some(keeper) = &keeper {
            stats.spool(|spool| spool.folder.clone_from(keeper.root()));
        }
        let (sender, changes) = mpsc::unbounded_channel();
        let input = Arc::new(Input(Arc::clone(&backlog)));
        let running = Running {
            kind,
            name: name.clone(),
            settings,
            select,
            may_spool,
            wants_idle_windows: forwarder.wants_idle_windows(),
            listen: forwarder.listen(),
            stats: Arc::clone(&stats),
            input: Arc::downgrade(&input),
            changes: sender,
            delivery,
        };
        let courier = DeliveryLoop::new(
            name.clone(),
            forwarder,
            attempt_max,
            &running.delivery.retry,
            Arc::clone(&backlog),
            stats,
        );
        (running.outlet(input), running, ForwarderTask { name, courier, keeper, backlog, changes })
    }
}

impl ForwarderTask {
    /// Runs until the outlet is dropped and nothing is left to do, or until the moment that
    /// `deadline` comes to hold. What is undelivered then is on disk or, where there is no spool,
    /// is counted as dropped.
    pub async fn run(self, mut deadline: watch::Receiver<Option<Instant>>) {
        let Self { name, mut courier, keeper, backlog, mut changes } = self;
        let keeps = keeper.is_some();
        let mut to_stop = deadline.clone();
        let deliver = async {
            loop {
                tokio::select! {
                    () = courier.run() => break,
                    () = backlog.no_use_trying() => break,
                    () = before(&mut to_stop, if keeps { KEEP_TIME } else { Duration::ZERO }) => break,
                    Some(Change { retry, next }) = changes.recv() => courier.change(&retry, next),
                }
            }
            if keeps {
                courier.stop().await;
            } else {
                courier.account();
            }
            backlog.leave();
        };
        let keep = async {
            if let Some(keeper) = keeper {
                keeper.run().await;
            }
        };
        tokio::select! {
            _ = async { tokio::join!(deliver, keep) } => {}
            () = before(&mut deadline, Duration::ZERO) => {}
        }
        let lost = backlog.abandon();
        if lost > 0 {
            error!(
                forwarder = name,
                points = lost,
                "points could not be delivered before shutdown_timeout and are lost"
            );
        }
        let spooled = backlog.spooled();
        if spooled > 0 {
            info!(forwarder = name, points = spooled, "left in the spool for the next start");
        }
    }
}

/// Returns that long before the moment that `deadline` comes to hold, but not before three quarters
/// of the time until then are over.
async fn before(deadline: &mut watch::Receiver<Option<Instant>>, margin: Duration) {
    loop {
        let moment = *deadline.borrow_and_update();
        match moment {
            Some(moment) => {
                let left = moment.saturating_duration_since(Instant::now());
                return tokio::time::sleep_until(moment - margin.min(left / 4)).await;
            }
            // Nobody is left who could set one: only the end of the input ends the task.
            None if deadline.changed().await.is_err() => std::future::pending().await,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::config::DeliveryConfig;
    use crate::delivery::delivery_loop::PART_POINTS;
    use crate::delivery::forwarder::SendError;
    use crate::delivery::payload::Batch;
    use crate::delivery::stats::reason;
    use model::testing::snapshot_of_counters;

    /// Takes a payload for each point and follows a script, one word an attempt.
    struct Scripted {
        script: Vec<&'static str>,
        seen: Arc<Mutex<Vec<usize>>>,
    }

    #[async_trait]
    impl Forwarder for Scripted {
        fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
            for _ in &snapshot.points {
                batch.push(1, |_| (), |_| ());
            }
        }

        async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError> {
            let pending: Vec<usize> = batch.pending().map(|payload| payload.id).collect();
            self.seen.lock().push(pending.len());
            match if self.script.is_empty() { "ok" } else { self.script.remove(0) } {
                "half" => {
                    pending.iter().take(pending.len() / 2).for_each(|id| batch.delivered(*id));
                    Err(SendError::transient("half of it"))
                }
                "refuse one" => {
                    batch.refused(pending[0], reason::REFUSED, "malformed");
                    batch.all_delivered();
                    Ok(())
                }
                "down" => Err(SendError::transient("connection refused")),
                "busy" => Err(SendError::transient_after("busy", Some(Duration::from_secs(7)))),
                "hang" => std::future::pending().await,
                _ => {
                    batch.all_delivered();
                    Ok(())
                }
            }
        }
    }

    struct Bench {
        outlet: QueueHandle,
        running: Running,
        seen: Arc<Mutex<Vec<usize>>>,
        deadline: watch::Sender<Option<Instant>>,
        task: tokio::task::JoinHandle<()>,
    }

    fn start(script: &[&'static str]) -> Bench {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let forwarder = Scripted { script: script.to_vec(), seen: Arc::clone(&seen) };
        let (outlet, running, task) = destination(0, forwarder).split();
        let (deadline, watched) = watch::channel(None);
        Bench { outlet, running, seen, deadline, task: tokio::spawn(task.run(watched)) }
    }

    fn destination(settings: u32, forwarder: Scripted) -> Destination {
        let common = Common {
            name: "scripted".into(),
            select: SelectConfig::default(),
            delivery: DeliveryConfig::default(),
        };
        Destination {
            kind: "scripted",
            index: 0,
            attempt_max: Some(common.delivery.timeout.get()),
            common,
            settings: ForwarderSettings::new(settings),
            forwarder: Box::new(forwarder),
        }
    }

    impl Bench {
        /// Ends the input and waits for the task.
        async fn finish(self) -> (crate::delivery::stats::Counts, Vec<usize>) {
            let stats = Arc::clone(self.running.stats());
            drop(self.outlet);
            self.task.await.unwrap();
            let seen = self.seen.lock().clone();
            (stats.counts(), seen)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_delivered_is_not_sent_again() {
        let bench = start(&["half", "down"]);
        bench.outlet.push(&Arc::new(snapshot_of_counters(10)));
        let (counts, seen) = bench.finish().await;
        assert_eq!(seen, [10, 5, 5]);
        assert_eq!((counts.flushed, counts.delivered, counts.queued), (10, 10, 0));
        assert_eq!(counts.failures, 2);
        assert!(!counts.down);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_window_goes_in_parts_and_those_that_are_delivered_do_not_go_again() {
        let bench = start(&["ok", "half", "down"]);
        bench.outlet.push(&Arc::new(snapshot_of_counters(2 * PART_POINTS + 10)));
        let (counts, seen) = bench.finish().await;
        let half = PART_POINTS / 2;
        assert_eq!(seen, [PART_POINTS, PART_POINTS, half, half, 10]);
        assert_eq!((counts.delivered, counts.queued), (2 * PART_POINTS as u64 + 10, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_is_not_tried_before_the_time_that_it_named() {
        let bench = start(&["busy", "busy"]);
        let started = Instant::now();
        bench.outlet.push(&Arc::new(snapshot_of_counters(1)));
        let (counts, seen) = bench.finish().await;
        assert_eq!((counts.delivered, seen.len()), (1, 3));
        let took = started.elapsed();
        assert!((Duration::from_secs(14)..Duration::from_secs(15)).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_destination_is_down_only_the_oldest_window_is_tried_with_growing_pauses() {
        let bench = start(&["down"; 12]);
        let started = Instant::now();
        for points in [4, 3, 2] {
            bench.outlet.push(&Arc::new(snapshot_of_counters(points)));
        }
        let (counts, seen) = bench.finish().await;
        let oldest_first: Vec<usize> = [4; 13].into_iter().chain([3, 2]).collect();
        assert_eq!((counts.delivered, seen), (9, oldest_first));
        assert!(started.elapsed() > Duration::from_secs(5), "{:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_payload_is_counted_and_the_rest_goes_on() {
        let bench = start(&["refuse one"]);
        bench.outlet.push(&Arc::new(snapshot_of_counters(3)));
        let (counts, seen) = bench.finish().await;
        assert_eq!(seen, [3]);
        assert_eq!((counts.delivered, counts.dropped[reason::REFUSED]), (2, 1));
        assert_eq!(counts.last_error.unwrap().1, "malformed");
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_hangs_is_given_up_and_made_again() {
        let bench = start(&["hang"]);
        bench.outlet.push(&Arc::new(snapshot_of_counters(2)));
        let (counts, seen) = bench.finish().await;
        assert_eq!(seen, [2, 2]);
        assert_eq!((counts.delivered, counts.failures), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_a_task_that_cannot_deliver_and_the_loss_is_counted() {
        let bench = start(&["down"; 1000]);
        bench.outlet.push(&Arc::new(snapshot_of_counters(4)));
        bench.outlet.push(&Arc::new(snapshot_of_counters(3)));
        bench.deadline.send(Some(Instant::now() + Duration::from_secs(10))).unwrap();
        let (counts, _) = bench.finish().await;
        assert_eq!((counts.flushed, counts.queued, counts.delivered), (7, 0, 0));
        assert_eq!(counts.dropped[reason::SHUTDOWN], 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_that_is_changed_gets_what_waited_and_the_ledger_goes_on() {
        let mut bench = start(&["down"; 1000]);
        for points in [4, 3] {
            bench.outlet.push(&Arc::new(snapshot_of_counters(points)));
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        let seen = Arc::<Mutex<Vec<usize>>>::default();
        let next = destination(1, Scripted { script: Vec::new(), seen: Arc::clone(&seen) });
        assert!(bench.running.can_become(&next) && !bench.running.is(&next));
        bench.outlet = bench.running.become_this(next).unwrap();
        bench.outlet.push(&Arc::new(snapshot_of_counters(2)));
        let (counts, _) = bench.finish().await;
        // Without a spool, nobody has what the first one had encoded already.
        assert_eq!(*seen.lock(), [3, 2]);
        assert_eq!((counts.flushed, counts.delivered, counts.queued), (9, 5, 0));
        assert_eq!(counts.dropped, [(reason::REPLACED, 4)].into());
    }

    #[tokio::test(start_paused = true)]
    async fn other_pauses_and_another_selection_leave_the_forwarder_and_its_window_alone() {
        let mut bench = start(&["half", "down"]);
        bench.outlet.push(&Arc::new(snapshot_of_counters(10)));
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut same = destination(0, Scripted { script: Vec::new(), seen: Arc::default() });
        same.common.delivery.retry.max = basics::units::Span::from_secs(1);
        same.common.select.prefix = "new.".into();
        assert!(!bench.running.is(&same) && bench.running.starts_by_itself(&same));
        bench.outlet = bench.running.become_this(same).unwrap();
        let (counts, seen) = bench.finish().await;
        // What was interrupted is tried at once.
        assert_eq!(seen, [10, 5, 5]);
        assert_eq!((counts.flushed, counts.delivered), (10, 10));
    }
}
