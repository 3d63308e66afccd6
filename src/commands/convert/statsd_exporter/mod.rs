//! `statsd-exporter`: the mapping file of Prometheus' statsd_exporter, and its flags.

use self::mapping::{Defaults, Mapping, MatchType};
use super::document::{Block, Value};
use super::flags::Flags;
use super::plan::Plan;
use super::setting::{ConvertError, Section};
use super::source::SourceText;
use super::span::span;

mod mapping;
mod page;
mod template;

/// Flags without a value.
const SWITCHES: [&str; 16] = [
    "web.enable-lifecycle",
    "no-web.enable-lifecycle",
    "web.systemd-socket",
    "check-config",
    "no-check-config",
    "statsd.parse-dogstatsd-tags",
    "no-statsd.parse-dogstatsd-tags",
    "statsd.parse-influxdb-tags",
    "no-statsd.parse-influxdb-tags",
    "statsd.parse-librato-tags",
    "no-statsd.parse-librato-tags",
    "statsd.parse-signalfx-tags",
    "no-statsd.parse-signalfx-tags",
    "version",
    "help",
    "h",
];

/// Converts a mapping file and flags; an empty file is no mappings.
///
/// # Errors
/// If the file is no YAML, or a setting has the wrong type.
pub(super) fn convert(source: &SourceText, words: &[String]) -> Result<Plan, ConvertError> {
    let mut root = Section::new("", source.yaml()?)?;
    let mut flags = Flags::parse(words, &SWITCHES);
    let mut plan = Plan::new(false);
    let defaults = Defaults::take(root.section("defaults")?, &mut plan.notes)?;
    let mut mappings = Vec::new();
    for section in root.sections("mappings")?.unwrap_or_default() {
        mappings.push(Mapping::take(section, &defaults, &mut plan.notes)?);
    }
    root.finish(&mut plan.notes);
    listeners(&mut flags, &mut plan);
    rules(mappings.as_slice(), &defaults, &mut plan);
    expiry(&defaults, &mut plan);
    page::forwarder(&mut flags, &defaults, &mappings, &mut plan);
    other_flags(&mut flags, &mut plan);
    for flag in flags.rest() {
        plan.notes.unknown(flag);
    }
    Ok(plan)
}

const ADDRESS: &str = ":9125";

fn listeners(flags: &mut Flags, plan: &mut Plan) {
    let listener = || {
        let mut block = Block::default();
        block.set("protocol", Value::word("statsd"));
        block
    };
    let relay = flags.value(&["statsd.relay.address"], None).filter(|address| !address.is_empty());
    let buffer =
        flags.value(&["statsd.read-buffer"], None).and_then(|bytes| bytes.parse::<u64>().ok());
    let address = |flag: Option<String>| flag.unwrap_or_else(|| ADDRESS.to_owned());
    let udp = address(flags.value(&["statsd.listen-udp"], None));
    if !udp.is_empty() {
        let mut block = listener();
        block.set("address", Value::text(&udp));
        block.set_some(
            "mirror",
            relay.as_ref().map(|relay| Value::texts(&[format!("udp://{relay}")])),
        );
        block.set_some("receive_buffer", buffer.filter(|bytes| *bytes > 0).map(Value::word));
        plan.listeners.push(block);
    }
    let tcp = address(flags.value(&["statsd.listen-tcp"], None));
    if !tcp.is_empty() {
        let mut block = listener();
        block.set("transport", Value::word("tcp")).set("address", Value::text(&tcp));
        plan.listeners.push(block);
    }
    let mode = flags.value(&["statsd.unixsocket-mode"], None).unwrap_or_else(|| "755".to_owned());
    if let Some(path) =
        flags.value(&["statsd.listen-unixgram"], None).filter(|path| !path.is_empty())
    {
        let mut block = listener();
        block.set("transport", Value::word("unix_datagram")).set("path", Value::text(&path));
        block.set("mode", Value::Text(format!("{mode:0>4}")));
        plan.listeners.push(block);
    }
    if relay.is_some() {
        let words = "`mirror` copies whole datagrams of the UDP listener, not lines, and nothing that arrives over TCP";
        plan.notes.differs("--statsd.relay.address", words);
    }
}

/// The rules: globs first, because the exporter tries all of them before the regular expressions.
fn hidden_words(mapping: &Mapping, longer: &Mapping) -> String {
    format!(
        "the exporter never applies `{}`, because the longer `{}` is before it; tallyd does. Remove the rule if the \
         dashboards use the names that the exporter makes without it",
        mapping.pattern, longer.pattern
    )
}

fn rules(mappings: &[Mapping], defaults: &Defaults, plan: &mut Plan) {
    let mut scale = Block::default();
    scale.set("match", Value::text("**")).set("types", Value::words(["timer"]));
    scale.set("scale", Value::word(0.001)).set("continue", Value::word(true));
    plan.rules.push(scale);
    plan.notes.differs(
        "timers",
        "the exporter divides `ms` by 1000 and leaves `h` and `d` as they are; for tallyd all three are timers, \
         which the first rule turns into seconds. If clients send `h` or `d`, remove it and scale by name",
    );
    let (mut globs, regexes): (Vec<&Mapping>, Vec<&Mapping>) =
        mappings.iter().partition(|mapping| mapping.match_type == MatchType::Glob);
    for (index, mapping) in globs.iter().enumerate() {
        if let Some(longer) = globs[..index].iter().find(|earlier| earlier.hides(mapping)) {
            plan.notes.differs(mapping.setting.as_str(), hidden_words(mapping, longer));
        }
    }
    if defaults.is_unordered {
        // Then a literal part goes before `*`, from left to right.
        globs.sort_by_key(|mapping| {
            mapping.pattern.split('.').map(|part| part == "*").collect::<Vec<_>>()
        });
    }
    if mappings.iter().any(|mapping| mapping.ttl.is_some_and(|ttl| Some(ttl) != defaults.ttl)) {
        plan.notes.differs(
            "mappings[].ttl",
            "becomes `expire_after` of the rule, after which tallyd forgets the series; the page keeps it for the \
             time of all series: `expire_after` of `prometheus`, by default that of `aggregation`",
        );
    }
    for mapping in globs.into_iter().chain(regexes) {
        plan.rules.push(mapping.rule(&mut plan.notes));
    }
}

/// A series lives forever unless the exporter has a `ttl`.
fn expiry(defaults: &Defaults, plan: &mut Plan) {
    match defaults.ttl {
        Some(ttl) => {
            plan.aggregation.set("expire_after", Value::word(span(ttl)));
        }
        None => {
            plan.aggregation.set_with(
                "The exporter forgets no series without a `ttl`. A series takes about 250 bytes until it expires.",
                "expire_after",
                Value::word("7d"),
            );
        }
    }
}

fn other_flags(flags: &mut Flags, plan: &mut Plan) {
    for tags in ["dogstatsd", "influxdb", "librato", "signalfx"] {
        let flag = format!("statsd.parse-{tags}-tags");
        if flags.switch(&flag, None) == Some(false) {
            plan.notes.lost(format!("--no-{flag}"), "a statsd listener reads tags in every form");
        }
    }
    if flags.switch("web.enable-lifecycle", None) == Some(true) {
        plan.notes
            .lost("--web.enable-lifecycle", "`tallyd reload` and SIGHUP reload, SIGTERM stops");
    }
    flags.switch("check-config", None);
    let queue = "there is no queue after the socket; `receive_buffer` absorbs bursts";
    let cache = "rules apply when a series is new, so that no cache is needed";
    for (flag, words) in [
        ("statsd.mapping-config", ""),
        ("statsd.cache-size", cache),
        ("statsd.cache-type", cache),
        ("statsd.event-queue-size", queue),
        ("statsd.event-flush-threshold", queue),
        ("statsd.event-flush-interval", queue),
        ("statsd.udp-packet-queue-size", queue),
        ("statsd.relay.packet-length", "`mirror` sends each datagram as it arrived"),
        ("debug.dump-fsm", "`tallyd explain` shows the rules that apply to a line"),
    ] {
        if flags.value(&[flag], None).is_some() && !words.is_empty() {
            plan.notes.lost(format!("--{flag}"), words);
        }
    }
    if let Some(level) = flags.value(&["log.level"], None) {
        let level = if level == "fatal" { "error".to_owned() } else { level };
        plan.daemon.block("log").set("level", Value::text(&level));
    }
    if let Some(format) = flags.value(&["log.format"], None) {
        let is_json = format.contains("json");
        plan.daemon.block("log").set("format", Value::word(if is_json { "json" } else { "text" }));
    }
}

#[cfg(test)]
mod tests {
    use model::MetricKind;

    use super::super::applied::applied;
    use super::*;

    fn plan(text: &str) -> Plan {
        convert(&SourceText { name: "mapping.yml".to_owned(), text: text.to_owned() }, &[]).unwrap()
    }

    /// The names and labels that the exporter makes, in its documentation and its tests.
    #[test]
    fn names_become_the_names_and_labels_of_the_exporter() {
        let mapping = r#"
mappings:
  - { match: 'debug\.', match_type: regex, action: drop, name: dropped }
  - match: test.dispatcher.*.*.*
    name: dispatcher_events
    labels: { processor: "$1", action: "$2", result: "$3", job: test_dispatcher }
  - match: "*.signup.*.*"
    match_metric_type: counter
    name: signup_events
    labels: { provider: "$2", outcome: "$3", job: "${1}_server" }
  - match: (.*)\.(.*)--(.*)\.status\.(.*)\.count
    match_type: regex
    name: request_total
    labels: { hostname: "$1", exec: "$2", protocol: "$3", code: "$4" }
  - { match: disk.*.free, name: "disk_${1}", scale: 1024 }
"#;
        let rules = plan(mapping).rules;
        let (counter, gauge, timer) = (MetricKind::Counter, MetricKind::Gauge, MetricKind::Timer);
        for (kind, name, expected) in [
            (
                counter,
                "test.dispatcher.Foo.send.success",
                "dispatcher_events;action=send;job=test_dispatcher;processor=Foo;result=success",
            ),
            (
                counter,
                "foo.signup.facebook.failure",
                "signup_events;job=foo_server;outcome=failure;provider=facebook",
            ),
            (gauge, "foo.signup.facebook.failure", "foo.signup.facebook.failure"),
            (
                counter,
                "h.exe--http.status.200.count",
                "request_total;code=200;exec=exe;hostname=h;protocol=http",
            ),
            (gauge, "disk.sda.free", "disk_sda * 1024"),
            (timer, "disk.sda.free", "disk_sda * 1.024"),
            (timer, "plain", "plain * 0.001"),
            (counter, "x.debug.y", "dropped"),
            // All globs are tried before the regular expressions.
            (gauge, "disk.debug.free", "disk_debug * 1024"),
        ] {
            assert_eq!(applied(&rules, kind, name), expected, "{name}");
        }
    }

    #[test]
    fn a_mapping_that_the_exporter_never_applies_is_named() {
        let note = |mappings: &str| plan(mappings).notes.comments().contains("never applies `a.*`");
        let (longer, shorter) = ("{ match: 'a.*.c', name: x }", "{ match: 'a.*', name: y }");
        assert!(note(&format!("mappings: [{longer}, {shorter}]\n")));
        assert!(!note(&format!("mappings: [{shorter}, {longer}]\n")), "the shorter one is first");
        assert!(!note(&format!("mappings: [{{ match: 'b.*.c', name: x }}, {shorter}]\n")));
        let typed = "{ match: 'a.*.c', match_metric_type: gauge, name: x }";
        assert!(!note(&format!("mappings: [{typed}, {shorter}]\n")), "it applies to counters");
    }

    #[test]
    fn without_the_order_of_the_file_literal_parts_go_first() {
        let mappings =
            "mappings: [{ match: 'a.*', name: star }, { match: 'a.b', name: literal }]\n";
        let ordered = plan(mappings).rules;
        assert_eq!(applied(&ordered, MetricKind::Counter, "a.b"), "star");
        let unordered =
            plan(&format!("defaults: {{ glob_disable_ordering: true }}\n{mappings}")).rules;
        assert_eq!(applied(&unordered, MetricKind::Counter, "a.b"), "literal");
    }
}
