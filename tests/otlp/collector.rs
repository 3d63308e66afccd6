//! A real OpenTelemetry Collector: what it stored equals what the daemon flushed.

use std::collections::{BTreeMap, BTreeSet};

use common::otelcol::{Collector, StoredPoint};
use common::{Daemon, assert_balanced};
use forwarders::testing::real_server;
use serde_json::Value;

/// A window's point of a series: type, name, tags as text, and the end of the window in ms.
type Key = (String, String, String, u64);

fn tags_text(tags: impl Iterator<Item = (String, String)>) -> String {
    tags.map(|(key, value)| format!("{key}={value};")).collect()
}

/// The points that the file forwarder wrote, without those of the daemon's stop.
fn flushed(lines: &[Value]) -> BTreeMap<Key, Value> {
    let key = |line: &Value| {
        let tags = line["tags"].as_object().unwrap().iter();
        let tags = tags.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()));
        let text = |member: &str| line[member].as_str().unwrap().to_owned();
        (text("type"), text("name"), tags_text(tags), line["timestamp"].as_u64().unwrap())
    };
    lines.iter().map(|line| (key(line), line.clone())).collect()
}

/// The key of a stored point, whose name tells its type, like `c.counter`.
fn key_of(point: &StoredPoint) -> Key {
    let kind = point.name.rsplit('.').next().unwrap().to_owned();
    (kind, point.name.clone(), tags_text(point.attributes.clone().into_iter()), point.end_ms)
}

/// Asserts that a point has the values of a line of the file forwarder.
fn assert_equal(point: &StoredPoint, line: &Value) {
    let field = |name: &str| line["fields"][name].as_f64().unwrap();
    let shown = format!("{point:?} {line}");
    match line["type"].as_str().unwrap() {
        "counter" | "trace" => {
            assert_eq!((&*point.form, point.number()), ("sum", field("count")), "{shown}");
        }
        "gauge" => assert_eq!((&*point.form, point.number()), ("gauge", field("value")), "{shown}"),
        "set" => assert_eq!((&*point.form, point.number()), ("gauge", field("count")), "{shown}"),
        _ => assert_histogram(point, field("count"), field("sum"), field("min"), field("max")),
    }
}

fn assert_histogram(point: &StoredPoint, count: f64, sum: f64, min: f64, max: f64) {
    assert_eq!(
        (point.form.as_str(), point.json["scale"].as_i64()),
        ("exponentialHistogram", Some(6))
    );
    let member = |name: &str| point.json[name].as_f64();
    // The protocol has no sum of negative values.
    let wanted_sum = point.buckets("negative").is_empty().then_some(sum);
    assert_eq!(
        (point.count() as f64, member("sum"), member("min"), member("max")),
        (count, wanted_sum, Some(min), Some(max)),
        "{point:?}"
    );
    let buckets = ["positive", "negative"].map(|sign| point.buckets(sign).values().sum::<u64>());
    let zeros = point.json["zeroCount"].as_str().map_or(0, |zeros| zeros.parse().unwrap());
    assert_eq!(buckets.iter().sum::<u64>() + zeros, point.count(), "{point:?}");
}

/// The destinations: both transports, both temporalities.
fn config(collector: &Collector) -> String {
    let destination = |name: &str, url: &str, temporality: &str, compression: &str| {
        format!(
            "    - {{ name: {name}, endpoint: \"{url}\", temporality: {temporality}, \
             compression: {compression}, max_points: 50, resource: {{ service.name: {name} }} }}\n"
        )
    };
    let (http, grpc) = (&collector.http, &collector.grpc);
    format!(
        "interval: 200ms\nagent: {{ tags: {{ zone: eu }} }}\naggregation: {{ expire_after: 1h }}\n\
         forwarders:\n  file: {{ path: DIR/lines, format: json }}\n  otlp:\n{}{}{}{}",
        destination("http-delta", http, "delta", "gzip"),
        destination("grpc-delta", grpc, "delta", "none"),
        destination("http-total", http, "cumulative", "none"),
        destination("grpc-total", grpc, "cumulative", "gzip"),
    )
}

/// The samples of a round, as JSON messages: all types, series that are in some rounds only, a counter
/// that falls and timers with zeros and negative values.
fn messages(round: u32) -> Vec<String> {
    let message = |kind: &str, name: &str, members: String| {
        format!(r#"{{"metric_name":"{name}.{kind}","metric_type":"{kind}",{members}}}"#)
    };
    let mut messages = Vec::new();
    for n in 0..40 + round {
        let tag = format!(r#""n":"{}""#, n % 13);
        messages.push(message("counter", "c", format!(r#""count":{},{tag}"#, n + round)));
        messages.push(message("trace", "tr", tag.clone()));
        messages.push(message("set", "s", format!(r#""value":"{}",{tag}"#, n * round)));
        let level = f64::from(n) - 7.25 * f64::from(round);
        messages.push(message("gauge", "g", format!(r#""value":{level},{tag}"#)));
        let value = latency(round, n);
        messages.push(message("timer", "t", format!(r#""value":{value},"sample_rate":0.5,{tag}"#)));
    }
    let falls = i64::from(round) * if round.is_multiple_of(2) { -3 } else { 4 };
    messages.push(message("counter", "falling", format!(r#""count":{falls}"#)));
    for value in [-4.0, 0.0, 4.0] {
        messages.push(message("timer", "signed", format!(r#""value":{value}"#)));
    }
    messages
}

/// A value between 1/16 and some thousand; every fifth one is a power of two, which is a bound.
fn latency(round: u32, n: u32) -> f64 {
    if n.is_multiple_of(5) {
        f64::from(n % 7 + round).exp2() / 16.0
    } else {
        f64::from(n * 977 + round * 31) / 8.0
    }
}

/// The index of scale 6 that the protocol defines for a positive value.
fn index(value: f64) -> i64 {
    (value.log2() * 64.0).ceil() as i64 - 1
}

/// Waits for the end of this number of further windows.
fn wait_for_windows(daemon: &Daemon, count: u64) {
    let closed = |status: &Value| status["windows"]["closed"].as_u64().unwrap();
    let before = closed(&daemon.status());
    daemon.wait_for("the end of a window", |status| closed(status) >= before + count);
}

fn of<'a>(stored: &'a [StoredPoint], service: &str) -> Vec<&'a StoredPoint> {
    stored.iter().filter(|point| point.resource["service.name"] == service).collect()
}

#[test]
fn a_real_collector_stores_every_point_of_every_type_equally() {
    const ROUNDS: u32 = 4;
    let Some(collector) = Collector::start(None) else { return };
    let daemon = Daemon::start(&config(&collector));
    let mut sent = 0;
    for round in 1..=ROUNDS {
        let messages = messages(round);
        sent += messages.len() as u64;
        daemon.send_paced(messages.into_iter());
        wait_for_windows(&daemon, 1);
    }
    daemon.wait_received(sent);
    let stopped = daemon.stop();
    assert!(stopped.warnings().is_empty(), "{:?}", stopped.warnings());
    let lines = flushed(&stopped.points("lines"));
    let stored = collector.wait_for("all points", |stored| {
        ["http-delta", "grpc-delta"].iter().all(|name| of(stored, name).len() >= lines.len())
            && ["http-total", "grpc-total"]
                .iter()
                .all(|name| missing_totals(&of(stored, name), &lines).is_empty())
    });

    for service in ["http-delta", "grpc-delta"] {
        assert_deltas(&of(&stored, service), &lines);
    }
    for service in ["http-total", "grpc-total"] {
        assert_totals(&of(&stored, service), &lines);
    }
    let resource = &of(&stored, "http-delta")[0].resource;
    assert_eq!((&*resource["zone"], resource.contains_key("host.name")), ("eu", true));
}

/// Asserts that each window's points were stored once, and that the buckets of all windows are those of
/// the samples.
fn assert_deltas(stored: &[&StoredPoint], lines: &BTreeMap<Key, Value>) {
    assert_eq!(stored.len(), lines.len());
    let mut found: BTreeMap<i64, u64> = BTreeMap::new();
    let mut starts: BTreeMap<u64, u64> = BTreeMap::new();
    for point in stored {
        let line = &lines[&key_of(point)];
        assert_equal(point, line);
        let is_gauge = point.form == "gauge";
        assert_eq!(point.temporality, i64::from(!is_gauge));
        let is_set = line["type"] == "set";
        if !is_gauge || is_set {
            starts.entry(point.end_ms).or_insert(point.start_ms);
            assert_eq!(starts[&point.end_ms], point.start_ms, "{point:?} {line}");
        }
        if point.form == "sum" {
            assert_eq!(point.is_monotonic, point.number() >= 0.0);
        }
        if point.name == "t.timer" {
            for (index, count) in point.buckets("positive") {
                *found.entry(index).or_default() += count;
            }
        }
    }
    assert_eq!(found, buckets_of_samples());
    // Each window starts at the end of one before it, however late that ended.
    assert!(
        starts.keys().zip(starts.values().skip(1)).all(|(end_ms, start_ms)| start_ms >= end_ms)
    );
    assert!(starts.values().skip(1).all(|start_ms| start_ms % 200 == 0), "{starts:?}");
}

/// The buckets of all samples of `t.timer`, of which each counts twice.
fn buckets_of_samples() -> BTreeMap<i64, u64> {
    let mut buckets = BTreeMap::new();
    for round in 1..=4 {
        for n in 0..40 + round {
            *buckets.entry(index(latency(round, n))).or_default() += 2;
        }
    }
    buckets
}

/// The totals that were not stored: each counter, trace and timer has one in each window from its first
/// one on.
fn missing_totals(stored: &[&StoredPoint], lines: &BTreeMap<Key, Value>) -> Vec<Key> {
    let stored: BTreeSet<Key> = stored.iter().map(|point| key_of(point)).collect();
    let ends: BTreeSet<u64> = lines.keys().map(|(.., end_ms)| *end_ms).collect();
    let has_total = |(kind, ..): &&Key| ["counter", "trace", "timer"].contains(&kind.as_str());
    let all = lines.keys().filter(has_total).flat_map(|(kind, name, tags, end_ms)| {
        let later = ends.range(end_ms..);
        later.map(|end_ms| (kind.clone(), name.clone(), tags.clone(), *end_ms))
    });
    all.filter(|key| !stored.contains(key)).collect()
}

/// Asserts that each window has the total of each series, that it is the sum of all windows up to it,
/// and that the start of a series stays the same.
fn assert_totals(stored: &[&StoredPoint], lines: &BTreeMap<Key, Value>) {
    assert_eq!(missing_totals(stored, lines), []);
    let mut latest: BTreeMap<(String, String), &StoredPoint> = BTreeMap::new();
    for point in stored {
        let (kind, name, tags, end_ms) = key_of(point);
        if point.form == "gauge" {
            assert_equal(point, &lines[&(kind, name, tags, end_ms)]);
            continue;
        }
        assert_eq!(point.temporality, 2);
        let first = (kind.clone(), name.clone(), tags.clone(), 0);
        let last = (kind, name.clone(), tags.clone(), end_ms);
        let windows: Vec<&Value> = lines.range(first..=last).map(|(_, line)| line).collect();
        let fields = |name: &str| -> Vec<f64> {
            windows.iter().map(|line| line["fields"][name].as_f64().unwrap()).collect()
        };
        let count: f64 = fields("count").iter().sum();
        if point.form == "sum" {
            assert_eq!(point.number(), count, "{point:?}");
            let has_fallen = fields("count").iter().any(|count| *count < 0.0);
            assert_eq!(point.is_monotonic, !has_fallen);
        } else {
            let min = fields("min").into_iter().fold(f64::INFINITY, f64::min);
            let max = fields("max").into_iter().fold(f64::NEG_INFINITY, f64::max);
            assert_histogram(point, count, fields("sum").iter().sum(), min, max);
        }
        let latest = latest.entry((name, tags)).or_insert(point);
        assert_eq!(point.start_ms, latest.start_ms, "{point:?}");
        if point.end_ms >= latest.end_ms {
            *latest = point;
        }
    }
    let mut found: BTreeMap<i64, u64> = BTreeMap::new();
    for point in latest.values().filter(|point| point.name == "t.timer") {
        for (index, count) in point.buckets("positive") {
            *found.entry(index).or_default() += count;
        }
    }
    assert_eq!(found, buckets_of_samples());
}

#[test]
fn points_wait_for_a_collector_that_is_down_and_arrive_once() {
    let Some(collector) = Collector::start(None) else { return };
    let destinations = ["http-delta", "grpc-delta", "http-total", "grpc-total"];
    let retry = "delivery: { retry: { initial: 20ms, max: 100ms } }, max_points: 50";
    let daemon = Daemon::start(&config(&collector).replace("max_points: 50", retry));
    let send = |number: u32| {
        daemon.send(format!(
            r#"{{"metric_name":"c.counter","metric_type":"counter","n":"{}"}}"#,
            number % 9
        ));
    };
    (0..100).for_each(send);
    collector.wait_for("the first window", |stored| !stored.is_empty());
    collector.stop();
    // Five windows without the Collector, then it returns.
    for _ in 0..5 {
        (0..100).for_each(send);
        wait_for_windows(&daemon, 1);
    }
    daemon.wait_for("the failures", |status| {
        destinations.iter().all(|name| status["forwarders"][name]["up"] == false)
    });
    collector.restart();
    daemon.wait_received(600);
    wait_for_windows(&daemon, 1);
    // A stop would leave the rest on disk for the next run.
    daemon.wait_for("the delivery", |status| {
        let is_empty = |name: &str| {
            let forwarder = &status["forwarders"][name];
            forwarder["queued"] == 0 && forwarder["spooled"] == 0
        };
        destinations.iter().all(|name| is_empty(name))
    });
    let stopped = daemon.stop();
    let lines = flushed(&stopped.points("lines"));
    let sum = |stored: &[StoredPoint], service| {
        of(stored, service).iter().map(|point| point.number()).sum::<f64>()
    };
    let stored = collector.wait_for("all points", |stored| {
        ["http-delta", "grpc-delta"].iter().all(|name| sum(stored, name) >= 600.0)
    });
    for service in ["http-delta", "grpc-delta"] {
        let points = of(&stored, service);
        assert_eq!((points.len(), sum(&stored, service)), (lines.len(), 600.0), "{service}");
        points.iter().for_each(|point| assert_equal(point, &lines[&key_of(point)]));
    }
    for service in ["http-total", "grpc-total"] {
        let mut totals: BTreeMap<&str, f64> = BTreeMap::new();
        for point in of(&stored, service) {
            let latest = totals.entry(&point.attributes["n"]).or_default();
            *latest = latest.max(point.number());
        }
        assert_eq!(totals.values().sum::<f64>(), 600.0, "{service}");
    }
}

#[test]
fn requests_beyond_the_limits_of_a_collector_are_divided() {
    let Some(collector) = Collector::start(None) else { return };
    // Its limits are 1 MiB.
    let config =
        config(&collector).replace("max_points: 50", "max_points: 100000, max_bytes: 16MiB");
    let daemon = Daemon::start(&config);
    let filler = "x".repeat(1_200);
    daemon.send_paced((0..3_000).map(|number| {
        format!(
            r#"{{"metric_name":"c.counter","metric_type":"counter","n":"{number}","filler":"{filler}"}}"#
        )
    }));
    daemon.wait_received(3_000);
    let status = daemon.wait_for("the delivery", |status| {
        ["http-delta", "grpc-delta", "http-total", "grpc-total"].iter().all(|name| {
            let forwarder = &status["forwarders"][name];
            forwarder["delivered"].as_u64() >= Some(3_000) && forwarder["queued"] == 0
        })
    });
    assert_balanced(&status);
    for name in ["http-delta", "grpc-delta", "http-total", "grpc-total"] {
        assert_eq!(status["forwarders"][name]["dropped"], serde_json::json!({}), "{name}");
    }
    let stored = collector.wait_for("all points", |stored| {
        of(stored, "http-delta").len() >= 3_000 && of(stored, "grpc-delta").len() >= 3_000
    });
    assert_eq!(of(&stored, "grpc-delta").len(), 3_000);
}

#[test]
fn records_of_both_kafka_formats_are_read_by_the_collectors_receiver() {
    let Some(broker) = real_server("TALLYD_TEST_KAFKA") else { return };
    let Some(collector) = Collector::start(Some(&broker)) else { return };
    // The Collector reads topics of these names, which other runs share.
    let run = format!("run-{}", std::process::id());
    let daemon = Daemon::start(&format!(
        "interval: 200ms\nagent: {{ tags: {{ run: {run} }} }}\n\
         forwarders:\n  file: {{ path: DIR/lines, format: json }}\n  kafka:\n    \
         - {{ name: proto, kafka_broker: \"{broker}\", kafka_topic: otlp_proto, format: otlp_proto }}\n    \
         - {{ name: json, kafka_broker: \"{broker}\", kafka_topic: otlp_json, format: otlp_json }}\n"
    ));
    let messages = messages(1);
    let sent = messages.len() as u64;
    daemon.send_paced(messages.into_iter());
    daemon.wait_received(sent);
    let lines = flushed(&daemon.stop().points("lines"));
    let of_run = |stored: &[StoredPoint]| -> Vec<StoredPoint> {
        let is_own = |point: &&StoredPoint| point.resource.get("run") == Some(&run);
        stored.iter().filter(is_own).cloned().collect()
    };
    let stored =
        collector.wait_for("all records", |stored| of_run(stored).len() >= 2 * lines.len());
    let stored = of_run(&stored);
    assert_eq!(stored.len(), 2 * lines.len());
    let mut times: BTreeMap<Key, u32> = BTreeMap::new();
    for point in &stored {
        assert_equal(point, &lines[&key_of(point)]);
        *times.entry(key_of(point)).or_default() += 1;
    }
    assert!(times.values().all(|times| *times == 2), "each point once in each format");
}
