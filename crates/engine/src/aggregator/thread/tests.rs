//! Windows are closed by hand on clocks that the tests set. Where the loop itself is tested,
//! the tests wait for its results.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use basics::units::Span;
use model::{IdleLimits, MetricKind, Snapshot};

use super::*;
use crate::aggregator::identity::AgentConfig;
use crate::aggregator::pulse::RuntimeCall;
use crate::aggregator::table::SeriesTable;
use crate::protocol::{SampleValue, Tags};

mod restart;

const TEN: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);
/// Time by which anything that is waited for has happened, unless it never will.
const PATIENCE: Duration = Duration::from_secs(30);
/// The time at which the tests start, and the end of their first window.
const START_MS: u64 = 1_000_000_003_000;
const FIRST_END_MS: u64 = 1_000_000_010_000;
/// The length of the first window, which begins at the start and is closed 3 ms late.
const CUT: Duration = Duration::from_millis(7_003);

/// An aggregator with windows of ten seconds, and the other ends of its channels.
struct Bench {
    aggregator: AggregatorThread,
    samples: SampleMaker,
    stats: Arc<WindowStats>,
    windows: flume::Receiver<Arc<Snapshot>>,
    clocks: Arc<TestClocks>,
}

/// Clocks that the tests set.
struct TestClocks {
    started: Instant,
    wall_ms: AtomicU64,
    uptime_ms: AtomicU64,
}

impl TestClocks {
    fn new() -> Self {
        let (wall_ms, uptime_ms) = (START_MS.into(), 0.into());
        Self { started: Instant::now(), wall_ms, uptime_ms }
    }

    fn read(&self) -> ClockReading {
        let uptime = Duration::from_millis(self.uptime_ms.load(Ordering::Relaxed));
        let wall = Duration::from_millis(self.wall_ms.load(Ordering::Relaxed));
        ClockReading { wall, monotonic: self.started + uptime }
    }

    /// Lets time pass.
    fn advance(&self, ms: u64) {
        self.wall_ms.fetch_add(ms, Ordering::Relaxed);
        self.uptime_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Sets the wall clock.
    fn set_wall(&self, wall_ms: u64) {
        self.wall_ms.store(wall_ms, Ordering::Relaxed);
    }
}

/// Records samples into any table.
#[derive(Clone)]
struct SampleMaker {
    identifier: Arc<Identifier>,
    registry: Arc<Registry>,
}

impl SampleMaker {
    fn count(&self, table: &mut SeriesTable, name: &str, count: f64) {
        let mut tags = Tags::new();
        self.identifier.add_agent_tags(&mut tags);
        let identity = self.identifier.identify(MetricKind::Counter, name, &tags);
        table.record(&identity, &SampleValue::Counter(count), 1.0, 0, &self.registry);
    }
}

/// A listener without a socket.
struct TestListener {
    end: ListenerEnd,
    waker: Arc<Waker>,
    table: SeriesTable,
    samples: SampleMaker,
}

impl TestListener {
    fn new(end: ListenerEnd, waker: Arc<Waker>, samples: &SampleMaker) -> Self {
        Self {
            end,
            waker,
            table: SeriesTable::new(AggregationConfig::default().cells(None), 1 << 20),
            samples: samples.clone(),
        }
    }

    fn count(&mut self, name: &str, count: f64) {
        self.samples.count(&mut self.table, name, count);
    }

    /// Waits for a call of the aggregator, and answers it.
    fn answer(&mut self) {
        while !self.end.hand_over_at_edge(&mut self.table) {
            self.waker.wait_alone();
        }
    }

    fn finish(self) {
        self.end.finish(self.table);
    }
}

fn bench_with(config: &AggregationConfig) -> Bench {
    let identifier = Arc::new(Identifier::new(&AgentConfig::default()));
    let registry = Arc::new(Registry::new(config, Arc::clone(&identifier)));
    let store = Store::new(config, TEN, Arc::clone(&registry));
    let (emit, windows) = emit();
    let stats = Arc::new(WindowStats::new(TEN));
    let mut aggregator =
        AggregatorThread::new(store, TEN, AggregatorEnd::new(), Arc::clone(&registry), emit)
            .with_stats(Arc::clone(&stats));
    let clocks = Arc::new(TestClocks::new());
    let read = Arc::clone(&clocks);
    aggregator.read_clocks = Box::new(move || read.read());
    aggregator.clock = WindowClock::new(TEN, clocks.read());
    Bench { aggregator, samples: SampleMaker { identifier, registry }, stats, windows, clocks }
}

fn bench() -> Bench {
    bench_with(&AggregationConfig::default())
}

/// A receiver of windows for the aggregator, and the other end of it.
fn emit() -> (Emit, flume::Receiver<Arc<Snapshot>>) {
    let (sender, windows) = flume::unbounded();
    let emit = move |window: &ClosedWindow| {
        let _test_ended = sender.send(Arc::clone(&window.increment));
    };
    (Box::new(emit), windows)
}

/// The points of a window, sorted.
fn points(window: &Snapshot) -> Vec<String> {
    let shown = |point: &model::Point| format!("{} = {}", point.series, point.value.headline());
    let mut points: Vec<String> = window.points.iter().map(shown).collect();
    points.sort();
    points
}

impl Bench {
    fn listener(&mut self, name: &str) -> TestListener {
        let waker = Arc::new(Waker::new().unwrap());
        let end = self.aggregator.tallies.add_listener(name, Arc::clone(&waker));
        TestListener::new(end, waker, &self.samples)
    }

    /// Lets time pass until this moment.
    fn wait_until(&self, wall_ms: u64) {
        self.clocks.advance(wall_ms - self.clocks.read().wall_ms());
    }

    /// Lets time pass until the window is due, and closes it with the tallies that arrive by
    /// `deadline`.
    fn close_by(&mut self, deadline: Instant) {
        self.aggregator.note_time();
        while !self.aggregator.clock.is_due() {
            let wait = self.aggregator.clock.next_look() - self.clocks.read().monotonic;
            self.clocks.advance(wait.as_millis() as u64);
            self.aggregator.note_time();
        }
        self.aggregator.close_window(deadline);
    }

    /// Closes a window for which each of these listeners hands over its tally.
    fn close(&mut self, answering: &mut [&mut TestListener]) -> Arc<Snapshot> {
        self.close_with(answering);
        self.windows.try_recv().expect("a window")
    }

    fn close_with(&mut self, answering: &mut [&mut TestListener]) {
        thread::scope(|scope| {
            for listener in answering {
                // A call before this one, such as a reload's, is no answer to this one.
                listener.end.hand_over_at_edge(&mut listener.table);
                scope.spawn(|| listener.answer());
            }
            self.close_by(Instant::now() + PATIENCE);
        });
    }

    /// Closes a window without waiting for a listener.
    fn close_at_once(&mut self) -> Arc<Snapshot> {
        self.close_by(Instant::now());
        self.windows.try_recv().expect("a window")
    }

    /// Runs the loop until all of these commands are done and the open window is closed.
    fn run(self, commands: Vec<AggregatorCommand>) -> Vec<Arc<Snapshot>> {
        let (sender, receiver) = flume::unbounded();
        commands.into_iter().for_each(|command| sender.send(command).unwrap());
        drop(sender);
        self.aggregator.run(&receiver);
        self.windows.drain().collect()
    }
}

#[test]
fn a_window_adds_up_the_samples_of_all_listeners() {
    let mut bench = bench();
    let (mut a, mut b) = (bench.listener("a"), bench.listener("b"));
    a.count("m", 1.0);
    b.count("m", 2.0);
    b.count("n", 4.0);
    bench.wait_until(FIRST_END_MS + 3);
    let first = bench.close(&mut [&mut a, &mut b]);
    assert_eq!(points(&first), ["counter m = 3", "counter n = 4"]);
    assert_eq!(first.window, Window { end_ms: FIRST_END_MS, length: CUT });
    let counts = bench.stats.counts();
    assert_eq!(counts.closed, 1);
    let (length, lag) = (CUT, Duration::from_millis(3));
    assert_eq!(counts.last, Some(LastWindow { end_ms: FIRST_END_MS, length, lag, points: 2 }));

    a.count("m", 8.0);
    let second = bench.close(&mut [&mut a, &mut b]);
    assert_eq!(points(&second), ["counter m = 8"]);
    assert_eq!(second.window, Window { end_ms: FIRST_END_MS + 10_000, length: TEN });
    let lag = bench.stats.counts().last.map(|last| last.lag);
    assert_eq!(lag, Some(Duration::ZERO));
}

#[test]
fn the_top_metrics_are_those_of_the_window_that_the_forwarders_received_last() {
    let mut bench = bench();
    let mut listener = bench.listener("a");
    assert!(bench.stats.top_metrics().is_none());
    listener.count("m", 1.0);
    listener.count("m", 1.0);
    bench.close(&mut [&mut listener]);
    listener.count("m", 1.0);
    bench.close(&mut [&mut listener]);
    let top = bench.stats.top_metrics().unwrap();
    assert_eq!((top.end_ms, top.window_samples), (FIRST_END_MS + 10_000, 1));
    assert_eq!(top.by_samples()[0].samples, 3);
}

#[test]
fn a_silent_listener_delays_no_window_and_its_samples_count_in_a_later_one() {
    let mut bench = bench();
    let mut silent = bench.listener("silent");
    silent.count("m", 1.0);
    assert_eq!(points(&bench.close_at_once()), [""; 0]);
    // It missed the end of two windows, and answers with one tally for both.
    assert_eq!(points(&bench.close_at_once()), [""; 0]);
    silent.answer();
    assert_eq!(points(&bench.close_at_once()), ["counter m = 1"]);
    assert_eq!(bench.stats.counts().closed, 3);
}

#[test]
fn listeners_have_time_to_answer_when_the_window_ends() {
    let mut bench = bench();
    let mut listener = bench.listener("a");
    listener.count("m", 1.0);
    bench.wait_until(FIRST_END_MS);
    thread::scope(|scope| {
        scope.spawn(|| listener.answer());
        bench.aggregator.look();
    });
    assert_eq!(points(&bench.windows.try_recv().unwrap()), ["counter m = 1"]);
}

#[test]
fn after_a_late_tally_a_listener_is_on_time_again() {
    let mut bench = bench();
    let mut late = bench.listener("late");
    late.count("m", 1.0);
    bench.close_at_once();
    late.answer();
    late.count("m", 2.0);
    assert_eq!(points(&bench.close(&mut [&mut late])), ["counter m = 3"]);
    late.count("m", 4.0);
    assert_eq!(points(&bench.close(&mut [&mut late])), ["counter m = 4"]);
}

#[test]
fn a_listener_that_ends_at_the_end_of_a_window_hides_no_tally_of_another() {
    let mut bench = bench();
    let (mut ending, mut other) = (bench.listener("ending"), bench.listener("other"));
    ending.count("m", 1.0);
    other.count("n", 2.0);
    thread::scope(|scope| {
        // The other tally comes after both of the listener that ends.
        scope.spawn(|| {
            ending.answer();
            ending.finish();
            other.answer();
        });
        bench.close_by(Instant::now() + PATIENCE);
    });
    let window = bench.windows.try_recv().unwrap();
    assert_eq!(points(&window), ["counter m = 1", "counter n = 2"]);
    assert_eq!(bench.aggregator.tallies.unresponsive().count(), 0);
}

#[test]
fn an_ended_listener_is_awaited_no_more_and_its_number_is_reused() {
    let mut bench = bench();
    let mut first = bench.listener("first");
    first.count("m", 1.0);
    first.finish();
    assert_eq!(points(&bench.close(&mut [])), ["counter m = 1"]);
    assert_eq!(points(&bench.close(&mut [])), [""; 0]);
    // The new listener has the number of the first, and its slots stand for other series.
    let mut second = bench.listener("second");
    second.count("n", 2.0);
    assert_eq!(points(&bench.close(&mut [&mut second])), ["counter n = 2"]);
}

#[test]
fn the_series_of_an_ended_listener_do_not_expire_in_the_table_of_its_successor() {
    let config =
        AggregationConfig { expire_after: Span::from_secs(10), ..AggregationConfig::default() };
    let mut bench = bench_with(&config);
    let mut first = bench.listener("first");
    first.count("a", 1.0);
    first.count("b", 1.0);
    first.finish();
    (0..3).for_each(|_| drop(bench.close(&mut [])));
    assert_eq!(bench.samples.registry.series_count(), 0);
    // It has the number of the first, and fewer series.
    let mut second = bench.listener("second");
    for _ in 0..3 {
        second.count("n", 1.0);
        assert_eq!(points(&bench.close(&mut [&mut second])), ["counter n = 1"]);
        assert_eq!(second.table.series_count(), 1);
    }
}

#[test]
fn a_stepped_wall_clock_is_followed_and_no_timestamp_repeats() {
    let mut bench = bench();
    assert_eq!(bench.close(&mut []).window.end_ms, FIRST_END_MS);
    bench.clocks.set_wall(FIRST_END_MS + 3_600_001);
    assert_eq!(bench.close(&mut []).window.end_ms, FIRST_END_MS + 3_610_000);
    bench.clocks.set_wall(FIRST_END_MS - 1);
    bench.aggregator.note_time();
    let counts = bench.stats.counts();
    assert_eq!((counts.clock_steps, counts.closed), (2, 2));
    assert_eq!(bench.close(&mut []).window.end_ms, FIRST_END_MS + 10_000);
    let last = bench.stats.counts().last.unwrap();
    assert_eq!((last.end_ms, last.lag), (FIRST_END_MS + 10_000, Duration::ZERO));
}

#[test]
fn idle_series_expire_and_make_room_in_the_registry() {
    let config =
        AggregationConfig { expire_after: Span::from_secs(10), ..AggregationConfig::default() };
    let mut bench = bench_with(&config);
    let mut listener = bench.listener("a");
    listener.count("m", 1.0);
    bench.close(&mut [&mut listener]);
    assert_eq!(bench.samples.registry.series_count(), 1);
    bench.close(&mut [&mut listener]);
    assert_eq!(bench.samples.registry.series_count(), 0);
    listener.count("m", 2.0);
    assert_eq!(points(&bench.close(&mut [&mut listener])), ["counter m = 2"]);
}

#[test]
fn each_metric_that_begins_to_overflow_is_reported_once() {
    let config = AggregationConfig { max_series: 1, ..AggregationConfig::default() };
    let mut bench = bench_with(&config);
    let mut listener = bench.listener("a");
    listener.count("m", 1.0);
    listener.count("n", 2.0);
    let window = bench.close(&mut [&mut listener]);
    assert_eq!(points(&window), ["counter m = 1", "counter n overflow=true = 2"]);
    let unreported = bench.samples.registry.take_newly_overflowing();
    assert!(unreported.is_empty(), "{unreported:?}");
}

#[test]
fn at_a_stop_the_open_window_ends_now_with_the_last_tallies() {
    let mut bench = bench();
    let (mut a, mut b) = (bench.listener("a"), bench.listener("b"));
    a.count("m", 1.0);
    b.count("m", 2.0);
    a.finish();
    b.finish();
    bench.wait_until(START_MS + 1_234);
    let stats = Arc::clone(&bench.stats);
    let windows = bench.run(vec![]);
    assert_eq!(windows.len(), 1);
    assert_eq!(points(&windows[0]), ["counter m = 3"]);
    assert_eq!(windows[0].window.end_ms, START_MS + 1_234);
    assert_eq!(stats.counts().closed, 1);
}

#[test]
fn a_stop_waits_for_no_listener_that_never_answers() {
    let mut bench = bench();
    let mut silent = bench.listener("silent");
    silent.count("m", 1.0);
    let windows = bench.run(vec![]);
    assert_eq!(windows.len(), 1);
    assert_eq!(points(&windows[0]), [""; 0]);
}

#[test]
fn the_queues_close_when_the_aggregator_has_stopped() {
    let bench = bench();
    let windows = bench.windows.clone();
    bench.run(vec![]);
    assert!(windows.is_disconnected(), "a delivery loop would wait for another window");
}

#[test]
fn a_listener_that_is_added_later_counts() {
    let bench = bench();
    let samples = bench.samples.clone();
    let (commands, receiver) = flume::unbounded();
    let (end, ends) = flume::bounded(1);
    let waker = Arc::new(Waker::new().unwrap());
    let (name, added) = ("added".to_owned(), Arc::clone(&waker));
    commands.send(AggregatorCommand::AddListener { name, waker: added, end }).unwrap();
    // The requester of this one has given up: that must not stop the aggregator.
    let (end, _) = flume::bounded(1);
    let (name, unused) = ("unused".to_owned(), Arc::clone(&waker));
    commands.send(AggregatorCommand::AddListener { name, waker: unused, end }).unwrap();
    let running = thread::spawn(move || bench.aggregator.run(&receiver));
    let mut listener =
        TestListener::new(ends.recv_timeout(PATIENCE).unwrap(), Arc::clone(&waker), &samples);
    listener.count("m", 1.0);
    listener.finish();
    drop(commands);
    running.join().unwrap();
    assert_eq!(points(&bench.windows.try_recv().unwrap()), ["counter m = 1"]);
}

#[test]
fn windows_close_on_time_and_on_multiples_of_the_interval() {
    const INTERVAL: Duration = Duration::from_millis(20);
    let Bench { samples, .. } = bench();
    let store = Store::new(&AggregationConfig::default(), INTERVAL, Arc::clone(&samples.registry));
    let (emit, windows) = emit();
    let tallies = AggregatorEnd::new();
    let aggregator = AggregatorThread::new(store, INTERVAL, tallies, samples.registry, emit);
    let (commands, receiver) = flume::unbounded();
    let start_ms = ClockReading::now().wall_ms();
    let running = thread::spawn(move || aggregator.run(&receiver));
    let ends: Vec<u64> =
        (0..3).map(|_| windows.recv_timeout(PATIENCE).unwrap().window.end_ms).collect();
    drop(commands);
    running.join().unwrap();
    assert!(ends.is_sorted_by(|end, next| end < next), "{ends:?}");
    assert!(ends.iter().all(|end| end.is_multiple_of(20)), "{ends:?}");
    assert!(ends[0] >= start_ms && ends[2] <= ClockReading::now().wall_ms(), "{ends:?}");
}

#[test]
fn beats_call_the_listeners_without_closing_the_window() {
    let mut bench = bench();
    let mut listener = bench.listener("a");
    listener.count("m", 1.0);
    bench.aggregator.clock = WindowClock::new(HOUR, bench.clocks.read());
    let pulse = Pulse::new(Duration::from_millis(1), Arc::new(RuntimeCall::default()), || {});
    let aggregator = bench.aggregator.with_pulse(Some(pulse));
    let (commands, receiver) = flume::unbounded();
    let running = thread::spawn(move || aggregator.run(&receiver));
    // A beat that does not come makes this wait forever, which the test runner reports.
    (0..3).for_each(|_| listener.answer());
    assert!(bench.windows.is_empty());
    listener.finish();
    drop(commands);
    running.join().unwrap();
    let windows: Vec<_> = bench.windows.drain().collect();
    assert_eq!(windows.len(), 1);
    assert_eq!(points(&windows[0]), ["counter m = 1"], "no beat took a tally");
}

#[test]
fn a_wall_clock_that_is_set_back_again_and_again_does_not_postpone_the_end_of_the_window_for_ever()
{
    const INTERVAL: Duration = Duration::from_millis(100);
    let mut bench = bench();
    bench.aggregator.clock = WindowClock::new(INTERVAL, bench.clocks.read());
    let clocks = Arc::clone(&bench.clocks);
    bench.aggregator.read_clocks = Box::new(move || {
        clocks.advance(20);
        clocks.set_wall(clocks.read().wall_ms() - 1_000);
        clocks.read()
    });
    let pulse = Pulse::new(Duration::from_millis(1), Arc::new(RuntimeCall::default()), || {});
    let aggregator = bench.aggregator.with_pulse(Some(pulse));
    let (commands, receiver) = flume::unbounded();
    let running = thread::spawn(move || aggregator.run(&receiver));
    assert!(bench.windows.recv_timeout(PATIENCE).is_ok());
    drop(commands);
    running.join().unwrap();
}

/// Self-metrics that count their windows.
struct CountedWindows {
    samples: SampleMaker,
    names: &'static [&'static str],
    table: SeriesTable,
}

impl CountedWindows {
    fn boxed(registry: &Arc<Registry>, identifier: Arc<Identifier>) -> Box<dyn SelfMetricsSource> {
        let samples = SampleMaker { identifier, registry: Arc::clone(registry) };
        Self::with_names(samples, &["self"])
    }

    fn with_names(
        samples: SampleMaker,
        names: &'static [&'static str],
    ) -> Box<dyn SelfMetricsSource> {
        Box::new(Self {
            samples,
            names,
            table: SeriesTable::new(AggregationConfig::default().cells(None), 1 << 20),
        })
    }
}

impl SelfMetricsSource for CountedWindows {
    fn set_identifier(&mut self, identifier: Arc<Identifier>) {
        self.samples.identifier = identifier;
    }

    fn record(&mut self, empty: Box<Tally>) -> Box<Tally> {
        for name in self.names {
            self.samples.count(&mut self.table, name, 1.0);
        }
        self.table.replace_tally(empty)
    }
}

/// A reload that changes nothing but the receiver of the windows, with self-metrics off.
fn reload(bench: &Bench) -> (Reconfiguration, flume::Receiver<Arc<Snapshot>>) {
    let (emit, windows) = emit();
    let settings = Reconfiguration {
        emit,
        idle: IdleLimits::default(),
        interval: TEN,
        aggregation: AggregationConfig::default(),
        identifier: Arc::clone(&bench.samples.identifier),
        self_metrics: None,
    };
    (settings, windows)
}

#[test]
fn the_daemons_own_metrics_are_in_every_window_and_in_the_last_one() {
    let mut bench = bench();
    let metrics =
        CountedWindows::boxed(&bench.samples.registry, Arc::clone(&bench.samples.identifier));
    bench.aggregator = bench.aggregator.with_self_metrics(Some(metrics));
    for _ in 0..3 {
        assert_eq!(points(&bench.close(&mut [])), ["counter self = 1"]);
    }
    let windows = bench.run(vec![]);
    assert_eq!(points(&windows[0]), ["counter self = 1"]);
}

#[test]
fn a_reload_turns_self_metrics_on_keeps_them_and_turns_them_off() {
    let mut bench = bench();
    assert_eq!(points(&bench.close(&mut [])), [""; 0]);

    let (mut on, windows) = reload(&bench);
    let registry = Arc::clone(&bench.samples.registry);
    on.self_metrics =
        Some(Box::new(move |identifier| CountedWindows::boxed(&registry, identifier)));
    bench.aggregator.reconfigure(on);
    bench.windows = windows;
    assert_eq!(points(&bench.close(&mut [])), ["counter self = 1"]);

    let tags = [("env".to_owned(), "prod".into())].into();
    let agent = AgentConfig { tags, ..AgentConfig::default() };
    let (mut kept, windows) = reload(&bench);
    kept.identifier = Arc::new(bench.samples.identifier.with_agent(&agent));
    kept.self_metrics = Some(Box::new(|_| panic!("they are on already")));
    bench.aggregator.reconfigure(kept);
    bench.windows = windows;
    assert_eq!(points(&bench.close(&mut [])), ["counter self env=prod = 1"]);

    let (off, windows) = reload(&bench);
    bench.aggregator.reconfigure(off);
    bench.windows = windows;
    assert_eq!(points(&bench.close(&mut [])), [""; 0]);
}

#[test]
fn a_reload_keeps_the_open_window_and_passes_it_to_the_new_receiver() {
    let mut bench = bench();
    let mut listener = bench.listener("a");
    listener.count("m", 1.0);
    listener.finish();
    let (settings, windows) = reload(&bench);
    let (done, is_done) = flume::bounded(1);
    let former = bench.run(vec![AggregatorCommand::Reconfigure(Box::new(settings), done)]);
    assert_eq!(is_done.try_recv(), Ok(()), "the requester is notified");
    assert!(former.is_empty(), "the former receiver was dropped");
    assert_eq!(points(&windows.try_recv().unwrap()), ["counter m = 1"]);
}

#[test]
fn a_reload_calls_the_listeners_but_takes_no_tally() {
    let mut bench = bench();
    let mut listener = bench.listener("a");
    listener.count("m", 1.0);
    let (settings, _windows) = reload(&bench);
    bench.aggregator.reconfigure(settings);
    // Woken, or this would wait forever.
    listener.waker.wait_alone();
    assert!(listener.end.hand_over_at_edge(&mut listener.table));
    assert!(bench.aggregator.tallies.tallies().is_empty());
}

#[test]
fn a_reload_applies_limits_and_expiry_to_the_open_window() {
    let mut bench = bench();
    let mut listener = bench.listener("a");
    listener.count("m", 1.0);
    let (mut settings, windows) = reload(&bench);
    settings.aggregation.max_series = 1;
    settings.aggregation.expire_after = Span::from_secs(10);
    bench.aggregator.reconfigure(settings);
    bench.windows = windows;
    listener.count("n", 2.0);
    let window = bench.close(&mut [&mut listener]);
    assert_eq!(points(&window), ["counter m = 1", "counter n overflow=true = 2"]);
    bench.close(&mut [&mut listener]);
    assert_eq!(bench.samples.registry.series_count(), 0);
}

#[test]
fn a_reload_moves_the_end_of_the_window_only_with_another_interval() {
    let mut bench = bench();
    let (same, windows) = reload(&bench);
    bench.aggregator.reconfigure(same);
    bench.windows = windows;
    assert_eq!(bench.close(&mut []).window.end_ms, FIRST_END_MS);
    let (mut longer, windows) = reload(&bench);
    longer.interval = Duration::from_secs(60);
    bench.aggregator.reconfigure(longer);
    bench.windows = windows;
    let window = bench.close(&mut []).window;
    let length = Duration::from_secs(10);
    assert_eq!(window, Window { end_ms: 1_000_000_020_000, length }, "cut by the reload");
    assert_eq!(bench.stats.counts().interval, Duration::from_secs(60));
}

#[test]
fn a_reload_with_a_shorter_interval_ends_the_open_window_earlier() {
    let mut bench = bench();
    bench.aggregator.clock = WindowClock::new(HOUR, bench.clocks.read());
    let clocks = Arc::clone(&bench.clocks);
    bench.aggregator.read_clocks = Box::new(move || {
        clocks.advance(5);
        clocks.read()
    });
    let (mut shorter, windows) = reload(&bench);
    shorter.interval = Duration::from_millis(10);
    let (done, _) = flume::bounded(1);
    let (commands, receiver) = flume::unbounded();
    commands.send(AggregatorCommand::Reconfigure(Box::new(shorter), done)).unwrap();
    let running = thread::spawn(move || bench.aggregator.run(&receiver));
    assert!(windows.recv_timeout(PATIENCE).is_ok());
    drop(commands);
    running.join().unwrap();
}

#[test]
fn self_metrics_that_are_turned_on_again_may_have_fewer_series() {
    let mut bench = bench();
    let samples = bench.samples.clone();
    let wide = CountedWindows::with_names(samples, &["a", "b"]);
    bench.aggregator = bench.aggregator.with_self_metrics(Some(wide));
    bench.close(&mut []);
    let (mut off, _windows) = reload(&bench);
    off.aggregation.expire_after = Span::from_secs(10);
    bench.aggregator.reconfigure(off);
    (0..3).for_each(|_| bench.close_by(Instant::now()));
    assert_eq!(bench.samples.registry.series_count(), 0);
    let (mut on, windows) = reload(&bench);
    let registry = Arc::clone(&bench.samples.registry);
    on.self_metrics =
        Some(Box::new(move |identifier| CountedWindows::boxed(&registry, identifier)));
    bench.aggregator.reconfigure(on);
    bench.windows = windows;
    for _ in 0..3 {
        assert_eq!(points(&bench.close(&mut [])), ["counter self = 1"]);
    }
}

#[test]
fn a_window_begins_where_the_previous_one_ended() {
    let mut bench = bench();
    let mut a = bench.listener("a");
    let starts = [(); 2].map(|()| bench.close(&mut [&mut a]).start_ms);
    assert_eq!(starts, [None, Some(FIRST_END_MS)]);
}

#[test]
fn the_list_of_live_series_is_made_again_after_a_removal() {
    let mut bench = bench();
    let last = Arc::new(LatestWindow::default());
    bench.aggregator = bench.aggregator.with_latest_window(Arc::clone(&last));
    let mut a = bench.listener("a");
    a.count("m", 1.0);
    a.count("n", 1.0);
    let _window = bench.close(&mut [&mut a]);
    let (sender, removed) = flume::unbounded();
    let mut listed = last.live(TEN, Vec::new);
    let is_kept = [(); 2].map(|()| {
        let sender = sender.clone();
        let filter = SeriesFilter::new(&["m".to_owned()], &[], &[]).unwrap();
        let done = Box::new(move |count| sender.send(count).unwrap());
        bench.aggregator.removals.push(SeriesRemoval { filter, done });
        let _window = bench.close(&mut [&mut a]);
        let previous = std::mem::replace(&mut listed, last.live(TEN, Vec::new));
        Arc::ptr_eq(&previous, &listed)
    });
    assert_eq!(removed.drain().collect::<Vec<_>>(), [1, 0]);
    assert_eq!(is_kept, [false, true]);
}
