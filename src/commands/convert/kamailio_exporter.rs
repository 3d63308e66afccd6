//! `kamailio-exporter`: the flags of the older Prometheus exporters for Kamailio.

use super::document::{Block, Value};
use super::flags::{Flags, words_of_file};
use super::plan::Plan;
use super::setting::ConvertError;
use super::source::SourceText;
use super::span::{go_duration, span};

const CALLR: [&str; 12] = [
    "u",
    "kamailio.scrape-uri",
    "m",
    "kamailio.methods",
    "kamailio.stats-groups",
    "t",
    "kamailio.timeout",
    "l",
    "web.listen-address",
    "web.telemetry-path",
    "web.config.file",
    "web.systemd-socket",
];
const PASCOM: [&str; 9] = [
    "socketPath",
    "host",
    "port",
    "bindIp",
    "bindPort",
    "metricsPath",
    "rtpmetricsPath",
    "customKamailioMetricsURL",
    "debug",
];
const PASCOM_VARIABLES: [&str; 9] = [
    "SOCKET_PATH",
    "HOST",
    "PORT",
    "BIND_IP",
    "BIND_PORT",
    "METRICS_PATH",
    "RTPMETRICS_PATH",
    "CUSTOM_KAMAILIO_METRICS_URL",
    "DEBUG",
];
const SOCKET: &str = "/var/run/kamailio/kamailio_ctl";
/// What Callr's exporter calls by default.
const CALLR_METHODS: &str = "tm.stats,sl.stats,core.shmmem,core.uptime,core.tcp_info";
/// What pascom's exporter calls.
const PASCOM_METHODS: [&str; 4] =
    ["stats.fetch all", "pkg.stats", "core.tcp_info", "rtpengine.show all"];
/// Flags without a value.
const SWITCHES: [&str; 4] = ["debug", "web.systemd-socket", "version", "help"];

/// Converts the flags of an exporter: those in a file, such as a systemd unit, and then those given.
///
/// # Errors
/// If no flag or variable shows which exporter it is.
pub(super) fn convert(source: &SourceText, given: &[String]) -> Result<Plan, ConvertError> {
    let mut words = words_of_file(&source.name, &source.text)?;
    words.extend_from_slice(given);
    let mut flags = Flags::parse(&words, &SWITCHES);
    let mut plan = Plan::new(false);
    match (flags.has_any(&CALLR, &[]), flags.has_any(&PASCOM, &PASCOM_VARIABLES)) {
        (true, false) => callr(&mut flags, &mut plan),
        (false, true) => pascom(&mut flags, &mut plan),
        (true, true) => {
            let words = "flags of two exporters are mixed: those of Callr's have dots (`--web.listen-address`), \
                         those of pascom's are like `--bindPort`";
            return Err(ConvertError(words.to_owned()));
        }
        (false, false) => {
            let words = "no flag of a known exporter: name at least one, such as --web.listen-address=:9494 for \
                         Callr's or --bindPort=9494 for pascom's; without any flag, \
                         docs/migrating-from-kamailio-exporters.md has the configuration";
            return Err(ConvertError(words.to_owned()));
        }
    }
    for flag in flags.rest() {
        plan.notes.unknown(flag);
    }
    Ok(plan)
}

/// `florentchauveau/kamailio_exporter`.
fn callr(flags: &mut Flags, plan: &mut Plan) {
    let mut server = Block::default();
    let uri = flags.value(&["u", "kamailio.scrape-uri"], None);
    server.set(
        "endpoint",
        Value::Text(uri.map_or(format!("unix:{SOCKET}"), |uri| uri.replace("://", ":"))),
    );
    server.set_some("timeout", timeout(flags.value(&["t", "kamailio.timeout"], None), plan));
    let groups = flags.value(&["kamailio.stats-groups"], None);
    let methods =
        flags.value(&["m", "kamailio.methods"], None).unwrap_or_else(|| CALLR_METHODS.to_owned());
    let with_groups = |method: &str| match (method, &groups) {
        ("stats.fetch", Some(groups)) => {
            let groups: Vec<String> = groups.split(',').map(str::trim).map(group).collect();
            format!("stats.fetch {}", groups.join(" "))
        }
        _ => method.to_owned(),
    };
    let methods: Vec<String> =
        methods.split(',').map(|method| with_groups(method.trim())).collect();
    if groups.is_some() && !methods.iter().any(|method| method.starts_with("stats.fetch")) {
        plan.notes.lost(
            "--kamailio.stats-groups",
            "had no effect, because the methods do not include stats.fetch",
        );
    }
    server.set("methods", Value::texts(&methods));
    plan.kamailio.push(server);
    let mut addresses = flags.values(&["l", "web.listen-address"]);
    if addresses.is_empty() {
        addresses.push(":9494".to_owned());
    }
    let path = flags.value(&["web.telemetry-path"], None);
    for address in addresses {
        let mut page = Block::default();
        page.set("listen", Value::text(&address)).set("naming", Value::word("callr"));
        page.set_some("path", path.as_ref().map(|path| Value::text(path)));
        plan.forwarders.push(("prometheus", page));
    }
    open_page(plan);
    for (flag, words) in [
        ("web.config.file", "name the same file in `forwarders.prometheus.web_config_file`"),
        ("web.systemd-socket", "the page binds its own address"),
    ] {
        if flags.has(flag) {
            flags.value(&[flag], None);
            plan.notes.lost(format!("--{flag}"), words);
        }
    }
    log(flags, plan);
}

/// A group of statistics ends with a colon; `all` is a word of its own.
fn group(name: &str) -> String {
    if name == "all" || name.contains(':') { name.to_owned() } else { format!("{name}:") }
}

/// `pascomnet/kamailio_exporter`.
fn pascom(flags: &mut Flags, plan: &mut Plan) {
    let mut server = Block::default();
    let (host, port) = (flags.value(&["host"], Some("HOST")), flags.value(&["port"], Some("PORT")));
    let socket = flags.value(&["socketPath"], Some("SOCKET_PATH"));
    let endpoint = match host.filter(|host| !host.is_empty()) {
        Some(host) => format!("tcp:{host}:{}", port.unwrap_or_else(|| "3012".to_owned())),
        None => format!("unix:{}", socket.unwrap_or_else(|| SOCKET.to_owned())),
    };
    server.set("endpoint", Value::text(&endpoint)).set("methods", Value::texts(&PASCOM_METHODS));
    plan.kamailio.push(server);
    let ip = flags.value(&["bindIp"], Some("BIND_IP")).unwrap_or_else(|| "0.0.0.0".to_owned());
    let port = flags.value(&["bindPort"], Some("BIND_PORT")).unwrap_or_else(|| "9494".to_owned());
    let mut page = Block::default();
    page.set("listen", Value::text(&format!("{ip}:{port}"))).set("naming", Value::word("pascom"));
    let path = flags.value(&["metricsPath"], Some("METRICS_PATH"));
    page.set_some("path", path.map(|path| Value::text(&path)));
    let not_empty = |text: &String| !text.is_empty();
    if let Some(path) = flags.value(&["rtpmetricsPath"], Some("RTPMETRICS_PATH")).filter(not_empty)
    {
        page.block("relay").set("path", Value::text(&path));
    }
    let url = flags.value(&["customKamailioMetricsURL"], Some("CUSTOM_KAMAILIO_METRICS_URL"));
    if let Some(url) = url.filter(not_empty) {
        page.block("merge").set("url", Value::text(&url));
    }
    plan.forwarders.push(("prometheus", page));
    open_page(plan);
    if flags.switch("debug", Some("DEBUG")) == Some(true) {
        plan.daemon.block("log").set("level", Value::word("debug"));
    }
}

fn timeout(text: Option<String>, plan: &mut Plan) -> Option<Value> {
    let text = text?;
    let duration = go_duration(&text).filter(|duration| !duration.is_zero());
    if duration.is_none() {
        plan.notes.lost(
            "--kamailio.timeout",
            format!("{text} is no duration; the default of 5s applies"),
        );
    }
    duration.map(|duration| Value::word(span(duration)))
}

fn log(flags: &mut Flags, plan: &mut Plan) {
    if let Some(level) = flags.value(&["log.level"], None) {
        let level = if level == "fatal" { "error".to_owned() } else { level };
        plan.daemon.block("log").set("level", Value::text(&level));
    }
    if let Some(format) = flags.value(&["log.format"], None) {
        let is_json = format.contains("json");
        plan.daemon.block("log").set("format", Value::word(if is_json { "json" } else { "text" }));
    }
}

/// What every page of an exporter has in common.
fn open_page(plan: &mut Plan) {
    plan.listeners_off = true;
    plan.notes.differs(
        "when Kamailio is polled",
        "the exporter polls with each scrape, tallyd every 10s; scrape at most that often, or set \
         `kamailio[].interval` and `interval`",
    );
}
