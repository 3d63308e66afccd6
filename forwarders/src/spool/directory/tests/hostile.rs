//! Tests that no content of a spool folder keeps it shut or is removed uncounted.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::time::Instant;

use super::*;

fn count(folder: &Path) -> usize {
    folder.read_dir().unwrap().count()
}

#[test]
fn no_content_of_the_folder_prevents_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let name = put(&open(root).0, 1, 1);
    let new = root.join("new");
    fs::write(new.join("junk"), "junk").unwrap();
    fs::write(new.join("empty.b"), "").unwrap();
    fs::write(root.join("tmp").join(name.to_string()), "half").unwrap();
    fs::write(root.join("tmp/foreign"), "of another program").unwrap();
    fs::create_dir(new.join("folder")).unwrap();
    symlink("/etc/passwd", new.join("0000000000000002-1-1-1.b")).unwrap();
    let (directory, found) = open(root);
    assert_eq!((found.windows, found.strangers), (vec![name], 3));
    assert!(!directory.tidy(99).unwrap());
    assert!(root.join("quarantine/junk.stranger").exists());
    assert_eq!(count(&root.join("tmp")), 1, "only files that tallyd can have written are removed");
    assert_eq!(directory.read(name).unwrap().points.len(), 1);
    assert_eq!(sorted(&directory), [name]);
}

#[test]
fn files_that_cannot_be_moved_under_their_name_do_not_keep_the_spool_shut() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let name = put(&open(root).0, 1, 1);
    let names: [&[u8]; 6] =
        [b"\xff\xfe.b", &[b'x'; 250], &[b'y'; 255], b"junk", b"twice", b"0000000000000003-1-1-0.b"];
    for name in names {
        fs::write(root.join("new").join(OsStr::from_bytes(name)), "").unwrap();
    }
    fs::create_dir(root.join("quarantine/junk.stranger")).unwrap();
    fs::write(root.join("quarantine/twice.stranger"), "an earlier one").unwrap();
    let pipe = root.join("new/0000000000000004-1-1-0.b");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (directory, found) = open(root);
    assert_eq!((found.windows.len(), found.strangers), (2, 6));
    assert!(!directory.tidy(99).unwrap());
    assert_eq!((count(&root.join("new")), count(&root.join("quarantine"))), (2, 8));
    let earlier = fs::read_to_string(root.join("quarantine/twice.stranger")).unwrap();
    assert_eq!(earlier, "an earlier one");
    assert_eq!(directory.read(name).unwrap().points.len(), 1);
}

#[test]
fn strangers_are_moved_in_parts_and_displace_nothing_from_the_quarantine() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (directory, _) = open(root);
    let kept = put(&directory, 1, 1);
    discard(&directory, &set_aside(kept));
    for number in 0..QUARANTINE_FILES_MAX + 500 {
        File::create(root.join(format!("new/junk-{number}"))).unwrap();
    }
    File::create(root.join("new/big")).unwrap().set_len(QUARANTINE_MAX + 1).unwrap();
    assert!(directory.tidy(100).unwrap());
    assert!(count(&root.join("quarantine")) <= 101);
    while directory.tidy(100).unwrap() {}
    assert_eq!(count(&root.join("quarantine")), QUARANTINE_FILES_MAX);
    assert!(root.join(format!("quarantine/{kept}.corrupt")).exists());
    assert_eq!(count(&root.join("new")), 502, "the others stay, and nothing is removed");
}

#[test]
fn a_file_of_another_size_than_its_name_says_is_damaged_without_being_read() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let name = put(&open(root).0, 1, 1);
    let short = FileName { seq: 2, start_ms: 1, points: 9, bytes: 100 };
    fs::write(root.join("new").join(short.to_string()), "short").unwrap();
    let huge = FileName { seq: 3, ..short };
    File::create(root.join("new").join(huge.to_string())).unwrap().set_len(1 << 40).unwrap();
    let mut found = open(root).1;
    found.damaged.sort_unstable();
    assert_eq!((found.windows, found.damaged), (vec![name], vec![short, huge]));
}

#[test]
fn sixty_thousand_files_do_not_hold_up_a_start() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    for seq in 0..20_000_u64 {
        let name = FileName { seq, start_ms: 1, points: 1, bytes: 0 };
        File::create(folder.path().join("new").join(name.to_string())).unwrap();
        File::create(folder.path().join(format!("new/junk-{seq}"))).unwrap();
        File::create(folder.path().join(format!("quarantine/junk-{seq}"))).unwrap();
    }
    let started = Instant::now();
    let (_, found) = open(folder.path());
    let took = started.elapsed();
    println!("60,000 files: {took:?}");
    assert_eq!((found.windows.len(), found.strangers), (20_000, 20_000));
    // It takes two tenths of a second on an idle machine.
    assert!(took < Duration::from_secs(10), "{took:?}");
}
