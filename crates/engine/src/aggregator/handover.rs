//! Hands a listener's tally to the aggregator at the end of the window, and an empty one back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::pulse_reply::PulseReply;
use super::table::SeriesTable;
use super::tally::Tally;
use crate::sync::{AtomicU64, Receiver, Sender, unbounded};
use crate::wake::Waker;

/// The listener number of the daemon's self-metrics.
pub const SELF_METRICS: usize = 0;
/// The number of the first listener.
const FIRST_LISTENER: usize = SELF_METRICS + 1;

/// A tally on its way to the aggregator.
#[derive(Debug)]
pub struct HandedOver {
    /// Number of the listener. Numbers of ended listeners are reused.
    pub listener: usize,
    /// The samples of the window.
    pub tally: Box<Tally>,
    /// Number of the latest call for a tally that it answers.
    edge: u64,
    /// Whether the listener has ended, and no other tally follows.
    pub is_last: bool,
}

/// The calls of the aggregator to all listeners.
#[derive(Debug, Default)]
struct Calls {
    /// Number of the latest call, for a tally or for a sign of life. Between two batches, a
    /// listener checks only this.
    latest: AtomicU64,
    /// Number of the calls that asked for a tally.
    edges: AtomicU64,
}

/// The listener's side.
///
/// Handing over moves one pointer, so a listener with a million series is not held up.
#[derive(Debug)]
pub struct ListenerEnd {
    listener: usize,
    calls: Arc<Calls>,
    call_seen: u64,
    edges_seen: u64,
    answer: Arc<PulseReply>,
    filled: Sender<HandedOver>,
    spare: Receiver<Box<Tally>>,
}

impl ListenerEnd {
    /// Answers the aggregator if it has called, and returns whether it has. If the window has
    /// ended, hands over the table's tally and gives the table a spare one.
    #[inline]
    pub fn hand_over_at_edge(&mut self, table: &mut SeriesTable) -> bool {
        let call = self.calls.latest.load(Ordering::Acquire);
        // Compared, not reset: all listeners share the number, and none of them writes to it, so it
        // stays in the caches of all cores until the next call.
        let is_called = call != self.call_seen;
        if is_called {
            self.call_seen = call;
            self.reply(call, table);
        }
        is_called
    }

    #[cold]
    fn reply(&mut self, call: u64, table: &mut SeriesTable) {
        // Before the tally: once the aggregator has the tally, it must also see the answer.
        self.answer.give(call);
        let edges = self.calls.edges.load(Ordering::Acquire);
        // A listener that missed the end of a window sends one tally for both windows.
        if edges != self.edges_seen {
            self.edges_seen = edges;
            // Without a spare, as at the end of the first window, start with a new tally: never
            // wait.
            let spare = self.spare.try_recv().unwrap_or_default();
            self.send(table.replace_tally(spare), false);
        }
    }

    /// Hands over the last tally.
    pub fn finish(self, table: SeriesTable) {
        // Before the tally, as in `reply`.
        self.answer.end();
        self.send(table.into_tally(), true);
    }

    fn send(&self, tally: Box<Tally>, is_last: bool) {
        // The aggregator outlives the listeners. If it is gone nonetheless, the tally is of no use.
        let handed = HandedOver { listener: self.listener, tally, edge: self.edges_seen, is_last };
        let _aggregator_gone = self.filled.send(handed);
    }
}

/// The aggregator's side, for all listeners.
#[derive(Debug)]
pub struct AggregatorEnd {
    calls: Arc<Calls>,
    filled: Receiver<HandedOver>,
    filled_sender: Sender<HandedOver>,
    listeners: Vec<ListenerHandle>,
}

#[derive(Debug)]
struct ListenerHandle {
    /// The name of its thread.
    name: String,
    waker: Arc<Waker>,
    spare: Sender<Box<Tally>>,
    answer: Arc<PulseReply>,
    /// Number of the latest call for a tally that it has answered.
    edge_answered: u64,
    is_open: bool,
}

impl AggregatorEnd {
    /// Creates the aggregator's side, without listeners.
    #[must_use]
    pub fn new() -> Self {
        // Unbounded, so that a listener never waits for the aggregator. It stays short nonetheless,
        // because a tally is only sent as the answer to a call.
        let (filled_sender, filled) = unbounded();
        Self { calls: Arc::default(), filled, filled_sender, listeners: Vec::new() }
    }

    /// Adds a listener whose thread has this name, and returns the listener's side.
    pub fn add_listener(&mut self, name: &str, waker: Arc<Waker>) -> ListenerEnd {
        let (spare_sender, spare) = unbounded();
        let answer = Arc::<PulseReply>::default();
        // Earlier calls do not concern it: the aggregator does not wait for its answer, and the pulse
        // does not miss it.
        let call = self.calls.latest.load(Ordering::Acquire);
        answer.give(call);
        let edge = self.calls.edges.load(Ordering::Acquire);
        let listener = ListenerHandle {
            name: name.to_owned(),
            waker,
            spare: spare_sender,
            answer: Arc::clone(&answer),
            edge_answered: edge,
            is_open: true,
        };
        // Numbers of ended listeners are reused: the store keeps state by number, and reloads may
        // replace listeners any number of times.
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
            listener: FIRST_LISTENER + index,
            calls: Arc::clone(&self.calls),
            call_seen: call,
            edges_seen: edge,
            answer,
            filled: self.filled_sender.clone(),
            spare,
        }
    }

    /// Asks every listener for its tally. Returns the number of listeners, see
    /// [`AggregatorEnd::awaited`].
    #[must_use]
    pub fn announce_edge(&self) -> usize {
        // Before `latest`: a listener that sees the new call must also see that it asks for a
        // tally.
        self.calls.edges.fetch_add(1, Ordering::Release);
        self.call();
        self.awaited()
    }

    /// The number of listeners from which no tally for the latest call was given back yet.
    ///
    /// Not a count of tallies: one that answers an earlier call, or the last one of a listener that
    /// has just answered, must not end the wait for the tally of another listener.
    #[must_use]
    pub fn awaited(&self) -> usize {
        let edge = self.calls.edges.load(Ordering::Acquire);
        self.open().filter(|listener| listener.edge_answered < edge).count()
    }

    /// Asks every listener for a sign of life.
    pub fn call(&self) {
        self.calls.latest.fetch_add(1, Ordering::Release);
        // After the number was raised: a listener that woke earlier would see no call and wait
        // again.
        self.open().for_each(|listener| listener.waker.wake());
    }

    /// The names of the threads of listeners that have not answered the latest call.
    pub fn unresponsive(&self) -> impl Iterator<Item = &str> {
        let latest = self.calls.latest.load(Ordering::Acquire);
        let unresponsive = self.open().filter(move |listener| !listener.answer.is_given(latest));
        unresponsive.map(|listener| listener.name.as_str())
    }

    fn open(&self) -> impl Iterator<Item = &ListenerHandle> {
        self.listeners.iter().filter(|listener| listener.is_open)
    }

    /// The channel on which tallies arrive.
    #[must_use]
    pub fn tallies(&self) -> &Receiver<HandedOver> {
        &self.filled
    }

    /// Returns a merged tally to its listener.
    pub fn give_back(&mut self, handed: HandedOver) {
        let listener = &mut self.listeners[handed.listener - FIRST_LISTENER];
        listener.edge_answered = handed.edge;
        if handed.is_last {
            // Only now, when its last tally is merged, may its number go to another listener: the
            // store resolves the slots of a tally by this number.
            listener.is_open = false;
        } else {
            // A listener that has ended in the meantime needs no spare.
            let _not_needed = listener.spare.send(handed.tally);
        }
    }
}

impl Default for AggregatorEnd {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(not(loom))]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregator::AggregationConfig;

    fn table() -> SeriesTable {
        SeriesTable::new(AggregationConfig::default().cells(None), 1 << 20)
    }

    #[test]
    fn a_tally_is_awaited_until_it_is_given_back() {
        let mut aggregator = AggregatorEnd::new();
        let waker = || Arc::new(Waker::new().unwrap());
        let mut one = aggregator.add_listener("one", waker());
        let other = aggregator.add_listener("other", waker());
        let mut tables = (table(), table());

        assert_eq!(aggregator.announce_edge(), 2);
        assert!(one.hand_over_at_edge(&mut tables.0));
        assert_eq!(aggregator.awaited(), 2, "not merged yet");
        let handed = aggregator.tallies().try_recv().unwrap();
        assert_eq!((handed.listener, handed.is_last), (FIRST_LISTENER, false));
        aggregator.give_back(handed);
        assert_eq!(aggregator.awaited(), 1);
        assert_eq!(one.spare.len(), 1, "its next tally");

        // The last tally of a listener that ends is awaited too, and afterwards no other.
        other.finish(tables.1);
        assert_eq!(aggregator.awaited(), 1);
        let handed = aggregator.tallies().try_recv().unwrap();
        assert_eq!((handed.listener, handed.is_last), (FIRST_LISTENER + 1, true));
        aggregator.give_back(handed);
        assert_eq!(aggregator.awaited(), 0);
        assert_eq!(aggregator.announce_edge(), 1);

        // Its number goes to the next listener.
        let next = aggregator.add_listener("next", waker());
        assert_eq!(next.listener, FIRST_LISTENER + 1);
    }
}
