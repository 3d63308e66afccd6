//! Tests of a destination with a spool, from the push to the delivery: failures, damaged files,
//! stops, crashes and reloads.

use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use proptest::prelude::*;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::config::{Common, DeliveryConfig, SpoolConfig, SpoolOrder, SpoolWrite};
use crate::delivery::destination::Destination;
use crate::delivery::forwarder::{Forwarder, SendError};
use crate::delivery::handle::{DestinationHandle, QueueHandle};
use crate::delivery::payload::Batch;
use crate::delivery::reason;
use crate::delivery::settings::ForwarderSettings;
use crate::delivery::stats::Counts;
use crate::delivery::task::EndedForwarder;
use crate::delivery::window_parts::PART_POINTS;
use crate::select::SelectConfig;
use crate::spool::{Host, SpoolPlace};
use basics::units::{ByteSize, Span};
use model::testing::snapshot_of_counters;
use model::{IdleLimits, Point, Snapshot};

/// Time for the spool loop to write windows and to check for missing files.
pub(super) const A_WHILE: Duration = Duration::from_secs(40);

/// The current behavior of the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Up,
    Down,
    /// Accepts half of the pending payloads, then fails.
    Half,
    /// Never answers.
    Hangs,
    /// Never answers, and reports nothing at the end either.
    Silent,
}

/// A point that the destination received: the end of its window and its tag.
pub(super) type Got = (u64, usize);

#[derive(Clone, Debug)]
pub(super) struct Peer {
    mode: Arc<Mutex<Mode>>,
    got: Arc<Mutex<Vec<Got>>>,
    /// The points of every window that it refuses, by tag, with the reason.
    pub(super) refuses: Arc<Mutex<BTreeMap<usize, &'static str>>>,
}

impl Peer {
    pub(super) fn new(mode: Mode) -> Self {
        Self { mode: Arc::new(Mutex::new(mode)), got: Arc::default(), refuses: Arc::default() }
    }

    pub(super) fn refuses(&self, points: impl IntoIterator<Item = usize>, reason: &'static str) {
        self.refuses.lock().extend(points.into_iter().map(|point| (point, reason)));
    }

    pub(super) fn is(&self, mode: Mode) {
        *self.mode.lock() = mode;
    }

    pub(super) fn got(&self) -> Vec<Got> {
        self.got.lock().clone()
    }

    /// The windows in the order in which their first points arrived.
    pub(super) fn windows(&self) -> Vec<u64> {
        let mut seen = BTreeSet::new();
        self.got().into_iter().filter(|(end, _)| seen.insert(*end)).map(|(end, _)| end).collect()
    }
}

struct Fake(Peer);

#[async_trait]
impl Forwarder for Fake {
    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        for point in &snapshot.points {
            let text = format!("{}/{}", snapshot.window.end_ms, point.series.tag("n").unwrap());
            batch.push(1, |_| (), |out| out.extend(text.bytes()));
        }
    }

    async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        let mode = *self.0.mode.lock();
        let pending: Vec<(usize, String)> = batch
            .pending()
            .map(|payload| (payload.id, String::from_utf8(payload.bytes.to_vec()).unwrap()))
            .collect();
        let taken = match mode {
            Mode::Up => pending.len(),
            Mode::Half => pending.len() / 2,
            Mode::Down => 0,
            Mode::Hangs | Mode::Silent => std::future::pending().await,
        };
        for (id, text) in &pending[..taken] {
            let (end, number) = text.split_once('/').unwrap();
            let number = number.parse().unwrap();
            if let Some(reason) = self.0.refuses.lock().get(&number) {
                batch.refused(*id, reason, "no");
                continue;
            }
            self.0.got.lock().push((end.parse().unwrap(), number));
            batch.delivered(*id);
        }
        if batch.is_settled() { Ok(()) } else { Err(SendError::transient("refused")) }
    }

    fn wants_old_data(&self) -> bool {
        true
    }

    async fn stop(&mut self, _batch: &mut Batch) {
        if *self.0.mode.lock() == Mode::Silent {
            std::future::pending::<()>().await;
        }
    }
}

pub(super) fn small(spool: SpoolConfig) -> DeliveryConfig {
    let spool = SpoolConfig { min_free: ByteSize::from_bytes(1), ..spool };
    DeliveryConfig { spool, ..DeliveryConfig::default() }
}

pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// One run of a daemon with one destination.
pub(super) struct Run {
    queue: Option<QueueHandle>,
    running: DestinationHandle,
    deadline: watch::Sender<Option<Instant>>,
    task: Option<JoinHandle<EndedForwarder>>,
    pub(super) runtime: Runtime,
}

impl Run {
    pub(super) fn start(folder: &Path, peer: &Peer, delivery: DeliveryConfig) -> Self {
        Self::start_on(&Host::Real, folder, peer, delivery)
    }

    pub(super) fn start_on(
        host: &Host,
        folder: &Path,
        peer: &Peer,
        delivery: DeliveryConfig,
    ) -> Self {
        let runtime =
            Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let entered = runtime.enter();
        let destination = destination(0, peer, delivery);
        let place = SpoolPlace { folder: folder.into(), instance: "run-1".into() };
        let (queue, running, task) = destination.split_on(host, &place);
        let (deadline, watched) = watch::channel(None);
        let task = runtime.spawn(task.run(watched));
        drop(entered);
        Self { queue: Some(queue), running, deadline, task: Some(task), runtime }
    }

    /// Starts a run and waits until the folder is open. Before that, windows can overtake the first
    /// one.
    pub(super) fn start_open(folder: &Path, peer: &Peer, delivery: DeliveryConfig) -> Self {
        let run = Self::start(folder, peer, delivery);
        run.runtime.block_on(async { sleep(Duration::from_millis(1)).await });
        run
    }

    /// Starts another destination in the same runtime. Returns the queues of both.
    pub(super) fn add(
        &self,
        folder: &Path,
        name: &str,
        peer: &Peer,
        delivery: DeliveryConfig,
    ) -> [QueueHandle; 2] {
        let _entered = self.runtime.enter();
        let mut destination = destination(0, peer, delivery);
        destination.common.name = name.into();
        let place = SpoolPlace { folder: folder.into(), instance: "run-1".into() };
        let (queue, _, task) = destination.split_with_spool(&place);
        self.runtime.spawn(task.run(watch::channel(None).1));
        [queue, self.running.queue().unwrap()]
    }

    /// Lets time pass.
    pub(super) fn sleep(&self, time: Duration) {
        self.runtime.block_on(async { sleep(time).await });
    }

    /// Waits until this many points are delivered.
    pub(super) fn until_delivered(&self, points: u64) {
        while self.check().delivered < points {
            self.sleep(Duration::from_micros(100));
        }
    }

    /// Reloads the configuration with other settings for the destination.
    fn change(&mut self, settings: u32, peer: &Peer, delivery: DeliveryConfig) {
        let next = destination(settings, peer, delivery);
        assert!(self.running.can_reconfigure(&next));
        self.queue = self.running.reconfigure(next);
    }

    pub(super) fn push(&self, end_ms: u64, points: usize) {
        let mut snapshot = snapshot_of_counters(points);
        snapshot.window.end_ms = end_ms;
        self.queue.as_ref().unwrap().push(&Arc::new(snapshot));
        self.check();
    }

    pub(super) fn counts(&self) -> Counts {
        self.running.stats().counts()
    }

    pub(super) fn check(&self) -> Counts {
        let counts = self.counts();
        balanced(&counts);
        counts
    }

    pub(super) fn wait(&self) -> Counts {
        self.runtime.block_on(async { sleep(A_WHILE).await });
        self.check()
    }

    pub(super) fn stop(self) -> Counts {
        self.stop_timed().0
    }

    /// Stops, and measures how long that takes.
    pub(super) fn stop_timed(self) -> (Counts, Duration) {
        self.stop_within(Duration::from_secs(10))
    }

    /// Stops with a `shutdown_timeout`.
    pub(super) fn stop_within(mut self, time: Duration) -> (Counts, Duration) {
        let stats = Arc::clone(self.running.stats());
        drop(self.queue.take());
        let task = self.task.take().unwrap();
        let took = self.runtime.block_on(async {
            let started = Instant::now();
            self.deadline.send_replace(Some(started + time));
            task.await.unwrap();
            started.elapsed()
        });
        let counts = stats.counts();
        balanced(&counts);
        assert_eq!(counts.queued, 0);
        (counts, took)
    }

    /// Ends the run as `kill -9` does: without another write.
    pub(super) fn crash(self) -> Counts {
        let counts = self.check();
        self.task.as_ref().unwrap().abort();
        self.runtime.shutdown_background();
        counts
    }
}

fn destination(settings: u32, peer: &Peer, delivery: DeliveryConfig) -> Destination {
    Destination {
        kind: "fake",
        index: 0,
        attempt_max: Some(delivery.timeout.get()),
        common: Common {
            name: "fake".into(),
            select: SelectConfig::default(),
            idle: IdleLimits::default(),
            delivery,
        },
        settings: ForwarderSettings::new(settings),
        forwarder: Box::new(Fake(peer.clone())),
    }
}

fn balanced(counts: &Counts) {
    let Counts { flushed, recovered, delivered, queued, spooled, dropped, .. } = counts;
    let dropped: u64 = dropped.values().sum();
    assert_eq!(flushed + recovered, delivered + queued + spooled + dropped, "{counts:?}");
}

pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder.join("fake/new")) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The files in the quarantine: for each, its reason, the end of its window and the tags of its
/// points.
pub(super) fn quarantine(folder: &Path) -> Vec<(String, u64, Vec<usize>)> {
    let entries = fs::read_dir(folder.join("fake/quarantine")).unwrap();
    let file = |path: PathBuf| {
        let (name, reason) = path.file_name().unwrap().to_str().unwrap().rsplit_once('.').unwrap();
        let snapshot = crate::spool::read(&path, name.parse().unwrap()).unwrap();
        let tag = |point: &Point| point.series.tag("n").unwrap().parse().unwrap();
        (reason.to_owned(), snapshot.window.end_ms, snapshot.points.iter().map(tag).collect())
    };
    let mut files: Vec<_> = entries.map(|entry| file(entry.unwrap().path())).collect();
    files.sort();
    files
}

// ---- Single cases ---------------------------------------------------------------------------

#[test]
fn a_healthy_destination_writes_nothing_to_disk() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Up);
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    for window in 0..5 {
        run.push(now_ms() + window, 10);
        run.wait();
    }
    let counts = run.stop();
    assert_eq!((counts.delivered, counts.spooled), (50, 0));
    assert!(files(folder.path()).is_empty());
}

#[test]
fn windows_for_a_destination_that_hangs_wait_on_disk_and_not_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Hangs);
    let run = Run::start_open(folder.path(), &peer, small(SpoolConfig::default()));
    let base = now_ms();
    (0..20).for_each(|window| run.push(base + window, 10));
    let counts = run.wait();
    assert_eq!((counts.spooled, counts.queued), (200, 0));
    let spool = counts.spool.unwrap();
    assert_eq!((spool.files, spool.degraded), (20, None));
    assert_eq!(spool.oldest_ms, Some(base - 10_000));
    peer.is(Mode::Up);
    let counts = run.wait();
    assert_eq!((counts.delivered, counts.spooled), (200, 0));
    assert!(files(folder.path()).is_empty());
    run.stop();
}

#[test]
fn a_crash_loses_nothing_that_was_flushed_and_order_stays() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Down);
    let base = now_ms();
    for crash in 0..3 {
        let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
        (0..4).for_each(|window| run.push(base + crash * 4 + window, 3));
        run.wait();
        let counts = run.crash();
        assert_eq!((counts.recovered, counts.spooled), (crash * 12, crash * 12 + 12));
    }
    peer.is(Mode::Up);
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    let counts = run.wait();
    assert_eq!((counts.recovered, counts.delivered, counts.spooled), (36, 36, 0));
    assert_eq!(peer.windows(), (base..base + 12).collect::<Vec<_>>());
    assert_eq!(peer.got().len(), 36);
    run.stop();
}

#[test]
fn a_stop_keeps_only_what_is_not_delivered() {
    for settled_before in [Mode::Half, Mode::Hangs] {
        let folder = tempfile::tempdir().unwrap();
        let peer = Peer::new(settled_before);
        let run = Run::start_open(folder.path(), &peer, small(SpoolConfig::default()));
        let end = now_ms();
        run.push(end, 8);
        run.push(end + 1, 2);
        if settled_before == Mode::Half {
            run.runtime.block_on(async { sleep(Duration::from_millis(10)).await });
            assert_eq!(peer.got().len(), 4);
        }
        let counts = run.stop();
        let got = peer.got().len() as u64;
        assert_eq!((counts.delivered, counts.spooled), (got, 10 - got));
        peer.is(Mode::Up);
        let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
        let counts = run.wait();
        assert_eq!((counts.recovered, counts.delivered), (10 - got, 10 - got));
        run.stop();
        let all: BTreeSet<Got> = peer.got().into_iter().collect();
        assert_eq!((all.len(), peer.got().len()), (10, 10), "each point once");
    }
}

#[test]
fn a_reconfigured_destination_gets_each_undelivered_point_once() {
    const POINTS: usize = 2 * PART_POINTS + 10;
    for before in [Mode::Half, Mode::Down, Mode::Hangs] {
        let folder = tempfile::tempdir().unwrap();
        let peer = Peer::new(before);
        let mut run = Run::start_open(folder.path(), &peer, small(SpoolConfig::default()));
        let end = now_ms();
        run.push(end, POINTS);
        run.push(end + 1, 5);
        run.runtime.block_on(async { sleep(Duration::from_millis(10)).await });
        let next = Peer::new(Mode::Down);
        run.change(1, &next, small(SpoolConfig::default()));
        run.push(end + 2, 3);
        let counts = run.wait();
        let taken = peer.got().len() as u64;
        assert_eq!(taken > 0, before == Mode::Half);
        let all = POINTS as u64 + 8;
        assert_eq!((counts.flushed, counts.recovered), (all, 0));
        assert_eq!((counts.delivered, counts.spooled), (taken, all - taken));
        next.is(Mode::Up);
        let counts = run.wait();
        assert_eq!((counts.delivered, counts.spooled), (all, 0));
        run.stop();
        assert!(files(folder.path()).is_empty());
        let mut got = peer.got();
        got.extend(next.got());
        let distinct: BTreeSet<Got> = got.iter().copied().collect();
        assert_eq!((distinct.len(), got.len()), (all as usize, all as usize), "each point once");
        assert_eq!(next.windows(), [end, end + 1, end + 2]);
    }
}

#[test]
pub(super) fn smaller_bounds_hold_from_the_next_window_on() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Down);
    let mut run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    let base = now_ms();
    (0..10).for_each(|window| run.push(base + window, 1));
    assert_eq!(run.wait().spooled, 10);
    let fewer = SpoolConfig { max_files: 4.try_into().unwrap(), ..SpoolConfig::default() };
    run.change(0, &peer, small(fewer));
    run.push(base + 10, 1);
    let counts = run.wait();
    assert_eq!(counts.dropped, [(reason::SPOOL_FULL, 6)].into());
    assert_eq!((files(folder.path()).len(), counts.spooled + counts.queued), (4, 5));
    run.stop();
}

#[test]
fn the_rest_of_a_window_that_is_delivered_in_parts_is_kept() {
    const POINTS: usize = 2 * PART_POINTS + 10;
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Half);
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    run.push(now_ms(), POINTS);
    // Half of the first part is delivered; then the loop pauses.
    run.runtime.block_on(async { sleep(Duration::from_millis(1)).await });
    let counts = run.stop();
    let half = PART_POINTS as u64 / 2;
    assert_eq!((counts.delivered, counts.spooled), (half, POINTS as u64 - half));
    peer.is(Mode::Up);
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    let counts = run.wait();
    assert_eq!(counts.delivered, counts.recovered);
    run.stop();
    let numbers: Vec<usize> = peer.got().into_iter().map(|(_, number)| number).collect();
    assert_eq!(numbers, (0..POINTS).collect::<Vec<_>>(), "each point once and in order");
}

#[test]
fn fresh_windows_are_not_starved_by_a_backlog() {
    for (order, expected) in [
        // The first window of a run has its turn after those of the run before it.
        (SpoolOrder::Fair, vec![0, 1, 2, 3, 101, 4, 5, 6, 7, 8, 9, 100]),
        (SpoolOrder::Oldest, vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 100, 101]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let peer = Peer::new(Mode::Down);
        let spool = SpoolConfig { order, ..SpoolConfig::default() };
        let run = Run::start(folder.path(), &peer, small(spool));
        let base = now_ms();
        (0..10).for_each(|window| run.push(base + window, 1));
        run.wait();
        run.crash();
        let run = Run::start(folder.path(), &peer, small(spool));
        run.wait();
        (100..102).for_each(|window| run.push(base + window, 1));
        peer.is(Mode::Up);
        run.wait();
        run.stop();
        let windows: Vec<u64> = peer.windows().into_iter().map(|end| end - base).collect();
        assert_eq!(windows, expected);
    }
}

#[test]
fn a_fresh_window_does_not_wait_for_the_folder_unless_the_order_is_strict() {
    for (order, expected) in [
        // The first window may complete the last one of the run before it.
        (SpoolOrder::Fair, vec![101, 0, 1, 100]),
        (SpoolOrder::Oldest, vec![0, 1, 100, 101]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let peer = Peer::new(Mode::Down);
        let spool = SpoolConfig { order, ..SpoolConfig::default() };
        let run = Run::start(folder.path(), &peer, small(spool));
        let base = now_ms();
        (0..2).for_each(|window| run.push(base + window, 1));
        run.wait();
        run.crash();
        peer.is(Mode::Up);
        let run = Run::start(folder.path(), &peer, small(spool));
        (100..102).for_each(|window| run.push(base + window, 1));
        run.wait();
        run.stop();
        let windows: Vec<u64> = peer.windows().into_iter().map(|end| end - base).collect();
        assert_eq!(windows, expected);
    }
}

#[test]
fn with_always_every_window_is_on_disk_before_its_first_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Up);
    let spool = SpoolConfig { write: SpoolWrite::Always, ..SpoolConfig::default() };
    let run = Run::start(folder.path(), &peer, small(spool));
    // With `write: always`, each of them is written before it is delivered.
    (0..5).for_each(|window| run.push(now_ms() + window, 3));
    assert_eq!(run.wait().delivered, 15);
    run.push(now_ms() + 10, 3);
    let counts = run.stop();
    assert_eq!((counts.delivered, counts.spooled), (18, 0), "a healthy stop delivers");
    assert!(files(folder.path()).is_empty());

    peer.is(Mode::Hangs);
    let run = Run::start(folder.path(), &peer, small(spool));
    run.push(now_ms() + 20, 3);
    run.runtime.block_on(async {
        while run.counts().spooled == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    });
    assert_eq!(files(folder.path()).len(), 1, "long before it is late");
    run.crash();
}

#[test]
fn with_never_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Down);
    let spool = SpoolConfig { write: SpoolWrite::Never, ..SpoolConfig::default() };
    let run = Run::start(folder.path(), &peer, small(spool));
    run.push(now_ms(), 3);
    let counts = run.wait();
    assert_eq!((counts.queued, counts.spool), (3, None));
    assert_eq!(run.stop().dropped[reason::SHUTDOWN], 3);
    assert!(!folder.path().join("fake").exists());
}

#[test]
fn a_full_spool_drops_the_oldest_and_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Down);
    let spool =
        SpoolConfig { max_files: std::num::NonZeroU32::new(5).unwrap(), ..SpoolConfig::default() };
    let run = Run::start(folder.path(), &peer, small(spool));
    let base = now_ms();
    for window in 0..12 {
        run.push(base + window, 2);
        run.wait();
    }
    let counts = run.check();
    // The window in flight stays in memory; its file made room.
    assert_eq!((counts.spooled, counts.queued), (10, 2));
    assert_eq!(counts.dropped[reason::SPOOL_FULL], 12);
    assert_eq!(files(folder.path()).len(), 5);
    peer.is(Mode::Up);
    assert_eq!(run.wait().delivered, 12);
    let windows: Vec<u64> = peer.windows().into_iter().map(|end| end - base).collect();
    assert_eq!(windows.len(), 6);
    assert_eq!(windows[0], 0);
    assert_eq!(windows.into_iter().skip(1).collect::<BTreeSet<_>>(), (7..12).collect());
    run.stop();
}

#[test]
fn expired_windows_are_dropped_and_counted_including_the_one_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Down);
    let spool = SpoolConfig { max_age: Span::from_secs(3600), ..SpoolConfig::default() };
    let run = Run::start(folder.path(), &peer, small(spool));
    let base = now_ms() - 3_700_000;
    (0..3).for_each(|window| run.push(base + window, 2));
    run.push(now_ms(), 2);
    assert_eq!(run.wait().dropped, BTreeMap::new(), "the clock may still be wrong");
    // Nothing expires in the first 5 min of a run.
    (0..8).for_each(|_| drop(run.wait()));
    let counts = run.wait();
    assert_eq!(counts.dropped[reason::SPOOL_EXPIRED], 6);
    assert_eq!((counts.spooled, files(folder.path()).len()), (2, 1));
    run.stop();
}

#[test]
fn removed_files_are_detected_and_counted_including_the_one_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Down);
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    (0..4).for_each(|window| run.push(now_ms() + window, 2));
    run.wait();
    let there = files(folder.path());
    assert_eq!(there.len(), 4);
    fs::remove_file(&there[0]).unwrap();
    fs::remove_file(&there[2]).unwrap();
    run.wait();
    let counts = run.wait();
    assert_eq!((counts.dropped[reason::REMOVED], counts.spooled), (4, 4));
    peer.is(Mode::Up);
    assert_eq!(run.wait().delivered, 4);
    run.stop();
}

#[test]
fn a_file_that_is_removed_right_before_it_is_read_was_not_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let (peer, spool) =
        (Peer::new(Mode::Down), SpoolConfig { order: SpoolOrder::Oldest, ..Default::default() });
    let run = Run::start(folder.path(), &peer, small(spool));
    (0..2).for_each(|window| run.push(now_ms() + window, 2));
    run.wait();
    run.stop();
    let run = Run::start_open(folder.path(), &peer, small(spool));
    fs::remove_file(&files(folder.path())[1]).unwrap();
    peer.is(Mode::Up);
    // Before the next check for removed files.
    run.runtime.block_on(async { sleep(Duration::from_secs(5)).await });
    let counts = run.check();
    assert_eq!((counts.delivered, counts.spooled), (2, 0));
    assert_eq!(counts.dropped, BTreeMap::from([(reason::REMOVED, 2)]));
    run.stop();
    assert!(quarantine(folder.path()).is_empty());
}

#[test]
fn a_file_that_is_removed_right_before_a_stop_is_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Half);
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    run.push(now_ms(), 1);
    run.push(now_ms() + 1, 1);
    run.wait();
    files(folder.path()).into_iter().for_each(|file| fs::remove_file(file).unwrap());
    let counts = run.stop();
    assert_eq!((counts.spooled, counts.dropped[reason::REMOVED]), (0, 2));
    assert!(files(folder.path()).is_empty());
}

#[test]
fn a_damaged_file_is_quarantined_and_only_its_window_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Down);
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    (0..4).for_each(|window| run.push(now_ms() + window, 2));
    run.wait();
    run.crash();
    let there = files(folder.path());
    let mut bytes = fs::read(&there[1]).unwrap();
    bytes[70] ^= 1;
    fs::write(&there[1], &bytes).unwrap();
    // A newer version, with a matching checksum.
    let mut bytes = fs::read(&there[3]).unwrap();
    bytes[8] = 9;
    let crc = crc32fast::hash(&bytes[..60]).to_le_bytes();
    bytes[60..64].copy_from_slice(&crc);
    fs::write(&there[3], &bytes).unwrap();
    peer.is(Mode::Up);
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    let counts = run.wait();
    assert_eq!((counts.recovered, counts.delivered), (8, 4));
    assert_eq!(counts.dropped[reason::SPOOL_CORRUPT], 2);
    assert_eq!(counts.dropped[reason::SPOOL_NEWER], 2);
    run.stop();
    let mut set_aside: Vec<_> = fs::read_dir(folder.path().join("fake/quarantine"))
        .unwrap()
        .map(|entry| entry.unwrap().path().extension().unwrap().to_owned())
        .collect();
    set_aside.sort();
    assert_eq!(set_aside, ["corrupt", "newer"]);
    assert!(files(folder.path()).is_empty());
}

#[test]
fn permanently_refused_points_are_quarantined_and_lost_or_delivered_points_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Up);
    peer.refuses([3, 4, 8], reason::REFUSED);
    peer.refuses([5], reason::TOO_LARGE);
    peer.refuses([6], reason::LOST);
    peer.refuses([7], reason::PAGE_FULL);
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    let end = now_ms();
    run.push(end, 10);
    let counts = run.wait();
    assert_eq!((counts.delivered, counts.queued, counts.spooled), (4, 0, 0));
    let dropped = [("lost", 1), ("page_full", 1), ("refused", 3), ("too_large", 1)];
    assert_eq!(counts.dropped, BTreeMap::from(dropped), "the ledger says the same as ever");
    let spool = counts.spool.unwrap();
    assert_eq!((spool.quarantined, spool.not_quarantined, spool.files), (4, 0, 0));
    run.stop();
    let expected =
        [("refused".to_owned(), end, vec![3, 4, 8]), ("too_large".to_owned(), end, vec![5])];
    assert_eq!(quarantine(folder.path()), expected);
    assert!(files(folder.path()).is_empty());
}

#[test]
fn refused_points_of_a_window_that_is_sent_in_parts_are_in_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Half);
    let bad = [5, PART_POINTS - 1, PART_POINTS, PART_POINTS + 7, 2 * PART_POINTS + 9];
    peer.refuses(bad, reason::REFUSED);
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    let end = now_ms();
    run.push(end, 2 * PART_POINTS + 10);
    run.wait();
    peer.is(Mode::Up);
    run.wait();
    assert_eq!(run.stop().delivered, 2 * PART_POINTS as u64 + 5);
    assert_eq!(quarantine(folder.path()), [("refused".to_owned(), end, bad.to_vec())]);
}

#[test]
fn a_stop_during_a_window_quarantines_refused_points_and_spools_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Half);
    peer.refuses([1, 6], reason::REFUSED);
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    let end = now_ms();
    run.push(end, 8);
    run.runtime.block_on(async { sleep(Duration::from_millis(10)).await });
    let counts = run.stop();
    assert_eq!((counts.delivered, counts.spooled, counts.dropped[reason::REFUSED]), (3, 4, 1));
    assert_eq!(quarantine(folder.path()), [("refused".to_owned(), end, vec![1])]);
    peer.is(Mode::Up);
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    let counts = run.wait();
    assert_eq!((counts.recovered, counts.delivered, counts.dropped[reason::REFUSED]), (4, 3, 1));
    run.stop();
    // The file would have the name of the earlier one (same window, reason and size), which stays.
    let spool = counts.spool.unwrap();
    assert_eq!((spool.quarantined, spool.not_quarantined), (0, 1));
    assert_eq!(quarantine(folder.path()), [("refused".to_owned(), end, vec![1])]);
}

#[test]
fn points_that_are_refused_again_after_a_crash_are_in_the_quarantine_once() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Down);
    peer.refuses([2], reason::REFUSED);
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    let end = now_ms();
    run.push(end, 4);
    run.wait();
    run.crash();
    let file = files(folder.path()).remove(0);
    let bytes = fs::read(&file).unwrap();
    peer.is(Mode::Up);
    for _ in 0..2 {
        // As after a crash right before the file was removed.
        fs::write(&file, &bytes).unwrap();
        let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
        let counts = run.wait();
        assert_eq!((counts.recovered, counts.delivered), (4, 3));
        assert_eq!(counts.spool.unwrap().quarantined, 1);
        run.stop();
        assert_eq!(quarantine(folder.path()), [("refused".to_owned(), end, vec![2])]);
    }
}

#[test]
fn a_destination_that_refuses_everything_does_not_wear_out_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Up);
    peer.refuses(0..100, reason::REFUSED);
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    let base = now_ms();
    for minute in 1..=2_u64 {
        for window in 0..30 {
            run.push(base + minute * 100 + window, 100);
            run.runtime.block_on(async { sleep(Duration::from_millis(100)).await });
        }
        let counts = run.check();
        assert_eq!(counts.dropped[reason::REFUSED], minute * 3_000);
        let spool = counts.spool.unwrap();
        assert_eq!((spool.quarantined, spool.not_quarantined), (minute * 1_000, minute * 2_000));
        assert_eq!(quarantine(folder.path()).len() as u64, minute * 10);
        run.runtime.block_on(async { sleep(Duration::from_secs(60)).await });
    }
    run.stop();
}

#[test]
fn an_unwritable_quarantine_is_counted_and_affects_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Up);
    peer.refuses([0], reason::REFUSED);
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    run.wait();
    let quarantine = folder.path().join("fake/quarantine");
    fs::remove_dir(&quarantine).unwrap();
    fs::write(&quarantine, "a file is in the way").unwrap();
    run.push(now_ms(), 3);
    let counts = run.wait();
    assert_eq!((counts.delivered, counts.dropped[reason::REFUSED]), (2, 1));
    let spool = counts.spool.unwrap();
    assert_eq!((spool.quarantined, spool.not_quarantined, spool.degraded), (0, 1, None));
    fs::remove_file(&quarantine).unwrap();
    run.push(now_ms() + 1, 3);
    assert_eq!(run.wait().spool.unwrap().quarantined, 1, "the folder is made again");
    run.stop();
}

#[test]
fn of_two_daemons_on_one_folder_the_second_works_from_memory_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (peer, other) = (Peer::new(Mode::Down), Peer::new(Mode::Down));
    let first = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    first.push(now_ms(), 2);
    first.wait();
    let second = Run::start(folder.path(), &other, small(SpoolConfig::default()));
    second.push(now_ms(), 3);
    let counts = second.wait();
    assert_eq!((counts.queued, counts.spooled, counts.recovered), (3, 0, 0));
    let words = counts.spool.unwrap().degraded.unwrap();
    assert!(words.contains("in use by another daemon"), "{words}");
    other.is(Mode::Up);
    assert_eq!(second.wait().delivered, 3, "it delivers all the same");
    // When the first daemon has ended, the second one recovers its windows.
    first.crash();
    let counts = second.wait();
    assert_eq!((counts.recovered, counts.delivered), (2, 5));
    assert_eq!(counts.spool.unwrap().degraded, None);
    second.stop();
}

#[test]
fn a_folder_that_cannot_be_created_disables_only_the_spool() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("fake"), "a file is in the way").unwrap();
    let peer = Peer::new(Mode::Down);
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    run.push(now_ms(), 3);
    let counts = run.wait();
    assert_eq!((counts.queued, counts.spooled), (3, 0));
    assert!(counts.spool.unwrap().degraded.unwrap().contains("fake"));
    fs::remove_file(folder.path().join("fake")).unwrap();
    let counts = run.wait();
    assert_eq!((counts.queued, counts.spooled), (0, 3), "it is tried again");
    run.stop();
}

#[test]
fn a_failing_disk_is_retried() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Down);
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    run.push(now_ms(), 1);
    run.wait();
    let (tmp, away) = (folder.path().join("fake/tmp"), folder.path().join("away"));
    fs::rename(&tmp, &away).unwrap();
    fs::write(&tmp, "a file is in the way").unwrap();
    run.push(now_ms() + 1, 2);
    let counts = run.wait();
    assert_eq!((counts.queued, counts.spooled), (2, 1));
    let spool = counts.spool.unwrap();
    assert!(spool.failures >= 2 && spool.degraded.is_some(), "{spool:?}");
    fs::remove_file(&tmp).unwrap();
    fs::rename(&away, &tmp).unwrap();
    let counts = run.wait();
    assert_eq!((counts.queued, counts.spooled), (0, 3));
    assert_eq!(counts.spool.unwrap().degraded, None);
    run.stop();
}

#[test]
fn a_full_disk_loses_nothing_that_fits_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
        .arg(folder.path())
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        let _nobody_listens =
            writeln!(std::io::stderr(), "SKIPPED: only root can mount a small disk");
        return;
    }
    let filler = folder.path().join("filler");
    let fill = || {
        let mut file = fs::File::create(&filler).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
    };
    let peer = Peer::new(Mode::Down);
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    run.push(now_ms(), 1);
    run.wait();
    fill();
    run.push(now_ms() + 1, 2);
    let counts = run.wait();
    assert_eq!((counts.queued, counts.spooled), (2, 1));
    assert!(counts.spool.unwrap().degraded.is_some());
    fs::remove_file(&filler).unwrap();
    let counts = run.wait();
    assert_eq!((counts.queued, counts.spooled), (0, 3));
    fill();
    peer.is(Mode::Up);
    let counts = run.wait();
    assert_eq!((counts.delivered, counts.spooled), (3, 0), "a full disk still gives away");
    run.stop();
    let unmounted = Command::new("umount").arg(folder.path()).status().unwrap();
    assert!(unmounted.success());
}

// ---- Everything at once -----------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    Peer(Mode),
    Wait,
    Stop,
    Crash,
    Refuses(Vec<usize>),
    Corrupt { file: prop::sample::Index, byte: prop::sample::Index },
    Remove(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_usize..30).prop_map(Step::Push),
        3 => prop::sample::select(vec![Mode::Up, Mode::Down, Mode::Down, Mode::Half, Mode::Hangs])
            .prop_map(Step::Peer),
        3 => Just(Step::Wait),
        1 => Just(Step::Stop),
        1 => Just(Step::Crash),
        1 => prop::collection::vec(0_usize..30, 0..9).prop_map(Step::Refuses),
        1 => (any::<prop::sample::Index>(), any::<prop::sample::Index>())
            .prop_map(|(file, byte)| Step::Corrupt { file, byte }),
        1 => any::<prop::sample::Index>().prop_map(Step::Remove),
    ]
}

/// The expected counts, computed without the code under test.
#[derive(Default)]
struct Model {
    /// The number of points of each window that was pushed, by the end of the window.
    pushed: BTreeMap<u64, usize>,
    /// Points that the runs counted as dropped.
    dropped: u64,
    /// Points that were in memory only when a run crashed.
    lost: u64,
    /// Points in files that were removed. A run that crashes before its next check does not count
    /// them.
    removed: u64,
    /// Whether a run crashed, so that points may have been delivered twice.
    crashed: bool,
}

fn points_of(file: &Path) -> u64 {
    let name = file.file_name().unwrap().to_str().unwrap();
    name.parse::<crate::spool::FileName>().unwrap().points
}

fn spool_of(write: bool, order: bool, tight: bool) -> SpoolConfig {
    SpoolConfig {
        write: if write { SpoolWrite::Always } else { SpoolWrite::Behind },
        order: if order { SpoolOrder::Oldest } else { SpoolOrder::Fair },
        max_bytes: ByteSize::from_bytes(if tight { 1_500 } else { 1 << 20 }),
        ..SpoolConfig::default()
    }
}

proptest! {
    #[test]
    fn whatever_happens_every_point_is_delivered_or_accounted_for(
        steps in prop::collection::vec(step(), 1..40),
        always in prop::bool::ANY,
        strict in prop::bool::ANY,
        tight in prop::bool::ANY,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let spool = spool_of(always, strict, tight);
        let peer = Peer::new(Mode::Up);
        let mut model = Model::default();
        let start = || Run::start(folder, &peer, small(spool));
        let mut run = start();
        let mut end_ms = now_ms();
        for step in steps {
            match step {
                Step::Push(points) => {
                    end_ms += 1;
                    model.pushed.insert(end_ms, points);
                    run.push(end_ms, points);
                }
                Step::Peer(mode) => peer.is(mode),
                Step::Refuses(points) => {
                    peer.refuses.lock().clear();
                    peer.refuses(points, reason::REFUSED);
                }
                Step::Wait => drop(run.wait()),
                Step::Stop => {
                    let counts = run.stop();
                    model.dropped += counts.dropped.values().sum::<u64>();
                    let kept: u64 = files(folder).iter().map(|file| points_of(file)).sum();
                    prop_assert_eq!(kept, counts.spooled);
                    run = start();
                    prop_assert_eq!(run.wait().recovered, kept);
                }
                Step::Crash => {
                    let counts = run.crash();
                    model.dropped += counts.dropped.values().sum::<u64>();
                    model.lost += counts.queued;
                    model.crashed = true;
                    run = start();
                    run.wait();
                }
                Step::Corrupt { file, byte } => {
                    let there = files(folder);
                    if !there.is_empty() {
                        let file = &there[file.index(there.len())];
                        // The daemon may have removed it since.
                        if let Ok(mut bytes) = fs::read(file) {
                            let at = byte.index(bytes.len());
                            bytes[at] ^= 0x55;
                            fs::write(file, bytes).unwrap();
                        }
                    }
                }
                Step::Remove(file) => {
                    let there = files(folder);
                    if !there.is_empty() {
                        let file = &there[file.index(there.len())];
                        // The daemon may have removed it since.
                        if fs::remove_file(file).is_ok() {
                            model.removed += points_of(file);
                        }
                    }
                }
            }
            run.check();
        }
        peer.is(Mode::Up);
        (0..3).for_each(|_| drop(run.wait()));
        let counts = run.stop();
        model.dropped += counts.dropped.values().sum::<u64>();
        prop_assert_eq!((counts.queued, counts.spooled), (0, 0), "{:?}", counts);
        prop_assert!(files(folder).is_empty());
        let refused = counts.dropped.get(reason::REFUSED).copied().unwrap_or_default();
        let spool = counts.spool.unwrap();
        prop_assert_eq!(spool.quarantined + spool.not_quarantined, refused);

        let got = peer.got();
        let unique: BTreeSet<Got> = got.iter().copied().collect();
        for (end, number) in &unique {
            prop_assert!(model.pushed.get(end).is_some_and(|points| number < points));
        }
        let pushed: u64 = model.pushed.values().map(|points| *points as u64).sum();
        if model.crashed {
            // Points of a window that were delivered before a crash are delivered again.
            prop_assert!(unique.len() as u64 + model.dropped + model.lost + model.removed >= pushed);
        } else {
            prop_assert_eq!(got.len(), unique.len(), "an orderly life repeats nothing");
            prop_assert_eq!(unique.len() as u64 + model.dropped, pushed);
        }
    }
}
