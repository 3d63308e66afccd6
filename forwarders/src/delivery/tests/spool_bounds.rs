//! Tests of how much a spool loop writes, and how much it moves at once.

use std::fs::{self, File};

use super::spool::{A_WHILE, Mode, Peer, Run, files, now_ms, small};
use crate::config::SpoolConfig;
use basics::units::ByteSize;
use tokio::time::sleep;

#[test]
fn a_window_may_fill_the_spool_to_the_last_byte_and_no_larger_one_empties_it() {
    let (peer, end_ms) = (Peer::new(Mode::Down), now_ms());
    let spooled = |max_bytes: u64| {
        let folder = tempfile::tempdir().unwrap();
        let max_bytes = ByteSize::from_bytes(max_bytes);
        let spool = SpoolConfig { max_bytes, ..SpoolConfig::default() };
        let run = Run::start_open(folder.path(), &peer, small(spool));
        run.push(end_ms, 5);
        let counts = run.wait();
        let sizes = files(folder.path()).iter().map(|file| file.metadata().unwrap().len()).sum();
        run.crash();
        (counts.spooled, sizes, counts.spool.unwrap().degraded)
    };
    let (_, bytes, _) = spooled(1 << 20);
    assert_eq!(spooled(bytes), (5, bytes, None));
    let (points, used, degraded) = spooled(bytes - 1);
    assert_eq!((points, used), (0, 0));
    let words = format!("a window takes {bytes} bytes on disk");
    assert!(degraded.as_ref().is_some_and(|reason| reason.contains(&words)), "{degraded:?}");
}

#[test]
fn files_that_are_not_windows_are_moved_until_none_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let (new, peer) = (folder.path().join("fake/new"), Peer::new(Mode::Up));
    fs::create_dir_all(&new).unwrap();
    (0..600).for_each(|number| drop(File::create(new.join(format!("{number}"))).unwrap()));
    let run = Run::start(folder.path(), &peer, small(SpoolConfig::default()));
    run.runtime.block_on(async { sleep(A_WHILE).await });
    assert_eq!(files(folder.path()).len(), 0);
    assert_eq!(fs::read_dir(folder.path().join("fake/quarantine")).unwrap().count(), 600);
    run.stop();
}
