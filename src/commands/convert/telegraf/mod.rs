//! `telegraf`: configuration files of Telegraf with `[[inputs.statsd]]`, and its outputs.

use self::input::StatsdInput;
use self::outputs::Output;
use self::references::expanded;
use super::document::Value;
use super::plan::Plan;
use super::setting::{ConvertError, Section, Setting};
use super::source::SourceText;
use super::span::go_duration;

mod common;
mod graphite;
mod influxdb;
mod input;
mod kafka;
mod outputs;
mod references;
mod serializer;
mod templates;

/// Settings of the agent that have no counterpart, and the reason.
const AGENT_WITHOUT_EQUIVALENT: [(&str, &str); 24] = [
    (
        "collection_jitter",
        "all windows end on the clock; senders are not asked, so nothing is collected",
    ),
    ("collection_offset", "all windows end on the clock"),
    ("flush_jitter", "destinations get each window when it ends; only retries have random pauses"),
    ("precision", "points have the time of their window's end"),
    ("metric_batch_size", "forwarders have limits of their own, such as `max_lines` of influxdb"),
    (
        "metric_buffer_limit",
        "the queue holds 500,000 points by default (`delivery.queue.max_points`), and older windows wait on disk",
    ),
    (
        "buffer_strategy",
        "windows that cannot be delivered always wait on disk, see `delivery.spool`",
    ),
    ("buffer_directory", "set `state_dir` to another folder"),
    ("buffer_disk_sync", "every file of the spool is synced"),
    ("logtarget", LOG),
    ("logfile", LOG),
    ("logfile_rotation_interval", LOG),
    ("logfile_rotation_max_size", LOG),
    ("logfile_rotation_max_archives", LOG),
    ("log_with_timezone", "the log's times are in UTC"),
    ("structured_log_message_key", "the key of a JSON log line is fixed"),
    ("snmp_translator", "belongs to an input that stays in Telegraf"),
    ("statefile", "`restart_state` keeps gauges, totals and the open window in `state_dir`"),
    (
        "always_include_local_tags",
        "tags are the same for all forwarders; `select.drop_tags` removes some",
    ),
    (
        "always_include_global_tags",
        "tags are the same for all forwarders; `select.drop_tags` removes some",
    ),
    ("skip_processors_after_aggregators", "there are no processors; `rules` change names and tags"),
    ("config_url_retry_attempts", "the configuration is a local file"),
    ("config_url_watch_interval", "the configuration is a local file"),
    ("ignore_unknown_fields", "an unknown key is always an error"),
];
const LOG: &str = "tallyd logs to standard error, which the service manager collects";
/// The default of `[agent] interval`.
const INTERVAL: &str = "10s";

/// Converts configuration files, in their order.
///
/// # Errors
/// If a file is no TOML, a setting has the wrong type, or no file has a statsd input.
pub(super) fn convert(sources: &[SourceText], keeps_secrets: bool) -> Result<Plan, ConvertError> {
    let mut root = merged(sources)?;
    let mut plan = Plan::new(keeps_secrets);
    let mut inputs = root.section("inputs")?;
    let statsd = match &mut inputs {
        Some(inputs) => inputs.sections("statsd")?.unwrap_or_default(),
        None => Vec::new(),
    };
    if statsd.is_empty() {
        let words = "there is no [[inputs.statsd]] in it; name the file that has it, or the folder with all files";
        return Err(ConvertError(words.to_owned()));
    }
    agent(&mut root, &mut plan)?;
    let outputs = Output::take_all(&mut root)?;
    let has_other_names = outputs.iter().any(Output::has_other_names);
    let input = StatsdInput::take(statsd, has_other_names, &mut plan)?;
    if !plan.agent.is_empty() {
        plan.agent.set_with(
            "In Telegraf the tag of a message wins.",
            "on_conflict",
            Value::word("message"),
        );
    }
    outputs::forwarders(outputs, &input, &mut plan)?;
    let mut sections = vec![("inputs", inputs)];
    for kind in ["processors", "aggregators", "secretstores"] {
        sections.push((kind, root.section(kind)?));
    }
    for (kind, section) in sections {
        for plugin in section.map(|section| section.keys()).unwrap_or_default() {
            plan.notes.lost(format!("{kind}.{plugin}"), other_plugin(kind));
        }
    }
    root.finish(&mut plan.notes);
    Ok(plan)
}

fn other_plugin(kind: &str) -> &'static str {
    match kind {
        "inputs" => "tallyd has no such input; keep it in Telegraf, without the statsd input",
        "processors" => {
            "there are no processors; `rules` and `select` change names and tags, and drop metrics"
        }
        "aggregators" => {
            "there are no aggregators; a window already has count, sum, min, max, mean and percentiles"
        }
        _ => "write secrets as ${VAR}, ${file:/PATH} or ${credential:NAME}",
    }
}

/// The settings of all files: plugins are added up, of other settings the last one applies.
fn merged(sources: &[SourceText]) -> Result<Section, ConvertError> {
    let mut all: Vec<(String, Setting)> = Vec::new();
    for source in sources {
        let Setting::Section(entries) = source.toml()? else { continue };
        for (key, value) in entries {
            match all.iter_mut().find(|(other, _)| *other == key) {
                Some((_, earlier)) => add(earlier, value, 0),
                None => all.push((key, value)),
            }
        }
    }
    Section::new("", Setting::Section(all))
}

/// Adds the settings of another file. Below a kind of plugin, such as `inputs`, each plugin is a list.
fn add(earlier: &mut Setting, later: Setting, depth: usize) {
    match (earlier, later) {
        (Setting::Section(earlier), Setting::Section(later)) if depth < 1 => {
            for (key, value) in later {
                match earlier.iter_mut().find(|(other, _)| *other == key) {
                    Some((_, earlier)) => add(earlier, value, depth + 1),
                    None => earlier.push((key, value)),
                }
            }
        }
        (Setting::List(earlier), Setting::List(later)) => earlier.extend(later),
        (earlier, later) => *earlier = later,
    }
}

fn agent(root: &mut Section, plan: &mut Plan) -> Result<(), ConvertError> {
    let mut interval = INTERVAL.to_owned();
    let (mut host, mut has_host) = (Value::Text("${hostname}".to_owned()), true);
    if let Some(mut agent) = root.section("agent")? {
        interval = agent.text("interval")?.unwrap_or(interval);
        let flush = agent.text("flush_interval")?.unwrap_or_else(|| INTERVAL.to_owned());
        if go_duration(&flush) != go_duration(&interval) {
            plan.notes.differs("agent.flush_interval", "tallyd sends each window when it ends");
        }
        if agent.flag("round_interval")? == Some(false) {
            plan.notes.differs(
                "agent.round_interval",
                "windows always end at multiples of `interval` on the clock",
            );
        }
        if let Some(name) = agent.text("hostname")?.filter(|name| !name.is_empty()) {
            host = Value::Text(expanded(&name));
        }
        has_host = agent.flag("omit_hostname")? != Some(true);
        log(&mut agent, plan)?;
        agent.without_equivalent(&AGENT_WITHOUT_EQUIVALENT, &mut plan.notes);
        agent.finish(&mut plan.notes);
    }
    input::set_interval("agent.interval", &interval, plan)?;
    if has_host {
        plan.agent.block("tags").set("host", host);
    }
    for (key, text) in
        root.section("global_tags")?.map(Section::pairs).transpose()?.unwrap_or_default()
    {
        plan.agent.block("tags").set(key, Value::Text(expanded(&text)));
    }
    Ok(())
}

fn log(agent: &mut Section, plan: &mut Plan) -> Result<(), ConvertError> {
    let level = match (agent.flag("debug")?, agent.flag("quiet")?) {
        (Some(true), _) => Some("debug"),
        (_, Some(true)) => Some("error"),
        _ => None,
    };
    if let Some(level) = level {
        plan.daemon.block("log").set("level", Value::word(level));
    }
    if agent.text("logformat")?.as_deref() == Some("structured") {
        plan.daemon.block("log").set("format", Value::word("json"));
    }
    Ok(())
}
