//! A destination before its task runs.

use crate::config::{Common, SpoolWrite};
use crate::delivery::forwarder::Forwarder;
use crate::delivery::payload::Batch;
use crate::delivery::settings::ForwarderSettings;
use std::time::Duration;

/// A destination as its section in the configuration builds it, not running yet.
pub struct Destination {
    /// The kind of its section: `kafka`, `file`…
    pub kind: &'static str,
    /// The index of its section among the sections of this kind, in the order of the configuration.
    pub index: usize,
    /// Name, selection and delivery settings.
    pub common: Common,
    /// The settings that the forwarder was built from.
    pub settings: ForwarderSettings,
    /// Encodes and sends windows.
    pub forwarder: Box<dyn Forwarder>,
    /// Time limit of one attempt; `None` if attempts are not limited.
    pub attempt_max: Option<Duration>,
}

impl Destination {
    /// A destination whose attempts have no time limit. This is right for a destination on this
    /// host, where an interrupted attempt would write data twice, and for a protocol that limits
    /// each request, where an attempt continues as long as its requests succeed.
    #[must_use]
    pub fn new(
        kind: &'static str,
        common: Common,
        settings: ForwarderSettings,
        forwarder: impl Forwarder + 'static,
    ) -> Self {
        let forwarder = Box::new(forwarder);
        Self { kind, index: 0, common, settings, forwarder, attempt_max: None }
    }

    /// Limits each attempt to `delivery.timeout`. For a destination on the network whose attempts
    /// can be abandoned and repeated.
    #[must_use]
    pub fn with_attempt_limit(self) -> Self {
        Self { attempt_max: Some(self.common.delivery.timeout.get()), ..self }
    }

    /// Whether a restart without the saved state of the previous run would overwrite windows or
    /// reset totals at the destination.
    #[must_use]
    pub fn needs_restart_state(&self) -> bool {
        let keeps_totals = || self.forwarder.save_state(&Batch::default(), 0).is_some();
        self.forwarder.keeps_last_write() || keeps_totals()
    }

    /// Whether its windows may wait on disk.
    #[must_use]
    pub fn may_spool(&self) -> bool {
        let write = self.common.delivery.spool.write;
        self.forwarder.wants_old_data() && write != SpoolWrite::Never
    }
}
