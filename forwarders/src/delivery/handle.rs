//! The handles of a running destination: one for the flush, one for the status and reloads.

use std::sync::{Arc, Weak};

use basics::address::ListenAddresses;
use tokio::sync::mpsc;
use tracing::warn;

use crate::config::{Common, DeliveryConfig};
use crate::delivery::backlog::{Backlog, EvictedPoints};
use crate::delivery::delivery_loop::{DeliveryChange, NextForwarder};
use crate::delivery::destination::Destination;
use crate::delivery::forwarder::Forwarder;
use crate::delivery::settings::ForwarderSettings;
use crate::delivery::shared_backlog::SharedBacklog;
use crate::delivery::stats::ForwarderStats;
use crate::delivery::write_ahead::{GateTicket, WindowHold};
use crate::select::SelectConfig;
use model::{ClosedWindow, IdleLimits, Snapshot};

/// The handle through which the flush pushes windows to a running destination. The destination ends
/// when its last queue handle is dropped.
#[derive(Debug)]
pub struct QueueHandle {
    name: String,
    select: SelectConfig,
    idle: IdleLimits,
    input: Arc<BacklogInput>,
    wants_idle_windows: bool,
    keeps_last_write: bool,
}

/// Closes a backlog when the last reference is dropped.
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
    /// Queues the points of a snapshot that the destination's `select` matches. Never waits.
    pub fn push(&self, snapshot: &Arc<Snapshot>) {
        let (increment, whole) = (Arc::clone(snapshot), Arc::clone(snapshot));
        push_all(std::slice::from_ref(self), &ClosedWindow { increment, whole, idle: None });
    }

    /// The idle series whose points the destination wants.
    #[must_use]
    pub fn idle(&self) -> &IdleLimits {
        &self.idle
    }

    fn push_held(&self, window: &ClosedWindow, first: Option<&GateTicket>) {
        let form = window.form(self.keeps_last_write, &self.idle);
        let snapshot = self.select.apply(&form);
        if snapshot.points.is_empty() && !self.wants_idle_windows {
            return;
        }
        let has_points = !snapshot.points.is_empty();
        // Before the lock is taken: the first call visits all points. Destinations with the same
        // points share the result.
        let _bytes = snapshot.heap_bytes();
        let evicted = self.input.0.apply(|backlog| {
            let ticket = first.filter(|_| has_points && backlog.writes_ahead());
            let hold = first.map(|first| WindowHold {
                gate: Arc::clone(first.gate()),
                ticket: ticket.map(GateTicket::another),
            });
            backlog.push(snapshot, hold)
        });
        if let Some(EvictedPoints { points: points @ 1.., bound }) = evicted {
            let limit = bound.words();
            warn!(forwarder = self.name, points, limit, "queue full, dropped its oldest windows");
        }
    }
}

/// Queues a closed window for all destinations, for each in the form that it needs. Never waits. If a
/// destination has to write each window ahead, none delivers the window before it is on disk.
pub fn push_all(queues: &[QueueHandle], window: &ClosedWindow) {
    let writes_ahead = |queue: &QueueHandle| queue.input.0.read(Backlog::writes_ahead);
    // Kept to the end of this function, so that the gate cannot open before all have their window.
    let first = queues.iter().any(writes_ahead).then(|| {
        let wakers = queues.iter().map(|queue| queue.input.0.delivery_waker());
        GateTicket::first(wakers.collect())
    });
    queues.iter().for_each(|queue| queue.push_held(window, first.as_ref()));
}

/// The handle of a running destination for the status and for reloads.
#[derive(Debug)]
pub struct DestinationHandle {
    kind: &'static str,
    name: String,
    settings: ForwarderSettings,
    delivery: DeliveryConfig,
    select: SelectConfig,
    idle: IdleLimits,
    may_spool: bool,
    wants_idle_windows: bool,
    keeps_last_write: bool,
    listen: Option<ListenAddresses>,
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
            idle: common.idle,
            may_spool: destination.may_spool(),
            wants_idle_windows: forwarder.wants_idle_windows(),
            keeps_last_write: forwarder.keeps_last_write(),
            listen: forwarder.listen().cloned(),
            stats,
            input: Arc::downgrade(input),
            changes,
        }
    }

    /// The destination's name in the ledger and the log.
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

    /// Whether [`DestinationHandle::reconfigure`] can apply the configuration of `destination`: it
    /// has the same name and kind and the same use of a spool. If not, the running destination has
    /// to end, and the new one starts with an empty ledger.
    #[must_use]
    pub fn can_reconfigure(&self, destination: &Destination) -> bool {
        // A running destination cannot gain or lose a spool: its spool loop exists from the start.
        self.name == destination.common.name
            && self.kind == destination.kind
            && self.may_spool == destination.may_spool()
    }

    /// Whether the running destination already has the configuration of `destination`.
    #[must_use]
    pub fn same_config(&self, destination: &Destination) -> bool {
        let Common { select, idle, delivery, .. } = &destination.common;
        self.can_reconfigure(destination)
            && self.settings == destination.settings
            && self.select == *select
            && self.idle == *idle
            && self.delivery == *delivery
    }

    /// Whether the forwarder of `destination` must not be started in advance: either the current
    /// forwarder stays, or it holds the socket that the new one needs.
    #[must_use]
    pub fn defers_start(&self, destination: &Destination) -> bool {
        let listens = (destination.forwarder.listen(), self.listen.as_ref());
        self.settings == destination.settings
            || matches!(listens, (Some(new), Some(current)) if new.overlaps(current))
    }

    /// Applies the configuration of `destination`. Queue, spool and counts stay, so undelivered
    /// windows go to the new forwarder. The caller has started it unless
    /// [`DestinationHandle::defers_start`].
    ///
    /// Returns the handle that replaces the previous queue handle. The previous one must be dropped
    /// only afterwards, or the destination would end. `None` if the destination has ended.
    #[must_use]
    pub fn reconfigure(&mut self, destination: Destination) -> Option<QueueHandle> {
        // Asked first, because the settings and the address that it compares are replaced below.
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
        // Fails if the task has ended, which needs no change.
        let _has_ended = self.changes.send(change);
        (self.select, self.idle, self.delivery) = (common.select, common.idle, common.delivery);
        Some(self.queue_of(input))
    }

    fn replace_forwarder(&mut self, forwarder: &dyn Forwarder, settings: ForwarderSettings) {
        self.stats.continue_with(forwarder);
        self.wants_idle_windows = forwarder.wants_idle_windows();
        self.keeps_last_write = forwarder.keeps_last_write();
        self.listen = forwarder.listen().cloned();
        self.settings = settings;
    }

    /// Another queue handle; `None` if the destination has ended.
    #[must_use]
    pub fn queue(&self) -> Option<QueueHandle> {
        Some(self.queue_of(self.input.upgrade()?))
    }

    pub(super) fn queue_of(&self, input: Arc<BacklogInput>) -> QueueHandle {
        QueueHandle {
            name: self.name.clone(),
            select: self.select.clone(),
            idle: self.idle,
            input,
            wants_idle_windows: self.wants_idle_windows,
            keeps_last_write: self.keeps_last_write,
        }
    }
}
