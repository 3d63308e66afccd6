//! The output for Graphite.

use super::super::document::{Block, Value};
use super::super::plan::Plan;
use super::super::setting::{ConvertError, Section};
use super::common;
use super::input::StatsdInput;
use super::references::expanded;

/// Telegraf's default template.
const TEMPLATE: &str = "host.tags.measurement.field";

pub(super) fn forwarder(
    mut output: Section,
    input: &StatsdInput,
    plan: &mut Plan,
) -> Result<(), ConvertError> {
    let mut block = Block::default();
    let servers = output.texts("servers")?.unwrap_or_else(|| vec!["localhost:2003".to_owned()]);
    if servers.len() > 1 {
        plan.notes.lost(
            output.name_of("servers"),
            "Telegraf writes to one of several servers; only the first one is used. Name a load balancer, or use \
             several forwarders, each of which gets all points",
        );
    }
    let server = servers.first().map_or("localhost:2003", String::as_str);
    block.set("address", Value::Text(expanded(server)));
    tags(&mut output, &mut block, plan)?;
    if let Some(prefix) = output.text("prefix")?.filter(|prefix| !prefix.is_empty()) {
        block.block("select").set("prefix", Value::Text(format!("{}.", expanded(&prefix))));
        plan.notes.differs(
            output.name_of("prefix"),
            "`select.prefix` precedes the name, not the whole path",
        );
    }
    let tls = "carbon is reached without TLS";
    output.without_equivalent(
        &[
            (
                "templates",
                "there is one `template` for all metrics; use several forwarders with `select`",
            ),
            ("graphite_separator", "fields follow after a dot"),
            ("graphite_tag_sanitize_mode", "characters that Graphite cannot store are replaced"),
            (
                "graphite_strict_sanitize_regex",
                "characters that Graphite cannot store are replaced",
            ),
            ("local_address", "the system chooses the address"),
            ("tls_ca", tls),
            ("tls_cert", tls),
            ("tls_key", tls),
            ("tls_key_pwd", tls),
            ("tls_enable", tls),
            ("tls_server_name", tls),
            ("tls_min_version", tls),
            ("insecure_skip_verify", tls),
        ],
        &mut plan.notes,
    );
    plan.notes.differs(
        "names in Graphite",
        "a counter has `count` and `rate` instead of its value, a timer `min`, `max` and `p90` instead of `lower`, \
         `upper` and `90_percentile`",
    );
    common::finish("graphite", output, block, input, plan)
}

/// Where the tags go: Graphite's own tags, or parts of the path.
fn tags(output: &mut Section, block: &mut Block, plan: &mut Plan) -> Result<(), ConvertError> {
    let setting = output.name_of("template");
    let template = output.text("template")?.filter(|template| !template.is_empty());
    if output.flag("graphite_tag_support")? == Some(true) {
        block.set("tags", Value::word("series"));
        if template.is_some() {
            plan.notes.lost(setting, "has no effect with `graphite_tag_support`");
        }
        return Ok(());
    }
    let template = template.unwrap_or_else(|| TEMPLATE.to_owned());
    block.set("tags", Value::word("path")).set("template", Value::text(&path(&template)));
    if !template.ends_with("field") {
        plan.notes.differs(&setting, "the field is always the last part of the path");
    }
    plan.notes.differs(
        setting,
        "Telegraf's tag `metric_type` is not in the path, and a missing tag is `none` instead of nothing",
    );
    Ok(())
}

/// Telegraf's template in tallyd's form, without the field.
fn path(template: &str) -> String {
    let part = |part: &str| match part {
        "measurement" => Some("{name}".to_owned()),
        "field" | "" => None,
        key => Some(format!("{{{key}}}")),
    };
    template.split('.').filter_map(part).collect::<Vec<_>>().join(".")
}
