//! Builds Graphite destinations from their section.

use super::{Graphite, GraphiteConfig};
use crate::config::Common;
use crate::delivery::destination::Destination;
use crate::delivery::section::{BuildContext, ForwarderSection};
use crate::delivery::settings::ForwarderSettings;

impl ForwarderSection for GraphiteConfig {
    const KIND: &'static str = "graphite";

    #[cfg(test)]
    const EXAMPLE: &'static str = r#"{"address": "localhost:2003"}"#;

    fn percentages(&self) -> Option<(&'static [&'static str], Vec<f64>)> {
        let listed = self.etsy.percent_threshold.iter().map(|threshold| threshold.percent());
        Some((&["etsy", "percent_threshold"], listed.collect()))
    }

    fn build(mut self, _: &BuildContext) -> Result<Vec<Destination>, String> {
        let name = self.name.as_deref();
        let common = Common::take(Self::KIND, name, &mut self.select, &mut self.delivery);
        let forwarder = Graphite::new(&self)?;
        let settings = ForwarderSettings::new(self);
        let destination = Destination::new(Self::KIND, common, settings, forwarder);
        Ok(vec![destination.with_attempt_limit()])
    }
}
