//! Tests of a spool whose disk or folder misbehaves: files that cannot be read or removed, files of
//! other runs and hosts, files that are not windows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::time::sleep;

use super::spool::{Mode, Peer, Run, files, now_ms, quarantine, small};
use crate::config::{SpoolConfig, SpoolOrder, SpoolWrite};
use crate::delivery::handle::push_all;
use crate::delivery::reason;
use model::ClosedWindow;
use model::testing::snapshot_of_counters;

fn in_order() -> SpoolConfig {
    SpoolConfig { order: SpoolOrder::Oldest, ..SpoolConfig::default() }
}

/// Leaves windows of `points` points on disk, as a run does whose destination is down.
fn leave(folder: &Path, peer: &Peer, ends_ms: &[u64], points: usize) {
    peer.is(Mode::Down);
    let run = Run::start(folder, peer, small(in_order()));
    ends_ms.iter().for_each(|end_ms| run.push(*end_ms, points));
    run.wait();
    run.stop();
    peer.is(Mode::Up);
}

fn chattr(change: &str, path: &Path) -> bool {
    let changed = Command::new("chattr").arg(change).arg(path).output();
    let is_changed = changed.is_ok_and(|output| output.status.success());
    if !is_changed {
        let _nobody_listens = writeln!(std::io::stderr(), "SKIPPED: chattr does not work here");
    }
    is_changed
}

fn each_once(peer: &Peer, points: usize) {
    let got = peer.got();
    let unique: BTreeSet<_> = got.iter().copied().collect();
    assert_eq!((unique.len(), got.len()), (points, points), "each point once");
}

// ---- The end ----------------------------------------------------------------------------------

#[test]
fn a_stop_writes_to_a_spool_that_could_not_be_opened_a_moment_ago() {
    let folder = tempfile::tempdir().unwrap();
    let (peer, in_the_way) = (Peer::new(Mode::Down), folder.path().join("fake"));
    fs::write(&in_the_way, "a file is in the way").unwrap();
    let run = Run::start_open(folder.path(), &peer, small(in_order()));
    run.push(now_ms(), 3);
    assert!(run.check().spool.unwrap().degraded.is_some());
    fs::remove_file(&in_the_way).unwrap();
    let (counts, _) = run.stop_within(Duration::from_secs(1));
    assert_eq!((counts.spooled, counts.dropped.is_empty()), (3, true), "{counts:?}");
    assert_eq!(files(folder.path()).len(), 1);
}

#[test]
fn a_stop_writes_to_a_disk_that_failed_a_moment_ago() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Down);
    let run = Run::start_open(folder.path(), &peer, small(in_order()));
    let tmp = folder.path().join("fake/tmp");
    fs::remove_dir(&tmp).unwrap();
    fs::write(&tmp, "a file is in the way").unwrap();
    let end_ms = now_ms();
    (0..3).for_each(|window| run.push(end_ms + window, 3));
    run.runtime.block_on(async { sleep(Duration::from_secs(1)).await });
    assert!(run.check().spool.unwrap().degraded.is_some());
    fs::remove_file(&tmp).unwrap();
    let (counts, _) = run.stop_within(Duration::from_secs(1));
    assert_eq!((counts.spooled, counts.dropped.is_empty()), (9, true), "{counts:?}");
    assert_eq!(files(folder.path()).len(), 3);
}

// ---- Numbers ----------------------------------------------------------------------------------

#[test]
fn refused_windows_of_two_runs_can_be_returned_together() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Up);
    peer.refuses(0..9, reason::REFUSED);
    for points in [3, 4] {
        let run = Run::start(folder.path(), &peer, small(in_order()));
        run.push(now_ms(), points);
        run.wait();
        run.stop();
    }
    assert_eq!(quarantine(folder.path()).len(), 2);
    for file in fs::read_dir(folder.path().join("fake/quarantine")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap();
        fs::rename(&path, folder.path().join("fake/new").join(name)).unwrap();
    }
    peer.refuses.lock().clear();
    let run = Run::start(folder.path(), &peer, small(in_order()));
    let counts = run.wait();
    assert_eq!((counts.recovered, counts.delivered), (7, 7));
    run.stop();
    each_once(&peer, 7);
}

#[test]
fn the_windows_of_another_host_are_delivered_too() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (peer, end_ms) = (Peer::new(Mode::Down), now_ms());
    leave(ours.path(), &peer, &[end_ms, end_ms + 2], 3);
    leave(theirs.path(), &peer, &[end_ms + 1, end_ms + 3], 4);
    for file in files(theirs.path()) {
        fs::copy(&file, ours.path().join("fake/new").join(file.file_name().unwrap())).unwrap();
    }
    let run = Run::start(ours.path(), &peer, small(in_order()));
    let counts = run.wait();
    assert_eq!((counts.recovered, counts.delivered), (14, 14));
    run.stop();
    each_once(&peer, 14);
}

// ---- Removal ----------------------------------------------------------------------------------

#[test]
fn windows_whose_files_cannot_be_removed_are_delivered_once() {
    let folder = tempfile::tempdir().unwrap();
    let (peer, end_ms) = (Peer::new(Mode::Down), now_ms());
    leave(folder.path(), &peer, &[end_ms, end_ms + 1, end_ms + 2], 2);
    let new = folder.path().join("fake/new");
    if !chattr("+i", &new) {
        return;
    }
    for run in 0..3 {
        let run_is_first = run == 0;
        let run = Run::start(folder.path(), &peer, small(in_order()));
        let counts = run.wait();
        assert_eq!(counts.recovered, if run_is_first { 6 } else { 0 });
        let spool = counts.spool.unwrap();
        assert_eq!((spool.files, spool.unremoved, spool.degraded), (0, 3, None));
        run.stop();
        assert_eq!(files(folder.path()).len(), 3);
    }
    assert!(chattr("-i", &new));
    let run = Run::start(folder.path(), &peer, small(in_order()));
    assert_eq!(run.wait().spool.unwrap().unremoved, 0);
    run.stop();
    assert!(files(folder.path()).is_empty());
    each_once(&peer, 6);
}

#[test]
fn on_a_disk_that_cannot_be_changed_windows_in_memory_are_delivered_and_those_on_disk_wait() {
    let folder = tempfile::tempdir().unwrap();
    let (peer, end_ms) = (Peer::new(Mode::Down), now_ms());
    leave(folder.path(), &peer, &[end_ms, end_ms + 1, end_ms + 2], 2);
    let (root, new) = (folder.path().join("fake"), folder.path().join("fake/new"));
    if !(chattr("+i", &new) && chattr("+i", &root)) {
        return;
    }
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    run.wait();
    for window in 3..6 {
        run.push(end_ms + window, 2);
        run.wait();
    }
    let counts = run.check();
    // One of those on disk, and all in memory but the first, which may complete one on disk.
    assert_eq!((counts.delivered, counts.spooled, counts.queued), (6, 4, 2));
    let spool = counts.spool.unwrap();
    assert!(spool.degraded.unwrap().contains("cannot remove delivered windows"));
    assert!(chattr("-i", &root) && chattr("-i", &new));
    let counts = run.wait();
    assert_eq!((counts.delivered, counts.spooled), (12, 0));
    assert_eq!(counts.spool.unwrap().degraded, None);
    run.stop();
    assert!(files(folder.path()).is_empty());
    each_once(&peer, 12);
}

#[test]
fn a_kill_repeats_at_most_one_window() {
    let folder = tempfile::tempdir().unwrap();
    let (peer, end_ms) = (Peer::new(Mode::Down), now_ms());
    let ends_ms: Vec<u64> = (0..40).map(|window| end_ms + window).collect();
    leave(folder.path(), &peer, &ends_ms, 3);
    let mut kills = 0;
    while !files(folder.path()).is_empty() {
        let run = Run::start(folder.path(), &peer, small(in_order()));
        run.runtime.block_on(async { sleep(Duration::from_millis(kills % 7)).await });
        let counts = run.crash();
        let kept = files(folder.path()).len() as u64 * 3;
        let is_open = counts.recovered > 0;
        let repeated = (counts.delivered + kept).saturating_sub(counts.recovered);
        assert!(!is_open || repeated <= 3, "{counts:?}, {kept} on disk");
        kills += 1;
    }
    let unique: BTreeSet<_> = peer.got().into_iter().collect();
    assert_eq!(unique.len(), 120);
    assert!(peer.got().len() <= 120 + 3 * kills as usize, "{} in {kills} kills", peer.got().len());
}

// ---- Reading ----------------------------------------------------------------------------------

#[test]
fn trouble_of_the_system_drops_no_window() {
    for spool in [in_order(), SpoolConfig::default()] {
        let folder = tempfile::tempdir().unwrap();
        let (peer, end_ms) = (Peer::new(Mode::Down), now_ms());
        leave(folder.path(), &peer, &[end_ms, end_ms + 1], 2);
        let run = Run::start(folder.path(), &peer, small(spool));
        // The folder is open, and cannot be read from now on.
        peer.is(Mode::Down);
        run.wait();
        let (new, away) = (folder.path().join("fake/new"), folder.path().join("fake/away"));
        fs::rename(&new, &away).unwrap();
        fs::write(&new, "a file is in the way").unwrap();
        peer.is(Mode::Up);
        let counts = run.wait();
        assert_eq!((counts.delivered, counts.spooled), (2, 2), "one was read before");
        assert!(counts.dropped.is_empty(), "{counts:?}");
        assert!(counts.spool.unwrap().degraded.unwrap().contains("Not a directory"));
        fs::remove_file(&new).unwrap();
        fs::rename(&away, &new).unwrap();
        let counts = run.wait();
        assert_eq!((counts.delivered, counts.spooled), (4, 0));
        assert_eq!(counts.spool.unwrap().degraded, None);
        run.stop();
        each_once(&peer, 4);
    }
}

// ---- Damaged and foreign files ----------------------------------------------------------------

#[test]
fn damaged_files_are_counted_by_one_run_only() {
    let folder = tempfile::tempdir().unwrap();
    let (peer, end_ms) = (Peer::new(Mode::Down), now_ms());
    leave(folder.path(), &peer, &[end_ms], 2);
    for number in 0..2_000 {
        // Half of them have the size that their name says.
        let name = format!("fake/new/{number:016x}-1-1-{}.b", number % 2);
        File::create(folder.path().join(name)).unwrap().set_len(1).unwrap();
    }
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    run.runtime.block_on(async { sleep(Duration::from_millis(1)).await });
    let first = run.stop();
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    run.wait();
    let second = run.stop();
    let corrupt = |counts: &crate::delivery::stats::Counts| {
        counts.dropped.get(reason::SPOOL_CORRUPT).copied().unwrap_or_default()
    };
    assert_eq!(corrupt(&first) + corrupt(&second), 2_000, "{first:?} {second:?}");
    assert_eq!(first.delivered + second.delivered, 2);
    assert!(files(folder.path()).is_empty());
}

// ---- `write: always` --------------------------------------------------------------------------

#[test]
fn the_status_shows_a_disk_that_works_again_although_nothing_waits() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Up);
    let spool = SpoolConfig { write: SpoolWrite::Always, ..SpoolConfig::default() };
    let run = Run::start(folder.path(), &peer, small(spool));
    run.wait();
    let tmp = folder.path().join("fake/tmp");
    fs::remove_dir(&tmp).unwrap();
    fs::write(&tmp, "a file is in the way").unwrap();
    run.push(now_ms(), 2);
    let counts = run.wait();
    assert_eq!((counts.delivered, counts.queued), (2, 0), "a failing disk stops no delivery");
    assert!(counts.spool.unwrap().degraded.is_some());
    fs::remove_file(&tmp).unwrap();
    assert_eq!(run.wait().spool.unwrap().degraded, None);
    run.stop();
}

#[test]
fn with_always_no_destination_sees_a_window_before_it_is_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (safe, other) = (Peer::new(Mode::Hangs), Peer::new(Mode::Up));
    let spool = SpoolConfig { write: SpoolWrite::Always, ..SpoolConfig::default() };
    let run = Run::start(folder.path(), &safe, small(spool));
    let queues = run.add(folder.path(), "other", &other, small(SpoolConfig::default()));
    run.wait();
    let push = |end_ms| {
        let mut snapshot = snapshot_of_counters(2);
        snapshot.window.end_ms = end_ms;
        push_all(&queues, &ClosedWindow::undivided(snapshot));
    };
    for window in 0..3 {
        push(now_ms() + window);
        run.runtime.block_on(async {
            while other.windows().len() as u64 == window {
                sleep(Duration::from_millis(1)).await;
            }
        });
        assert_eq!(files(folder.path()).len() as u64, window + 1, "on disk first");
    }
    // A disk that fails holds up no one.
    let tmp = folder.path().join("fake/tmp");
    fs::remove_dir(&tmp).unwrap();
    fs::write(&tmp, "a file is in the way").unwrap();
    push(now_ms() + 3);
    run.runtime.block_on(async { sleep(Duration::from_millis(200)).await });
    assert_eq!(other.windows().len(), 4);
    run.crash();
}

// ---- Refusals ---------------------------------------------------------------------------------

#[test]
fn a_backlog_that_is_refused_is_worked_off_with_pauses() {
    let folder = tempfile::tempdir().unwrap();
    let (peer, end_ms) = (Peer::new(Mode::Down), now_ms());
    let ends_ms: Vec<u64> = (0..8).map(|window| end_ms + window).collect();
    leave(folder.path(), &peer, &ends_ms, 3);
    peer.refuses(0..3, reason::REFUSED);
    let run = Run::start(folder.path(), &peer, small(in_order()));
    let after = |seconds| {
        run.runtime.block_on(async { sleep(Duration::from_secs(seconds)).await });
        run.check().dropped.get(reason::REFUSED).copied().unwrap_or_default()
    };
    assert_eq!(after(1), 3);
    assert_eq!(after(10), 9, "half an interval of ten seconds between two windows");
    // One point that is accepted is reason enough to continue at once.
    peer.refuses.lock().remove(&2);
    assert_eq!(after(6), 9 + 2 * 5);
    assert_eq!(run.stop().spooled, 0);
}

#[test]
fn a_stop_does_not_wait_for_the_pause_after_a_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let (peer, end_ms) = (Peer::new(Mode::Down), now_ms());
    leave(folder.path(), &peer, &[end_ms, end_ms + 1, end_ms + 2], 3);
    peer.refuses(0..3, reason::REFUSED);
    let run = Run::start(folder.path(), &peer, small(in_order()));
    run.runtime.block_on(async { sleep(Duration::from_secs(1)).await });
    let (counts, took) = run.stop_timed();
    assert_eq!((counts.dropped[reason::REFUSED], counts.spooled), (3, 6));
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn a_destination_that_reports_nothing_at_a_stop_leaves_time_to_write_its_window() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::new(Mode::Silent);
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    run.runtime.block_on(async { sleep(Duration::from_millis(1)).await });
    run.push(now_ms(), 10);
    let (counts, _) = run.stop_within(Duration::from_secs(1));
    assert_eq!((counts.spooled, counts.dropped), (10, BTreeMap::new()));
}
