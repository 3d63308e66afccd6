//! A run of the simulated daemon, from its start to an orderly stop or a crash.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forwarders::config::{Common, DeliveryConfig};
use forwarders::delivery::destination::Destination;
use forwarders::delivery::handle::DestinationHandle;
use forwarders::delivery::settings::ForwarderSettings;
use forwarders::delivery::task::EndedForwarder;
use forwarders::select::SelectConfig;
use forwarders::spool::SpoolPlace;
use forwarders::testing::simulation::{Host, waiting_names};
use parking_lot::Mutex;
use rand::RngExt;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, sleep, timeout};

use crate::aggregator::{Aggregator, Kept, Queues};
use crate::client::Client;
use crate::destination::{SPOOLS, delivery};
use crate::host::SimHost;
use crate::mode::Mode;
use crate::trouble::DiskFault;
use crate::world::{State, World};

/// Free bytes of the disk when it is not full.
const FREE: u64 = 1 << 40;
/// An orderly stop may take this much longer than `shutdown_timeout`.
const STOP_MARGIN: Duration = Duration::from_secs(2);

/// The same if the process may be paused.
const PAUSED_STOP: Duration = Duration::from_secs(200);

/// A planned run.
#[derive(Clone, Debug)]
pub(crate) struct RunPlan {
    pub(crate) number: u32,
    pub(crate) windows: u32,
    pub(crate) interval: Duration,
    pub(crate) shutdown_timeout: Duration,
    /// When the process is killed; `None` for an orderly stop.
    pub(crate) crash_after: Option<Duration>,
    /// Whether the run ends only when everything is delivered.
    pub(crate) drains: bool,
}

struct RunningDestination {
    handle: DestinationHandle,
    task: JoinHandle<EndedForwarder>,
    deadline: watch::Sender<Option<Instant>>,
}

/// Runs the daemon. Returns whether it ended in an orderly way.
pub(crate) fn run(world: &Arc<World>, kept: &Arc<Mutex<Kept>>, plan: &RunPlan) -> bool {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without threads and sockets");
    runtime.block_on(async {
        world.begin_run();
        let is_orderly = live(world, kept, plan).await;
        world.with(|state| {
            state.is_dead = true;
            state.end_run();
        });
        is_orderly
    })
}

async fn live(world: &Arc<World>, kept: &Arc<Mutex<Kept>>, plan: &RunPlan) -> bool {
    let queues = Queues::default();
    let running = start(world, plan, &queues);
    trouble(world);
    let aggregator = Aggregator::new(world, kept, Arc::clone(&queues), plan.interval);
    let aggregator = aggregator.run(plan.windows, plan.drains);
    let crash = async {
        match plan.crash_after {
            Some(time) => sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = world.over() => false,
        () = crash => false,
        () = orderly(world, plan, aggregator, &queues, running) => true,
    }
}

async fn orderly(
    world: &Arc<World>,
    plan: &RunPlan,
    aggregator: impl Future<Output = ()>,
    queues: &Queues,
    mut running: Vec<RunningDestination>,
) {
    tokio::select! {
        biased;
        () = aggregator => {}
        () = reloads(world, queues, &mut running) => {}
    }
    world.with(|state| {
        state.is_stopping = true;
        state.note(|| "stop".to_owned());
    });
    let deadline = Instant::now() + plan.shutdown_timeout;
    for destination in &running {
        let _ended = destination.deadline.send(Some(deadline));
    }
    let margin = world.with(|state| if state.faults.pauses { PAUSED_STOP } else { STOP_MARGIN });
    for destination in running {
        let ended = timeout(plan.shutdown_timeout + margin, destination.task).await;
        world.with(|state| {
            state.check(ended.is_ok_and(|ended| ended.is_ok()), || {
                "a destination does not stop in time, or panics".to_owned()
            });
        });
    }
}

fn start(world: &Arc<World>, plan: &RunPlan, queues: &Queues) -> Vec<RunningDestination> {
    let host = Host::Simulated(Arc::new(SimHost(Arc::clone(world))));
    let place = SpoolPlace { folder: SPOOLS.into(), instance: format!("run-{}", plan.number) };
    let number = world.with(|state| state.destinations.len());
    let start = |index: usize| {
        let (root, config) = world.with(|state| {
            let target = &state.destinations[index];
            (target.root.clone(), target.delivery.clone())
        });
        let files = waiting_names(&world.disk, &root);
        let bytes = files.iter().map(|name| name.bytes).sum();
        let built = build(world, index, config, 0);
        let (queue, handle, task) = built.split_on(&host, &place);
        queues.lock().push(queue);
        world.with(|state| {
            let target = &mut state.destinations[index];
            target.stats = Some(Arc::clone(handle.stats()));
            target.begin_run(files.len() as u64, bytes);
        });
        let (deadline, announced) = watch::channel(None);
        RunningDestination { handle, task: tokio::spawn(task.run(announced)), deadline }
    };
    (0..number).map(start).collect()
}

fn build(world: &Arc<World>, index: usize, delivery: DeliveryConfig, settings: u32) -> Destination {
    let (name, traits) = world.with(|state| {
        let target = &state.destinations[index];
        (target.name.clone(), target.traits)
    });
    let common = Common { name, select: SelectConfig::default(), idle: traits.idle, delivery };
    let client = Client::new(world, index, traits);
    let built = Destination::new("simulated", common, ForwarderSettings::new(settings), client);
    if traits.has_attempt_limit { built.with_attempt_limit() } else { built }
}

// ---- Trouble ----------------------------------------------------------------------------------

/// Starts the tasks that make trouble.
fn trouble(world: &Arc<World>) {
    let (faults, destinations) =
        world.with(|state| (state.faults.clone(), state.destinations.len()));
    if !faults.modes.is_empty() {
        for index in 0..destinations {
            tokio::spawn(change_modes(Arc::clone(world), index, faults.modes.clone()));
        }
    }
    if !faults.disk.is_empty() {
        tokio::spawn(disturb_disk(Arc::clone(world), faults.disk));
    }
    if faults.clock_steps {
        tokio::spawn(set_clock(Arc::clone(world)));
    }
    if faults.pauses {
        tokio::spawn(pause(Arc::clone(world)));
    }
    if faults.tampering {
        tokio::spawn(tamper(Arc::clone(world)));
    }
}

/// Waits between `least` and `most` milliseconds.
async fn wait(world: &World, least: u64, most: u64) {
    let time = world.with(|state| state.ms(least, most));
    sleep(time).await;
}

async fn change_modes(world: Arc<World>, index: usize, modes: Vec<Mode>) {
    loop {
        let mode = world.with(|state| {
            let is_ok = state.chance(0.5);
            let mode = modes[state.random.random_range(0..modes.len())];
            let mode = if is_ok { Mode::Ok } else { mode };
            state.destinations[index].mode = mode;
            state.note(|| format!("d{index} is {mode:?}"));
            mode
        });
        wait(&world, 500, if mode == Mode::Ok { 60_000 } else { 120_000 }).await;
    }
}

async fn disturb_disk(world: Arc<World>, faults: Vec<DiskFault>) {
    // A crash may have left a fault to this run.
    heal(&world).await;
    loop {
        wait(&world, 0, 100_000).await;
        let (fault, free) = world.with(|state| {
            let fault = faults[state.random.random_range(0..faults.len())];
            state.disk.fault = Some(fault);
            if fault.is_excuse() {
                state.disk_misbehaves(Duration::ZERO);
            }
            state.fault(fault.name());
            state.note(|| fault.name().to_owned());
            (fault, state.random.random_range(0..4_000))
        });
        if fault == DiskFault::Full {
            world.disk.set_free_bytes(free);
        }
        heal(&world).await;
    }
}

/// Ends a fault of the disk after a time.
async fn heal(world: &World) {
    if world.with(|state| state.disk.fault.is_some()) {
        wait(world, 500, 80_000).await;
    }
    world.disk.set_free_bytes(FREE);
    world.with(|state| {
        if let Some(fault) = state.disk.fault.take() {
            if fault.is_excuse() {
                state.disk_misbehaves(Duration::ZERO);
            }
            state.note(|| "the disk works again".to_owned());
        }
    });
}

async fn set_clock(world: Arc<World>) {
    loop {
        wait(&world, 1_000, 150_000).await;
        world.with(|state| {
            let most = [150, 3_000, 20_000, 7_200_000][state.random.random_range(0..4)];
            let step = state.random.random_range(-most..=most);
            state.set_clock(step);
        });
    }
}

impl State {
    fn set_clock(&mut self, step_ms: i64) {
        self.lead_ms += step_ms;
        self.was_set_back |= step_ms < 0;
        self.fault(if step_ms < 0 { "clock: set back" } else { "clock: set forward" });
        self.note(|| format!("the clock is set by {step_ms} ms"));
    }
}

async fn pause(world: Arc<World>) {
    loop {
        wait(&world, 5_000, 200_000).await;
        let time = world.with(|state| {
            state.fault("process: paused");
            state.is_troubled(Duration::from_secs(60));
            state.note(|| "the process is paused".to_owned());
            state.ms(100, 60_000)
        });
        // Both clocks advance, and every timer is late.
        advance(time).await;
    }
}

async fn tamper(world: Arc<World>) {
    loop {
        wait(&world, 5_000, 200_000).await;
        let root = world.with(|state| {
            let index = state.random.random_range(0..state.destinations.len());
            (index, state.destinations[index].root.clone())
        });
        tamper_with(&world, root.0, &root.1);
    }
}

fn tamper_with(world: &World, index: usize, root: &Path) {
    let names = waiting_names(&world.disk, root);
    if names.is_empty() {
        return;
    }
    let (name, is_damage) = world.with(|state| {
        let name = names[state.random.random_range(0..names.len())];
        let is_damage = state.chance(0.5);
        state.destinations[index].run.tampered += name.points;
        state.had_trouble = true;
        state.fault(if is_damage { "file: damaged" } else { "file: taken away" });
        state.note(|| format!("d{index}: {name} is damaged or taken away"));
        (name, is_damage)
    });
    let path = root.join("new").join(name.to_string());
    if is_damage {
        world.disk.damage(&path, |bytes| bytes.iter_mut().skip(80).for_each(|byte| *byte ^= 1));
    } else {
        world.disk.take_away(&path);
    }
}

/// Changes the settings of destinations. Never ends.
async fn reloads(world: &Arc<World>, queues: &Queues, running: &mut [RunningDestination]) {
    if !world.with(|state| state.faults.reloads) {
        std::future::pending::<()>().await;
    }
    for settings in 1.. {
        wait(world, 1_000, 150_000).await;
        let (index, config, replaces) = world.with(|state| {
            let index = state.random.random_range(0..running.len());
            let traits = state.destinations[index].traits;
            let config = delivery(traits, &mut state.random);
            state.fault("daemon: reloaded");
            state.note(|| format!("d{index} is reloaded"));
            state.destinations[index].reconfigure(config.clone());
            (index, config, state.chance(0.5))
        });
        let settings = if replaces { settings } else { 0 };
        let built = build(world, index, config, settings);
        if let Some(queue) = running[index].handle.reconfigure(built) {
            queues.lock()[index] = queue;
        }
    }
}
