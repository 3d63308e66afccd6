//! A reload: rereads the configuration and applies the differences, or changes nothing at all.
//!
//! It has two steps. [`Daemon::stage_reload`] does everything that can fail: it reads and checks the
//! file, binds new sockets and starts new destinations. Only then does [`Daemon::reload`] change the
//! running daemon. Sockets, the open window, gauges, queues and spools stay.

use std::sync::Arc;

use thiserror::Error;
use tokio::runtime::Handle;
use tracing::{error, info};

use super::delivery::{StagedDestinations, WindowReceiver};
use super::lifecycle::Daemon;
use super::pipeline::{RemovedSocket, StagedListeners};
use super::report::{log_descriptors, log_warnings};
use super::start_error::StartError;
use crate::admin::{AdminError, AdminSockets};
use crate::config::{Config, ConfigFile};
use crate::runtime::running_config::{ReloadPlan, ReloadPlanError};
use crate::runtime::self_metrics::pipeline::SelfMetricsRecorder;
use engine::aggregator::thread::{NewSelfMetrics, Reconfiguration};
use engine::listener::passed::PassedSockets;
use engine::listener::recorder::RecorderContext;
use engine::listener::stats::ListenerStats;

/// The label of the combined ledger of removed listeners.
const REMOVED: &str = "removed";

/// Why a reload was refused. Nothing was changed.
#[derive(Debug, Error)]
pub(super) enum ReloadRefusal {
    #[error(transparent)]
    Config(#[from] ReloadPlanError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("loading the configuration failed (bug): {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

/// A configuration with all its resources, ready to replace the running one. Dropping it releases
/// them.
pub(super) struct StagedReload {
    file: Arc<ConfigFile>,
    changes: Vec<String>,
    listeners: StagedListeners,
    destinations: StagedDestinations,
    admin: AdminSockets,
}

impl Daemon {
    /// Rereads the configuration and acquires all its resources. Changes no running part, so the future
    /// may be dropped at any `await`.
    ///
    /// # Errors
    /// When the configuration cannot replace the running one.
    pub(super) async fn stage_reload(&self) -> Result<StagedReload, ReloadRefusal> {
        let running = Arc::clone(&self.state.config);
        running.record_started();
        let plan = tokio::task::spawn_blocking(move || running.plan_reload()).await??;
        let ReloadPlan { file, destinations, changes } = plan;
        let config = &file.config;
        // The service manager passes sockets only at the start.
        let (buffer, passed) = (config.receive_buffer.get(), PassedSockets::default());
        Ok(StagedReload {
            listeners: self.pipeline.stage(&file.listeners, buffer, passed)?,
            admin: self.admin.prepare(&config.admin).await?,
            destinations: self.delivery.stage(destinations).await?,
            file: Arc::new(file),
            changes,
        })
    }

    /// Applies a staged reload, or records why it was refused; log and status report either.
    pub(super) async fn reload(&mut self, staged: Result<StagedReload, ReloadRefusal>) {
        match staged {
            Ok(staged) => {
                let changes = staged.changes.clone();
                self.apply(staged).await;
                info!(?changes, "configuration reloaded");
            }
            Err(refusal) => {
                let reason = refusal.to_string();
                error!("reload refused, nothing was changed: {reason}");
                self.state.config.record_refused(reason);
            }
        }
    }

    /// Changes the running parts. The order matters: see the comments.
    async fn apply(&mut self, staged: StagedReload) {
        let StagedReload { file, changes, listeners, destinations, admin } = staged;
        let config = &file.config;
        let previous = self.state.config.current();
        log_warnings(&file);
        if file.descriptors != previous.descriptors {
            log_descriptors(&file.descriptors);
        }
        let (shared, is_shared_changed) = self.shared_with(&file, &previous);
        self.shared = shared;
        self.log.reconfigure(&config.log);

        let (removed, listening) =
            self.pipeline.apply(listeners, &self.shared, is_shared_changed).await;
        if let Err(error) = listening {
            error!(%error, "cannot start a listener; restart the daemon");
        }
        let removed_pollers = self.poll(config).await;
        let (WindowReceiver { emit, idle }, removed_destinations) =
            self.delivery.apply(destinations);
        // The change-over: the aggregator drops the previous `emit`, which closes the input of removed
        // destinations, and calls the listeners, which then apply their changes.
        let settings = Reconfiguration {
            emit: self.state.values.keeping(emit, Handle::current()),
            idle,
            interval: config.interval.get(),
            aggregation: config.aggregation.clone(),
            identifier: Arc::clone(&self.shared.identifier),
            self_metrics: config.self_metrics.then(|| self.new_self_metrics()),
        };
        self.pipeline.reconfigure(settings).await;
        // After the change-over, when no further window can reach them.
        removed_destinations.end_within(previous.config.shutdown_timeout.get());
        // New sockets are read by now, so datagrams for a shared port are not lost while the old
        // socket is drained. Joining its thread blocks.
        let ended = tokio::task::spawn_blocking(|| {
            removed.into_iter().map(RemovedSocket::end).collect::<Vec<_>>()
        });
        let mut ledgers = ended.await.unwrap_or_default();
        ledgers.extend(removed_pollers);
        self.absorb(&ledgers);
        self.state.taps.set_config(config.admin.tap);
        self.state.values.set_window_bytes_max(config.admin.window_bytes_max());
        let admin_connections = file.descriptors.http_max(config.admin.max_connections);
        let access = Arc::clone(&file.admin_access);
        self.admin.apply(&config.admin, access, admin_connections, admin).await;
        // Recorded last: a client that waits for the number of reloads to change then sees all of its
        // effects.
        self.publish_components();
        self.state.config.record_applied(Arc::clone(&file), changes);
    }

    /// Makes self-metrics that count from this reload on: the increase since the start of the process
    /// would appear as a spike in the first window.
    fn new_self_metrics(&self) -> NewSelfMetrics {
        let state = Arc::clone(&self.state);
        Box::new(|identifier| Box::new(SelfMetricsRecorder::new(state, identifier).starting_now()))
    }

    /// Returns the state that listeners share under the new configuration, and whether it differs from
    /// the current one.
    fn shared_with(&self, file: &ConfigFile, old: &ConfigFile) -> (RecorderContext, bool) {
        let is_rules_changed = file.rules != old.rules;
        let (new, old) = (&file.config, &old.config);
        let (aggregation, previous) = (&new.aggregation, &old.aggregation);
        let is_changed = new.agent != old.agent
            || new.limits != old.limits
            || new.signatures != old.signatures
            || is_rules_changed
            || aggregation.rule_cache != previous.rule_cache
            || aggregation.exact_samples != previous.exact_samples
            || aggregation.line_cache_bytes() != previous.line_cache_bytes();
        let mut shared = self.shared.clone();
        shared.cells.exact_samples = aggregation.exact_samples;
        shared.line_cache = aggregation.line_cache_bytes();
        shared.limits = new.limits.clone();
        shared.signatures.config = new.signatures;
        shared.rules = Arc::clone(&file.rules);
        shared.rule_cache = aggregation.rule_cache.get() as usize;
        if new.agent != old.agent {
            shared.identifier = Arc::new(shared.identifier.with_agent(&new.agent));
        }
        (shared, is_changed)
    }

    /// Replaces the pollers; returns the ledgers of the removed ones.
    async fn poll(&mut self, config: &Config) -> Vec<Arc<ListenerStats>> {
        let intake = self.pipeline.intake_for(&config.kamailio, &self.shared).await;
        let intake = intake.unwrap_or_else(|error| {
            error!(%error, "cannot poll Kamailio; reload again or restart the daemon");
            None
        });
        self.polling.apply(&config.kamailio, intake).await
    }

    /// Adds the ledgers of removed listeners to the combined one.
    fn absorb(&mut self, ledgers: &[Arc<ListenerStats>]) {
        if ledgers.is_empty() {
            return;
        }
        // A new ledger, because readers still see the current one together with those being absorbed,
        // until the components are replaced: adding to it would count these samples twice.
        let combined = ListenerStats::without_drops(REMOVED.to_owned());
        self.removed.iter().chain(ledgers).for_each(|ledger| combined.absorb(ledger));
        self.removed = Some(Arc::new(combined));
    }
}
