//! Tests of the transitions by the flush and by a reload.

use super::*;
use crate::delivery::backlog::limits::BacklogLimits;
use crate::delivery::backlog::limits::QUEUED_WINDOWS_MAX;
use crate::delivery::write_ahead::{GateTicket, WindowHold};

#[test]
fn pushed_windows_wait_in_memory_and_evict_the_oldest_there() {
    check(
        true,
        &[
            row(
                "the first window",
                &[],
                push_3,
                "flushed 3, queued 3, memory 0:3, wake delivery spool",
            ),
            row(
                "the oldest goes when the bound is reached",
                &[push_4, push_4],
                push_3,
                "flushed 11, queued 7, queue_full 4, memory 1:4 2:3, wake delivery spool",
            ),
            row(
                "as many go as have to",
                &[push_4, push_4],
                |b| push(b, 10),
                "flushed 18, queued 10, queue_full 8, memory 2:10, wake delivery spool",
            ),
            row(
                "a window beyond the bound alone is queued all the same",
                &[push_4],
                |b| push(b, 50),
                "flushed 54, queued 50, queue_full 4, memory 1:50, wake delivery spool",
            ),
            row(
                "the window in flight stays and takes room",
                &[open, push_4, next, push_4],
                push_3,
                "flushed 11, queued 7, queue_full 4, memory 2:3, flight 0:4, wake delivery spool",
            ),
            row(
                "windows on disk stay and take none",
                &[open, push_4, push_4, write, write],
                |b| push(b, 9),
                "flushed 17, queued 9, spooled 8, disk 0:4 1:4, memory 2:9, wake delivery spool",
            ),
        ],
    );
    for has_spool in [false, true] {
        check(
            has_spool,
            &[row(
                "an idle window is queued too",
                &[],
                |b| push(b, 0),
                "memory 0:0, wake delivery spool",
            )],
        );
    }
}

#[test]
fn idle_windows_are_bounded_too() {
    let mut backlog = Backlog::new(&limits(), false);
    (0..2 * QUEUED_WINDOWS_MAX).for_each(|_| push(&mut backlog, 0));
    assert_eq!(backlog.waiting.queued().len(), QUEUED_WINDOWS_MAX);
}

/// Limits of the memory in bytes, with room for any number of points.
fn bounded_bytes(max_bytes: u64) -> DeliveryConfig {
    let max_bytes = ByteSize::from_bytes(max_bytes);
    DeliveryConfig { queue: QueueConfig { max_points: 1_000, max_bytes }, ..limits() }
}

fn queued_seqs(backlog: &Backlog) -> Vec<u64> {
    backlog.waiting.queued().iter().map(|window| window.seq).collect()
}

#[test]
fn memory_is_bounded_in_bytes_and_the_oldest_window_goes_first() {
    let window = Arc::new(snapshot_of_counters(4));
    let bytes = window.heap_bytes();
    let mut backlog = Backlog::new(&bounded_bytes(2 * bytes), false);
    assert_eq!(backlog.push(Arc::clone(&window), None), None);
    assert_eq!(backlog.push(Arc::clone(&window), None), None);
    let evicted = backlog.push(Arc::clone(&window), None);
    assert_eq!(evicted, Some(EvictedPoints { points: 4, bound: QueueBound::Bytes }));
    assert_eq!((queued_seqs(&backlog), backlog.memory_bytes()), (vec![1, 2], 2 * bytes));
    assert_eq!(backlog.ledger().dropped, [(reason::QUEUE_FULL, 4)].into());
}

#[test]
fn a_window_in_flight_occupies_memory_until_it_is_settled() {
    for has_spool in [false, true] {
        let bytes = snapshot_of_counters(4).heap_bytes();
        let mut backlog = Backlog::new(&bounded_bytes(2 * bytes), has_spool);
        open(&mut backlog);
        push_4(&mut backlog);
        next(&mut backlog);
        assert_eq!(backlog.memory_bytes(), bytes);
        push_4(&mut backlog);
        push_4(&mut backlog);
        assert_eq!((queued_seqs(&backlog), backlog.memory_bytes()), (vec![2], 2 * bytes));
        settle(&mut backlog, 4, &[]);
        assert_eq!(backlog.memory_bytes(), bytes);
    }
}

#[test]
fn a_window_beyond_the_bytes_alone_is_delivered_and_only_the_newest_waits_with_it() {
    let mut backlog = Backlog::new(&bounded_bytes(1), false);
    push_4(&mut backlog);
    next(&mut backlog);
    for seq in 1..4 {
        push_3(&mut backlog);
        assert_eq!(queued_seqs(&backlog), [seq]);
    }
    settle(&mut backlog, 4, &[]);
    next(&mut backlog);
    settle(&mut backlog, 3, &[]);
    assert_eq!((backlog.memory_bytes(), backlog.ledger().delivered), (0, 7));
}

#[test]
fn a_reload_changes_the_bytes_for_the_next_window() {
    let bytes = snapshot_of_counters(4).heap_bytes();
    let mut backlog = Backlog::new(&bounded_bytes(3 * bytes), false);
    (0..3).for_each(|_| push_4(&mut backlog));
    backlog.set_limits(&bounded_bytes(2 * bytes));
    assert_eq!(queued_seqs(&backlog), [0, 1, 2]);
    push_4(&mut backlog);
    assert_eq!(queued_seqs(&backlog), [2, 3]);
    backlog.set_limits(&bounded_bytes(3 * bytes));
    push_4(&mut backlog);
    assert_eq!(queued_seqs(&backlog), [2, 3, 4]);
}

#[test]
fn a_window_on_disk_occupies_no_memory() {
    let mut backlog = Backlog::new(&bounded_bytes(u64::MAX / 2), true);
    open(&mut backlog);
    push_4(&mut backlog);
    push_4(&mut backlog);
    write(&mut backlog);
    assert_eq!(backlog.memory_bytes(), snapshot_of_counters(4).heap_bytes());
    next(&mut backlog);
    // It is being read from its file.
    assert_eq!(backlog.memory_bytes(), snapshot_of_counters(4).heap_bytes());
    backlog.window_read(&Arc::new(snapshot_of_counters(4)));
    assert_eq!(backlog.memory_bytes(), 2 * snapshot_of_counters(4).heap_bytes());
}

#[test]
fn a_close_and_new_limits_concern_every_task() {
    check(
        true,
        &[
            row(
                "closed",
                &[push_3],
                Backlog::close,
                "flushed 3, queued 3, memory 0:3, wake delivery spool stop",
            ),
            row(
                "smaller bounds drop nothing yet",
                &[push_4, push_4],
                |b| {
                    b.set_limits(&DeliveryConfig {
                        queue: QueueConfig { max_points: 1, ..QueueConfig::default() },
                        ..limits()
                    });
                },
                "flushed 8, queued 8, memory 0:4 1:4, wake delivery spool",
            ),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_ends_writing_ahead_holds_no_window_back() {
    let mut backlog = Backlog::new(&limits(), true);
    write_always(&mut backlog);
    let ticket = GateTicket::first(Vec::new());
    let gate = Arc::clone(ticket.gate());
    let hold = WindowHold { gate: Arc::clone(&gate), ticket: Some(ticket) };
    let _evicted = backlog.push(Arc::new(snapshot_of_counters(3)), Some(hold));
    write_always(&mut backlog);
    assert!(!gate.is_open());
    backlog.set_limits(&limits());
    assert!(gate.is_open());
}

#[test]
fn files_may_fill_the_spool_to_the_last_byte_and_the_last_file() {
    let limits = BacklogLimits::new(&limits(), true);
    for (files, used, bytes, is_exceeded) in [
        (0, 800, 200, false),
        (0, 800, 201, true),
        (0, 801, 200, true),
        (2, 0, 1, false),
        (3, 0, 1, true),
    ] {
        assert_eq!(limits.exceed_disk(files, used, bytes), is_exceeded, "{files} {used} {bytes}");
    }
}

#[test]
fn a_window_is_written_ahead_where_and_as_long_as_the_disk_can_be_written() {
    let writes_ahead = |has_spool: bool, steps: &[Step]| {
        let mut backlog = Backlog::new(&limits(), has_spool);
        steps.iter().for_each(|step| step(&mut backlog));
        backlog.writes_ahead()
    };
    let end: Step = Backlog::end_delivery;
    assert!(writes_ahead(true, &[write_always]), "the folder is being opened");
    assert!(writes_ahead(true, &[write_always, open]));
    assert!(!writes_ahead(true, &[open]), "not configured");
    assert!(!writes_ahead(false, &[write_always]), "no spool");
    assert!(!writes_ahead(true, &[write_always, write_fails]), "the folder cannot be opened");
    assert!(!writes_ahead(true, &[write_always, open, write_fails]), "the disk fails");
    assert!(!writes_ahead(true, &[write_always, open, end]), "nothing comes after the end");
}
