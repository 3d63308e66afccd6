//! The windows in memory only, and the memory that they occupy.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::delivery::write_ahead::WindowHold;
use model::Snapshot;

/// A window in memory only.
#[derive(Debug)]
pub(super) struct QueuedWindow {
    pub(super) seq: u64,
    pub(super) snapshot: Arc<Snapshot>,
    /// `None` if no destination has to write the window before it is delivered.
    pub(super) hold: Option<WindowHold>,
}

impl QueuedWindow {
    pub(super) fn points(&self) -> u64 {
        self.snapshot.points.len() as u64
    }
}

/// The windows in memory only, the oldest first.
#[derive(Debug, Default)]
pub(super) struct MemoryQueue {
    windows: VecDeque<QueuedWindow>,
    /// The sum of [`Snapshot::heap_bytes`] of the windows.
    bytes: u64,
}

impl MemoryQueue {
    pub(super) fn windows(&self) -> &VecDeque<QueuedWindow> {
        &self.windows
    }

    /// An estimate of the memory that the windows occupy. A window that other destinations share
    /// counts in full: this destination may be the last one to release it.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn push(&mut self, window: QueuedWindow) {
        self.bytes += window.snapshot.heap_bytes();
        self.windows.push_back(window);
    }

    pub(super) fn take_oldest(&mut self) -> Option<QueuedWindow> {
        self.take_oldest_if(|_| true)
    }

    pub(super) fn take_oldest_if(
        &mut self,
        is_wanted: impl FnOnce(&QueuedWindow) -> bool,
    ) -> Option<QueuedWindow> {
        let window = self.windows.pop_front_if(|window| is_wanted(window));
        self.without(window)
    }

    pub(super) fn take_newest(&mut self) -> Option<QueuedWindow> {
        let window = self.windows.pop_back();
        self.without(window)
    }

    pub(super) fn take(&mut self, index: usize) -> Option<QueuedWindow> {
        let window = self.windows.remove(index);
        self.without(window)
    }

    /// Adds `base` to the numbers of all windows.
    pub(super) fn renumber(&mut self, base: u64) {
        self.windows.iter_mut().for_each(|window| window.seq += base);
    }

    /// Stops holding windows back at other destinations: this one does not write them now.
    pub(super) fn release(&mut self) {
        for hold in self.windows.iter_mut().filter_map(|window| window.hold.as_mut()) {
            hold.ticket = None;
        }
    }

    fn without(&mut self, window: Option<QueuedWindow>) -> Option<QueuedWindow> {
        self.bytes -= window.as_ref().map_or(0, |window| window.snapshot.heap_bytes());
        window
    }
}
