//! Windows that a restart divides.

use model::testing::{counter, point, snapshot_of};
use model::{GaugeLevel, PartialWindow, Value};

use super::*;

/// Records each save, in order with the windows that are emitted.
struct TestRestart {
    events: flume::Sender<String>,
    saves: bool,
}

impl RestartStore for TestRestart {
    fn save_windows(&mut self, unfinished: UnfinishedWindows) -> bool {
        let windows: Vec<_> = unfinished.windows.iter().map(|window| &window.snapshot).collect();
        let shown: Vec<_> = windows.into_iter().map(described).collect();
        self.events.send(format!("save {}", shown.join(", "))).unwrap();
        self.saves
    }

    fn save_levels(&mut self, levels: Vec<GaugeLevel>) {
        self.events.send(format!("save {} levels", levels.len())).unwrap();
    }

    fn remove_windows(&mut self) {
        self.events.send("remove windows".to_owned()).unwrap();
    }
}

/// Points and timestamp of a window, the latter in seconds after the start of the tests.
fn described(window: &Snapshot) -> String {
    let after = (window.window.end_ms - START_MS) as f64 / 1e3;
    format!("{} at {after}", points(window).join(" "))
}

/// A receiver of windows that records both forms of each.
fn emit_to(events: flume::Sender<String>) -> Emit {
    Box::new(move |window| {
        let (increment, whole) = (described(&window.increment), described(&window.whole));
        events.send(format!("emit {increment} or {whole}")).unwrap();
    })
}

/// The events of a run that counts and stops 4 s after its start, and the state that it leaves.
fn events_of_a_stop(saves: bool) -> Vec<String> {
    let mut bench = bench();
    let (events, received) = flume::unbounded();
    bench.aggregator.emit = emit_to(events.clone());
    bench.aggregator = bench
        .aggregator
        .with_restart(Some(Box::new(TestRestart { events, saves })), UnfinishedWindows::default());
    let mut listener = bench.listener("a");
    listener.count("m", 3.0);
    bench.clocks.advance(4_000);
    listener.finish();
    bench.run(vec![]);
    received.drain().collect()
}

#[test]
fn a_stop_saves_the_open_window_before_any_destination_gets_it() {
    let expected = [
        "save counter m = 3 at 7",
        "emit counter m = 3 at 4 or counter m = 3 at 7",
        "save 0 levels",
    ];
    assert_eq!(events_of_a_stop(true), expected);
}

#[test]
fn a_window_that_cannot_be_saved_has_the_time_of_the_stop_everywhere() {
    let expected = [
        "save counter m = 3 at 7",
        "emit counter m = 3 at 4 or counter m = 3 at 4",
        "save 0 levels",
    ];
    assert_eq!(events_of_a_stop(false), expected);
}

#[test]
fn a_window_of_an_earlier_run_is_completed_and_then_forgotten() {
    let mut bench = bench();
    let (events, received) = flume::unbounded();
    bench.aggregator.emit = emit_to(events.clone());
    let mut snapshot = snapshot_of(vec![counter("m", &[], 3.0)]);
    snapshot.window = Window { end_ms: FIRST_END_MS, length: Duration::from_secs(2) };
    let windows = vec![PartialWindow { start_ms: FIRST_END_MS - 10_000, snapshot }];
    let unfinished = UnfinishedWindows { windows, ..UnfinishedWindows::default() };
    bench.aggregator = bench
        .aggregator
        .with_restart(Some(Box::new(TestRestart { events, saves: true })), unfinished);
    let mut listener = bench.listener("a");
    listener.count("m", 4.0);
    bench.close_with(&mut [&mut listener]);
    bench.close_with(&mut [&mut listener]);
    let expected = [
        "emit counter m = 4 at 7 or counter m = 7 at 7",
        "remove windows",
        "emit  at 17 or  at 17",
    ];
    assert_eq!(received.drain().collect::<Vec<_>>(), expected);
}

#[test]
fn a_gauge_of_an_earlier_run_is_idle_unless_that_run_set_it_in_the_same_window() {
    let mut bench = bench();
    let (events, received) = flume::unbounded();
    let (limits, emitted) =
        (IdleLimits::default().with(MetricKind::Gauge, Duration::MAX), events.clone());
    bench.aggregator.emit = Box::new(move |window| {
        let [increment, whole] = [false, true].map(|keeps| described(&window.form(keeps, &limits)));
        emitted.send(format!("emit {increment} or {whole}")).unwrap();
    });
    let set = |name: &str, value| {
        point(MetricKind::Gauge, name, &[], Value::Gauge { value, arrival_ns: 1 })
    };
    let level = |name| GaugeLevel { series: set(name, 0.0).series, value: 7.0, idle_ms: 0 };
    assert_eq!(bench.aggregator.store.restore_levels(&[level("g"), level("h")], TEN), 0);
    let mut snapshot = snapshot_of(vec![set("g", 5.0)]);
    snapshot.window = Window { end_ms: FIRST_END_MS, length: Duration::from_secs(2) };
    let windows = vec![PartialWindow { start_ms: FIRST_END_MS - 10_000, snapshot }];
    let unfinished = UnfinishedWindows { windows, ..UnfinishedWindows::default() };
    let restart = TestRestart { events, saves: true };
    bench.aggregator =
        bench.aggregator.with_idle(limits).with_restart(Some(Box::new(restart)), unfinished);
    let mut listener = bench.listener("a");
    bench.close_with(&mut [&mut listener]);
    bench.close_with(&mut [&mut listener]);
    let expected = [
        "emit gauge g = 7 gauge h = 7 at 7 or gauge g = 5 gauge h = 7 at 7",
        "remove windows",
        "emit gauge g = 7 gauge h = 7 at 17 or gauge g = 7 gauge h = 7 at 17",
    ];
    assert_eq!(received.drain().collect::<Vec<_>>(), expected);
}
