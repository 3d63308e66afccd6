//! Builds Graphite destinations from their section.

use super::config::Naming;
use super::{Graphite, GraphiteConfig};
use crate::config::Common;
use crate::delivery::destination::Destination;
use crate::delivery::section::{BuildContext, ForwarderSection};
use crate::delivery::settings::ForwarderSettings;
use crate::idle::{IdleKeys, IdleRules, IdleWord};

impl ForwarderSection for GraphiteConfig {
    const KIND: &'static str = "graphite";

    #[cfg(test)]
    const EXAMPLE: &'static str = r#"{"address": "localhost:2003"}"#;

    fn percentages(&self) -> Option<(&'static [&'static str], Vec<f64>)> {
        let listed = self.etsy.percent_threshold.iter().map(|threshold| threshold.percent());
        Some((&["etsy", "percent_threshold"], listed.collect()))
    }

    fn idle(&self) -> IdleKeys<'_> {
        // As in statsd itself.
        let default = match self.naming {
            Naming::Tallyd => IdleWord::None,
            Naming::Etsy => IdleWord::Statsd,
        };
        let rules = IdleRules { default, ..IdleRules::default() };
        IdleKeys { idle: self.idle.as_ref(), idle_for: self.idle_for.as_ref(), rules }
    }

    fn build(mut self, _: &BuildContext) -> Result<Vec<Destination>, String> {
        // Not settings of the forwarder: the registry applies them.
        (self.idle, self.idle_for) = (None, None);
        let name = self.name.as_deref();
        let common = Common::take(Self::KIND, name, &mut self.select, &mut self.delivery);
        let forwarder = Graphite::new(&self)?;
        let settings = ForwarderSettings::new(self);
        let destination = Destination::new(Self::KIND, common, settings, forwarder);
        Ok(vec![destination.with_attempt_limit()])
    }
}
