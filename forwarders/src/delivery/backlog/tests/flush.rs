//! Tests of the transitions by the flush and by a reload.

use super::*;
use crate::delivery::backlog::limits::QUEUED_WINDOWS_MAX;

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
                        queue: QueueConfig { max_points: 1 },
                        ..limits()
                    });
                },
                "flushed 8, queued 8, memory 0:4 1:4, wake delivery spool",
            ),
        ],
    );
}
