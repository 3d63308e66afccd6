//! Tests of the transitions by the spool loop.

use super::*;

#[test]
fn the_folder_is_opened_with_windows_that_come_before_all_others() {
    check(
        true,
        &[
            row(
                "an empty one",
                &[push_3],
                open,
                "flushed 3, queued 3, memory 0:3, wake delivery stop",
            ),
            row(
                "windows are renumbered",
                &[push_3, push_4],
                open_with_2,
                "flushed 7, recovered 3, queued 7, spooled 3, disk 6:1 7:2, memory 8:3 9:4, \
                 wake delivery stop",
            ),
            row(
                "also the one in flight",
                &[write_fails, push_3, next, push_4],
                open_with_2,
                "flushed 7, recovered 3, queued 7, spooled 3, disk 6:1 7:2, memory 9:4, \
                 flight 8:3, wake delivery stop",
            ),
            row(
                "windows in a file of another size are damaged, replaced files are not",
                &[],
                |b| {
                    b.opened(&FoundWindows {
                        first_seq: 9,
                        windows: vec![file(6, 1)],
                        damaged: vec![file(7, 2)],
                        replaced: vec![file(6, 4)],
                        ..FoundWindows::default()
                    });
                    b.found_synced(true);
                    assert_eq!(b.spool_usage().unwrap().replaced, 1);
                },
                "recovered 3, spooled 1, spool_corrupt 2, disk 6:1, discard 6 7!, \
                 wake delivery stop",
            ),
            row(
                "it cannot be opened",
                &[push_3],
                write_fails,
                "flushed 3, queued 3, memory 0:3, wake delivery",
            ),
        ],
    );
}

#[test]
fn windows_are_written_when_they_belong_on_disk() {
    let never: Step = |b| assert!(matches!(b.next_spool_work(true), SpoolWork::Wait));
    check(
        true,
        &[
            row(
                "a single window may be delivered first",
                &[open, push_3],
                never,
                "flushed 3, queued 3, memory 0:3",
            ),
            row(
                "so may the one in flight",
                &[open, push_3, next],
                never,
                "flushed 3, queued 3, flight 0:3",
            ),
            row(
                "of two, the oldest",
                &[open, push_3, push_4],
                write,
                "flushed 7, queued 4, spooled 3, disk 0:3, memory 1:4, wake delivery stop",
            ),
            row(
                "with `always`, each",
                &[open, write_always, push_3],
                write,
                "flushed 3, spooled 3, disk 0:3, wake delivery stop",
            ),
            row(
                "a late one in flight",
                &[open, push_3, next, late],
                write,
                "flushed 3, spooled 3, flight 0:3@3, wake delivery stop",
            ),
            row(
                "and all behind it",
                &[open, push_3, next, push_4, late, write],
                write,
                "flushed 7, spooled 7, disk 1:4, flight 0:3@3, wake delivery stop",
            ),
            row(
                "once the delivery loop has ended, each",
                &[open, push_3, |b| b.end_delivery()],
                write,
                "flushed 3, spooled 3, disk 0:3, wake delivery stop",
            ),
            row(
                "and what is left of the one in flight replaces its file",
                &[open, push_4, next, late, write, |b| settle(b, 1, &[]), |b| b.end_delivery()],
                write,
                "flushed 4, delivered 1, spooled 3, flight 0:3@3, discard 0, wake delivery stop",
            ),
        ],
    );
}

#[test]
fn a_window_that_left_during_its_write_leaves_a_file_to_remove() {
    /// Applies an event between the start and the end of a write.
    fn while_writing(backlog: &mut Backlog, event: Step) {
        let file = write_to_be(backlog);
        event(backlog);
        backlog.take_wakes();
        backlog.written(file.seq, file, true);
    }
    check(
        true,
        &[
            row(
                "delivered",
                &[open, push_4, next, late],
                |b| while_writing(b, |b| settle(b, 4, &[])),
                "flushed 4, delivered 4, discard 0, wake delivery stop",
            ),
            row(
                "delivered in part: the file has more points than are left",
                &[open, push_4, next, late],
                |b| while_writing(b, |b| settle(b, 1, &[])),
                "flushed 4, delivered 1, spooled 3, flight 0:3@4, wake delivery stop",
            ),
            row(
                "evicted",
                &[open, push_4, push_4],
                |b| while_writing(b, push_3),
                "flushed 11, queued 7, queue_full 4, memory 1:4 2:3, discard 0, wake delivery stop",
            ),
            row(
                "taken",
                &[open, push_4, push_4],
                |b| while_writing(b, next),
                "flushed 8, queued 4, spooled 4, memory 1:4, flight 0:4@4, wake delivery stop",
            ),
        ],
    );
}

#[test]
fn room_is_made_by_the_window_in_flight_and_then_by_the_oldest() {
    let make_200: Step = |b| make_room(b, 200);
    let end: Step = |b| b.end_delivery();
    let leave_one_file: Step = |b| {
        let spool = SpoolConfig { max_files: 1.try_into().unwrap(), ..limits().spool };
        b.set_limits(&DeliveryConfig { spool, ..limits() });
        b.take_wakes();
    };
    check(
        true,
        &[
            row("there is room", &[open_with_2], make_200, "recovered 3, spooled 3, disk 6:1 7:2"),
            row(
                "too many files",
                &[open_with_2, leave_one_file],
                make_200,
                "recovered 3, spool_full 3, discard 6 7, wake delivery",
            ),
            row(
                "too many bytes",
                &[open_with_2],
                |b| make_room(b, 700),
                "recovered 3, spooled 2, spool_full 1, disk 7:2, discard 6",
            ),
            row(
                "more than there can be",
                &[open_with_2],
                |b| make_room(b, 7_000),
                "recovered 3, spool_full 3, discard 6 7, wake delivery",
            ),
            row(
                "the one in flight is in memory",
                &[open, push_4, next, late, write, leave_one_file],
                make_200,
                "flushed 4, queued 4, flight 0:4, discard 0",
            ),
            row(
                "and is not written again",
                &[open, push_4, next, late, write, leave_one_file, make_200, remove],
                |b| assert!(matches!(b.next_spool_work(true), SpoolWork::Wait)),
                "flushed 4, queued 4, flight 0:4",
            ),
            row(
                "unless the delivery loop has ended",
                &[open, push_4, next, late, write, leave_one_file, make_200, remove, end],
                write,
                "flushed 4, spooled 4, flight 0:4@4, wake delivery stop",
            ),
            row(
                "one that is being read stays",
                &[open_with_2, next, leave_one_file],
                make_200,
                "recovered 3, spooled 1, spool_full 2, flight 6:1@1, discard 7",
            ),
            row(
                "after the delivery loop has ended, the one in flight stays",
                &[open, push_4, next, late, write, leave_one_file, |b| b.end_delivery()],
                |b| {
                    b.take_wakes();
                    make_room(b, 200);
                },
                "flushed 4, spooled 4, flight 0:4@4",
            ),
        ],
    );
}

#[test]
fn windows_expire_on_disk_only() {
    check(
        true,
        &[
            row(
                "the oldest",
                &[open_with_2],
                |b| expire_before(b, 7),
                "recovered 3, spooled 2, spool_expired 1, disk 7:2, discard 6",
            ),
            row(
                "the one in flight, between two attempts",
                &[open_with_2, next, |b| expire_before(b, 7)],
                |b| assert!(b.take_revoked()),
                "recovered 3, spooled 2, spool_expired 1, disk 7:2, discard 6, wake spool",
            ),
            row(
                "until then it is still spooled",
                &[open_with_2, next],
                |b| expire_before(b, 7),
                "recovered 3, spooled 3, disk 7:2, flight 6:1@1",
            ),
            row(
                "not at the end",
                &[open_with_2, next, |b| b.end_delivery()],
                |b| {
                    b.take_wakes();
                    expire_before(b, 7);
                    assert!(!b.take_revoked());
                },
                "recovered 3, spooled 3, disk 7:2, flight 6:1@1",
            ),
            row(
                "the last of an earlier run, for which the first window of this run waits",
                &[open_with_2, push_3],
                |b| expire_before(b, 8),
                "flushed 3, recovered 3, queued 3, spool_expired 3, memory 8:3, discard 6 7, \
                 wake delivery",
            ),
            row(
                "the only one of an earlier run",
                &[|b| open_with(b, vec![file(7, 2)]), push_3],
                |b| expire_before(b, 8),
                "flushed 3, recovered 2, queued 3, spool_expired 2, memory 8:3, discard 7, \
                 wake delivery",
            ),
            row(
                "not the last of an earlier run",
                &[open_with_2, push_3],
                |b| expire_before(b, 7),
                "flushed 3, recovered 3, queued 3, spooled 2, spool_expired 1, disk 7:2, memory 8:3, \
                 discard 6",
            ),
            row(
                "not in memory",
                &[open, push_3, push_4],
                |b| expire_before(b, 99),
                "flushed 7, queued 7, memory 0:3 1:4",
            ),
        ],
    );
}

#[test]
fn windows_whose_file_someone_removed_are_dropped() {
    check(
        true,
        &[
            row(
                "one that waits",
                &[open_with_2],
                |b| lose(b, 7),
                "recovered 3, spooled 1, removed 2, disk 6:1",
            ),
            row(
                "the one in flight, between two attempts",
                &[open_with_2, next, |b| lose(b, 6)],
                |b| assert!(b.take_revoked() && !b.take_revoked()),
                "recovered 3, spooled 2, removed 1, disk 7:2, discard 6, wake spool",
            ),
            row(
                "all files are there",
                &[open_with_2],
                |b| lose(b, 99),
                "recovered 3, spooled 3, disk 6:1 7:2",
            ),
        ],
    );
}

#[test]
fn the_spool_loop_removes_then_writes_then_quarantines_then_ends() {
    let work = |backlog: &mut Backlog, may_write| match backlog.next_spool_work(may_write) {
        SpoolWork::Open => "open",
        SpoolWork::Discard(DebtStep::Remove(_)) => "remove",
        SpoolWork::Discard(DebtStep::Record(_)) => "record",
        SpoolWork::Tidy => "tidy",
        SpoolWork::Probe => "probe",
        SpoolWork::Write(_) => "write",
        SpoolWork::Sync(_) => "sync",
        SpoolWork::Quarantine(_) => "quarantine",
        SpoolWork::Wait => "wait",
        SpoolWork::End => "end",
    };
    let mut backlog = Backlog::new(&limits(), true);
    assert_eq!(work(&mut backlog, false), "wait", "after a failure there is a pause");
    assert_eq!(work(&mut backlog, true), "open");
    open_with_2(&mut backlog);
    assert_eq!(work(&mut backlog, true), "wait");
    next(&mut backlog);
    let snapshot = Arc::<Snapshot>::new(snapshot_of_counters(1));
    backlog.window_read(&snapshot);
    settle(&mut backlog, 0, &[(reason::REFUSED, 1)]);
    push_3(&mut backlog);
    push_4(&mut backlog);
    assert_eq!(work(&mut backlog, true), "remove");
    backlog.removal_ended(Some(DiscardedFiles::default()));
    assert_eq!(work(&mut backlog, true), "write");
    assert_eq!(work(&mut backlog, false), "quarantine");
    assert_eq!(work(&mut backlog, false), "wait");
    backlog.end_delivery();
    write(&mut backlog);
    write(&mut backlog);
    assert_eq!(work(&mut backlog, true), "end");
    assert_eq!(work(&mut Backlog::new(&limits(), false), true), "end");
}

#[test]
fn a_disk_that_failed_is_probed_until_it_works_although_nothing_waits() {
    let mut backlog = Backlog::new(&limits(), true);
    for step in [open, write_always, push_3, write_fails, next] as [Step; 5] {
        step(&mut backlog);
    }
    settle(&mut backlog, 3, &[]);
    assert!(!backlog.spool_usage().unwrap().is_well);
    assert!(matches!(backlog.next_spool_work(false), SpoolWork::Wait));
    assert!(matches!(backlog.next_spool_work(true), SpoolWork::Probe));
    backlog.probed();
    assert!(backlog.spool_usage().unwrap().is_well);
    assert!(matches!(backlog.next_spool_work(true), SpoolWork::Wait));
}

#[test]
fn files_that_are_not_windows_are_moved_after_all_other_work() {
    let mut backlog = Backlog::new(&limits(), true);
    backlog.opened(&FoundWindows { strangers: 1_000, ..FoundWindows::default() });
    push_3(&mut backlog);
    push_4(&mut backlog);
    write(&mut backlog);
    write(&mut backlog);
    assert!(matches!(backlog.next_spool_work(true), SpoolWork::Tidy));
    assert!(matches!(backlog.next_spool_work(true), SpoolWork::Wait));
    backlog.is_untidy();
    assert!(matches!(backlog.next_spool_work(true), SpoolWork::Tidy));
}

#[test]
fn windows_without_points_are_delivered_unless_the_destination_is_behind() {
    let idle: Step = |b| push(b, 0);
    let work: Step = |b| assert!(matches!(b.next_spool_work(true), SpoolWork::Wait));
    check(
        true,
        &[
            row("delivered", &[open, idle], next, "flight 0:0"),
            row("not written", &[open, write_always, idle], work, "memory 0:0"),
            row(
                "behind: dropped",
                &[open, push_3, next, late, write, idle],
                work,
                "flushed 3, spooled 3, flight 0:3@3",
            ),
            row(
                "at the end: dropped",
                &[open, idle, |b| b.end_delivery()],
                |b| assert!(matches!(b.next_spool_work(true), SpoolWork::End)),
                "",
            ),
        ],
    );
}

#[test]
fn files_that_another_one_replaced_are_removed_and_counted() {
    let mut backlog = Backlog::new(&limits(), true);
    let replaced = vec![file(6, 3), file(7, 3)];
    let found = FoundWindows { first_seq: 8, replaced, ..FoundWindows::default() };
    backlog.opened(&found);
    backlog.found_synced(true);
    let usage = backlog.spool_usage().unwrap();
    assert_eq!((usage.replaced, usage.files, usage.bytes), (2, 2, 400));
    let Some(DebtStep::Remove(files)) = backlog.next_debt_step(true) else { panic!() };
    assert_eq!(files.remove, [file(6, 3), file(7, 3)]);
}

#[test]
fn refused_points_get_the_new_number_of_their_window_when_the_folder_is_opened() {
    let mut backlog = Backlog::new(&limits(), true);
    // The second window is fresh, so it does not wait for the folder.
    [push_3, push_4, next].into_iter().for_each(|step: Step| step(&mut backlog));
    settle(&mut backlog, 2, &[(reason::REFUSED, 2)]);
    backlog.opened(&FoundWindows { first_seq: 10, ..FoundWindows::default() });
    match backlog.next_spool_work(true) {
        SpoolWork::Quarantine(refused) => assert_eq!(refused.seq, 11),
        other => panic!("{other:?}"),
    }
}
