//! All that turns a snapshot into bytes, for benchmarks.

use std::time::Duration;

use crate::BuildContext;
use crate::ForwardersConfig;
use crate::format::pystatsd::Envelope;
use crate::model::Snapshot;
use crate::payload::Batch;

/// A line for each encoding of each destination: what benchmarks call it, and the configuration of
/// which the daemon would build it. Nothing of it is connected.
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
    #[cfg(feature = "prometheus")]
    ("prometheus-page", r#"{"prometheus": {}}"#),
    #[cfg(feature = "prometheus")]
    (
        "remote-write",
        r#"{"prometheus": {"listen": "none", "remote_write": {"url": "http://127.0.0.1:9090/"}}}"#,
    ),
    #[cfg(feature = "statsd")]
    ("statsd", r#"{"statsd": {"address": "127.0.0.1:8125"}}"#),
];

/// Of Kafka's records the value alone, which can be had without the client library.
const KAFKA_VALUE: &str = "kafka-value";

/// Turns a snapshot into payloads.
pub type Encode = Box<dyn FnMut(&Snapshot, &mut Batch)>;

/// The names of all encoders of this build.
#[must_use]
pub fn names() -> Vec<&'static str> {
    DESTINATIONS.iter().map(|(name, _)| *name).chain([KAFKA_VALUE]).collect()
}

/// The encoder of that name.
///
/// # Panics
/// If there is none, or if its configuration is wrong.
#[must_use]
pub fn encoder(name: &str) -> Encode {
    if name == KAFKA_VALUE {
        return kafka_value();
    }
    let (_, config) =
        DESTINATIONS.iter().find(|(other, _)| *other == name).expect("the name of an encoder");
    let config: ForwardersConfig = serde_json::from_str(config).expect("a configuration");
    let context = BuildContext {
        debug_mode: false,
        instance: "a benchmark".to_owned(),
        expire_after: Duration::from_secs(600),
    };
    let mut destinations = config.build(&context).expect("a destination");
    let mut forwarder = destinations.remove(0).forwarder;
    Box::new(move |snapshot, batch| forwarder.encode(snapshot, batch))
}

fn kafka_value() -> Encode {
    let envelope = Envelope::new("4d8e1f", "shop");
    Box::new(move |snapshot, batch| {
        for point in &snapshot.points {
            batch.push(1, |_| (), |out| envelope.write_point(out, snapshot, point));
        }
    })
}
