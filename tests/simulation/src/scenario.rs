//! A whole simulation: several runs of the daemon on one disk, then a calm end.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};
use std::time::Duration;

use forwarders::testing::simulation::Crash;
use parking_lot::Mutex;
use rand::RngExt;

use crate::aggregator::Kept;
use crate::daemon::{RunPlan, run};
use crate::destination::DestinationState;
use crate::disk_checks::{RunEnd, Unsynced};
use crate::mode::Mode;
use crate::world::{Counted, State, World};

/// The result of a simulation.
#[derive(Debug)]
pub struct Outcome {
    /// The violated guarantee; `None` if all held.
    pub failure: Option<String>,
    /// The amount of work and the faults.
    pub counted: Counted,
    /// A digest of all events: equal for equal seeds.
    pub digest: u64,
    /// Every event, if it was asked for.
    pub trace: Vec<String>,
}

thread_local! {
    /// Whether code in this thread has panicked. The runtime catches the panics of its tasks.
    static HAS_PANICKED: Cell<Option<String>> = const { Cell::new(None) };
}

/// Simulates the daemon. Everything follows from the seed.
#[must_use]
pub fn simulate(seed: u64, is_traced: bool) -> Outcome {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            HAS_PANICKED.set(Some(info.to_string()));
            default(info);
        }));
    });
    HAS_PANICKED.set(None);
    let world = World::new(seed, is_traced);
    let _panicked = catch_unwind(AssertUnwindSafe(|| Scenario::new(&world).run()));
    let panicked = HAS_PANICKED.take();
    world.with(|state| {
        if let Some(words) = panicked {
            state.fail(|| format!("panic: {words}"));
        }
        let now = state.now();
        state.counted.simulated = now;
        Outcome {
            failure: state.failure.take(),
            counted: std::mem::take(&mut state.counted),
            digest: state.result(),
            trace: state.take_trace(),
        }
    })
}

struct Scenario {
    world: Arc<World>,
    kept: Arc<Mutex<Kept>>,
}

impl Scenario {
    fn new(world: &Arc<World>) -> Self {
        world.with(|state| {
            let number = state.random.random_range(1..=3);
            for index in 0..number {
                let destination = DestinationState::choose(index, &mut state.random);
                let (traits, delivery) = (destination.traits, destination.delivery.clone());
                state.note(|| format!("d{index}: {traits:?}, {delivery:?}"));
                state.destinations.push(destination);
            }
            let faults = state.faults.clone();
            state.note(|| format!("{faults:?}"));
        });
        Self { world: Arc::clone(world), kept: Arc::default() }
    }

    fn run(&self) {
        let runs = self.world.with(|state| state.random.random_range(1..=6));
        for number in 0..runs {
            let plan = self.world.with(|state| state.plan_run(number));
            self.run_once(&plan);
        }
        self.calm();
        let plan = self.world.with(|state| state.plan_last_run(runs));
        self.run_once(&plan);
        self.world.with(|state| {
            for index in 0..state.destinations.len() {
                state.check_end(index);
            }
        });
    }

    fn run_once(&self, plan: &RunPlan) {
        let world = &self.world;
        if world.with(|state| state.failure.is_some()) {
            return;
        }
        world.with(|state| state.note(|| format!("{plan:?}")));
        self.plan_crash(plan);
        let is_orderly = run(world, &self.kept, plan);
        let end = world.with(|state| match is_orderly {
            true => RunEnd::Orderly,
            false if state.faults.power_failure && state.chance(0.5) => RunEnd::PowerFailure,
            false => RunEnd::Kill,
        });
        world.with(|state| state.note(|| format!("the run ended: {end:?}")));
        self.ended(end);
    }

    /// Plans a crash in the middle of an access to the disk or of a request.
    fn plan_crash(&self, plan: &RunPlan) {
        let crashes = plan.crash_after.is_some();
        let (operations, requests) = self.world.with(|state| {
            let is_access = crashes && state.chance(0.5);
            let is_request = crashes && state.chance(0.3);
            let operations = state.random.random_range(1..2_000);
            let requests = state.random.random_range(1..200);
            (is_access.then_some(operations), is_request.then_some(requests))
        });
        self.world.with(|state| state.until_kill = requests);
        if let Some(operations) = operations {
            self.world.disk.crash_after(operations);
        }
    }

    fn ended(&self, end: RunEnd) {
        let world = &self.world;
        let number = world.with(|state| state.destinations.len());
        // Before the disk loses data.
        let unsynced: Vec<Unsynced> = (0..number).map(|index| world.unsynced(index)).collect();
        match end {
            RunEnd::Orderly | RunEnd::Kill => world.disk.restart(Crash::Kill),
            RunEnd::PowerFailure => world.disk.restart(Crash::PowerFailure),
        }
        for (index, unsynced) in unsynced.iter().enumerate() {
            let counts = world.with(|state| state.destinations[index].counts());
            world.run_ended(index, end, &counts, unsynced);
        }
        let forgets = world.with(|state| {
            if end != RunEnd::Orderly {
                state.fault(if end == RunEnd::Kill { "process: killed" } else { "power failure" });
            }
            let most = if state.chance(0.3) { 400_000 } else { 3_000 };
            let downtime = state.ms(0, most);
            state.pass(downtime);
            end != RunEnd::Orderly || state.faults.lost_saves
        });
        if forgets {
            self.kept.lock().forget_ends();
        }
    }

    /// Ends all faults.
    fn calm(&self) {
        self.world.disk.set_free_bytes(1 << 40);
        self.world.with(|state| {
            state.faults = state.faults.none();
            state.disk.fault = None;
            state.until_kill = None;
            state.destinations.iter_mut().for_each(|target| target.mode = Mode::Ok);
        });
    }
}

impl State {
    fn plan_run(&mut self, number: u32) -> RunPlan {
        if self.interval.is_zero() || self.faults.interval_changes {
            self.interval = Duration::from_secs([1, 2, 5, 10][self.random.random_range(0..4)]);
        }
        let interval = self.interval;
        let windows = self.random.random_range(1..=60);
        let crashes = (self.faults.kill || self.faults.power_failure) && self.chance(0.6);
        let longest = u64::from(windows + 1) * interval.as_millis() as u64;
        let crash_after = crashes.then(|| self.ms(0, longest));
        RunPlan {
            number,
            windows,
            interval,
            shutdown_timeout: self.ms(500, 20_000),
            crash_after,
            drains: false,
        }
    }

    fn plan_last_run(&mut self, number: u32) -> RunPlan {
        let shutdown_timeout = Duration::from_secs(30);
        let plan = self.plan_run(number);
        RunPlan { windows: 3, shutdown_timeout, crash_after: None, drains: true, ..plan }
    }
}
