//! `tallyd run`: puts the parts together, downstream first, and takes them apart in the order of
//! the data.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use forwarders::SendError;
use forwarders::driver::{Destination, Outlet};
use forwarders::spool::SpoolPlace;
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::admin::{Admin, AdminError};
use crate::aggregator::handover::AggregatorEnd;
use crate::aggregator::identity::Identifier;
use crate::aggregator::pulse::{Pulse, RuntimeCall};
use crate::aggregator::registry::Registry;
use crate::aggregator::store::Store;
use crate::aggregator::thread::AggregatorThread;
use crate::aggregator::windows::WindowStats;
use crate::cli::RunArgs;
use crate::config::{self, Config, Loaded};
use crate::kamailio::KamailioSection;
use crate::kamailio::intake::{self, IntakeSender};
use crate::kamailio::poller::Poller;
use crate::kamailio::stats::PollerStats;
use crate::listener::ListenerConfig;
use crate::listener::bind::{self, BindError, BoundListener};
use crate::listener::passed::{PassedError, PassedSockets};
use crate::listener::recorder::{Recorder, Shared};
use crate::listener::stats::{Counts, ListenerStats};
use crate::listener::wake::Waker;
use crate::logging;
use crate::observed::{Observed, ObservedForwarder};
use crate::own::pipeline::SelfMetrics;
use crate::service;
use crate::sys;

/// Threads for the forwarders and the admin endpoint: one that encodes a large window must not keep
/// the others waiting.
const WORKERS: usize = 2;
/// How much nicer they and the aggregator are than the listeners: on a core that they share, they
/// get a quarter of it and the listener three.
const GIVE_WAY: i32 = 5;
/// How often the log looks for new kernel drops.
const DROPS_LOOK: Duration = Duration::from_secs(1);
/// How often it tells of them at most.
const DROPS_LOG_PAUSE: Duration = Duration::from_secs(60);

/// Why the daemon does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A listener cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// What the service manager passed does not go with the configuration.
    #[error(transparent)]
    Passed(#[from] PassedError),
    /// The admin endpoint cannot be bound.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A destination cannot have what it needs on this host.
    #[error("forwarder {name}: {source}")]
    Forwarder {
        /// What ledger and log call it.
        name: String,
        /// What it needs, and what to change.
        #[source]
        source: SendError,
    },
    /// The system refuses a thread, a signal handler or a descriptor.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Runs the command: status 0 after a stop by signal, 1 if it could not start.
#[must_use]
#[allow(clippy::print_stderr)]
pub fn command(args: &RunArgs) -> ExitCode {
    sys::keep_large_allocations_apart();
    let instance = format!("{:016x}", random_id());
    let (loaded, destinations) = match config::prepare(&args.config, &instance) {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    logging::init(&loaded.config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("forward")
        .on_thread_start(give_way)
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(&loaded, instance, destinations));
            // A destination that hangs in a system call must not keep the process.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the daemon with these destinations until SIGTERM or SIGINT; `instance` identifies this run.
///
/// # Errors
/// When it cannot start; once it runs, it stops only when told to.
pub async fn run(
    loaded: &Loaded,
    instance: String,
    mut destinations: Vec<Destination>,
) -> Result<(), StartError> {
    let Loaded { config, listeners, source, is_file } = loaded;
    let mut signals = Signals::new()?;
    let started = Instant::now();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        config = if *is_file { source.name() } else { "built-in defaults" },
        interval = %config.interval,
        "starting"
    );

    for destination in &mut destinations {
        let name = &destination.common.name;
        destination
            .forwarder
            .start()
            .await
            .map_err(|source| StartError::Forwarder { name: name.clone(), source })?;
    }
    let spool = SpoolPlace { folder: config.spool_folder(), instance: instance.clone() };
    let (deadline, forwarding, outlets) = start_forwarders(destinations, &spool);
    let bound = bind_all(listeners, config)?;
    let shared = shared(config, started);
    let instances = instances(config);
    let observed = Arc::new(observe(config, &shared, &bound, &instances, &outlets, instance));
    let admin = Admin::bind(&config.admin).await?;
    let (pipeline, intake) =
        Pipeline::start(config, &shared, &observed, bound, &instances, outlets, pulse())?;
    let mut polling = start_pollers(instances, intake);
    observed.is_ready.store(true, Ordering::Release);
    let mut beside = JoinSet::new();
    beside.spawn(admin.serve(Arc::clone(&observed)));
    beside.spawn(watch_drops(Arc::clone(&observed)));
    service::ready();
    beside.spawn(service::tell_status(Arc::clone(&observed)));

    let name = signals.stop().await;
    info!(signal = name, "stopping: reading what the sockets hold, flushing, delivering");
    observed.is_ready.store(false, Ordering::Release);
    service::stopping(config.shutdown_timeout.get());
    let until = tokio::time::Instant::now() + config.shutdown_timeout.get();
    polling.shutdown().await;
    let stopped = tokio::task::spawn_blocking(move || pipeline.stop()).await;
    if stopped.is_err() {
        error!("a thread of the pipeline had panicked; its open window is lost");
    }
    // Nobody listens any more if all forwarders are done already.
    let _all_done = deadline.send(Some(until));
    forwarding.join_all().await;
    beside.abort_all();
    log_ledger(&observed);
    Ok(())
}

/// The forwarders' tasks, the moment by which they have to end, and the ends to push into.
type Forwarding = (watch::Sender<Option<tokio::time::Instant>>, JoinSet<()>, Vec<Outlet>);

fn start_forwarders(destinations: Vec<Destination>, spool: &SpoolPlace) -> Forwarding {
    let (deadline, watched) = watch::channel(None);
    let mut tasks = JoinSet::new();
    let mut outlets = Vec::new();
    for destination in destinations {
        let (outlet, task) = destination.split_with_spool(spool);
        info!(forwarder = outlet.name(), kind = outlet.kind(), "forwarding");
        tasks.spawn(task.run(watched.clone()));
        outlets.push(outlet);
    }
    (deadline, tasks, outlets)
}

/// A Kamailio that is to be polled.
struct Instance {
    config: KamailioSection,
    /// How its polls go.
    polls: Arc<PollerStats>,
    /// Its place in the ledger.
    ledger: Arc<ListenerStats>,
}

fn instances(config: &Config) -> Vec<Instance> {
    let instance = |config: &KamailioSection| {
        let endpoint = config.endpoint.to_string();
        Instance {
            config: config.clone(),
            ledger: Arc::new(ListenerStats::without_drops(format!("kamailio {endpoint}"))),
            polls: Arc::new(PollerStats::new(endpoint, config.tags.clone())),
        }
    };
    config.kamailio.iter().map(instance).collect()
}

/// A task for each instance: one that hangs delays no other.
fn start_pollers(instances: Vec<Instance>, intake: Option<IntakeSender>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let Some(intake) = intake else { return tasks };
    for (number, Instance { config, polls, .. }) in instances.into_iter().enumerate() {
        info!(endpoint = %config.endpoint, interval = %config.interval, "polling Kamailio");
        tasks.spawn(Poller::new(number, config, polls, intake.clone()).run());
    }
    tasks
}

fn bind_all(
    listeners: &[ListenerConfig],
    config: &Config,
) -> Result<Vec<BoundListener>, StartError> {
    let mut passed = PassedSockets::from_environment()?;
    let mut bound = Vec::new();
    for listener in listeners {
        bound.extend(bind::bind(listener, config.receive_buffer.get(), &mut passed)?);
    }
    passed.finish()?;
    Ok(bound)
}

/// The signs of life that the service manager wants, if it does.
fn pulse() -> Option<Pulse> {
    let period = service::watchdog_period()?;
    let runtime = Arc::new(RuntimeCall::default());
    let responding = Arc::clone(&runtime);
    tokio::spawn(async move { responding.respond().await });
    Some(Pulse::new(period, runtime, service::feed_watchdog))
}

/// What all listeners share.
pub(crate) fn shared(config: &Config, started: Instant) -> Shared {
    let identifier = Arc::new(Identifier::new(&config.agent));
    Shared {
        registry: Arc::new(Registry::new(&config.aggregation, Arc::clone(&identifier))),
        identifier,
        rejected: Arc::default(),
        started,
        limits: config.limits.clone(),
        exact_samples: config.aggregation.exact_samples,
        line_cache: config.aggregation.line_cache.get() as usize,
    }
}

fn observe(
    config: &Config,
    shared: &Shared,
    bound: &[BoundListener],
    instances: &[Instance],
    outlets: &[Outlet],
    instance: String,
) -> Observed {
    let ledgers = bound.iter().map(|listener| Arc::clone(listener.stats()));
    let ledgers = ledgers.chain(instances.iter().map(|instance| Arc::clone(&instance.ledger)));
    Observed {
        started: shared.started,
        instance,
        listeners: ledgers.collect(),
        kamailio: instances.iter().map(|instance| Arc::clone(&instance.polls)).collect(),
        windows: Arc::new(WindowStats::new(config.interval.get())),
        registry: Arc::clone(&shared.registry),
        rejected: Arc::clone(&shared.rejected),
        forwarders: outlets
            .iter()
            .map(|outlet| ObservedForwarder {
                name: outlet.name().to_owned(),
                kind: outlet.kind(),
                stats: Arc::clone(outlet.stats()),
            })
            .collect(),
        is_ready: AtomicBool::new(false),
    }
}

/// Has the listeners go before this thread where there are too few cores: what they cannot take at
/// once the kernel drops, and everything behind them can wait.
fn give_way() {
    // Without it the daemon works as well.
    let _not_allowed = rustix::process::nice(GIVE_WAY);
}

/// The threads between the sockets and the forwarders' queues.
struct Pipeline {
    wakers: Vec<Arc<Waker>>,
    listeners: Vec<JoinHandle<()>>,
    aggregator: JoinHandle<()>,
    stop: flume::Sender<()>,
}

impl Pipeline {
    fn start(
        config: &Config,
        shared: &Shared,
        observed: &Arc<Observed>,
        bound: Vec<BoundListener>,
        instances: &[Instance],
        outlets: Vec<Outlet>,
        pulse: Option<Pulse>,
    ) -> io::Result<(Self, Option<IntakeSender>)> {
        let interval = config.interval.get();
        let store = Store::new(&config.aggregation, interval, Arc::clone(&shared.registry));
        let mut tallies = AggregatorEnd::new();
        let registry = Arc::clone(&shared.registry);
        let (mut wakers, mut listeners) = (Vec::new(), Vec::new());
        for (number, listener) in bound.into_iter().enumerate() {
            let waker = Arc::new(Waker::new()?);
            let handover = tallies.add_listener(Arc::clone(&waker));
            let recorder = Recorder::new(
                shared.clone(),
                listener.protocol(),
                Arc::clone(listener.stats()),
                handover,
            );
            let stats = listener.stats();
            info!(listener = stats.label(), buffer = stats.receive_buffer(), "listening");
            wakers.push(Arc::clone(&waker));
            listeners.push(
                thread::Builder::new()
                    .name(format!("listen-{number}"))
                    .spawn(move || listener.run(recorder, &waker))?,
            );
        }
        let mut intake = None;
        if !instances.is_empty() {
            let waker = Arc::new(Waker::new()?);
            let handover = tallies.add_listener(Arc::clone(&waker));
            let source = |instance: &Instance| intake::Source {
                tags: instance.config.tags.clone().into_iter().collect(),
                stats: Arc::clone(&instance.ledger),
            };
            let sources = instances.iter().map(source).collect();
            let (sender, receiver) =
                intake::new(shared.clone(), sources, handover, Arc::clone(&waker));
            intake = Some(sender);
            wakers.push(Arc::clone(&waker));
            let thread = thread::Builder::new().name("kamailio".to_owned());
            listeners.push(thread.spawn(move || receiver.run(&waker))?);
        }
        let names = listeners.iter().map(|thread| thread.thread().name().unwrap_or_default());
        let pulse = pulse.map(|pulse| pulse.of_threads(names.map(str::to_owned).collect()));
        let own = config
            .self_metrics
            .then(|| SelfMetrics::new(Arc::clone(observed), Arc::clone(&shared.identifier)));
        let aggregator = AggregatorThread::new(store, interval, tallies, registry, outlets)
            .with_stats(Arc::clone(&observed.windows))
            .with_self_metrics(own)
            .with_pulse(pulse);
        let (stop, stopped) = flume::bounded(0);
        let aggregator = thread::Builder::new().name("aggregate".to_owned()).spawn(move || {
            give_way();
            aggregator.run(&stopped);
        })?;
        Ok((Self { wakers, listeners, aggregator, stop }, intake))
    }

    /// Stops upstream first: each part ends because its input has ended.
    ///
    /// # Panics
    /// If a thread panicked, which is a bug.
    fn stop(self) {
        self.wakers.iter().for_each(|waker| waker.stop());
        let listeners: Vec<_> = self.listeners.into_iter().map(JoinHandle::join).collect();
        drop(self.stop);
        let aggregator = self.aggregator.join();
        assert!(listeners.iter().all(Result::is_ok) && aggregator.is_ok(), "a thread panicked");
    }
}

/// The signals that tell the daemon something.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the signal that ends the daemon.
    async fn stop(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                // Files that were moved away are opened anew with the next window anyway.
                _ = self.hangup.recv() => {
                    warn!("SIGHUP: the configuration is read at start only; restart to change it");
                }
            }
        }
    }
}

/// Tells of datagrams that the kernel dropped, with the cure, at most once a minute.
async fn watch_drops(observed: Arc<Observed>) {
    let mut told = 0;
    let mut look = tokio::time::interval(DROPS_LOOK);
    loop {
        look.tick().await;
        let drops: u64 = observed.listeners.iter().map(|listener| listener.kernel_drops()).sum();
        if drops > told {
            warn!(
                dropped = drops - told,
                total = drops,
                "the kernel dropped datagrams because a receive buffer was full; a larger one: \
                 sysctl -w net.core.rmem_max=67108864 and `receive_buffer: 64MiB`"
            );
            told = drops;
            tokio::time::sleep(DROPS_LOG_PAUSE).await;
        }
    }
}

/// The last word: where everything went.
fn log_ledger(observed: &Observed) {
    let mut counts = Counts::default();
    observed.listeners.iter().for_each(|listener| counts.add(&listener.counts()));
    let kernel_drops: u64 = observed.listeners.iter().map(|listener| listener.kernel_drops()).sum();
    info!(
        received = counts.received(),
        aggregated = counts.aggregated,
        rejected = ?counts.rejected_by_reason(),
        skipped = counts.skipped,
        kernel_drops,
        "ledger of the listeners"
    );
    for forwarder in &observed.forwarders {
        let counts = forwarder.stats.counts();
        info!(
            forwarder = forwarder.name,
            flushed = counts.flushed,
            recovered = counts.recovered,
            delivered = counts.delivered,
            queued = counts.queued,
            spooled = counts.spooled,
            dropped = ?counts.dropped,
            "ledger of a forwarder"
        );
    }
}

/// A number that no other run has, as far as chance goes.
fn random_id() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}
