//! Tests of a destination whose attempts take a certain time, or that receives windows without points.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::spool::{Mode, Peer, Run, small};
use crate::config::{Common, SpoolConfig, SpoolWrite};
use crate::delivery::destination::Destination;
use crate::delivery::forwarder::{Forwarder, SendError};
use crate::delivery::handle::push_all;
use crate::delivery::payload::Batch;
use crate::delivery::settings::ForwarderSettings;
use crate::select::SelectConfig;
use crate::spool::SpoolPlace;
use model::IdleLimits;
use model::testing::snapshot_of_counters;
use model::{ClosedWindow, Snapshot};

/// Takes all points, each attempt in this time, and counts the windows.
struct Slow {
    attempt: Duration,
    windows: Arc<AtomicUsize>,
}

#[async_trait]
impl Forwarder for Slow {
    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        self.windows.fetch_add(1, Ordering::Relaxed);
        batch.push(snapshot.points.len() as u64, |_| (), |_| ());
    }

    async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        sleep(self.attempt).await;
        batch.all_delivered();
        Ok(())
    }

    fn wants_idle_windows(&self) -> bool {
        true
    }

    fn wants_old_data(&self) -> bool {
        true
    }
}

fn slow(attempt: Duration, windows: &Arc<AtomicUsize>) -> Destination {
    destination("slow", Slow { attempt, windows: Arc::clone(windows) })
}

/// Refuses to answer for good or bad, and may ask for other data.
struct Undecided {
    wants_newer: bool,
    /// The number of points of each window that it was shown.
    shown: Arc<Mutex<Vec<usize>>>,
}

#[async_trait]
impl Forwarder for Undecided {
    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        batch.push(snapshot.points.len() as u64, |_| (), |_| ());
    }

    async fn send(&mut self, _batch: &mut Batch) -> Result<(), SendError> {
        Err(SendError::transient("no answer"))
    }

    fn wants_newer_window(&self) -> bool {
        self.wants_newer
    }

    fn show_newer_window(&mut self, newer: &Snapshot) {
        self.shown.lock().push(newer.points.len());
    }

    fn wants_old_data(&self) -> bool {
        true
    }
}

fn destination(name: &str, forwarder: impl Forwarder + 'static) -> Destination {
    let (select, delivery) = (SelectConfig::default(), small(SpoolConfig::default()));
    let common = Common { name: name.into(), select, delivery, idle: IdleLimits::default() };
    Destination::new("slow", common, ForwarderSettings::new(0), forwarder)
}

#[tokio::test(start_paused = true)]
async fn only_a_forwarder_that_asks_for_it_is_shown_the_newest_window() {
    for (wants_newer, has_spool) in [(true, false), (true, true), (false, true)] {
        let folder = tempfile::tempdir().unwrap();
        let place = SpoolPlace { folder: folder.path().into(), instance: "run-1".into() };
        let shown = Arc::<Mutex<Vec<usize>>>::default();
        let undecided =
            destination("undecided", Undecided { wants_newer, shown: Arc::clone(&shown) });
        let (queue, running, task) =
            if has_spool { undecided.split_with_spool(&place) } else { undecided.split() };
        tokio::spawn(task.run(watch::channel(None).1));
        sleep(Duration::from_millis(1)).await;
        for points in 1..=4 {
            queue.push(&Arc::new(snapshot_of_counters(points)));
        }
        sleep(Duration::from_secs(10)).await;
        assert_eq!(running.stats().counts().spooled, if has_spool { 10 } else { 0 });
        shown.lock().clear();
        sleep(Duration::from_secs(60)).await;
        let shown = shown.lock();
        assert_eq!(
            (!shown.is_empty(), shown.iter().all(|points| *points == 4)),
            (wants_newer, true)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_goes_to_disk_when_its_attempt_takes_longer_than_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let place = SpoolPlace { folder: folder.path().into(), instance: "run-1".into() };
    let destination = slow(Duration::from_secs(3), &Arc::default());
    let (queue, running, task) = destination.split_with_spool(&place);
    tokio::spawn(task.run(watch::channel(None).1));
    sleep(Duration::from_millis(1)).await;
    queue.push(&Arc::new(snapshot_of_counters(5)));
    sleep(Duration::from_millis(900)).await;
    assert_eq!(running.stats().counts().spooled, 0);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(running.stats().counts().spooled, 5);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(running.stats().counts().delivered, 5);
    assert_eq!((running.name(), running.kind()), ("slow", "slow"));
}

#[tokio::test(start_paused = true)]
async fn windows_without_points_are_delivered_without_pauses() {
    let windows = Arc::default();
    let (queue, _running, task) = slow(Duration::ZERO, &windows).split();
    for _ in 0..3 {
        queue.push(&Arc::new(snapshot_of_counters(0)));
    }
    tokio::spawn(task.run(watch::channel(None).1));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(windows.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_window_without_points_does_not_wait_for_a_disk_that_it_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let place = SpoolPlace { folder: folder.path().into(), instance: "run-1".into() };
    let windows = Arc::default();
    let mut destination = slow(Duration::ZERO, &windows);
    destination.common.delivery.spool.write = SpoolWrite::Always;
    let (queue, _running, task) = destination.split_with_spool(&place);
    tokio::spawn(task.run(watch::channel(None).1));
    sleep(Duration::from_secs(1)).await;
    queue.push(&Arc::new(snapshot_of_counters(0)));
    sleep(Duration::from_millis(100)).await;
    assert_eq!(windows.load(Ordering::Relaxed), 1);
}

#[test]
fn with_always_another_destination_waits_for_the_write_and_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let (safe, other) = (Peer::new(Mode::Up), Peer::new(Mode::Up));
    let spool = SpoolConfig { write: SpoolWrite::Always, ..SpoolConfig::default() };
    let run = Run::start(folder.path(), &safe, small(spool));
    let queues = run.add(folder.path(), "other", &other, small(SpoolConfig::default()));
    run.wait();
    push_all(&queues, &ClosedWindow::undivided(snapshot_of_counters(2)));
    let took = run.runtime.block_on(async {
        let started = Instant::now();
        while other.windows().is_empty() || safe.windows().is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
        started.elapsed()
    });
    assert!(took < Duration::from_millis(500), "{took:?}");
    run.crash();
}

#[tokio::test(start_paused = true)]
async fn a_window_is_delivered_once_no_other_destination_has_to_write_it_first() {
    let folder = tempfile::tempdir().unwrap();
    let place = SpoolPlace { folder: folder.path().into(), instance: "run-1".into() };
    let windows = Arc::default();
    let mut safe = slow(Duration::ZERO, &Arc::default());
    safe.common.delivery.spool.write = SpoolWrite::Always;
    // It does not run, so it writes nothing.
    let (safe, _, safe_task) = safe.split_with_spool(&place);
    let (other, _running, task) = slow(Duration::ZERO, &windows).split();
    tokio::spawn(task.run(watch::channel(None).1));
    let queues = [safe, other];
    push_all(&queues, &ClosedWindow::undivided(snapshot_of_counters(2)));
    sleep(Duration::from_millis(100)).await;
    assert_eq!(windows.load(Ordering::Relaxed), 0);
    let [safe, _other] = queues;
    drop((safe, safe_task));
    sleep(Duration::from_millis(100)).await;
    assert_eq!(windows.load(Ordering::Relaxed), 1);
}

#[test]
fn points_that_are_reported_at_a_stop_are_not_written_to_disk() {
    let folder = tempfile::tempdir().unwrap();
    let place = SpoolPlace { folder: folder.path().into(), instance: "run-1".into() };
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (queue, running, task) = destination("late", LateReport).split_with_spool(&place);
        let (deadline, watched) = watch::channel(None);
        let task = tokio::spawn(task.run(watched));
        queue.push(&Arc::new(snapshot_of_counters(3)));
        sleep(Duration::from_millis(1)).await;
        drop(queue);
        deadline.send_replace(Some(Instant::now() + Duration::from_secs(5)));
        task.await.unwrap();
        let counts = running.stats().counts();
        assert_eq!((counts.delivered, counts.spooled), (3, 0));
    });
}

/// Never answers, and reports at the stop that all points have arrived.
struct LateReport;

#[async_trait]
impl Forwarder for LateReport {
    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        batch.push(snapshot.points.len() as u64, |_| (), |_| ());
    }

    async fn send(&mut self, _batch: &mut Batch) -> Result<(), SendError> {
        std::future::pending().await
    }

    async fn stop(&mut self, batch: &mut Batch) {
        batch.all_delivered();
    }

    fn wants_old_data(&self) -> bool {
        true
    }
}
