//! Tests of single operations of a simulated disk that fail: which errors mean that something is
//! missing, and which are returned.

use std::sync::Arc;

use super::*;
use crate::spool::disk::simulated::{Operation, SimulatedDisk};
use crate::spool::settled;

const ROOT: &str = "/spool/kafka";
const DENIED: io::ErrorKind = io::ErrorKind::PermissionDenied;

fn open_on(disk: &SimulatedDisk) -> Result<(SpoolDirectory, FoundWindows), SpoolOpenError> {
    SpoolDirectory::open_on(Box::new(disk.clone()), Path::new(ROOT), None)
}

fn opened() -> (SimulatedDisk, SpoolDirectory) {
    let disk = SimulatedDisk::new(1);
    let (directory, _) = open_on(&disk).unwrap();
    (disk, directory)
}

/// Fails the first `times` operations of a kind below a path.
fn fail(disk: &SimulatedDisk, failing: Operation, below: &str, times: usize, with: io::ErrorKind) {
    let (below, mut left) = (Path::new(ROOT).join(below), times);
    disk.fail(move |operation, path| {
        let fails = operation == failing && path.starts_with(&below) && left > 0;
        left -= usize::from(fails);
        fails.then_some(with)
    });
}

/// The operations of a kind from now on.
fn watch(disk: &SimulatedDisk, watched: Operation) -> Arc<Mutex<Vec<PathBuf>>> {
    let seen = Arc::<Mutex<Vec<PathBuf>>>::default();
    let paths = Arc::clone(&seen);
    disk.fail(move |operation, path| {
        paths.lock().extend((operation == watched).then(|| path.to_owned()));
        None
    });
    seen
}

fn recorded(disk: &SimulatedDisk) -> Vec<FileName> {
    let bytes = disk.peek(&Path::new(ROOT).join("settled")).unwrap_or_default();
    settled::inodes(&bytes).into_iter().map(|(name, _)| name).collect()
}

// ---- Opening ----------------------------------------------------------------------------------

#[test]
fn the_names_of_new_folders_are_synced_and_those_of_old_ones_are_not() {
    let disk = SimulatedDisk::new(1);
    let synced = watch(&disk, Operation::SyncFolder);
    open_on(&disk).unwrap();
    assert_eq!(*synced.lock(), ["/spool/kafka", "/spool", "/"].map(PathBuf::from));
    synced.lock().clear();
    open_on(&disk).unwrap();
    assert!(synced.lock().is_empty());
}

#[test]
fn a_window_that_is_removed_while_the_folder_is_opened_is_not_found() {
    let (disk, directory) = opened();
    put(&directory, 1, 2);
    let path = directory.path_of(packed(1, 2, "run-1").0);
    disk.fail(move |operation, looked_at| {
        let is_gone = operation == Operation::Status && looked_at == path;
        is_gone.then_some(io::ErrorKind::NotFound)
    });
    let (_, found) = open_on(&disk).unwrap();
    assert_eq!(found, FoundWindows::default());
}

#[test]
fn a_window_whose_size_cannot_be_read_keeps_the_folder_closed() {
    let (disk, directory) = opened();
    let path = directory.path_of(put(&directory, 1, 2));
    disk.fail(move |operation, looked_at| {
        (operation == Operation::Status && looked_at == path).then_some(DENIED)
    });
    assert!(open_on(&disk).is_err(), "its points would be in no ledger");
}

#[test]
fn a_record_that_cannot_be_read_is_an_error_and_a_missing_one_is_not() {
    let (disk, directory) = opened();
    directory.record(&removal(&[put(&directory, 1, 2)])).unwrap();
    fail(&disk, Operation::Read, "settled", 1, DENIED);
    assert!(open_on(&disk).is_err(), "its window would be delivered again");
    fail(&disk, Operation::Read, "settled", 1, io::ErrorKind::NotFound);
    assert_eq!(open_on(&disk).unwrap().1.windows.len(), 1);
}

#[test]
fn a_start_reads_only_windows_that_another_one_may_replace() {
    let (disk, directory) = opened();
    let name = put(&directory, 1, 2);
    fail(&disk, Operation::Read, "new", 9, DENIED);
    assert_eq!(open_on(&disk).unwrap().1.windows, [name]);
}

#[test]
fn a_window_is_compared_with_eight_others_of_its_number() {
    for (others, replaced) in [(7, 1), (8, 0)] {
        let (disk, directory) = opened();
        for points in 1..=others {
            let (name, bytes) = packed(1, points, &format!("run of host {points}"));
            directory.write(name, &bytes, 1).unwrap();
        }
        put(&directory, 1, 9);
        put(&directory, 1, 10);
        let (_, found) = open_on(&disk).unwrap();
        assert_eq!((found.windows.len(), found.replaced.len()), (others + 2 - replaced, replaced));
    }
}

// ---- The record of settled windows ------------------------------------------------------------

#[test]
fn a_file_is_recorded_once_and_again_when_another_file_has_its_name() {
    let (disk, directory) = opened();
    let names = [put(&directory, 1, 2), put(&directory, 2, 2)];
    directory.record(&removal(&names[..1])).unwrap();
    directory.record(&removal(&names)).unwrap();
    directory.record(&removal(&names)).unwrap();
    assert_eq!(recorded(&disk), names);
    disk.take_away(&directory.path_of(names[0]));
    directory.record(&removal(&names)).unwrap();
    assert_eq!(recorded(&disk), names, "a file that is gone needs no record");
}

#[test]
fn a_file_that_may_be_there_is_not_left_out_of_the_record_unnoticed() {
    let (disk, directory) = opened();
    let name = put(&directory, 1, 2);
    fail(&disk, Operation::Status, "new", 1, DENIED);
    assert_eq!(directory.record(&removal(&[name])).unwrap_err().kind(), DENIED);
    fail(&disk, Operation::Status, "new", 1, io::ErrorKind::NotFound);
    directory.record(&removal(&[name])).unwrap();
    assert_eq!(recorded(&disk), []);
}

#[test]
fn the_sync_of_a_record_includes_its_name() {
    let (disk, directory) = opened();
    directory.record(&removal(&[put(&directory, 1, 2)])).unwrap();
    let path = Path::new(ROOT).join("settled");
    assert!(!disk.is_synced(&path));
    directory.sync_record().unwrap();
    assert!(disk.is_synced(&path));
    assert!(disk.synced_names(Path::new(ROOT)).contains(&"settled".to_owned()));
    for operation in [Operation::SyncFile, Operation::SyncFolder] {
        fail(&disk, operation, "", 1, DENIED);
        assert!(directory.sync_record().is_err(), "{operation:?}");
    }
}

#[test]
fn a_record_whose_sync_failed_is_written_again_because_a_second_sync_can_succeed_without_it() {
    let path = Path::new(ROOT).join("settled");
    for (operation, below) in [(Operation::SyncFile, "settled"), (Operation::SyncFolder, "")] {
        let (disk, directory) = opened();
        let names = [put(&directory, 1, 2), put(&directory, 2, 2)];
        directory.record(&removal(&names[..1])).unwrap();
        fail(&disk, operation, below, 1, DENIED);
        assert_eq!(directory.sync_record().unwrap_err().kind(), DENIED);
        // The new file contains lines that were added since.
        directory.record(&removal(&names[1..])).unwrap();
        let renamed = watch(&disk, Operation::Rename);
        directory.sync_record().unwrap();
        assert!(disk.is_synced(&path));
        assert_eq!(recorded(&disk), names);
        directory.sync_record().unwrap();
        assert_eq!(renamed.lock().len(), 1, "the new file is as good as any");
    }
}

#[test]
fn a_record_that_cannot_be_written_again_stays_in_doubt() {
    for (operation, below) in [(Operation::Rename, "tmp"), (Operation::SyncFolder, "")] {
        let (disk, directory) = opened();
        directory.record(&removal(&[put(&directory, 1, 2)])).unwrap();
        fail(&disk, Operation::SyncFile, "settled", 1, DENIED);
        assert!(directory.sync_record().is_err());
        fail(&disk, operation, below, 1, DENIED);
        assert_eq!(directory.sync_record().unwrap_err().kind(), DENIED);
        let renamed = watch(&disk, Operation::Rename);
        directory.sync_record().unwrap();
        assert_eq!(renamed.lock().len(), 1);
        assert!(disk.is_synced(&Path::new(ROOT).join("settled")));
    }
}

#[test]
fn a_record_of_an_earlier_run_is_in_doubt_if_the_sync_of_the_start_fails() {
    let (disk, directory) = opened();
    let names = [put(&directory, 1, 2)];
    directory.record(&removal(&names)).unwrap();
    drop(directory);
    let (directory, _) = open_on(&disk).unwrap();
    fail(&disk, Operation::SyncAll, "", 1, DENIED);
    assert!(directory.sync_found(false).is_err());
    disk.heal();
    directory.record(&removal(&names)).unwrap();
    directory.sync_record().unwrap();
    assert!(disk.is_synced(&Path::new(ROOT).join("settled")));
}

#[test]
fn an_empty_record_is_never_in_doubt() {
    let (disk, directory) = opened();
    fail(&disk, Operation::SyncAll, "", 1, DENIED);
    assert!(directory.sync_found(false).is_err());
    directory.sync_record().unwrap();
    assert!(!disk.names(Path::new(ROOT)).contains(&"settled".to_owned()));
}

#[test]
fn the_record_becomes_shorter_when_some_of_its_files_are_gone() {
    let (disk, directory) = opened();
    let names: Vec<_> = (1..=4).map(|seq| put(&directory, seq, 2)).collect();
    directory.record(&removal(&names)).unwrap();
    // The first one stays, so it is tried last from now on.
    fail(&disk, Operation::Remove, "new", 1, DENIED);
    directory.retry_settled(3).unwrap();
    assert_eq!((directory.unremoved(), recorded(&disk)), (2, vec![names[3], names[0]]));
    fail(&disk, Operation::Status, "new", 1, DENIED);
    directory.retry_settled(1).unwrap();
    assert_eq!(directory.unremoved(), 2, "an error says nothing about the file");
    disk.heal();
    directory.retry_settled(9).unwrap();
    assert_eq!((directory.unremoved(), directory.names().unwrap()), (0, vec![]));
    assert!(!disk.names(Path::new(ROOT)).contains(&"settled".to_owned()));
    assert!(disk.names(&Path::new(ROOT).join("tmp")).is_empty());
}

#[test]
fn a_record_that_cannot_be_shortened_says_so_unless_it_is_gone() {
    for (error, is_ok) in [(DENIED, false), (io::ErrorKind::NotFound, true)] {
        for left in [0, 1] {
            let (disk, directory) = opened();
            let names: Vec<_> = (1..=2).map(|seq| put(&directory, seq, 2)).collect();
            directory.record(&removal(&names)).unwrap();
            fail(&disk, Operation::Rename, "", 1, error);
            assert_eq!(directory.retry_settled(2 - left).is_ok(), is_ok, "{error} {left}");
        }
    }
}

// ---- Writes -----------------------------------------------------------------------------------

#[test]
fn only_a_write_of_the_end_leaves_its_sync_to_a_later_step() {
    let (disk, directory) = opened();
    let [(first, first_bytes), (last, last_bytes)] = [1, 2].map(|seq| packed(seq, 5, "run-1"));
    directory.prepare(first, &first_bytes, 1).unwrap();
    let prepared = Path::new(ROOT).join("tmp").join(first.to_string());
    assert!(disk.is_synced(&prepared));
    directory.write_unsynced(first, &first_bytes, 1).unwrap();
    assert!(disk.peek(&prepared).is_some(), "a write that hangs may still have this file open");
    directory.write_unsynced(last, &last_bytes, 1).unwrap();
    assert!(!disk.is_synced(&directory.path_of(last)));
    directory.sync_window(last).unwrap();
    assert!(disk.is_synced(&directory.path_of(last)));
    fail(&disk, Operation::SyncFile, "new", 1, DENIED);
    assert_eq!(directory.sync_window(last).unwrap_err().kind(), DENIED);
}

#[test]
fn a_write_looks_at_the_new_file_only_if_its_name_is_settled() {
    let (disk, directory) = opened();
    let looked_at = watch(&disk, Operation::Status);
    let name = put(&directory, 1, 2);
    let new_file = Path::new(ROOT).join("tmp").join(name.to_string());
    assert!(!looked_at.lock().contains(&new_file));
    directory.record(&removal(&[name])).unwrap();
    put(&directory, 1, 2);
    assert!(looked_at.lock().contains(&new_file));
}

#[test]
fn a_window_is_not_written_if_another_file_may_have_its_name() {
    let (disk, directory) = opened();
    let (name, bytes) = packed(1, 5, "run-1");
    let path = directory.path_of(name);
    disk.fail(move |operation, looked_at| {
        (operation == Operation::Status && looked_at == path).then_some(DENIED)
    });
    assert_eq!(directory.write(name, &bytes, 1).unwrap_err().error.kind(), DENIED);
}

#[test]
fn a_rename_is_repeated_only_if_a_folder_is_missing() {
    let (disk, directory) = opened();
    let (name, bytes) = packed(1, 5, "run-1");
    fail(&disk, Operation::Rename, "tmp", 1, DENIED);
    assert_eq!(directory.write(name, &bytes, 1).unwrap_err().error.kind(), DENIED);
    assert!(disk.names(&Path::new(ROOT).join("tmp")).is_empty());
    fail(&disk, Operation::Rename, "tmp", 1, io::ErrorKind::NotFound);
    directory.write(name, &bytes, 1).unwrap();
}

#[test]
fn a_window_may_take_all_space_but_min_free() {
    let (disk, directory) = opened();
    let (name, bytes) = packed(1, 5, "run-1");
    disk.set_free_bytes(bytes.len() as u64 + 99);
    let failed = directory.write(name, &bytes, 100).unwrap_err();
    assert_eq!(failed.error.kind(), io::ErrorKind::StorageFull);
    disk.set_free_bytes(bytes.len() as u64 + 100);
    directory.write(name, &bytes, 100).unwrap();
}

#[test]
fn a_folder_without_a_file_system_does_not_hide_the_error_of_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("spool");
    let (directory, _) = SpoolDirectory::open_on(Box::new(RealDisk), &root, None).unwrap();
    assert_eq!(directory.leave_free(1, u64::MAX).unwrap_err().kind(), io::ErrorKind::StorageFull);
    fs::remove_dir_all(&root).unwrap();
    directory.leave_free(1, u64::MAX).unwrap();
    symlink(&root, &root).unwrap();
    let error = directory.leave_free(1, 1).unwrap_err();
    assert_ne!(error.kind(), io::ErrorKind::StorageFull, "the link leads nowhere");
}

// ---- The check of a configuration -------------------------------------------------------------

#[test]
fn a_folder_is_usable_if_it_or_its_nearest_ancestor_can_get_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (root, file) = (folder.path(), folder.path().join("file"));
    fs::write(&file, "").unwrap();
    symlink(root.join("nowhere"), root.join("link")).unwrap();
    usable(root).unwrap();
    usable(&root.join("not/there/yet")).unwrap();
    assert_eq!(root.read_dir().unwrap().count(), 2, "nothing is left there");
    let error = |path: &str| usable(&root.join(path)).unwrap_err().kind();
    assert_eq!(error("file"), io::ErrorKind::NotADirectory);
    assert_eq!(error("file/below"), io::ErrorKind::NotADirectory);
    assert_eq!(error("link/below"), io::ErrorKind::NotFound);
    assert!(usable(Path::new("/proc/tallyd")).is_err(), "nothing can be created there");
}
