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
fn many_files_are_removed_in_parts_and_recorded_at_once_on_a_slow_disk() {
    let damaged: Vec<FileName> = (0..1_000).map(|seq| file(seq, 1)).collect();
    let found = FoundWindows { first_seq: 1_001, damaged, ..FoundWindows::default() };
    let mut backlog = Backlog::new(&limits(), true);
    backlog.opened(&found);
    assert!(!backlog.has_debt(), "unusable files do not hold up the windows behind them");
    let Some(DebtStep::Remove(part)) = backlog.next_debt_step(true) else { panic!() };
    assert_eq!(part.len(), REMOVED_AT_ONCE);
    backlog.removal_ended(Some(DiscardedFiles::default()));
    let Some(DebtStep::Remove(part)) = backlog.next_debt_step(true) else { panic!() };
    assert_eq!(part.len(), REMOVED_AT_ONCE);
    backlog.removal_is_slow();
    let Some(DebtStep::Record(rest)) = backlog.next_debt_step(true) else { panic!() };
    assert_eq!(rest.len(), 1_000 - REMOVED_AT_ONCE);
    backlog.record_ended(true);
    assert_eq!(step(&mut backlog, true), "nothing");
    backlog.removal_ended(None);
    assert_eq!((files(&backlog), step(&mut backlog, true).as_str()), (0, "nothing"));
}

#[test]
fn a_removal_begins_although_an_earlier_one_is_still_being_recorded() {
    let mut backlog = with_debt();
    assert_eq!(step(&mut backlog, true), "remove 1");
    backlog.removal_is_slow();
    assert_eq!(step(&mut backlog, true), "record 1");
    backlog.removal_ended(Some(DiscardedFiles::default()));
    make_room(&mut backlog, 200);
    assert_eq!(step(&mut backlog, true), "remove 2 3 4 5 6 7");
    backlog.removal_is_slow();
    assert_eq!(step(&mut backlog, true), "nothing", "one record at a time");
    backlog.record_ended(true);
    assert_eq!(step(&mut backlog, true), "record 2 3 4 5 6 7", "the record was of the other files");
}

#[test]
fn a_file_whose_write_failed_is_removed() {
    let mut backlog = Backlog::new(&limits(), true);
    [open, push_3, push_4].into_iter().for_each(|step: Step| step(&mut backlog));
    backlog.write_failed(Some(file(0, 3)));
    assert_eq!(step(&mut backlog, false), "remove 0");
}

// ---- Names ------------------------------------------------------------------------------------

fn work(backlog: &mut Backlog) -> String {
    match backlog.next_spool_work(true) {
        SpoolWork::Write(job) => format!("write {}", job.seq),
        SpoolWork::Sync(files) => format!("sync {}", files.len()),
        SpoolWork::Discard(DebtStep::Remove(files)) => format!("remove {}", files.len()),
        SpoolWork::Discard(DebtStep::Record(files)) => format!("record {}", files.len()),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// A backlog at the end of delivery: the file of the window in flight, which gave way to newer ones,
/// is being removed, and another window waits.
fn with_name_in_debt() -> Backlog {
    let mut backlog = Backlog::new(&limits(), true);
    let given: [Step; 6] = [open, push_4, next, late, write, push_3];
    given.into_iter().for_each(|step| step(&mut backlog));
    make_room(&mut backlog, 1_000);
    assert_eq!(work(&mut backlog), "remove 1");
    backlog.end_delivery();
    backlog
}

#[test]
fn a_window_waits_while_a_file_of_its_name_is_removed_and_the_others_do_not() {
    let mut backlog = with_name_in_debt();
    assert_eq!(write_unsynced(&mut backlog).seq, 1);
    assert_eq!(work(&mut backlog), "sync 1");
    backlog.sync_ended(&[]);
    assert_eq!(work(&mut backlog), "wait");
    backlog.removal_ended(Some(DiscardedFiles::default()));
    assert_eq!(write_unsynced(&mut backlog).seq, 0);
    assert_eq!(work(&mut backlog), "sync 1");
    backlog.sync_ended(&[]);
    assert_eq!(work(&mut backlog), "end");
}

#[test]
fn a_recorded_file_keeps_its_name_until_its_removal_has_ended() {
    let mut backlog = with_name_in_debt();
    write_unsynced(&mut backlog);
    backlog.removal_is_slow();
    assert_eq!(work(&mut backlog), "record 1");
    backlog.record_ended(true);
    assert_eq!(work(&mut backlog), "sync 1");
    backlog.sync_ended(&[]);
    assert!(!backlog.has_debt());
    assert_eq!(work(&mut backlog), "wait");
    backlog.removal_ended(Some(DiscardedFiles::default()));
    assert_eq!(work(&mut backlog), "write 0");
}

#[test]
fn a_file_whose_write_failed_keeps_its_name_until_it_is_removed() {
    let mut backlog = Backlog::new(&limits(), true);
    [open, push_3, push_4].into_iter().for_each(|step: Step| step(&mut backlog));
    backlog.write_of_failed(0, Some(file(0, 3)));
    assert_eq!(work(&mut backlog), "remove 1");
    assert_eq!(work(&mut backlog), "probe", "in the order of the windows");
    backlog.removal_is_slow();
    backlog.end_delivery();
    assert_eq!(work(&mut backlog), "record 1");
    assert_eq!(work(&mut backlog), "write 1");
}

// ---- The end ----------------------------------------------------------------------------------

#[test]
fn removals_begin_before_the_last_writes_which_do_not_wait_for_them() {
    let mut backlog = with_debt();
    push_3(&mut backlog);
    backlog.end_delivery();
    assert_eq!(work(&mut backlog), "remove 1");
    assert_eq!(write_unsynced(&mut backlog).points, 3);
    backlog.removal_is_slow();
    assert_eq!(work(&mut backlog), "record 1");
    assert_eq!(work(&mut backlog), "sync 1");
    backlog.record_ended(true);
    backlog.sync_ended(&[]);
    assert_eq!(work(&mut backlog), "end", "the removal may take as long as it likes");
}

#[test]
fn a_last_write_that_fails_does_not_hold_up_the_others_and_is_repeated_after_a_removal() {
    let mut backlog = with_debt();
    [push_3, push_4].into_iter().for_each(|step: Step| step(&mut backlog));
    backlog.end_delivery();
    assert_eq!(work(&mut backlog), "remove 1");
    let first = write_to_be(&mut backlog).seq;
    backlog.write_of_failed(first, None);
    assert_eq!(write_unsynced(&mut backlog).seq, first + 1);
    assert_eq!(work(&mut backlog), "sync 1");
    backlog.sync_ended(&[]);
    assert_eq!(work(&mut backlog), "wait", "the removal may make room");
    backlog.removal_ended(Some(DiscardedFiles::default()));
    assert_eq!(work(&mut backlog), format!("write {first}"));
    backlog.write_of_failed(first, None);
    assert_eq!(work(&mut backlog), "end");
    assert_eq!(backlog.drop_unsaved(), 3);
}

#[test]
fn the_end_waits_for_a_removal_that_may_make_room_for_a_window_without_one() {
    let mut backlog = with_debt();
    push_3(&mut backlog);
    backlog.end_delivery();
    assert_eq!(work(&mut backlog), "remove 1");
    let seq = write_to_be(&mut backlog).seq;
    backlog.write_of_failed(seq, None);
    backlog.removal_is_slow();
    assert_eq!(work(&mut backlog), "record 1");
    backlog.record_ended(true);
    assert!(!backlog.has_debt());
    assert_eq!(work(&mut backlog), "wait");
    backlog.removal_ended(Some(DiscardedFiles::default()));
    assert_eq!(work(&mut backlog), format!("write {seq}"));
}

#[test]
fn the_end_does_not_wait_for_the_removal_of_a_recorded_file_that_helps_no_write() {
    let mut backlog = with_debt();
    push(&mut backlog, 0);
    backlog.end_delivery();
    assert_eq!(work(&mut backlog), "remove 1");
    backlog.removal_is_slow();
    assert_eq!(work(&mut backlog), "record 1");
    backlog.record_ended(true);
    assert_eq!(work(&mut backlog), "end", "a window without points needs no file");
}

#[test]
fn points_that_a_rest_without_a_file_would_repeat_are_counted() {
    let mut backlog = Backlog::new(&limits(), true);
    let given: [Step; 5] = [open, push_4, next, late, write];
    given.into_iter().for_each(|step| step(&mut backlog));
    assert_eq!(backlog.settled_on_disk(), 0);
    settle(&mut backlog, 1, &[]);
    backlog.end_delivery();
    assert_eq!(backlog.settled_on_disk(), 1, "the file has them");
    let rest = write_to_be(&mut backlog);
    backlog.write_of_failed(rest.seq, None);
    assert_eq!((work(&mut backlog).as_str(), backlog.settled_on_disk()), ("end", 1));
    backlog.removal_may_help();
    write_unsynced(&mut backlog);
    assert_eq!(backlog.settled_on_disk(), 0);
}

#[test]
fn a_synced_file_stays_until_the_file_that_replaces_it_is_synced() {
    for is_synced in [true, false] {
        let mut backlog = Backlog::new(&limits(), true);
        let given: [Step; 5] = [open, push_4, next, late, write];
        given.into_iter().for_each(|step| step(&mut backlog));
        settle(&mut backlog, 1, &[]);
        backlog.end_delivery();
        let replacement = write_unsynced(&mut backlog);
        assert_eq!((files(&backlog), backlog.has_debt(), backlog.unsynced()), (2, false, 1));
        assert_eq!(work(&mut backlog), "sync 1");
        assert_eq!(work(&mut backlog), "wait");
        if is_synced {
            backlog.sync_ended(&[]);
            assert_eq!(work(&mut backlog), "remove 1");
            backlog.removal_ended(Some(DiscardedFiles::default()));
            assert_eq!((files(&backlog), backlog.unsynced()), (1, 0));
        } else {
            backlog.sync_ended(&[replacement]);
            assert_eq!((files(&backlog), backlog.unsynced()), (2, 1));
        }
        assert_eq!(work(&mut backlog), "end");
    }
}

#[test]
fn a_synced_file_goes_once_the_file_that_replaces_it_is_synced_whatever_others_are() {
    let mut backlog = Backlog::new(&limits(), true);
    let given: [Step; 5] = [open, push_4, next, late, write];
    given.into_iter().for_each(|step| step(&mut backlog));
    settle(&mut backlog, 1, &[]);
    push_3(&mut backlog);
    backlog.end_delivery();
    write_unsynced(&mut backlog);
    let seq = write_to_be(&mut backlog).seq;
    backlog.write_of_failed(seq, None);
    assert_eq!(work(&mut backlog), "sync 1");
    backlog.removal_may_help();
    write_unsynced(&mut backlog);
    backlog.sync_ended(&[]);
    assert_eq!(work(&mut backlog), "remove 1", "the other window has no other file");
    assert_eq!(work(&mut backlog), "sync 1");
}

/// Opens a folder in which a power failure or the end of a stop left the file of a window of 4 points,
/// a later file with the last one, and another window.
fn open_with_replaced(backlog: &mut Backlog) {
    backlog.opened(&FoundWindows {
        first_seq: 9,
        windows: vec![file(7, 1), file(8, 2)],
        replaced: vec![file(7, 4)],
        ..FoundWindows::default()
    });
}

#[test]
fn a_start_removes_no_file_before_the_file_that_replaces_it_is_synced() {
    for is_synced in [true, false] {
        let mut backlog = Backlog::new(&limits(), true);
        open_with_replaced(&mut backlog);
        assert_eq!((work(&mut backlog).as_str(), files(&backlog)), ("wait", 3));
        backlog.found_synced(is_synced);
        let expected = if is_synced { "remove 1" } else { "wait" };
        assert_eq!(work(&mut backlog), expected);
        push_3(&mut backlog);
        backlog.end_delivery();
        write_unsynced(&mut backlog);
        assert_eq!(work(&mut backlog), "sync 1");
        backlog.sync_ended(&[]);
        let expected = if is_synced { "wait" } else { "end" };
        assert_eq!(work(&mut backlog), expected, "the sync of other windows says nothing");
    }
}

#[test]
fn a_file_that_was_replaced_goes_with_the_file_that_replaces_it() {
    let events: [(&str, Step); 4] = [
        ("remove 7:4 7:1", |b| {
            next(b);
            settle(b, 1, &[]);
        }),
        ("remove 7:4", |b| lose(b, 7)),
        ("remove 7:4 7:1", |b| expire_before(b, 8)),
        ("remove 7:4 7:1", |b| make_room(b, 700)),
    ];
    for (expected, event) in events {
        let mut backlog = Backlog::new(&limits(), true);
        open_with_replaced(&mut backlog);
        event(&mut backlog);
        let Some(DebtStep::Remove(files)) = backlog.next_debt_step(true) else { panic!() };
        let files = files.remove.iter().map(|file| format!(" {}:{}", file.seq, file.points));
        assert_eq!(format!("remove{}", files.collect::<String>()), expected);
    }
}

#[test]
fn a_file_that_was_replaced_goes_to_the_quarantine_with_a_later_file_that_is_unreadable() {
    for is_synced in [None, Some(false)] {
        let mut backlog = Backlog::new(&limits(), true);
        open_with_replaced(&mut backlog);
        is_synced.into_iter().for_each(|is_synced| backlog.found_synced(is_synced));
        next(&mut backlog);
        backlog.window_unreadable(reason::SPOOL_CORRUPT, Some("corrupt"));
        let Some(DebtStep::Remove(discarded)) = backlog.next_debt_step(true) else { panic!() };
        assert_eq!(discarded.remove, []);
        assert_eq!(discarded.set_aside, [(file(7, 4), "replaced"), (file(7, 1), "corrupt")]);
        backlog.removal_ended(Some(DiscardedFiles::default()));
        assert_eq!(work(&mut backlog), "wait");
        backlog.found_synced(true);
        assert_eq!((work(&mut backlog).as_str(), files(&backlog)), ("wait", 1));
    }
}

#[test]
fn windows_that_are_removed_during_a_sync_do_not_count_as_unsynced() {
    let mut backlog = Backlog::new(&limits(), true);
    [open, push_3, push_4].into_iter().for_each(|step: Step| step(&mut backlog));
    backlog.end_delivery();
    let files = [write_unsynced(&mut backlog), write_unsynced(&mut backlog)];
    assert_eq!((work(&mut backlog).as_str(), backlog.unsynced()), ("sync 2", 2));
    lose(&mut backlog, 0);
    assert_eq!(backlog.unsynced(), 1);
    backlog.sync_ended(&files);
    assert_eq!(backlog.unsynced(), 1);
}

#[test]
fn windows_of_an_earlier_run_are_unsynced_until_they_are_synced_in_the_background() {
    for is_synced in [true, false] {
        let mut backlog = Backlog::new(&limits(), true);
        let windows = vec![file(6, 1), file(7, 2)];
        let found = FoundWindows { first_seq: 8, windows, ..FoundWindows::default() };
        backlog.opened(&found);
        next(&mut backlog);
        settle(&mut backlog, 1, &[]);
        assert_eq!(backlog.unsynced(), 1, "the delivered one no longer counts");
        backlog.end_delivery();
        remove(&mut backlog);
        assert_eq!(work(&mut backlog), "wait");
        backlog.found_synced(is_synced);
        assert_eq!(backlog.unsynced(), u64::from(!is_synced));
        assert_eq!(work(&mut backlog), "end", "a second sync can succeed without an effect");
    }
}

#[test]
fn the_end_waits_for_a_record_whose_removal_has_ended() {
    let mut backlog = with_debt();
    backlog.end_delivery();
    assert_eq!(work(&mut backlog), "remove 1");
    backlog.removal_is_slow();
    assert_eq!(work(&mut backlog), "record 1");
    assert_eq!(work(&mut backlog), "wait", "the file is neither removed nor recorded");
    backlog.removal_ended(Some(DiscardedFiles::default()));
    assert!(!backlog.has_debt());
    assert_eq!(work(&mut backlog), "wait", "the record is a file that is being written");
    backlog.record_ended(true);
    assert_eq!(work(&mut backlog), "end");
}

#[test]
fn the_end_waits_for_a_record_of_files_whose_removal_has_not_begun() {
    let mut backlog = with_debt();
    assert_eq!(work(&mut backlog), "remove 1");
    backlog.removal_is_slow();
    make_room(&mut backlog, 200);
    backlog.end_delivery();
    assert!(work(&mut backlog).starts_with("record"));
    backlog.removal_ended(Some(DiscardedFiles::default()));
    assert_eq!((backlog.has_debt(), work(&mut backlog).as_str()), (true, "wait"));
    backlog.record_ended(true);
    assert_eq!((backlog.has_debt(), work(&mut backlog).as_str()), (false, "end"));
}

#[test]
fn the_last_writes_do_not_wait_for_the_end_of_a_pause() {
    let mut backlog = Backlog::new(&limits(), true);
    [open, push_3, push_4, write_fails].into_iter().for_each(|step: Step| step(&mut backlog));
    assert!(matches!(backlog.next_spool_work(false), SpoolWork::Wait));
    backlog.end_delivery();
    assert!(!backlog.has_failed_writes());
    assert!(matches!(backlog.next_spool_work(false), SpoolWork::Write(_)));
    backlog.write_of_failed(0, None);
    assert!(backlog.has_failed_writes());
    backlog.removal_may_help();
    assert!(!backlog.has_failed_writes());
}

#[test]
fn the_spool_is_tight_if_a_file_exceeds_a_limit_with_those_that_are_left_to_remove() {
    let mut backlog = Backlog::new(&limits(), true);
    open_with_2(&mut backlog);
    next(&mut backlog);
    settle(&mut backlog, 1, &[]);
    assert!(backlog.has_debt());
    assert!(!backlog.is_tight(600));
    assert!(backlog.is_tight(601));
    remove(&mut backlog);
    assert!(!backlog.is_tight(800));
    assert!(backlog.is_tight(801));
}
