//! Builds InfluxDB destinations from their section.

use super::{InfluxDb, InfluxdbConfig};
use crate::config::{Common, InvalidKey};
use crate::delivery::destination::Destination;
use crate::delivery::section::{BuildContext, ForwarderSection};
use crate::delivery::settings::ForwarderSettings;

impl ForwarderSection for InfluxdbConfig {
    const KIND: &'static str = "influxdb";

    #[cfg(test)]
    const EXAMPLE: &'static str = r#"{"url": "http://localhost:1", "database": "m"}"#;

    fn check(&self) -> Result<(), InvalidKey> {
        self.api().map(|_| ())
    }

    fn build(mut self, _: &BuildContext) -> Result<Vec<Destination>, String> {
        let name = self.name.as_deref();
        let common = Common::take(Self::KIND, name, &mut self.select, &mut self.delivery);
        let forwarder = InfluxDb::new(&self)?;
        let settings = ForwarderSettings::new(self);
        Ok(vec![Destination::new(Self::KIND, common, settings, forwarder)])
    }
}
