use std::fs;
use std::os::unix::fs::symlink;
use std::pin::Pin;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::spool::disk::Disk;
use crate::spool::disk::simulated::SimulatedDisk;
use crate::spool::host::SimulatedHost;
use basics::log_capture::lines_logged;
use model::PointRanges;
use model::testing::snapshot_of_counters;

fn file(seq: u64, points: u64) -> FileName {
    FileName { seq, start_ms: 1, points, bytes: 100 }
}

fn lines_about(found: &FoundWindows, settled: u64) -> Vec<String> {
    let place = SpoolPlace { folder: "/spool".into(), instance: "run-1".into() };
    let writer = SpoolWriter::new("metrics".into(), &place, Host::Real);
    lines_logged(|| writer.log_found(found, settled))
}

#[test]
fn each_kind_of_file_that_a_start_finds_is_logged_with_its_number() {
    let nothing = FoundWindows::default;
    assert_eq!(lines_about(&nothing(), 0), [""; 0]);
    for (found, settled, parts) in [
        (
            FoundWindows { windows: vec![file(1, 30), file(2, 40)], ..nothing() },
            0,
            ["INFO", "found in the spool", "windows=2", "points=70"],
        ),
        (
            FoundWindows { damaged: vec![file(1, 5), file(2, 6)], ..nothing() },
            0,
            ["WARN", "dropped damaged spool files", "windows=2", "points=11"],
        ),
        (
            FoundWindows { replaced: vec![file(1, 5)], ..nothing() },
            0,
            ["INFO", "ignored spool files of which only a part was left", "files=1", ""],
        ),
        (nothing(), 3, ["INFO", "ignored spool files that an earlier run", "files=3", ""]),
        (
            FoundWindows { strangers: 4, ..nothing() },
            0,
            ["WARN", "files that are not windows", "files=4", ""],
        ),
    ] {
        let lines = lines_about(&found, settled);
        let [line] = &lines[..] else { panic!("one line, not {lines:?}") };
        let always = ["forwarder=\"metrics\"", "folder=/spool/metrics"];
        assert!(parts.iter().chain(&always).all(|part| line.contains(part)), "{line}");
    }
}

// ---- Open folders -----------------------------------------------------------------------------

fn opened(runtime: &Runtime) -> (tempfile::TempDir, SpoolWriter) {
    let folder = tempfile::tempdir().unwrap();
    let place = SpoolPlace { folder: folder.path().into(), instance: "run-1".into() };
    let writer = SpoolWriter::new("metrics".into(), &place, Host::Real);
    runtime.block_on(writer.open()).unwrap();
    (folder, writer)
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

async fn write_last(writer: &SpoolWriter, seq: u64) -> FileName {
    let snapshot = Arc::new(snapshot_of_counters(2));
    let job = WriteJob { seq, snapshot, points: PointRanges::first(2) };
    let window = writer.pack(job).await.unwrap();
    assert_eq!(writer.write_unsynced(&window, 1).await.unwrap(), WriteEnd::Unsynced);
    window.name
}

#[test]
fn a_sync_returns_the_windows_that_a_power_failure_may_still_damage() {
    let runtime = runtime();
    let (_folder, writer) = opened(&runtime);
    runtime.block_on(async {
        let mut names = Vec::new();
        for seq in 0..40 {
            names.push(write_last(&writer, seq).await);
        }
        assert_eq!(writer.sync(names.clone()).await, []);
        assert_eq!(writer.sync(Vec::new()).await, []);
        let new = writer.root().join("new");
        let path = |name: FileName| new.join(name.to_string());
        fs::remove_file(path(names[0])).unwrap();
        assert_eq!(writer.sync(names.clone()).await, [], "a window that is gone needs no sync");
        fs::remove_file(path(names[7])).unwrap();
        symlink(path(names[7]), path(names[7])).unwrap();
        assert_eq!(writer.sync(names.clone()).await, [names[7]]);
        fs::rename(&new, writer.root().join("elsewhere")).unwrap();
        assert_eq!(writer.sync(names.clone()).await, names, "no name is synced");
    });
}

#[test]
fn tidying_up_continues_as_long_as_it_may_move_another_file() {
    let runtime = runtime();
    let (_folder, writer) = opened(&runtime);
    fs::write(writer.root().join("new/stranger"), "").unwrap();
    assert!(runtime.block_on(writer.tidy(1)));
    assert!(!runtime.block_on(writer.tidy(1)));
}

#[derive(Debug)]
struct FixedHost;

impl SimulatedHost for FixedHost {
    fn wall(&self) -> Duration {
        Duration::from_secs(7)
    }

    fn random(&self) -> u64 {
        7
    }

    fn disk(&self) -> Box<dyn Disk> {
        Box::new(SimulatedDisk::new(1))
    }

    fn begin_blocking(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }

    fn end_blocking(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }
}

#[test]
fn the_clocks_and_random_numbers_are_those_of_the_host() {
    let place = SpoolPlace { folder: "/spool".into(), instance: "run-1".into() };
    let host = Host::Simulated(Arc::new(FixedHost));
    let writer = SpoolWriter::new("metrics".into(), &place, host);
    assert_eq!(writer.host().random(), 7);
    assert_eq!(writer.host().clocks().wall_ms(), 7_000);
}
