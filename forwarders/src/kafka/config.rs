//! `forwarders.kafka`: the configuration of the Kafka destination.

use serde::Deserialize;
use serde::de::Deserializer;

use super::properties::Properties;
use super::topic::{Topic, TopicTemplate};
use crate::config::DeliveryConfig;
use crate::format::influx::{LineNamingStyle, TelegrafConfig};
use crate::idle::{IdleConfig, IdleFor};
use crate::select::SelectConfig;
use basics::bounds::{at_least, between};
use basics::scalar_text::{ScalarText, SecretScalar};
use basics::text::TextVisitor;

/// Largest value of `max_topics`.
const TOPICS_MAX: usize = 10_000;

/// `forwarders.kafka`: one cluster.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// Name of the destination in the ledger and the log, unique among destinations. Defaults to
    /// `kafka`.
    #[serde(default)]
    pub name: Option<String>,
    /// The brokers for the first contact, as `host:port`; they name the rest of the cluster.
    /// Several, separated by commas, let the daemon start while one of them is down. Required.
    pub kafka_broker: Brokers,
    /// The topic for all points: up to 249 letters, digits, `.`, `_` and `-`. The brokers decide
    /// whether a missing topic is created. The placeholders `{name}`, `{kind}` and `{tag.KEY}` make
    /// it a template: each series then has the topic that it names, with `none` for a missing tag
    /// (`{tag.KEY:-all}`: `all`) and `_` for characters that a topic cannot have. Required.
    pub kafka_topic: TopicTemplate,
    /// The topic of records for which the template names none that can be used: one above
    /// `max_topics`, one with too long a name, or one that the brokers reject. By default the
    /// template with `other` for each placeholder. Requires placeholders in `kafka_topic`.
    #[serde(default)]
    pub fallback_topic: Option<Topic>,
    /// Maximum number of topics of a template with the fallback topic, 2 to 10000. Records of
    /// further topics go to the fallback topic and are counted. Brokers may create each of these
    /// topics, and never remove one. Defaults to `100`.
    #[serde(default = "default_max_topics", deserialize_with = "max_topics")]
    pub max_topics: usize,
    /// Value of `apikey` in every `pystatsd` object, for readers that expect one; a number if it is
    /// one here (`7444`), and a string if it is quoted (`"7444"`) or anything else. It is not a
    /// credential for the brokers (see `librdkafka`), and everyone who reads the topic can read it.
    /// Empty by default.
    #[serde(default)]
    pub kafka_apikey: SecretScalar,
    /// Value of `tenant_id` in every `pystatsd` object, a number or a string like `kafka_apikey`.
    /// Empty by default.
    #[serde(default)]
    pub kafka_tenant_id: ScalarText,
    /// Format of a record, which always holds one point: `pystatsd` for readers of that format,
    /// `json` with all fields of every kind, `influx` for readers of line protocol, which cannot
    /// express the kind, `otlp_proto` or `otlp_json` for readers of OpenTelemetry's protocol.
    /// Defaults to `pystatsd`.
    #[serde(default)]
    pub format: RecordFormat,
    /// `format: influx`: `tallyd`, the metric's name and tallyd's fields, or `telegraf`, the names, fields
    /// and types of Telegraf's statsd input, so that dashboards made for it keep working. Defaults to
    /// `tallyd`.
    #[serde(default)]
    pub naming: LineNamingStyle,
    /// Options of Telegraf's statsd input, for `naming: telegraf`.
    #[serde(default)]
    pub telegraf: TelegrafConfig,
    /// Whether `pystatsd` objects have the metric type as `type`, after the name. A tag with this key
    /// is then written as `tag.type`. Requires `format: pystatsd`. Defaults to `false`.
    #[serde(default, rename = "type")]
    pub with_type: bool,
    /// Whether the `value` of counters and traces in `pystatsd` objects is the total since tallyd has
    /// known the series, as pystatsd wrote it, for consumers that compute differences. Consumers
    /// cannot add up such values. Requires `format: pystatsd`. Defaults to `false`.
    #[serde(default)]
    pub running_totals: bool,
    /// `running_totals: true`: maximum number of series whose totals are kept, at least 1. Points of
    /// further series are dropped and counted as `totals_full`. Defaults to `200000`.
    #[serde(default = "default_max_series", deserialize_with = "max_series")]
    pub max_series: u64,
    /// Whether records of timers and sets contain a sketch, from which consumers compute percentiles
    /// and distinct members over several hosts or windows. A record becomes larger: by up to 110 KB
    /// for a timer with the default of `exact_samples`, and up to 88 KB for a set. Requires `format:
    /// json`. Defaults to `false`.
    #[serde(default)]
    pub sketches: bool,
    /// Key of a record, which selects its partition: `series` keeps the order of each series,
    /// `name` also keeps all series of a metric together but fills partitions unevenly, `none`
    /// fills them evenly without any order. Defaults to `series`.
    #[serde(default)]
    pub key: RecordKey,
    /// Properties of librdkafka, such as `security.protocol` or `linger.ms`, by their names in its
    /// CONFIGURATION.md. They override tallyd's defaults and so its guarantees: with `acks: 1`, a
    /// point may be lost after it was counted as delivered. Properties that would break the ledger
    /// are rejected. Empty by default.
    #[serde(default)]
    pub librdkafka: Properties,
    /// Which series are sent.
    #[serde(default)]
    pub select: SelectConfig,
    /// Points for live series without samples. Defaults to `none`.
    #[serde(default)]
    pub idle: Option<IdleConfig>,
    /// The time for which an idle series has points. Unlimited by default: as long as it is live.
    #[serde(default)]
    pub idle_for: Option<IdleFor>,
    /// Timeouts, retries, queue and spool. `timeout` limits one wait for acknowledgements; the next
    /// attempt continues to wait for points that the client library still holds, and does not send
    /// them again.
    #[serde(default)]
    pub delivery: DeliveryConfig,
}

/// The format of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordFormat {
    /// A flat JSON object, see [`pystatsd`](crate::format::pystatsd).
    #[default]
    Pystatsd,
    /// A JSON object with tags and fields, see [`json`](crate::format::json).
    Json,
    /// Line protocol with timestamps in nanoseconds, see [`influx`](crate::format::influx).
    Influx,
    /// A request of OpenTelemetry's protocol in protobuf.
    #[serde(rename = "otlp_proto")]
    OtlpProto,
    /// The same in JSON.
    #[serde(rename = "otlp_json")]
    OtlpJson,
}

/// The key of a record, which selects its partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordKey {
    /// Name and tags.
    #[default]
    Series,
    /// The metric name.
    Name,
    /// No key.
    None,
}

/// `host:port`, or several of them separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brokers(String);

const fn default_max_topics() -> usize {
    100
}

const fn default_max_series() -> u64 {
    200_000
}

fn max_topics<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    between(deserializer, 2..=TOPICS_MAX)
}

fn max_series<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    at_least(deserializer, 1)
}

impl Brokers {
    /// Parses `host[:port][,host[:port]…]`.
    ///
    /// # Errors
    /// A sentence that describes the allowed values.
    pub fn parse(text: &str) -> Result<Self, String> {
        let brokers: Vec<&str> = text.split(',').map(str::trim).collect();
        match brokers.iter().find(|broker| !is_host_port(broker)) {
            None => Ok(Self(brokers.join(","))),
            Some(wrong) => Err(format!(
                "a broker is host:port, such as kafka.example.com:9092 or [::1]:9092, not `{wrong}`; \
                 separate several by commas"
            )),
        }
    }

    /// Returns the brokers in librdkafka's form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_host_port(broker: &str) -> bool {
    // Existing files may omit the port; librdkafka then uses Kafka's port.
    let (host, port) = broker.rsplit_once(':').unwrap_or((broker, "9092"));
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match bare {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(is_host_byte),
    };
    is_host
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse().is_ok_and(|n: u16| n > 0)
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".-_".contains(&byte)
}

impl<'de> Deserialize<'de> for Brokers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor::new("host:port of a broker", Self::parse))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::section::ForwarderSection;

    fn config(json: &str) -> Result<KafkaConfig, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    fn config_with(member: &str) -> Result<KafkaConfig, String> {
        config(&format!(r#"{{"kafka_broker": "b:9092", "kafka_topic": "t", {member}}}"#))
    }

    #[test]
    fn broker_and_topic_are_enough() {
        let config = config(r#"{"kafka_broker": "b:9092", "kafka_topic": "t"}"#).unwrap();
        assert_eq!(config.kafka_broker.as_str(), "b:9092");
        assert_eq!(config.kafka_topic.as_str(), "t");
        assert_eq!((config.format, config.key), (RecordFormat::Pystatsd, RecordKey::Series));
        assert_eq!(
            (config.kafka_apikey.reveal().as_str(), config.kafka_tenant_id.as_str()),
            ("", "")
        );
    }

    #[test]
    fn broker_and_topic_are_required_and_other_keys_unknown() {
        assert!(config(r#"{"kafka_topic": "t"}"#).unwrap_err().contains("kafka_broker"));
        assert!(config(r#"{"kafka_broker": "b:1"}"#).unwrap_err().contains("kafka_topic"));
        assert!(config_with(r#""topic": "x""#).unwrap_err().contains("unknown field `topic`"));
    }

    #[test]
    fn brokers_are_a_list_of_host_and_port() {
        for (text, taken) in [
            ("localhost:9092", "localhost:9092"),
            ("localhost", "localhost"),
            ("a:1, b-2.example.com:65535", "a:1,b-2.example.com:65535"),
            ("10.0.0.1:9092,[::1]:9093", "10.0.0.1:9092,[::1]:9093"),
        ] {
            assert_eq!(Brokers::parse(text).unwrap().as_str(), taken);
        }
        for wrong in
            ["", "a:", ":9092", "a:0", "a:65536", "a:+1", "a:1,", "a b:1", "::1:9", "[x]:1"]
        {
            assert!(Brokers::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_wrong_value_is_refused_where_it_stands() {
        let error =
            config("{\"kafka_broker\": \"b:9092\",\n \"kafka_topic\": \"a/b\"}").unwrap_err();
        assert!(error.contains("`a/b`") && error.contains("line 2"), "{error}");
        let error = config_with(r#""format": "xml""#).unwrap_err();
        assert!(error.contains("`pystatsd`, `json`, `influx`"), "{error}");
        let error = config_with(r#""key": "tags""#).unwrap_err();
        assert!(error.contains("`series`, `name`, `none`"), "{error}");
    }

    #[test]
    fn only_pystatsd_records_have_a_type_and_running_totals() {
        let check =
            |members: &str| config_with(members).unwrap().check().map_err(|e| e.to_string());
        for key in ["type", "running_totals"] {
            let [on, off] = [true, false].map(|value| format!(r#""{key}": {value}"#));
            assert_eq!(check(&on), Ok(()));
            assert_eq!(check(&format!(r#"{off}, "format": "json""#)), Ok(()));
            let error = Err(format!("`{key}` requires `format: pystatsd`"));
            assert_eq!(check(&format!(r#"{on}, "format": "json""#)), error);
        }
    }

    #[test]
    fn a_fallback_topic_requires_a_template() {
        let check = |topic: &str| {
            let section = format!(
                r#"{{"kafka_broker": "b:1", "kafka_topic": "{topic}", "fallback_topic": "f"}}"#
            );
            config(&section).unwrap().check().map_err(|error| error.to_string())
        };
        assert_eq!(check("m.{tag.x}"), Ok(()));
        assert!(check("m").unwrap_err().contains("requires a placeholder in `kafka_topic`"));
    }

    #[test]
    fn only_json_records_have_sketches() {
        let check = |members| config_with(members).unwrap().check().map_err(|e| e.to_string());
        assert_eq!(check(r#""format": "json", "sketches": true"#), Ok(()));
        assert_eq!(check(r#""sketches": false"#), Ok(()));
        let error = Err("`sketches` requires `format: json`".to_owned());
        assert_eq!(check(r#""sketches": true"#), error);
        assert_eq!(check(r#""format": "influx", "sketches": true"#), error);
    }

    #[test]
    fn secrets_are_not_in_the_debug_output() {
        let config = config_with(
            r#""kafka_apikey": "canary-1", "librdkafka": {"sasl.password": "canary-2",
               "ssl.key.password": "canary-3", "ssl.key.pem": "canary-4",
               "sasl.username": "canary-5", "sasl.oauthbearer.config": "canary=6",
               "sasl.kerberos.kinit.cmd": "canary-7", "client.id": "joe"}"#,
        )
        .unwrap();
        let shown = format!("{config:?}");
        assert!(!shown.contains("canary") && shown.contains("joe"), "{shown}");
        assert_eq!(config.kafka_apikey.reveal().as_str(), "canary-1");
    }
}
