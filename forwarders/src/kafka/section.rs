//! Builds Kafka destinations from their section.

use super::{Kafka, KafkaConfig, RecordFormat, RunningTotalLimits};
use crate::config::{Common, InvalidKey, SpoolOrder};
use crate::delivery::destination::Destination;
use crate::delivery::section::{BuildContext, ForwarderSection};
use crate::delivery::settings::ForwarderSettings;
use crate::idle::{IdleKeys, IdleRules};

impl ForwarderSection for KafkaConfig {
    const KIND: &'static str = "kafka";
    // A connection and a pipe to each broker.
    const DESCRIPTORS: u64 = 64;

    #[cfg(test)]
    const EXAMPLE: &'static str = r#"{"kafka_broker": "localhost:1", "kafka_topic": "t"}"#;

    fn idle(&self) -> IdleKeys<'_> {
        let rules = IdleRules::default();
        IdleKeys { idle: self.idle.as_ref(), idle_for: self.idle_for.as_ref(), rules }
    }

    fn check(&self) -> Result<(), InvalidKey> {
        if self.sketches && self.format != RecordFormat::Json {
            return Err(InvalidKey::at("sketches", "requires `format: json`".to_owned()));
        }
        let is_influx = self.format == RecordFormat::Influx;
        self.naming.check(is_influx)?;
        let is_pystatsd = self.format == RecordFormat::Pystatsd;
        for (key, is_set) in [("type", self.with_type), ("running_totals", self.running_totals)] {
            if is_set && !is_pystatsd {
                return Err(InvalidKey::at(key, "requires `format: pystatsd`".to_owned()));
            }
        }
        if self.fallback_topic.is_some() && !self.kafka_topic.has_places() {
            let words = "requires a placeholder in `kafka_topic`, such as {tag.environment}";
            return Err(InvalidKey::at("fallback_topic", words.to_owned()));
        }
        Ok(())
    }

    fn mask_payload_secrets(&mut self) -> bool {
        // The key is part of every payload, which commands such as `explain` show.
        let has_secret = !self.kafka_apikey.reveal().is_empty();
        if has_secret {
            self.kafka_apikey = "***".into();
        }
        has_secret
    }

    fn build(mut self, context: &BuildContext) -> Result<Vec<Destination>, String> {
        // Not settings of the forwarder: the registry applies them.
        (self.idle, self.idle_for) = (None, None);
        let name = self.name.as_deref();
        let mut common = Common::take(Self::KIND, name, &mut self.select, &mut self.delivery);
        if self.running_totals {
            // Consumers compute differences, so that totals must arrive in order.
            common.delivery.spool.order = SpoolOrder::Oldest;
        }
        let expire_after = self.running_totals.then_some(context.expire_after);
        let forwarder = Kafka::new(self.clone(), &context.instance);
        let forwarder = forwarder.map_err(|error| error.to_string())?;
        let mut forwarder = forwarder.with_resource(&context.resource);
        if let Some(expire_after) = expire_after {
            let series_max = usize::try_from(self.max_series).unwrap_or(usize::MAX);
            let limits = RunningTotalLimits { expire_after, series_max };
            forwarder = forwarder.with_running_totals(limits);
        }
        // The resource is part of records only in these formats.
        let is_otlp = matches!(self.format, RecordFormat::OtlpProto | RecordFormat::OtlpJson);
        let resource = is_otlp.then(|| context.resource.clone());
        let settings = ForwarderSettings::new((self, resource, expire_after));
        let destination = Destination::new(Self::KIND, common, settings, forwarder);
        // A last resort: `send` ends a little earlier by itself, with a more specific error.
        Ok(vec![destination.with_attempt_limit()])
    }
}
