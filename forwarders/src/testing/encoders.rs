//! Every encoder of a snapshot, for benchmarks.

use std::time::Duration;

use crate::BuildContext;
#[cfg(feature = "prometheus")]
use crate::Forwarder;
use crate::ForwardersConfig;
use crate::delivery::payload::Batch;
use crate::format::json;
use crate::format::pystatsd::Envelope;
#[cfg(feature = "prometheus")]
use crate::prometheus::{PageFormat, PrometheusConfig, PrometheusPage, ServedPage, StateSettings};
use model::{Point, Snapshot};

const EXPIRE_AFTER: Duration = Duration::from_secs(600);

/// One entry per encoding and destination: its name in benchmarks and the configuration from which
/// it is built. Nothing connects.
const DESTINATIONS: &[(&str, &str)] = &[
    #[cfg(feature = "console")]
    ("text", r#"{"console": {"format": "text"}}"#),
    #[cfg(feature = "console")]
    ("json", r#"{"console": {"format": "json"}}"#),
    #[cfg(feature = "console")]
    ("influx", r#"{"console": {"format": "influx"}}"#),
    #[cfg(feature = "graphite")]
    ("graphite", r#"{"graphite": {"address": "127.0.0.1:2003"}}"#),
    #[cfg(feature = "graphite")]
    ("graphite-etsy", r#"{"graphite": {"address": "127.0.0.1:2003", "naming": "etsy"}}"#),
    #[cfg(feature = "graphite")]
    ("graphite-pickle", r#"{"graphite": {"address": "127.0.0.1:2004", "protocol": "pickle"}}"#),
    #[cfg(feature = "influxdb")]
    ("influxdb", r#"{"influxdb": {"url": "http://127.0.0.1:8086", "database": "metrics"}}"#),
    #[cfg(feature = "kafka")]
    ("kafka", r#"{"kafka": {"kafka_broker": "127.0.0.1:9092", "kafka_topic": "metrics"}}"#),
    #[cfg(feature = "otlp")]
    ("otlp", r#"{"otlp": {"endpoint": "http://127.0.0.1:4318"}}"#),
    #[cfg(feature = "otlp")]
    (
        "otlp-cumulative",
        r#"{"otlp": {"endpoint": "http://127.0.0.1:4318", "temporality": "cumulative"}}"#,
    ),
    #[cfg(feature = "prometheus")]
    ("prometheus-page", r#"{"prometheus": {}}"#),
    #[cfg(feature = "prometheus")]
    (
        "remote-write",
        r#"{"prometheus": {"listen": "none", "remote_write": {"url": "http://127.0.0.1:9090/"}}}"#,
    ),
    #[cfg(feature = "prometheus")]
    (
        "remote-write-histogram",
        r#"{"prometheus": {"listen": "none", "timers": "histogram", "remote_write":
            {"url": "http://127.0.0.1:9090/"}}}"#,
    ),
    #[cfg(feature = "prometheus")]
    (
        "remote-write-native",
        r#"{"prometheus": {"listen": "none", "timers": "native", "remote_write":
            {"url": "http://127.0.0.1:9090/"}}}"#,
    ),
    #[cfg(feature = "statsd")]
    ("statsd", r#"{"statsd": {"address": "127.0.0.1:8125"}}"#),
    #[cfg(feature = "statsd")]
    ("statsd-influx", r#"{"statsd": {"address": "127.0.0.1:8125", "dialect": "influx"}}"#),
    #[cfg(feature = "statsd")]
    ("statsd-signalfx", r#"{"statsd": {"address": "127.0.0.1:8125", "dialect": "signalfx"}}"#),
    #[cfg(feature = "statsd")]
    ("statsd-plain", r#"{"statsd": {"address": "127.0.0.1:8125", "dialect": "plain"}}"#),
];

/// The values of Kafka's records alone, which need no client library: `pystatsd`, and `json` with
/// sketches.
const KAFKA_VALUE: &str = "kafka-value";
const KAFKA_SKETCHES: &str = "kafka-sketches";

/// The rendered Prometheus page: the work of `prometheus-page` for each window, plus the first
/// scrape after it.
#[cfg(feature = "prometheus")]
const PAGES: [(&str, &str, PageFormat); 4] = [
    ("prometheus-text", "{}", PageFormat::Text),
    ("prometheus-histogram", r#"{"timers": "histogram"}"#, PageFormat::Text),
    ("prometheus-openmetrics", "{}", PageFormat::OpenMetrics),
    ("prometheus-protobuf", r#"{"timers": "native"}"#, PageFormat::Protobuf),
];

/// Encodes a snapshot into the payloads of a batch.
pub type Encode = Box<dyn FnMut(&Snapshot, &mut Batch)>;

/// Returns the names of all encoders of this build.
#[must_use]
pub fn names() -> Vec<&'static str> {
    let names = DESTINATIONS.iter().map(|(name, _)| *name);
    #[cfg(feature = "prometheus")]
    let names = names.chain(PAGES.map(|(name, ..)| name));
    names.chain([KAFKA_VALUE, KAFKA_SKETCHES]).collect()
}

/// Builds the encoder with this name.
///
/// # Panics
/// If no encoder has the name, or if its configuration is invalid.
#[must_use]
pub fn encoder(name: &str) -> Encode {
    if name == KAFKA_VALUE {
        return kafka_value();
    }
    if name == KAFKA_SKETCHES {
        return record_values(json::write_point_with_sketch);
    }
    #[cfg(feature = "prometheus")]
    if let Some((_, config, format)) = PAGES.iter().find(|(other, ..)| *other == name) {
        return prometheus_page(config, *format);
    }
    let (_, config) =
        DESTINATIONS.iter().find(|(other, _)| *other == name).expect("the name of an encoder");
    let config: ForwardersConfig = serde_json::from_str(config).expect("a configuration");
    let context = BuildContext {
        connections_max: u32::MAX,
        debug_mode: false,
        instance: "a benchmark".to_owned(),
        expire_after: EXPIRE_AFTER,
        resource: vec![("host.name".to_owned(), "web-1".to_owned())],
        naming: |_| None,
        poll_target: |_, _| Box::pin(async { Err("no target".to_owned()) }),
    };
    let mut destinations = config.build(&context).expect("a destination");
    let mut forwarder = destinations.remove(0).forwarder;
    Box::new(move |snapshot, batch| forwarder.encode(snapshot, batch))
}

fn kafka_value() -> Encode {
    let envelope = Envelope::new(&"4d8e1f".into(), &"shop".into());
    record_values(move |out, snapshot, point| envelope.write_point(out, snapshot, point))
}

fn record_values(write: impl Fn(&mut Vec<u8>, &Snapshot, &Point) + 'static) -> Encode {
    Box::new(move |snapshot, batch| {
        for point in &snapshot.points {
            batch.push(1, |_| (), |out| write(out, snapshot, point));
        }
    })
}

#[cfg(feature = "prometheus")]
fn prometheus_page(config: &str, format: PageFormat) -> Encode {
    let config: PrometheusConfig = serde_json::from_str(config).expect("a configuration");
    let settings = StateSettings::new(&config, EXPIRE_AFTER);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 9_102)).into();
    let served = ServedPage { addresses: address, access: httpserver::Access::open() };
    let page = PrometheusPage::new(&config, "a benchmark".to_owned(), served, settings, None);
    let mut page = page.expect("fetches nothing");
    Box::new(move |snapshot, batch| {
        page.encode(snapshot, batch);
        std::hint::black_box(page.rendered(format));
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::KINDS;

    /// `kafka` is measured as `kafka-value`.
    const WITHOUT_A_FIGURE: [&str; 1] = ["kafka"];

    #[test]
    fn the_page_on_performance_has_a_figure_for_every_encoder() {
        let page = include_str!("../../../docs/performance.md");
        let (_, section) = page.split_once("\n## Encoding\n").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap_or((section, ""));
        let rows: Vec<_> = section.lines().filter(|line| line.starts_with("| `")).collect();
        for name in names().into_iter().filter(|name| !WITHOUT_A_FIGURE.contains(name)) {
            let cell = format!("`{name}`");
            let has_row = rows.iter().any(|row| row.split('|').nth(1).unwrap().contains(&cell));
            assert!(has_row, "docs/performance.md has no figure for {cell}");
        }
    }

    #[test]
    fn every_kind_of_destination_is_measured() {
        // A file gets the same lines as the console.
        for kind in KINDS.iter().filter(|kind| **kind != "file") {
            let section = format!("{{\"{kind}\":");
            let is_listed = DESTINATIONS.iter().any(|(_, config)| config.starts_with(&section));
            assert!(is_listed, "{kind} has no line in `DESTINATIONS`");
        }
    }
}
