//! Telegraf's outputs: one forwarder each.

use super::super::document::{Block, Value};
use super::super::plan::Plan;
use super::super::setting::{ConvertError, Section};
use super::super::span::{go_duration, span};
use super::input::StatsdInput;
use super::references::{expanded, secret};
use super::{common, graphite, influxdb, kafka, serializer};

/// An output of Telegraf, with the name of its plugin.
pub(super) struct Output {
    kind: String,
    section: Section,
}

impl Output {
    /// Takes all outputs.
    pub(super) fn take_all(root: &mut Section) -> Result<Vec<Self>, ConvertError> {
        let mut all = Vec::new();
        if let Some(mut outputs) = root.section("outputs")? {
            for kind in outputs.keys() {
                let sections = outputs.sections(&kind)?.unwrap_or_default();
                all.extend(
                    sections.into_iter().map(|section| Self { kind: kind.clone(), section }),
                );
            }
        }
        Ok(all)
    }

    /// Whether its forwarder does not have Telegraf's names: only line protocol has them.
    pub(super) fn has_other_names(&self) -> bool {
        match self.kind.as_str() {
            "graphite" | "prometheus_client" | "opentelemetry" => true,
            "file" | "kafka" => serializer::has_other_names(&self.section),
            _ => false,
        }
    }
}

/// Converts all outputs.
pub(super) fn forwarders(
    outputs: Vec<Output>,
    input: &StatsdInput,
    plan: &mut Plan,
) -> Result<(), ConvertError> {
    if outputs.is_empty() {
        plan.notes.differs(
            "outputs",
            "there are none; tallyd writes to standard output until `forwarders` has one",
        );
    }
    for Output { kind, section: output } in outputs {
        match kind.as_str() {
            "influxdb" => influxdb::version_1(output, input, plan)?,
            "influxdb_v2" => influxdb::version_2(output, input, plan)?,
            "influxdb_v3" => influxdb::version_3(output, input, plan)?,
            "graphite" => graphite::forwarder(output, input, plan)?,
            "kafka" => kafka::forwarder(output, input, plan)?,
            "prometheus_client" => prometheus(output, input, plan)?,
            "file" => file(output, input, plan)?,
            "opentelemetry" => opentelemetry(output, input, plan)?,
            _ => plan.notes.lost(output.name_of("").trim_end_matches('.'), other_output(&kind)),
        }
    }
    Ok(())
}

fn other_output(kind: &str) -> String {
    let like = match kind {
        "http" => {
            "`forwarders.influxdb`, `forwarders.prometheus.remote_write` or `forwarders.otlp`, by the data"
        }
        "datadog" => {
            "`forwarders.statsd` with `dialect: dogstatsd`, to Datadog's agent, or `forwarders.otlp`"
        }
        "discard" => "no forwarder; without any, tallyd writes to standard output",
        _ => "a forwarder, or keep Telegraf for it with `forwarders.statsd` to its input",
    };
    format!("tallyd has no such destination; use {like}")
}

fn prometheus(
    mut output: Section,
    input: &StatsdInput,
    plan: &mut Plan,
) -> Result<(), ConvertError> {
    let mut block = Block::default();
    let listen = output.text("listen")?.unwrap_or_else(|| ":9273".to_owned());
    block.set("listen", Value::Text(expanded(&listen)));
    block.set_some("path", output.text("path")?.map(|path| Value::Text(expanded(&path))));
    let expiry = output.text("expiration_interval")?.unwrap_or_else(|| "60s".to_owned());
    match go_duration(&expiry) {
        Some(time) if !time.is_zero() => block.set("expire_after", Value::word(span(time))),
        _ => block.set_with("Telegraf keeps series forever.", "expire_after", Value::word("7d")),
    };
    plan.notes.differs(
        output.name_of("metric_version"),
        "counters are totals with the suffix `_total`, timers are summaries, and there is no label `metric_type`",
    );
    output.take("metric_version");
    let (users, tls) = ("set `users` of the page, with a bcrypt hash", "set `tls` of the page");
    let web = "set `web_config_file` of the page, which has this setting";
    output.without_equivalent(
        &[
            ("basic_username", users),
            ("basic_password", users),
            ("ip_range", "use a firewall, or set `users` of the page"),
            ("tls_cert", tls),
            ("tls_key", tls),
            ("tls_allowed_cacerts", tls),
            ("tls_allowed_dns_names", web),
            ("tls_key_pwd", "decrypt the key, and set `tls` of the page"),
            ("tls_min_version", web),
            ("http_headers", "the page has no headers of its own"),
            (
                "collectors_exclude",
                "the page has only the metrics; those of the process are on the admin endpoint",
            ),
            ("string_as_label", "no field is a text"),
            (
                "export_timestamp",
                "the page has no timestamps; Prometheus uses the time of the scrape",
            ),
            ("metric_types", "the type follows from the statsd line"),
            ("read_timeout", "see `request_timeout`"),
            ("write_timeout", "see `request_timeout`"),
        ],
        &mut plan.notes,
    );
    common::finish("prometheus", output, block, input, plan)
}

/// A file each; `stdout` is the console.
fn file(mut output: Section, input: &StatsdInput, plan: &mut Plan) -> Result<(), ConvertError> {
    let files = output.texts("files")?.unwrap_or_else(|| vec!["stdout".to_owned()]);
    let mut format = Block::default();
    serializer::format(&mut output, &mut format, input, plan)?;
    let rotation = "tallyd writes to a new file after the old one was moved and it got a SIGHUP, as logrotate does";
    output.without_equivalent(
        &[
            ("rotation_interval", rotation),
            ("rotation_max_size", rotation),
            ("rotation_max_archives", rotation),
            ("compression_algorithm", "files are not compressed; let logrotate do so"),
            ("compression_level", "files are not compressed; let logrotate do so"),
            ("use_batch_format", "each window is written whole"),
        ],
        &mut plan.notes,
    );
    let mut options = Block::default();
    common::options(&mut output, &mut options, input, plan)?;
    output.finish(&mut plan.notes);
    for file in files {
        let mut block = Block::default();
        let kind = if file == "stdout" { "console" } else { "file" };
        if kind == "file" {
            block.set("path", Value::Text(expanded(&file)));
        }
        block.append(&format);
        block.append(&options);
        block.append(&input.idle);
        plan.forwarders.push((kind, block));
    }
    Ok(())
}

fn opentelemetry(
    mut output: Section,
    input: &StatsdInput,
    plan: &mut Plan,
) -> Result<(), ConvertError> {
    let mut block = Block::default();
    let address = output.text("service_address")?.unwrap_or_else(|| "localhost:4317".to_owned());
    let mut tls = Block::default();
    let has_tls = common::tls(&mut output, &mut tls, plan)?;
    let endpoint = match address.contains("://") {
        true => expanded(&address),
        false => format!("{}://{}", if has_tls { "grpcs" } else { "grpc" }, expanded(&address)),
    };
    block.set("endpoint", Value::Text(endpoint));
    if output.text("compression")?.as_deref() == Some("none") {
        block.set("compression", Value::word("none"));
    }
    if let Some(headers) = output.section("headers")? {
        let path = headers.name_of("");
        for (key, text) in headers.pairs()? {
            let variable = format!("TALLYD_OTLP_{}", variable_of(&key));
            let value = plan.secret(&format!("{path}{key}"), &variable, secret(&text));
            block.block("headers").set(key, value);
        }
    }
    for (key, text) in
        output.section("attributes")?.map(Section::pairs).transpose()?.unwrap_or_default()
    {
        block.block("resource").set(key, Value::Text(expanded(&text)));
    }
    block.append(&tls);
    let words = "add Coralogix' headers to `headers`";
    output.without_equivalent(&[("coralogix", words)], &mut plan.notes);
    common::finish("otlp", output, block, input, plan)
}

/// The name of an environment variable for a key.
fn variable_of(key: &str) -> String {
    key.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect()
}
