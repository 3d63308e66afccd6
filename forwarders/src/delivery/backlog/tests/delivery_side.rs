//! Tests of the transitions by the delivery loop.

use super::*;
use crate::delivery::backlog::turns::TurnOrder;
use crate::delivery::write_ahead::{GateTicket, WindowHold};

#[test]
fn a_window_that_is_taken_is_still_queued_or_spooled() {
    check(
        true,
        &[
            row("from memory", &[open, push_3], next, "flushed 3, queued 3, flight 0:3"),
            row(
                "the oldest first",
                &[open, push_3, push_4],
                next,
                "flushed 7, queued 7, memory 1:4, flight 0:3",
            ),
            row(
                "from disk, before those in memory",
                &[open, push_3, push_4, write],
                next,
                "flushed 7, queued 4, spooled 3, memory 1:4, flight 0:3@3",
            ),
        ],
    );
}

fn next_is_7(backlog: &mut Backlog) {
    remove(backlog);
    next(backlog);
    assert_eq!(backlog.in_flight.as_ref().unwrap().seq, 7);
}

#[test]
fn the_delivery_loop_waits_or_ends_for_a_reason() {
    let closed: Step = |b| b.close();
    let cases: &[(&str, &[Step], &str)] = &[
        ("nothing to deliver", &[open], "wait"),
        ("nothing to deliver and nothing to come", &[open, closed], "end"),
        ("older windows may be on disk", &[in_order, push_3], "wait"),
        ("older windows may be on disk, also at the end", &[in_order, push_3, closed], "wait"),
        ("the first window may complete one of the run before it", &[push_3], "wait"),
        (
            "older windows do not delay fresh ones unless the order is strict",
            &[push_3, push_4],
            "1 memory",
        ),
        ("the window has to be on disk first", &[write_always, push_3], "wait"),
        (
            "the disk does not open: deliver from memory",
            &[in_order, push_3, write_fails],
            "0 memory",
        ),
        ("to be written ahead", &[open, write_always, push_3], "wait"),
        ("written ahead, and kept in memory", &[open, write_always, push_3, write], "0 memory"),
        (
            "written ahead, behind another window",
            &[
                open,
                write_always,
                push_3,
                push_3,
                write,
                write,
                next,
                |b| settle(b, 3, &[]),
                remove,
            ],
            "1 file",
        ),
        (
            "a window without points is not written",
            &[open, write_always, |b| push(b, 0)],
            "0 memory",
        ),
        (
            "the file of the previous window is still there",
            &[open_with_2, next, |b| settle(b, 1, &[])],
            "wait",
        ),
        (
            "which does not concern a window in memory",
            &[open_with_2, next, |b| settle(b, 1, &[]), next_is_7, push_3, |b| settle(b, 2, &[])],
            "8 memory",
        ),
        (
            "the disk refuses to remove it: windows on disk wait, those in memory do not",
            &[open_with_2, next, |b| settle(b, 1, &[]), fail_to_remove, push_3, push_4],
            "9 memory",
        ),
        (
            "except the first, which may complete one on disk",
            &[open_with_2, next, |b| settle(b, 1, &[]), fail_to_remove, push_3],
            "wait",
        ),
        (
            "at the end, windows on disk stay there",
            &[open_with_2, next, |b| settle(b, 1, &[]), fail_to_remove, write_fails, closed],
            "end",
        ),
        (
            "a disk that fails does not hold up a window that is to be written ahead",
            &[open, write_always, push_3, write_fails],
            "0 memory",
        ),
        ("the last windows are delivered from memory", &[open, push_3, closed], "0 memory"),
        ("but not to a destination that is down", &[open, push_3, down, closed], "end"),
        ("unless they cannot be kept", &[open, push_3, down, closed, write_fails], "0 memory"),
        ("and not from disk", &[open_with_2, closed], "end"),
    ];
    for (case, given, expected) in cases {
        let mut backlog = Backlog::new(&limits(), true);
        given.iter().for_each(|step| step(&mut backlog));
        let next = match backlog.next_window() {
            NextWindow::Wait | NextWindow::WaitForGate(_) => "wait".to_owned(),
            NextWindow::End => "end".to_owned(),
            NextWindow::Deliver(source) => {
                let from_memory = matches!(source, WindowSource::Memory(_));
                let seq = backlog.in_flight.unwrap().seq;
                format!("{seq} {}", if from_memory { "memory" } else { "file" })
            }
        };
        assert_eq!(next, *expected, "{case}");
    }
}

#[test]
fn a_fresh_window_has_its_turn_after_four_old_ones() {
    let order = |order: SpoolOrder, found: u64| {
        let mut delivery = limits();
        delivery.spool.order = order;
        let mut backlog = Backlog::new(&delivery, true);
        open_with(&mut backlog, (0..found).map(|seq| file(seq, 1)).collect());
        let mut taken = Vec::new();
        for window in 0..12 {
            if window < 3 {
                push(&mut backlog, 1);
            }
            let NextWindow::Deliver(_) = backlog.next_window() else { break };
            taken.push(backlog.in_flight.as_ref().unwrap().seq);
            settle(&mut backlog, 1, &[]);
            remove(&mut backlog);
        }
        taken
    };
    assert_eq!(order(SpoolOrder::Fair, 8), [0, 1, 2, 3, 10, 4, 5, 6, 7, 8, 9]);
    assert_eq!(order(SpoolOrder::Oldest, 8), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(order(SpoolOrder::Fair, 0), [0, 1, 2], "each was the only one");
}

#[test]
fn windows_that_were_delivered_one_by_one_count_as_old_ones() {
    let mut backlog = Backlog::new(&limits(), true);
    open(&mut backlog);
    let mut take = |windows: usize| {
        (0..windows).for_each(|_| push(&mut backlog, 1));
        next(&mut backlog);
        let seq = backlog.in_flight.as_ref().unwrap().seq;
        settle(&mut backlog, 1, &[]);
        seq
    };
    assert_eq!([(); 5].map(|()| take(1)), [0, 1, 2, 3, 4]);
    assert_eq!(take(3), 7, "a fresh one has its turn");
}

#[test]
fn the_newest_window_can_be_shown_from_memory_or_disk() {
    let mut backlog = Backlog::new(&limits(), true);
    open_with_2(&mut backlog);
    assert!(matches!(backlog.newest_waiting(), Some(WindowSource::File(it)) if it == file(7, 2)));
    push_3(&mut backlog);
    push_4(&mut backlog);
    let Some(WindowSource::Memory(newest)) = backlog.newest_waiting() else { panic!("in memory") };
    assert_eq!(newest.points.len(), 4);
    assert!(Backlog::new(&limits(), true).newest_waiting().is_none());
}

#[test]
fn the_first_window_of_a_run_is_delivered_after_the_last_of_the_run_before_it() {
    let mut delivery = limits();
    delivery.spool.order = SpoolOrder::Fair;
    let mut backlog = Backlog::new(&delivery, true);
    open_with(&mut backlog, (0..8).map(|seq| file(seq, 1)).collect());
    push(&mut backlog, 1);
    let mut taken = Vec::new();
    while let NextWindow::Deliver(_) = backlog.next_window() {
        taken.push(backlog.in_flight.as_ref().unwrap().seq);
        settle(&mut backlog, 1, &[]);
        remove(&mut backlog);
    }
    assert_eq!(taken, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn settled_points_are_delivered_or_dropped_where_they_were() {
    check(
        true,
        &[
            row(
                "a part of the window",
                &[open, push_4, next],
                |b| settle(b, 3, &[]),
                "flushed 4, delivered 3, queued 1, flight 0:1",
            ),
            row(
                "all of it, from memory",
                &[open, push_4, next],
                |b| settle(b, 4, &[]),
                "flushed 4, delivered 4",
            ),
            row(
                "all of it, from disk",
                &[open_with_2, next],
                |b| settle(b, 1, &[]),
                "recovered 3, delivered 1, spooled 2, disk 7:2, discard 6, wake spool",
            ),
            row(
                "refused points on their way to the quarantine",
                &[open, push_4, next],
                |b| settle(b, 1, &[(reason::REFUSED, 2), (reason::LOST, 1)]),
                "flushed 4, delivered 1, lost 1, refused 2, wake spool",
            ),
            row(
                "a file holds points that were delivered after it was written",
                &[open, push_4, next, late, write],
                |b| settle(b, 1, &[]),
                "flushed 4, delivered 1, spooled 3, flight 0:3@4",
            ),
        ],
    );
}

#[test]
fn refused_points_of_one_window_at_a_time_wait_for_the_quarantine() {
    let mut backlog = Backlog::new(&limits(), true);
    for step in [open, push_4, push_4, next] {
        step(&mut backlog);
    }
    settle(&mut backlog, 2, &[(reason::REFUSED, 2)]);
    next(&mut backlog);
    settle(&mut backlog, 3, &[(reason::TOO_LARGE, 1)]);
    let SpoolWork::Quarantine(refused) = backlog.next_spool_work(true) else { panic!() };
    assert_eq!((refused.seq, refused.points[reason::REFUSED].count()), (0, 2));
    let quarantine = backlog.spool_usage().unwrap().quarantine;
    assert_eq!((quarantine.kept, quarantine.not_kept), (0, 1), "the second window had no room");
    backlog.quarantined(2, 0);
    assert_eq!(backlog.spool_usage().unwrap().quarantine.kept, 2);
    assert_eq!(backlog.ledger().dropped[reason::REFUSED], 2);
}

#[test]
fn only_refused_points_that_are_identified_go_to_the_quarantine() {
    let mut backlog = Backlog::new(&limits(), true);
    for step in [open, push_4, next] as [Step; 3] {
        step(&mut backlog);
    }
    let mut settled = Settled::default();
    settled.refused = [(reason::REFUSED, 3), (reason::TOO_LARGE, 1)].into();
    settled.places = [(reason::TOO_LARGE, PointRanges::first(1))].into();
    backlog.settle(settled, PointRanges::default(), true);
    let SpoolWork::Quarantine(refused) = backlog.next_spool_work(true) else { panic!() };
    assert_eq!(refused.points, [(reason::TOO_LARGE, PointRanges::first(1))].into());
    assert_eq!(backlog.spool_usage().unwrap().quarantine.not_kept, 3);
}

#[test]
fn refused_points_that_wait_for_the_quarantine_at_the_end_are_not_kept() {
    let mut backlog = Backlog::new(&limits(), true);
    for step in [open, push_4, next] as [Step; 3] {
        step(&mut backlog);
    }
    settle(&mut backlog, 1, &[(reason::REFUSED, 3)]);
    assert_eq!(backlog.drop_unsaved(), 0);
    assert_eq!(backlog.spool_usage().unwrap().quarantine.not_kept, 3);
}

#[test]
fn points_that_are_refused_while_the_disk_fails_are_not_kept() {
    let mut backlog = Backlog::new(&limits(), true);
    for step in [open, push_4, next, write_fails] as [Step; 4] {
        step(&mut backlog);
    }
    settle(&mut backlog, 0, &[(reason::REFUSED, 4)]);
    assert_eq!(backlog.spool_usage().unwrap().quarantine.not_kept, 4);
    assert!(matches!(backlog.next_spool_work(false), SpoolWork::Wait));
}

#[test]
fn attempts_concern_the_stop_and_no_points() {
    check(
        true,
        &[
            row(
                "failed",
                &[open, push_3, next],
                down,
                "flushed 3, queued 3, flight 0:3, wake stop",
            ),
            row(
                "succeeded",
                &[open, push_3, next, down],
                |b| assert!(b.attempt_succeeded() && !b.attempt_succeeded()),
                "flushed 3, queued 3, flight 0:3",
            ),
            row("late", &[open, push_3, next], late, "flushed 3, queued 3, flight 0:3, wake spool"),
        ],
    );
}

#[test]
fn a_stop_is_wanted_when_nothing_comes_nothing_goes_and_the_disk_keeps_it() {
    let mut backlog = Backlog::new(&limits(), true);
    open(&mut backlog);
    assert!(!backlog.is_stop_wanted());
    backlog.close();
    assert!(!backlog.is_stop_wanted());
    down(&mut backlog);
    assert!(backlog.is_stop_wanted());
    write_fails(&mut backlog);
    assert!(!backlog.is_stop_wanted());
}

#[test]
fn a_file_that_cannot_be_used_costs_its_points() {
    check(
        true,
        &[
            row(
                "damaged",
                &[open_with_2, next],
                |b| b.window_unreadable(reason::SPOOL_CORRUPT, Some("corrupt")),
                "recovered 3, spooled 2, spool_corrupt 1, disk 7:2, discard 6!, wake spool",
            ),
            row(
                "gone",
                &[open_with_2, next],
                |b| b.window_unreadable(reason::REMOVED, None),
                "recovered 3, spooled 2, removed 1, disk 7:2, wake spool",
            ),
        ],
    );
}

#[test]
fn a_file_that_cannot_be_read_now_stays_and_lets_the_others_pass() {
    let later: Step = |b| assert_eq!(b.read_failed(), ReadRetry::Later);
    let at_once: Step = |b| assert_eq!(b.read_failed(), ReadRetry::AtOnce);
    check(
        true,
        &[
            row(
                "it waits at its place",
                &[open_with_2, next],
                later,
                "recovered 3, spooled 3, disk 6:1 7:2, wake spool",
            ),
            row(
                "the next one on disk comes first",
                &[open_with_2, next, later],
                next,
                "recovered 3, spooled 3, disk 6:1, flight 7:2@2",
            ),
            row(
                "so do windows in memory",
                &[open_with_2, push_3, next, later, next, later, push_4],
                next,
                "flushed 7, recovered 3, queued 7, spooled 3, disk 6:1 7:2, memory 8:3, \
                 flight 9:4",
            ),
            row(
                "but not the first one of this run, which may complete one on disk",
                &[open_with_2, push_3, next, later, next, later],
                next,
                "flushed 3, recovered 3, queued 3, spooled 3, disk 7:2, memory 8:3, flight 6:1@1",
            ),
            row(
                "without any, it is tried again",
                &[open_with_2, next, later, next, later],
                next,
                "recovered 3, spooled 3, disk 7:2, flight 6:1@1",
            ),
            row(
                "each in turn",
                &[open_with_2, next, later, next, later, next, later],
                next,
                "recovered 3, spooled 3, disk 6:1, flight 7:2@2",
            ),
            row(
                "a strict order waits for a minute",
                &[in_order, open_with_2, next],
                |b| {
                    (1..60).for_each(|_| assert_eq!(b.read_failed(), ReadRetry::AtOnce));
                    assert_eq!(b.read_failed(), ReadRetry::Later);
                },
                "recovered 3, spooled 3, disk 6:1 7:2, wake spool",
            ),
            row(
                "but not for a window that has expired",
                &[in_order, open_with_2, next, at_once, |b| expire_before(b, 7)],
                later,
                "recovered 3, spooled 2, spool_expired 1, disk 7:2, discard 6, wake spool",
            ),
        ],
    );
    let mut backlog = Backlog::new(&limits(), true);
    [open_with_2, next, later].into_iter().for_each(|step: Step| step(&mut backlog));
    assert!(!backlog.spool_usage().unwrap().is_well, "the status says so");
    next(&mut backlog);
    backlog.window_read(&Arc::new(snapshot_of_counters(2)));
    assert!(backlog.spool_usage().unwrap().is_well);
}

#[test]
fn another_forwarder_gets_the_points_that_are_left() {
    let mut backlog = Backlog::new(&limits(), true);
    for step in [open, push_4, next] {
        step(&mut backlog);
    }
    settle(&mut backlog, 1, &[]);
    let Some(WindowSource::Memory(left)) = backlog.restart_in_flight() else { panic!() };
    let tags: Vec<_> = left.points.iter().map(|point| point.series.tag("n").unwrap()).collect();
    assert_eq!(tags, ["1", "2", "3"]);
    // From here on, indexes refer to the shrunk snapshot, also in jobs for the spool.
    late(&mut backlog);
    let SpoolWork::Write(job) = backlog.next_spool_work(true) else { panic!() };
    assert_eq!((job.snapshot.points.len(), job.points), (3, PointRanges::first(3)));
    settle(&mut backlog, 3, &[]);
    assert_eq!(shown(&mut backlog), "flushed 4, delivered 4, wake delivery spool stop");
    let mut backlog = Backlog::new(&limits(), true);
    for step in [open_with_2, next] {
        step(&mut backlog);
    }
    assert!(matches!(backlog.restart_in_flight(), Some(WindowSource::File(file)) if file.seq == 6));
}

#[test]
fn a_window_of_which_nothing_was_delivered_is_not_copied_for_another_forwarder() {
    let mut backlog = Backlog::new(&limits(), true);
    let snapshot = Arc::new(snapshot_of_counters(4));
    let _evicted = backlog.push(Arc::clone(&snapshot), None);
    open(&mut backlog);
    next(&mut backlog);
    let Some(WindowSource::Memory(again)) = backlog.restart_in_flight() else { panic!() };
    assert!(Arc::ptr_eq(&snapshot, &again));
}

#[test]
fn without_a_spool_a_replaced_forwarder_costs_the_window_in_flight() {
    check(
        false,
        &[
            row(
                "given up",
                &[push_4, push_3, next, |b| settle(b, 1, &[])],
                |b| assert_eq!(b.give_up_in_flight(reason::REPLACED), 3),
                "flushed 7, delivered 1, queued 3, replaced 3, memory 1:3",
            ),
            row(
                "nothing is kept to restart",
                &[push_4, next],
                |b| assert!(b.restart_in_flight().is_none()),
                "flushed 4, queued 4, flight 0:4",
            ),
        ],
    );
}

#[test]
fn the_end_drops_points_that_are_not_on_disk() {
    check(
        true,
        &[
            row(
                "the delivery loop ends: points stay where they are",
                &[open, push_4, next, push_3],
                Backlog::end_delivery,
                "flushed 7, queued 7, memory 1:3, flight 0:4, wake spool",
            ),
            row(
                "a revoked window is dropped",
                &[open_with_2, next, |b| lose(b, 6)],
                Backlog::end_delivery,
                "recovered 3, spooled 2, removed 1, disk 7:2, discard 6, wake spool",
            ),
            row(
                "the time is up",
                &[open_with_2, push_4, push_3, next, |b| b.end_delivery()],
                |b| {
                    b.take_wakes();
                    assert_eq!(b.drop_unsaved(), 7);
                },
                "flushed 7, recovered 3, spooled 3, shutdown 7, disk 7:2, flight 6:1@1",
            ),
        ],
    );
    check(
        false,
        &[row(
            "without a spool, everything",
            &[push_4, push_3, next, |b| settle(b, 1, &[])],
            |b| assert_eq!(b.drop_unsaved(), 6),
            "flushed 7, delivered 1, shutdown 6",
        )],
    );
}

#[test]
fn progress_counts_points_from_disk_until_the_spool_is_empty() {
    let mut backlog = Backlog::new(&limits(), true);
    open_with_2(&mut backlog);
    next(&mut backlog);
    settle(&mut backlog, 1, &[]);
    let progress = |backlog: &mut Backlog| {
        let (left, replayed) = backlog.take_progress();
        (left, replayed.delivered, replayed.refused)
    };
    assert_eq!(progress(&mut backlog), (2, 1, 0));
    remove(&mut backlog);
    next(&mut backlog);
    settle(&mut backlog, 1, &[(reason::REFUSED, 1)]);
    assert_eq!(progress(&mut backlog), (0, 2, 1));
    assert_eq!(progress(&mut backlog), (0, 0, 0), "counting starts again");
}

#[test]
fn a_window_is_fresh_only_if_it_is_newer_than_all_fresh_ones_before() {
    let mut turns = TurnOrder::default();
    turns.take_fresh(3);
    turns.renumber(5);
    assert_eq!([7, 8, 9].map(|seq| turns.is_fresh(seq)), [false, false, true]);
    let mut turns = TurnOrder::default();
    turns.renumber(5);
    assert_eq!([4, 5, 6].map(|seq| turns.is_fresh(seq)), [false, false, true]);
}

#[tokio::test(start_paused = true)]
async fn a_window_waits_until_every_other_destination_has_written_it() {
    let is_held = |backlog: &mut Backlog| match backlog.next_window() {
        NextWindow::WaitForGate(_) => true,
        NextWindow::Deliver(_) => false,
        other => panic!("{other:?}"),
    };
    let push_held = |backlog: &mut Backlog, writes: bool| {
        let other = GateTicket::first(Vec::new());
        let hold =
            WindowHold { gate: Arc::clone(other.gate()), ticket: writes.then(|| other.another()) };
        let _evicted = backlog.push(Arc::new(snapshot_of_counters(3)), Some(hold));
        other
    };
    let mut backlog = Backlog::new(&limits(), true);
    open(&mut backlog);
    let other = push_held(&mut backlog, false);
    assert!(is_held(&mut backlog), "in memory");
    drop(other);
    assert!(!is_held(&mut backlog));

    let mut backlog = Backlog::new(&limits(), true);
    push_3(&mut backlog);
    let other = push_held(&mut backlog, false);
    assert!(is_held(&mut backlog), "the newest, while the folder is being opened");
    drop(other);
    assert!(!is_held(&mut backlog));

    let mut backlog = Backlog::new(&limits(), true);
    for step in [open, write_always] as [Step; 2] {
        step(&mut backlog);
    }
    let other = push_held(&mut backlog, true);
    write(&mut backlog);
    assert!(is_held(&mut backlog), "on disk");
    drop(other);
    assert!(!is_held(&mut backlog));
}
