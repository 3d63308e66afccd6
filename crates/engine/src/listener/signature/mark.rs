//! The high-water mark of accepted datagrams: the latest second in which they were signed.
//!
//! A crash loses the replay windows. A thread therefore keeps the mark on the disk, and the next run refuses
//! datagrams that were signed up to it. The mark is raised before a datagram of a later second is accepted,
//! and by more than needed, so that a steady stream of datagrams never waits for the disk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Seconds by which the mark is raised beyond the datagram that raises it. After a crash, datagrams of these
/// seconds are refused although none was accepted, so there are few.
pub const MARK_AHEAD: u64 = 2;
/// Maximum time that a listener waits for the disk, once: until the disk answers again, datagrams are
/// accepted without a mark.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// The time between two attempts to write the mark.
const RETRY_PERIOD: Duration = Duration::from_secs(1);
/// The mark of a run that keeps none.
const UNKEPT: u64 = u64::MAX;

/// The mark of a run, which listeners raise and one thread writes.
#[derive(Debug)]
pub struct HighWaterMark {
    /// The Unix second up to which datagrams may be accepted, because the disk has it.
    kept: AtomicU64,
    request: Mutex<MarkRequest>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct MarkRequest {
    /// The second that the mark should have.
    wanted: u64,
    /// Whether the disk has failed, or has not answered in time.
    is_late: bool,
    has_ended: bool,
}

impl Default for HighWaterMark {
    /// A mark that is not kept: it holds up no datagram.
    fn default() -> Self {
        Self { kept: AtomicU64::new(UNKEPT), request: Mutex::default(), changed: Condvar::new() }
    }
}

impl HighWaterMark {
    /// Makes sure that the mark covers a datagram that was signed in this Unix second, as far as the disk
    /// answers in time. To be called before the datagram counts as accepted.
    #[inline]
    pub(super) fn cover(&self, second: u64) {
        let kept = self.kept.load(Ordering::Acquire);
        if second >= kept {
            self.raise(second, kept);
        }
    }

    #[cold]
    fn raise(&self, second: u64, kept: u64) {
        let mut request = self.request.lock();
        request.wanted = request.wanted.max(second.saturating_add(MARK_AHEAD));
        self.changed.notify_all();
        // The mark covers its own second. It is raised early, so that the next second need not wait.
        if second == kept {
            return;
        }
        let until = Instant::now() + WAIT_MAX;
        while self.kept.load(Ordering::Acquire) < second && !request.is_late && !request.has_ended {
            if self.changed.wait_until(&mut request, until).timed_out() {
                request.is_late = true;
            }
        }
    }

    /// Lets datagrams wait for a mark from now on. [`HighWaterMark::keep`] follows.
    pub fn begin(&self) {
        self.kept.store(0, Ordering::Release);
    }

    /// Writes the mark whenever it has to be raised, until [`HighWaterMark::end`]. The disk has the mark
    /// `kept` already; `write` returns whether it has a later one.
    pub fn keep(&self, kept: u64, mut write: impl FnMut(u64) -> bool) {
        self.kept.store(kept, Ordering::Release);
        while let Some(wanted) = self.next() {
            let is_written = write(wanted);
            let mut request = self.request.lock();
            request.is_late = !is_written;
            if is_written {
                self.kept.store(wanted, Ordering::Release);
            }
            self.changed.notify_all();
            let retry = Instant::now() + RETRY_PERIOD;
            while !is_written && !request.has_ended {
                if self.changed.wait_until(&mut request, retry).timed_out() {
                    break;
                }
            }
        }
        self.kept.store(UNKEPT, Ordering::Release);
        self.changed.notify_all();
    }

    /// Waits until the mark has to be raised, and returns the new one; `None` at the end.
    fn next(&self) -> Option<u64> {
        let mut request = self.request.lock();
        while request.wanted <= self.kept.load(Ordering::Acquire) && !request.has_ended {
            self.changed.wait(&mut request);
        }
        (!request.has_ended).then_some(request.wanted)
    }

    /// Ends [`HighWaterMark::keep`].
    pub fn end(&self) {
        self.request.lock().has_ended = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::{self, JoinHandle};

    use super::*;

    /// A mark that a thread keeps from 100 on. The thread sends each new mark, and waits for the outcome.
    struct Kept {
        mark: Arc<HighWaterMark>,
        written: Receiver<u64>,
        outcomes: Sender<bool>,
        keeper: JoinHandle<()>,
    }

    fn kept() -> Kept {
        let mark = Arc::new(HighWaterMark::default());
        let (wrote, written) = channel();
        let (outcomes, outcome) = channel();
        let keeping = Arc::clone(&mark);
        let keeper = thread::spawn(move || {
            keeping.keep(100, |second| {
                wrote.send(second).unwrap();
                outcome.recv().unwrap()
            });
        });
        while mark.kept.load(Ordering::Acquire) != 100 {
            thread::yield_now();
        }
        Kept { mark, written, outcomes, keeper }
    }

    impl Kept {
        fn wait_until_kept(&self, second: u64) {
            while self.mark.kept.load(Ordering::Acquire) != second {
                thread::yield_now();
            }
        }

        fn end(self) {
            self.mark.end();
            self.keeper.join().unwrap();
            // Afterwards, nothing waits.
            self.mark.cover(1_000_000);
        }
    }

    #[test]
    fn a_mark_that_nobody_keeps_holds_up_nothing() {
        let mark = HighWaterMark::default();
        mark.cover(u64::MAX - 1);
        assert_eq!(mark.request.lock().wanted, 0);
    }

    #[test]
    fn a_datagram_beyond_the_mark_waits_until_the_disk_has_a_later_one() {
        let kept = kept();
        kept.outcomes.send(true).unwrap();
        kept.mark.cover(150);
        assert_eq!(kept.mark.kept.load(Ordering::Acquire), 152, "before the datagram is accepted");
        assert_eq!(kept.written.try_recv(), Ok(152));
        kept.end();
    }

    #[test]
    fn a_steady_stream_raises_the_mark_ahead_and_does_not_wait() {
        let kept = kept();
        for second in 90..100 {
            kept.mark.cover(second);
        }
        assert!(kept.written.try_recv().is_err(), "the mark covers them");
        // The disk does not answer, and this returns nevertheless.
        kept.mark.cover(100);
        assert_eq!(kept.written.recv(), Ok(102));
        kept.outcomes.send(true).unwrap();
        kept.wait_until_kept(102);
        kept.mark.cover(101);
        assert!(kept.written.try_recv().is_err());
        kept.end();
    }

    #[test]
    fn a_disk_that_hangs_holds_up_one_datagram_and_for_a_short_time() {
        let kept = kept();
        let began = Instant::now();
        kept.mark.cover(150);
        assert!(began.elapsed() >= WAIT_MAX);
        assert!(kept.mark.request.lock().is_late);
        let began = Instant::now();
        (150..1_000).for_each(|second| kept.mark.cover(second));
        assert!(began.elapsed() < WAIT_MAX, "{:?}", began.elapsed());
        // It answers, and the mark follows.
        assert_eq!(kept.written.recv(), Ok(152));
        kept.outcomes.send(true).unwrap();
        assert_eq!(kept.written.recv(), Ok(1_001));
        kept.outcomes.send(true).unwrap();
        kept.wait_until_kept(1_001);
        assert!(!kept.mark.request.lock().is_late);
        kept.end();
    }

    #[test]
    fn a_disk_that_fails_is_tried_again() {
        let kept = kept();
        kept.outcomes.send(false).unwrap();
        kept.mark.cover(150);
        assert!(kept.mark.request.lock().is_late);
        assert_eq!(kept.mark.kept.load(Ordering::Acquire), 100);
        kept.outcomes.send(true).unwrap();
        assert_eq!((kept.written.recv(), kept.written.recv()), (Ok(152), Ok(152)));
        kept.wait_until_kept(152);
        kept.end();
    }
}
