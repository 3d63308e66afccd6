//! Tests of the removal of files that are no longer needed.

use super::*;
use crate::delivery::backlog::removal_debt::REMOVED_AT_ONCE;

fn step(backlog: &mut Backlog, may_retry: bool) -> String {
    let shown = |files: &DiscardedFiles| {
        let all = files.remove.iter().chain(files.set_aside.iter().map(|(file, _)| file));
        all.map(|file| file.seq.to_string()).collect::<Vec<_>>().join(" ")
    };
    match backlog.next_debt_step(may_retry) {
        Some(DebtStep::Remove(files)) => format!("remove {}", shown(&files)),
        Some(DebtStep::Record(files)) => format!("record {}", shown(&files)),
        None => "nothing".to_owned(),
    }
}

/// A backlog that has delivered a window whose file is on disk.
fn with_debt() -> Backlog {
    let mut backlog = Backlog::new(&limits(), true);
    open_with(&mut backlog, (1..=9).map(|seq| file(seq, 1)).collect());
    next(&mut backlog);
    settle(&mut backlog, 1, &[]);
    backlog
}

fn files(backlog: &Backlog) -> u64 {
    backlog.spool_usage().unwrap().files
}

#[test]
fn a_settled_window_is_on_disk_until_its_file_is_removed() {
    let mut backlog = with_debt();
    assert_eq!((files(&backlog), backlog.spool_usage().unwrap().bytes), (9, 1_800));
    assert!(backlog.has_debt());
    assert_eq!(step(&mut backlog, true), "remove 1");
    assert_eq!(step(&mut backlog, true), "nothing", "one removal at a time");
    assert_eq!((files(&backlog), backlog.has_debt()), (9, true));
    backlog.removal_ended(Some(DiscardedFiles::default()));
    assert_eq!((files(&backlog), backlog.has_debt()), (8, false));
}

#[test]
fn a_file_that_is_neither_removed_nor_recorded_is_tried_again_after_a_pause() {
    let mut backlog = with_debt();
    fail_to_remove(&mut backlog);
    assert!(backlog.has_debt() && !backlog.spool_usage().unwrap().is_well);
    assert_eq!(step(&mut backlog, false), "nothing");
    assert_eq!(step(&mut backlog, true), "remove 1");
    backlog.removal_ended(None);
    assert!(backlog.has_debt(), "without an outcome, no file is gone");
    remove(&mut backlog);
    assert!(!backlog.has_debt() && backlog.spool_usage().unwrap().is_well);
    assert_eq!(files(&backlog), 8);
}

#[test]
fn a_removal_that_takes_long_is_recorded_and_delivery_continues() {
    let mut backlog = with_debt();
    assert_eq!(step(&mut backlog, true), "remove 1");
    backlog.removal_is_slow();
    assert_eq!(step(&mut backlog, true), "record 1");
    backlog.record_ended(true);
    assert!(!backlog.has_debt(), "the next run knows the file");
    assert_eq!(files(&backlog), 9, "it is still there");
    next(&mut backlog);
    settle(&mut backlog, 1, &[]);
    // The disk may hang, so the next file is not removed but recorded.
    assert_eq!(step(&mut backlog, true), "record 2");
    backlog.record_ended(false);
    assert_eq!(step(&mut backlog, false), "nothing");
    assert_eq!(step(&mut backlog, true), "record 2");
    backlog.record_ended(true);
    assert_eq!((files(&backlog), backlog.has_debt()), (8, false));
    // The slow removal failed in the end, but its file is recorded.
    backlog.removal_ended(Some(DiscardedFiles { remove: vec![file(1, 1)], ..Default::default() }));
    assert_eq!((files(&backlog), step(&mut backlog, true).as_str()), (7, "nothing"));
}

#[test]
fn many_files_are_removed_in_parts_and_at_the_end_recorded_at_once() {
    let damaged: Vec<FileName> = (0..1_000).map(|seq| file(seq, 1)).collect();
    let found = FoundWindows { first_seq: 1_001, damaged, ..FoundWindows::default() };
    let mut backlog = Backlog::new(&limits(), true);
    backlog.opened(&found);
    assert!(!backlog.has_debt(), "unusable files do not hold up the windows behind them");
    let Some(DebtStep::Remove(part)) = backlog.next_debt_step(true) else { panic!() };
    assert_eq!(part.len(), REMOVED_AT_ONCE);
    backlog.removal_ended(Some(DiscardedFiles::default()));
    backlog.end_delivery();
    let Some(DebtStep::Record(rest)) = backlog.next_debt_step(true) else { panic!() };
    assert_eq!(rest.len(), 1_000 - REMOVED_AT_ONCE);
    backlog.record_ended(true);
    assert_eq!((files(&backlog), step(&mut backlog, true).as_str()), (0, "nothing"));
}

#[test]
fn a_file_whose_write_failed_is_removed() {
    let mut backlog = Backlog::new(&limits(), true);
    [open, push_3, push_4].into_iter().for_each(|step: Step| step(&mut backlog));
    backlog.write_failed(Some(file(0, 3)));
    assert_eq!(step(&mut backlog, false), "remove 0");
}
