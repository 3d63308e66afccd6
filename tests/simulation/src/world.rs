//! The state that everything in a simulation shares: time, random numbers, faults and events.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use forwarders::testing::simulation::SimulatedDisk;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::destination::DestinationState;
use crate::trouble::{DiskFault, DiskTrouble, Faults};

/// The wall clock at the start of a simulation.
const BASE: Duration = Duration::from_millis(1_700_000_000_123);
/// Trouble counts as recent for this long: longer than the daemon's pause after a failure.
const RECENT: Duration = Duration::from_secs(25);

/// The state that everything in a simulation shares.
pub(crate) struct World {
    pub(crate) disk: SimulatedDisk,
    state: Mutex<State>,
    over: Notify,
}

/// The state behind the lock. Nothing accesses the disk while it is held.
pub(crate) struct State {
    pub(crate) random: StdRng,
    pub(crate) faults: Faults,
    run_began: Option<Instant>,
    /// The duration of the latest run that has ended.
    run_lasted: Duration,
    /// Simulated time before the current run.
    before_run: Duration,
    /// How far the wall clock was set.
    pub(crate) lead_ms: i64,
    pub(crate) was_set_back: bool,
    /// Whether the process of the current run is dead and has no further effects.
    pub(crate) is_dead: bool,
    /// Whether an orderly stop of the current run has begun. From then on windows get their files before
    /// they are synced.
    pub(crate) is_stopping: bool,
    pub(crate) failure: Option<String>,
    trace: Option<Vec<String>>,
    digest: u64,
    pub(crate) counted: Counted,
    pub(crate) destinations: Vec<DestinationState>,
    pub(crate) disk: DiskTrouble,
    trouble_at: Option<Duration>,
    /// Whether the disk had a fault in the current run.
    pub(crate) had_trouble: bool,
    /// The number of windows.
    pub(crate) windows: u32,
    /// The length of windows, unless it changes from run to run.
    pub(crate) interval: Duration,
    /// Applied requests until the process is killed.
    pub(crate) until_kill: Option<u32>,
}

/// The amount of work and the faults of a simulation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Closed windows.
    pub windows: u64,
    /// Windows that a destination's queue received.
    pub pushes: u64,
    /// Points in them.
    pub points: u64,
    /// Points for idle series, before destinations select theirs.
    pub idle: u64,
    /// Requests to destinations.
    pub requests: u64,
    /// Operations of the disk.
    pub disk_operations: u64,
    /// Runs of the daemon.
    pub runs: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Injected faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Points that were dropped, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Points that arrived twice because the destination's answer was lost or the process crashed.
    pub repeated: u64,
    /// Points that a crash took from memory.
    pub lost_in_crash: u64,
}

impl Counted {
    /// Adds the counts of another simulation.
    pub fn add(&mut self, other: &Self) {
        self.windows += other.windows;
        self.pushes += other.pushes;
        self.points += other.points;
        self.idle += other.idle;
        self.requests += other.requests;
        self.disk_operations += other.disk_operations;
        self.runs += other.runs;
        self.simulated += other.simulated;
        self.repeated += other.repeated;
        self.lost_in_crash += other.lost_in_crash;
        for (kind, times) in &other.faults {
            *self.faults.entry(kind).or_default() += times;
        }
        for (reason, points) in &other.dropped {
            *self.dropped.entry(reason).or_default() += points;
        }
    }
}

impl World {
    pub(crate) fn new(seed: u64, is_traced: bool) -> Arc<Self> {
        let mut random = StdRng::seed_from_u64(seed);
        let faults = Faults::choose(&mut random);
        let disk = SimulatedDisk::new(random.random());
        let state = State {
            random,
            faults,
            run_began: None,
            run_lasted: Duration::ZERO,
            before_run: Duration::ZERO,
            lead_ms: 0,
            was_set_back: false,
            is_dead: false,
            is_stopping: false,
            failure: None,
            trace: is_traced.then(Vec::new),
            digest: 0,
            counted: Counted::default(),
            destinations: Vec::new(),
            disk: DiskTrouble::default(),
            trouble_at: None,
            had_trouble: false,
            windows: 0,
            interval: Duration::ZERO,
            until_kill: None,
        };
        let world = Arc::new(Self { disk, state: Mutex::new(state), over: Notify::new() });
        let weak = Arc::downgrade(&world);
        world.disk.fail(move |operation, path| {
            let world = weak.upgrade()?;
            world.with(|state| state.disk_operation(operation, path))
        });
        world
    }

    /// Accesses the state.
    pub(crate) fn with<T>(&self, access: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let result = access(&mut state);
        drop(state);
        if self.is_over() {
            self.over.notify_one();
        }
        result
    }

    /// Waits until the process dies or a check fails.
    pub(crate) async fn over(&self) {
        while !self.is_over() {
            self.over.notified().await;
        }
    }

    fn is_over(&self) -> bool {
        let state = self.state.lock();
        state.is_dead || state.failure.is_some()
    }

    /// Forgets that the process of an earlier run has died.
    pub(crate) fn begin_run(&self) {
        self.with(|state| {
            state.is_dead = false;
            state.is_stopping = false;
            state.had_trouble = state.had_recent_trouble();
            state.disk.had_slow_removal = false;
            state.run_began = Some(Instant::now());
            state.counted.runs += 1;
        });
    }

    /// Waits forever if the process is dead: it has no further effects.
    pub(crate) async fn live(&self) {
        if self.with(|state| state.is_dead) {
            std::future::pending::<()>().await;
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("World")
    }
}

impl State {
    /// Simulated time since the start of the simulation.
    pub(crate) fn now(&self) -> Duration {
        self.before_run + self.run_began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// Ends a run; the host is without a daemon for a time.
    pub(crate) fn end_run(&mut self) {
        self.before_run = self.now();
        self.run_lasted = self.run_began.take().map_or(Duration::ZERO, |began| began.elapsed());
    }

    /// Lets time pass between two runs.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.before_run += time;
    }

    /// The wall clock.
    pub(crate) fn wall(&self) -> Duration {
        let now = BASE + self.now();
        let lead = Duration::from_millis(self.lead_ms.unsigned_abs());
        if self.lead_ms < 0 { now.saturating_sub(lead) } else { now + lead }
    }

    /// Whether something with this probability happens.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability)
    }

    /// A random number of milliseconds.
    pub(crate) fn ms(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.random.random_range(least..=most))
    }

    /// Counts a fault.
    pub(crate) fn fault(&mut self, kind: &'static str) {
        *self.counted.faults.entry(kind).or_default() += 1;
    }

    /// Records that the disk misbehaves for this time.
    pub(crate) fn disk_misbehaves(&mut self, time: Duration) {
        self.is_troubled(time);
        self.had_trouble = true;
    }

    /// Records that a stop within this time may take longer than it has.
    pub(crate) fn is_troubled(&mut self, time: Duration) {
        self.trouble_at = self.trouble_at.max(Some(self.now() + time));
    }

    /// Whether the disk has misbehaved recently.
    pub(crate) fn had_recent_trouble(&self) -> bool {
        let is_recent = self.trouble_at.is_some_and(|at| self.now() < at + RECENT);
        is_recent || self.disk.fault.is_some_and(DiskFault::is_excuse)
    }

    /// Whether the disk was slow recently.
    pub(crate) fn had_recent_slowness(&self) -> bool {
        self.disk.slow_until.is_some_and(|until| self.now() < until + RECENT)
    }

    /// Whether the spool of the run that has ended may not have been open, because the disk was slow.
    pub(crate) fn may_be_opening(&self) -> bool {
        self.run_lasted < RECENT && self.had_recent_slowness()
    }

    /// Records an event for the trace and the digest of the simulation.
    pub(crate) fn event(&mut self, destination: usize, kind: &'static str, number: u64) {
        self.digest(&[destination as u64, kind.len() as u64, number]);
        self.note(|| format!("d{destination} {kind} {number}"));
    }

    /// Adds words and the time to the digest of the simulation.
    pub(crate) fn digest(&mut self, words: &[u64]) {
        let now = self.now().as_micros() as u64;
        for word in words.iter().chain([&now]) {
            self.digest = (self.digest.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    /// Adds a line to the trace.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if self.trace.is_some() {
            let line = format!("{:11.3} s  {}", self.now().as_secs_f64(), line());
            self.trace.get_or_insert_default().push(line);
        }
    }

    /// Records a violated guarantee. Only the first one counts.
    pub(crate) fn fail(&mut self, words: impl FnOnce() -> String) {
        if self.failure.is_none() {
            let words = words();
            self.note(|| format!("VIOLATED: {words}"));
            self.failure = Some(words);
        }
    }

    /// Fails unless the guarantee holds.
    pub(crate) fn check(&mut self, holds: bool, words: impl FnOnce() -> String) {
        if !holds {
            self.fail(words);
        }
    }

    /// The digest of all events.
    pub(crate) fn result(&self) -> u64 {
        self.digest
    }

    pub(crate) fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }
}
