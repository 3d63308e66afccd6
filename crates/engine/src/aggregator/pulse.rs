//! Signs of life: whether every thread that data passes through still goes round its loop.
//!
//! The aggregator asks for them, and passes them on when it has one from everyone. It goes through
//! its own loop to do so. So nothing is passed on while any of them hangs, itself included.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::{error, info};

use super::handover::AggregatorEnd;

/// Where one that was called leaves its answer.
#[derive(Debug, Default)]
pub struct Answer(AtomicU64);

impl Answer {
    /// Answers this call.
    pub fn give(&self, call: u64) {
        self.0.store(call, Ordering::Release);
    }

    /// Answers all that may come: there is nobody any more who could hang.
    pub fn end(&self) {
        self.give(u64::MAX);
    }

    /// Whether this call was answered, or one after it.
    #[must_use]
    pub fn is_given(&self, call: u64) -> bool {
        self.0.load(Ordering::Acquire) >= call
    }
}

/// Calls the async runtime, which has the forwarders' tasks.
#[derive(Debug, Default)]
pub struct RuntimeCall {
    latest: AtomicU64,
    bell: Notify,
    answer: Answer,
}

impl RuntimeCall {
    /// Answers for the runtime as long as the daemon runs.
    pub async fn respond(&self) {
        loop {
            self.bell.notified().await;
            self.answer.give(self.latest.load(Ordering::Acquire));
        }
    }

    fn call(&self) {
        self.latest.fetch_add(1, Ordering::Release);
        self.bell.notify_one();
    }

    fn is_answered(&self) -> bool {
        self.answer.is_given(self.latest.load(Ordering::Acquire))
    }
}

/// The aggregator's side.
pub struct Pulse {
    period: Duration,
    next: Instant,
    runtime: Arc<RuntimeCall>,
    pass_on: Box<dyn FnMut() + Send>,
    is_missing_some: bool,
}

impl Pulse {
    /// Asks all threads once in a period, which each has to answer, and calls `pass_on` if they did.
    #[must_use]
    pub fn new(
        period: Duration,
        runtime: Arc<RuntimeCall>,
        pass_on: impl FnMut() + Send + 'static,
    ) -> Self {
        let next = Instant::now() + period;
        let pass_on = Box::new(pass_on);
        Self { period, next, runtime, pass_on, is_missing_some: false }
    }

    /// When [`Pulse::beat`] is due.
    #[must_use]
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Passes on that all answered the last call, if they did, and calls again.
    pub fn beat(&mut self, listeners: &AggregatorEnd) {
        let mut silent: Vec<&str> = listeners.silent().collect();
        if !self.runtime.is_answered() {
            silent.push("forward");
        }
        let is_missing_some = !silent.is_empty();
        if !is_missing_some {
            (self.pass_on)();
        }
        if is_missing_some && !self.is_missing_some {
            error!(
                threads = ?silent,
                silent_for = ?self.period,
                "threads hang: unless they go on, the service manager's watchdog ends the daemon"
            );
        }
        if !is_missing_some && self.is_missing_some {
            info!("all threads go on");
        }
        self.is_missing_some = is_missing_some;
        listeners.call();
        self.runtime.call();
        self.next = Instant::now() + self.period;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregator::table::Table;
    use crate::wake::Waker;

    /// A pulse whose beats are counted.
    fn pulse(runtime: &Arc<RuntimeCall>) -> (Pulse, Arc<AtomicU64>) {
        let beats = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&beats);
        let count = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        (Pulse::new(Duration::from_secs(3600), Arc::clone(runtime), count), beats)
    }

    fn answer(runtime: &RuntimeCall) {
        runtime.answer.give(runtime.latest.load(Ordering::Acquire));
    }

    #[test]
    fn a_beat_is_passed_on_only_if_every_listener_answered_the_last_call() {
        let mut tallies = AggregatorEnd::new();
        let mut ends: Vec<_> = ["a", "b"]
            .map(|name| tallies.add_listener(name, Arc::new(Waker::new().unwrap())))
            .into();
        let mut table = Table::new(1000, 1 << 20);
        let runtime = Arc::new(RuntimeCall::default());
        let (mut pulse, beats) = pulse(&runtime);
        let mut beat = |tallies: &AggregatorEnd| {
            pulse.beat(tallies);
            beats.load(Ordering::Relaxed)
        };

        assert_eq!(beat(&tallies), 1, "nothing was asked yet");
        answer(&runtime);
        assert_eq!(beat(&tallies), 1, "no listener answered");
        answer(&runtime);
        ends[0].hand_over_at_edge(&mut table);
        assert_eq!(tallies.silent().collect::<Vec<_>>(), ["b"]);
        assert_eq!(beat(&tallies), 1, "one listener did not answer");
        answer(&runtime);
        for end in &mut ends {
            end.hand_over_at_edge(&mut table);
        }
        assert_eq!(beat(&tallies), 2);
        assert!(tallies.tallies().is_empty(), "a sign of life is no edge");

        // One that has ended cannot hang.
        answer(&runtime);
        ends.pop().unwrap().finish(Table::new(1000, 1 << 20));
        ends[0].hand_over_at_edge(&mut table);
        assert_eq!(beat(&tallies), 3);
    }

    #[test]
    fn a_runtime_that_does_not_answer_stops_the_pulse() {
        let tallies = AggregatorEnd::new();
        let runtime = Arc::new(RuntimeCall::default());
        let (mut pulse, beats) = pulse(&runtime);
        pulse.beat(&tallies);
        pulse.beat(&tallies);
        assert_eq!(beats.load(Ordering::Relaxed), 1);
        answer(&runtime);
        pulse.beat(&tallies);
        assert_eq!(beats.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn an_edge_is_handed_over_and_answered_at_once() {
        let mut tallies = AggregatorEnd::new();
        let mut end = tallies.add_listener("a", Arc::new(Waker::new().unwrap()));
        let mut table = Table::new(1000, 1 << 20);
        tallies.call();
        assert_eq!(tallies.announce_edge(), 1);
        assert_eq!(tallies.silent().count(), 1);
        end.hand_over_at_edge(&mut table);
        assert_eq!(tallies.silent().count(), 0);
        assert_eq!(tallies.tallies().len(), 1);
        end.hand_over_at_edge(&mut table);
        assert_eq!(tallies.tallies().len(), 1, "each edge has one tally");
    }
}
