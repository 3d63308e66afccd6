//! The life of one destination: snapshots from its queue, encoded, sent, tried again, counted.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::backoff::Backoff;
use crate::config::{Common, DeliveryConfig};
use crate::forwarder::{ErrorClass, Forwarder, SendError};
use crate::model::Snapshot;
use crate::payload::Batch;
use crate::queue::{self, SnapshotQueue};
use crate::select::SelectConfig;
use crate::stats::{ForwarderStats, reason};

/// How often a destination is tried that waits for its operator.
const OPERATOR_PAUSE: Duration = Duration::from_secs(60);

/// Refused points are logged at most this often; all are counted.
const REFUSAL_LOG_PAUSE: Duration = Duration::from_secs(60);

/// A destination as the registry builds it, not running yet.
pub struct Destination {
    /// Its section's kind: `kafka`, `file`…
    pub kind: &'static str,
    /// Which one of its kind in the configuration, counted from 0.
    pub index: usize,
    /// Name, selection and delivery settings.
    pub common: Common,
    /// What encodes and sends.
    pub forwarder: Box<dyn Forwarder>,
    /// The limit of one attempt; `None` where giving up half-way would write things twice.
    pub attempt_max: Option<Duration>,
}

/// The end of a running destination that the flush pushes into.
#[derive(Debug)]
pub struct Outlet {
    kind: &'static str,
    name: String,
    select: SelectConfig,
    queue: SnapshotQueue,
    stats: Arc<ForwarderStats>,
}

impl Outlet {
    /// Queues what the destination wants of a snapshot. Never waits.
    pub fn push(&self, snapshot: &Arc<Snapshot>) {
        let evicted = self.queue.push(self.select.apply(snapshot)).0;
        if evicted > 0 {
            warn!(
                forwarder = self.name,
                points = evicted,
                "the queue is full, its oldest window was dropped"
            );
        }
    }

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
}

/// Owns a forwarder and works off its queue until the queue is closed and empty.
pub struct ForwarderTask {
    name: String,
    forwarder: Box<dyn Forwarder>,
    attempt_max: Option<Duration>,
    delivery: DeliveryConfig,
    receiver: flume::Receiver<Arc<Snapshot>>,
    stats: Arc<ForwarderStats>,
    batch: Batch,
    refusal_logged: Option<Instant>,
    unlogged_refusals: u64,
}

impl Destination {
    /// Splits it into the end to push into and the task to spawn.
    #[must_use]
    pub fn split(self) -> (Outlet, ForwarderTask) {
        let Common { name, select, delivery } = self.common;
        let stats = Arc::new(ForwarderStats::default());
        let (queue, receiver) = queue::bounded(delivery.queue.max_points, Arc::clone(&stats));
        let outlet = Outlet {
            kind: self.kind,
            name: name.clone(),
            select,
            queue,
            stats: Arc::clone(&stats),
        };
        let task = ForwarderTask {
            name,
            forwarder: self.forwarder,
            attempt_max: self.attempt_max,
            delivery,
            receiver,
            stats,
            batch: Batch::default(),
            refusal_logged: None,
            unlogged_refusals: 0,
        };
        (outlet, task)
    }
}

impl ForwarderTask {
    /// Runs until the outlet is dropped and the queue is empty, or until the moment that
    /// `deadline` comes to hold; what is undelivered then is counted as dropped.
    pub async fn run(mut self, mut deadline: watch::Receiver<Option<Instant>>) {
        tokio::select! {
            () = self.work() => {}
            () = passed(&mut deadline) => self.give_up(),
        }
    }

    async fn work(&mut self) {
        while let Ok(snapshot) = self.receiver.recv_async().await {
            self.batch.clear();
            self.forwarder.encode(&snapshot, &mut self.batch);
            drop(snapshot);
            self.deliver().await;
        }
    }

    /// Sends the batch until all of it is settled.
    async fn deliver(&mut self) {
        let mut backoff = Backoff::new(&self.delivery.retry);
        loop {
            let outcome = self.attempt().await;
            self.account();
            match outcome {
                Ok(()) => {
                    if self.stats.succeeded() {
                        info!(forwarder = self.name, "delivers again");
                    }
                }
                Err(error) => {
                    self.report(&error);
                    if !self.batch.is_settled() {
                        tokio::time::sleep(pause(&error, &mut backoff)).await;
                    }
                }
            }
            if self.batch.is_settled() {
                return;
            }
        }
    }

    async fn attempt(&mut self) -> Result<(), SendError> {
        let send = self.forwarder.send(&mut self.batch);
        let outcome = match self.attempt_max {
            Some(max) => tokio::time::timeout(max, send).await.unwrap_or_else(|_| {
                Err(SendError::transient(format!("no answer within {max:?} (delivery.timeout)")))
            }),
            None => send.await,
        };
        if outcome.is_ok() && !self.batch.is_settled() {
            debug_assert!(false, "a forwarder said Ok and left payloads pending");
            return Err(SendError::transient("the forwarder left payloads unsent"));
        }
        outcome
    }

    /// Moves what the attempt settled from `queued` to where it belongs.
    fn account(&mut self) {
        let settled = self.batch.take_settled();
        for points in settled.refused.values() {
            self.unlogged_refusals += points;
        }
        if let Some(words) = &settled.last_refusal
            && self.refusal_logged.is_none_or(|logged| logged.elapsed() >= REFUSAL_LOG_PAUSE)
        {
            let points = std::mem::take(&mut self.unlogged_refusals);
            let reasons: Vec<_> = settled.refused.keys().collect();
            error!(forwarder = self.name, points, ?reasons, words, "points were refused for good");
            self.refusal_logged = Some(Instant::now());
        }
        self.stats.settled(settled);
    }

    /// Logs the first of a row of failures; the rest is counted and shown in the status.
    fn report(&self, error: &SendError) {
        if self.stats.failed(error.to_string()) {
            warn!(
                forwarder = self.name,
                error = %error,
                "cannot deliver; trying again until it works, the data is kept"
            );
        }
    }

    fn give_up(&mut self) {
        self.account();
        let mut points = self.batch.points_pending();
        points += self.receiver.drain().map(|snapshot| snapshot.points.len() as u64).sum::<u64>();
        self.stats.dropped(reason::SHUTDOWN, points);
        if points > 0 {
            error!(
                forwarder = self.name,
                points, "could not be delivered before shutdown_timeout and are lost"
            );
        }
    }
}

fn pause(error: &SendError, backoff: &mut Backoff) -> Duration {
    let pause = backoff.next_pause(rand::random());
    match error.class() {
        ErrorClass::Transient { after } => pause.max(after.unwrap_or_default()),
        ErrorClass::Operator => pause.max(backoff.max()).max(OPERATOR_PAUSE.min(backoff.max() * 2)),
    }
}

/// Returns once `deadline` holds a moment and that moment has passed.
async fn passed(deadline: &mut watch::Receiver<Option<Instant>>) {
    loop {
        let moment = *deadline.borrow_and_update();
        match moment {
            Some(moment) => return tokio::time::sleep_until(moment).await,
            // Nobody is left who could set one: only the end of the input ends the task.
            None if deadline.changed().await.is_err() => std::future::pending().await,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::testing::snapshot_of_counters;

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
            self.seen.lock().unwrap().push(pending.len());
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
                "hang" => std::future::pending().await,
                _ => {
                    batch.all_delivered();
                    Ok(())
                }
            }
        }
    }

    struct Bench {
        outlet: Outlet,
        seen: Arc<Mutex<Vec<usize>>>,
        deadline: watch::Sender<Option<Instant>>,
        task: tokio::task::JoinHandle<()>,
    }

    fn start(script: &[&'static str]) -> Bench {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let forwarder = Scripted { script: script.to_vec(), seen: Arc::clone(&seen) };
        let common = Common {
            name: "scripted".into(),
            select: SelectConfig::default(),
            delivery: DeliveryConfig::default(),
        };
        let attempt_max = Some(common.delivery.timeout.get());
        let destination = Destination {
            kind: "scripted",
            index: 0,
            common,
            forwarder: Box::new(forwarder),
            attempt_max,
        };
        let (outlet, task) = destination.split();
        let (deadline, watched) = watch::channel(None);
        Bench { outlet, seen, deadline, task: tokio::spawn(task.run(watched)) }
    }

    impl Bench {
        /// Ends the input and waits for the task.
        async fn finish(self) -> (crate::stats::Counts, Vec<usize>) {
            let stats = Arc::clone(self.outlet.stats());
            drop(self.outlet);
            self.task.await.unwrap();
            let seen = self.seen.lock().unwrap().clone();
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
}
