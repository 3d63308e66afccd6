//! The windows that wait to be delivered.

use std::collections::VecDeque;
use std::sync::Arc;

use super::memory_queue::{MemoryQueue, QueuedWindow};
use crate::delivery::write_ahead::{WindowHold, WriteAheadGate};
use crate::spool::FileName;
use model::Snapshot;

/// A window on disk.
#[derive(Debug)]
pub(super) struct SpooledWindow {
    pub(super) file: FileName,
    /// The snapshot, if it is also in memory. Kept for the next window only, which then need not be
    /// read back.
    pub(super) snapshot: Option<Arc<Snapshot>>,
    /// Attempts to read the file that failed with an error of the system. If there are any, all
    /// other windows come first.
    pub(super) failed_reads: u32,
    /// The gate that other destinations keep closed until they have written the window.
    gate: Option<Arc<WriteAheadGate>>,
}

/// A window that waits to be delivered.
#[derive(Debug)]
pub(super) enum WaitingWindow {
    Queued(QueuedWindow),
    Spooled(SpooledWindow),
}

/// The windows that wait to be delivered, in the order of their numbers.
///
/// The spool loop writes the oldest queued window first, so every spooled window is older than
/// every queued one. Two queues therefore represent the order, and no window has to be searched
/// for.
#[derive(Debug, Default)]
pub(super) struct WaitingWindows {
    spooled: VecDeque<SpooledWindow>,
    queued: MemoryQueue,
    next_seq: u64,
    /// The number of the first window of this run. It may complete the last window of the earlier
    /// run, under the same timestamp, so it comes after the earlier run's windows in any case.
    first_seq: u64,
}

impl SpooledWindow {
    pub(super) fn new(file: FileName) -> Self {
        Self { file, snapshot: None, failed_reads: 0, gate: None }
    }
}

/// The window whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WindowTurn {
    /// The window that is delivered next, unless a fresh one has its turn.
    Oldest,
    /// The newest window.
    Newest,
    /// The oldest window in memory that may be delivered before those on disk.
    OldestQueued,
}

/// The place of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WindowPlace {
    /// The index of a window on disk.
    Spooled(usize),
    /// The index of a window in memory.
    Queued(usize),
}

impl WaitingWindow {
    pub(super) fn seq(&self) -> u64 {
        match self {
            Self::Queued(window) => window.seq,
            Self::Spooled(window) => window.file.seq,
        }
    }
}

impl WaitingWindows {
    pub(super) fn len(&self) -> usize {
        self.spooled.len() + self.queued.windows().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The windows in memory only, the oldest first.
    pub(super) fn queued(&self) -> &VecDeque<QueuedWindow> {
        self.queued.windows()
    }

    /// An estimate of the memory that the windows in memory only occupy.
    pub(super) fn queued_bytes(&self) -> u64 {
        self.queued.bytes()
    }

    /// The windows on disk, the oldest first.
    pub(super) fn spooled(&self) -> &VecDeque<SpooledWindow> {
        &self.spooled
    }

    /// Adds a new window as the newest one.
    pub(super) fn push(&mut self, snapshot: Arc<Snapshot>, hold: Option<WindowHold>) {
        self.queued.push(QueuedWindow { seq: self.next_seq, snapshot, hold });
        self.next_seq += 1;
    }

    /// Adds the windows that an earlier run left on disk, the oldest first. All other windows are
    /// newer: `base` is added to their numbers.
    pub(super) fn recover(&mut self, files: &[FileName], base: u64) {
        self.next_seq += base;
        self.first_seq += base;
        self.queued.renumber(base);
        // Nothing is lost here: no window is written before the folder is opened.
        self.spooled = files.iter().copied().map(SpooledWindow::new).collect();
    }

    /// The number of the newest window.
    pub(super) fn newest_seq(&self) -> Option<u64> {
        let queued = self.queued().back().map(|window| window.seq);
        queued.or_else(|| self.spooled.back().map(|window| window.file.seq))
    }

    fn oldest(&self) -> Option<WindowPlace> {
        let is_free = |seq: u64| !self.is_held_by_earlier_run(seq);
        let is_readable =
            |window: &SpooledWindow| window.failed_reads == 0 && is_free(window.file.seq);
        let readable = self.spooled.iter().position(is_readable).map(WindowPlace::Spooled);
        // Windows that could not be read come last, so that they do not hold up those in memory.
        let queued = self.first_free_queued().map(WindowPlace::Queued);
        readable.or(queued).or_else(|| {
            let tried = self.spooled.iter().enumerate();
            let tried = tried.filter(|(_, window)| is_free(window.file.seq));
            let least = tried.min_by_key(|(_, window)| window.failed_reads)?.0;
            Some(WindowPlace::Spooled(least))
        })
    }

    fn is_held_by_earlier_run(&self, seq: u64) -> bool {
        let oldest = self.spooled.front();
        seq == self.first_seq && oldest.is_some_and(|window| window.file.seq < seq)
    }

    /// Whether the first window of this run waits, and no window of an earlier run holds it.
    pub(super) fn is_first_of_run_free(&self) -> bool {
        let (spooled, queued) = (self.spooled.front(), self.queued().front());
        let fronts = [spooled.map(|window| window.file.seq), queued.map(|window| window.seq)];
        fronts.contains(&Some(self.first_seq)) && !self.is_held_by_earlier_run(self.first_seq)
    }

    fn first_free_queued(&self) -> Option<usize> {
        // Only the first window can be held, so the second one is free.
        let mut queued = self.queued().iter().take(2);
        queued.position(|window| !self.is_held_by_earlier_run(window.seq))
    }

    /// The oldest window, if it is on disk.
    pub(super) fn oldest_spooled(&self) -> Option<&SpooledWindow> {
        match self.oldest()? {
            WindowPlace::Spooled(index) => self.spooled.get(index),
            WindowPlace::Queued(_) => None,
        }
    }

    /// The oldest window, if it is in memory only.
    pub(super) fn next_queued(&self) -> Option<&QueuedWindow> {
        match self.oldest()? {
            WindowPlace::Spooled(_) => None,
            WindowPlace::Queued(index) => self.queued().get(index),
        }
    }

    /// Takes the oldest window in memory that may be delivered before those on disk.
    pub(super) fn take_queued_before_spooled(&mut self) -> Option<QueuedWindow> {
        let index = self.first_free_queued()?;
        self.queued.take(index)
    }

    pub(super) fn take_oldest(&mut self) -> Option<WaitingWindow> {
        match self.oldest()? {
            WindowPlace::Spooled(index) => self.spooled.remove(index).map(WaitingWindow::Spooled),
            WindowPlace::Queued(index) => self.queued.take(index).map(WaitingWindow::Queued),
        }
    }

    pub(super) fn take_newest(&mut self) -> Option<WaitingWindow> {
        let queued = self.queued.take_newest().map(WaitingWindow::Queued);
        queued.or_else(|| self.spooled.pop_back().map(WaitingWindow::Spooled))
    }

    fn newest(&self) -> Option<WindowPlace> {
        let queued = self.queued().len().checked_sub(1).map(WindowPlace::Queued);
        queued.or_else(|| self.spooled.len().checked_sub(1).map(WindowPlace::Spooled))
    }

    /// The gate of a window, if it is closed.
    pub(super) fn closed_gate(&self, turn: WindowTurn) -> Option<&Arc<WriteAheadGate>> {
        let place = match turn {
            WindowTurn::Oldest => self.oldest(),
            WindowTurn::Newest => self.newest(),
            WindowTurn::OldestQueued => self.first_free_queued().map(WindowPlace::Queued),
        };
        let gate = match place? {
            WindowPlace::Spooled(index) => self.spooled.get(index)?.gate.as_ref(),
            WindowPlace::Queued(index) => {
                self.queued().get(index)?.hold.as_ref().map(|hold| &hold.gate)
            }
        };
        gate.filter(|gate| !gate.is_open())
    }

    /// Stops holding windows back at other destinations: this one does not write them now.
    pub(super) fn release(&mut self) {
        self.queued.release();
    }

    /// Puts a window back that could not be read.
    pub(super) fn put_back(&mut self, file: FileName, failed_reads: u32) {
        self.insert(SpooledWindow { failed_reads, ..SpooledWindow::new(file) });
    }

    /// Drops the oldest windows in memory that have no points.
    pub(super) fn drop_idle(&mut self) {
        while self.queued.take_oldest_if(|window| window.points() == 0).is_some() {}
    }

    pub(super) fn take_oldest_queued(&mut self) -> Option<QueuedWindow> {
        self.queued.take_oldest()
    }

    /// Takes the oldest window on disk if `is_wanted`.
    pub(super) fn take_oldest_spooled_if(
        &mut self,
        is_wanted: impl FnOnce(&FileName) -> bool,
    ) -> Option<FileName> {
        self.spooled.pop_front_if(|window| is_wanted(&window.file)).map(|window| window.file)
    }

    /// Takes the windows on disk that `is_gone`, wherever they are in the order.
    pub(super) fn take_spooled_where(
        &mut self,
        is_gone: impl Fn(&FileName) -> bool,
    ) -> Vec<FileName> {
        let mut gone = Vec::new();
        self.spooled.retain(|window| {
            let keeps = !is_gone(&window.file);
            gone.extend((!keeps).then_some(window.file));
            keeps
        });
        gone
    }

    /// Takes the windows in memory only.
    pub(super) fn take_queued(&mut self) -> MemoryQueue {
        std::mem::take(&mut self.queued)
    }

    /// Moves the queued window `seq`, which is in `file` now, to the windows on disk. With
    /// `keeps_next`, the window that is delivered next also stays in memory. Returns false if the
    /// window no longer waits.
    pub(super) fn spool(&mut self, seq: u64, file: FileName, keeps_next: bool) -> bool {
        // The oldest one, except after the end of delivery.
        let index = self.queued().iter().position(|window| window.seq == seq);
        let Some(window) = index.and_then(|index| self.queued.take(index)) else {
            // It was taken or evicted during the write.
            return false;
        };
        let is_next = self.spooled.is_empty();
        let snapshot = Some(window.snapshot).filter(|_| keeps_next && is_next);
        // Drops the ticket: this destination has written the window.
        let gate = window.hold.map(|hold| hold.gate);
        let spooled = SpooledWindow { snapshot, gate, ..SpooledWindow::new(file) };
        self.insert(spooled);
        true
    }

    fn insert(&mut self, window: SpooledWindow) {
        let place = self.spooled.partition_point(|other| other.file < window.file);
        self.spooled.insert(place, window);
    }
}
