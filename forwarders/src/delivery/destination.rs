//! A destination before it runs.

use crate::config::{Common, SpoolWrite};
use crate::delivery::forwarder::Forwarder;
use crate::delivery::settings::ForwarderSettings;
use std::time::Duration;

/// A destination as its section builds it, not running yet.
pub struct Destination {
    /// Its section's kind: `kafka`, `file`…
    pub kind: &'static str,
    /// Its section's place among those of its kind in the configuration, counted from 0.
    pub index: usize,
    /// Name, selection and delivery settings.
    pub common: Common,
    /// The settings that the forwarder was built from.
    pub settings: ForwarderSettings,
    /// Encodes and sends.
    pub forwarder: Box<dyn Forwarder>,
    /// The limit of one attempt; `None` if attempts are not limited.
    pub attempt_max: Option<Duration>,
}

impl Destination {
    /// A destination whose attempts are not limited in time: an attempt on this host that ended
    /// half-way would write data twice, and where each request has its own limit, an attempt may
    /// take many of them and continues as long as they succeed.
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

    /// Limits each attempt to `delivery.timeout`, for a destination on the network: an attempt may
    /// be given up and made again.
    #[must_use]
    pub fn with_attempt_limit(self) -> Self {
        Self { attempt_max: Some(self.common.delivery.timeout.get()), ..self }
    }

    /// Whether its windows may wait on disk.
    #[must_use]
    pub fn may_spool(&self) -> bool {
        let write = self.common.delivery.spool.write;
        self.forwarder.wants_old_data() && write != SpoolWrite::Never
    }
}
