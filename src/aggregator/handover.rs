//! How a listener's tally comes to the aggregator at the window's edge, and an empty one back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::table::Table;
use super::tally::Tally;
use crate::listener::wake::Waker;

/// A tally on its way to the aggregator.
#[derive(Debug)]
pub struct HandedOver {
    /// Number of the listener, in the order in which it was added.
    pub listener: usize,
    /// What it gathered.
    pub tally: Box<Tally>,
    /// Whether the listener has ended and no other tally will follow.
    pub is_last: bool,
}

/// The listener's end.
///
/// Handing over costs a pointer: a listener with a million series is not held up.
#[derive(Debug)]
pub struct ListenerEnd {
    listener: usize,
    edge: Arc<AtomicU64>,
    edge_seen: u64,
    full: flume::Sender<HandedOver>,
    spare: flume::Receiver<Box<Tally>>,
}

impl ListenerEnd {
    /// Hands over the table's tally if the window's edge has come; the table goes on with a spare.
    #[inline]
    pub fn hand_over_at_edge(&mut self, table: &mut Table) {
        let edge = self.edge.load(Ordering::Acquire);
        if edge != self.edge_seen {
            self.edge_seen = edge;
            let spare = self.spare.try_recv().unwrap_or_default();
            self.send(table.replace_tally(spare), false);
        }
    }

    /// Hands over the last tally.
    pub fn finish(self, table: Table) {
        self.send(table.into_tally(), true);
    }

    fn send(&self, tally: Box<Tally>, is_last: bool) {
        // The aggregator outlives the listeners; should it be gone, nobody can use the tally.
        let _nobody_left = self.full.send(HandedOver { listener: self.listener, tally, is_last });
    }
}

/// The aggregator's end, for all listeners.
#[derive(Debug)]
pub struct AggregatorEnd {
    edge: Arc<AtomicU64>,
    full: flume::Receiver<HandedOver>,
    full_sender: flume::Sender<HandedOver>,
    listeners: Vec<Listener>,
}

#[derive(Debug)]
struct Listener {
    waker: Arc<Waker>,
    spare: flume::Sender<Box<Tally>>,
    is_open: bool,
}

impl AggregatorEnd {
    /// No listeners yet.
    #[must_use]
    pub fn new() -> Self {
        let (full_sender, full) = flume::unbounded();
        Self { edge: Arc::default(), full, full_sender, listeners: Vec::new() }
    }

    /// Adds a listener that `waker` wakes.
    pub fn add_listener(&mut self, waker: Arc<Waker>) -> ListenerEnd {
        let (spare_sender, spare) = flume::unbounded();
        self.listeners.push(Listener { waker, spare: spare_sender, is_open: true });
        ListenerEnd {
            listener: self.listeners.len() - 1,
            edge: Arc::clone(&self.edge),
            edge_seen: self.edge.load(Ordering::Acquire),
            full: self.full_sender.clone(),
            spare,
        }
    }

    /// Asks every listener for its tally. Returns how many will answer.
    #[must_use]
    pub fn announce_edge(&self) -> usize {
        self.edge.fetch_add(1, Ordering::Release);
        let open = self.listeners.iter().filter(|listener| listener.is_open);
        open.inspect(|listener| listener.waker.wake()).count()
    }

    /// The channel on which tallies arrive.
    #[must_use]
    pub fn tallies(&self) -> &flume::Receiver<HandedOver> {
        &self.full
    }

    /// Gives a merged tally back to its listener.
    pub fn give_back(&mut self, handed: HandedOver) {
        let listener = &mut self.listeners[handed.listener];
        if handed.is_last {
            listener.is_open = false;
        } else {
            // A listener that has ended meanwhile needs no spare.
            let _not_needed = listener.spare.send(handed.tally);
        }
    }
}

impl Default for AggregatorEnd {
    fn default() -> Self {
        Self::new()
    }
}
