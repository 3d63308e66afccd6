//! A reload: reads the configuration anew and changes what is different, or nothing at all.
//!
//! First all that can fail: the file is read and checked, new sockets are bound, new destinations
//! started. Only then is anything changed that runs. Sockets, the open window, gauges, queues and
//! spools stay.

use std::sync::Arc;

use thiserror::Error;
use tracing::{error, info};

use super::running::Daemon;
use super::start_error::StartError;
use super::{delivery, pipeline};
use crate::admin::{self, AdminError};
use crate::config::{Config, Loaded};
use crate::runtime::configured::{Candidate, Unfit};
use crate::runtime::self_metrics::pipeline::SelfMetrics;
use engine::aggregator::thread::{NewSelfMetrics, Reconfiguration};
use engine::listener::passed::PassedSockets;
use engine::listener::recorder::RecorderContext;
use engine::listener::stats::ListenerStats;

/// What the status calls listeners that are gone, all together.
const GONE: &str = "removed";

/// Why a reload changes nothing.
#[derive(Debug, Error)]
pub(super) enum Refused {
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("reading the configuration did not end: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

/// All that a configuration needs, ready to take its place.
pub(super) struct Prepared {
    loaded: Arc<Loaded>,
    changes: Vec<String>,
    listeners: pipeline::Prepared,
    destinations: delivery::Prepared,
    admin: Option<admin::Bound>,
}

impl Daemon {
    /// Reads the configuration anew. Nothing is changed yet, and this may be dropped at any await.
    pub(super) async fn prepare(&self) -> Result<Prepared, Refused> {
        let configured = Arc::clone(&self.observed.configured);
        let candidate = tokio::task::spawn_blocking(move || configured.candidate()).await??;
        let Candidate { loaded, destinations, changes } = candidate;
        let config = &loaded.config;
        let (buffer, passed) = (config.receive_buffer.get(), PassedSockets::default());
        Ok(Prepared {
            listeners: self.pipeline.prepare(&loaded.listeners, buffer, passed)?,
            admin: self.admin.prepare(&config.admin).await?,
            destinations: self.delivery.prepare(destinations).await?,
            loaded: Arc::new(loaded),
            changes,
        })
    }

    /// Goes on with it or, if it was refused, as before; log and status tell.
    pub(super) async fn reload(&mut self, prepared: Result<Prepared, Refused>) {
        match prepared {
            Ok(prepared) => {
                let changes = prepared.changes.clone();
                self.apply(prepared).await;
                info!(?changes, "reloaded");
            }
            Err(refused) => {
                let words = refused.to_string();
                error!("reload refused, nothing was changed: {words}");
                self.observed.configured.refused(words);
            }
        }
    }

    async fn apply(&mut self, prepared: Prepared) {
        let Prepared { loaded, changes, listeners, destinations, admin } = prepared;
        let config = &loaded.config;
        let before = self.observed.configured.running();
        let (shared, is_shared_changed) = self.shared_with(config, &before.config);
        self.shared = shared;
        self.log.change(&config.log);

        let (removed, listening) =
            self.pipeline.apply(listeners, &self.shared, is_shared_changed).await;
        if let Err(error) = listening {
            error!(%error, "a listener could not be started: restart the daemon");
        }
        let gone_polls = self.poll(config).await;
        let (emit, removed_destinations) = self.delivery.apply(destinations);
        let settings = Reconfiguration {
            emit,
            interval: config.interval.get(),
            aggregation: config.aggregation.clone(),
            identifier: Arc::clone(&self.shared.identifier),
            self_metrics: config.self_metrics.then(|| self.new_self_metrics()),
        };
        self.pipeline.reconfigure(settings).await;
        removed_destinations.end_within(before.config.shutdown_timeout.get());
        let ended = tokio::task::spawn_blocking(|| {
            removed.into_iter().map(pipeline::Removed::end).collect::<Vec<_>>()
        });
        let mut gone = ended.await.unwrap_or_default();
        gone.extend(gone_polls);
        self.absorb(&gone);
        self.observed.taps.set_config(config.admin.tap);
        self.admin.apply(&config.admin, admin);
        // In this order: whoever waits for the reload sees all of it.
        self.show_parts();
        self.observed.configured.applied(Arc::clone(&loaded), changes);
    }

    /// Counts from the reload on, not from the start of the process.
    fn new_self_metrics(&self) -> NewSelfMetrics {
        let observed = Arc::clone(&self.observed);
        Box::new(|identifier| Box::new(SelfMetrics::new(observed, identifier).from_now_on()))
    }

    /// What listeners share from now on, and whether that is anything else than before.
    fn shared_with(&self, new: &Config, old: &Config) -> (RecorderContext, bool) {
        let (aggregation, before) = (&new.aggregation, &old.aggregation);
        let is_changed = new.agent != old.agent
            || new.limits != old.limits
            || aggregation.exact_samples != before.exact_samples
            || aggregation.line_cache != before.line_cache;
        let mut shared = self.shared.clone();
        shared.exact_samples = aggregation.exact_samples;
        shared.line_cache = aggregation.line_cache.get() as usize;
        shared.limits = new.limits.clone();
        if new.agent != old.agent {
            shared.identifier = Arc::new(shared.identifier.with_agent(&new.agent));
        }
        (shared, is_changed)
    }

    async fn poll(&mut self, config: &Config) -> Vec<Arc<ListenerStats>> {
        let intake = self.pipeline.intake_for(&config.kamailio, &self.shared).await;
        let intake = intake.unwrap_or_else(|error| {
            error!(%error, "Kamailio is not polled: reload again, or restart the daemon");
            None
        });
        self.polling.apply(&config.kamailio, intake).await
    }

    /// Keeps what became of the samples of listeners that are gone.
    fn absorb(&mut self, gone: &[Arc<ListenerStats>]) {
        if gone.is_empty() {
            return;
        }
        // A new one, so that nobody sees a sample twice or not at all.
        let all = ListenerStats::without_drops(GONE.to_owned());
        self.gone.iter().chain(gone).for_each(|one| all.absorb(one));
        self.gone = Some(Arc::new(all));
    }
}
