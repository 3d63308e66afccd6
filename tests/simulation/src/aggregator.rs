//! The flush: the real window clock on simulated clocks, with random samples.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use basics::clocks::ClockReading;
use engine::aggregator::carry::CarriedWindows;
use engine::aggregator::clock::{Edge, WindowClock, rated_length};
use forwarders::delivery::handle::{QueueHandle, push_all};
use forwarders::restart::{decode_windows, encode_windows};
use model::testing::snapshot_of;
use model::{
    ClosedWindow, IdleLimits, IdlePoints, IdleSeries, MetricKind, Point, Series, SetSeed, Snapshot,
    Sum, UnfinishedWindows, Value, Window,
};
use parking_lot::Mutex;
use rand::RngExt;
use tokio::time::{Instant, sleep};

use crate::world::World;

const NO_TAGS: &[(&str, &str)] = &[];
/// Different series with samples in a simulation.
const SERIES: usize = 8;
/// Series that are always idle.
const IDLE_TIMERS: usize = 2;
/// Looks at the clocks in the same moment: more are a busy loop.
const LOOKS_AT_ONCE: u32 = 20;
/// The backlog of a simulation is delivered within this time once nothing fails.
const DRAINED_WITHIN: Duration = Duration::from_secs(3_600);

/// The queues of all destinations. A reload replaces them.
pub(crate) type Queues = Arc<Mutex<Vec<QueueHandle>>>;

/// What outlives a run: the file that an orderly stop leaves, and what the simulation knows of it.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    file: Option<Vec<u8>>,
    /// The timestamps that no window may have again.
    ends: HashSet<u64>,
    /// The timestamps before a crash.
    forgotten: HashSet<u64>,
    /// The sum of the samples so far by the planned end of a divided window.
    sums: HashMap<u64, u64>,
}

impl Kept {
    /// Records that the daemon does not know the timestamps so far.
    pub(crate) fn forget_ends(&mut self) {
        self.forgotten.extend(self.ends.drain());
    }

    /// Takes the sum of a divided window.
    fn take_sum(&mut self, end_ms: u64) -> u64 {
        let sum = self.sums.remove(&end_ms).unwrap_or(0);
        self.give_up(end_ms);
        sum
    }

    /// Divided windows that ended until now are never continued: no other window may have their
    /// timestamps.
    fn give_up(&mut self, now_ms: u64) {
        let given_up = self.sums.extract_if(|planned_ms, _| *planned_ms <= now_ms);
        self.ends.extend(given_up.map(|(planned_ms, _)| planned_ms));
    }

    /// Adds a timestamp. Returns whether it is new, and whether the daemon has forgotten it.
    fn add_end(&mut self, end_ms: u64) -> (bool, bool) {
        (self.ends.insert(end_ms), self.forgotten.contains(&end_ms))
    }
}

/// Closes windows.
pub(crate) struct Aggregator {
    world: Arc<World>,
    kept: Arc<Mutex<Kept>>,
    queues: Queues,
    clock: WindowClock,
    carried: CarriedWindows,
    interval: Duration,
    template: Snapshot,
    series: Vec<Arc<Series>>,
    idle_timers: Vec<Arc<Series>>,
    began: Instant,
    lengths: Duration,
    looked: (Instant, u32),
}

fn read_clocks(world: &World) -> ClockReading {
    ClockReading { wall: world.with(|state| state.wall()), monotonic: Instant::now().into_std() }
}

impl Aggregator {
    pub(crate) fn new(
        world: &Arc<World>,
        kept: &Arc<Mutex<Kept>>,
        queues: Queues,
        interval: Duration,
    ) -> Self {
        let mut clock = WindowClock::new(interval, read_clocks(world));
        let file = kept.lock().file.clone();
        let unfinished = file.and_then(|file| decode_windows(&file).ok());
        let unfinished = unfinished.map(|(windows, _)| windows).unwrap_or_default();
        clock.restore_used(unfinished.used);
        let series = |kind, index| Arc::new(Series::new(kind, &format!("s{index}"), NO_TAGS));
        let counter = |index| series(MetricKind::Counter, index);
        let timer = |index| series(MetricKind::Timer, SERIES + index);
        Self {
            world: Arc::clone(world),
            kept: Arc::clone(kept),
            queues,
            clock,
            carried: CarriedWindows::new(unfinished.windows),
            interval,
            template: snapshot_of(Vec::new()),
            series: (0..SERIES).map(counter).collect(),
            idle_timers: (0..IDLE_TIMERS).map(timer).collect(),
            began: Instant::now(),
            lengths: Duration::ZERO,
            looked: (Instant::now(), 0),
        }
    }

    /// Closes windows, then cuts the last one. With `drains`, only once the destinations have
    /// everything.
    pub(crate) async fn run(mut self, windows: u32, drains: bool) {
        let mut closed = 0;
        while closed < windows || (drains && !self.is_drained()) {
            let next = Instant::from_std(self.clock.next_look());
            tokio::time::sleep_until(next).await;
            self.world.live().await;
            closed += u32::from(self.look());
        }
        let rest = self.world.with(|state| state.ms(0, self.interval.as_millis() as u64));
        sleep(if drains { Duration::ZERO } else { rest }).await;
        self.world.live().await;
        self.note_time();
        let lasted = self.began.elapsed();
        self.cut().await;
        self.world.with(|state| {
            state.check(self.lengths == lasted, || {
                format!("windows lasted {:?} in {lasted:?}", self.lengths)
            });
        });
        self.queues.lock().clear();
    }

    fn is_drained(&self) -> bool {
        let is_late = self.began.elapsed() > DRAINED_WITHIN;
        self.world.with(|state| {
            let left = |counts: forwarders::stats::Counts| counts.queued + counts.spooled;
            let left: Vec<u64> =
                state.destinations.iter().map(|target| left(target.counts())).collect();
            let is_drained = left.iter().all(|left| *left == 0);
            state.check(is_drained || !is_late, || format!("points are not delivered: {left:?}"));
            is_drained || is_late
        })
    }

    fn note_time(&mut self) {
        let step = self.clock.look(read_clocks(&self.world));
        if let Some(step) = step {
            self.world.with(|state| state.note(|| format!("{step:?}")));
        }
    }

    /// Takes note of the time, and closes the window if it ends.
    fn look(&mut self) -> bool {
        let now = Instant::now();
        let looks = if self.looked.0 == now { self.looked.1 + 1 } else { 0 };
        self.looked = (now, looks);
        self.world.with(|state| {
            state.check(looks < LOOKS_AT_ONCE, || "the window clock does not wait".to_owned());
        });
        self.note_time();
        if !self.clock.is_due() {
            return false;
        }
        let edge = self.clock.close();
        let snapshot = self.flush(edge);
        let had_carried = !self.carried.is_empty();
        let (window, forgotten_ms) = self.carried.complete(snapshot, self.interval);
        self.clock.use_up(&forgotten_ms);
        let mut kept = self.kept.lock();
        let expected = kept.take_sum(edge.end_ms) + sum_of(&window.increment);
        if had_carried && self.carried.is_empty() {
            kept.file = None;
        }
        drop(kept);
        self.check_whole(&window, expected);
        self.push(window);
        true
    }

    /// A destination that keeps the last write has to get all samples of a window.
    fn check_whole(&self, window: &ClosedWindow, expected: u64) {
        let whole = sum_of(&window.whole);
        self.world.with(|state| {
            state.check(whole == expected, || {
                format!("a window contains {whole} of {expected}: {:?}", window.whole.window)
            });
        });
    }

    /// Ends the open window early.
    async fn cut(&mut self) {
        let planned_ms = self.clock.planned_end_ms();
        let edge = self.clock.close_early();
        let snapshot = self.flush(edge);
        let carried = std::mem::take(&mut self.carried);
        let cut = carried.cut(snapshot.clone(), planned_ms, self.interval);
        self.clock.use_up(&cut.forgotten_ms);
        let used = self.clock.used().to_vec();
        let unfinished = UnfinishedWindows { used, windows: cut.windows };
        let is_saved = self.world.with(|state| !state.faults.lost_saves || state.chance(0.7));
        if is_saved {
            self.check_cut(&cut.closed, planned_ms, edge);
            self.kept.lock().file = Some(encode_windows(&unfinished, &SetSeed::from_text("")));
        } else {
            self.world.with(|state| state.fault("restart: open window not saved"));
        }
        let pause = self.world.with(|state| state.ms(0, 3));
        sleep(pause).await;
        self.world.live().await;
        self.push(if is_saved { cut.closed } else { ClosedWindow::undivided(snapshot) });
    }

    fn check_cut(&self, window: &ClosedWindow, planned_ms: u64, edge: Edge) {
        let mut kept = self.kept.lock();
        let increment = sum_of(&window.increment);
        let expected = if planned_ms <= edge.end_ms {
            kept.take_sum(edge.end_ms) + increment
        } else {
            let sum = kept.sums.entry(planned_ms).or_default();
            *sum += increment;
            let sum = *sum;
            kept.give_up(edge.end_ms);
            sum
        };
        drop(kept);
        self.check_whole(window, expected);
    }

    /// Makes the snapshot of a window.
    fn flush(&mut self, edge: Edge) -> Snapshot {
        self.lengths += edge.length;
        let (is_new, was_before_crash) = self.kept.lock().add_end(edge.end_ms);
        let series = &self.series;
        let points = self.world.with(|state| {
            state.event(8, "window", edge.end_ms);
            // After a crash the daemon does not know the earlier timestamps.
            let is_new = is_new && (state.was_set_back || !was_before_crash);
            state.check(is_new, || format!("two windows have the timestamp {}", edge.end_ms));
            state.counted.windows += 1;
            let least = if state.chance(0.9) { 1 } else { 0 };
            let most = if state.chance(0.8) { 4 } else { SERIES };
            let count = state.random.random_range(least..=most);
            let point = |index: usize| Point {
                series: Arc::clone(&series[index]),
                // Identifies the point, also in a sum of two.
                value: Value::Counter(Sum::of(state.random.random_range(1..1_u64 << 48) as f64)),
            };
            (0..count).map(point).collect::<Vec<_>>()
        });
        let window =
            Window { end_ms: edge.end_ms, length: rated_length(edge.length, self.interval) };
        Snapshot { window, points: points.into(), ..self.template.clone() }
    }

    /// Adds points for idle series, if a destination wants any.
    fn idle(&self, window: &ClosedWindow) -> Option<IdlePoints> {
        let points = &window.increment.points;
        let has_samples =
            |series: &&Arc<Series>| points.iter().any(|point| point.series == **series);
        self.world.with(|state| {
            let limits = state.destinations.iter().map(|target| target.traits.idle);
            let limits = limits.fold(IdleLimits::default(), |all, limits| all.union(&limits));
            if limits.is_none() {
                return None;
            }
            let mut idle = Vec::new();
            let series = self.series.iter().chain(&self.idle_timers);
            for series in series.filter(|series| !has_samples(series)) {
                let time = state.ms(0, 120_000);
                if state.chance(0.5) && limits.include(series.kind(), time) {
                    let series = Arc::clone(series);
                    idle.push(IdleSeries { series, idle: time, level: 0.0, arrival_ns: 0 });
                }
            }
            state.counted.idle += idle.len() as u64;
            Some(IdlePoints::new(points.clone(), idle, limits))
        })
    }

    fn push(&self, window: ClosedWindow) {
        let idle = self.idle(&window);
        let window = &window.with_idle(idle);
        let queues = self.queues.lock();
        self.world.with(|state| {
            state.windows += 1;
            let number = state.windows;
            for index in 0..queues.len() {
                let traits = state.destinations[index].traits;
                let snapshot = window.form(traits.keeps_last_write, &traits.idle);
                state.pushed(index, number, &snapshot);
            }
        });
        push_all(&queues, window);
        self.world.with(|state| (0..queues.len()).for_each(|index| state.check_ledger(index)));
    }
}

fn sum_of(snapshot: &Snapshot) -> u64 {
    snapshot.points.iter().map(|point| point.value.headline() as u64).sum()
}
