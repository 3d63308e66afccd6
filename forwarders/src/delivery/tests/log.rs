//! Tests of the lines that a destination with a spool logs.

use std::fs;
use std::num::NonZeroU32;
use std::time::Duration;

use super::spool::{Mode, Peer, Run, files, now_ms, small};
use crate::config::{SpoolConfig, SpoolWrite};
use basics::log_capture::LogCapture;
use basics::units::Span;

/// The lines since the last call that contain this text.
fn lines_with(log: &LogCapture, text: &str) -> Vec<String> {
    log.take_lines().into_iter().filter(|line| line.contains(text)).collect()
}

fn down(spool: SpoolConfig) -> (tempfile::TempDir, Peer, Run) {
    let (folder, peer) = (tempfile::tempdir().unwrap(), Peer::new(Mode::Down));
    let run = Run::start_open(folder.path(), &peer, small(spool));
    (folder, peer, run)
}

#[test]
fn failures_of_a_destination_and_its_recovery_are_logged_once() {
    let log = LogCapture::start();
    let (_folder, peer, run) = down(SpoolConfig::default());
    (0..3).for_each(|window| run.push(now_ms() + window, 2));
    run.wait();
    assert_eq!(lines_with(&log, "delivery").len(), 1, "although it was attempted several times");
    assert!(run.counts().down);
    peer.is(Mode::Up);
    assert!(!run.wait().down);
    assert_eq!(lines_with(&log, "delivery recovered").len(), 1);
    run.push(now_ms() + 3, 2);
    run.wait();
    run.stop();
    assert_eq!(log.take_lines(), [""; 0]);
}

#[test]
fn a_disk_that_fails_again_and_again_is_logged_once_and_so_is_its_recovery() {
    let log = LogCapture::start();
    let (folder, peer) = (tempfile::tempdir().unwrap(), Peer::new(Mode::Down));
    let in_the_way = folder.path().join("fake");
    for _ in 0..2 {
        fs::write(&in_the_way, "a file is in the way").unwrap();
        let run = Run::start_open(folder.path(), &peer, small(SpoolConfig::default()));
        run.push(now_ms(), 3);
        run.wait();
        run.wait();
        let failed = lines_with(&log, "spool unusable");
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert!(failed[0].contains("WARN") && failed[0].contains("fake"), "{failed:?}");
        fs::remove_file(&in_the_way).unwrap();
        run.wait();
        run.wait();
        assert_eq!(lines_with(&log, "the spool works again").len(), 1);
        run.stop();
        fs::remove_dir_all(&in_the_way).unwrap();
    }
}

#[test]
fn points_that_a_full_spool_drops_are_logged() {
    let log = LogCapture::start();
    let spool = SpoolConfig { max_files: NonZeroU32::new(2).unwrap(), ..SpoolConfig::default() };
    let (_folder, _peer, run) = down(spool);
    for window in 0..4 {
        run.push(now_ms() + window, 5);
        run.wait();
    }
    let lines = lines_with(&log, "the spool is full, the oldest windows were dropped");
    assert!(lines.len() == 1 && lines[0].contains("points=5"), "{lines:?}");
    let spooled = run.stop().spooled;
    let lines = lines_with(&log, "points stay in the spool for the next start");
    assert!(lines.len() == 1 && lines[0].contains(&format!("points={spooled}")), "{lines:?}");
}

#[test]
fn points_that_expire_in_the_spool_are_logged() {
    let log = LogCapture::start();
    let spool = SpoolConfig { max_age: Span::from_secs(3600), ..SpoolConfig::default() };
    let (_folder, _peer, run) = down(spool);
    run.push(now_ms() - 3_700_000, 5);
    (0..9).for_each(|_| drop(run.wait()));
    let lines = lines_with(&log, "for longer than max_age and were dropped");
    assert!(lines.len() == 1 && lines[0].contains("points=5"), "{lines:?}");
    run.stop();
}

#[test]
fn points_whose_files_someone_removes_are_logged() {
    let log = LogCapture::start();
    let (folder, _peer, run) = down(SpoolConfig::default());
    (0..2).for_each(|window| run.push(now_ms() + window, 4));
    run.wait();
    files(folder.path()).into_iter().for_each(|file| fs::remove_file(file).unwrap());
    run.wait();
    let lines = lines_with(&log, "windows were removed from the spool");
    assert!(lines.len() == 1 && lines[0].contains("points=8"), "{lines:?}");
    run.stop();
}

#[test]
fn windows_that_a_full_queue_drops_are_logged_with_the_limit() {
    let log = LogCapture::start();
    let (folder, peer) = (tempfile::tempdir().unwrap(), Peer::new(Mode::Down));
    let mut delivery = small(SpoolConfig { write: SpoolWrite::Never, ..SpoolConfig::default() });
    delivery.queue.max_points = 5;
    let run = Run::start_open(folder.path(), &peer, delivery);
    for window in 0..3 {
        run.push(now_ms() + window, 3);
        run.wait();
    }
    let lines = lines_with(&log, "queue full, dropped its oldest windows");
    let [line] = &lines[..] else { panic!("one line, not {lines:?}") };
    for part in ["WARN", "forwarder=\"fake\"", "points=3", "limit=\"delivery.queue.max_points\""] {
        assert!(line.contains(part), "{line}");
    }
    run.stop_within(Duration::ZERO);
    let lines = lines_with(&log, "could not be delivered within shutdown_timeout");
    assert!(lines.len() == 1 && lines[0].contains("points=6"), "{lines:?}");
}
