use std::fs;

use super::*;
use crate::spool::file;
use crate::spool::work::DiscardedFiles;
use model::PointRanges;
use model::testing::snapshot_of_counters;

fn open() -> (tempfile::TempDir, SpoolDirectory) {
    let folder = tempfile::tempdir().unwrap();
    let (directory, _) = SpoolDirectory::open(&folder.path().join("spool")).unwrap();
    (folder, directory)
}

fn entries(directory: &SpoolDirectory, folder: &str) -> usize {
    fs::read_dir(directory.root.join(folder)).unwrap().count()
}

#[test]
fn a_file_is_set_aside_although_the_quarantine_was_removed() {
    let (_folder, directory) = open();
    let (name, bytes) = file::write(7, &snapshot_of_counters(2), &PointRanges::first(2), "run-1");
    directory.write(name, &bytes, 0).unwrap();
    fs::remove_dir(directory.root.join("quarantine")).unwrap();
    let set_aside = vec![(name, "corrupt")];
    let outcome = directory.discard(&DiscardedFiles { set_aside, ..DiscardedFiles::default() });
    assert!(outcome.left.is_empty() && outcome.error.is_none(), "{outcome:?}");
    assert_eq!((entries(&directory, "new"), entries(&directory, "quarantine")), (0, 1));
}

#[test]
fn tidying_up_ends_when_nothing_is_left_or_nothing_can_be_moved() {
    let (_folder, directory) = open();
    let add_strangers = |names: &[&str]| {
        for name in names {
            fs::write(directory.root.join("new").join(name), "").unwrap();
        }
    };
    add_strangers(&["a", "b", "c"]);
    assert!(directory.tidy(2).unwrap());
    assert!(!directory.tidy(2).unwrap(), "one was left");
    assert_eq!((entries(&directory, "new"), entries(&directory, "quarantine")), (0, 3));
    for number in 3..QUARANTINE_FILES_MAX {
        fs::write(directory.root.join("quarantine").join(number.to_string()), "").unwrap();
    }
    add_strangers(&["d", "e"]);
    assert!(!directory.tidy(2).unwrap(), "the quarantine is full");
    assert_eq!(entries(&directory, "new"), 2);
}

#[test]
fn files_that_are_not_windows_do_not_exceed_the_bytes_of_the_quarantine() {
    let (_folder, directory) = open();
    for name in ["a", "b"] {
        let file = fs::File::create(directory.root.join("new").join(name)).unwrap();
        // Takes no space on disk.
        file.set_len(QUARANTINE_MAX / 2 + 1).unwrap();
    }
    assert!(!directory.tidy(5).unwrap());
    assert_eq!((entries(&directory, "new"), entries(&directory, "quarantine")), (1, 1));
}
