//! `statsd`: the configuration of Etsy's statsd, `config.js`.

use std::time::Duration;

use self::graphite::GraphiteSettings;
use super::address::address;
use super::document::{Block, Value};
use super::plan::Plan;
use super::setting::{ConvertError, Section, Setting};
use super::source::SourceText;
use super::span::span;

mod graphite;
mod idle;

/// The limits of tallyd's `interval`, in milliseconds.
const INTERVAL_MS: std::ops::RangeInclusive<f64> = 100.0..=3_600_000.0;
const PORT: f64 = 8125.0;
/// Maximum number of addresses in `mirror`.
const MIRRORS_MAX: usize = 8;

/// Settings of statsd and of its backends that have no counterpart.
const WITHOUT_EQUIVALENT: [(&str, &str); 8] = [
    (
        "prefixStats",
        "tallyd writes no statistics about itself under statsd's names; `/metrics` of the admin endpoint has \
         them, and `self_metrics: true` sends them as `tallyd.*`",
    ),
    ("keyFlush", "no log of frequent keys; `tallyd top` shows them live"),
    ("dumpMessages", "no log of all lines; `tallyd tap` shows them live"),
    ("automaticConfigReload", "tallyd reads its file again after `tallyd reload` or a SIGHUP"),
    ("title", "tallyd does not change the name of its process"),
    ("healthStatus", "`/healthz` and `/readyz` of the admin endpoint report the real state"),
    ("socket", "only a server in `servers` has a socket"),
    ("socket_mod", "only a server in `servers` has a socket"),
];

/// Converts statsd's configuration.
///
/// # Errors
/// If it is no JavaScript object of plain values, or a setting has the wrong type.
pub(super) fn convert(source: &SourceText, keeps_secrets: bool) -> Result<Plan, ConvertError> {
    let mut root = Section::new("", source.javascript()?)?;
    let mut plan = Plan::new(keeps_secrets);
    let backends =
        root.texts("backends")?.unwrap_or_else(|| vec!["./backends/graphite".to_owned()]);
    let interval = interval(&mut root, &mut plan)?;
    let mirror = mirror(&mut root, &backends, &mut plan)?;
    listeners(&mut root, &mirror, &mut plan)?;
    admin(&mut root, &mut plan)?;
    let graphite = GraphiteSettings::take(&mut root, &mut plan.notes)?;
    let idle = idle::take(&mut root, interval)?;
    for backend in &backends {
        match backend.rsplit('/').next().unwrap_or(backend) {
            "graphite" => graphite::forwarder(&graphite, &idle, &mut plan),
            "console" => {
                let mut console = Block::default();
                console.set("format", Value::word("json"));
                idle.apply(&mut console, false, &mut plan);
                plan.forwarders.push(("console", console));
            }
            "repeater" => {}
            _ => plan.notes.lost(format!("backends: {backend}"), other_backend(backend)),
        }
    }
    if plan.forwarders.is_empty() {
        idle.report_unused(&mut plan.notes);
    }
    if !plan.has_forwarder("graphite") {
        graphite.report_unused(&mut plan.notes);
    }
    if let Some(mut console) = root.section("console")? {
        console.without_equivalent(
            &[("prettyprint", "`console` writes one line for each point")],
            &mut plan.notes,
        );
        console.finish(&mut plan.notes);
    }
    log(&mut root, &mut plan)?;
    root.without_equivalent(&WITHOUT_EQUIVALENT, &mut plan.notes);
    root.finish(&mut plan.notes);
    Ok(plan)
}

fn other_backend(backend: &str) -> String {
    let lower = backend.to_ascii_lowercase();
    let kinds = [
        ("influx", "influxdb"),
        ("kafka", "kafka"),
        ("prometheus", "prometheus"),
        ("datadog", "otlp"),
    ];
    let known = kinds.iter().find(|(part, _)| lower.contains(part)).map(|(_, kind)| *kind);
    let forwarder = known.map_or("a forwarder".to_owned(), |kind| format!("`forwarders.{kind}`"));
    format!("no backend of statsd itself; configure {forwarder} instead")
}

/// Sets `interval`, and returns it.
fn interval(root: &mut Section, plan: &mut Plan) -> Result<Duration, ConvertError> {
    let wanted =
        root.number("flushInterval")?.filter(|interval| *interval != 0.0).unwrap_or(10_000.0);
    let millis = wanted.clamp(*INTERVAL_MS.start(), *INTERVAL_MS.end());
    if millis != wanted {
        plan.notes.differs(
            "flushInterval",
            "tallyd's `interval` is 100ms to 1h; the nearest value is used",
        );
    }
    let interval = Duration::from_millis(millis as u64);
    plan.top.set("interval", Value::word(span(interval)));
    plan.notes.differs(
        "flushInterval",
        "tallyd's windows end at multiples of the interval on the clock, statsd's begin when it starts",
    );
    Ok(interval)
}

/// The targets of the repeater, if it is loaded.
fn mirror(
    root: &mut Section,
    backends: &[String],
    plan: &mut Plan,
) -> Result<Vec<String>, ConvertError> {
    let is_loaded = backends.iter().any(|backend| backend.ends_with("repeater"));
    let mut targets = Vec::new();
    for mut target in root.sections("repeater")?.unwrap_or_default() {
        let (host, port) = (target.text("host")?, target.number("port")?.unwrap_or(PORT));
        let host = host.unwrap_or_else(|| "127.0.0.1".to_owned());
        targets.push(format!("udp://{}", address(&host, port)));
        target.finish(&mut plan.notes);
    }
    root.take("repeaterProtocol");
    if !is_loaded && !targets.is_empty() {
        plan.notes
            .lost("repeater", "had no effect, because `backends` does not contain the repeater");
        return Ok(Vec::new());
    }
    for left_out in targets.iter().skip(MIRRORS_MAX) {
        let words = format!(
            "{left_out}: `mirror` has at most {MIRRORS_MAX} addresses; let one of them mirror to it"
        );
        plan.notes.lost("repeater", words);
    }
    targets.truncate(MIRRORS_MAX);
    Ok(targets)
}

fn listeners(root: &mut Section, mirror: &[String], plan: &mut Plan) -> Result<(), ConvertError> {
    for server in servers(root, plan)? {
        let listener = listener(server, mirror, plan)?;
        plan.listeners.extend(listener);
    }
    if mirror.is_empty() {
        return Ok(());
    }
    let has = |key| plan.listeners.iter().any(|listener| listener.get(key).is_some());
    if !has("mirror") {
        plan.notes.lost("repeater", "there is no UDP server whose datagrams could be mirrored");
    } else if has("transport") {
        plan.notes.differs(
            "repeater",
            "`mirror` copies datagrams, not what arrives over TCP or a stream socket",
        );
    }
    Ok(())
}

/// The sections of the servers: those in `servers`, or the root for one over UDP.
fn servers(root: &mut Section, plan: &mut Plan) -> Result<Vec<Section>, ConvertError> {
    const KEYS: [&str; 3] = ["address", "port", "address_ipv6"];
    let servers = root.sections("servers")?;
    let general = KEYS.map(|key| (key.to_owned(), root.take(key).unwrap_or(Setting::Empty)));
    let Some(servers) = servers else {
        return Ok(vec![Section::new("", Setting::Section(general.to_vec()))?]);
    };
    for (key, _) in general.iter().filter(|(_, value)| *value != Setting::Empty) {
        plan.notes.lost(key, "had no effect, because `servers` has the addresses");
    }
    Ok(servers)
}

/// The listener for a server; `None` for a server that is not part of statsd, which is noted.
fn listener(
    mut server: Section,
    mirror: &[String],
    plan: &mut Plan,
) -> Result<Option<Block>, ConvertError> {
    let kind = server.text("server")?.unwrap_or_else(|| "./servers/udp".to_owned());
    let endpoint = (server.text("address")?, server.number("port")?, server.flag("address_ipv6")?);
    let (path, mode) = (server.text("socket")?, server.text("socket_mod")?);
    let mut listener = Block::default();
    listener.set("protocol", Value::word("statsd"));
    match (kind.rsplit('/').next(), path) {
        (Some("udp"), _) => {
            listener.set("address", Value::text(&listen(endpoint)));
            if !mirror.is_empty() {
                listener.set("mirror", Value::texts(mirror));
            }
        }
        (Some("tcp"), None) => {
            listener.set("transport", Value::word("tcp"));
            listener.set("address", Value::text(&listen(endpoint)));
        }
        (Some("tcp"), Some(path)) => {
            listener.set("transport", Value::word("unix")).set("path", Value::text(&path));
            listener.set_some("mode", mode.and_then(|mode| octal(&mode)));
        }
        _ => {
            let words = "no server of statsd itself; configure a listener with `transport`";
            plan.notes.lost(format!("{}: {kind}", server.name_of("server")), words);
            server.finish(&mut plan.notes);
            return Ok(None);
        }
    }
    server.finish(&mut plan.notes);
    Ok(Some(listener))
}

/// The address to listen on: every address of the host by default.
fn listen((host, port, is_ipv6): (Option<String>, Option<f64>, Option<bool>)) -> String {
    let any = if is_ipv6 == Some(true) { "::" } else { "0.0.0.0" };
    let host = host.filter(|host| !host.is_empty()).unwrap_or_else(|| any.to_owned());
    address(&host, port.filter(|port| *port != 0.0).unwrap_or(PORT))
}

/// Permissions of a socket: statsd has them as text in octal, or as a number.
fn octal(mode: &str) -> Option<Value> {
    let digits = mode.trim_start_matches("0o");
    let is_octal = digits.len() <= 4 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    if mode.starts_with('0') || (is_octal && digits.len() == 3 && digits.parse::<u32>() != Ok(511))
    {
        return Some(Value::Text(format!("{:0>4}", digits.trim_start_matches('0'))));
    }
    let number: u32 = mode.parse().ok()?;
    Some(Value::Text(format!("{number:04o}")))
}

/// The management console. tallyd's admin endpoint has the same purpose, but another protocol.
fn admin(root: &mut Section, plan: &mut Plan) -> Result<(), ConvertError> {
    let (host, port) = (root.text("mgmt_address")?, root.number("mgmt_port")?);
    if host.is_none() && port.is_none() {
        return Ok(());
    }
    let host = host.filter(|host| !host.is_empty()).unwrap_or_else(|| "127.0.0.1".to_owned());
    let mut admin = Block::default();
    admin.set("listen", Value::Text(address(&host, port.unwrap_or(8126.0))));
    plan.daemon.set("admin", admin);
    plan.notes.differs(
        "mgmt_port",
        "the admin endpoint speaks HTTP instead of the console's commands; without `mgmt_address` it listens on \
         loopback, the console on every address",
    );
    Ok(())
}

fn log(root: &mut Section, plan: &mut Plan) -> Result<(), ConvertError> {
    if root.flag("debug")? == Some(true) {
        plan.daemon.block("log").set("level", Value::word("debug"));
    }
    if let Some(mut log) = root.section("log")? {
        let words = "tallyd logs to standard error, which the service manager collects";
        log.without_equivalent(
            &[("backend", words), ("application", words), ("level", words)],
            &mut plan.notes,
        );
        log.finish(&mut plan.notes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_of_sockets_are_octal() {
        let mode = |text| octal(text).map(|value| value == Value::Text("0666".to_owned()));
        assert_eq!((mode("0666"), mode("666"), mode("438")), (Some(true), Some(true), Some(true)));
        assert_eq!(octal("511"), Some(Value::Text("0777".to_owned())));
        assert_eq!(octal("rw"), None);
    }
}
