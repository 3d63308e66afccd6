//! `data_format` of outputs: the serializers of Telegraf, of which tallyd has the formats of two.

use super::super::document::{Block, Value};
use super::super::plan::Plan;
use super::super::setting::{ConvertError, Section};
use super::input::StatsdInput;

/// Options of line protocol and of JSON, and the reason why they have no counterpart.
const OPTIONS: [(&str, &str); 9] = [
    ("influx_max_line_bytes", NONE),
    ("influx_sort_fields", NONE),
    ("influx_uint_support", "counts are signed integers"),
    ("influx_omit_timestamp", "each line has the time of its window's end"),
    ("json_timestamp_units", NONE),
    ("json_timestamp_format", NONE),
    ("json_transformation", NONE),
    ("json_nested_fields_include", NONE),
    ("json_nested_fields_exclude", NONE),
];
const NONE: &str = "the formats have no options";

/// The other serializers of Telegraf 1.37, with the replacement in tallyd and their options.
const WITHOUT_FORMAT: [(&str, &str, &[&str]); 12] = [
    ("binary", READ, &["endianness", "entries"]),
    ("carbon2", READ, &["carbon2_format", "carbon2_sanitize_replace_char"]),
    (
        "cloudevents",
        READ,
        &[
            "cloudevents_batch_format",
            "cloudevents_event_time",
            "cloudevents_event_type",
            "cloudevents_source",
            "cloudevents_source_tag",
            "cloudevents_version",
        ],
    ),
    (
        "csv",
        READ,
        &[
            "csv_column_prefix",
            "csv_columns",
            "csv_header",
            "csv_separator",
            "csv_timestamp_format",
        ],
    ),
    (
        "graphite",
        "`forwarders.graphite` writes it, to carbon",
        &[
            "graphite_separator",
            "graphite_strict_sanitize_regex",
            "graphite_tag_sanitize_mode",
            "graphite_tag_support",
            "prefix",
            "template",
            "templates",
        ],
    ),
    ("msgpack", READ, &[]),
    ("nowmetric", READ, &["nowmetric_format"]),
    (
        "prometheus",
        "`forwarders.prometheus` has it as a page",
        &[
            "prometheus_compact_encoding",
            "prometheus_export_timestamp",
            "prometheus_metric_types",
            "prometheus_sort_metrics",
            "prometheus_string_as_label",
        ],
    ),
    (
        "prometheusremotewrite",
        "`forwarders.prometheus.remote_write` sends it to a server",
        &["prometheus_sort_metrics", "prometheus_string_as_label"],
    ),
    (
        "splunkmetric",
        READ,
        &["splunkmetric_hec_routing", "splunkmetric_multimetric", "splunkmetric_omit_event_tag"],
    ),
    ("template", READ, &["batch_template", "template"]),
    (
        "wavefront",
        READ,
        &[
            "prefix",
            "wavefront_disable_prefix_conversion",
            "wavefront_source_override",
            "wavefront_use_strict",
        ],
    ),
];
const READ: &str = "let the consumer read line protocol, or `format: json`";

/// Whether an output with a data format writes the names of tallyd instead of Telegraf's.
pub(super) fn has_other_names(output: &Section) -> bool {
    output.peek("data_format") == Some("json")
}

/// Sets the format of a serializer, in a destination with `format`, and the names of line protocol. Names
/// the options of serializers.
pub(super) fn format(
    output: &mut Section,
    block: &mut Block,
    input: &StatsdInput,
    plan: &mut Plan,
) -> Result<(), ConvertError> {
    let name = output.name_of("data_format");
    let format = match output.text("data_format")?.as_deref() {
        None | Some("" | "influx") => "influx",
        Some("json") => {
            plan.notes.differs(
                name,
                "tallyd's JSON has other members: see `format: json` in docs/forwarders/kafka.md. The fields are `count` and \
                 `rate` for a counter's `value`, and `min`, `max`, `p50` and `p90` for a timer's `lower`, `upper`, `median` \
                 and `90_percentile`",
            );
            "json"
        }
        Some(other) => {
            let words = without_format(other, output);
            plan.notes.lost(name, format!("{words}; line protocol is written instead"));
            "influx"
        }
    };
    output.without_equivalent(&OPTIONS, &mut plan.notes);
    block.set("format", Value::word(format));
    if format == "influx" {
        block.append(&input.naming);
    }
    Ok(())
}

/// A sentence about a format that tallyd does not write, whose options have no effect.
fn without_format(format: &str, output: &mut Section) -> String {
    let known = WITHOUT_FORMAT.iter().find(|(name, ..)| *name == format);
    let Some((_, advice, options)) = known else {
        return format!("`{format}` is no data format of Telegraf 1.37");
    };
    let given = options.iter().filter(|option| output.take(option).is_some()).count();
    let with = if given > 0 { " and its options have" } else { " has" };
    format!("`{format}`{with} no equivalent: {advice}")
}
