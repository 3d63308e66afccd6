//! Tests on a simulated disk that fails, fills and loses data that was not synced.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::spool::disk::simulated::{Crash, Operation, SimulatedDisk};

const ROOT: &str = "/spool/kafka";

fn open_on(disk: &SimulatedDisk) -> Result<(SpoolDirectory, FoundWindows), SpoolOpenError> {
    SpoolDirectory::open_on(Box::new(disk.clone()), Path::new(ROOT), None)
}

/// An operation of a daemon.
#[derive(Clone, Debug)]
enum Step {
    Write {
        points: usize,
    },
    /// Writes the rest of a window, then discards its file.
    Replace(Index),
    Discard(Index),
    /// Discards a window while the disk refuses to remove files.
    DiscardStuck(Index),
    RetrySettled,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1_usize..6).prop_map(|points| Step::Write { points }),
        2 => any::<Index>().prop_map(Step::Replace),
        2 => any::<Index>().prop_map(Step::Discard),
        2 => any::<Index>().prop_map(Step::DiscardStuck),
        1 => Just(Step::RetrySettled),
    ]
}

/// The windows of the daemon, as it counts them.
#[derive(Debug, Default)]
struct Expected {
    /// Windows on disk that are not settled.
    waiting: Vec<FileName>,
    /// The numbers of windows that are removed or recorded as settled.
    settled: BTreeSet<u64>,
    /// The window that the latest step concerns: a crash may leave it in either state.
    uncertain: Option<u64>,
    next_seq: u64,
}

impl Expected {
    fn take(&mut self, window: &Index) -> Option<FileName> {
        let index = (!self.waiting.is_empty()).then(|| window.index(self.waiting.len()))?;
        let name = self.waiting.remove(index);
        self.uncertain = Some(name.seq);
        Some(name)
    }

    /// Applies a step. Stops in the middle when the disk crashes.
    fn apply(&mut self, directory: &SpoolDirectory, disk: &SimulatedDisk, step: &Step) {
        self.uncertain = None;
        match step {
            Step::Write { points } => self.write(directory, *points),
            Step::Replace(window) => self.replace(directory, window),
            Step::Discard(window) => self.discard(directory, window),
            Step::DiscardStuck(window) => {
                disk.fail(|operation, _| {
                    (operation == Operation::Remove).then_some(io::ErrorKind::PermissionDenied)
                });
                self.discard(directory, window);
                disk.heal();
            }
            Step::RetrySettled => {
                let _crashed = directory.retry_settled(2);
            }
        }
    }

    fn write(&mut self, directory: &SpoolDirectory, points: usize) {
        self.next_seq += 1;
        self.uncertain = Some(self.next_seq);
        let (name, bytes) = packed(self.next_seq, points, "run-1");
        if directory.write(name, &bytes, 1).is_ok() {
            self.waiting.push(name);
        }
    }

    fn replace(&mut self, directory: &SpoolDirectory, window: &Index) {
        let Some(name) = self.take(window) else { return };
        let snapshot = snapshot_of_counters(name.points as usize);
        let rest = PointRanges::first(name.points as usize - 1);
        if rest.count() == 0 {
            return self.waiting.push(name);
        }
        let (rest, bytes) = file::write(name.seq, &snapshot, &rest, "run-1");
        if directory.write(rest, &bytes, 1).is_ok()
            && directory.discard(&removal(&[name])).left.is_empty()
        {
            self.waiting.push(rest);
        }
    }

    fn discard(&mut self, directory: &SpoolDirectory, window: &Index) {
        if let Some(name) = self.take(window)
            && directory.discard(&removal(&[name])).left.is_empty()
        {
            self.settled.insert(name.seq);
        }
    }

    /// Compares the windows found after a crash. After a power failure, files whose removal was not
    /// synced can be there again.
    fn check(&mut self, directory: &SpoolDirectory, found: &FoundWindows, crash: Crash) {
        assert!(found.damaged.is_empty(), "torn: {found:?}");
        let numbers: BTreeSet<u64> = found.windows.iter().map(|name| name.seq).collect();
        assert_eq!(numbers.len(), found.windows.len(), "twice: {found:?}");
        for name in &found.windows {
            assert_eq!(directory.read(*name).unwrap().points.len() as u64, name.points);
        }
        for name in self.waiting.iter().filter(|name| Some(name.seq) != self.uncertain) {
            assert!(found.windows.contains(name), "{name} is lost: {found:?}");
        }
        let is_certain = |seq: &&u64| Some(**seq) != self.uncertain;
        let repeated: Vec<_> = numbers.intersection(&self.settled).filter(is_certain).collect();
        assert!(repeated.is_empty() || crash == Crash::PowerFailure, "again: {repeated:?}");
        self.settled.retain(|seq| !numbers.contains(seq));
        self.waiting.clone_from(&found.windows);
    }
}

proptest! {
    /// Whenever the machine stops, each window is complete or absent; a window that was written is
    /// there, and a window that was settled is not delivered again.
    #[test]
    fn a_crash_loses_and_repeats_nothing_but_the_step_that_it_interrupts(
        seed in any::<u64>(),
        runs in prop::collection::vec(
            (prop::collection::vec(step(), 1..12), 1_u64..60, prop::bool::ANY),
            1..5,
        ),
    ) {
        let disk = SimulatedDisk::new(seed);
        let mut expected = Expected::default();
        let (mut directory, _) = open_on(&disk).unwrap();
        for (steps, crash_after, is_power_failure) in runs {
            disk.crash_after(crash_after);
            for step in steps {
                expected.apply(&directory, &disk, &step);
                if disk.has_crashed() {
                    break;
                }
            }
            let crash = if is_power_failure { Crash::PowerFailure } else { Crash::Kill };
            disk.restart(crash);
            let found;
            (directory, found) = open_on(&disk).unwrap();
            expected.check(&directory, &found, crash);
            directory.sync_found(found.has_old_records).unwrap();
            prop_assert!(directory.discard(&removal(&found.replaced)).left.is_empty());
        }
    }
}

#[test]
fn a_full_disk_refuses_a_window_and_leaves_no_part_of_it() {
    let disk = SimulatedDisk::new(1);
    let (directory, _) = open_on(&disk).unwrap();
    let (name, bytes) = packed(1, 5, "run-1");
    // Another program uses up the space between the check and the write.
    let other = disk.clone();
    disk.fail(move |operation, _| {
        (operation == Operation::Create).then_some(io::ErrorKind::StorageFull)
    });
    let failed = directory.write(name, &bytes, 1).unwrap_err();
    assert_eq!(failed.error.kind(), io::ErrorKind::StorageFull);
    other.heal();
    disk.set_free_bytes(bytes.len() as u64 - 1);
    let failed = directory.write(name, &bytes, 0).unwrap_err();
    assert_eq!(failed.error.kind(), io::ErrorKind::StorageFull);
    assert!(disk.names(Path::new("/spool/kafka/tmp")).is_empty());
    disk.set_free_bytes(1 << 20);
    directory.write(name, &bytes, 1).unwrap();
}

#[test]
fn a_file_whose_folder_cannot_be_synced_does_not_stay_unnoticed() {
    let disk = SimulatedDisk::new(1);
    let (directory, _) = open_on(&disk).unwrap();
    let (name, bytes) = packed(1, 5, "run-1");
    let error = io::ErrorKind::Other;
    disk.fail(move |operation, _| (operation == Operation::SyncFolder).then_some(error));
    assert!(!directory.write(name, &bytes, 1).unwrap_err().is_left_behind);
    assert!(directory.names().unwrap().is_empty());
    disk.fail(move |operation, path| {
        let is_window = path.starts_with("/spool/kafka/new");
        let fails = [Operation::SyncFolder, Operation::Remove].contains(&operation);
        (fails && is_window).then_some(error)
    });
    assert!(directory.write(name, &bytes, 1).unwrap_err().is_left_behind);
    assert_eq!(directory.names().unwrap(), [name]);
}

#[test]
fn a_window_with_the_inode_of_a_settled_one_is_not_suppressed() {
    for seed in 0..20 {
        let disk = SimulatedDisk::new(seed);
        disk.reuse_inodes();
        let (directory, _) = open_on(&disk).unwrap();
        let name = put(&directory, 1, 2);
        directory.record(&removal(&[name])).unwrap();
        // The removal was slow, and has ended.
        disk.take_away(&directory.path_of(name));
        assert_eq!(put(&directory, 1, 2), name);
        assert!(disk.names(Path::new("/spool/kafka/tmp")).is_empty());
        let (_, found) = open_on(&disk).unwrap();
        assert_eq!(found.windows, [name], "{seed}");
    }
}

#[test]
fn a_start_syncs_what_an_earlier_run_left() {
    let disk = SimulatedDisk::new(1);
    let (directory, _) = open_on(&disk).unwrap();
    let (name, bytes) = packed(1, 5, "run-1");
    directory.write_unsynced(name, &bytes, 1).unwrap();
    directory.record(&removal(&[put(&directory, 2, 1)])).unwrap();
    let (directory, found) = open_on(&disk).unwrap();
    assert_eq!(found.windows, [name]);
    directory.sync_found(found.has_old_records).unwrap();
    disk.restart(Crash::PowerFailure);
    assert_eq!(open_on(&disk).unwrap().1.windows, [name]);
    assert_eq!(directory.read(name).unwrap().points.len(), 5);
}

#[test]
fn a_disk_that_neither_removes_nor_records_a_file_says_so() {
    let disk = SimulatedDisk::new(1);
    let (directory, _) = open_on(&disk).unwrap();
    let names = [put(&directory, 1, 2), put(&directory, 2, 2)];
    let read_only = io::ErrorKind::ReadOnlyFilesystem;
    disk.fail(move |operation, _| {
        [Operation::Remove, Operation::Append].contains(&operation).then_some(read_only)
    });
    let outcome = directory.discard(&removal(&names));
    assert_eq!(outcome.left, removal(&names));
    assert_eq!(outcome.error.unwrap().kind(), read_only);
    disk.heal();
    discard(&directory, &removal(&names));
}

#[test]
fn an_error_when_the_folder_is_opened_is_an_error_and_not_an_empty_folder() {
    let disk = SimulatedDisk::new(1);
    let (directory, _) = open_on(&disk).unwrap();
    put(&directory, 1, 5);
    put(&directory, 1, 4);
    for operation in [Operation::List, Operation::Read, Operation::Status] {
        disk.fail(move |failing, path| {
            let fails = failing == operation && path.starts_with("/spool/kafka/new");
            fails.then_some(io::ErrorKind::Other)
        });
        assert!(open_on(&disk).is_err(), "{operation:?}");
    }
    disk.heal();
    assert_eq!(open_on(&disk).unwrap().1.windows.len(), 1);
}
