//! The aggregator thread: waits for the window's edge, merges, flushes, hands to the forwarders.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use model::{Snapshot, Window};
use tracing::{error, warn};

use super::AggregationConfig;
use super::clock::{Edge, WindowClock};
use super::handover::{AggregatorEnd, HandedOver, ListenerEnd, OWN};
use super::identity::Identifier;
use super::pulse::Pulse;
use super::registry::Registry;
use super::store::Store;
use super::tally::Tally;
use super::windows::{LastWindow, WindowStats};
use crate::wake::Waker;
use basics::time::unix_ms;

/// How long a listener may take to hand over its tally. It is asked between two batches, so this
/// is long; a tally that comes later is merged into the next window.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);

/// What the aggregator is told while it runs.
pub enum Command {
    /// Add a listener whose thread is called `name` and that `waker` wakes.
    AddListener {
        /// What its thread is called.
        name: String,
        /// What wakes it.
        waker: Arc<Waker>,
        /// Where its end goes.
        end: flume::Sender<ListenerEnd>,
    },
    /// Go on with other settings; the open window stays open. Listeners that have been left a word
    /// are woken. Answers when that is done.
    Reconfigure(Box<Reconfiguration>, flume::Sender<()>),
}

/// Other settings.
pub struct Reconfiguration {
    /// Takes each window from now on; the previous one is dropped.
    pub emit: Emit,
    /// Length of a window.
    pub interval: Duration,
    /// How samples become points.
    pub aggregation: AggregationConfig,
    /// Merges the agent's tags.
    pub identifier: Arc<Identifier>,
    /// Makes the self-metrics if there are none yet; `None` turns them off.
    pub self_metrics: Option<NewSelfMetrics>,
}

/// Takes each closed window. It must not block: windows are late for as long as it takes.
pub type Emit = Box<dyn FnMut(&Arc<Snapshot>) + Send>;

/// Makes [`SelfMetrics`] that merge the agent's tags by this identifier.
pub type NewSelfMetrics = Box<dyn FnOnce(Arc<Identifier>) -> Box<dyn SelfMetrics> + Send>;

/// Records the daemon's metrics about itself into each window.
pub trait SelfMetrics: Send {
    /// Merges other tags of the agent from now on.
    fn set_identifier(&mut self, identifier: Arc<Identifier>);

    /// Records the current values. `empty` is an empty tally to use again.
    fn record(&mut self, empty: Box<Tally>) -> Box<Tally>;
}

/// Owns the store and everything between the tallies and the forwarders' queues.
pub struct AggregatorThread {
    store: Store,
    clock: WindowClock,
    interval: Duration,
    tallies: AggregatorEnd,
    registry: Arc<Registry>,
    emit: Emit,
    pulse: Option<Pulse>,
    windows: Arc<WindowStats>,
    self_tally: Option<SelfTally>,
}

/// The self-metrics, and the tally that goes to and fro.
struct SelfTally {
    metrics: Box<dyn SelfMetrics>,
    spare: Box<Tally>,
}

impl SelfTally {
    fn new(metrics: Box<dyn SelfMetrics>) -> Self {
        Self { metrics, spare: Box::default() }
    }
}

impl AggregatorThread {
    /// Puts the parts together; nothing runs yet.
    #[must_use]
    pub fn new(
        store: Store,
        interval: Duration,
        tallies: AggregatorEnd,
        registry: Arc<Registry>,
        emit: Emit,
    ) -> Self {
        let clock = WindowClock::new(interval, unix_ms(SystemTime::now()));
        let windows = Arc::new(WindowStats::new(interval));
        Self {
            store,
            clock,
            interval,
            tallies,
            registry,
            emit,
            windows,
            self_tally: None,
            pulse: None,
        }
    }

    /// Has it report how the windows go.
    #[must_use]
    pub fn with_stats(self, windows: Arc<WindowStats>) -> Self {
        Self { windows, ..self }
    }

    /// Adds the daemon's own metrics to each window, if there are any.
    #[must_use]
    pub fn with_self_metrics(self, metrics: Option<Box<dyn SelfMetrics>>) -> Self {
        Self { self_tally: metrics.map(SelfTally::new), ..self }
    }

    /// Has it look after this as well: the pulse stops when this thread or a listener's hangs.
    #[must_use]
    pub fn with_pulse(self, pulse: Option<Pulse>) -> Self {
        Self { pulse, ..self }
    }

    /// Runs until the other end of `commands` is dropped, which happens after the listeners have
    /// ended; then flushes the open window and closes the queues.
    pub fn run(mut self, commands: &flume::Receiver<Command>) {
        let mut edge_at = self.edge_at();
        loop {
            let beat_at = self.pulse.as_ref().map(Pulse::next);
            let until = beat_at.map_or(edge_at, |beat_at| beat_at.min(edge_at));
            match commands.recv_deadline(until) {
                Err(flume::RecvTimeoutError::Timeout) if until < edge_at => self.beat(),
                Err(flume::RecvTimeoutError::Timeout) => {
                    self.close_window();
                    edge_at = self.edge_at();
                }
                Ok(Command::AddListener { name, waker, end }) => {
                    // Whoever asked may have given up; then the end is dropped, and the listener is
                    // one that never says anything.
                    let _gave_up = end.send(self.tallies.add_listener(&name, waker));
                }
                Ok(Command::Reconfigure(settings, done)) => {
                    if self.reconfigure(*settings) {
                        edge_at = self.edge_at();
                    }
                    let _nobody_waits = done.send(());
                }
                Err(flume::RecvTimeoutError::Disconnected) => break,
            }
        }
        while let Ok(handed) = self.tallies.tallies().try_recv() {
            self.merge(handed);
        }
        let edge = self.clock.close_early(unix_ms(SystemTime::now()));
        self.flush(edge);
    }

    /// Goes on with other settings; says whether the open window ends at another time.
    fn reconfigure(&mut self, settings: Reconfiguration) -> bool {
        let Reconfiguration { emit, interval, aggregation, identifier, self_metrics } = settings;
        self.registry.reconfigure(&aggregation, Arc::clone(&identifier));
        self.store.reconfigure(&aggregation, interval);
        self.emit = emit;
        self.self_tally = match (self.self_tally.take(), self_metrics) {
            (Some(mut known), Some(_)) => {
                known.metrics.set_identifier(identifier);
                Some(known)
            }
            (None, Some(make)) => Some(SelfTally::new(make(identifier))),
            (_, None) => {
                self.store.forget_listener(OWN);
                None
            }
        };
        self.tallies.call();
        let is_other_interval = interval != self.interval;
        if is_other_interval {
            self.interval = interval;
            self.clock.set_interval(interval, unix_ms(SystemTime::now()));
            self.windows.set_interval(interval);
        }
        is_other_interval
    }

    /// When the open window ends. Looked up once a window, and not again after each beat: were the
    /// wall clock set back in between, the edge would move away with every look.
    fn edge_at(&self) -> Instant {
        Instant::now() + self.clock.until_edge(unix_ms(SystemTime::now()))
    }

    fn beat(&mut self) {
        if let Some(pulse) = &mut self.pulse {
            pulse.beat(&self.tallies);
        }
    }

    fn close_window(&mut self) {
        self.gather();
        let edge = self.clock.close(unix_ms(SystemTime::now()));
        if edge.clock_stepped {
            warn!(window_end_ms = edge.end_ms, "the wall clock was set; windows go on from here");
        }
        self.flush(edge);
        self.store.expire();
        for metric in self.registry.take_newly_overflowing() {
            warn!(
                metric,
                "too many series: samples of new ones are folded into `overflow=true` \
                 (aggregation.max_series, max_series_per_metric, max_series_bytes)"
            );
        }
    }

    /// Merges a tally from every listener.
    fn gather(&mut self) {
        let mut awaited = self.tallies.announce_edge();
        let deadline = Instant::now() + HAND_OVER_MAX;
        while awaited > 0 {
            match self.tallies.tallies().recv_deadline(deadline) {
                Ok(handed) => self.merge(handed),
                Err(_) => {
                    error!(listeners = awaited, "did not hand over their samples in time");
                    return;
                }
            }
            awaited -= 1;
        }
    }

    fn merge(&mut self, mut handed: HandedOver) {
        self.store.merge(handed.listener, &mut handed.tally);
        if handed.is_last {
            self.store.forget_listener(handed.listener);
        }
        self.tallies.give_back(handed);
    }

    fn flush(&mut self, edge: Edge) {
        self.add_self_metrics();
        let window = Window { end_ms: edge.end_ms, interval: self.interval };
        let snapshot = Arc::new(self.store.flush(window));
        (self.emit)(&snapshot);
        let late_ms = unix_ms(SystemTime::now()).saturating_sub(edge.end_ms);
        self.windows.closed(LastWindow {
            end_ms: edge.end_ms,
            lag: Duration::from_millis(late_ms),
            points: snapshot.points.len() as u64,
        });
        // The forwarders have the window: nobody waits for this.
        self.windows.tell_busiest(self.store.busiest(window));
    }

    fn add_self_metrics(&mut self) {
        let Some(own) = &mut self.self_tally else { return };
        let mut tally = own.metrics.record(std::mem::take(&mut own.spare));
        self.store.merge(OWN, &mut tally);
        own.spare = tally;
    }
}
