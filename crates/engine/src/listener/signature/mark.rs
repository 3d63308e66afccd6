//! The high-water mark of accepted datagrams: the latest second in which they were signed.
//!
//! A crash loses the replay windows. A thread therefore keeps the mark on the disk, and the next run refuses
//! datagrams that were signed up to it. The mark is raised before a datagram of a later second is accepted,
//! and by more than needed, so that a steady stream of datagrams never waits for the disk.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    /// The second that the mark should have. Changes only under the lock.
    wanted: AtomicU64,
    /// Whether the disk has failed, or has not answered in time. Changes only under the lock.
    is_late: AtomicBool,
    has_ended: Mutex<bool>,
    changed: Condvar,
}

impl Default for HighWaterMark {
    /// A mark that is not kept: it holds up no datagram.
    fn default() -> Self {
        Self {
            kept: AtomicU64::new(UNKEPT),
            wanted: AtomicU64::default(),
            is_late: AtomicBool::default(),
            has_ended: Mutex::default(),
            changed: Condvar::new(),
        }
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
        let wanted = second.saturating_add(MARK_AHEAD);
        // The mark covers its own second. It is raised early, so that the next second need not wait.
        let need_not_wait = || second == kept || self.is_late.load(Ordering::Acquire);
        // Without the lock, which all listeners share: the thread knows of the request already.
        if wanted <= self.wanted.load(Ordering::Acquire) && need_not_wait() {
            return;
        }
        let mut has_ended = self.has_ended.lock();
        if wanted > self.wanted.load(Ordering::Acquire) {
            self.wanted.store(wanted, Ordering::Release);
            self.changed.notify_all();
        }
        if need_not_wait() {
            return;
        }
        let until = Instant::now() + WAIT_MAX;
        while self.kept.load(Ordering::Acquire) < second
            && !self.is_late.load(Ordering::Acquire)
            && !*has_ended
        {
            if self.changed.wait_until(&mut has_ended, until).timed_out() {
                self.is_late.store(true, Ordering::Release);
            }
        }
    }

    /// Lets datagrams wait for a mark from now on. [`HighWaterMark::keep`] follows.
    pub fn begin(&self) {
        self.kept.store(0, Ordering::Release);
    }

    /// Lets no datagram wait, because [`HighWaterMark::keep`] does not follow after all.
    pub fn give_up(&self) {
        self.kept.store(UNKEPT, Ordering::Release);
        self.changed.notify_all();
    }

    /// Writes the mark whenever it has to be raised, until [`HighWaterMark::end`]. The disk has the mark
    /// `kept` already; `write` returns whether it has a later one.
    pub fn keep(&self, kept: u64, mut write: impl FnMut(u64) -> bool) {
        self.kept.store(kept, Ordering::Release);
        while let Some(wanted) = self.next() {
            let is_written = write(wanted);
            let mut has_ended = self.has_ended.lock();
            self.is_late.store(!is_written, Ordering::Release);
            if is_written {
                self.kept.store(wanted, Ordering::Release);
            }
            self.changed.notify_all();
            let retry = Instant::now() + RETRY_PERIOD;
            while !is_written && !*has_ended {
                if self.changed.wait_until(&mut has_ended, retry).timed_out() {
                    break;
                }
            }
        }
        self.give_up();
    }

    /// Waits until the mark has to be raised, and returns the new one; `None` at the end.
    fn next(&self) -> Option<u64> {
        let mut has_ended = self.has_ended.lock();
        while self.wanted.load(Ordering::Acquire) <= self.kept.load(Ordering::Acquire)
            && !*has_ended
        {
            self.changed.wait(&mut has_ended);
        }
        (!*has_ended).then(|| self.wanted.load(Ordering::Acquire))
    }

    /// Ends [`HighWaterMark::keep`].
    pub fn end(&self) {
        *self.has_ended.lock() = true;
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
        assert_eq!(mark.wanted.load(Ordering::Acquire), 0);
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
        assert!(kept.mark.is_late.load(Ordering::Acquire));
        let began = Instant::now();
        (150..1_000).for_each(|second| kept.mark.cover(second));
        assert!(began.elapsed() < 850 * WAIT_MAX / 2, "{:?}", began.elapsed());
        // It answers, and the mark follows.
        assert_eq!(kept.written.recv(), Ok(152));
        kept.outcomes.send(true).unwrap();
        assert_eq!(kept.written.recv(), Ok(1_001));
        kept.outcomes.send(true).unwrap();
        kept.wait_until_kept(1_001);
        assert!(!kept.mark.is_late.load(Ordering::Acquire));
        kept.end();
    }

    #[test]
    fn a_late_request_that_has_not_grown_takes_no_lock() {
        let kept = kept();
        kept.mark.cover(150);
        let lock = kept.mark.has_ended.lock();
        (0..1_000).for_each(|_| kept.mark.cover(150));
        drop(lock);
        kept.outcomes.send(true).unwrap();
        kept.wait_until_kept(152);
        kept.end();
    }

    #[test]
    fn a_datagram_waits_before_the_disk_has_its_first_mark() {
        let mark = HighWaterMark::default();
        mark.begin();
        let began = Instant::now();
        mark.cover(150);
        assert!(began.elapsed() >= WAIT_MAX);
        assert!(mark.is_late.load(Ordering::Acquire));
    }

    #[test]
    fn a_mark_that_is_given_up_holds_up_nothing() {
        let mark = HighWaterMark::default();
        mark.begin();
        mark.give_up();
        mark.cover(150);
        assert_eq!(mark.wanted.load(Ordering::Acquire), 0);
    }

    #[test]
    fn a_disk_that_fails_is_tried_again() {
        let kept = kept();
        kept.outcomes.send(false).unwrap();
        kept.mark.cover(150);
        assert!(kept.mark.is_late.load(Ordering::Acquire));
        assert_eq!(kept.mark.kept.load(Ordering::Acquire), 100);
        kept.outcomes.send(true).unwrap();
        assert_eq!((kept.written.recv(), kept.written.recv()), (Ok(152), Ok(152)));
        kept.wait_until_kept(152);
        kept.end();
    }
}
