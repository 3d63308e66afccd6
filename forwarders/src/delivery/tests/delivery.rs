//! Tests of a destination without a spool, from the push to the delivery.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::{Common, DeliveryConfig};
use crate::delivery::destination::Destination;
use crate::delivery::forwarder::{Forwarder, SendError};
use crate::delivery::handle::{DestinationHandle, QueueHandle};
use crate::delivery::output_watch::{LeftPayload, OutputWatcher};
use crate::delivery::payload::Batch;
use crate::delivery::reason;
use crate::delivery::settings::ForwarderSettings;
use crate::delivery::stats::Counts;
use crate::delivery::task::EndedForwarder;
use crate::delivery::window_parts::PART_POINTS;
use crate::select::SelectConfig;
use model::testing::snapshot_of_counters;
use model::{IdleLimits, Snapshot};

/// Encodes a payload for each point. A script gives the outcome of each attempt as a word.
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

    /// If the script says so.
    fn settles_what_left(&self) -> bool {
        self.script.contains(&"settles what left")
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
    queue: QueueHandle,
    running: DestinationHandle,
    seen: Arc<Mutex<Vec<usize>>>,
    deadline: watch::Sender<Option<Instant>>,
    task: JoinHandle<EndedForwarder>,
}

fn start(script: &[&'static str]) -> Bench {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let forwarder = Scripted { script: script.to_vec(), seen: Arc::clone(&seen) };
    let (queue, running, task) = destination(0, forwarder).split();
    let (deadline, watched) = watch::channel(None);
    Bench { queue, running, seen, deadline, task: tokio::spawn(task.run(watched)) }
}

fn destination(settings: u32, forwarder: Scripted) -> Destination {
    let common = Common {
        name: "scripted".into(),
        select: SelectConfig::default(),
        idle: IdleLimits::default(),
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
    /// Drops the queue handle and waits for the task.
    async fn finish(self) -> (Counts, Vec<usize>) {
        let stats = Arc::clone(self.running.stats());
        drop(self.queue);
        self.task.await.unwrap();
        let seen = self.seen.lock().clone();
        (stats.counts(), seen)
    }
}

#[tokio::test(start_paused = true)]
async fn delivered_payloads_are_not_sent_again() {
    let bench = start(&["half", "down"]);
    bench.queue.push(&Arc::new(snapshot_of_counters(10)));
    let (counts, seen) = bench.finish().await;
    assert_eq!(seen, [10, 5, 5]);
    assert_eq!((counts.flushed, counts.delivered, counts.queued), (10, 10, 0));
    assert_eq!(counts.failures, 2);
    assert!(!counts.down);
}

#[tokio::test(start_paused = true)]
async fn a_large_window_is_sent_in_parts_and_delivered_parts_are_not_sent_again() {
    let bench = start(&["ok", "half", "down"]);
    bench.queue.push(&Arc::new(snapshot_of_counters(2 * PART_POINTS + 10)));
    let (counts, seen) = bench.finish().await;
    let half = PART_POINTS / 2;
    assert_eq!(seen, [PART_POINTS, PART_POINTS, half, half, 10]);
    assert_eq!((counts.delivered, counts.queued), (2 * PART_POINTS as u64 + 10, 0));
}

#[tokio::test(start_paused = true)]
async fn a_destination_is_not_attempted_before_the_time_that_it_requested() {
    let bench = start(&["busy", "busy"]);
    let started = Instant::now();
    bench.queue.push(&Arc::new(snapshot_of_counters(1)));
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
        bench.queue.push(&Arc::new(snapshot_of_counters(points)));
    }
    let (counts, seen) = bench.finish().await;
    let oldest_first: Vec<usize> = [4; 13].into_iter().chain([3, 2]).collect();
    assert_eq!((counts.delivered, seen), (9, oldest_first));
    assert!(started.elapsed() > Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_refused_payload_is_counted_and_the_rest_is_delivered() {
    let bench = start(&["refuse one"]);
    bench.queue.push(&Arc::new(snapshot_of_counters(3)));
    let (counts, seen) = bench.finish().await;
    assert_eq!(seen, [3]);
    assert_eq!((counts.delivered, counts.dropped[reason::REFUSED]), (2, 1));
    assert_eq!(counts.last_error.unwrap().1, "malformed");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_is_abandoned_and_repeated() {
    let bench = start(&["hang"]);
    bench.queue.push(&Arc::new(snapshot_of_counters(2)));
    let (counts, seen) = bench.finish().await;
    assert_eq!(seen, [2, 2]);
    assert_eq!((counts.delivered, counts.failures), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_a_task_that_cannot_deliver_and_the_loss_is_counted() {
    let bench = start(&["down"; 1000]);
    bench.queue.push(&Arc::new(snapshot_of_counters(4)));
    bench.queue.push(&Arc::new(snapshot_of_counters(3)));
    bench.deadline.send(Some(Instant::now() + Duration::from_secs(10))).unwrap();
    let (counts, _) = bench.finish().await;
    assert_eq!((counts.flushed, counts.queued, counts.delivered), (7, 0, 0));
    assert_eq!(counts.dropped[reason::SHUTDOWN], 7);
}

#[tokio::test(start_paused = true)]
async fn a_reconfigured_destination_gets_the_waiting_windows_and_keeps_its_ledger() {
    let mut bench = start(&["down"; 1000]);
    for points in [4, 3] {
        bench.queue.push(&Arc::new(snapshot_of_counters(points)));
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let seen = Arc::<Mutex<Vec<usize>>>::default();
    let next = destination(1, Scripted { script: Vec::new(), seen: Arc::clone(&seen) });
    assert!(bench.running.can_reconfigure(&next) && !bench.running.same_config(&next));
    bench.queue = bench.running.reconfigure(next).unwrap();
    bench.queue.push(&Arc::new(snapshot_of_counters(2)));
    let (counts, _) = bench.finish().await;
    // Without a spool, the window that the replaced forwarder had encoded is lost.
    assert_eq!(*seen.lock(), [3, 2]);
    assert_eq!((counts.flushed, counts.delivered, counts.queued), (9, 5, 0));
    assert_eq!(counts.dropped, [(reason::REPLACED, 4)].into());
}

#[tokio::test(start_paused = true)]
async fn a_window_of_which_nothing_has_left_goes_to_the_new_destination_at_once() {
    for (first, arrived, dropped) in [("down", vec![4, 3, 2], 0), ("half", vec![3, 2], 2)] {
        let mut script = vec!["down"; 1000];
        (script[0], script[999]) = (first, "settles what left");
        let mut bench = start(&script);
        for points in [4, 3] {
            bench.queue.push(&Arc::new(snapshot_of_counters(points)));
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        let seen = Arc::<Mutex<Vec<usize>>>::default();
        let next = destination(1, Scripted { script: Vec::new(), seen: Arc::clone(&seen) });
        bench.queue = bench.running.reconfigure(next).unwrap();
        bench.queue.push(&Arc::new(snapshot_of_counters(2)));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(*seen.lock(), arrived, "{first}");
        let (counts, _) = bench.finish().await;
        assert_eq!(counts.dropped.get(reason::REPLACED).copied().unwrap_or(0), dropped);
        assert_eq!((counts.delivered, counts.queued), (9 - dropped, 0), "{first}");
    }
}

#[tokio::test(start_paused = true)]
async fn other_pauses_and_another_selection_leave_the_forwarder_and_its_window_alone() {
    let mut bench = start(&["half", "down"]);
    bench.queue.push(&Arc::new(snapshot_of_counters(10)));
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut same = destination(0, Scripted { script: Vec::new(), seen: Arc::default() });
    same.common.delivery.retry.max = basics::units::Span::from_secs(1);
    same.common.select.prefix = "new.".into();
    assert!(!bench.running.same_config(&same) && bench.running.defers_start(&same));
    bench.queue = bench.running.reconfigure(same).unwrap();
    let (counts, seen) = bench.finish().await;
    // The interrupted window is attempted at once.
    assert_eq!(seen, [10, 5, 5]);
    assert_eq!((counts.flushed, counts.delivered), (10, 10));
}

/// The destination, the points and the reason of each payload.
#[derive(Debug, Default)]
struct SeenPayloads(Mutex<Vec<(String, usize, Option<&'static str>)>>);

impl OutputWatcher for SeenPayloads {
    fn left(&self, name: &str, payload: &LeftPayload<'_>) {
        self.0.lock().push((name.to_owned(), payload.points.len(), payload.refused));
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_sees_each_payload_that_leaves_a_destination() {
    let bench = start(&["half", "refuse one"]);
    let seen = Arc::new(SeenPayloads::default());
    bench.running.stats().output().join(&(Arc::clone(&seen) as Arc<dyn OutputWatcher>));
    bench.queue.push(&Arc::new(snapshot_of_counters(4)));
    let (counts, _) = bench.finish().await;
    assert_eq!(counts.delivered, 3);
    let mut payloads = std::mem::take(&mut *seen.0.lock());
    payloads.sort_unstable();
    let payload = |refused| ("scripted".to_owned(), 1, refused);
    let [accepted, refused] = [None, Some(reason::REFUSED)].map(payload);
    assert_eq!(payloads, [accepted.clone(), accepted.clone(), accepted, refused]);
}
