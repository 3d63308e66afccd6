//! `[[inputs.statsd]]`: listeners, percentiles, rules, and the series without samples.

use super::super::document::{Block, Value};
use super::super::notes::Notes;
use super::super::plan::Plan;
use super::super::setting::{ConvertError, Section};
use super::super::span::{go_duration, span};
use super::references::{expanded, has_references};
use super::templates;
use forwarders::format::influx::MetricSeparator;

/// What the inputs say about the outputs.
pub(super) struct StatsdInput {
    /// Text before each name.
    pub(super) name_prefix: String,
    /// `idle` and `idle_for` of forwarders that have them.
    pub(super) idle: Block,
    /// `naming`, and `telegraf` if an option is not the default, of forwarders with line protocol.
    pub(super) naming: Block,
}

/// Options that are without effect in tallyd, because it always behaves so, or needs no such option.
const WITHOUT_EQUIVALENT: [(&str, &str); 27] = [
    (
        "allowed_pending_messages",
        "there is no queue after the socket; `receive_buffer` absorbs bursts, and lost datagrams are counted as `kernel_drops`",
    ),
    (
        "number_workers_threads",
        "one thread reads and decodes more than Telegraf's do; `threads` of the listener adds some",
    ),
    (
        "convert_names",
        "names keep their dots and dashes; each output replaces what it cannot represent",
    ),
    ("sanitize_name_method", "each output replaces characters that it cannot represent"),
    (
        "datadog_distributions",
        "`d` is a timer with the tag `metric_type=distribution`; Telegraf writes each value, or none without the option",
    ),
    ("datadog_keep_container_tag", "the container's id is skipped"),
    ("enable_aggregation_temporality", "`forwarders.otlp` has `temporality`"),
    ("first_counter_metric_gather_fill_with_zero", "the Prometheus page keeps totals"),
    ("name_suffix", "a rule with `name` can add a suffix"),
    ("name_override", "a rule with `name` renames metrics"),
    ("alias", "a listener has no name"),
    ("precision", "points have the time of their window's end"),
    ("collection_jitter", "all windows end on the clock"),
    ("collection_offset", "all windows end on the clock"),
    ("log_level", "`log.level` applies to the whole daemon"),
    ("startup_error_behavior", "an address in use ends the start"),
    ("fieldpass", "a point has the fields of its type"),
    ("fielddrop", "a point has the fields of its type"),
    ("tagpass", "a rule with `drop: true` drops metrics by name"),
    ("tagdrop", "a rule with `drop: true` drops metrics by name"),
    ("taginclude", "name the other tags in `select.drop_tags` of the forwarders"),
    ("tagexclude", "set `select.drop_tags` of the forwarders"),
    ("metricpass", "a rule with `drop: true` drops metrics by name"),
    ("namepass", NAMES),
    ("namedrop", NAMES),
    ("pass", NAMES),
    ("drop", NAMES),
];
const NAMES: &str =
    "set `select.include` or `select.exclude` of the forwarders, or add a rule with `drop: true`";
/// tallyd's own default.
const RECEIVE_BUFFER: f64 = 8_388_608.0;
const EXACT_SAMPLES_MIN: f64 = 1000.0;

impl StatsdInput {
    /// Takes all statsd inputs. tallyd has one set of windows, so that options of aggregation are those of
    /// the first input.
    /// `has_other_names` says whether an output has names other than Telegraf's.
    pub(super) fn take(
        inputs: Vec<Section>,
        has_other_names: bool,
        plan: &mut Plan,
    ) -> Result<Self, ConvertError> {
        let mut naming = Block::default();
        naming.set("naming", Value::word("telegraf"));
        let mut taken = Self { name_prefix: String::new(), idle: Block::default(), naming };
        for (number, mut input) in (0..).zip(inputs) {
            listener(&mut input, plan)?;
            if number == 0 {
                taken.aggregation(&mut input, has_other_names, plan)?;
            } else {
                let words = "the inputs share aggregation, names and tags, for which the first one's options apply";
                for key in AGGREGATION {
                    if input.take(key).is_some() {
                        plan.notes.lost(input.name_of(key), words);
                    }
                }
            }
            input.without_equivalent(&WITHOUT_EQUIVALENT, &mut plan.notes);
            input.finish(&mut plan.notes);
        }
        Ok(taken)
    }

    fn aggregation(
        &mut self,
        input: &mut Section,
        has_other_names: bool,
        plan: &mut Plan,
    ) -> Result<(), ConvertError> {
        if let Some(interval) = input.text("interval")? {
            set_interval(&input.name_of("interval"), &interval, plan)?;
        }
        self.name_prefix =
            input.text("name_prefix")?.map(|text| expanded(&text)).unwrap_or_default();
        percentiles(input, has_other_names, plan)?;
        self.idle(input, plan)?;
        let joiner = input
            .text("metric_separator")?
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| "_".to_owned());
        let setting = input.name_of("templates");
        let templates = input.texts("templates")?.unwrap_or_default();
        plan.rules.extend(templates::rules(&templates, &joiner, &setting, &mut plan.notes));
        self.naming(&joiner, input, &mut plan.notes)?;
        if joiner != "." && has_other_names {
            plan.notes.differs(
                input.name_of("metric_separator"),
                format!(
                    "Telegraf writes `users{joiner}current` for users.current; tallyd keeps the dot, except in names \
                     that a rule makes, and in line protocol. Graphite and Prometheus: see their forwarders' pages"
                ),
            );
        }
        for (key, text) in
            input.section("tags")?.map(Section::pairs).transpose()?.unwrap_or_default()
        {
            plan.agent.block("tags").set(key, Value::Text(expanded(&text)));
        }
        // tallyd reads these tags anyway; without the option Telegraf does not.
        let flags = ["datadog_extensions", "parse_data_dog_tags"];
        let given = [input.flag(flags[0])?, input.flag(flags[1])?];
        if !given.contains(&Some(true)) {
            plan.notes.differs(
                input.name_of("datadog_extensions"),
                "is off in Telegraf, which then rejects or ignores DogStatsD's tags; tallyd reads them",
            );
        }
        Ok(())
    }

    /// The options that affect names and types in line protocol.
    fn naming(
        &mut self,
        joiner: &str,
        input: &mut Section,
        notes: &mut Notes,
    ) -> Result<(), ConvertError> {
        let mut options = Block::default();
        match MetricSeparator::parse(joiner) {
            Ok(separator) if separator == MetricSeparator::default() => {}
            Ok(_) => {
                options.set("metric_separator", Value::text(joiner));
            }
            Err(reason) => notes.lost(input.name_of("metric_separator"), reason),
        }
        for key in ["float_counters", "float_timings", "float_sets"] {
            if input.flag(key)? == Some(true) {
                options.set(key, Value::word(true));
            }
        }
        if !options.is_empty() {
            self.naming.set("telegraf", options);
        }
        Ok(())
    }

    /// The `delete_*` options.
    fn idle(&mut self, input: &mut Section, plan: &mut Plan) -> Result<(), ConvertError> {
        let max_ttl =
            input.text("max_ttl")?.and_then(|text| go_duration(&text)).filter(|ttl| !ttl.is_zero());
        if input.flag("delete_gauges")? == Some(false) {
            self.idle.block("idle").set("gauges", Value::word("last"));
            match max_ttl {
                Some(ttl) => {
                    self.idle.block("idle_for").set("gauges", Value::word(span(ttl)));
                    plan.aggregation.set("expire_after", Value::word(span(ttl)));
                }
                None => {
                    plan.aggregation.set_with(
                        "Telegraf keeps gauges forever. A series takes about 250 bytes until it expires.",
                        "expire_after",
                        Value::word("7d"),
                    );
                }
            }
        } else {
            plan.notes.differs(
                input.name_of("delete_gauges"),
                "a change (`+4`) starts from 0 in each interval of Telegraf, from the last value in tallyd for \
                 `aggregation.gauge_memory` (24h)",
            );
            if max_ttl.is_some() {
                plan.notes.lost(
                    input.name_of("max_ttl"),
                    "has no effect on values that each interval deletes",
                );
            }
        }
        let totals = "Telegraf sends totals since its start; here the Prometheus page, remote write and \
                      `temporality: cumulative` of otlp have totals, all other forwarders the values of each window";
        for key in ["delete_counters", "delete_timings"] {
            if input.flag(key)? == Some(false) {
                plan.notes.lost(input.name_of(key), totals);
            }
        }
        if input.flag("delete_sets")? == Some(false) {
            plan.notes.lost(input.name_of("delete_sets"), "a set has the members of one window");
        }
        Ok(())
    }
}

/// Options that all inputs share in tallyd.
const AGGREGATION: [&str; 17] = [
    "interval",
    "name_prefix",
    "percentiles",
    "percentile_limit",
    "delete_gauges",
    "delete_counters",
    "delete_sets",
    "delete_timings",
    "max_ttl",
    "metric_separator",
    "float_counters",
    "float_timings",
    "float_sets",
    "templates",
    "tags",
    "datadog_extensions",
    "parse_data_dog_tags",
];

fn listener(input: &mut Section, plan: &mut Plan) -> Result<(), ConvertError> {
    let protocol = input.text("protocol")?.unwrap_or_else(|| "udp".to_owned());
    let address = input.text("service_address")?.unwrap_or_else(|| ":8125".to_owned());
    let mut listener = Block::default();
    listener.set("protocol", Value::word("statsd"));
    let address = match (protocol.as_str(), address.strip_prefix(':')) {
        ("udp4" | "tcp4", Some(port)) => format!("0.0.0.0:{port}"),
        ("udp6" | "tcp6", Some(port)) => format!("[::]:{port}"),
        _ => address,
    };
    let is_tcp = protocol.starts_with("tcp");
    if is_tcp {
        listener.set("transport", Value::word("tcp"));
    }
    listener.set("address", Value::Text(expanded(&address)));
    let connections = input.number("max_tcp_connections")?;
    let (keeps_alive, period) =
        (input.flag("tcp_keep_alive")?, input.text("tcp_keep_alive_period")?);
    if is_tcp {
        listener.set("max_connections", Value::word(connections.unwrap_or(250.0)));
        match (keeps_alive, period.as_deref().and_then(go_duration)) {
            (Some(true), Some(period)) if !period.is_zero() => {
                listener.set("keepalive", Value::word(span(period)));
            }
            (Some(true), _) => {}
            _ => {
                listener.set("keepalive", Value::word("none"));
            }
        }
        plan.notes.differs(
            input.name_of("max_tcp_connections"),
            "Telegraf refuses further connections; tallyd closes the one that was silent for longest",
        );
    } else {
        for (key, is_given) in [
            ("max_tcp_connections", connections.is_some_and(|most| most != 250.0)),
            ("tcp_keep_alive", keeps_alive == Some(true)),
        ] {
            if is_given {
                plan.notes.lost(input.name_of(key), "has no effect over UDP");
            }
        }
    }
    let buffer = input.number("read_buffer_size")?.filter(|bytes| *bytes > 0.0);
    match buffer {
        Some(bytes) if bytes > RECEIVE_BUFFER && !is_tcp => {
            listener.set("receive_buffer", Value::word(bytes));
        }
        Some(_) => {
            plan.notes.differs(
                input.name_of("read_buffer_size"),
                "the default of `receive_buffer`, 8MiB, is larger",
            );
        }
        None => {}
    }
    plan.listeners.push(listener);
    Ok(())
}

fn percentiles(
    input: &mut Section,
    has_other_names: bool,
    plan: &mut Plan,
) -> Result<(), ConvertError> {
    let name = input.name_of("percentiles");
    let given = input.texts("percentiles")?.unwrap_or_default();
    let mut percentiles: Vec<f64> = Vec::new();
    for text in given {
        match text.parse::<f64>() {
            Ok(percent) if percent > 0.0 && percent <= 100.0 => percentiles.push(percent),
            Ok(0.0) => plan
                .notes
                .lost(&name, "0 is the minimum, which every timer has as `lower` or `min`"),
            _ => {
                return Err(ConvertError(format!(
                    "`{name}` must be a list of percentages, not `{text}`"
                )));
            }
        }
    }
    if has_other_names && !percentiles.contains(&50.0) {
        percentiles.push(50.0);
        plan.notes.differs(
            &name,
            "50 was added: it is Telegraf's `median`, except that of an even number of values Telegraf takes the mean of \
             the middle two, tallyd the lower one",
        );
    }
    percentiles.sort_by(f64::total_cmp);
    percentiles.dedup();
    plan.aggregation.set("percentiles", Value::words(percentiles));
    if has_other_names {
        plan.notes.differs(
            name,
            "except in line protocol, tallyd takes the smallest value with at least p % of the values at or below it, \
             Telegraf the next one: of 1 to 10 the 90th is 9 and 10",
        );
    }
    let limit = input.number("percentile_limit")?.filter(|limit| *limit != EXACT_SAMPLES_MIN);
    if let Some(limit) = limit {
        if limit > EXACT_SAMPLES_MIN {
            plan.aggregation.set("exact_samples", Value::word(limit));
        } else {
            plan.notes.differs(
                input.name_of("percentile_limit"),
                "`aggregation.exact_samples` is at least 1000",
            );
        }
    }
    Ok(())
}

/// Sets the length of a window.
pub(super) fn set_interval(setting: &str, text: &str, plan: &mut Plan) -> Result<(), ConvertError> {
    if has_references(text) {
        plan.top.set("interval", Value::Text(expanded(text)));
        return Ok(());
    }
    let Some(duration) = go_duration(text).filter(|duration| !duration.is_zero()) else {
        return Err(ConvertError(format!(
            "`{setting}` must be a duration such as 10s, not `{text}`"
        )));
    };
    plan.top.set("interval", Value::word(span(duration)));
    Ok(())
}
