//! The running daemon: start and stop of all its parts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use forwarders::delivery::destination::Destination;
use forwarders::spool::SpoolPlace;
use httpserver::HttpServer;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tracing::error;

use super::delivery::{Delivery, WindowReceiver};
use super::pipeline::PipelineThreads;
use super::polling::Polling;
use super::report::{log_descriptors, log_ledger, watch_drops};
use super::restart::RestartState;
use super::restored::Restored;
use super::run_length::RunLength;
use super::service;
use super::start_error::StartError;
use crate::admin::{AdminServer, AdminSockets, http_server};
use crate::config::Config;
use crate::daemon::logging::LogHandle;
use crate::runtime::current_values::CurrentValues;
use crate::runtime::output_taps::OutputTaps;
use crate::runtime::restart::RestartStats;
use crate::runtime::running_config::RunningConfig;
use crate::runtime::self_metrics::pipeline::SelfMetricsRecorder;
use crate::runtime::{Components, RuntimeState, SharedComponents};
use engine::aggregator::handover::AggregatorEnd;
use engine::aggregator::store::Store;
use engine::aggregator::thread::{AggregatorThread, SelfMetricsSource};
use engine::aggregator::windows::WindowStats;
use engine::listener::passed::PassedSockets;
use engine::listener::recorder::RecorderContext;
use engine::listener::stats::ListenerStats;
use engine::listener::tap::taps::Taps;

/// A running daemon.
pub(super) struct Daemon {
    pub(super) log: LogHandle,
    pub(super) shared: RecorderContext,
    pub(super) state: Arc<RuntimeState>,
    pub(super) delivery: Delivery,
    pub(super) pipeline: PipelineThreads,
    pub(super) polling: Polling,
    pub(super) admin: AdminServer,
    /// The combined ledger of all removed listeners, so that the totals never decrease.
    pub(super) removed: Option<Arc<ListenerStats>>,
    background: JoinSet<()>,
    restart: RestartState,
}

impl Daemon {
    /// Starts all parts, downstream first, so that every received sample has a consumer.
    ///
    /// # Errors
    /// When an address is in use, a forwarder lacks something, or the system refuses a resource.
    pub(super) async fn start(
        running_config: Arc<RunningConfig>,
        log: LogHandle,
        mut destinations: Vec<Destination>,
        run_length: RunLength,
    ) -> Result<Self, StartError> {
        let file = running_config.current();
        let config = &file.config;
        log_descriptors(&file.descriptors);
        let instance = running_config.instance().to_owned();
        let mut delivery = Delivery::new(SpoolPlace { folder: config.spool_folder(), instance });
        let restart_stats = Arc::<RestartStats>::default();
        let restart = match run_length {
            RunLength::UntilStopped => open_restart(config, &restart_stats, &destinations).await,
            RunLength::OneWindow(_) => RestartState::none(Arc::clone(&restart_stats)),
        };
        let max = config.restart_state.bound();
        let window = config.signatures.window_seconds();
        let mut restored = restart.read(max, window, &destinations).await;
        restored.restore_totals(&mut destinations, &restart_stats);
        restored.spare_lost_window(config.interval.get());
        // A destination that cannot start fails the start before anything else runs.
        let destinations = delivery.stage(destinations).await?;

        let admin_connections = file.descriptors.http_max(config.admin.max_connections);
        let access = Arc::clone(&file.admin_access);
        let http = http_server(&config.admin, access, admin_connections);
        let signatures = std::mem::take(&mut restored.signatures);
        let shared = file.shared(Instant::now(), restored.set_seed.clone(), signatures);
        restored.drop_sets_of_another_seed(&shared.cells.set_seed, &restart_stats);
        let state = Arc::new(runtime_state(running_config, &shared, restart_stats, &http, &log));
        let (receiver, _none_removed) = delivery.apply(destinations);
        let aggregator = aggregator(&state, &shared, receiver, restored, &restart);
        let mut pipeline = PipelineThreads::start(aggregator, Arc::clone(&state.taps))?;
        pipeline.let_ask(&state.values);
        // All sockets are bound before the first one is read: a daemon that cannot start takes no
        // datagrams.
        let passed = PassedSockets::from_environment()?;
        let listeners = pipeline.stage(&file.listeners, config.receive_buffer.get(), passed)?;
        let admin_socket = AdminSockets::bind(&config.admin).await?;
        // Nothing that can fail the start follows, and no sample was read: a start that fails can be
        // repeated with the same state, and a crash from here on leaves none.
        let is_stale = restart.consume().await;
        let windows = Arc::clone(&shared.signatures.windows);
        restart.keep_mark(windows, window_of(&state));
        let (_none_removed, listening) = pipeline.apply(listeners, &shared, false).await;
        listening?;
        let intake = pipeline.intake_for(&config.kamailio, &shared).await?;
        let mut polling = Polling::default();
        polling.apply(&config.kamailio, intake).await;
        // The endpoint starts last, so that its first reply already shows all components.
        state.components.replace(components(&pipeline, &polling, &delivery, None));
        state.is_ready.store(true, Ordering::Release);
        let admin = AdminServer::start(&config.admin, http, admin_socket, Arc::clone(&state));
        let background = background_tasks(&state, is_stale.then(|| restart.clone()));
        let removed = None;
        Ok(Self {
            log,
            shared,
            state,
            delivery,
            pipeline,
            polling,
            admin,
            removed,
            background,
            restart,
        })
    }

    /// Publishes the current components to the readers of the state.
    pub(super) fn publish_components(&self) {
        let Self { pipeline, polling, delivery, removed, .. } = self;
        self.state.components.replace(components(pipeline, polling, delivery, removed.clone()));
    }

    /// Stops all parts in the order of the data, upstream first, and logs the ledgers.
    pub(super) async fn stop(self) {
        let Self {
            state, shared, delivery, pipeline, polling, admin, mut background, restart, ..
        } = self;
        let limit = state.config.current().config.shutdown_timeout.get();
        state.is_ready.store(false, Ordering::Release);
        service::stopping(limit);
        // Counted from here: time that the listeners take to drain is not available for delivery.
        let until = tokio::time::Instant::now() + limit;
        polling.stop().await;
        // Joining threads blocks, while the forwarders need the runtime's workers to deliver.
        let stopped = tokio::task::spawn_blocking(move || pipeline.stop()).await;
        if stopped.is_err() {
            error!("a pipeline thread panicked (bug); the open window is lost");
        }
        // The aggregator has ended and its queues are closed: the destinations end when they are empty.
        // In parallel, the tap clients get the events of the last messages.
        let max = bound_of(&state)();
        let (ended, (), ()) = tokio::join!(
            delivery.stop(until, limit),
            admin.end_long_replies(),
            restart.save_signatures(shared.signatures.windows, max),
        );
        restart.save_totals(ended, bound_of(&state)()).await;
        background.abort_all();
        // The endpoint answers until here, so that the progress of a long stop is visible.
        drop(admin);
        log_ledger(&state);
    }
}

async fn open_restart(
    config: &Config,
    stats: &Arc<RestartStats>,
    destinations: &[Destination],
) -> RestartState {
    RestartState::open(&config.restart_folder(), Arc::clone(stats), destinations).await
}

/// The state of a daemon that has no components yet.
fn runtime_state(
    running: Arc<RunningConfig>,
    shared: &RecorderContext,
    restart: Arc<RestartStats>,
    http: &HttpServer,
    log: &LogHandle,
) -> RuntimeState {
    let file = running.current();
    let config = &file.config;
    RuntimeState {
        started: shared.started,
        started_at: SystemTime::now(),
        instance: running.instance().to_owned(),
        windows: Arc::new(WindowStats::new(config.interval.get())),
        registry: Arc::clone(&shared.registry),
        rejected: Arc::clone(&shared.rejected),
        restart,
        values: Arc::new(CurrentValues::new(config.admin.window_bytes_max())),
        taps: Arc::new(Taps::new(config.admin.tap)),
        output_taps: OutputTaps::default(),
        admin: Arc::clone(http.stats()),
        log_lines_dropped: log.dropped(),
        is_ready: AtomicBool::new(false),
        components: SharedComponents::default(),
        config: running,
    }
}

/// The aggregator, which continues the state of an earlier run and passes windows to the destinations.
fn aggregator(
    state: &Arc<RuntimeState>,
    shared: &RecorderContext,
    receiver: WindowReceiver,
    restored: Restored,
    restart: &RestartState,
) -> AggregatorThread {
    let file = state.config.current();
    let config = &file.config;
    let interval = config.interval.get();
    let registry = Arc::clone(&shared.registry);
    let mut store = Store::new(&config.aggregation, interval, Arc::clone(&registry));
    restored.log(store.restore_levels(&restored.levels, interval));
    let identifier = Arc::clone(&shared.identifier);
    let self_metrics = config.self_metrics.then(|| -> Box<dyn SelfMetricsSource> {
        Box::new(SelfMetricsRecorder::new(Arc::clone(state), identifier))
    });
    let WindowReceiver { emit, idle } = receiver;
    let emit = state.values.keeping(emit, Handle::current());
    let restart_store = restart.store(bound_of(state), shared.cells.set_seed.clone());
    AggregatorThread::new(store, interval, AggregatorEnd::new(), registry, emit)
        .with_idle(idle)
        .with_stats(Arc::clone(&state.windows))
        .with_latest_window(state.values.latest())
        .with_self_metrics(self_metrics)
        .with_restart(restart_store, restored.unfinished)
        .with_pulse(service::pulse())
}

/// Starts the tasks that run until the stop. `stale` is the restart state that could not be removed yet.
fn background_tasks(state: &Arc<RuntimeState>, stale: Option<RestartState>) -> JoinSet<()> {
    let mut background = JoinSet::new();
    background.spawn(watch_drops(Arc::clone(state)));
    background.spawn(service::report_status(Arc::clone(state)));
    if let Some(restart) = stale {
        background.spawn(restart.consume_later());
    }
    background
}

/// The bound of the restart state, which a reload may change.
fn bound_of(state: &Arc<RuntimeState>) -> impl Fn() -> u64 + Send + 'static {
    let running = Arc::clone(&state.config);
    move || running.current().config.restart_state.bound()
}

/// The seconds by which a signed datagram may be ahead of the clock, which a reload may change.
fn window_of(state: &Arc<RuntimeState>) -> impl Fn() -> u64 + Send + 'static {
    let running = Arc::clone(&state.config);
    move || running.current().config.signatures.window_seconds()
}

/// The components of these parts, as the readers of the state see them.
fn components(
    pipeline: &PipelineThreads,
    polling: &Polling,
    delivery: &Delivery,
    removed: Option<Arc<ListenerStats>>,
) -> Components {
    Components {
        listeners: pipeline.ledgers().chain(polling.ledgers()).chain(removed).collect(),
        kamailio: polling.polls(),
        forwarders: delivery.info(),
    }
}
