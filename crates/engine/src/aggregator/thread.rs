//! The aggregator thread: waits for the end of the window, merges the tallies, flushes, and passes
//! the snapshot to the forwarders.

use std::sync::Arc;
use std::time::{Duration, Instant};

use basics::clocks::ClockReading;
use model::{ClosedWindow, IdleLimits, IdlePoints, Snapshot, UnfinishedWindows, Window};
use tracing::{error, warn};

use super::AggregationConfig;
use super::carry::CarriedWindows;
use super::clock::{Edge, WindowClock, rated_length};
use super::clock_log::ClockLog;
use super::handover::{AggregatorEnd, HandedOver, ListenerEnd, SELF_METRICS};
use super::identity::Identifier;
use super::latest_window::{LatestWindow, LiveList};
use super::pulse::Pulse;
use super::registry::Registry;
use super::restart::RestartStore;
use super::store::Store;
use super::tally::Tally;
use super::windows::{LastWindow, WindowStats};
use crate::series_filter::SeriesFilter;
use crate::sync::{Receiver, RecvTimeoutError, Sender};
use crate::wake::Waker;

/// Maximum time for listeners to hand over their tallies. They respond between two batches, so this
/// is generous. A tally that comes later is merged into the next window.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);

/// A command to the running aggregator.
pub enum AggregatorCommand {
    /// Add a listener.
    AddListener {
        /// The name of its thread.
        name: String,
        /// Wakes the thread.
        waker: Arc<Waker>,
        /// Receives the listener's side of the handover.
        end: Sender<ListenerEnd>,
    },
    /// Apply other settings. The open window stays open. All listeners are woken, so that they
    /// apply their own changes. The sender is notified when that is done.
    Reconfigure(Box<Reconfiguration>, Sender<()>),
    /// List the live series.
    List(Sender<Arc<LiveList>>),
    /// Remove series at the end of the open window, after their points have gone out.
    Remove(SeriesRemoval),
}

/// A request to remove series.
pub struct SeriesRemoval {
    /// Which series.
    pub filter: SeriesFilter,
    /// Called with the number of removed series, on the aggregator's thread; dropped if the daemon
    /// stops before. The requester may be gone by then.
    pub done: Box<dyn FnOnce(usize) + Send>,
}

/// The settings that a reload may change.
pub struct Reconfiguration {
    /// Receives each window from now on; the previous receiver is dropped.
    pub emit: Emit,
    /// The idle series whose points the receiver wants.
    pub idle: IdleLimits,
    /// Length of a window.
    pub interval: Duration,
    /// How samples become points.
    pub aggregation: AggregationConfig,
    /// Merges the agent's tags.
    pub identifier: Arc<Identifier>,
    /// Creates the self-metrics if they are off; `None` turns them off.
    pub self_metrics: Option<NewSelfMetrics>,
}

/// Reads the clocks.
type ReadClocks = Box<dyn FnMut() -> ClockReading + Send>;

/// Receives each closed window. It must not block, because it delays the windows.
pub type Emit = Box<dyn FnMut(&ClosedWindow) + Send>;

/// Creates [`SelfMetricsSource`] that merge the agent's tags with this identifier.
pub type NewSelfMetrics = Box<dyn FnOnce(Arc<Identifier>) -> Box<dyn SelfMetricsSource> + Send>;

/// Records the daemon's self-metrics into each window.
pub trait SelfMetricsSource: Send {
    /// Merges the tags of another agent section from now on.
    fn set_identifier(&mut self, identifier: Arc<Identifier>);

    /// Records the current values and returns them. `empty` is an empty tally to reuse.
    fn record(&mut self, empty: Box<Tally>) -> Box<Tally>;
}

/// The aggregator: owns the store and everything between the tallies and the forwarders' queues.
pub struct AggregatorThread {
    store: Store,
    clock: WindowClock,
    read_clocks: ReadClocks,
    clock_log: ClockLog,
    interval: Duration,
    tallies: AggregatorEnd,
    registry: Arc<Registry>,
    emit: Emit,
    /// The idle series whose points `emit` wants.
    idle: IdleLimits,
    pulse: Option<Pulse>,
    windows: Arc<WindowStats>,
    self_tally: Option<SelfTally>,
    /// Windows that an earlier run began.
    carried: CarriedWindows,
    /// Keeps the open window for the next run; `None` without a place for it.
    restart: Option<Box<dyn RestartStore>>,
    /// The last window for clients, which `emit` replaces.
    last: Arc<LatestWindow>,
    /// Removals that wait for the end of the open window. Their senders bound their number.
    removals: Vec<SeriesRemoval>,
}

/// The self-metrics, and the empty tally for their next window.
struct SelfTally {
    metrics: Box<dyn SelfMetricsSource>,
    spare: Box<Tally>,
}

impl SelfTally {
    fn new(metrics: Box<dyn SelfMetricsSource>) -> Self {
        Self { metrics, spare: Box::default() }
    }
}

impl AggregatorThread {
    /// Assembles the aggregator without starting it.
    #[must_use]
    pub fn new(
        store: Store,
        interval: Duration,
        tallies: AggregatorEnd,
        registry: Arc<Registry>,
        emit: Emit,
    ) -> Self {
        let mut read_clocks: ReadClocks = Box::new(ClockReading::now);
        let clock = WindowClock::new(interval, read_clocks());
        let windows = Arc::new(WindowStats::new(interval));
        Self {
            store,
            clock,
            read_clocks,
            clock_log: ClockLog::new(),
            interval,
            tallies,
            registry,
            emit,
            idle: IdleLimits::default(),
            windows,
            self_tally: None,
            carried: CarriedWindows::default(),
            restart: None,
            last: Arc::default(),
            removals: Vec::new(),
            pulse: None,
        }
    }

    /// Reports statistics of the windows here.
    #[must_use]
    pub fn with_stats(self, windows: Arc<WindowStats>) -> Self {
        Self { windows, ..self }
    }

    /// Answers requests for the live series from here, where `emit` keeps the last window.
    #[must_use]
    pub fn with_latest_window(self, last: Arc<LatestWindow>) -> Self {
        Self { last, ..self }
    }

    /// Adds the points of these idle series to each window.
    #[must_use]
    pub fn with_idle(self, idle: IdleLimits) -> Self {
        Self { idle, ..self }
    }

    /// Adds the daemon's self-metrics to each window, if they are on.
    #[must_use]
    pub fn with_self_metrics(self, metrics: Option<Box<dyn SelfMetricsSource>>) -> Self {
        Self { self_tally: metrics.map(SelfTally::new), ..self }
    }

    /// Continues the windows of an earlier run, and leaves the open window to the next run in this
    /// store.
    #[must_use]
    pub fn with_restart(
        mut self,
        restart: Option<Box<dyn RestartStore>>,
        unfinished: UnfinishedWindows,
    ) -> Self {
        self.carried = CarriedWindows::new(unfinished.windows);
        self.clock.restore_used(unfinished.used);
        Self { restart, ..self }
    }

    /// Drives this pulse, which stops when this thread or the thread of a listener hangs.
    #[must_use]
    pub fn with_pulse(self, pulse: Option<Pulse>) -> Self {
        Self { pulse, ..self }
    }

    /// Runs until the sender of `commands` is dropped, which happens after the listeners have
    /// ended. Then flushes the open window and closes the queues.
    pub fn run(mut self, commands: &Receiver<AggregatorCommand>) {
        loop {
            let beat_at = self.pulse.as_ref().map(Pulse::next);
            let look_at = self.clock.next_look();
            let until = beat_at.map_or(look_at, |beat_at| beat_at.min(look_at));
            match commands.recv_deadline(until) {
                Err(RecvTimeoutError::Timeout) if until < look_at => self.beat(),
                Err(RecvTimeoutError::Timeout) => self.look(),
                Ok(AggregatorCommand::AddListener { name, waker, end }) => {
                    // If the sender has given up, the listener's side is dropped, and the listener
                    // counts as one that never answers.
                    let _gave_up = end.send(self.tallies.add_listener(&name, waker));
                }
                Ok(AggregatorCommand::Reconfigure(settings, done)) => {
                    self.reconfigure(*settings);
                    let _requester_gone = done.send(());
                }
                Ok(AggregatorCommand::List(listed)) => {
                    let live = self.last.live(self.interval, || self.store.list());
                    let _requester_gone = listed.send(live);
                }
                Ok(AggregatorCommand::Remove(removal)) => self.removals.push(removal),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // All listeners have handed over their last tally.
        while let Ok(handed) = self.tallies.tallies().try_recv() {
            self.merge(handed);
        }
        self.note_time();
        let planned_end_ms = self.clock.planned_end_ms();
        let edge = self.clock.close_early();
        let (snapshot, idle) = self.take_snapshot(edge);
        let window = self.cut(snapshot, planned_end_ms).with_idle(idle);
        self.emit(edge, &window);
        // Destinations need not wait for the disk that the levels are saved on.
        self.emit = Box::new(|_| {});
        self.remove_series();
        if let Some(restart) = &mut self.restart {
            restart.save_levels(self.store.levels(self.interval));
        }
    }

    /// Cuts the open window, which the next run may continue. It is saved before any destination has a
    /// part of it: after a crash in between, the next run completes the window where the last write of
    /// a timestamp is kept.
    fn cut(&mut self, snapshot: Snapshot, planned_end_ms: u64) -> ClosedWindow {
        let carried = std::mem::take(&mut self.carried);
        let cut = carried.cut(snapshot.clone(), planned_end_ms, self.interval);
        self.clock.use_up(&cut.forgotten_ms);
        let unfinished =
            UnfinishedWindows { used: self.clock.used().to_vec(), windows: cut.windows };
        let is_saved =
            self.restart.as_mut().is_some_and(|restart| restart.save_windows(unfinished));
        // A window that the next run cannot continue must not share a timestamp with one of its windows.
        if is_saved { cut.closed } else { ClosedWindow::undivided(snapshot) }
    }

    /// Applies other settings.
    fn reconfigure(&mut self, settings: Reconfiguration) {
        let Reconfiguration { emit, idle, interval, aggregation, identifier, self_metrics } =
            settings;
        // Before the listeners are called: they may ask for a series as soon as they are awake.
        self.registry.reconfigure(&aggregation, Arc::clone(&identifier));
        self.store.reconfigure(&aggregation, interval);
        (self.emit, self.idle) = (emit, idle);
        self.self_tally = match (self.self_tally.take(), self_metrics) {
            (Some(mut current), Some(_)) => {
                current.metrics.set_identifier(identifier);
                Some(current)
            }
            (None, Some(make)) => Some(SelfTally::new(make(identifier))),
            (_, None) => {
                // Its table goes with it: another source would give its slots to other series.
                self.store.remove_listener(SELF_METRICS);
                None
            }
        };
        // Listeners apply their own changes when they see a call.
        self.tallies.call();
        if interval != self.interval {
            self.interval = interval;
            self.note_time();
            self.clock.set_interval(interval);
            self.windows.set_interval(interval);
        }
    }

    /// Looks at the clocks, and closes the window if it ends.
    fn look(&mut self) {
        self.note_time();
        if self.clock.is_due() {
            self.close_window(Instant::now() + HAND_OVER_MAX);
        }
    }

    fn note_time(&mut self) {
        if let Some(step) = self.clock.look((self.read_clocks)()) {
            self.windows.clock_stepped();
            self.clock_log.step(step);
        }
    }

    fn beat(&mut self) {
        if let Some(pulse) = &mut self.pulse {
            pulse.beat(&self.tallies);
        }
    }

    /// Closes the window, which is due, with the tallies that arrive by `deadline`.
    fn close_window(&mut self, deadline: Instant) {
        // Before the tallies: the window ends now, however long the listeners take.
        let edge = self.clock.close();
        self.clock_log.closed(&edge);
        self.collect_tallies(deadline);
        self.flush(edge);
        // After the flush, while all cells are empty: nothing is lost with a series.
        self.store.expire();
        self.remove_series();
        for metric in self.registry.take_newly_overflowing() {
            warn!(
                metric,
                "series limit reached; samples of new series go to the series with `overflow=true` \
                 (aggregation.max_series, max_series_per_metric, max_series_bytes)"
            );
        }
    }

    /// Removes the series that operators want removed. Called while all cells are empty.
    fn remove_series(&mut self) {
        for SeriesRemoval { filter, done } in std::mem::take(&mut self.removals) {
            let removed = self.store.remove(&filter);
            if removed > 0 {
                self.last.forget_live();
            }
            done(removed);
        }
    }

    /// Merges a tally from every listener.
    fn collect_tallies(&mut self, deadline: Instant) {
        let mut awaited = self.tallies.announce_edge();
        while awaited > 0 {
            match self.tallies.tallies().recv_deadline(deadline) {
                Ok(handed) => self.merge(handed),
                Err(_) => {
                    error!(
                        listeners = awaited,
                        "listeners not responding; their samples will count in a later window"
                    );
                    return;
                }
            }
            awaited = self.tallies.awaited();
        }
    }

    fn merge(&mut self, mut handed: HandedOver) {
        self.store.merge(handed.listener, &mut handed.tally);
        // After the merge, which needs this state to find the series of each slot.
        if handed.is_last {
            self.store.remove_listener(handed.listener);
        }
        self.tallies.give_back(handed);
    }

    fn flush(&mut self, edge: Edge) {
        let (snapshot, idle) = self.take_snapshot(edge);
        let had_carried = !self.carried.is_empty();
        let (closed, forgotten_ms) = self.carried.complete(snapshot, self.interval);
        self.clock.use_up(&forgotten_ms);
        let window = closed.with_idle(idle);
        self.emit(edge, &window);
        if had_carried
            && self.carried.is_empty()
            && let Some(restart) = &mut self.restart
        {
            restart.remove_windows();
        }
    }

    fn take_snapshot(&mut self, edge: Edge) -> (Snapshot, Option<IdlePoints>) {
        self.add_self_metrics();
        let length = rated_length(edge.length, self.interval);
        let window = Window { end_ms: edge.end_ms, length };
        let (snapshot, idle) = self.store.flush_with_idle(window, &self.idle, self.interval);
        (Snapshot { start_ms: edge.start_ms, ..snapshot }, idle)
    }

    fn emit(&mut self, edge: Edge, window: &ClosedWindow) {
        (self.emit)(window);
        let snapshot = &window.increment;
        let now = (self.read_clocks)().monotonic;
        self.windows.closed(LastWindow {
            end_ms: edge.end_ms,
            length: snapshot.window.length,
            // By the monotonic clock, because the wall clock may be set at any time. The next window
            // began when this one ended.
            lag: edge.late + now.saturating_duration_since(self.clock.opened()),
            points: snapshot.points.len() as u64,
        });
        // Only now, when the forwarders have the window: nothing waits for the top metrics.
        self.windows.set_top_metrics(self.store.top_metrics(snapshot.window));
    }

    fn add_self_metrics(&mut self) {
        let Some(SelfTally { metrics, spare }) = &mut self.self_tally else { return };
        let mut tally = metrics.record(std::mem::take(spare));
        self.store.merge(SELF_METRICS, &mut tally);
        *spare = tally;
    }
}

#[cfg(not(loom))]
#[cfg(test)]
mod tests;

#[cfg(loom)]
#[cfg(test)]
mod interleavings;
