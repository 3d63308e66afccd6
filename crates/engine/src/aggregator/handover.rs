//! How a listener's tally comes to the aggregator at the window's edge, and an empty one back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::pulse::Answer;
use super::table::Table;
use super::tally::Tally;
use crate::wake::Waker;

/// The number of the daemon's own metrics among those of the listeners.
pub const OWN: usize = 0;
/// That of the first listener.
const FIRST: usize = OWN + 1;

/// A tally on its way to the aggregator.
#[derive(Debug)]
pub struct HandedOver {
    /// Number of the listener; those of listeners that have ended are given to others.
    pub listener: usize,
    /// What it gathered.
    pub tally: Box<Tally>,
    /// Whether the listener has ended and no other tally will follow.
    pub is_last: bool,
}

/// What the aggregator calls out to the listeners.
#[derive(Debug, Default)]
struct Calls {
    /// Number of the latest call: for an edge, or for a sign of life. The only one that a listener
    /// looks at between two batches.
    latest: AtomicU64,
    /// How many of them were edges.
    edges: AtomicU64,
}

/// The listener's end.
///
/// Handing over costs a pointer: a listener with a million series is not held up.
#[derive(Debug)]
pub struct ListenerEnd {
    listener: usize,
    calls: Arc<Calls>,
    call_seen: u64,
    edges_seen: u64,
    answer: Arc<Answer>,
    full: flume::Sender<HandedOver>,
    spare: flume::Receiver<Box<Tally>>,
}

impl ListenerEnd {
    /// Answers the aggregator if it has called, and says whether it has. If that was for the
    /// window's edge, hands over the table's tally; the table goes on with a spare.
    #[inline]
    pub fn hand_over_at_edge(&mut self, table: &mut Table) -> bool {
        let call = self.calls.latest.load(Ordering::Acquire);
        let is_called = call != self.call_seen;
        if is_called {
            self.call_seen = call;
            self.reply(call, table);
        }
        is_called
    }

    #[cold]
    fn reply(&mut self, call: u64, table: &mut Table) {
        // Before the tally: whoever has that must not miss the answer.
        self.answer.give(call);
        let edges = self.calls.edges.load(Ordering::Acquire);
        if edges != self.edges_seen {
            self.edges_seen = edges;
            let spare = self.spare.try_recv().unwrap_or_default();
            self.send(table.replace_tally(spare), false);
        }
    }

    /// Hands over the last tally.
    pub fn finish(self, table: Table) {
        self.answer.end();
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
    calls: Arc<Calls>,
    full: flume::Receiver<HandedOver>,
    full_sender: flume::Sender<HandedOver>,
    listeners: Vec<Listener>,
}

#[derive(Debug)]
struct Listener {
    /// What its thread is called.
    name: String,
    waker: Arc<Waker>,
    spare: flume::Sender<Box<Tally>>,
    answer: Arc<Answer>,
    is_open: bool,
}

impl AggregatorEnd {
    /// No listeners yet.
    #[must_use]
    pub fn new() -> Self {
        let (full_sender, full) = flume::unbounded();
        Self { calls: Arc::default(), full, full_sender, listeners: Vec::new() }
    }

    /// Adds a listener whose thread is called `name` and that `waker` wakes.
    pub fn add_listener(&mut self, name: &str, waker: Arc<Waker>) -> ListenerEnd {
        let (spare_sender, spare) = flume::unbounded();
        let answer = Arc::<Answer>::default();
        let listener = Listener {
            name: name.to_owned(),
            waker,
            spare: spare_sender,
            answer: Arc::clone(&answer),
            is_open: true,
        };
        let index = match self.listeners.iter().position(|listener| !listener.is_open) {
            Some(ended) => {
                self.listeners[ended] = listener;
                ended
            }
            None => {
                self.listeners.push(listener);
                self.listeners.len() - 1
            }
        };
        ListenerEnd {
            listener: FIRST + index,
            calls: Arc::clone(&self.calls),
            call_seen: self.calls.latest.load(Ordering::Acquire),
            edges_seen: self.calls.edges.load(Ordering::Acquire),
            answer,
            full: self.full_sender.clone(),
            spare,
        }
    }

    /// Asks every listener for its tally. Returns how many will answer.
    #[must_use]
    pub fn announce_edge(&self) -> usize {
        self.calls.edges.fetch_add(1, Ordering::Release);
        self.call();
        self.open().count()
    }

    /// Asks every listener for a sign of life.
    pub fn call(&self) {
        self.calls.latest.fetch_add(1, Ordering::Release);
        self.open().for_each(|listener| listener.waker.wake());
    }

    /// The names of the listeners that have not answered the latest call.
    pub fn silent(&self) -> impl Iterator<Item = &str> {
        let latest = self.calls.latest.load(Ordering::Acquire);
        let silent = self.open().filter(move |listener| !listener.answer.is_given(latest));
        silent.map(|listener| listener.name.as_str())
    }

    fn open(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().filter(|listener| listener.is_open)
    }

    /// The channel on which tallies arrive.
    #[must_use]
    pub fn tallies(&self) -> &flume::Receiver<HandedOver> {
        &self.full
    }

    /// Gives a merged tally back to its listener.
    pub fn give_back(&mut self, handed: HandedOver) {
        let listener = &mut self.listeners[handed.listener - FIRST];
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
