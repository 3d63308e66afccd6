//! Whole rules, from the text of a configuration to the result for a name.
//!
//! The cases about precedence and types follow the documented behaviour of statsd_exporter's mappings and of
//! Telegraf's templates.

use std::fmt::Write;
use std::time::Duration;

use model::MetricKind;
use proptest::prelude::*;
use serde::Deserialize;

use super::glob::NameGlob;
use super::*;
use crate::protocol::dispatch::Protocol;

#[derive(Deserialize)]
struct File {
    rules: Vec<Spanned<RuleSection>>,
}

fn compile(yaml: &str) -> Result<Rules, ConfigErrors> {
    let source = Source::new("f", yaml).with_literal_section("rules");
    let file: File = yaml::parse(&source, &|_| None)?;
    Rules::compile(&file.rules, &source)
}

fn rules(yaml: &str) -> Rules {
    compile(yaml).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The result for a name: the new name and the tags, or the rejection; then the lines of the rules.
fn shown(outcome: &RuleOutcome<'_>, name: &str) -> String {
    let mut text = match &outcome.verdict {
        RuleVerdict::Reject(rejection) => format!("rejected: {}", rejection.reason.as_str()),
        RuleVerdict::Change(change) => {
            let mut text = change.name.as_deref().unwrap_or(name).to_owned();
            for (key, value) in &change.tags {
                let _ = write!(text, " {key}={value}");
            }
            text
        }
    };
    for applied in &outcome.applied {
        let _ = write!(text, " @{}", applied.line);
    }
    text
}

fn result(rules: &Rules, name: &str) -> String {
    shown(&rules.apply(Protocol::Statsd, MetricKind::Counter, name), name)
}

fn change<'r>(rules: &'r Rules, kind: MetricKind, name: &str) -> Change<'r> {
    match rules.apply(Protocol::Statsd, kind, name).verdict {
        RuleVerdict::Change(change) => change,
        RuleVerdict::Reject(rejection) => panic!("{name} is rejected: {rejection:?}"),
    }
}

#[test]
fn a_rule_turns_parts_of_a_name_into_tags() {
    let rules = rules(
        "rules:
- { match: web.*.requests.*, name: web.requests, tags: { host: $1, code: $2 } }
- match_regex: '^(?P<service>[a-z]+)\\.api\\.(.+)$'
  name: $2
  tags: { service: '${service}', version: 7, price: 5$$ }
",
    );
    for (name, expected) in [
        ("web.a.requests.200", "web.requests code=200 host=a @2"),
        ("users.api.get.time", "get.time price=5$ service=users version=7 @3"),
        ("users.api.", "users.api."),
        ("web.requests", "web.requests"),
    ] {
        assert_eq!(result(&rules, name), expected);
    }
}

#[test]
fn the_first_rule_in_the_file_that_matches_is_the_last() {
    // A more specific glob has no precedence, nor has a glob over a regular expression.
    let rules = rules(
        "rules:
- { match: a.*.*, name: general, tags: { x: $1 } }
- { match: a.b.c, name: specific }
- { match_regex: '^r\\.', name: regex }
- { match: r.b, name: glob }
- { match: kept.x }
- { match: kept.*, drop: true }
",
    );
    for (name, expected) in [
        ("a.b.c", "general x=b @2"),
        ("r.b", "regex @4"),
        ("kept.x", "kept.x @6"),
        ("kept.y", "rejected: rule @7"),
    ] {
        assert_eq!(result(&rules, name), expected);
    }
}

#[test]
fn a_glob_that_fails_late_leaves_no_trace() {
    let rules = rules(
        "rules:
- { match: \"*.skip.*\", name: one, tags: { system: $1, part: $2 } }
- { match: web.api.*, name: two, tags: { part: $1 } }
- { match: back.*.end, name: general, tags: { middle: \"${1}_x\" } }
- { match: back.here.stop, name: special }
- { match: long.*.*.*.*.*.*.*.*.*.*.*.*, name: long, tags: { tenth: \"${10}\", last: $12 } }
",
    );
    for (name, expected) in [
        ("any.skip.end", "one part=end system=any @2"),
        ("web.api.login", "two part=login @3"),
        ("back.here.end", "general middle=here_x @4"),
        ("back.here.stop", "special @5"),
        ("long.1.2.3.4.5.6.7.8.9.10.11.", "long last= tenth=10 @6"),
        ("long.1.2.3.4.5.6.7.8.9.10.11", "long.1.2.3.4.5.6.7.8.9.10.11"),
    ] {
        assert_eq!(result(&rules, name), expected);
    }
}

#[test]
fn rules_can_do_what_graphite_templates_do() {
    for (rule, name, expected) in [
        ("match: \"*.*\", name: $1, tags: { host: $2 }", "cpu.a1", "cpu host=a1 @2"),
        (
            "match: \"*.*.*.*.*\", name: $4, tags: { host: $1.$2.$3, zone: $5 }",
            "a1.example.org.cpu.eu",
            "cpu host=a1.example.org zone=eu @2",
        ),
        (
            "match: \"*.*.*.**\", name: $4, tags: { env: $1, zone: $2, host: $3 }",
            "prod.eu.a1.cpu.load",
            "cpu.load env=prod host=a1 zone=eu @2",
        ),
        (
            "match: \"*.*.*.**\", name: $4, tags: { zone: $2 }",
            "x.eu.y.cpu.load",
            "cpu.load zone=eu @2",
        ),
        ("match: \"*.**\", name: $1", "cpu", "cpu @2"),
        ("match: hosts.*.**, name: $2_total", "miss.hosts.a1.load", "miss.hosts.a1.load"),
    ] {
        let rules = rules(&format!("rules:\n- {{ {rule} }}\n"));
        assert_eq!(result(&rules, name), expected, "{rule}");
    }
}

#[test]
fn after_a_rule_that_continues_the_next_ones_see_its_name() {
    let rules = rules(
        "rules:
- { match: \"*.api.**\", name: $2, tags: { service: $1, by: first }, continue: true }
- { match: \"**\", tags: { by: second }, continue: true }
- { match: db.*, name: db, tags: { table: $1 } }
- { match: \"**\", name: never }
- { match: other, name: never }
",
    );
    assert_eq!(result(&rules, "x.api.db.users"), "db by=second service=x table=users @2 @3 @4");
    assert_eq!(result(&rules, "other"), "never by=second @3 @5");
}

#[test]
fn a_rule_applies_to_its_types_and_protocol_only() {
    let rules = rules(
        "rules:
- { match: \"m.*\", types: [timer, gauge], name: level }
- { match: \"m.*\", protocol: json, name: json }
- { match: \"m.*\", name: rest }
",
    );
    let name_of = |protocol, kind| shown(&rules.apply(protocol, kind, "m.x"), "m.x");
    for (protocol, kind, expected) in [
        (Protocol::Statsd, MetricKind::Timer, "level @2"),
        (Protocol::Json, MetricKind::Gauge, "level @2"),
        (Protocol::Json, MetricKind::Counter, "json @3"),
        (Protocol::Statsd, MetricKind::Counter, "rest @4"),
    ] {
        assert_eq!(name_of(protocol, kind), expected);
    }
}

#[test]
fn factors_multiply_and_the_last_expiry_applies() {
    let rules = rules(
        "rules:
- { match: \"**\", scale: 0.5, expire_after: 1h, continue: true }
- { match: \"a.**\", scale: 4, expire_after: 2h, continue: true }
- { match: \"a.huge\", scale: 1e308, continue: true }
- { match: \"a.huge\", scale: -1e308 }
",
    );
    let scale = |kind, name| change(&rules, kind, name).scale;
    assert_eq!(scale(MetricKind::Timer, "b"), 0.5);
    assert_eq!(scale(MetricKind::Gauge, "a.x"), 2.0);
    assert_eq!(scale(MetricKind::Set, "a.x"), 1.0);
    assert_eq!(scale(MetricKind::Trace, "a.x"), 1.0);
    assert_eq!(scale(MetricKind::Counter, "a.huge"), f64::MIN, "finite");
    let expiry = |name| change(&rules, MetricKind::Set, name).expire_after;
    assert_eq!(expiry("b"), Some(Duration::from_secs(3_600)));
    assert_eq!(expiry("a.x"), Some(Duration::from_secs(7_200)));
}

#[test]
fn a_result_that_is_no_name_is_rejected() {
    let rules = rules(
        "rules:
- { match_regex: '^a(b)?$', name: $1 }
- { match: \"x.**\", tags: { all: $1$1 } }
",
    );
    assert_eq!(result(&rules, "ab"), "b @2");
    assert_eq!(result(&rules, "a"), "rejected: rule @2");
    let longest = format!("x.{}", "y".repeat(32_767));
    assert!(result(&rules, &longest).starts_with("x.yyy"));
    assert_eq!(result(&rules, &format!("{longest}y")), "rejected: rule @3");
}

#[test]
fn a_mistake_is_an_error_at_its_key() {
    for (rule, position, words) in [
        ("name: a", "2:3", "`rules[0]`: `match` or `match_regex` is missing"),
        ("match: a\n  match_regex: b", "3:16", "either `match` or `match_regex`"),
        ("match: a*b", "2:10", "`*` stands for a whole part"),
        ("match: a.*\n  name: $2", "3:9", "`rules[0].name`: `$2`: `match` has one wildcard"),
        ("match: '*.*'\n  name: $3", "3:9", "`$3`: `match` has 2 wildcards"),
        ("match_regex: '(a)'\n  name: $2", "3:9", "`$2`: `match_regex` has one group"),
        ("match: a\n  tags: {x: $1}", "3:13", "`rules[0].tags.x`: `$1`: `match` has no wildcard"),
        ("match: a.*\n  name: '${host}'", "3:9", "the wildcards of `match` have numbers"),
        ("match_regex: '(a)'\n  name: '${b}'", "3:9", "has no group `(?P<b>…)`"),
        ("match_regex: '(a'", "2:16", "is not a regular expression: unclosed group"),
        ("match_regex: '(a{999}){999}'", "2:16", "more than 1 MiB when compiled"),
        ("match: a\n  name: $x", "3:9", "a `$` has no group"),
        ("match: a\n  name: ''", "3:9", "omit the key"),
        ("match: a\n  tags: {x: a, x: b}", "3:16", "`x` is given twice"),
        ("match: a\n  tags: {'': a}", "3:14", "the name of a tag"),
        ("match: a\n  drop: true\n  name: b", "4:9", "has no effect with `drop: true`"),
        ("match: a\n  drop: true\n  continue: true", "2:3", "no rule applies after"),
        ("match: a\n  continue: true", "2:3", "changes nothing"),
        ("match: a\n  scale: 0", "3:10", "a number other than 0"),
        ("match: a\n  scale: .inf", "3:10", "a number other than 0"),
        ("match: a\n  scale: .nan", "3:10", "a number other than 0"),
        ("match: a\n  types: [set]\n  scale: 2", "4:10", "only counters, gauges and timers"),
        ("match: a\n  types: []", "3:10", "must not be empty"),
        ("match: a\n  types: [timing]", "3:11", "timer"),
        ("match: a\n  protocol: udp", "3:13", "udp"),
        ("match: a\n  expire_after: 0s", "3:17", "expire_after"),
        ("match: a\n  nam: b", "3:3", "unknown key"),
    ] {
        let errors = compile(&format!("rules:\n- {rule}\n")).expect_err(rule).to_string();
        assert!(errors.starts_with(&format!("f:{position}: ")), "{rule}: {errors}");
        assert!(errors.contains(words), "{rule}: {errors}");
    }
}

#[test]
fn a_regular_expression_has_at_most_4096_bytes() {
    let with = |bytes: usize| compile(&format!("rules:\n- match_regex: {}\n", "a".repeat(bytes)));
    assert!(with(4_096).is_ok());
    let error = with(4_097).unwrap_err().to_string();
    assert!(error.contains("may have at most 4096 bytes"), "{error}");
}

#[test]
fn all_mistakes_are_errors_up_to_twenty() {
    let errors = |rules: usize| {
        let yaml = format!("rules:\n{}", "- { name: a }\n".repeat(rules));
        compile(&yaml).unwrap_err().iter().count()
    };
    assert_eq!([errors(2), errors(20), errors(30)], [2, 20, 20]);
}

#[test]
fn a_rule_that_continues_does_not_apply_to_its_own_result() {
    let rules = rules(
        "rules:
- { match: \"*\", name: $1_total, continue: true }
- { match: \"*\", tags: { seen: $1 } }
",
    );
    assert_eq!(result(&rules, "a"), "a_total seen=a_total @2 @3");
}

#[test]
fn a_type_that_is_given_twice_counts_once() {
    let rules = rules("rules:\n- { match: m, types: [timer, timer], name: time, scale: -2 }\n");
    let timer = change(&rules, MetricKind::Timer, "m");
    assert_eq!((timer.name.as_deref(), timer.scale), (Some("time"), -2.0));
    assert_eq!(change(&rules, MetricKind::Gauge, "m").name, None);
}

#[test]
fn a_rule_after_one_that_applies_to_all_of_its_series_never_applies() {
    let lines = |yaml: &str| -> Vec<(RuleNumber, usize)> {
        let unreachable = rules(yaml).unreachable().into_iter();
        unreachable.map(|found| (found.rule, found.earlier_line)).collect()
    };
    let two = |first: &str, second: &str| lines(&format!("rules:\n- {{{first}}}\n- {{{second}}}"));
    for (first, second) in [
        ("match: \"a.*\"", "match: a.b"),
        ("match: \"a.**\"", "match: \"a.*.c\""),
        ("match: \"**\"", "match_regex: b"),
        ("match: a, types: [set, timer]", "match: a, types: [timer]"),
        ("match: a", "match: a, types: [timer], protocol: json"),
        ("match: a, protocol: json", "match: a, protocol: json"),
    ] {
        assert_eq!(two(first, second), [(1, 2)], "{first}, {second}");
    }
    for (first, second) in [
        ("match: a.b", "match: \"a.*\""),
        ("match: \"a.*\", name: x, continue: true", "match: a.b"),
        ("match: a, types: [set]", "match: a, types: [set, timer]"),
        ("match: a, protocol: json", "match: a"),
        ("match_regex: a", "match: a"),
    ] {
        assert_eq!(two(first, second), [], "{first}, {second}");
    }
    let renamed = "rules:
- { match: a.b }
- { match: x.y, name: a.b, continue: true }
- { match: a.b, drop: true }
";
    assert_eq!(lines(renamed), [], "x.y reaches it");
    // Neither a new name nor `continue` alone leads to a name that the first rule has not met.
    let kept = "rules:
- { match: a.b }
- { match: x.y, name: a.b }
- { match: x.z, tags: { k: v }, continue: true }
- { match: a.b, drop: true }
";
    assert_eq!(lines(kept), [(3, 2)]);
}

#[test]
fn rules_are_the_same_if_they_have_the_same_effect_and_lines() {
    let yaml = "rules:\n- { match: a.*, name: $1 }\n- { match_regex: b, scale: 2 }\n";
    assert_eq!(rules(yaml), rules(yaml));
    assert_ne!(rules(yaml), rules(&yaml.replace("$1", "x$1")));
    assert_ne!(rules(yaml), rules(&yaml.replace("regex: b", "regex: c")));
    assert_ne!(rules(yaml), rules(&format!("\n{yaml}")));
    assert_eq!((rules(yaml).len(), rules(yaml).is_empty()), (2, false));
    let none = Rules::default();
    assert_eq!((none.len(), none.is_empty()), (0, true));
}

/// Globs and names over few words, so that they often match.
fn glob() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["a", "b", "*", "*", "**"]);
    prop::collection::vec(part, 1..5).prop_map(|parts| parts.join(".").replace("**.**", "**"))
}

fn name() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["a", "b", "c", ""]);
    prop::collection::vec(part, 1..6).prop_map(|parts| parts.join("."))
}

/// Expressions and names over the same few texts.
fn expression() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "a.",
        "web",
        "\\.",
        "[^.]*",
        "(?:\\w+)",
        "\\d",
        "(?:ab|web|x.)",
        "é",
        "\\b",
        "\\B",
        "(?i:WEBk)",
        ".",
        "x?",
        "(?:a|b)",
        "$",
        "^",
        "[a-é]",
        "(?m:^)",
        "(?m:$)",
        "(?:web){2}",
        "(?:1|)",
        "(?:ab.|)*",
        "(?x: a b )",
        "\\W",
    ]);
    prop::collection::vec(part, 1..6).prop_map(|parts| format!("({})", parts.concat()))
}

fn text() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "a", "b", ".", "web", "WEB", "é", "x", "1", "ab", "K", "\u{212a}", "\n", " ", "日",
    ]);
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_index_agrees_with_trying_each_rule(
        globs in prop::collection::vec(glob(), 1..12),
        names in prop::collection::vec(name(), 1..20),
    ) {
        let globs: Vec<_> = globs.iter().filter(|glob| !glob.contains("**.**")).collect();
        let mut yaml = "rules:\n- match: never.matches\n".to_owned();
        for glob in &globs {
            writeln!(yaml, "- match: \"{glob}\"").unwrap();
        }
        let rules = rules(&yaml);
        for name in names {
            let tried = globs.iter().position(|glob| {
                let parts = glob.split('.').map(|part| match part {
                    "*" => "[^.]*".to_owned(),
                    "**" => "(?:[^.]*(?:\\.[^.]*)*)?".to_owned(),
                    part => part.to_owned(),
                });
                // Each part but the first has a dot before it, which belongs to the part.
                let text = parts.map(|part| format!("\\.{part}")).collect::<String>();
                let text = text.replace("\\.(?:[^.]*(?:\\.[^.]*)*)?", "(?:\\.[^.]*)*");
                regex::Regex::new(&format!("^{text}$")).unwrap().is_match(&format!(".{name}"))
            });
            let applied = rules.apply(Protocol::Json, MetricKind::Set, &name).applied;
            let found = applied.first().map(|applied| applied.rule as usize);
            prop_assert_eq!(found, tried.map(|index| index + 1), "{} in {:?}", name, globs);
        }
    }

    #[test]
    fn expressions_and_globs_apply_as_if_each_were_tried_in_turn(
        patterns in prop::collection::vec(prop_oneof![4 => expression(), 1 => glob()], 1..80),
        names in prop::collection::vec(text(), 1..20),
    ) {
        let patterns: Vec<_> = patterns.iter().filter(|text| !text.contains("**.**")).collect();
        let is_regex = |text: &str| text.starts_with('(');
        let mut yaml = "rules:\n- match: never.matches\n".to_owned();
        for (number, text) in patterns.iter().enumerate() {
            let key = if is_regex(text) { "match_regex" } else { "match" };
            writeln!(yaml, "- {{ {key}: '{text}', tags: {{ 'r{number:02}': '<$0>' }}, continue: true }}").unwrap();
        }
        let rules = rules(&yaml);
        let references: Vec<_> = (1 as RuleNumber..).zip(&patterns).map(|(number, text)| {
            let regex = is_regex(text).then(|| regex::Regex::new(text).unwrap());
            let glob = (!is_regex(text)).then(|| NameGlob::parse(text).unwrap());
            (number, regex, glob)
        }).collect();
        for name in names {
            let tried = references.iter().filter_map(|(number, regex, glob)| {
                let whole = match (regex, glob) {
                    (Some(regex), _) => regex.find(&name)?.as_str(),
                    (None, glob) => glob.as_ref()?.captures(&name).map(|_| name.as_str())?,
                };
                Some((*number, format!("<{whole}>")))
            });
            let tried: Vec<_> = tried.collect();
            let outcome = rules.apply(Protocol::Json, MetricKind::Set, &name);
            let applied = outcome.applied.iter().map(|applied| applied.rule);
            let RuleVerdict::Change(change) = &outcome.verdict else { panic!("no rule drops") };
            let found: Vec<_> = applied.zip(change.tags.iter().map(|(_, value)| value.clone())).collect();
            prop_assert_eq!(found, tried, "{:?} in {}", name, yaml);
        }
    }

    #[test]
    fn a_rule_that_is_reported_as_unreachable_never_applies(
        globs in prop::collection::vec(glob(), 2..8),
        names in prop::collection::vec(name(), 1..30),
    ) {
        let globs: Vec<_> = globs.iter().filter(|glob| !glob.contains("**.**")).collect();
        let mut yaml = "rules:\n- match: never.matches\n".to_owned();
        for glob in &globs {
            writeln!(yaml, "- match: \"{glob}\"").unwrap();
        }
        let rules = rules(&yaml);
        let unreachable: Vec<_> = rules.unreachable().iter().map(|found| found.rule).collect();
        for name in names {
            let applied = rules.apply(Protocol::Json, MetricKind::Set, &name).applied;
            prop_assert!(!applied.iter().any(|rule| unreachable.contains(&rule.rule)), "{}", name);
        }
    }
}
