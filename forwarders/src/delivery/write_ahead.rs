//! Holds a window back until every destination with `write: always` has it on disk.
//!
//! A window that one destination has received and another one has lost in a crash cannot be
//! repaired. `write: always` therefore means that the window is on disk before any destination
//! sees it. A slow disk delays the other destinations by [`HOLD_MAX`] at most.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The longest time that a window is held back.
const HOLD_MAX: Duration = Duration::from_secs(1);

/// The gate of a window: closed until every destination with `write: always` has written the
/// window, or until [`HOLD_MAX`] has passed.
pub(crate) struct WriteAheadGate {
    unwritten: AtomicUsize,
    opens_at: Instant,
    /// The delivery loops to wake when the gate opens.
    waiting: Vec<Arc<Notify>>,
}

/// Keeps a gate closed until it is dropped.
#[derive(Debug)]
pub(crate) struct GateTicket(Arc<WriteAheadGate>);

/// The gate of a window, and the ticket of a destination that has to write the window.
#[derive(Debug)]
pub(crate) struct WindowHold {
    pub(crate) gate: Arc<WriteAheadGate>,
    pub(crate) ticket: Option<GateTicket>,
}

impl WriteAheadGate {
    /// Whether the window may be delivered.
    pub(crate) fn is_open(&self) -> bool {
        self.unwritten.load(Ordering::Acquire) == 0 || Instant::now() >= self.opens_at
    }

    /// The time at which the gate opens although a destination has not written the window.
    pub(crate) fn opens_at(&self) -> Instant {
        self.opens_at
    }
}

impl GateTicket {
    /// The first ticket of a gate for a window that is flushed now.
    pub(crate) fn first(waiting: Vec<Arc<Notify>>) -> Self {
        let (unwritten, opens_at) = (AtomicUsize::new(1), Instant::now() + HOLD_MAX);
        Self(Arc::new(WriteAheadGate { unwritten, opens_at, waiting }))
    }

    /// The gate that the ticket keeps closed.
    pub(crate) fn gate(&self) -> &Arc<WriteAheadGate> {
        &self.0
    }

    /// Another ticket.
    pub(crate) fn another(&self) -> Self {
        // Needs no order: the gate stays closed in the meantime, because of this ticket.
        self.0.unwritten.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for GateTicket {
    fn drop(&mut self) {
        if self.0.unwritten.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Stores a permit for a loop that is about to wait.
            self.0.waiting.iter().for_each(|loop_| loop_.notify_one());
        }
    }
}

impl fmt::Debug for WriteAheadGate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unwritten = self.unwritten.load(Ordering::Relaxed);
        formatter.debug_struct("WriteAheadGate").field("unwritten", &unwritten).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_gate_opens_with_its_last_ticket_and_wakes_those_that_wait() {
        let waiting = Arc::new(Notify::new());
        let first = GateTicket::first(vec![Arc::clone(&waiting)]);
        let (second, gate) = (first.another(), Arc::clone(first.gate()));
        assert_eq!(format!("{gate:?}"), "WriteAheadGate { unwritten: 2 }");
        drop(first);
        assert!(!gate.is_open());
        let wake = tokio::time::timeout(Duration::from_millis(1), waiting.notified());
        assert!(wake.await.is_err());
        drop(second);
        assert!(gate.is_open());
        waiting.notified().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_delays_a_window_by_a_second() {
        let ticket = GateTicket::first(Vec::new());
        assert!(!ticket.gate().is_open());
        tokio::time::sleep_until(ticket.gate().opens_at()).await;
        assert!(ticket.gate().is_open());
    }
}
