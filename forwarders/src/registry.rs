//! The one place that lists the destinations.

use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

#[cfg(feature = "prometheus")]
use crate::config::SpoolOrder;
use crate::config::{Common, Misfit, OneOrMany};
use crate::debug::DebugForwarder;
use crate::delivery::driver::Destination;
use crate::forwarder::Forwarder;
use crate::naming::NamingProvider;
#[cfg(feature = "prometheus")]
use crate::prometheus::{PageListen, PipelineLimits, PrometheusPage, RemoteWrite};
use crate::settings::{Section, Settings};

/// `forwarders`: a section for each kind of destination, each a mapping or a list of mappings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardersConfig {
    /// Standard output.
    #[cfg(feature = "console")]
    pub console: OneOrMany<crate::console::ConsoleConfig>,
    /// A local file.
    #[cfg(feature = "file")]
    pub file: OneOrMany<crate::file::FileConfig>,
    /// Graphite.
    #[cfg(feature = "graphite")]
    pub graphite: OneOrMany<crate::graphite::GraphiteConfig>,
    /// InfluxDB.
    #[cfg(feature = "influxdb")]
    pub influxdb: OneOrMany<crate::influxdb::InfluxdbConfig>,
    /// Apache Kafka.
    #[cfg(feature = "kafka")]
    pub kafka: OneOrMany<crate::kafka::KafkaConfig>,
    /// A page for Prometheus.
    #[cfg(feature = "prometheus")]
    pub prometheus: OneOrMany<crate::prometheus::PrometheusConfig>,
    /// statsd.
    #[cfg(feature = "statsd")]
    pub statsd: OneOrMany<crate::statsd::StatsdConfig>,
}

/// Takes out of a section what is not the forwarder's business, by which the rest can be compared.
/// How long an attempt may take stays: some forwarders see to it themselves.
macro_rules! take_common {
    ($kind:expr, $config:ident) => {{
        let delivery = std::mem::take(&mut $config.delivery);
        $config.delivery.timeout = delivery.timeout;
        let select = std::mem::take(&mut $config.select);
        let name = $config.name.clone().unwrap_or_else(|| $kind.to_owned());
        Common { name, select, delivery }
    }};
}

/// What the destinations have to know of the daemon.
#[derive(Clone, Debug)]
pub struct BuildContext {
    /// Log instead of send.
    pub debug_mode: bool,
    /// Identifies this run of the daemon to consumers that look for repeats.
    pub instance: String,
    /// When the daemon forgets an idle series.
    pub expire_after: Duration,
    /// Provides the names for `forwarders.prometheus.naming`.
    pub naming: NamingProvider,
}

/// Why the destinations cannot be built.
#[derive(Debug, Error)]
#[error("{reason}")]
pub struct BuildError {
    /// The kind of the section that is wrong, its key in `forwarders`.
    pub kind: &'static str,
    /// Which one of that kind, counted from 0.
    pub index: usize,
    /// What is wrong, and what to change.
    pub reason: String,
}

/// A key in a destination's section that does not go with the others there.
#[derive(Debug, Error)]
#[error("{misfit}")]
pub struct KeyError {
    /// The kind of the section, its key in `forwarders`.
    pub kind: &'static str,
    /// Which one of that kind, counted from 0.
    pub index: usize,
    /// The key, and what is wrong with it.
    pub misfit: Misfit,
}

impl ForwardersConfig {
    /// Looks for keys that do not go together, before anything is built.
    ///
    /// # Errors
    /// At the first.
    pub fn check(&self) -> Result<(), KeyError> {
        #[cfg(feature = "influxdb")]
        for (index, config) in self.influxdb.0.iter().enumerate() {
            config.api().map_err(|misfit| KeyError { kind: "influxdb", index, misfit })?;
        }
        #[cfg(feature = "prometheus")]
        for (index, config) in self.prometheus.0.iter().enumerate() {
            config.check().map_err(|misfit| KeyError { kind: "prometheus", index, misfit })?;
        }
        Ok(())
    }

    /// Puts `***` in place of secrets that destinations write into their payloads, so that these can
    /// be shown; whether there are any.
    pub fn mask_payload_secrets(&mut self) -> bool {
        #[cfg_attr(not(feature = "kafka"), expect(unused_mut, reason = "no other has one"))]
        let mut masked = false;
        // Credentials are sent beside a payload, not in it.
        #[cfg(feature = "kafka")]
        for config in &mut self.kafka.0 {
            if !config.kafka_apikey.reveal().is_empty() {
                config.kafka_apikey = basics::text::Secret::new("***");
                masked = true;
            }
        }
        masked
    }

    /// Builds every declared destination; with none declared, the console.
    ///
    /// Nothing is connected yet: a destination that is away does not keep the daemon from starting.
    ///
    /// # Errors
    /// When two destinations share a name or one refuses its settings.
    pub fn build(self, context: &BuildContext) -> Result<Vec<Destination>, BuildError> {
        // Without `..`: a section that is declared but not built does not compile.
        let Self {
            #[cfg(feature = "console")]
            console,
            #[cfg(feature = "file")]
            file,
            #[cfg(feature = "graphite")]
            graphite,
            #[cfg(feature = "influxdb")]
            influxdb,
            #[cfg(feature = "kafka")]
            kafka,
            #[cfg(feature = "prometheus")]
            prometheus,
            #[cfg(feature = "statsd")]
            statsd,
        } = self;
        let mut built = Built { context, destinations: Vec::new() };

        #[cfg(feature = "console")]
        for (index, mut config) in console.0.into_iter().enumerate() {
            let common = take_common!("console", config);
            let forwarder = crate::console::Console::new(config.format);
            built.add_unlimited("console", index, common, Section::Console(config), forwarder);
        }
        #[cfg(feature = "file")]
        for (index, mut config) in file.0.into_iter().enumerate() {
            let common = take_common!("file", config);
            let forwarder = crate::file::FileForwarder::new(config.path.clone(), config.format);
            built.add_unlimited("file", index, common, Section::File(config), forwarder);
        }
        #[cfg(feature = "graphite")]
        for (index, mut config) in graphite.0.into_iter().enumerate() {
            let common = take_common!("graphite", config);
            let forwarder = crate::graphite::Graphite::new(&config)
                .map_err(|reason| BuildError { kind: "graphite", index, reason })?;
            built.add("graphite", index, common, Section::Graphite(config), forwarder);
        }
        #[cfg(feature = "influxdb")]
        for (index, mut config) in influxdb.0.into_iter().enumerate() {
            let common = take_common!("influxdb", config);
            let forwarder = crate::influxdb::InfluxDb::new(&config)
                .map_err(|reason| BuildError { kind: "influxdb", index, reason })?;
            built.add_unlimited("influxdb", index, common, Section::Influxdb(config), forwarder);
        }
        #[cfg(feature = "kafka")]
        for (index, mut config) in kafka.0.into_iter().enumerate() {
            let common = take_common!("kafka", config);
            let forwarder = crate::kafka::Kafka::new(config.clone(), &context.instance)
                .map_err(|error| BuildError { kind: "kafka", index, reason: error.to_string() })?;
            built.add("kafka", index, common, Section::Kafka(config), forwarder);
        }
        #[cfg(feature = "prometheus")]
        for (index, config) in prometheus.0.into_iter().enumerate() {
            built.add_prometheus(index, config)?;
        }
        #[cfg(feature = "statsd")]
        for (index, mut config) in statsd.0.into_iter().enumerate() {
            let common = take_common!("statsd", config);
            let forwarder = crate::statsd::Statsd::new(&config).map_err(|reason| BuildError {
                kind: "statsd",
                index,
                reason,
            })?;
            built.add("statsd", index, common, Section::Statsd(config), forwarder);
        }

        #[cfg(feature = "console")]
        if built.destinations.is_empty() {
            let mut config = crate::console::ConsoleConfig::default();
            let common = take_common!("console", config);
            let forwarder = crate::console::Console::new(config.format);
            built.add_unlimited("console", 0, common, Section::Console(config), forwarder);
        }
        built.finish()
    }
}

struct Built<'a> {
    context: &'a BuildContext,
    destinations: Vec<Destination>,
}

impl Built<'_> {
    #[cfg(any(feature = "graphite", feature = "kafka", feature = "statsd"))]
    /// A destination on the network: an attempt may be given up and made again.
    fn add(
        &mut self,
        kind: &'static str,
        index: usize,
        common: Common,
        section: Section,
        forwarder: impl Forwarder + 'static,
    ) {
        let attempt_max = Some(common.delivery.timeout.get());
        self.add_unlimited(kind, index, common, section, forwarder);
        if let Some(added) = self.destinations.last_mut() {
            added.attempt_max = attempt_max;
        }
    }

    /// A destination whose attempts are not given up. On this host, what was given up half-way would
    /// be written twice. Where each request has its own limit, an attempt may take many of them, and
    /// goes on as long as they succeed.
    fn add_unlimited(
        &mut self,
        kind: &'static str,
        index: usize,
        common: Common,
        section: Section,
        forwarder: impl Forwarder + 'static,
    ) {
        let forwarder = self.or_log(&common, forwarder);
        let settings = Settings::new(section, self.context);
        let attempt_max = None;
        self.destinations.push(Destination {
            kind,
            index,
            common,
            settings,
            forwarder,
            attempt_max,
        });
    }

    #[cfg(feature = "prometheus")]
    /// The page and remote write, each with a queue of its own: trouble of the one is none of the
    /// other.
    fn add_prometheus(
        &mut self,
        index: usize,
        mut config: crate::prometheus::PrometheusConfig,
    ) -> Result<(), BuildError> {
        let kind = "prometheus";
        let common = take_common!(kind, config);
        let wrong = |reason| BuildError { kind, index, reason };
        let limits = PipelineLimits::new(&config, self.context.expire_after);
        let naming = (self.context.naming)(config.naming);
        let remote_write = config.remote_write.take();
        if let PageListen::Address(address) = config.listen {
            let name = common.name.clone();
            let page = PrometheusPage::new(&config, name, address, limits, naming.clone());
            let section = Section::Prometheus(Box::new(config.clone()));
            self.add_unlimited(kind, index, common.clone(), section, page.map_err(wrong)?);
        } else if remote_write.is_none() {
            return Err(wrong("without `listen` and `remote_write` nothing is to be done".into()));
        }
        if let Some(remote_write) = remote_write {
            let mut common = Common { name: format!("{}.remote_write", common.name), ..common };
            // A total that is as of now must not be sent before one that is as of then.
            common.delivery.spool.order = SpoolOrder::Oldest;
            let timeout = common.delivery.timeout.get();
            let forwarder = RemoteWrite::new(&remote_write, &common.name, timeout, limits, naming);
            let forwarder = forwarder.map_err(wrong)?;
            config.remote_write = Some(remote_write);
            let section = Section::Prometheus(Box::new(config));
            self.add_unlimited(kind, index, common, section, forwarder);
        }
        Ok(())
    }

    fn or_log(&self, common: &Common, forwarder: impl Forwarder + 'static) -> Box<dyn Forwarder> {
        if self.context.debug_mode {
            Box::new(DebugForwarder::new(common.name.clone()))
        } else {
            Box::new(forwarder)
        }
    }

    fn finish(self) -> Result<Vec<Destination>, BuildError> {
        let mut names = HashSet::new();
        for destination in &self.destinations {
            let name = &destination.common.name;
            if !names.insert(name.as_str()) {
                let reason =
                    format!("two destinations are called `{name}`: give each a `name` of its own");
                return Err(BuildError {
                    kind: destination.kind,
                    index: destination.index,
                    reason,
                });
            }
        }
        Ok(self.destinations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> BuildContext {
        BuildContext {
            debug_mode: false,
            instance: "test".into(),
            expire_after: Duration::from_secs(600),
            naming: |_| None,
        }
    }

    #[test]
    fn nothing_declared_means_the_console() {
        let built = ForwardersConfig::default().build(&context()).unwrap();
        let kinds: Vec<_> = built.iter().map(|destination| destination.kind).collect();
        assert_eq!(kinds, ["console"]);
    }

    #[test]
    fn two_destinations_of_one_name_are_refused() {
        let config: ForwardersConfig =
            serde_json::from_str(r#"{"file": [{"path": "/a"}, {"path": "/b"}]}"#).unwrap();
        let error = config.build(&context()).err().unwrap();
        assert_eq!((error.kind, error.index), ("file", 1));
        let error = error.to_string();
        assert_eq!(error, "two destinations are called `file`: give each a `name` of its own");
    }

    /// A section of each kind of destination.
    const EACH: &[&str] = &[
        #[cfg(feature = "console")]
        r#"{"console": {}}"#,
        #[cfg(feature = "file")]
        r#"{"file": {"path": "/dev/null", "format": "json"}}"#,
        #[cfg(feature = "graphite")]
        r#"{"graphite": {"address": "localhost:2003"}}"#,
        #[cfg(feature = "influxdb")]
        r#"{"influxdb": {"url": "http://localhost:1", "database": "m"}}"#,
        #[cfg(feature = "kafka")]
        r#"{"kafka": {"kafka_broker": "localhost:1", "kafka_topic": "t"}}"#,
        #[cfg(feature = "prometheus")]
        r#"{"prometheus": {"listen": "none", "remote_write": {"url": "http://localhost:1/"}}}"#,
        #[cfg(feature = "statsd")]
        r#"{"statsd": {"address": "localhost:8125"}}"#,
    ];

    fn build(section: &str) -> Vec<Destination> {
        let config: ForwardersConfig = serde_json::from_str(section).unwrap();
        config.build(&context()).unwrap()
    }

    #[test]
    fn what_is_pending_names_the_points_that_are_left_in_every_destination() {
        let snapshot = model::testing::snapshot_of_counters(7);
        // Remote write sends totals: what it makes of a point depends on what came before.
        for section in EACH.iter().filter(|section| !section.contains("remote_write")) {
            let mut built = build(section);
            crate::testing::assert_payloads_follow_points(&mut *built[0].forwarder, &snapshot);
        }
    }

    #[test]
    fn windows_wait_on_disk_only_for_destinations_that_want_old_data() {
        for section in EACH {
            let destination = &build(section)[0];
            let wants = ["graphite", "influxdb", "kafka", "prometheus"].contains(&destination.kind);
            assert_eq!(destination.may_spool(), wants, "{section}");
        }
    }

    #[test]
    #[cfg(feature = "prometheus")]
    fn a_page_and_its_remote_write_are_two_destinations_of_which_one_may_spool_in_order() {
        let built = build(r#"{"prometheus": {"remote_write": {"url": "http://localhost:1"}}}"#);
        let names: Vec<_> = built.iter().map(|one| one.common.name.as_str()).collect();
        assert_eq!(names, ["prometheus", "prometheus.remote_write"]);
        assert!(!built[0].may_spool() && built[1].may_spool());
        assert_eq!(built[1].common.delivery.spool.order, SpoolOrder::Oldest);
    }
}
