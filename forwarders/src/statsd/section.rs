//! Builds statsd destinations from their section.

use super::{Statsd, StatsdConfig};
use crate::config::Common;
use crate::delivery::destination::Destination;
use crate::delivery::section::{BuildContext, ForwarderSection};
use crate::delivery::settings::ForwarderSettings;
use crate::idle::{IdleKeys, IdleRules};
use model::MetricKind;

impl ForwarderSection for StatsdConfig {
    const KIND: &'static str = "statsd";

    #[cfg(test)]
    const EXAMPLE: &'static str = r#"{"address": "localhost:8125"}"#;

    fn idle(&self) -> IdleKeys<'_> {
        let why = "statsd's protocol has no line for a timer or set without values";
        let kinds = &[MetricKind::Timer, MetricKind::Set];
        let rules = IdleRules { impossible: Some((kinds, why)), ..IdleRules::default() };
        IdleKeys { idle: self.idle.as_ref(), idle_for: self.idle_for.as_ref(), rules }
    }

    fn build(mut self, _: &BuildContext) -> Result<Vec<Destination>, String> {
        // Not settings of the forwarder: the registry applies them.
        (self.idle, self.idle_for) = (None, None);
        let name = self.name.as_deref();
        let common = Common::take(Self::KIND, name, &mut self.select, &mut self.delivery);
        let forwarder = Statsd::new(&self)?;
        let settings = ForwarderSettings::new(self);
        let destination = Destination::new(Self::KIND, common, settings, forwarder);
        Ok(vec![destination.with_attempt_limit()])
    }
}
