//! What a destination was built from, so that a reload can tell whether it has to be built anew.

use std::time::Duration;

use crate::registry::BuildContext;

/// The section of one destination, without what can be changed while it runs: `select`, `delivery`.
#[derive(Clone, Debug, PartialEq)]
pub enum Section {
    /// Standard output.
    #[cfg(feature = "console")]
    Console(crate::console::ConsoleConfig),
    /// A local file.
    #[cfg(feature = "file")]
    File(crate::file::FileConfig),
    /// Graphite.
    #[cfg(feature = "graphite")]
    Graphite(crate::graphite::GraphiteConfig),
    /// InfluxDB.
    #[cfg(feature = "influxdb")]
    Influxdb(crate::influxdb::InfluxdbConfig),
    /// Apache Kafka.
    #[cfg(feature = "kafka")]
    Kafka(crate::kafka::KafkaConfig),
    /// A page for Prometheus, or its remote write.
    #[cfg(feature = "prometheus")]
    Prometheus(Box<crate::prometheus::PrometheusConfig>),
    /// statsd.
    #[cfg(feature = "statsd")]
    Statsd(crate::statsd::StatsdConfig),
    /// One that no section declares.
    #[cfg(any(test, feature = "test-util"))]
    Test(u32),
}

/// All that a forwarder was built from. Two that are equal make the same forwarder.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    section: Section,
    debug_mode: bool,
    expire_after: Option<Duration>,
}

impl Settings {
    /// Of a section, in a daemon that is configured so.
    #[must_use]
    pub fn new(section: Section, context: &BuildContext) -> Self {
        let expire_after = match section {
            #[cfg(feature = "prometheus")]
            Section::Prometheus(_) => Some(context.expire_after),
            _ => None,
        };
        Self { section, debug_mode: context.debug_mode, expire_after }
    }

    /// Of a destination that no section declares.
    #[cfg(any(test, feature = "test-util"))]
    #[must_use]
    pub fn of_test(number: u32) -> Self {
        Self { section: Section::Test(number), debug_mode: false, expire_after: None }
    }
}
