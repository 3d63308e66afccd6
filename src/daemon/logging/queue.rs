//! The lines that wait to be written to standard error, up to a number of bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// Bytes that a waiting line takes besides its text.
const LINE_OVERHEAD: usize = 32;

/// The queue between the threads that log and the thread that writes. Adding a line never waits for the
/// writer: a line without room is counted and dropped.
#[derive(Debug)]
pub(super) struct LogQueue {
    state: Mutex<QueueState>,
    /// Signals a new line to the writer, and a written one to [`LogQueue::flush`].
    changed: Condvar,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
struct QueueState {
    lines: VecDeque<Box<[u8]>>,
    /// The bytes of `lines` and of the line that is being written.
    bytes: usize,
    max_bytes: usize,
    /// Dropped lines that no line of the log has reported yet.
    unreported: u64,
    /// Whether the last write failed.
    is_failing: bool,
}

impl LogQueue {
    /// Creates an empty queue for this many bytes.
    pub(super) fn new(max_bytes: usize) -> Self {
        let state = QueueState {
            lines: VecDeque::new(),
            bytes: 0,
            max_bytes,
            unreported: 0,
            is_failing: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), dropped: Arc::default() }
    }

    /// Counts the lines that were dropped: for lack of room, or because they could not be written.
    pub(super) fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    /// Changes the number of bytes. Lines that already wait stay.
    pub(super) fn set_max_bytes(&self, max_bytes: usize) {
        self.state.lock().max_bytes = max_bytes;
    }

    /// Adds a line, or drops it if the queue is full.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.state.lock();
        // An empty queue takes any line: a longer one than `max_bytes` would never be written.
        if state.bytes > 0 && state.bytes + cost(line) > state.max_bytes {
            self.drop_line(&mut state);
        } else {
            self.add(&mut state, line);
        }
    }

    /// Adds a line even if the queue is full. For the last words of the process.
    pub(super) fn push_always(&self, line: &[u8]) {
        self.add(&mut self.state.lock(), line);
    }

    /// Waits for a line and removes it. [`LogQueue::written`] has to follow.
    pub(super) fn next(&self) -> Box<[u8]> {
        let mut state = self.state.lock();
        loop {
            if let Some(line) = state.lines.pop_front() {
                return line;
            }
            self.changed.wait(&mut state);
        }
    }

    /// Notes the outcome of writing a line.
    pub(super) fn written(&self, line: &[u8], is_written: bool) {
        let mut state = self.state.lock();
        state.bytes -= cost(line);
        state.is_failing = !is_written;
        if !is_written {
            self.drop_line(&mut state);
        }
        self.changed.notify_all();
    }

    /// Returns the number of dropped lines once, when it can be reported: lines are written again and
    /// half of the queue is free.
    pub(super) fn take_unreported(&self) -> Option<u64> {
        let mut state = self.state.lock();
        let has_room = !state.is_failing && state.bytes <= state.max_bytes / 2;
        (has_room && state.unreported > 0).then(|| std::mem::take(&mut state.unreported))
    }

    /// Waits until all lines and the report of dropped ones are written, at most until `deadline`.
    pub(super) fn flush(&self, deadline: Instant) {
        let mut state = self.state.lock();
        while state.bytes > 0 || (state.unreported > 0 && !state.is_failing) {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
    }

    fn add(&self, state: &mut QueueState, line: &[u8]) {
        state.bytes += cost(line);
        state.lines.push_back(line.into());
        self.changed.notify_all();
    }

    fn drop_line(&self, state: &mut QueueState) {
        state.unreported += 1;
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

fn cost(line: &[u8]) -> usize {
    line.len() + LINE_OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    /// Room for two lines of eight bytes.
    fn queue() -> LogQueue {
        LogQueue::new(2 * (8 + LINE_OVERHEAD))
    }

    fn dropped(queue: &LogQueue) -> u64 {
        queue.dropped.load(Ordering::Relaxed)
    }

    #[test]
    fn lines_leave_in_order_and_one_without_room_is_counted() {
        let queue = queue();
        for line in [b"line 1.\n", b"line 2.\n", b"line 3.\n"] {
            queue.push(line);
        }
        assert_eq!(dropped(&queue), 1);
        assert_eq!(&*queue.next(), b"line 1.\n");
        // The line that is being written still takes its room.
        queue.push(b"line 4.\n");
        assert_eq!(dropped(&queue), 2);
        queue.written(b"line 1.\n", true);
        queue.push(b"line 5.\n");
        assert_eq!(&*queue.next(), b"line 2.\n");
        assert_eq!(&*queue.next(), b"line 5.\n");
    }

    #[test]
    fn dropped_lines_are_reported_once_when_there_is_room_again() {
        let queue = queue();
        for _ in 0..5 {
            queue.push(b"a line.\n");
        }
        assert_eq!(queue.take_unreported(), None, "the queue is full");
        queue.written(&queue.next(), true);
        assert_eq!(queue.take_unreported(), Some(3));
        assert_eq!(queue.take_unreported(), None);
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted_and_reported_after_a_successful_write() {
        let queue = queue();
        queue.push(b"a line.\n");
        queue.written(&queue.next(), false);
        assert_eq!((dropped(&queue), queue.take_unreported()), (1, None));
        queue.push(b"a line.\n");
        queue.written(&queue.next(), true);
        assert_eq!((dropped(&queue), queue.take_unreported()), (1, Some(1)));
    }

    #[test]
    fn an_empty_queue_takes_a_line_of_any_length() {
        let queue = queue();
        queue.push(&[b'x'; 1000]);
        queue.push(b"a line.\n");
        assert_eq!((queue.next().len(), dropped(&queue)), (1000, 1));
    }

    #[test]
    fn last_words_are_added_to_a_full_queue() {
        let queue = queue();
        queue.push(&[b'x'; 1000]);
        queue.push_always(b"a line.\n");
        queue.written(&queue.next(), true);
        assert_eq!(&*queue.next(), b"a line.\n");
    }

    #[test]
    fn flush_returns_when_all_is_written_or_the_time_is_up() {
        let queue = queue();
        queue.flush(Instant::now() + Duration::from_secs(3600));
        queue.push(b"a line.\n");
        queue.flush(Instant::now());
        std::thread::scope(|scope| {
            scope.spawn(|| queue.written(&queue.next(), true));
            queue.flush(Instant::now() + Duration::from_secs(3600));
        });
    }
}
