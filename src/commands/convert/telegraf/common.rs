//! Options that all outputs of Telegraf have.

use super::super::document::{Block, Value};
use super::super::plan::Plan;
use super::super::setting::{ConvertError, Section};
use super::super::span::{go_duration, span};
use super::input::StatsdInput;
use super::references::expanded;

/// Options of all outputs that have no counterpart.
const WITHOUT_EQUIVALENT: [(&str, &str); 21] = [
    (
        "name_suffix",
        "`select` has only a prefix; a rule with `name` can add a suffix for all forwarders",
    ),
    ("name_override", "a rule with `name` renames metrics for all forwarders"),
    ("namepass_separator", GLOBS),
    ("namedrop_separator", GLOBS),
    ("taginclude", "name the other tags in `select.drop_tags`"),
    (
        "tagpass",
        "`select` has no filter on the values of tags; a rule with `drop: true` can match names",
    ),
    (
        "tagdrop",
        "`select` has no filter on the values of tags; a rule with `drop: true` can match names",
    ),
    ("fieldpass", FIELDS),
    ("fielddrop", FIELDS),
    ("fieldinclude", FIELDS),
    ("fieldexclude", FIELDS),
    ("metricpass", "`select` has no expressions; `include`, `exclude` and `rules` match names"),
    ("pass", FIELDS),
    ("drop", FIELDS),
    ("flush_interval", "every forwarder gets each window when it ends"),
    ("flush_jitter", "every forwarder gets each window when it ends"),
    ("metric_batch_size", "forwarders have limits of their own, such as `max_lines` of influxdb"),
    ("metric_buffer_limit", "see `delivery.queue.max_points` and `delivery.spool`"),
    ("log_level", "`log.level` applies to the whole daemon"),
    ("startup_error_behavior", "tallyd starts while a destination is down, and delivers later"),
    ("tags", "set `select.tags`"),
];
const GLOBS: &str = "globs compare the whole name";
const FIELDS: &str =
    "a point has the fields of its type; `aggregation.percentiles` selects the percentiles";

/// Options of TLS that have no counterpart.
const TLS_WITHOUT_EQUIVALENT: [(&str, &str); 8] = [
    ("tls_key_pwd", "write the key without a password to a file that only tallyd can read"),
    ("tls_cipher_suites", TLS),
    ("tls_min_version", TLS),
    ("tls_max_version", TLS),
    ("tls_renegotiation_method", TLS),
    ("tls_server_name", "the certificate must have the name of the URL"),
    ("http_proxy_url", PROXY),
    ("use_system_proxy", PROXY),
];
const TLS: &str = "TLS 1.2 and 1.3 with their usual cipher suites";
const PROXY: &str = "tallyd connects directly, never through a proxy";

/// Adds the options of all outputs, names the unknown ones, and adds the forwarder.
pub(super) fn finish(
    kind: &'static str,
    mut output: Section,
    mut block: Block,
    input: &StatsdInput,
    plan: &mut Plan,
) -> Result<(), ConvertError> {
    options(&mut output, &mut block, input, plan)?;
    if kind != "prometheus" {
        block.append(&input.idle);
    }
    output.finish(&mut plan.notes);
    plan.forwarders.push((kind, block));
    Ok(())
}

/// Takes the options of all outputs, at the end of a destination's keys.
pub(super) fn options(
    output: &mut Section,
    block: &mut Block,
    input: &StatsdInput,
    plan: &mut Plan,
) -> Result<(), ConvertError> {
    if let Some(alias) = output.text("alias")?.filter(|alias| !alias.is_empty()) {
        block.set("name", Value::text(&alias));
    }
    select(output, block, input, plan)?;
    if let Some(timeout) = output.text("timeout")? {
        match go_duration(&timeout).filter(|timeout| !timeout.is_zero()) {
            Some(timeout) => {
                block.block("delivery").set("timeout", Value::word(span(timeout)));
            }
            None => plan.notes.differs(
                output.name_of("timeout"),
                "the default of `delivery.timeout`, 10s, applies",
            ),
        }
    }
    output.without_equivalent(&WITHOUT_EQUIVALENT, &mut plan.notes);
    Ok(())
}

fn select(
    output: &mut Section,
    block: &mut Block,
    input: &StatsdInput,
    plan: &mut Plan,
) -> Result<(), ConvertError> {
    let mut has_globs = false;
    for (key, ours) in
        [("namepass", "include"), ("namedrop", "exclude"), ("tagexclude", "drop_tags")]
    {
        let own = output.texts(key)?;
        has_globs |= own.is_some() && key != "tagexclude";
        if let Some(texts) = own {
            let texts: Vec<Value> = texts.iter().map(|text| Value::Text(expanded(text))).collect();
            block.block("select").set(ours, Value::List(texts));
        }
    }
    if has_globs {
        plan.notes.differs(
            output.name_of("namepass, namedrop"),
            "globs are compared with the name as it is sent or made by `rules`, with its dots",
        );
    }
    let prefix = output.text("name_prefix")?.map(|text| expanded(&text)).unwrap_or_default();
    let prefix = format!("{prefix}{}", input.name_prefix);
    if !prefix.is_empty() {
        block.block("select").set("prefix", Value::Text(prefix));
    }
    Ok(())
}

/// Takes the options of TLS; whether any is given that makes Telegraf use it.
pub(super) fn tls(
    output: &mut Section,
    block: &mut Block,
    plan: &mut Plan,
) -> Result<bool, ConvertError> {
    let mut is_used = output.flag("tls_enable")? == Some(true);
    for (key, ours) in [("tls_ca", "ca_file"), ("tls_cert", "cert_file"), ("tls_key", "key_file")] {
        if let Some(path) = output.text(key)?.filter(|path| !path.is_empty()) {
            block.block("tls").set(ours, Value::Text(expanded(&path)));
            is_used = true;
        }
    }
    if output.flag("insecure_skip_verify")? == Some(true) {
        block.block("tls").set("insecure_skip_verify", Value::word(true));
        is_used = true;
    }
    output.without_equivalent(&TLS_WITHOUT_EQUIVALENT, &mut plan.notes);
    Ok(is_used)
}
