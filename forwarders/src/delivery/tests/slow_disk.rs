//! Tests of the spool loop on a disk that is slow or fails: how long it waits, and the actions that follow.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::spool::{Mode, Peer, Run, now_ms, small};
use crate::config::{SpoolConfig, SpoolOrder};
use crate::delivery::reason;
use crate::delivery::stats::Counts;
use crate::spool::simulated::{Operation, SimulatedDisk};
use crate::spool::{Disk, Host, SimulatedHost};
use basics::log_capture::LogCapture;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// The folder of the spool.
const ROOT: &str = "/spool/fake";

/// An operation of the disk: when, which, and on which path below the spool's folder.
type Seen = (Instant, Operation, PathBuf);

#[derive(Debug, Default)]
struct Plan {
    /// The first access from this time on waits this long before it has any effect.
    hold: Option<(Instant, Duration)>,
    /// These operations below this path take this long.
    slow: Option<(Operation, &'static str, Duration)>,
    /// These operations below these paths fail, so many times.
    failing: Vec<(Operation, &'static str, u32)>,
    /// The time that the operations of the current access take.
    owed: Duration,
    seen: Vec<Seen>,
}

/// A host with a simulated disk that is slow or fails as a test plans. Retries come every 50 ms.
#[derive(Clone, Debug)]
struct SlowHost {
    disk: SimulatedDisk,
    plan: Arc<Mutex<Plan>>,
}

impl SimulatedHost for SlowHost {
    fn wall(&self) -> Duration {
        Duration::from_millis(now_ms())
    }

    fn random(&self) -> u64 {
        0
    }

    fn disk(&self) -> Box<dyn Disk> {
        Box::new(self.disk.clone())
    }

    fn begin_blocking(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let now = Instant::now();
        let held = self.plan.lock().hold.take_if(|(from, _)| *from <= now);
        Box::pin(async move {
            if let Some((_, time)) = held {
                sleep(time).await;
            }
        })
    }

    fn end_blocking(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let owed = std::mem::take(&mut self.plan.lock().owed);
        Box::pin(async move {
            if !owed.is_zero() {
                sleep(owed).await;
            }
        })
    }
}

impl SlowHost {
    fn new() -> Self {
        let host = Self { disk: SimulatedDisk::new(1), plan: Arc::default() };
        let plan = Arc::clone(&host.plan);
        host.disk.fail(move |operation, path| {
            let mut plan = plan.lock();
            let below = path.strip_prefix(ROOT).unwrap_or(path);
            plan.seen.push((Instant::now(), operation, below.to_owned()));
            if let Some((slow, folder, time)) = plan.slow
                && slow == operation
                && below.starts_with(folder)
            {
                plan.owed += time;
            }
            let mut failing = plan.failing.iter_mut();
            let failing = failing.find(|(failing, folder, left)| {
                *failing == operation && below.starts_with(folder) && *left > 0
            });
            failing.map(|(_, _, left)| {
                *left -= 1;
                std::io::ErrorKind::PermissionDenied
            })
        });
        host
    }

    fn start(&self, peer: &Peer, spool: SpoolConfig) -> Run {
        // Times of another runtime mean nothing in this one.
        self.plan.lock().seen.clear();
        let host = Host::Simulated(Arc::new(self.clone()));
        Run::start_on(&host, Path::new("/spool"), peer, small(spool))
    }

    /// Starts a run whose destination is down, and waits until these windows of two points are on
    /// disk and nothing happens for some seconds.
    fn start_behind(&self, peer: &Peer, spool: SpoolConfig, windows: u64) -> Run {
        peer.is(Mode::Down);
        let run = self.start(peer, spool);
        run.sleep(MS);
        let end_ms = now_ms();
        (0..windows).for_each(|window| run.push(end_ms + window, 2));
        run.wait();
        run.sleep(SECOND);
        assert_eq!(run.check().spooled, 2 * windows);
        run
    }

    /// The next access waits this long before it has any effect.
    fn hold_next(&self, run: &Run, time: Duration) {
        self.hold(run, Duration::ZERO, time);
    }

    /// Like [`SlowHost::hold_next`], for the next access after this time.
    fn hold(&self, run: &Run, after: Duration, time: Duration) {
        let from = now(run) + after;
        self.plan.lock().hold = Some((from, time));
    }

    fn fails(&self, operation: Operation, below: &'static str) {
        self.fails_times(operation, below, u32::MAX);
    }

    fn fails_times(&self, operation: Operation, below: &'static str, times: u32) {
        self.plan.lock().failing.push((operation, below, times));
    }

    /// These operations take this long.
    fn slows(&self, operation: Operation, below: &'static str, time: Duration) {
        self.plan.lock().slow = Some((operation, below, time));
    }

    fn heal(&self) {
        self.plan.lock().failing.clear();
    }

    /// The times since `began` of the operations below a path.
    fn times(&self, operation: Operation, below: &str, began: Instant) -> Vec<Duration> {
        let plan = self.plan.lock();
        let seen = plan.seen.iter().filter(|(at, seen, path)| {
            *seen == operation && path.starts_with(below) && *at >= began
        });
        seen.map(|(at, ..)| at.saturating_duration_since(began)).collect()
    }

    fn files(&self) -> usize {
        self.disk.names(&Path::new(ROOT).join("new")).len()
    }
}

fn now(run: &Run) -> Instant {
    run.runtime.block_on(async { Instant::now() })
}

fn in_order() -> SpoolConfig {
    SpoolConfig { order: SpoolOrder::Oldest, ..SpoolConfig::default() }
}

fn degraded(counts: Counts) -> String {
    counts.spool.unwrap().degraded.unwrap_or_default()
}

/// Checks that something happened at this time, within the resolution of the clock.
fn assert_at(times: &[Duration], expected: &[Duration]) {
    let is_near = |(time, expected): (&Duration, &Duration)| time.abs_diff(*expected) <= 3 * MS;
    let are_near = times.iter().zip(expected).all(is_near);
    assert!(times.len() == expected.len() && are_near, "{times:?}, not {expected:?}");
}

// ---- While windows are delivered --------------------------------------------------------------

#[test]
fn windows_are_delivered_from_memory_after_five_seconds_if_opening_the_folder_takes_long() {
    let (host, peer) = (SlowHost::new(), Peer::new(Mode::Up));
    let run = host.start(&peer, in_order());
    host.hold_next(&run, 8 * SECOND);
    run.push(now_ms(), 3);
    run.sleep(4_900 * MS);
    assert_eq!((run.check().delivered, degraded(run.check()).as_str()), (0, ""));
    run.sleep(200 * MS);
    assert_eq!(run.check().delivered, 3);
    assert!(degraded(run.check()).contains("opening takes long"), "{:?}", run.check());
    run.sleep(3 * SECOND);
    assert_eq!(degraded(run.check()), "");
    run.stop();
}

#[test]
fn a_removal_that_takes_longer_than_a_second_is_recorded_and_holds_up_no_window() {
    let (host, peer) = (SlowHost::new(), Peer::new(Mode::Down));
    let run = host.start_behind(&peer, in_order(), 3);
    host.hold_next(&run, 25 * SECOND);
    peer.is(Mode::Up);
    run.until_delivered(2);
    let began = now(&run);
    run.sleep(900 * MS);
    assert_eq!(run.check().delivered, 2, "its file is neither removed nor recorded");
    run.sleep(200 * MS);
    assert_eq!((run.check().delivered, run.check().spooled), (6, 0));
    assert_at(&host.times(Operation::Append, "settled", began)[..1], &[SECOND]);
    assert!(!host.times(Operation::SyncFile, "settled", began).is_empty());
    assert_eq!(run.check().spool.unwrap().unremoved, 3);
    run.wait();
    let first = host.times(Operation::Remove, "new", began)[0];
    assert!(first > 24 * SECOND, "{first:?}: the disk is busy before");
    assert_eq!((run.check().spool.unwrap().unremoved, host.files()), (0, 0));
    let stopped = now(&run);
    run.stop();
    assert!(host.times(Operation::SyncFile, "settled", stopped).is_empty(), "it is synced");
}

#[test]
fn the_end_of_a_slow_removal_is_noticed_between_two_writes() {
    let (host, peer) = (SlowHost::new(), Peer::new(Mode::Down));
    let run = host.start_behind(&peer, in_order(), 1);
    host.hold_next(&run, 1_500 * MS);
    peer.is(Mode::Up);
    run.until_delivered(2);
    run.sleep(1_200 * MS);
    assert_eq!((run.check().spool.unwrap().files, host.files()), (1, 1));
    peer.is(Mode::Hangs);
    host.slows(Operation::Create, "tmp", 400 * MS);
    let end_ms = now_ms() + 1_000;
    (0..5).for_each(|window| run.push(end_ms + window, 2));
    // The removal ends during the first write. The second one is in progress now.
    run.sleep(500 * MS);
    assert_eq!((run.check().spool.unwrap().files, host.files()), (1, 1));
    run.stop();
}

#[test]
fn a_window_that_cannot_be_read_now_is_read_again_after_a_second() {
    for spool in [in_order(), SpoolConfig::default()] {
        let (host, peer) = (SlowHost::new(), Peer::new(Mode::Down));
        let run = host.start_behind(&peer, spool, 2);
        host.fails_times(Operation::Read, "new", 2);
        let began = now(&run);
        peer.is(Mode::Up);
        run.until_delivered(2);
        run.sleep(2_100 * MS);
        let reads = host.times(Operation::Read, "new", began);
        let pauses: Vec<Duration> = reads.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_at(&pauses, &[SECOND, SECOND]);
        let counts = run.stop();
        assert_eq!((counts.delivered, counts.spooled, peer.got().len()), (4, 0, 4));
    }
}

#[test]
fn a_window_that_is_recorded_because_it_cannot_be_removed_is_no_failure_of_the_spool() {
    let (host, peer) = (SlowHost::new(), Peer::new(Mode::Down));
    let run = host.start_behind(&peer, in_order(), 2);
    host.fails(Operation::Remove, "new");
    peer.is(Mode::Up);
    run.sleep(SECOND);
    assert_eq!((run.check().delivered, degraded(run.check()).as_str()), (4, ""));
    let spool = run.check().spool.unwrap();
    assert_eq!((spool.unremoved, spool.failures, host.files()), (2, 0, 2));
    run.stop();
}

/// Leaves files of two settled windows that are recorded, and nothing else.
fn leave_recorded(host: &SlowHost, peer: &Peer) {
    let run = host.start_behind(peer, in_order(), 2);
    host.fails(Operation::Remove, "new");
    peer.is(Mode::Up);
    run.until_delivered(4);
    run.stop();
    host.heal();
    assert_eq!(host.files(), 2);
}

#[test]
fn recorded_files_are_removed_at_a_check_while_the_disk_is_not_busy() {
    let (host, peer) = (SlowHost::new(), Peer::new(Mode::Up));
    leave_recorded(&host, &peer);
    host.slows(Operation::SyncAll, "", 15 * SECOND);
    let run = host.start(&peer, in_order());
    let began = now(&run);
    run.sleep(16 * SECOND);
    host.slows(Operation::Remove, "new", 8 * SECOND);
    run.sleep(18 * SECOND);
    assert_eq!(run.check().spool.unwrap().unremoved, 2);
    // Not at the check in the middle of the sync, and not again while they are being removed.
    assert_at(&host.times(Operation::Remove, "new", began), &[20 * SECOND, 20 * SECOND]);
    run.sleep(4 * SECOND);
    assert_eq!((run.check().spool.unwrap().unremoved, host.files()), (0, 0));
    run.stop();
}

#[test]
fn a_last_write_that_fails_is_repeated_after_the_removal_of_recorded_files() {
    let (host, peer) = (SlowHost::new(), Peer::new(Mode::Up));
    leave_recorded(&host, &peer);
    let run = host.start(&peer, in_order());
    run.sleep(9 * SECOND);
    // The check at 10 s begins with a list.
    host.hold(&run, 1_002 * MS, 1_200 * MS);
    host.slows(Operation::List, "new", 5 * MS);
    run.sleep(1_500 * MS);
    peer.is(Mode::Hangs);
    run.push(now_ms(), 2);
    host.fails_times(Operation::CreateUnsynced, "tmp", 1);
    let began = now(&run);
    // Half of the time is for the attempt.
    let (counts, _) = run.stop_within(SECOND);
    assert_eq!((counts.spooled, counts.dropped.is_empty()), (2, true), "{counts:?}");
    let times = host.times(Operation::CreateUnsynced, "tmp", began);
    assert_at(&times, &[500 * MS, 705 * MS]);
}

#[test]
fn a_record_that_fails_is_repeated_after_ten_seconds() {
    for failing in [Operation::Append, Operation::SyncFile] {
        let (host, peer) = (SlowHost::new(), Peer::new(Mode::Down));
        let run = host.start_behind(&peer, in_order(), 2);
        host.hold_next(&run, 60 * SECOND);
        host.fails(failing, "settled");
        peer.is(Mode::Up);
        run.until_delivered(2);
        let began = now(&run);
        run.sleep(10_900 * MS);
        assert!(degraded(run.check()).starts_with("/spool/fake/settled: "), "{:?}", run.check());
        assert_eq!(run.check().delivered, 2);
        host.heal();
        run.sleep(200 * MS);
        assert_eq!((run.check().delivered, degraded(run.check()).as_str()), (4, ""));
        assert_at(&host.times(failing, "settled", began)[..2], &[SECOND, 11 * SECOND]);
        run.crash();
    }
}

#[test]
fn a_removal_that_fails_is_repeated_after_ten_seconds() {
    let (host, peer) = (SlowHost::new(), Peer::new(Mode::Down));
    let run = host.start_behind(&peer, in_order(), 2);
    host.fails(Operation::Remove, "new");
    host.fails(Operation::Append, "settled");
    peer.is(Mode::Up);
    run.until_delivered(2);
    let began = now(&run);
    run.sleep(25 * SECOND);
    let words = "/spool/fake: cannot remove delivered windows: ";
    assert!(degraded(run.check()).starts_with(words), "{:?}", run.check());
    assert_at(&host.times(Operation::Remove, "new", began), &[10 * SECOND, 20 * SECOND]);
    assert_eq!(run.check().delivered, 2);
    host.heal();
    run.wait();
    assert_eq!((run.check().delivered, degraded(run.check()).as_str(), host.files()), (4, "", 0));
    run.stop();
}

#[test]
fn a_write_that_fails_is_repeated_after_ten_seconds() {
    let (host, peer) = (SlowHost::new(), Peer::new(Mode::Down));
    let run = host.start(&peer, in_order());
    run.sleep(MS);
    host.fails(Operation::Create, "tmp");
    let began = now(&run);
    (0..2).for_each(|window| run.push(now_ms() + window, 2));
    run.sleep(25 * SECOND);
    assert_at(
        &host.times(Operation::Create, "tmp", began),
        &[Duration::ZERO, 10 * SECOND, 20 * SECOND],
    );
    assert!(!degraded(run.check()).is_empty());
    host.heal();
    run.sleep(6 * SECOND);
    assert_eq!((run.check().spooled, degraded(run.check()).as_str()), (4, ""));
    run.stop();
}

#[test]
fn files_are_removed_before_the_write_that_needs_their_room() {
    let (host, peer) = (SlowHost::new(), Peer::new(Mode::Down));
    let spool = SpoolConfig { max_files: 2.try_into().unwrap(), ..in_order() };
    let run = host.start_behind(&peer, spool, 2);
    host.plan.lock().seen.clear();
    run.push(now_ms() + 2, 2);
    run.sleep(SECOND);
    let plan = host.plan.lock();
    let seen = plan.seen.iter().filter(|(_, operation, path)| {
        *operation == Operation::Create
            || path.starts_with("new") && *operation == Operation::Remove
    });
    let seen: Vec<Operation> = seen.map(|(_, operation, _)| *operation).collect();
    assert_eq!(seen, [Operation::Remove, Operation::Create]);
    drop(plan);
    run.stop();
}

#[test]
fn the_folder_is_listed_every_ten_seconds() {
    let (host, peer) = (SlowHost::new(), Peer::new(Mode::Up));
    let run = host.start(&peer, in_order());
    let began = now(&run);
    run.sleep(35 * SECOND);
    let listed = host.times(Operation::List, "new", began);
    assert_at(&listed, &[Duration::ZERO, 10 * SECOND, 20 * SECOND, 30 * SECOND]);
    run.stop();
}

// ---- At the end -------------------------------------------------------------------------------

#[test]
fn at_a_stop_a_removal_that_takes_longer_than_25_ms_is_recorded() {
    let (host, peer) = (SlowHost::new(), Peer::new(Mode::Down));
    let run = host.start_behind(&peer, in_order(), 3);
    host.hold_next(&run, 5 * SECOND);
    peer.is(Mode::Up);
    run.until_delivered(2);
    let began = now(&run);
    let (counts, took) = run.stop_within(5 * SECOND);
    assert_eq!((counts.delivered, counts.spooled), (2, 4));
    assert_at(&host.times(Operation::Append, "settled", began), &[25 * MS]);
    assert_at(&host.times(Operation::SyncFile, "settled", began), &[25 * MS]);
    assert!(took < 40 * MS, "{took:?}: nothing waits for the removal");
    assert_eq!(host.files(), 3);
    let run = host.start(&peer, in_order());
    let counts = run.wait();
    assert_eq!((counts.recovered, counts.delivered), (4, 4));
    run.stop();
}

#[test]
fn at_a_stop_all_removals_together_have_a_quarter_of_a_second() {
    let (host, peer) = (SlowHost::new(), Peer::new(Mode::Down));
    let run = host.start_behind(&peer, in_order(), 1);
    // Accepts one point of two. The file still contains both.
    peer.is(Mode::Half);
    run.until_delivered(1);
    peer.is(Mode::Down);
    // The sync of the rest takes most of the time. The removal of the outdated file begins after it.
    host.slows(Operation::SyncFile, "new", 240 * MS);
    host.hold(&run, 200 * MS, 5 * SECOND);
    let began = now(&run);
    let (counts, took) = run.stop_within(5 * SECOND);
    assert_eq!((counts.delivered, counts.spooled), (1, 1));
    assert_at(&host.times(Operation::Append, "settled", began), &[250 * MS]);
    assert!(took < 260 * MS, "{took:?}");
}

#[test]
fn at_a_stop_a_write_waits_up_to_25_ms_for_the_room_of_removed_files() {
    for (removal, expected) in [(10 * MS, 10 * MS), (5 * SECOND, 25 * MS)] {
        let (host, peer) = (SlowHost::new(), Peer::new(Mode::Down));
        let spool = SpoolConfig { max_files: 2.try_into().unwrap(), ..in_order() };
        let run = host.start_behind(&peer, spool, 2);
        host.hold_next(&run, removal);
        peer.is(Mode::Up);
        run.until_delivered(2);
        let began = now(&run);
        run.push(now_ms(), 2);
        let (counts, _) = run.stop_within(5 * SECOND);
        assert_eq!((counts.delivered, counts.spooled), (2, 4));
        assert_at(&host.times(Operation::CreateUnsynced, "tmp", began), &[expected]);
    }
}

#[test]
fn a_stop_does_not_wait_for_the_removal_of_recorded_files_if_it_helps_no_write() {
    let (host, peer) = (SlowHost::new(), Peer::new(Mode::Up));
    leave_recorded(&host, &peer);
    let run = host.start(&peer, in_order());
    run.sleep(9 * SECOND);
    host.hold(&run, 1_002 * MS, 5 * SECOND);
    host.slows(Operation::List, "new", 5 * MS);
    run.sleep(1_500 * MS);
    let began = now(&run);
    let (_, took) = run.stop_within(4 * SECOND);
    assert!(took < 100 * MS, "{took:?}");
    assert_at(&host.times(Operation::List, "new", began), &[Duration::ZERO]);
}

#[test]
fn a_stop_whose_write_fails_for_good_ends_at_once() {
    let (host, peer) = (SlowHost::new(), Peer::new(Mode::Hangs));
    let run = host.start(&peer, in_order());
    run.sleep(MS);
    run.push(now_ms(), 2);
    host.fails(Operation::CreateUnsynced, "tmp");
    let (counts, took) = run.stop_within(SECOND);
    assert_eq!(counts.dropped, [(reason::SHUTDOWN, 2)].into());
    // Half of the time is for the attempt.
    assert_at(&[took], &[500 * MS]);
}

#[test]
fn a_stop_that_cannot_write_the_rest_of_a_window_logs_which_points_the_next_run_repeats() {
    let (host, peer, log) = (SlowHost::new(), Peer::new(Mode::Down), LogCapture::start());
    let run = host.start_behind(&peer, in_order(), 1);
    peer.is(Mode::Half);
    run.until_delivered(1);
    peer.is(Mode::Down);
    host.fails(Operation::CreateUnsynced, "tmp");
    let counts = run.stop();
    assert_eq!((counts.delivered, counts.spooled), (1, 1));
    let lines = log.take_lines();
    let line = lines.iter().find(|line| line.contains("cannot write the rest of a window"));
    assert!(line.is_some_and(|line| line.contains("points=1")), "{lines:?}");
    host.heal();
    let run = host.start(&peer, in_order());
    run.sleep(SECOND);
    assert_eq!(run.check().recovered, 2);
    run.crash();
}

#[test]
fn a_stop_syncs_the_files_that_it_writes_and_their_names() {
    let (host, peer) = (SlowHost::new(), Peer::new(Mode::Hangs));
    let run = host.start(&peer, in_order());
    run.sleep(MS);
    run.push(now_ms(), 3);
    run.push(now_ms() + 1, 3);
    let (counts, _) = run.stop_within(5 * SECOND);
    assert_eq!(counts.spooled, 6);
    let new = Path::new(ROOT).join("new");
    let names = host.disk.names(&new);
    assert_eq!((names.len(), host.disk.synced_names(&new)), (2, names.clone()));
    assert!(names.iter().all(|name| host.disk.is_synced(&new.join(name))));
}

#[test]
fn windows_that_neither_the_start_nor_the_stop_could_sync_are_logged_as_such() {
    let (host, peer, log) = (SlowHost::new(), Peer::new(Mode::Down), LogCapture::start());
    host.start_behind(&peer, in_order(), 2).crash();
    host.fails(Operation::SyncAll, "");
    let run = host.start(&peer, in_order());
    run.sleep(SECOND);
    host.heal();
    let began = now(&run);
    run.stop();
    let lines = log.take_lines();
    let line = lines.iter().find(|line| line.contains("did not sync windows")).unwrap();
    assert!(line.contains("windows=2"), "{line}");
    let synced = host.times(Operation::SyncFile, "new", began);
    assert!(synced.is_empty(), "a second sync can succeed without an effect");
}

#[test]
fn a_stop_waits_for_the_sync_of_windows_of_an_earlier_run() {
    let (host, peer) = (SlowHost::new(), Peer::new(Mode::Down));
    host.start_behind(&peer, in_order(), 2).crash();
    host.slows(Operation::SyncAll, "", 2 * SECOND);
    let run = host.start(&peer, in_order());
    run.sleep(SECOND);
    let (counts, took) = run.stop_within(5 * SECOND);
    assert_eq!(counts.spooled, 4);
    assert_at(&[took], &[SECOND]);
}
