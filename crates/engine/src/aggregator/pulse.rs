//! Liveness: whether every thread that data passes through still runs its loop.
//!
//! The aggregator calls all threads, and reports a sign of life once all have answered. It does so
//! from its own loop. So no sign is reported while any of the threads hangs, itself included.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::{error, info};

use super::handover::AggregatorEnd;
use super::pulse_reply::PulseReply;
use crate::sync::AtomicU64;

/// The calls to the async runtime, which runs the forwarders' tasks.
#[derive(Debug, Default)]
pub struct RuntimeCall {
    latest: AtomicU64,
    notify: Notify,
    answer: PulseReply,
}

impl RuntimeCall {
    /// Answers on behalf of the runtime until the task is dropped.
    pub async fn respond(&self) {
        loop {
            self.notify.notified().await;
            self.answer.give(self.latest.load(Ordering::Acquire));
        }
    }

    fn call(&self) {
        self.latest.fetch_add(1, Ordering::Release);
        self.notify.notify_one();
    }

    fn is_answered(&self) -> bool {
        self.answer.is_given(self.latest.load(Ordering::Acquire))
    }
}

/// The aggregator's side: calls all threads periodically.
pub struct Pulse {
    period: Duration,
    next: Instant,
    runtime: Arc<RuntimeCall>,
    report: Box<dyn FnMut() + Send>,
    is_stalled: bool,
}

impl Pulse {
    /// Creates a pulse that calls all threads once per period, and runs `report` each time that all
    /// of them have answered within the period.
    #[must_use]
    pub fn new(
        period: Duration,
        runtime: Arc<RuntimeCall>,
        report: impl FnMut() + Send + 'static,
    ) -> Self {
        let next = Instant::now() + period;
        let report = Box::new(report);
        Self { period, next, runtime, report, is_stalled: false }
    }

    /// When [`Pulse::beat`] is due.
    #[must_use]
    pub fn next(&self) -> Instant {
        self.next
    }

    /// Reports a sign of life if all threads answered the last call, and calls again.
    pub fn beat(&mut self, listeners: &AggregatorEnd) {
        let mut unresponsive: Vec<&str> = listeners.unresponsive().collect();
        if !self.runtime.is_answered() {
            // The name of the runtime's threads.
            unresponsive.push("forward");
        }
        let is_stalled = !unresponsive.is_empty();
        if !is_stalled {
            (self.report)();
        }
        if is_stalled && !self.is_stalled {
            error!(
                threads = ?unresponsive,
                silent_for = ?self.period,
                "threads not responding; the systemd watchdog will kill the daemon unless they \
                 recover"
            );
        }
        if !is_stalled && self.is_stalled {
            info!("all threads respond again");
        }
        self.is_stalled = is_stalled;
        // After the check, which is about the answers to the previous call.
        listeners.call();
        self.runtime.call();
        self.next = Instant::now() + self.period;
    }
}

#[cfg(not(loom))]
#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{self, Context};

    use super::*;
    use crate::aggregator::AggregationConfig;
    use crate::aggregator::table::SeriesTable;
    use crate::wake::Waker;
    use basics::log_capture::lines_logged;

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
    fn a_sign_of_life_is_reported_only_if_every_listener_answered_the_last_call() {
        let mut tallies = AggregatorEnd::new();
        let mut ends: Vec<_> = ["a", "b"]
            .map(|name| tallies.add_listener(name, Arc::new(Waker::new().unwrap())))
            .into();
        let mut table = SeriesTable::new(AggregationConfig::default().cells(None), 1 << 20);
        let runtime = Arc::new(RuntimeCall::default());
        let (mut pulse, beats) = pulse(&runtime);
        let mut beat = |tallies: &AggregatorEnd| {
            pulse.beat(tallies);
            beats.load(Ordering::Relaxed)
        };

        assert_eq!(beat(&tallies), 1, "no call was made yet");
        answer(&runtime);
        assert_eq!(beat(&tallies), 1, "no listener answered");
        answer(&runtime);
        ends[0].hand_over_at_edge(&mut table);
        assert_eq!(tallies.unresponsive().collect::<Vec<_>>(), ["b"]);
        assert_eq!(beat(&tallies), 1, "one listener did not answer");
        answer(&runtime);
        for end in &mut ends {
            end.hand_over_at_edge(&mut table);
        }
        assert_eq!(beat(&tallies), 2);
        assert!(tallies.tallies().is_empty(), "the window has not ended");

        // A listener that has ended cannot hang.
        answer(&runtime);
        ends.pop()
            .unwrap()
            .finish(SeriesTable::new(AggregationConfig::default().cells(None), 1 << 20));
        ends[0].hand_over_at_edge(&mut table);
        assert_eq!(beat(&tallies), 3);
    }

    #[test]
    fn a_listener_that_was_added_after_a_call_need_not_answer_it() {
        let mut tallies = AggregatorEnd::new();
        tallies.call();
        let _end = tallies.add_listener("new", Arc::new(Waker::new().unwrap()));
        assert_eq!(tallies.unresponsive().count(), 0);
        tallies.call();
        assert_eq!(tallies.unresponsive().collect::<Vec<_>>(), ["new"]);
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
    fn the_runtime_answers_each_call() {
        let runtime = RuntimeCall::default();
        let mut responding = pin!(runtime.respond());
        let mut context = Context::from_waker(task::Waker::noop());
        for _ in 0..2 {
            runtime.call();
            assert!(!runtime.is_answered());
            assert!(responding.as_mut().poll(&mut context).is_pending());
            assert!(runtime.is_answered());
        }
    }

    #[test]
    fn the_next_beat_is_a_period_after_the_last_one() {
        let (mut pulse, _) = pulse(&Arc::default());
        let before = Instant::now();
        assert!(pulse.next() > before + Duration::from_secs(3_000));
        pulse.next = before;
        pulse.beat(&AggregatorEnd::new());
        assert!(pulse.next() >= before + Duration::from_secs(3_600));
    }

    #[test]
    fn threads_that_stop_responding_are_logged_once_and_so_is_their_recovery() {
        let tallies = AggregatorEnd::new();
        let runtime = Arc::new(RuntimeCall::default());
        let (mut pulse, _) = pulse(&runtime);
        let mut beat = || lines_logged(|| pulse.beat(&tallies));
        assert_eq!(beat(), [""; 0]);
        let [stalled] = &beat()[..] else { panic!("one line") };
        assert!(stalled.contains("threads not responding"), "{stalled}");
        assert!(stalled.contains("threads=[\"forward\"]"), "{stalled}");
        assert_eq!(beat(), [""; 0]);
        answer(&runtime);
        let [recovered] = &beat()[..] else { panic!("one line") };
        assert!(recovered.contains("all threads respond again"), "{recovered}");
        answer(&runtime);
        assert_eq!(beat(), [""; 0]);
    }

    #[test]
    fn an_edge_is_handed_over_and_answered_at_once() {
        let mut tallies = AggregatorEnd::new();
        let mut end = tallies.add_listener("a", Arc::new(Waker::new().unwrap()));
        let mut table = SeriesTable::new(AggregationConfig::default().cells(None), 1 << 20);
        tallies.call();
        assert_eq!(tallies.announce_edge(), 1);
        assert_eq!(tallies.unresponsive().count(), 1);
        end.hand_over_at_edge(&mut table);
        assert_eq!(tallies.unresponsive().count(), 0);
        assert_eq!(tallies.tallies().len(), 1);
        end.hand_over_at_edge(&mut table);
        assert_eq!(tallies.tallies().len(), 1, "one tally per window");
    }
}
