//! `librdkafka`: properties of the client library, and the defaults that tallyd sets.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};

use basics::text::{Secret, TextVisitor};

use crate::bounded::{LOOK_MAX, within};

/// The defaults that tallyd sets.
///
/// The library gives a record up after 30 s, and tallyd sends it again for as long as the delivery
/// settings allow. The library's queue is small because the window's bytes are already in memory.
const DEFAULTS: [(&str, &str); 8] = [
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("message.timeout.ms", "30000"),
    ("queue.buffering.max.kbytes", "32768"),
    ("queue.buffering.max.messages", "100000"),
    ("compression.type", "lz4"),
    ("reconnect.backoff.max.ms", "10000"),
    ("socket.connection.setup.timeout.ms", "10000"),
];

/// Properties that an operator cannot set, with the reason or the alternative.
const REFUSED: [(&str, &str); 8] = [
    ("bootstrap.servers", "the brokers are set by `kafka_broker`"),
    ("metadata.broker.list", "the brokers are set by `kafka_broker`"),
    (
        "delivery.report.only.error",
        "a point counts as delivered when its report arrives, so all reports are needed",
    ),
    ("transactional.id", "tallyd writes without transactions"),
    ("test.mock.num.brokers", "a mock cluster acknowledges points without storing them"),
    ("log_level", "set `log: { level }` of tallyd instead"),
    ("log.queue", "the library's log always goes to tallyd's"),
    ("enabled_events", "tallyd needs the events that it asks for"),
];

/// Aliases of properties, with their main names. If a file sets a property by both names, only one
/// of them could take effect, and an alias must override the default that is set by the main name.
const ALIASES: [(&str, &str); 8] = [
    ("request.required.acks", "acks"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("compression.codec", "compression.type"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("retries", "message.send.max.retries"),
    ("sasl.mechanism", "sasl.mechanisms"),
    ("sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.client.secret"),
];

/// Parts of the names of properties with secret values.
const SENSITIVE: [&str; 9] = [
    "password",
    "secret",
    "passphrase",
    "private.key",
    "ssl.key.location",
    ".pem",
    "sasl.username",
    "sasl.oauthbearer.config",
    "kinit.cmd",
];

/// Parts of the names of properties with the path of a file that librdkafka reads.
const FILES: [&str; 4] = [".location", "keytab", "private.key.file", "template.file"];

/// Properties of librdkafka, each accepted by it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, Secret>);

impl Properties {
    /// Returns the operator's value of a property, by any of its names.
    fn get(&self, name: &str) -> Option<&str> {
        let name = canonical(name);
        self.0.iter().find(|(key, _)| canonical(key) == name).map(|(_, value)| value.reveal())
    }

    fn insert(&mut self, name: String, value: Secret) -> Result<(), String> {
        if let Some(other) = self.0.keys().find(|key| canonical(key) == canonical(&name)) {
            return Err(format!("`{name}` and `{other}` are one property: keep one of them"));
        }
        // Here and not when the producer starts, so that the error points at the line of the
        // property.
        accept(&name, value.reveal())?;
        self.0.insert(name, value);
        Ok(())
    }

    /// Returns the client library's settings: tallyd's defaults, overridden by the operator's
    /// properties.
    pub(super) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in DEFAULTS {
            if self.get(name).is_none() {
                config.set(name, value);
            }
        }
        for (name, value) in &self.0 {
            config.set(name, value.reveal());
        }
        // librdkafka rejects idempotence with weaker acknowledgements.
        let acks_all = matches!(self.get("acks"), None | Some("all" | "-1"));
        if !acks_all && self.get("enable.idempotence").is_none() {
            config.set("enable.idempotence", "false");
        }
        self.find_certificates(&mut config);
        // librdkafka writes debug lines only if its log level allows them too.
        let debug = self.get("debug").is_some();
        config.set_log_level(if debug { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
        config
    }

    /// Lets the library look for certificates where distributions keep them: the linked OpenSSL
    /// looks only where it was built.
    fn find_certificates(&self, config: &mut ClientConfig) {
        let tls = self
            .get("security.protocol")
            .is_some_and(|protocol| protocol.to_ascii_lowercase().contains("ssl"));
        let given = ["ssl.ca.location", "ssl.ca.pem"].iter().any(|name| self.get(name).is_some());
        if tls && !given {
            config.set("ssl.ca.location", "probe");
        }
    }
}

fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name)
}

fn is_sensitive(name: &str) -> bool {
    SENSITIVE.iter().any(|part| name.contains(part))
}

/// Rejects a name that librdkafka does not know or that only tallyd sets.
fn accept_name(name: &str) -> Result<(), String> {
    if let Some((_, instead)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return Err(format!("`{name}` cannot be set here: {instead}"));
    }
    match set(name, "") {
        // A known property may reject the empty value.
        Err((RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, words)) => Err(words),
        _ => Ok(()),
    }
}

/// Checks a value, with librdkafka's own check.
fn accept(name: &str, value: &str) -> Result<(), String> {
    if canonical(name) == "acks" && value.trim() == "0" {
        return Err("without acknowledgements, losses cannot be detected: use `all`, or `1` for \
                    the leader's alone"
            .to_owned());
    }
    accept_file(name, value)?;
    set(name, value).map_err(|(_, words)| {
        // Its message would contain the value.
        if is_sensitive(name) {
            format!("librdkafka does not take the value of `{name}`")
        } else if words.contains(&format!("\"{name}\"")) {
            words
        } else {
            // The message may name the property by an alias.
            format!("`{name}`: {words}")
        }
    })
}

/// Rejects a pipe or a device as a file: librdkafka would wait for its writer without a limit, or read
/// it without an end.
fn accept_file(name: &str, value: &str) -> Result<(), String> {
    if !FILES.iter().any(|part| name.contains(part)) {
        return Ok(());
    }
    let path = value.to_owned();
    match within(LOOK_MAX, move || std::fs::metadata(path)) {
        Some(Ok(found)) if !found.is_file() && !found.is_dir() => {
            Err(format!("`{name}`: not a regular file"))
        }
        None => Err(format!("`{name}`: the file system does not answer")),
        // A missing file is reported by librdkafka, and a value that is no path by its own check.
        Some(_) => Ok(()),
    }
}

/// Sets a property in a temporary configuration; the error has librdkafka's message.
fn set(name: &str, value: &str) -> Result<(), (RDKafkaConfRes, String)> {
    match ClientConfig::new().set(name, value).create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(result, words, ..)) => Err((result, words)),
        // Only a zero byte, which C strings cannot hold, fails before librdkafka sees the value.
        Err(_) => {
            let words = format!("`{name}` holds a zero byte");
            Err((RDKafkaConfRes::RD_KAFKA_CONF_INVALID, words))
        }
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(name, value): (&String, &Secret)| {
            (
                name.clone(),
                if is_sensitive(name) { "***".into() } else { value.reveal().to_owned() },
            )
        };
        formatter.debug_map().entries(self.0.iter().map(shown)).finish()
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PropertiesVisitor)
    }
}

struct PropertiesVisitor;

impl<'de> Visitor<'de> for PropertiesVisitor {
    type Value = Properties;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("properties of librdkafka")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Properties, E> {
        Ok(Properties::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Properties, A::Error> {
        let mut properties = Properties::default();
        while let Some(name) = map.next_key_seed(NameSeed)? {
            map.next_value_seed(ValueSeed { properties: &mut properties, name })?;
        }
        Ok(properties)
    }
}

/// Reads the name of a property, so that the error for an unknown one points at the name.
struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        let accepted = |name: &str| accept_name(name).map(|()| name.to_owned());
        deserializer
            .deserialize_str(TextVisitor::new("the name of a property of librdkafka", accepted))
    }
}

/// Reads the value of a property, so that the error for an invalid one points at the value.
struct ValueSeed<'a> {
    properties: &'a mut Properties,
    name: String,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { properties, name } = self;
        let insert = |text: &str| properties.insert(name, Secret::new(text));
        deserializer
            .deserialize_str(TextVisitor::new("the value of a property of librdkafka", insert))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(json: &str) -> Result<Properties, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    fn native(json: &str, name: &str) -> String {
        let config = properties(json).unwrap().client_config();
        config.create_native_config().unwrap().get(name).unwrap()
    }

    #[test]
    fn every_default_is_known_to_librdkafka() {
        for (name, value) in DEFAULTS {
            assert_eq!(set(name, value), Ok(()), "{name}");
        }
        assert_eq!(native("{}", "acks"), "-1");
        assert_eq!(native("{}", "enable.idempotence"), "true");
    }

    #[test]
    fn an_operator_goes_before_the_defaults_by_any_name() {
        assert_eq!(native(r#"{"compression.codec": "zstd"}"#, "compression.type"), "zstd");
        assert_eq!(native(r#"{"delivery.timeout.ms": "1234"}"#, "message.timeout.ms"), "1234");
        assert_eq!(native(r#"{"linger.ms": "7.5"}"#, "linger.ms"), "7.5");
        assert_eq!(native(r#"{"enable.idempotence": "false"}"#, "enable.idempotence"), "false");
    }

    #[test]
    fn weaker_acks_turn_idempotence_off() {
        for name in ["acks", "request.required.acks"] {
            let json = format!(r#"{{"{name}": "1"}}"#);
            assert_eq!(native(&json, "acks"), "1");
            assert_eq!(native(&json, "enable.idempotence"), "false");
        }
        let error = properties(r#"{"request.required.acks": "0"}"#).unwrap_err();
        assert!(error.contains("use `all`, or `1`"), "{error}");
    }

    #[test]
    fn certificates_are_looked_for_where_distributions_keep_them() {
        let tls = r#"{"security.protocol": "SASL_SSL"}"#;
        assert_eq!(native(tls, "ssl.ca.location"), "probe");
        let given = r#"{"security.protocol": "ssl", "ssl.ca.location": "/x.pem"}"#;
        assert_eq!(native(given, "ssl.ca.location"), "/x.pem");
    }

    #[test]
    fn librdkafka_says_what_it_does_not_take_and_where() {
        let error = properties("{\"linger.ms\": \"5\",\n\"linger\": \"5\"}").unwrap_err();
        assert!(error.contains("No such configuration property: \"linger\""), "{error}");
        assert!(error.contains("line 2"), "{error}");
        let error = properties("{\"linger.ms\": \"5\",\n\"acks\": \"some\"}").unwrap_err();
        assert!(error.contains("`acks`: Invalid value for configuration property"), "{error}");
        assert!(error.contains("line 2"), "{error}");
        let error = properties(r#"{"dr_msg_cb": "x"}"#).unwrap_err();
        assert!(error.contains("dr_msg_cb"), "{error}");
    }

    #[test]
    fn what_tallyd_owns_is_refused_with_what_to_do_instead() {
        for (name, instead) in REFUSED {
            let error = properties(&format!(r#"{{"{name}": "1"}}"#)).unwrap_err();
            assert!(error.contains(name) && error.contains(instead), "{error}");
        }
        for (alias, name) in ALIASES {
            assert!(
                !matches!(set(alias, ""), Err((RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _))),
                "{alias}"
            );
            assert!(
                !matches!(set(name, ""), Err((RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _))),
                "{name}"
            );
        }
    }

    #[test]
    fn a_device_is_no_file_for_librdkafka() {
        for name in ["ssl.ca.location", "ssl.key.location", "ssl.keystore.location"] {
            let error = properties(&format!(r#"{{"{name}": "/dev/zero"}}"#)).unwrap_err();
            assert!(error.contains(&format!("`{name}`: not a regular file")), "{error}");
        }
        properties(r#"{"ssl.ca.location": "probe"}"#).unwrap();
        properties(r#"{"ssl.ca.location": "/etc"}"#).unwrap();
    }

    #[test]
    fn one_property_by_two_names_is_refused() {
        let error = properties(r#"{"acks": "all", "request.required.acks": "1"}"#).unwrap_err();
        assert!(error.contains("`request.required.acks` and `acks` are one property"), "{error}");
    }

    #[test]
    fn the_value_of_a_password_is_in_no_error() {
        let error = properties(r#"{"ssl.key.pem": "canary\u0000"}"#).unwrap_err();
        assert!(!error.contains("canary"), "{error}");
    }
}
