//! Tests of a spool folder on the disk of this host. `crashes` and `faults` use a simulated disk.

mod crashes;
mod faults;
mod hostile;

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use super::*;
use crate::spool::quarantine_folder::{QUARANTINE_FILES_MAX, QUARANTINE_MAX};
use crate::spool::work::DiscardedFiles;
use model::PointRanges;
use model::testing::snapshot_of_counters;

fn open(root: &Path) -> (SpoolDirectory, FoundWindows) {
    SpoolDirectory::open(root).unwrap()
}

fn packed(seq: u64, points: usize, instance: &str) -> (FileName, Vec<u8>) {
    file::write(seq, &snapshot_of_counters(points), &PointRanges::first(points), instance)
}

fn put(directory: &SpoolDirectory, seq: u64, points: usize) -> FileName {
    let (name, bytes) = packed(seq, points, "run-1");
    directory.write(name, &bytes, 1).unwrap();
    name
}

fn removal(names: &[FileName]) -> DiscardedFiles {
    DiscardedFiles { remove: names.to_vec(), ..DiscardedFiles::default() }
}

fn set_aside(name: FileName) -> DiscardedFiles {
    DiscardedFiles { set_aside: vec![(name, "corrupt")], ..DiscardedFiles::default() }
}

fn discard(directory: &SpoolDirectory, files: &DiscardedFiles) {
    let outcome = directory.discard(files);
    assert!(outcome.left.is_empty() && outcome.error.is_none(), "{outcome:?}");
}

fn sorted(directory: &SpoolDirectory) -> Vec<FileName> {
    let mut names = directory.names().unwrap();
    names.sort_unstable();
    names
}

#[test]
fn windows_come_back_in_order_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("spool/kafka");
    let (directory, found) = open(&root);
    assert!(found.windows.is_empty());
    let names = [put(&directory, 9, 1), put(&directory, 10, 2), put(&directory, 300, 3)];
    drop(directory);
    let (directory, found) = open(&root);
    assert_eq!(found.windows, names);
    assert_eq!(directory.read(names[1]).unwrap().points.len(), 2);
    discard(&directory, &removal(&names[..1]));
    discard(&directory, &removal(&names[..1]));
    assert!(matches!(directory.read(names[0]), Err(SpoolReadError::Gone)));
    assert_eq!(sorted(&directory), names[1..]);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&root), 0o700);
    assert_eq!(mode(&root.join("new").join(names[1].to_string())), 0o600);
}

#[test]
fn a_link_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, _) = open(folder.path());
    let name = put(&directory, 1, 1);
    let path = folder.path().join("new").join(name.to_string());
    fs::rename(&path, folder.path().join("elsewhere")).unwrap();
    symlink(folder.path().join("elsewhere"), &path).unwrap();
    assert!(matches!(directory.read(name), Err(SpoolReadError::Content(_))));
}

#[test]
fn an_error_of_the_system_is_not_damage() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, _) = open(folder.path());
    let name = put(&directory, 1, 1);
    fs::remove_dir_all(folder.path().join("new")).unwrap();
    fs::write(folder.path().join("new"), "a file is in the way").unwrap();
    assert!(matches!(directory.read(name), Err(SpoolReadError::System(_))));
}

// ---- Files with the same number ---------------------------------------------------------------

#[test]
fn an_interrupted_replacement_is_found_at_the_start_and_not_removed_uncounted() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, _) = open(folder.path());
    let replaced = put(&directory, 1, 10);
    let left = put(&directory, 1, 4);
    let next = put(&directory, 2, 1);
    drop(directory);
    let (directory, found) = open(folder.path());
    assert_eq!((found.windows, found.replaced), (vec![left, next], vec![replaced]));
    assert_eq!(sorted(&directory), [left, replaced, next]);
}

#[test]
fn windows_of_different_runs_or_with_different_points_are_kept_despite_the_same_number() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, _) = open(folder.path());
    let ours = put(&directory, 1, 10);
    let (theirs, bytes) = packed(1, 4, "run of another host");
    directory.write(theirs, &bytes, 1).unwrap();
    // The first two points are left of one window, the last three come back from the quarantine.
    let snapshot = snapshot_of_counters(5);
    let mut last = PointRanges::default();
    last.add(2..5);
    let (returned, bytes) = file::write(2, &snapshot, &last, "run-1");
    directory.write(returned, &bytes, 1).unwrap();
    let (left, bytes) = file::write(2, &snapshot, &PointRanges::first(2), "run-1");
    directory.write(left, &bytes, 1).unwrap();
    let mut later = snapshot_of_counters(1);
    later.window.end_ms += 1;
    let (later, bytes) = file::write(2, &later, &PointRanges::first(1), "run-1");
    directory.write(later, &bytes, 1).unwrap();
    drop(directory);
    let (_, found) = open(folder.path());
    assert_eq!(found.windows, [theirs, ours, left, returned, later]);
    assert!(found.replaced.is_empty(), "{found:?}");
}

#[test]
fn a_damaged_file_replaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, _) = open(folder.path());
    let whole = put(&directory, 1, 10);
    let part = put(&directory, 1, 4);
    drop(directory);
    let path = folder.path().join("new").join(part.to_string());
    let mut bytes = fs::read(&path).unwrap();
    bytes[70] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (_, found) = open(folder.path());
    assert_eq!((found.windows, found.replaced), (vec![part, whole], vec![]));
}

#[test]
fn a_write_replaces_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, _) = open(folder.path());
    let name = put(&directory, 1, 3);
    let failed = directory.write(name, b"something else", 1).unwrap_err();
    assert_eq!(failed.error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(directory.read(name).unwrap().points.len(), 3);
}

#[test]
fn a_file_in_the_place_of_a_folder_is_named() {
    for in_the_way in ["new", "tmp", "quarantine"] {
        let folder = tempfile::tempdir().unwrap();
        let (directory, _) = open(folder.path());
        let path = folder.path().join(in_the_way);
        fs::remove_dir_all(&path).unwrap();
        fs::write(&path, "").unwrap();
        let words = format!("`{in_the_way}` is a file in the place of a folder: remove it");
        let (name, bytes) = file::write(1, &snapshot_of_counters(1), &PointRanges::first(1), "r");
        if in_the_way != "quarantine" {
            let failed = directory.write(name, &bytes, 1).unwrap_err();
            assert_eq!(failed.error.to_string(), words);
        }
        assert_eq!(directory.probe(1).unwrap_err().to_string(), words);
        fs::remove_file(&path).unwrap();
        directory.write(name, &bytes, 1).unwrap();
    }
}

// ---- Files that cannot be removed -------------------------------------------------------------

/// Makes a folder or file immutable as long as it lives; `None` if that is not possible here.
struct Immutable<'a>(&'a Path);

impl<'a> Immutable<'a> {
    fn new(path: &'a Path) -> Option<Self> {
        let made = std::process::Command::new("chattr").arg("+i").arg(path).output();
        made.is_ok_and(|output| output.status.success()).then_some(Self(path))
    }
}

impl Drop for Immutable<'_> {
    fn drop(&mut self) {
        std::process::Command::new("chattr").arg("-i").arg(self.0).status().unwrap();
    }
}

#[test]
fn a_file_that_cannot_be_removed_is_not_delivered_by_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("new");
    let (directory, _) = open(folder.path());
    let names: Vec<_> = (1..=3).map(|seq| put(&directory, seq, 2)).collect();
    let Some(immutable) = Immutable::new(&new) else {
        let _nobody_listens =
            io::Write::write_all(&mut io::stderr(), b"SKIPPED: chattr +i does not work here\n");
        return;
    };
    let outcome = directory.discard(&removal(&names[..1]));
    assert!(outcome.left.is_empty() && outcome.error.is_some(), "{outcome:?}");
    assert!(directory.discard(&set_aside(names[1])).left.is_empty());
    assert_eq!((directory.unremoved(), directory.names().unwrap().len()), (2, 3));
    drop(directory);
    let (directory, found) = open(folder.path());
    assert_eq!((found.windows.as_slice(), directory.unremoved()), (&names[2..], 2));
    directory.retry_settled(9).unwrap();
    assert_eq!(directory.unremoved(), 2);
    drop(immutable);
    directory.retry_settled(9).unwrap();
    assert_eq!((directory.unremoved(), sorted(&directory)), (0, names[2..].to_vec()));
    assert!(!folder.path().join("settled").exists());
    assert!(folder.path().join(format!("quarantine/{}.corrupt", names[1])).exists());
}

#[test]
fn a_recorded_name_does_not_suppress_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, _) = open(folder.path());
    let name = put(&directory, 1, 2);
    directory.record(&removal(&[name])).unwrap();
    // The window was removed after all, and an operator returns it from the quarantine.
    let path = directory.path_of(name);
    let bytes = fs::read(&path).unwrap();
    fs::write(folder.path().join("copy"), bytes).unwrap();
    fs::rename(folder.path().join("copy"), &path).unwrap();
    drop(directory);
    let (directory, found) = open(folder.path());
    assert_eq!((found.windows, directory.unremoved()), (vec![name], 0));
    directory.sync_found(found.has_old_records).unwrap();
    assert!(!folder.path().join("settled").exists());
}

#[test]
fn a_write_replaces_the_file_of_a_settled_window_and_the_record_does_not_suppress_it() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, _) = open(folder.path());
    let name = put(&directory, 1, 2);
    directory.record(&removal(&[name])).unwrap();
    assert_eq!((put(&directory, 1, 2), directory.unremoved()), (name, 0));
    drop(directory);
    let (directory, found) = open(folder.path());
    assert_eq!((found.windows, found.has_old_records), (vec![name], true));
    // This is the file of a window that waits.
    let (_, bytes) = packed(1, 2, "run-1");
    let failed = directory.write(name, &bytes, 1).unwrap_err();
    assert_eq!(failed.error.kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn a_write_spares_another_file_that_has_got_the_name_of_a_settled_one() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, _) = open(folder.path());
    let name = put(&directory, 1, 2);
    directory.record(&removal(&[name])).unwrap();
    // An operator returns a copy of the window.
    let path = directory.path_of(name);
    fs::copy(&path, folder.path().join("copy")).unwrap();
    fs::rename(folder.path().join("copy"), &path).unwrap();
    let (_, bytes) = packed(1, 2, "run-2");
    let failed = directory.write(name, &bytes, 1).unwrap_err();
    assert_eq!(failed.error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), packed(1, 2, "run-1").1);
}

#[test]
fn a_retried_removal_spares_another_file_that_has_got_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, _) = open(folder.path());
    let names = [put(&directory, 1, 2), put(&directory, 2, 2)];
    directory.record(&removal(&names)).unwrap();
    // As a removal that was slow does in the end, and an operator returns a copy of the window.
    let path = directory.path_of(names[0]);
    fs::copy(&path, folder.path().join("copy")).unwrap();
    fs::rename(folder.path().join("copy"), &path).unwrap();
    directory.retry_settled(9).unwrap();
    assert_eq!((sorted(&directory), directory.unremoved()), (vec![names[0]], 0));
}

#[test]
fn no_window_gets_the_name_of_a_file_whose_removal_is_retried() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, _) = open(folder.path());
    let name = put(&directory, 1, 2);
    directory.record(&removal(&[name])).unwrap();
    let recorded = directory.settled.files()[0];
    assert!(directory.settled.begin_removal(&recorded));
    let (_, bytes) = packed(1, 2, "run-1");
    let failed = directory.write(name, &bytes, 1).unwrap_err();
    assert_eq!(failed.error.kind(), io::ErrorKind::ResourceBusy);
    directory.settled.end_removal(&recorded, true);
    fs::remove_file(directory.path_of(name)).unwrap();
    put(&directory, 1, 2);
    assert!(!directory.settled.begin_removal(&recorded), "another file has the name");
    directory.settled.end_removal(&recorded, false);
    assert_eq!(directory.unremoved(), 0);
}

#[test]
fn no_write_waits_while_the_record_is_being_changed() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, _) = open(folder.path());
    let names = [put(&directory, 1, 2), put(&directory, 2, 2)];
    directory.record(&removal(&names[..1])).unwrap();
    let changing = directory.settled.change_file();
    put(&directory, 3, 2);
    put(&directory, 1, 2);
    drop(changing);
    // Lines that are added while a shorter record is being written are kept.
    let (_, version) = directory.settled.versioned();
    directory.record(&removal(&names[1..])).unwrap();
    assert!(!directory.settled.is_version(version));
}

#[test]
fn a_window_that_was_removed_needs_no_sync() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, _) = open(folder.path());
    let name = put(&directory, 1, 2);
    directory.sync_window(name).unwrap();
    discard(&directory, &removal(&[name]));
    directory.sync_window(name).unwrap();
    directory.sync_record().unwrap();
}

#[test]
fn a_damaged_record_suppresses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, _) = open(folder.path());
    let names = [put(&directory, 1, 2), put(&directory, 2, 2)];
    directory.record(&removal(&names)).unwrap();
    drop(directory);
    let path = folder.path().join("settled");
    let mut bytes = fs::read(&path).unwrap();
    bytes[5] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (directory, found) = open(folder.path());
    assert_eq!((found.windows, directory.unremoved()), (vec![names[0]], 1));
    drop(directory);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(open(folder.path()).1.windows, names);
}

// ---- The quarantine ---------------------------------------------------------------------------

#[test]
fn the_quarantine_is_bounded_and_the_oldest_files_are_removed_first() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, _) = open(folder.path());
    let old = put(&directory, 1, 1);
    discard(&directory, &set_aside(old));
    let big = File::create(folder.path().join("quarantine/big.corrupt")).unwrap();
    big.set_len(QUARANTINE_MAX).unwrap();
    let now = std::time::SystemTime::now();
    big.set_modified(now - Duration::from_secs(1)).unwrap();
    let old = File::open(folder.path().join(format!("quarantine/{old}.corrupt"))).unwrap();
    old.set_modified(now - Duration::from_secs(2)).unwrap();
    let next = put(&directory, 2, 1);
    discard(&directory, &set_aside(next));
    let left: Vec<_> = folder.path().join("quarantine").read_dir().unwrap().collect();
    assert_eq!(left.len(), 1);
    assert!(folder.path().join(format!("quarantine/{next}.corrupt")).exists());
}

#[test]
fn the_quarantine_is_bounded_in_files_too_and_overwrites_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, _) = open(folder.path());
    let put = |seq| {
        let (name, bytes) = packed(seq, 1, "run-1");
        directory.put_aside(name, "refused", &bytes, 1).map(|()| (name, bytes))
    };
    let quarantine = folder.path().join("quarantine");
    for number in 0..QUARANTINE_FILES_MAX {
        let old = File::create(quarantine.join(format!("old-{number}"))).unwrap();
        let second = Duration::from_secs(number as u64);
        old.set_modified(std::time::SystemTime::UNIX_EPOCH + second).unwrap();
    }
    let (name, bytes) = put(1).unwrap();
    put(2).unwrap();
    assert_eq!(quarantine.read_dir().unwrap().count(), QUARANTINE_FILES_MAX);
    assert!(!quarantine.join("old-1").exists() && quarantine.join("old-2").exists());
    put(1).unwrap();
    let error = directory.put_aside(name, "refused", b"something else", 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    let file = quarantine.join(format!("{name}.refused"));
    assert_eq!(fs::read(&file).unwrap(), bytes);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(folder.path().join("tmp").read_dir().unwrap().count(), 0);
}

#[test]
fn a_file_of_the_same_name_stays_in_the_quarantine() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, _) = open(folder.path());
    for file in 1..=3 {
        let name = put(&directory, 1, 1);
        discard(&directory, &set_aside(name));
        assert_eq!(folder.path().join("quarantine").read_dir().unwrap().count(), file);
    }
}

// ---- Disks and folders ------------------------------------------------------------------------

#[test]
fn nothing_is_written_to_a_disk_with_too_little_free_space() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, _) = open(folder.path());
    let (name, bytes) = packed(1, 1, "run");
    let error = directory.write(name, &bytes, u64::MAX).unwrap_err().error;
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(error.to_string().contains("min_free"), "{error}");
    assert_eq!(directory.probe(u64::MAX).unwrap_err().kind(), io::ErrorKind::StorageFull);
    directory.probe(1).unwrap();
    assert!(directory.names().unwrap().is_empty());
    assert_eq!(folder.path().join("tmp").read_dir().unwrap().count(), 0);
}

#[test]
fn a_failed_write_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, _) = open(folder.path());
    fs::remove_dir(folder.path().join("new")).unwrap();
    fs::write(folder.path().join("new"), "a file is in the way").unwrap();
    let (name, bytes) = packed(1, 1, "run");
    assert!(directory.write(name, &bytes, 1).is_err());
    assert_eq!(folder.path().join("tmp").read_dir().unwrap().count(), 0);
}

#[test]
fn removed_folders_are_recreated_and_locked() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("kafka");
    let (directory, _) = open(&root);
    put(&directory, 1, 1);
    fs::remove_dir_all(&root).unwrap();
    assert!(directory.names().unwrap().is_empty());
    let name = put(&directory, 2, 2);
    assert_eq!(directory.read(name).unwrap().points.len(), 2);
    let error = SpoolDirectory::open(&root).unwrap_err().to_string();
    assert!(error.contains("in use by another daemon"), "{error}");
}

#[test]
fn nothing_is_written_into_a_folder_that_another_daemon_has_recreated() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("kafka");
    let (first, _) = open(&root);
    fs::remove_dir_all(&root).unwrap();
    let (second, _) = open(&root);
    let (name, bytes) = packed(1, 1, "run");
    let error = first.write(name, &bytes, 1).unwrap_err().error.to_string();
    assert!(error.contains("in use by another daemon"), "{error}");
    assert!(first.probe(1).is_err() && second.names().unwrap().is_empty());
    drop(second);
    first.write(name, &bytes, 1).unwrap();
}
