//! The windows that wait to be delivered.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::spool::FileName;
use model::Snapshot;

/// A window in memory only.
#[derive(Debug)]
pub(super) struct QueuedWindow {
    pub(super) seq: u64,
    pub(super) snapshot: Arc<Snapshot>,
}

/// A window on disk.
#[derive(Debug)]
pub(super) struct SpooledWindow {
    pub(super) file: FileName,
    /// The snapshot, if it is also in memory. Kept for the next window only, which then need not be
    /// read back.
    pub(super) snapshot: Option<Arc<Snapshot>>,
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
    queued: VecDeque<QueuedWindow>,
    next_seq: u64,
}

impl QueuedWindow {
    pub(super) fn points(&self) -> u64 {
        self.snapshot.points.len() as u64
    }
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
        self.spooled.len() + self.queued.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The windows in memory only, the oldest first.
    pub(super) fn queued(&self) -> &VecDeque<QueuedWindow> {
        &self.queued
    }

    /// The windows on disk, the oldest first.
    pub(super) fn spooled(&self) -> &VecDeque<SpooledWindow> {
        &self.spooled
    }

    /// Adds a new window as the newest one.
    pub(super) fn push(&mut self, snapshot: Arc<Snapshot>) {
        self.queued.push_back(QueuedWindow { seq: self.next_seq, snapshot });
        self.next_seq += 1;
    }

    /// Adds the windows that an earlier run left on disk, the oldest first. All other windows are
    /// newer and are renumbered: the returned number is added to theirs.
    pub(super) fn recover(&mut self, files: &[FileName]) -> u64 {
        // File names contain the number, so the windows on disk keep theirs.
        let base = files.last().map_or(0, |file| file.seq + 1);
        self.next_seq += base;
        self.queued.iter_mut().for_each(|window| window.seq += base);
        // Nothing is lost here: no window is written before the folder is opened.
        self.spooled =
            files.iter().map(|file| SpooledWindow { file: *file, snapshot: None }).collect();
        base
    }

    /// The number of the newest window.
    pub(super) fn newest_seq(&self) -> Option<u64> {
        let queued = self.queued.back().map(|window| window.seq);
        queued.or_else(|| self.spooled.back().map(|window| window.file.seq))
    }

    pub(super) fn take_oldest(&mut self) -> Option<WaitingWindow> {
        let spooled = self.spooled.pop_front().map(WaitingWindow::Spooled);
        spooled.or_else(|| self.queued.pop_front().map(WaitingWindow::Queued))
    }

    pub(super) fn take_newest(&mut self) -> Option<WaitingWindow> {
        let queued = self.queued.pop_back().map(WaitingWindow::Queued);
        queued.or_else(|| self.spooled.pop_back().map(WaitingWindow::Spooled))
    }

    pub(super) fn take_oldest_queued(&mut self) -> Option<QueuedWindow> {
        self.queued.pop_front()
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
    pub(super) fn take_queued(&mut self) -> VecDeque<QueuedWindow> {
        std::mem::take(&mut self.queued)
    }

    /// Moves the queued window `seq`, which is in `file` now, to the windows on disk. With
    /// `keeps_next`, the window that is delivered next also stays in memory. Returns false if the
    /// window no longer waits.
    pub(super) fn spool(&mut self, seq: u64, file: FileName, keeps_next: bool) -> bool {
        // Only the oldest queued window is ever written. If another one is in front, this one was
        // taken or evicted during the write.
        let Some(window) = self.queued.pop_front_if(|window| window.seq == seq) else {
            return false;
        };
        let is_next = self.spooled.is_empty();
        let snapshot = Some(window.snapshot).filter(|_| keeps_next && is_next);
        self.spooled.push_back(SpooledWindow { file, snapshot });
        true
    }
}
