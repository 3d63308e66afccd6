//! Splits a destination into its handles and its task.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::delivery::delivery_loop::DeliveryLoop;
use crate::delivery::destination::Destination;
use crate::delivery::handle::{BacklogInput, DestinationHandle, QueueHandle};
use crate::delivery::shared_backlog::SharedBacklog;
use crate::delivery::spool_loop::SpoolLoop;
use crate::delivery::stats::ForwarderStats;
use crate::delivery::task::ForwarderTask;
use crate::spool::{Host, SpoolPlace, SpoolWriter};

impl Destination {
    /// Splits the destination into the handle of its queue, its own handle, and the task to spawn.
    /// Windows wait in memory only.
    #[must_use]
    pub fn split(self) -> (QueueHandle, DestinationHandle, ForwarderTask) {
        self.split_with(None, &Host::Real)
    }

    /// Like [`Destination::split`]. Windows may also wait on disk in `place`, if the destination
    /// can have a spool ([`Destination::may_spool`]).
    #[must_use]
    pub fn split_with_spool(
        self,
        place: &SpoolPlace,
    ) -> (QueueHandle, DestinationHandle, ForwarderTask) {
        let may_spool = self.may_spool();
        self.split_with(Some(place).filter(|_| may_spool), &Host::Real)
    }

    /// Like [`Destination::split_with_spool`], on a host that may be simulated.
    #[cfg(any(test, feature = "test-util"))]
    #[must_use]
    pub fn split_on(
        self,
        host: &Host,
        place: &SpoolPlace,
    ) -> (QueueHandle, DestinationHandle, ForwarderTask) {
        let may_spool = self.may_spool();
        self.split_with(Some(place).filter(|_| may_spool), host)
    }

    fn split_with(
        self,
        place: Option<&SpoolPlace>,
        host: &Host,
    ) -> (QueueHandle, DestinationHandle, ForwarderTask) {
        let name = self.common.name.clone();
        let stats = Arc::new(ForwarderStats::new(&*self.forwarder));
        let delivery = &self.common.delivery;
        let backlog = SharedBacklog::new(delivery, place.is_some(), Arc::clone(&stats));
        let backlog = Arc::new(backlog);
        let input = BacklogInput::new(&backlog);
        let (sender, changes) = mpsc::unbounded_channel();
        let handle = DestinationHandle::new(&self, Arc::clone(&stats), &input, sender);
        let writer = place.map(|place| SpoolWriter::new(name.clone(), place, host.clone()));
        let reader = writer.as_ref().map(SpoolWriter::reader);
        let delivery_loop = DeliveryLoop::new(self, reader, Arc::clone(&backlog), host.clone());
        let spool_loop = writer.map(|writer| {
            // Before the folder is opened: the status names it even if opening it fails.
            stats.set_spool_folder(writer.root());
            SpoolLoop::new(name.clone(), writer, Arc::clone(&backlog))
        });
        let task = ForwarderTask::new(name, delivery_loop, spool_loop, backlog, changes);
        (handle.queue_of(input), handle, task)
    }
}
