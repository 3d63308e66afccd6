//! Builds OTLP destinations from their section.

use super::{Otlp, OtlpConfig, OtlpTemporality};
use crate::config::{Common, InvalidKey, SpoolOrder};
use crate::delivery::destination::Destination;
use crate::delivery::section::{BuildContext, ForwarderSection};
use crate::delivery::settings::ForwarderSettings;
use crate::idle::{IdleKeys, IdleRules};

impl ForwarderSection for OtlpConfig {
    const KIND: &'static str = "otlp";

    #[cfg(test)]
    const EXAMPLE: &'static str = r#"{"endpoint": "http://localhost:1"}"#;

    fn idle(&self) -> IdleKeys<'_> {
        let rules = IdleRules::default();
        IdleKeys { idle: self.idle.as_ref(), idle_for: self.idle_for.as_ref(), rules }
    }

    fn check(&self) -> Result<(), InvalidKey> {
        super::protocol::headers(self).map_err(|reason| InvalidKey::at("headers", reason))?;
        Ok(())
    }

    fn build(mut self, context: &BuildContext) -> Result<Vec<Destination>, String> {
        // Not settings of the forwarder: the registry applies them.
        (self.idle, self.idle_for) = (None, None);
        let name = self.name.as_deref();
        let mut common = Common::take(Self::KIND, name, &mut self.select, &mut self.delivery);
        let is_cumulative = self.temporality == OtlpTemporality::Cumulative;
        if is_cumulative {
            // Totals must arrive in order: a server would take a smaller, older total for a restart.
            common.delivery.spool.order = SpoolOrder::Oldest;
        }
        let forwarder = Otlp::new(&self, &context.resource, context.expire_after)?;
        let expire_after = is_cumulative.then_some(context.expire_after);
        let settings = ForwarderSettings::new((self, context.resource.clone(), expire_after));
        Ok(vec![Destination::new(Self::KIND, common, settings, forwarder)])
    }
}
