//! The output for Kafka.

use super::super::document::{Block, Value};
use super::super::plan::Plan;
use super::super::setting::{ConvertError, Section};
use super::input::StatsdInput;
use super::references::{expanded, secret};
use super::{common, serializer};

/// Options that have no counterpart.
const WITHOUT_EQUIVALENT: [(&str, &str); 36] = [
    ("topic_tag", TOPIC),
    ("exclude_topic_tag", TOPIC),
    ("topic_suffix", TOPIC),
    ("max_retry", "points are sent until the broker has them, or leave the spool"),
    ("version", "the client negotiates the version with the brokers"),
    ("producer_timestamp", "records have the time at which they are sent"),
    ("metric_name_header", "records have the headers of the ledger only"),
    ("idempotent_writes", "the producer is always idempotent"),
    ("metadata_full", META),
    ("metadata_retry_backoff", META),
    ("metadata_retry_max", META),
    ("metadata_retry_max_duration", META),
    ("metadata_retry_type", META),
    ("keep_alive_period", "set `socket.keepalive.enable` in `librdkafka`"),
    ("socks5_enabled", PROXY),
    ("socks5_address", PROXY),
    ("socks5_username", PROXY),
    ("socks5_password", PROXY),
    ("sasl_access_token", SASL),
    ("sasl_version", "the client negotiates the version with the brokers"),
    ("sasl_extensions", SASL),
    ("sasl_gssapi_auth_type", SASL),
    ("sasl_gssapi_disable_pafxfast", SASL),
    ("sasl_gssapi_kerberos_config_path", SASL),
    ("sasl_gssapi_key_tab_path", SASL),
    ("sasl_gssapi_realm", SASL),
    ("sasl_gssapi_service_name", SASL),
    ("sasl_aws_msk_iam_profile", SASL),
    ("sasl_aws_msk_iam_region", SASL),
    ("sasl_aws_msk_iam_role", SASL),
    ("sasl_aws_msk_iam_session", SASL),
    ("tls_cipher_suites", "set `ssl.cipher.suites` in `librdkafka`"),
    ("tls_min_version", "the client negotiates the version with the brokers"),
    ("tls_max_version", "the client negotiates the version with the brokers"),
    ("tls_renegotiation_method", "the client does not renegotiate"),
    ("tls_server_name", "the certificate must have the broker's name"),
];
const TOPIC: &str = "all points go to one topic; use several forwarders with `select`";
const META: &str = "librdkafka has properties for it, such as `topic.metadata.refresh.interval.ms`";
const PROXY: &str = "tallyd connects directly, never through a proxy";
const SASL: &str =
    "librdkafka has properties of its own for this mechanism; set them in `librdkafka`";

pub(super) fn forwarder(
    mut output: Section,
    input: &StatsdInput,
    plan: &mut Plan,
) -> Result<(), ConvertError> {
    let mut block = Block::default();
    let brokers = output.texts("brokers")?.unwrap_or_else(|| vec!["localhost:9092".to_owned()]);
    block.set("kafka_broker", Value::Text(expanded(&brokers.join(","))));
    let topic = output.text("topic")?.unwrap_or_else(|| "telegraf".to_owned());
    block.set("kafka_topic", Value::Text(expanded(&topic)));
    serializer::format(&mut output, &mut block, input, plan)?;
    key(&mut output, &mut block, plan)?;
    let mut properties = Block::default();
    producer(&mut output, &mut properties, plan)?;
    security(&mut output, &mut properties, plan)?;
    if !properties.is_empty() {
        block.set("librdkafka", properties);
    }
    output.without_equivalent(&WITHOUT_EQUIVALENT, &mut plan.notes);
    plan.notes.differs(
        "records of Kafka",
        "a record has one point, in Telegraf too unless it used a batch format",
    );
    common::finish("kafka", output, block, input, plan)
}

fn key(output: &mut Section, block: &mut Block, plan: &mut Plan) -> Result<(), ConvertError> {
    let (tag, key) = (output.text("routing_tag")?, output.text("routing_key")?);
    if key.as_deref() == Some("random") {
        block.set("key", Value::word("none"));
    } else if tag.is_some() || key.is_some() {
        plan.notes.differs(
            output.name_of("routing_tag, routing_key"),
            "the key is the series, which keeps the order of each series: see `key`",
        );
    }
    Ok(())
}

fn producer(
    output: &mut Section,
    properties: &mut Block,
    plan: &mut Plan,
) -> Result<(), ConvertError> {
    let codec = match output.text("compression_codec")?.as_deref() {
        Some("1") => Some("gzip"),
        Some("2") => Some("snappy"),
        Some("3") => Some("lz4"),
        Some("4") => Some("zstd"),
        Some("0") => Some("none"),
        _ => None,
    };
    properties.set_some("compression.codec", codec.map(Value::word));
    if let Some("1" | "0") = output.text("required_acks")?.as_deref() {
        plan.notes.lost(
            output.name_of("required_acks"),
            "a point counts as delivered when all in-sync replicas have it (`acks: all`)",
        );
    }
    if let Some(bytes) = output.number("max_message_bytes")? {
        properties.set("message.max.bytes", Value::word(bytes));
    }
    let client = output.text("client_id")?.filter(|id| !id.is_empty());
    properties.set_some("client.id", client.map(|id| Value::Text(expanded(&id))));
    Ok(())
}

/// TLS and SASL, as properties of librdkafka.
fn security(
    output: &mut Section,
    properties: &mut Block,
    plan: &mut Plan,
) -> Result<(), ConvertError> {
    let mut has_tls =
        output.flag("enable_tls")? == Some(true) || output.flag("tls_enable")? == Some(true);
    let mut tls = Block::default();
    for (key, property) in [
        ("tls_ca", "ssl.ca.location"),
        ("tls_cert", "ssl.certificate.location"),
        ("tls_key", "ssl.key.location"),
    ] {
        if let Some(path) = output.text(key)?.filter(|path| !path.is_empty()) {
            tls.set(property, Value::Text(expanded(&path)));
            has_tls = true;
        }
    }
    if let Some(password) = output.text("tls_key_pwd")?.filter(|password| !password.is_empty()) {
        let setting = output.name_of("tls_key_pwd");
        tls.set(
            "ssl.key.password",
            plan.secret(&setting, "TALLYD_KAFKA_KEY_PASSWORD", secret(&password)),
        );
    }
    if output.flag("insecure_skip_verify")? == Some(true) {
        tls.set("enable.ssl.certificate.verification", Value::word(false));
    }
    let user = output.text("sasl_username")?.filter(|user| !user.is_empty());
    let mechanism = output.text("sasl_mechanism")?.filter(|mechanism| !mechanism.is_empty());
    let password = output.text("sasl_password")?.filter(|password| !password.is_empty());
    let has_sasl = user.is_some() || mechanism.is_some();
    let protocol = match (has_tls, has_sasl) {
        (true, true) => Some("SASL_SSL"),
        (true, false) => Some("SSL"),
        (false, true) => Some("SASL_PLAINTEXT"),
        (false, false) => None,
    };
    properties.set_some("security.protocol", protocol.map(Value::word));
    properties.append(&tls);
    if has_sasl {
        properties
            .set("sasl.mechanisms", Value::text(&mechanism.unwrap_or_else(|| "PLAIN".to_owned())));
        properties.set_some("sasl.username", user.map(|user| Value::Text(expanded(&user))));
    }
    if let Some(password) = password {
        let setting = output.name_of("sasl_password");
        properties.set(
            "sasl.password",
            plan.secret(&setting, "TALLYD_KAFKA_PASSWORD", secret(&password)),
        );
    }
    Ok(())
}
