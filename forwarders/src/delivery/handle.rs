//! The ends of a running destination: one for the flush, one for status and reload.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use tokio::sync::mpsc;
use tracing::warn;

use crate::config::{Common, DeliveryConfig};
use crate::delivery::backlog::Backlog;
use crate::delivery::delivery_loop::{DeliveryChange, NextForwarder};
use crate::delivery::destination::Destination;
use crate::delivery::forwarder::Forwarder;
use crate::delivery::settings::ForwarderSettings;
use crate::delivery::shared_backlog::SharedBacklog;
use crate::delivery::stats::ForwarderStats;
use crate::select::SelectConfig;
use model::Snapshot;

/// The end of a running destination that the flush pushes windows into. The destination ends when
/// its last handle is dropped.
#[derive(Debug)]
pub struct QueueHandle {
    name: String,
    select: SelectConfig,
    input: Arc<BacklogInput>,
    wants_idle_windows: bool,
}

/// Closes a backlog when its last user is gone.
#[derive(Debug)]
pub(super) struct BacklogInput(Arc<SharedBacklog>);

impl BacklogInput {
    pub(super) fn new(backlog: &Arc<SharedBacklog>) -> Arc<Self> {
        Arc::new(Self(Arc::clone(backlog)))
    }
}

impl Drop for BacklogInput {
    fn drop(&mut self) {
        self.0.apply(Backlog::close);
    }
}

impl QueueHandle {
    /// Queues the part of a snapshot that the destination selects. Never waits.
    pub fn push(&self, snapshot: &Arc<Snapshot>) {
        let snapshot = self.select.apply(snapshot);
        if snapshot.points.is_empty() && !self.wants_idle_windows {
            return;
        }
        let evicted = self.input.0.apply(|backlog| backlog.push(snapshot));
        if evicted > 0 {
            warn!(forwarder = self.name, points = evicted, "queue full, dropped its oldest window");
        }
    }
}

/// A running destination, for the status and for a reload.
#[derive(Debug)]
pub struct DestinationHandle {
    kind: &'static str,
    name: String,
    settings: ForwarderSettings,
    delivery: DeliveryConfig,
    select: SelectConfig,
    may_spool: bool,
    wants_idle_windows: bool,
    listen: Option<SocketAddr>,
    stats: Arc<ForwarderStats>,
    /// Weak, so that the destination ends with the last [`QueueHandle`].
    input: Weak<BacklogInput>,
    changes: mpsc::UnboundedSender<DeliveryChange>,
}

impl DestinationHandle {
    /// The handle of a destination that is about to run.
    pub(super) fn new(
        destination: &Destination,
        stats: Arc<ForwarderStats>,
        input: &Arc<BacklogInput>,
        changes: mpsc::UnboundedSender<DeliveryChange>,
    ) -> Self {
        let Destination { kind, common, settings, forwarder, .. } = destination;
        Self {
            kind,
            name: common.name.clone(),
            settings: settings.clone(),
            delivery: common.delivery.clone(),
            select: common.select.clone(),
            may_spool: destination.may_spool(),
            wants_idle_windows: forwarder.wants_idle_windows(),
            listen: forwarder.listen(),
            stats,
            input: Arc::downgrade(input),
            changes,
        }
    }

    /// The name in the ledger and in the log.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kind of the section.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The counts of the destination.
    #[must_use]
    pub fn stats(&self) -> &Arc<ForwarderStats> {
        &self.stats
    }

    /// Whether [`DestinationHandle::reconfigure`] can turn it into this destination: one of the same
    /// name and kind whose windows wait in the same place. If not, it has to end and the other one
    /// starts.
    #[must_use]
    pub fn can_reconfigure(&self, destination: &Destination) -> bool {
        self.name == destination.common.name
            && self.kind == destination.kind
            && self.may_spool == destination.may_spool()
    }

    /// Whether it has the configuration of this destination already.
    #[must_use]
    pub fn same_config(&self, destination: &Destination) -> bool {
        let Common { select, delivery, .. } = &destination.common;
        self.can_reconfigure(destination)
            && self.settings == destination.settings
            && self.select == *select
            && self.delivery == *delivery
    }

    /// Whether the destination's forwarder must not be started in advance: this one's stays, or it
    /// holds the socket until it is dropped.
    #[must_use]
    pub fn defers_start(&self, destination: &Destination) -> bool {
        let listen = destination.forwarder.listen();
        self.settings == destination.settings || (listen.is_some() && listen == self.listen)
    }

    /// Applies the configuration of this destination. Queue, spool and counts stay, so undelivered
    /// windows go to the new forwarder, which has been started unless
    /// [`DestinationHandle::defers_start`].
    ///
    /// The returned handle replaces the earlier one, which must be dropped only after that. `None`
    /// if the destination has ended.
    #[must_use]
    pub fn reconfigure(&mut self, destination: Destination) -> Option<QueueHandle> {
        let is_started = !self.defers_start(&destination);
        let Destination { common, settings, forwarder, attempt_max, .. } = destination;
        let input = self.input.upgrade()?;
        let patience = common.delivery.timeout.get();
        let next = (self.settings != settings).then(|| {
            self.replace_forwarder(&*forwarder, settings);
            NextForwarder { forwarder, attempt_max, patience, is_started }
        });
        input.0.apply(|backlog| backlog.set_limits(&common.delivery));
        let change = DeliveryChange { retry: common.delivery.retry.clone(), next };
        // A task that has ended has nothing left to change.
        let _has_ended = self.changes.send(change);
        (self.select, self.delivery) = (common.select, common.delivery);
        Some(self.queue_of(input))
    }

    fn replace_forwarder(&mut self, forwarder: &dyn Forwarder, settings: ForwarderSettings) {
        self.stats.continue_with(forwarder);
        self.wants_idle_windows = forwarder.wants_idle_windows();
        self.listen = forwarder.listen();
        self.settings = settings;
    }

    /// Another handle to push windows into; `None` if the destination has ended.
    #[must_use]
    pub fn queue(&self) -> Option<QueueHandle> {
        Some(self.queue_of(self.input.upgrade()?))
    }

    pub(super) fn queue_of(&self, input: Arc<BacklogInput>) -> QueueHandle {
        QueueHandle {
            name: self.name.clone(),
            select: self.select.clone(),
            input,
            wants_idle_windows: self.wants_idle_windows,
        }
    }
}
