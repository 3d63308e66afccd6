//! Builds InfluxDB destinations from their section.

use super::{InfluxDb, InfluxdbConfig};
use crate::config::{Common, InvalidKey};
use crate::delivery::destination::Destination;
use crate::delivery::section::{BuildContext, ForwarderSection};
use crate::delivery::settings::ForwarderSettings;
use crate::idle::{IdleKeys, IdleRules};

impl ForwarderSection for InfluxdbConfig {
    const KIND: &'static str = "influxdb";

    #[cfg(test)]
    const EXAMPLE: &'static str = r#"{"url": "http://localhost:1", "database": "m"}"#;

    fn idle(&self) -> IdleKeys<'_> {
        let rules = IdleRules::default();
        IdleKeys { idle: self.idle.as_ref(), idle_for: self.idle_for.as_ref(), rules }
    }

    fn check(&self) -> Result<(), InvalidKey> {
        self.api().map(|_| ())
    }

    fn build(mut self, _: &BuildContext) -> Result<Vec<Destination>, String> {
        // Not settings of the forwarder: the registry applies them.
        (self.idle, self.idle_for) = (None, None);
        let name = self.name.as_deref();
        let common = Common::take(Self::KIND, name, &mut self.select, &mut self.delivery);
        let forwarder = InfluxDb::new(&self)?;
        let settings = ForwarderSettings::new(self);
        Ok(vec![Destination::new(Self::KIND, common, settings, forwarder)])
    }
}
