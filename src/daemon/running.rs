//! All parts of a daemon that runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use forwarders::delivery::driver::Destination;
use forwarders::spool::SpoolPlace;
use tokio::task::JoinSet;
use tracing::error;

use super::delivery::Delivery;
use super::pipeline::Pipeline;
use super::polling::Polling;
use super::report::{log_ledger, watch_drops};
use super::service;
use super::start_error::StartError;
use crate::admin::{Admin, Bound};
use crate::daemon::logging::Log;
use crate::runtime::configured::Configured;
use crate::runtime::self_metrics::pipeline::SelfMetrics;
use crate::runtime::{Observed, Parts, PartsNow};
use engine::aggregator::handover::AggregatorEnd;
use engine::aggregator::store::Store;
use engine::aggregator::thread::AggregatorThread;
use engine::aggregator::windows::WindowStats;
use engine::listener::passed::PassedSockets;
use engine::listener::recorder::RecorderContext;
use engine::listener::stats::ListenerStats;
use engine::listener::tap::taps::Taps;

/// A daemon that runs.
pub(super) struct Daemon {
    pub(super) log: Log,
    pub(super) shared: RecorderContext,
    pub(super) observed: Arc<Observed>,
    pub(super) delivery: Delivery,
    pub(super) pipeline: Pipeline,
    pub(super) polling: Polling,
    pub(super) admin: Admin,
    /// What became of the samples of all listeners that are gone.
    pub(super) gone: Option<Arc<ListenerStats>>,
    beside: JoinSet<()>,
}

impl Daemon {
    /// Starts all parts, downstream first.
    pub(super) async fn start(
        configured: Arc<Configured>,
        log: Log,
        destinations: Vec<Destination>,
    ) -> Result<Self, StartError> {
        let (loaded, instance) = (configured.running(), configured.instance().to_owned());
        let config = &loaded.config;
        let place = SpoolPlace { folder: config.spool_folder(), instance: instance.clone() };
        let mut delivery = Delivery::new(place);
        let destinations = delivery.prepare(destinations).await?;

        let interval = config.interval.get();
        let shared = config.shared(Instant::now());
        let observed = Arc::new(Observed {
            started: shared.started,
            instance,
            configured,
            windows: Arc::new(WindowStats::new(interval)),
            registry: Arc::clone(&shared.registry),
            rejected: Arc::clone(&shared.rejected),
            taps: Arc::new(Taps::new(config.admin.tap)),
            is_ready: AtomicBool::new(false),
            parts: Parts::default(),
        });
        let store = Store::new(&config.aggregation, interval, Arc::clone(&shared.registry));
        let registry = Arc::clone(&shared.registry);
        let identifier = Arc::clone(&shared.identifier);
        let self_metrics = config.self_metrics.then(
            || -> Box<dyn engine::aggregator::thread::SelfMetricsSource> {
                Box::new(SelfMetrics::new(Arc::clone(&observed), identifier))
            },
        );
        let (emit, _none_before) = delivery.apply(destinations);
        let aggregator =
            AggregatorThread::new(store, interval, AggregatorEnd::new(), registry, emit)
                .with_stats(Arc::clone(&observed.windows))
                .with_self_metrics(self_metrics)
                .with_pulse(service::pulse());
        let mut pipeline = Pipeline::start(aggregator, Arc::clone(&observed.taps))?;
        let passed = PassedSockets::from_environment()?;
        let buffer = config.receive_buffer.get();
        let listeners = pipeline.prepare(&loaded.listeners, buffer, passed)?;
        let bound = Bound::new(config.admin.listen).await?;
        let (_none_before, listening) = pipeline.apply(listeners, &shared, false).await;
        listening?;
        let intake = pipeline.intake_for(&config.kamailio, &shared).await?;
        let mut polling = Polling::default();
        polling.apply(&config.kamailio, intake).await;
        // Whoever may ask sees all of it.
        observed.parts.replace(parts(&pipeline, &polling, &delivery, None));
        observed.is_ready.store(true, Ordering::Release);
        let admin = Admin::start(&config.admin, bound, Arc::clone(&observed));
        let mut beside = JoinSet::new();
        beside.spawn(watch_drops(Arc::clone(&observed)));
        beside.spawn(service::tell_status(Arc::clone(&observed)));
        let gone = None;
        Ok(Self { log, shared, observed, delivery, pipeline, polling, admin, gone, beside })
    }

    /// Has everyone who looks see the parts that there are.
    pub(super) fn show_parts(&self) {
        let Self { pipeline, polling, delivery, gone, .. } = self;
        self.observed.parts.replace(parts(pipeline, polling, delivery, gone.clone()));
    }

    /// Stops all parts, upstream first.
    pub(super) async fn stop(self) {
        let Self { observed, delivery, pipeline, polling, admin, mut beside, .. } = self;
        let limit = observed.configured.running().config.shutdown_timeout.get();
        observed.is_ready.store(false, Ordering::Release);
        service::stopping(limit);
        let until = tokio::time::Instant::now() + limit;
        polling.stop().await;
        let stopped = tokio::task::spawn_blocking(move || pipeline.stop()).await;
        if stopped.is_err() {
            error!("a thread of the pipeline had panicked; its open window is lost");
        }
        // Whoever looks on hears of it meanwhile.
        tokio::join!(delivery.stop(until), observed.taps.close());
        beside.abort_all();
        drop(admin);
        log_ledger(&observed);
    }
}

fn parts(
    pipeline: &Pipeline,
    polling: &Polling,
    delivery: &Delivery,
    gone: Option<Arc<ListenerStats>>,
) -> PartsNow {
    PartsNow {
        listeners: pipeline.ledgers().chain(polling.ledgers()).chain(gone).collect(),
        kamailio: polling.polls(),
        forwarders: delivery.observed(),
    }
}
