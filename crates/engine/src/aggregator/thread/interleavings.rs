//! The handover between listeners and aggregator, in every order of their steps that matters.
//!
//! `scripts/loom.sh` runs these tests with the primitives of a model checker, which repeats each of
//! them with another order, and with every value that an atomic may have under its memory ordering.
//! A wait that no thread ends is a failure.

use std::collections::BTreeMap;
use std::sync::Mutex;

use basics::units::Span;
use loom::thread::{JoinHandle, spawn};

use super::*;
use crate::aggregator::identity::AgentConfig;
use crate::listener::Protocol;
use crate::listener::allow::AllowList;
use crate::listener::config::{ListenerEndpoint, UdpConfig};
use crate::listener::recorder::{ListenerUpdate, Recorder, RecorderContext};
use crate::listener::signature::SignatureContext;
use crate::listener::stats::ListenerStats;
use crate::protocol::MessageLimits;
use crate::protocol::SignedGauges;
use crate::sync::{bounded, unbounded};

const TEN: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);

/// Runs a test in every order in which at most this number of threads are interrupted. Such orders are
/// thousands; nearly all bugs need one or two interruptions.
fn explore(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(test);
}

/// The windows that the forwarders receive.
#[derive(Clone, Default)]
struct Windows(Arc<Mutex<Vec<Arc<Snapshot>>>>);

impl Windows {
    fn receiver(&self) -> Emit {
        let windows = Arc::clone(&self.0);
        Box::new(move |window| windows.lock().unwrap().push(Arc::clone(&window.increment)))
    }

    /// The counters of each window, by name and tags. A series must not have two points in a window.
    fn counters(&self) -> Vec<BTreeMap<String, f64>> {
        let mut windows = Vec::new();
        for window in &*self.0.lock().unwrap() {
            let mut counters = BTreeMap::new();
            for point in &*window.points {
                let former = counters.insert(point.series.to_string(), point.value.headline());
                assert_eq!(former, None, "two points of {}", point.series);
            }
            windows.push(counters);
        }
        windows
    }

    /// The value of a counter in each window; 0 where it has none.
    fn counter(&self, series: &str) -> Vec<f64> {
        let value = |window: BTreeMap<String, f64>| window.get(series).copied().unwrap_or(0.0);
        self.counters().into_iter().map(value).collect()
    }

    /// The sum of a counter over all windows. Samples with different powers of ten show in it whether
    /// each of them counts exactly once.
    fn total(&self, series: &str) -> f64 {
        self.counter(series).iter().sum()
    }
}

/// What all threads share, and an aggregator.
struct Bench {
    aggregator: AggregatorThread,
    context: RecorderContext,
    windows: Windows,
}

impl Bench {
    fn new(config: &AggregationConfig) -> Self {
        let identifier = Arc::new(Identifier::new(&AgentConfig::default()));
        let registry = Arc::new(Registry::new(config, Arc::clone(&identifier)));
        let context = RecorderContext {
            identifier,
            registry: Arc::clone(&registry),
            rejected: Arc::default(),
            started: Instant::now(),
            limits: MessageLimits { max_tags: 4, max_values: 4 },
            cells: config.cells(None),
            line_cache: 0,
            rules: Arc::default(),
            rule_cache: 0,
            signatures: SignatureContext::default(),
        };
        let windows = Windows::default();
        let store = Store::new(config, TEN, Arc::clone(&registry));
        let emit = windows.receiver();
        let aggregator = AggregatorThread::new(store, TEN, AggregatorEnd::new(), registry, emit);
        Self { aggregator, context, windows }
    }

    /// Starts a listener that has recorded a sample, and whose socket holds these datagrams.
    fn listener(&mut self, name: &str, datagrams: &[&'static str]) -> RunningListener {
        let waker = Arc::new(Waker::new().unwrap());
        let end = self.aggregator.tallies.add_listener(name, Arc::clone(&waker));
        RunningListener::start(&self.context, end, waker, datagrams)
    }

    /// Closes a window, and waits for every listener.
    fn close(&mut self) {
        self.aggregator.close_window(Instant::now() + HOUR);
    }

    /// Closes a window without waiting for a listener.
    fn close_at_once(&mut self) {
        self.aggregator.close_window(Instant::now() - HOUR);
    }

    /// Stops like the daemon: first these listeners, then the aggregator.
    fn stop(self, listeners: impl IntoIterator<Item = RunningListener>) {
        let listeners: Vec<_> = listeners.into_iter().collect();
        listeners.iter().for_each(|listener| listener.waker.stop());
        listeners.into_iter().for_each(|listener| listener.thread.join().unwrap());
        let (commands, receiver) = unbounded();
        drop(commands);
        self.aggregator.run(&receiver);
    }
}

/// The progress of a listener.
#[derive(Debug, PartialEq)]
enum Report {
    Recorded,
    Updated,
}

/// The thread of a listener, and the other ends of its channels.
struct RunningListener {
    waker: Arc<Waker>,
    /// Stands in for the kernel, which keeps datagrams and ends the wait for them.
    socket: Sender<&'static str>,
    updates: Sender<ListenerUpdate>,
    reports: Receiver<Report>,
    thread: JoinHandle<()>,
}

impl RunningListener {
    fn start(
        context: &RecorderContext,
        end: ListenerEnd,
        waker: Arc<Waker>,
        datagrams: &[&'static str],
    ) -> Self {
        let (socket, receiver) = unbounded();
        datagrams.iter().for_each(|datagram| socket.send(*datagram).unwrap());
        let (updates, changes) = unbounded();
        let (report, reports) = unbounded();
        let stats = Arc::new(ListenerStats::without_drops("model".to_owned()));
        let recorder = Recorder::new(context.clone(), Protocol::Statsd, stats, end);
        let mut recorder = recorder.with_updates(changes);
        record(&mut recorder, "first:1|c");
        let woken = Arc::clone(&waker);
        let thread = spawn(move || read(recorder, &woken, &receiver, &report));
        Self { waker, socket, updates, reports, thread }
    }

    fn receive(&self, datagram: &'static str) {
        self.socket.send(datagram).unwrap();
        self.waker.wake();
    }

    fn wait_for(&self, report: &Report) {
        while self.reports.recv().unwrap() != *report {}
    }
}

/// The loop of a listener: reads a datagram in each batch, and after a stop the remaining ones.
fn read(
    mut recorder: Recorder,
    waker: &Waker,
    socket: &Receiver<&'static str>,
    reports: &Sender<Report>,
) {
    loop {
        recorder.hand_over_at_edge();
        if recorder.take_update().is_some() {
            reports.send(Report::Updated).unwrap();
        }
        let is_stopping = waker.is_stopping();
        match socket.try_recv() {
            Ok(datagram) => {
                record(&mut recorder, datagram);
                reports.send(Report::Recorded).unwrap();
            }
            Err(_) if is_stopping => break,
            Err(_) => waker.wait_alone(),
        }
    }
    recorder.finish();
}

fn record(recorder: &mut Recorder, datagram: &str) {
    recorder.begin_batch();
    recorder.record_lines(datagram.as_bytes(), "model");
    recorder.publish();
}

#[test]
fn each_sample_is_in_one_window() {
    explore(2, || {
        let mut bench = Bench::new(&AggregationConfig::default());
        let windows = bench.windows.clone();
        let a = bench.listener("a", &["m:1|c", "m:10|c"]);
        bench.close();
        // Otherwise the watchdog would blame it for a moment.
        assert_eq!(bench.aggregator.tallies.unresponsive().count(), 0, "it has answered");
        a.receive("m:100|c");
        bench.close();
        bench.stop([a]);
        assert_eq!(windows.total("counter m"), 111.0);
        assert_eq!(windows.counter("counter first"), [1.0, 0.0, 0.0], "recorded before the end");
    });
}

#[test]
fn listeners_that_meet_a_new_series_at_the_same_time_share_its_point() {
    explore(2, || {
        let mut bench = Bench::new(&AggregationConfig::default());
        let windows = bench.windows.clone();
        let listeners = [bench.listener("a", &["m:1|c"]), bench.listener("b", &["m:10|c"])];
        bench.stop(listeners);
        assert_eq!(windows.total("counter m"), 11.0);
    });
}

#[test]
fn one_listener_gets_the_last_place_for_a_series_and_the_other_overflows() {
    explore(2, || {
        // The first sample of both listeners takes one.
        let config = AggregationConfig { max_series: 2, ..AggregationConfig::default() };
        let mut bench = Bench::new(&config);
        let windows = bench.windows.clone();
        let listeners = [bench.listener("a", &["m:1|c"]), bench.listener("b", &["n:1|c"])];
        bench.stop(listeners);
        let ordinary = windows.total("counter m") + windows.total("counter n");
        let overflowed =
            windows.total("counter m overflow=true") + windows.total("counter n overflow=true");
        assert_eq!((ordinary, overflowed), (1.0, 1.0));
    });
}

#[test]
fn a_window_waits_for_every_listener() {
    explore(2, || {
        let mut bench = Bench::new(&AggregationConfig::default());
        let windows = bench.windows.clone();
        let listeners = [bench.listener("a", &[]), bench.listener("b", &[])];
        bench.close();
        bench.stop(listeners);
        assert_eq!(windows.counter("counter first"), [2.0, 0.0]);
    });
}

#[test]
fn a_window_waits_for_the_tally_of_its_end_not_for_a_late_one() {
    explore(2, || {
        let mut bench = Bench::new(&AggregationConfig::default());
        let windows = bench.windows.clone();
        let a = bench.listener("a", &["m:1|c"]);
        bench.close_at_once();
        a.wait_for(&Report::Recorded);
        bench.close();
        bench.stop([a]);
        let values = windows.counter("counter m");
        assert!(values == [1.0, 0.0, 0.0] || values == [0.0, 1.0, 0.0], "{values:?}");
    });
}

#[test]
fn a_listener_that_misses_the_end_of_a_window_loses_no_sample() {
    explore(2, || {
        let mut bench = Bench::new(&AggregationConfig::default());
        let windows = bench.windows.clone();
        let a = bench.listener("a", &["m:1|c"]);
        bench.close_at_once();
        bench.close_at_once();
        bench.close();
        bench.stop([a]);
        assert_eq!(windows.total("counter first") + windows.total("counter m"), 2.0);
    });
}

#[test]
fn a_listener_that_ends_at_the_end_of_a_window_loses_no_sample_and_leaves_its_number() {
    explore(2, || {
        let mut bench = Bench::new(&AggregationConfig::default());
        let windows = bench.windows.clone();
        let a = bench.listener("a", &["m:1|c"]);
        a.waker.stop();
        bench.close();
        // It gets the number of the first only if the last tally of that has been merged.
        let b = bench.listener("b", &[]);
        bench.close();
        bench.stop([a, b]);
        assert_eq!(windows.total("counter m"), 1.0);
        assert_eq!(windows.counter("counter first"), [1.0, 1.0, 0.0]);
    });
}

#[test]
fn a_series_that_expires_while_a_listener_records_it_loses_no_sample() {
    explore(2, || {
        let expire_after = Span::from_secs(10);
        let config = AggregationConfig { expire_after, ..AggregationConfig::default() };
        let mut bench = Bench::new(&config);
        let windows = bench.windows.clone();
        let a = bench.listener("a", &["m:1|c"]);
        bench.close();
        bench.close();
        // The new series takes the number of an expired one, which the listener still has in its table.
        a.receive("n:1|c\nm:10|c");
        bench.close();
        a.receive("m:100|c");
        bench.close();
        bench.stop([a]);
        assert_eq!((windows.total("counter m"), windows.total("counter n")), (111.0, 1.0));
    });
}

/// Sends commands to an aggregator that runs in its own thread, as the daemon does.
struct Daemon {
    commands: Sender<AggregatorCommand>,
    aggregator: JoinHandle<()>,
    context: RecorderContext,
}

impl Daemon {
    /// Starts an aggregator for which this number of windows end at once, and no other before the stop.
    fn start(bench: Bench, windows: u32) -> Self {
        let Bench { mut aggregator, context, .. } = bench;
        let began = Instant::now() - HOUR * 2;
        let mut readings = 0;
        let mut read = move || {
            let past = if readings < windows { TEN * readings } else { HOUR * 4 };
            readings += 1;
            ClockReading { wall: HOUR * 100_000 + past, monotonic: began + past }
        };
        aggregator.clock = WindowClock::new(TEN, read());
        aggregator.read_clocks = Box::new(read);
        let (commands, receiver) = unbounded();
        let aggregator = spawn(move || aggregator.run(&receiver));
        Self { commands, aggregator, context }
    }

    fn add_listener(&self, name: &str, datagrams: &[&'static str]) -> RunningListener {
        let waker = Arc::new(Waker::new().unwrap());
        let (end, added) = bounded(1);
        let (name, woken) = (name.to_owned(), Arc::clone(&waker));
        self.commands.send(AggregatorCommand::AddListener { name, waker: woken, end }).unwrap();
        RunningListener::start(&self.context, added.recv().unwrap(), waker, datagrams)
    }

    /// Reloads other settings into the aggregator and into this listener.
    fn reload(&self, emit: Emit, listener: &RunningListener) {
        let context = self.context.clone();
        let address = "127.0.0.1:8125".parse().unwrap();
        let allow = AllowList::default();
        let udp = UdpConfig { allow, ..UdpConfig::new(address) };
        let endpoint = ListenerEndpoint::Udp(udp);
        listener
            .updates
            .send(ListenerUpdate {
                context,
                endpoint,
                gauges: SignedGauges::default(),
                receive_buffer: None,
            })
            .unwrap();
        let settings = Reconfiguration {
            emit,
            idle: IdleLimits::default(),
            interval: TEN,
            aggregation: AggregationConfig::default(),
            identifier: Arc::clone(&self.context.identifier),
            self_metrics: None,
        };
        let (done, is_done) = bounded(1);
        self.commands.send(AggregatorCommand::Reconfigure(Box::new(settings), done)).unwrap();
        is_done.recv().unwrap();
    }

    fn stop(self) {
        drop(self.commands);
        self.aggregator.join().unwrap();
    }
}

fn end(listener: RunningListener) {
    listener.waker.stop();
    listener.thread.join().unwrap();
}

#[test]
fn a_reload_loses_no_sample_and_reaches_every_listener() {
    explore(2, || {
        let bench = Bench::new(&AggregationConfig::default());
        let (before, after) = (bench.windows.clone(), Windows::default());
        let daemon = Daemon::start(bench, 1);
        let a = daemon.add_listener("a", &["m:1|c"]);
        daemon.reload(after.receiver(), &a);
        a.wait_for(&Report::Updated);
        a.receive("m:10|c");
        end(a);
        daemon.stop();
        assert_eq!(before.total("counter m") + after.total("counter m"), 11.0);
    });
}

#[test]
fn a_reload_that_replaces_a_listener_loses_no_sample() {
    explore(1, || {
        let bench = Bench::new(&AggregationConfig::default());
        let windows = bench.windows.clone();
        let daemon = Daemon::start(bench, 1);
        let former = daemon.add_listener("a", &["m:1|c"]);
        let next = daemon.add_listener("b", &["n:1|c"]);
        end(former);
        next.receive("n:10|c");
        end(next);
        daemon.stop();
        assert_eq!((windows.total("counter m"), windows.total("counter n")), (1.0, 11.0));
    });
}
