//! Graphite from end to end, with a real carbon, and compared with a real statsd.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use common::carbon::{Carbon, Catcher};
use common::etsy::{Flushes, Lines, Pair, Round, in_order, is_its_own};
use common::rates::full_window_in_graphite;
use common::{Daemon, tallyd};

// ---- A real carbon -----------------------------------------------------------------------------

/// A configuration with one destination for each way to send to the same carbon.
fn every_way(carbon: &Carbon) -> String {
    let Carbon { line, pickle, .. } = carbon;
    format!(
        "agent: {{ tags: {{ host: web1.example.net }} }}\ninterval: 1s\nforwarders:\n  graphite:\n  \
         - {{ name: plain, address: \"{line}\", select: {{ prefix: plain. }} }}\n  \
         - {{ name: pickled, address: \"{pickle}\", protocol: pickle, select: {{ prefix: pickled. }} }}\n  \
         - {{ name: datagrams, address: \"{line}\", transport: udp, select: {{ prefix: udp. }} }}\n  \
         - {{ name: path, address: \"{line}\", template: \"{{stage}}.{{host}}.{{name}}\" }}\n  \
         - {{ name: etsy, address: \"{line}\", naming: etsy, idle: none }}\n"
    )
}

#[test]
fn carbon_stores_every_point_over_every_transport() {
    let Some(carbon) = Carbon::start() else { return };
    let daemon = Daemon::start(&every_way(&carbon));
    daemon.send(
        r#"[{"metric_name":"user.logins","metric_type":"counter","count":5,"stage":"log in"},
            {"metric_name":"depth","metric_type":"gauge","value":-1.5,"stage":"log in"},
            {"metric_name":"latency","metric_type":"timer","value":1,"stage":"log in"},
            {"metric_name":"latency","metric_type":"timer","value":4,"stage":"log in"},
            {"metric_name":"callers","metric_type":"set","value":"a","stage":"log in"},
            {"metric_name":"signups","metric_type":"trace"}]"#,
    );
    daemon.wait_received(6);
    let stopped = daemon.stop();
    assert_eq!(stopped.warnings(), [""; 0]);

    let mut expected = BTreeMap::new();
    let tallyd_fields = [
        ("user.logins", 5.0),
        ("user.logins.rate", 5.0),
        ("depth", -1.5),
        ("latency.count", 2.0),
        ("latency.rate", 2.0),
        ("latency.sum", 5.0),
        ("latency.min", 1.0),
        ("latency.max", 4.0),
        ("latency.mean", 2.5),
        ("latency.stddev", 1.5),
        ("latency.p50", 1.0),
        ("latency.p90", 4.0),
        ("latency.p95", 4.0),
        ("latency.p99", 4.0),
        ("callers", 1.0),
        ("signups", 1.0),
    ];
    for (path, value) in tallyd_fields {
        let (tags, stage) = match path {
            "signups" => (";host=web1.example.net", "none"),
            _ => (";host=web1.example.net;stage=log_in", "log_in"),
        };
        for prefix in ["plain", "pickled", "udp"] {
            expected.insert(format!("{prefix}.{path}{tags}"), value);
        }
        expected.insert(format!("{stage}.web1_example_net.{path}"), value);
    }
    let statsd_fields = [
        ("counters.user.logins.count", 5.0),
        ("counters.user.logins.rate", 5.0),
        ("counters.signups.count", 1.0),
        ("counters.signups.rate", 1.0),
        ("gauges.depth", -1.5),
        ("sets.callers.count", 1.0),
        ("timers.latency.count_90", 2.0),
        ("timers.latency.mean_90", 2.5),
        ("timers.latency.upper_90", 4.0),
        ("timers.latency.sum_90", 5.0),
        ("timers.latency.sum_squares_90", 17.0),
        ("timers.latency.std", 1.5),
        ("timers.latency.upper", 4.0),
        ("timers.latency.lower", 1.0),
        ("timers.latency.count", 2.0),
        ("timers.latency.count_ps", 2.0),
        ("timers.latency.sum", 5.0),
        ("timers.latency.sum_squares", 17.0),
        ("timers.latency.mean", 2.5),
        ("timers.latency.median", 2.5),
    ];
    for (path, value) in statsd_fields {
        let stage = if path.contains("signups") { "" } else { ";stage=log_in" };
        expected.insert(format!("stats.{path};host=web1.example.net{stage}"), value);
    }
    let stored = carbon.wait_for("every path", |stored| stored.len() >= expected.len());
    let mut last: BTreeMap<String, f64> =
        stored.into_iter().map(|(path, points)| (path, points.last().unwrap().1)).collect();
    full_window_in_graphite(&mut last, 1.0);
    assert_eq!(last, expected);
    assert_eq!(carbon.complaints(), [""; 0]);
    let ledger = stopped.log.iter().filter(|entry| entry["message"] == "ledger of a forwarder");
    assert!(ledger.clone().all(|entry| entry["delivered"] == 5), "{ledger:?}");
}

#[test]
fn hostile_names_neither_upset_carbon_nor_affect_other_points() {
    let Some(carbon) = Carbon::start() else { return };
    let daemon = Daemon::start(&every_way(&carbon));
    let names = [
        "a b",
        "a\\nb",
        "a\\tb\\u0001",
        "a;b=c",
        "a;b",
        "a=b",
        "~a",
        "!^",
        "../../x",
        "/etc/x",
        "..",
        "...",
        "x..y",
        "é\\u2028z\\u0085",
        "\\u00a0",
        "a{b=\\\"c\\\"}",
        "*?[]",
        "name",
        "\\ud83d\\ude00",
    ];
    let mut sent = 0;
    for name in names {
        for datagram in [
            format!(r#"{{"metric_name":"{name}","metric_type":"gauge","value":1}}"#),
            format!(r#"{{"metric_name":"t","metric_type":"gauge","value":1,"k":"{name}"}}"#),
            format!(
                r#"{{"metric_name":"t","metric_type":"gauge","value":1,"k{name}":"v","name":"x"}}"#
            ),
        ] {
            daemon.send(datagram);
            sent += 1;
        }
    }
    let long = "l".repeat(300);
    for name in [long.clone(), "l".repeat(20_000)] {
        daemon.send(format!(r#"{{"metric_name":"{name}","metric_type":"gauge","value":1}}"#));
        daemon
            .send(format!(r#"{{"metric_name":"t","metric_type":"gauge","value":1,"k":"{name}"}}"#));
        sent += 2;
    }
    daemon.send(r#"{"metric_name":"neighbour","metric_type":"gauge","value":7}"#);
    daemon.wait_received(sent + 1);
    let stopped = daemon.stop();
    carbon.wait_for("the neighbours", |stored| {
        let neighbours = stored.keys().filter(|path| path.contains("neighbour"));
        neighbours.count() == 5
    });
    assert_eq!(carbon.complaints(), [""; 0]);
    let ledgers: Vec<_> =
        stopped.log.iter().filter(|entry| entry["message"] == "ledger of a forwarder").collect();
    assert_eq!(ledgers.len(), 5);
    for ledger in ledgers {
        // The template of this destination omits the two long tags.
        let dropped = if ledger["forwarder"] == "path" { 2 } else { 4 };
        assert_eq!(ledger["dropped"], format!("{{\"too_large\": {dropped}}}"), "{ledger}");
        let flushed = ledger["flushed"].as_u64().unwrap();
        assert_eq!(ledger["delivered"].as_u64().unwrap() + dropped, flushed, "{ledger}");
    }
}

#[test]
fn a_window_that_carbon_had_not_read_when_it_died_arrives_later() {
    let Some(carbon) = Carbon::start() else { return };
    let daemon = Daemon::start(&format!(
        "interval: 1s\nforwarders: {{ graphite: {{ address: \"{}\" }} }}\n",
        carbon.line
    ));
    let count = |name: &str| {
        daemon.send(format!(r#"{{"metric_name":"{name}","metric_type":"counter"}}"#));
    };
    let delivered = |points: u64| {
        daemon.wait_for("the delivery", |status| {
            status["forwarders"]["graphite"]["delivered"].as_u64() >= Some(points)
        });
    };
    let has = |name: &'static str| carbon.wait_for(name, |stored| stored.contains_key(name));
    count("read");
    has("read");
    // The stopped carbon reads nothing more, but its kernel still accepts data.
    carbon.signal("STOP");
    count("unread");
    delivered(2);
    carbon.signal("KILL");
    carbon.restart();
    count("after");
    has("after");
    let stored = has("unread");
    for name in ["read", "unread", "after"] {
        let values: Vec<f64> = stored[name].iter().map(|(_, value)| *value).collect();
        assert_eq!(values, [1.0], "{name}: a repeat overwrites");
    }
    assert!(daemon.stop().status.success());
}

#[test]
fn points_wait_while_carbon_is_down_and_keep_their_times() {
    let Some(carbon) = Carbon::start() else { return };
    let daemon = Daemon::start(&format!(
        "interval: 1s\nforwarders: {{ graphite: {{ address: \"{}\", delivery: {{ retry: {{ max: 1s }} }} }} }}\n",
        carbon.line
    ));
    let count = |increment: u64| {
        daemon
            .send(format!(r#"{{"metric_name":"c","metric_type":"counter","count":{increment}}}"#));
    };
    let flushed = |points: u64| {
        daemon.wait_for("the flush", |status| {
            status["forwarders"]["graphite"]["flushed"].as_u64() >= Some(points)
        });
    };
    count(1);
    carbon.wait_for("the first", |stored| stored.contains_key("c"));
    carbon.signal("KILL");
    for increment in [2, 4, 8] {
        count(increment);
        flushed(u64::from(u8::try_from(increment).unwrap().trailing_zeros()) + 1);
    }
    carbon.restart();
    let stored = carbon.wait_for("all of them", |stored| stored["c"].len() == 4);
    let values: Vec<f64> = stored["c"].iter().map(|(_, value)| *value).collect();
    assert_eq!(values, [1.0, 2.0, 4.0, 8.0]);
    let status = daemon.status();
    let ledger = &status["forwarders"]["graphite"];
    assert_eq!((&ledger["delivered"], &ledger["queued"]), (&4.into(), &0.into()), "{ledger}");
    assert!(daemon.stop().status.success());
}

#[test]
fn check_reports_whether_carbon_answers() {
    let catcher = Catcher::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tallyd.yaml");
    let check = |address: &str| {
        let config = format!("forwarders: {{ graphite: {{ address: \"{address}\" }} }}\n");
        std::fs::write(&path, config).unwrap();
        let args = ["check", "--connect", "--config", path.to_str().unwrap()];
        let output = tallyd().args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (status, said) = check(&catcher.address);
    assert!(status == Some(0) && said.contains("graphite: answers"), "{said}");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (status, said) = check(&nobody.to_string());
    assert_eq!(status, Some(1));
    assert!(said.contains(&format!("graphite: {nobody}: Connection refused")), "{said}");
}

#[test]
fn the_graphite_document_shows_the_bytes_that_are_sent() {
    let mut sent = String::new();
    let mut shown = 0;
    for block in common::markdown::document("docs/forwarders/graphite.md").blocks() {
        if block.is("json", "graphite") {
            sent.clone_from(&block.text);
        }
        if !block.is("text", "graphite") {
            continue;
        }
        let catcher = Catcher::start();
        let mut section = format!("address: \"{}\"", catcher.address);
        for key in ["naming", "tags", "template"] {
            if let Some(value) = block.option(key) {
                section += &format!(", {key}: \"{value}\"");
            }
        }
        // A window that ends between the messages and the stop would be followed by zeros.
        section += ", idle: none";
        let option = |key| block.option(key).unwrap_or_default();
        let (metric, bins) = option("histogram").split_once(':').unwrap_or(("none", ""));
        let stats = option("timer_stats");
        section += &format!(
            ", etsy: {{ histogram: [{{ metric: {metric}, bins: [{bins}] }}], timer_stats: [{stats}] }}"
        );
        let daemon = Daemon::start(&format!("forwarders: {{ graphite: {{ {section} }} }}\n"));
        daemon.send(&sent);
        daemon.wait_received(sent.lines().count() as u64);
        assert!(daemon.stop().status.success());
        let mut values: Lines = BTreeMap::new();
        for line in catcher.connections()[0].lines() {
            let (path, value, _) = in_order(line);
            values.insert(path.to_owned(), value);
        }
        full_window_in_graphite(&mut values, 10.0);
        let mut lines: Vec<String> =
            values.iter().map(|(path, value)| format!("{path} {value} TIME")).collect();
        lines.sort();
        let expected: Vec<&str> = block.text.lines().collect();
        assert_eq!(lines, expected, "{block}");
        shown += 1;
    }
    assert_eq!(shown, 6);
}

// ---- A real statsd -----------------------------------------------------------------------------

/// The result of the comparison.
#[derive(Debug, Default)]
struct Compared {
    equal: usize,
    /// Equal except for the last digits: statsd sums increments without compensation.
    last_digits: Vec<String>,
    /// Zeros, and values of gauges, that statsd writes for series without samples in the round.
    idle: usize,
    /// statsd's metrics about itself.
    of_itself: usize,
    /// Lines in which statsd writes NaN.
    not_a_number: usize,
    different: Vec<String>,
}

impl Compared {
    fn of(rounds: &[Round]) -> Self {
        let mut compared = Self::default();
        for (number, Round { statsd, daemon }) in rounds.iter().enumerate() {
            for (path, value) in statsd {
                match daemon.get(path) {
                    _ if is_its_own(path) => compared.of_itself += 1,
                    Some(ours) if ours == value => {
                        compared.equal += 1;
                        compared.idle +=
                            usize::from(path.contains("now_and_then") && *value == 0.0);
                    }
                    Some(ours) if (ours - value).abs() <= 1e-12 * value.abs() => {
                        compared.last_digits.push(path.clone());
                    }
                    Some(ours) if value.is_nan() && ours.is_finite() => compared.not_a_number += 1,
                    ours => {
                        let words = format!("round {number}: {path}: {value}, tallyd {ours:?}");
                        compared.different.push(words);
                    }
                }
            }
            for path in daemon.keys().filter(|path| !statsd.contains_key(*path)) {
                compared.different.push(format!("round {number}: {path}: only tallyd"));
            }
        }
        compared
    }
}

/// A pseudo-random sequence that is the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        // Knuth's multiplier for 64-bit linear congruential generators.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// The datagrams of all rounds.
fn input() -> Vec<Vec<String>> {
    let mut random = Random(20_170_321);
    let mut rounds: Vec<Vec<String>> = (0..6).map(|_| Vec::new()).collect();
    for (number, lines) in rounds.iter_mut().enumerate() {
        let mut add = |line: String| lines.push(line);
        for line in [
            "c.one:1|c",
            "c.many:1|c",
            "c.many:41|c",
            "c.fraction:0.1|c",
            "c.fraction:0.2|c",
            "c.negative:-7.5|c",
            "c.zero:0|c",
            "c.rate:1|c|@0.1",
            "c.rate:1|c",
            "c.half:3|c|@0.5",
            "c.third:1|c|@0.3",
            "c.runs:1|c:2|c|@0.5:3|c",
            "c.exponent:1e3|c",
            "odd/name with  blanks:1|c",
            "gl+ork:1|c",
            "glork:2|c",
            "né:1|c",
            "UPPER_lower-9=x:1|c",
            "c.tagged:1|c|#env:prod,dc:us",
            "c.tagged:2|c|#dc:eu",
            "c.tagged:1|c|@0.5|#env:prod,dc:us",
            "c.own;env=prod;dc=us:4|c",
            "c.tag:1|c|#path:/a/b c,x:y:z",
            "g.level:333|g",
            "g.level:-10|g",
            "g.level:+4|g",
            "g.fraction:0.25|g",
            "g.below:0|g",
            "g.below:-5|g",
            "g.tagged:1|g|#host:a",
            "s.members:a|s",
            "s.members:b|s",
            "s.members:a|s",
            "s.numbers:+4930123|s",
            "s.numbers:+4930123|s",
            "s.numbers:-1|s",
            "s.one:x|s|#env:prod",
            "t.one:100|ms",
            "t.sampled:100|ms|@0.1",
            "t.two:1|ms",
            "t.two:2|ms",
            "t.ties:5|ms",
            "t.ties:5|ms",
            "t.ties:5|ms",
            "t.ties:1|ms",
            "t.ties:5|ms",
            "t.zero:0|ms",
            "t.zero:0|ms",
            "t.runs:1|ms:2|ms|@0.5:3|ms",
            "t.tagged:7|ms|#env:prod",
        ] {
            add(line.to_owned());
        }
        for _ in 0..10 {
            add("c.tenths:0.1|c".to_owned());
        }
        for value in [450, 120, 553, 994, 334, 844, 675, 496] {
            add(format!("t.eight:{value}|ms"));
        }
        for value in 1..=10 {
            add(format!("t.ten:{value}|ms"));
        }
        for _ in 0..100 {
            add(format!("t.uniform:{}|ms", random.next(1000)));
            add(format!("t.decimal:{}.{}|ms", random.next(100), random.next(1000)));
            let scale = 10_u64.pow(random.next(7) as u32);
            add(format!("t.skewed:{}|ms|@0.{}", random.next(scale) + 1, random.next(9) + 1));
        }
        // Series without samples in some of the windows.
        if number % 2 == 0 {
            add(format!("c.now_and_then:{number}|c"));
            add(format!("t.now_and_then:{number}|ms"));
            add("s.now_and_then:x|s".to_owned());
        }
        if number % 3 == 0 {
            add("g.now_and_then:+2|g".to_owned());
        }
        add(format!("g.walks:{}{}|g", ['+', '-'][number % 2], number * 10));
    }
    rounds
}

/// Sends all rounds to both and compares every line that either wrote.
#[allow(clippy::print_stderr, reason = "--nocapture shows how much was compared")]
fn compare(statsd: &str, etsy: &str) {
    let members = format!("etsy: {{ {etsy} }}");
    let Some(mut pair) = Pair::start(statsd, &members) else { return };
    for lines in input() {
        pair.round(&lines);
    }
    let Flushes { rounds, between, .. } = pair.finish();
    let compared = Compared::of(&rounds);
    eprintln!("{etsy}: {compared:?}");
    assert_eq!(compared.different, [""; 0]);
    // Timers have few lines of these if some of their fields are selected.
    assert!(compared.equal > 500, "{compared:?}");
    // Counts that sum fractions: ten times 0.1, or sample rates for which 1/rate is not an integer.
    let of_fractions = |path: &String| path.contains("c.tenths") || path.contains("t.skewed.count");
    assert!(compared.last_digits.iter().all(of_fractions), "{:?}", compared.last_digits);
    assert!(compared.idle > 0, "{compared:?}");
    // Flushes without input contain only zeros, gauges and statsd's metrics about itself.
    for lines in between {
        let others = lines.iter().filter(|(path, value)| {
            !is_its_own(path) && !path.contains(".gauges.") && **value != 0.0
        });
        assert_eq!(others.collect::<Vec<_>>(), []);
    }
}

#[test]
fn statsd_and_tallyd_write_the_same_lines() {
    compare("graphite: { legacyNamespace: false }", "");
}

#[test]
fn statsd_and_tallyd_write_the_same_lines_in_the_legacy_namespace_with_many_thresholds() {
    compare(
        "graphite: { globalSuffix: 'web1' }, percentThreshold: [50, 75, 90, 95, 99, 99.9, 5, -10, -50, -90, -99]",
        "legacy_namespace: true, global_suffix: web1, \
         percent_threshold: [50, 75, 90, 95, 99, 99.9, 5, -10, -50, -90, -99]",
    );
}

#[test]
fn statsd_and_tallyd_write_the_same_lines_with_other_prefixes() {
    compare(
        "graphite: { legacyNamespace: false, globalPrefix: 'site.a', prefixCounter: 'c', \
         prefixTimer: '', prefixGauge: 'x.gauges', prefixSet: 'sets' }, percentThreshold: 99.5",
        "global_prefix: site.a, prefix_counter: c, prefix_timer: \"\", prefix_gauge: x.gauges, \
         percent_threshold: [99.5]",
    );
}

#[test]
fn statsd_and_tallyd_write_the_same_histograms() {
    compare(
        "graphite: { legacyNamespace: false }, histogram: [{ metric: 'decimal', bins: [] }, { metric: 't.t', bins: [1, 2.50, 5, 5.5] }, \
         { metric: 'env=prod', bins: [7, 7.000001, 'inf'] }, { metric: 'skewed', bins: [0, 1e2] }, \
         { metric: '', bins: [-1.5, -0, 0.01, 1, 100, 334, 1000000, 1e20, 'inf'] }]",
        "histogram: [{ metric: decimal, bins: [] }, { metric: t.t, bins: [1, 2.50, 5, 5.5] }, \
         { metric: env=prod, bins: [7, 7.000001, inf] }, { metric: skewed, bins: [0, 100] }, \
         { metric: \"\", bins: [-1.5, -0, 0.01, 1, 100, 334, 1000000, 100000000000000000000, inf] }]",
    );
}

#[test]
fn statsd_and_tallyd_write_the_same_selected_fields_of_timers() {
    let percents = "[50, 90, 99, 99.9, -10, -0.5]";
    let bins = "[{ metric: 't.', bins: [1, 10.5, 'inf'] }]";
    for stats in [
        "['count', 'median', 'upper_percent', 'histogram']",
        // The comparison needs `count` to scale the `count_ps` of a short first window.
        "['std', 'count', 'count_ps', 'lower_percent', 'sum_squares_percent', 'mean_99_percent']",
        "['lower_top0_percent', 'sum_percent']",
        "[]",
    ] {
        compare(
            &format!(
                "graphite: {{ legacyNamespace: false }},         percentThreshold: {percents}, histogram: {bins}, calculatedTimerMetrics: {stats}"
            ),
            &format!("percent_threshold: {percents}, histogram: {bins}, timer_stats: {stats}"),
        );
    }
}

/// Covers the rows of the table in docs/migrating-from-statsd.md that depend on the input.
#[test]
fn the_documented_differences_from_statsd_are_real() {
    let graphite = "graphite: { legacyNamespace: false }, percentThreshold: [-90]";
    let etsy = "etsy: { percent_threshold: [-90] }";
    let Some(mut pair) = Pair::start(graphite, etsy) else { return };
    let lines = [
        "histogram:5|h",
        "distribution:5|d",
        "unknown:5|zz",
        "negative:-5|ms",
        "packed:1:2|c",
        "rate:1|c|@2",
        "hexadecimal:0x10|c",
        "empty..part:1|c",
        "bare:1|c|#urgent",
        "top:1|ms",
        "top:2|ms",
        "top:3|ms",
        "top:4|ms",
        "behind:1|c|#a:b|@0.5",
        "infinite:Infinity|g",
    ];
    pair.round(&lines.map(str::to_owned));
    let Flushes { rounds, .. } = pair.finish();
    let (statsd, ours) = (&rounds[0].statsd, &rounds[0].daemon);
    let of = |lines: &Lines, path: &str| lines.get(path).copied();
    for (path, by_statsd, by_us) in [
        ("stats.counters.histogram.count", Some(5.0), None),
        ("stats.timers.histogram.count", None, Some(1.0)),
        ("stats.counters.distribution.count", Some(5.0), None),
        ("stats.timers.distribution.count", None, Some(1.0)),
        ("stats.counters.unknown.count", Some(5.0), None),
        ("stats.timers.negative.mean", None, Some(-5.0)),
        ("stats.counters.packed.count", Some(2.0), Some(3.0)),
        ("stats.counters.rate.count", Some(0.5), None),
        ("stats.counters.hexadecimal.count", Some(16.0), None),
        ("stats.counters.empty..part.count", Some(1.0), None),
        ("stats.counters.empty.part.count", None, Some(1.0)),
        ("stats.counters.bare.count;urgent", Some(1.0), None),
        ("stats.counters.bare.count;urgent=true", None, Some(1.0)),
        ("stats.timers.top.lower_top90", Some(1.0), Some(1.0)),
        ("stats.timers.top.sum_top90", Some(f64::NAN), Some(10.0)),
        ("stats.counters.behind.count;a=b0.5", Some(1.0), None),
        ("stats.counters.behind.count;a=b", None, Some(2.0)),
        ("stats.gauges.infinite", Some(f64::INFINITY), None),
        ("stats.statsd.numStats", of(statsd, "stats.statsd.numStats"), None),
    ] {
        let same = |a: Option<f64>, b: Option<f64>| {
            a == b || a.is_some_and(f64::is_nan) && b.is_some_and(f64::is_nan)
        };
        assert!(same(of(statsd, path), by_statsd), "statsd: {path}: {:?}", of(statsd, path));
        assert!(same(of(ours, path), by_us), "tallyd: {path}: {:?}", of(ours, path));
    }
}
