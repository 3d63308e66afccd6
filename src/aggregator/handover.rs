//! How a listener's table comes to the aggregator at the window's edge, and a spare one back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::table::Table;
use crate::listener::wake::Waker;

/// A table on its way to the aggregator.
#[derive(Debug)]
pub struct HandedOver {
    /// Number of the listener, in the order in which it was added.
    pub listener: usize,
    /// What it gathered.
    pub table: Box<Table>,
    /// Whether the listener has ended and no other table will follow.
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
    spare: flume::Receiver<Box<Table>>,
    exact_samples: usize,
}

impl ListenerEnd {
    /// Hands over `table` and puts a spare one in its place if the window's edge has come.
    #[inline]
    pub fn hand_over_at_edge(&mut self, table: &mut Box<Table>) {
        let edge = self.edge.load(Ordering::Acquire);
        if edge != self.edge_seen {
            self.edge_seen = edge;
            self.hand_over(table, false);
        }
    }

    /// Hands over the last table.
    pub fn finish(mut self, mut table: Box<Table>) {
        self.hand_over(&mut table, true);
    }

    fn hand_over(&mut self, table: &mut Box<Table>, is_last: bool) {
        let spare = self.spare.try_recv();
        let next = spare.unwrap_or_else(|_| Box::new(Table::new(self.exact_samples)));
        let table = std::mem::replace(table, next);
        // The aggregator outlives the listeners; should it be gone, nobody can use the table.
        let _nobody_left = self.full.send(HandedOver { listener: self.listener, table, is_last });
    }
}

/// The aggregator's end, for all listeners.
#[derive(Debug)]
pub struct AggregatorEnd {
    edge: Arc<AtomicU64>,
    full: flume::Receiver<HandedOver>,
    full_sender: flume::Sender<HandedOver>,
    listeners: Vec<Listener>,
    exact_samples: usize,
}

#[derive(Debug)]
struct Listener {
    waker: Arc<Waker>,
    spare: flume::Sender<Box<Table>>,
    is_open: bool,
}

impl AggregatorEnd {
    /// No listeners yet; spare tables keep so many values of a timer one by one.
    #[must_use]
    pub fn new(exact_samples: usize) -> Self {
        let (full_sender, full) = flume::unbounded();
        Self { edge: Arc::default(), full, full_sender, listeners: Vec::new(), exact_samples }
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
            exact_samples: self.exact_samples,
        }
    }

    /// Asks every listener for its table. Returns how many will answer.
    #[must_use]
    pub fn announce_edge(&self) -> usize {
        self.edge.fetch_add(1, Ordering::Release);
        let open = self.listeners.iter().filter(|listener| listener.is_open);
        open.inspect(|listener| listener.waker.wake()).count()
    }

    /// The channel on which tables arrive.
    #[must_use]
    pub fn tables(&self) -> &flume::Receiver<HandedOver> {
        &self.full
    }

    /// Gives a merged table back to its listener.
    pub fn give_back(&mut self, handed: HandedOver) {
        let listener = &mut self.listeners[handed.listener];
        if handed.is_last {
            listener.is_open = false;
        } else {
            // A listener that has ended meanwhile needs no spare.
            let _not_needed = listener.spare.send(handed.table);
        }
    }
}
