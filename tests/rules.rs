//! `rules`: from names to names and tags, with the real binary.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::UdpSocket;
use std::process::Output;

use common::{
    Daemon, Stopped, assert_balanced, interval_without_an_edge, points, shown, tallyd, total,
    write_config,
};
use serde_json::{Value, json};

/// A JSON listener, which `Daemon::send` reaches, a statsd listener with two threads, and one window.
fn config(rest: &str) -> String {
    let interval = interval_without_an_edge();
    format!(
        "interval: {interval}s\n\
         listeners:\n  - {{ protocol: statsd, address: \"127.0.0.1:0\", threads: 2 }}\n\
         forwarders: {{ file: {{ path: DIR/out, format: json }} }}\n{rest}"
    )
}

const RULES: &str = "agent: { tags: { env: stage } }
rules:
  - match: \"web.*.requests.*\"
    name: web.requests
    tags: { host: \"$1\", code: \"$2\", env: rule }
  - match_regex: '^(?P<service>[a-z]+)\\.api\\.(.+)$'
    types: [timer]
    name: \"$2\"
    tags: { service: \"${service}\" }
    continue: true
  - match: \"debug.**\"
    drop: true
  - match: \"db.*.time\"
    scale: 0.001
  - match: \"only.statsd\"
    protocol: statsd
    name: \"only\"
";

/// A client of the statsd listener. Each has its own port, so that several use both threads.
struct Statsd(UdpSocket);

impl Statsd {
    fn of(daemon: &Daemon) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(daemon.address("statsd/udp ")).unwrap();
        Self(socket)
    }

    fn send(&self, line: &str) {
        self.0.send(line.as_bytes()).unwrap();
    }
}

fn counter(name: &str, count: u64) -> String {
    json!({ "metric_name": name, "metric_type": "counter", "count": count }).to_string()
}

/// All points except timers, as text.
fn output(stopped: &Stopped) -> Vec<String> {
    let is_timer = |line: &String| line.starts_with("timer ");
    shown(&stopped.points("out")).into_iter().filter(|line| !is_timer(line)).collect()
}

/// The fields of a timer of which the tests know the values: count, sum, minimum and maximum.
fn timer(stopped: &Stopped, name: &str) -> (Value, [f64; 4]) {
    let points = stopped.points("out");
    let point = points.iter().find(|point| point["name"] == name && point["type"] == "timer");
    let point = point.unwrap();
    let field = |field| point["fields"][field].as_f64().unwrap();
    (point["tags"].clone(), ["count", "sum", "min", "max"].map(field))
}

fn rejected(status: &Value) -> &Value {
    &status["ledger"]["rejected"]
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn both_protocols_and_all_listeners_feed_the_same_series() {
    let daemon = Daemon::start(&config(RULES));
    let clients: Vec<Statsd> = (0..8).map(|_| Statsd::of(&daemon)).collect();
    // Each line twice: the first one is new, the second one is known.
    for client in &clients {
        for _ in 0..2 {
            client.send("web.a.requests.200:1|c");
            client.send("web.a.requests.404:2:3|c");
            client.send("users.api.get:4|ms");
            client.send("users.api.get:1|c");
            client.send("only.statsd:1|c");
        }
    }
    for _ in 0..2 {
        daemon.send(counter("web.a.requests.200", 10));
        daemon.send(format!(
            "[{},{}]",
            counter("web.a.requests.200", 1),
            counter("only.statsd", 1)
        ));
    }
    daemon.wait_received(8 * 2 * 6 + 2 * 3);
    let stopped = daemon.stop();
    assert_eq!(
        output(&stopped),
        [
            "counter only {env:stage} {count:16}",
            "counter only.statsd {env:stage} {count:2}",
            "counter users.api.get {env:stage} {count:16}",
            "counter web.requests {code:200,env:stage,host:a} {count:38}",
            "counter web.requests {code:404,env:stage,host:a} {count:80}",
        ]
    );
    let tags = json!({ "env": "stage", "service": "users" });
    assert_eq!(timer(&stopped, "get"), (tags, [16.0, 64.0, 4.0, 4.0]));
}

#[test]
fn each_dropped_sample_counts_as_rejected_exactly() {
    let daemon = Daemon::start(&config(RULES));
    let statsd = Statsd::of(&daemon);
    for n in 0..1_000 {
        statsd.send(&format!("debug.x:{n}|c"));
        statsd.send(&format!("debug.y:1:2:{n}|ms"));
        statsd.send("debug.set:a|s");
        statsd.send("debug.bad:a|c");
        statsd.send("kept:1|c");
        // Few enough for any buffer.
        if n % 20 == 19 {
            daemon.wait_received((n + 1) * 7);
        }
    }
    daemon.send(counter("debug.x", 1));
    daemon.send(counter("debug.x", 1));
    daemon.send(format!("[{0},{0}]", counter("debug.z", 1)));
    let status = daemon.wait_received(7_004);
    assert_eq!(*rejected(&status), json!({ "rule": 5_004, "bad_value": 1_000 }));
    assert_eq!(status["ledger"]["aggregated"], 1_000);
    assert_eq!(status["ledger"]["received"], 7_004);
    let (_, page) = daemon.get("/api/v1/rejected");
    let page: Value = serde_json::from_str(&page).unwrap();
    let by_rule = page["rejected"].as_array().unwrap().iter();
    let by_rule = by_rule.filter(|message| message["reason"] == "rule").count();
    assert!((1..=5).contains(&by_rule), "one for each name, not for each message: {page:#}");
    let stopped = daemon.stop();
    assert_eq!(output(&stopped), ["counter kept {env:stage} {count:1000}"]);
}

#[test]
fn values_are_scaled_for_new_and_known_lines_alike() {
    let daemon = Daemon::start(&config(
        "rules:\n- { match: s.**, scale: 0.5 }\n- { match: t.*, name: merged, scale: 4 }\n\
         - { match: u, name: merged }\n",
    ));
    let statsd = Statsd::of(&daemon);
    let lines = [
        "s.count:3|c",
        "s.count:3|c",
        "s.count:1|c|@0.1",
        "s.timer:10|ms",
        "s.timer:20|ms",
        "s.timer:30:40|ms",
        "s.gauge:100|g",
        "s.gauge:90|g",
        "s.gauge:+4|g",
        "s.gauge:-1|g",
        "s.set:a|s",
        "s.set:b|s",
        // One series, of which one name is scaled.
        "t.a:1|c",
        "u:1|c",
        "t.b:1|c",
        "t.a:1|c",
        "u:1|c",
        "t.g:1|g",
        "u:100|g",
        "t.g:2|g",
    ];
    lines.iter().for_each(|line| statsd.send(line));
    let status = daemon.wait_received(lines.len() as u64 + 1);
    assert_eq!(*rejected(&status), json!({}));
    let stopped = daemon.stop();
    assert_eq!(
        output(&stopped),
        [
            "counter merged {} {count:14}",
            "counter s.count {} {count:8}",
            "gauge merged {} {value:8}",
            "gauge s.gauge {} {value:46.5}",
            "set s.set {} {count:2}",
        ]
    );
    assert_eq!(timer(&stopped, "s.timer"), (json!({}), [4.0, 50.0, 5.0, 20.0]));
}

#[test]
fn a_reload_applies_other_rules_to_known_lines_and_counts_every_sample_once() {
    let rules = |rule: &str| config(&format!("rules:\n- {{ match: \"m.*\", {rule} }}\n"));
    let daemon = Daemon::start(&rules("name: first, tags: { part: $1 }"));
    let statsd = Statsd::of(&daemon);
    let mut sent = 0;
    let mut send = |daemon: &Daemon| {
        for n in 0..100 {
            statsd.send(&format!("m.{}:1|c", n % 4));
            daemon.send(counter("m.json", 1));
        }
        sent += 200;
        daemon.wait_received(sent)
    };
    send(&daemon);
    daemon.reload(&rules("name: second, scale: 3"));
    send(&daemon);
    daemon.reload(&rules("drop: true"));
    let status = send(&daemon);
    assert_eq!(*rejected(&status), json!({ "rule": 200 }));
    daemon.reload(&config(""));
    send(&daemon);
    daemon.reload(&rules("name: m.json"));
    let status = send(&daemon);
    assert_eq!(status["ledger"]["received"], 1_000);
    assert_eq!(status["ledger"]["aggregated"], 800);
    assert_balanced(&status);
    let stopped = daemon.stop();
    let points = stopped.points("out");
    let totals = ["first", "second", "m.json"].map(|name| total(&points, name, "count"));
    assert_eq!(totals, [200.0, 600.0, 300.0]);
    let numbered: f64 = (0..4).map(|n| total(&points, &format!("m.{n}"), "count")).sum();
    assert_eq!(numbered, 100.0);
}

#[test]
fn a_rule_sets_the_time_of_expiry_of_its_series() {
    let daemon = Daemon::start(
        "interval: 100ms\nforwarders: { file: { path: DIR/out, format: json } }\n\
         aggregation: { expire_after: 200ms }\n\
         rules:\n- { match: \"slow.*\", name: slow, expire_after: 1h }\n",
    );
    daemon.send(counter("slow.a", 1));
    daemon.send(counter("fast", 1));
    daemon.wait_for("the expiry of one series", |status| {
        status["series"]["by_metric"] == json!({ "slow": 1 }) && status["ledger"]["received"] == 2
    });
    // A second name of the same series, and a known one, do not change that.
    daemon.send(counter("slow.b", 1));
    daemon.send(counter("fast", 1));
    daemon.wait_for("the second expiry", |status| {
        status["series"]["by_metric"] == json!({ "slow": 1 }) && status["ledger"]["received"] == 4
    });
}

#[test]
fn ten_thousand_rules_map_ten_thousand_series() {
    let mut rules = "rules:\n".to_owned();
    for n in 0..10_000 {
        let _ = writeln!(
            rules,
            "- {{ match: \"app{n}.*.**.hits\", name: \"app.hits\", tags: {{ app: \"{n}\", host: \"$1\", \
             path: \"$2\" }} }}"
        );
    }
    let daemon = Daemon::start(&config(&format!(
        "{rules}aggregation: {{ max_series_per_metric: 20000 }}\n"
    )));
    daemon.send_paced((0..20_000).map(|n| counter(&format!("app{}.h.a.b.hits", n % 10_000), 1)));
    let status = daemon.wait_received(20_000);
    assert_eq!(status["series"]["by_metric"], json!({ "app.hits": 10_000 }));
    let stopped = daemon.stop();
    let points = stopped.points("out");
    let mut by_app = BTreeMap::new();
    for point in &points {
        assert_eq!((&point["tags"]["host"], &point["tags"]["path"]), (&json!("h"), &json!("a.b")));
        *by_app.entry(point["tags"]["app"].to_string()).or_insert(0.0) +=
            point["fields"]["count"].as_f64().unwrap();
    }
    assert_eq!(by_app.len(), 10_000);
    assert!(by_app.values().all(|count| *count == 2.0));
}

#[test]
fn a_full_memory_for_names_costs_only_time_and_is_counted() {
    let daemon = Daemon::start(&config(
        "aggregation: { rule_cache: 4KiB, line_cache: 1KiB }\n\
         rules:\n- { match: \"m.*\", name: m }\n- { match: \"d.*\", drop: true }\n",
    ));
    for round in 0..2 {
        daemon.send_paced((0..500).map(|n| counter(&format!("m.{n}"), 1)));
        daemon.send_paced((0..500).map(|n| counter(&format!("d.{n}"), 1)));
        daemon.wait_received((round + 1) * 1_000);
    }
    let status = daemon.status();
    assert_eq!(*rejected(&status), json!({ "rule": 1_000 }));
    assert!(status["series"]["forgotten_names"].as_u64().unwrap() > 1_800, "{status:#}");
    assert_eq!(total(&daemon.stop().points("out"), "m", "count"), 1_000.0);
}

#[test]
fn explain_names_the_rules_of_a_message() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(&folder, &format!("interval: 10s\n{RULES}"));
    let path = path.to_str().unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let line = |words: &str| text.lines().position(|line| line.contains(words)).unwrap() + 1;
    let explain = |args: &[&str]| {
        let args = [&["explain", "--config", path, "--statsd"], args].concat();
        told(&tallyd().args(args).output().unwrap())
    };
    let (status, stdout, stderr) = explain(&["web.a.requests.200:3|c", "x.api.db.u.time:500|ms"]);
    assert_eq!((status, stderr.as_str()), (0, ""));
    let web = line("web.*.requests");
    let [api, scale] = [line("match_regex"), line("db.*.time")];
    for expected in [
        "accepted: counter web.requests code=200 env=stage host=a, count 3\n".to_owned(),
        format!("    rule in line {web}, for the name web.a.requests.200\n"),
        "    tags of the agent: env=stage (replaces rule of the message)\n".to_owned(),
        "accepted: timer db.u.time env=stage service=x, value 0.5\n".to_owned(),
        format!("    rules in lines {api}, {scale}, for the name x.api.db.u.time\n"),
    ] {
        assert!(stdout.contains(&expected), "{expected}: {stdout}");
    }
    let (status, stdout, _) = explain(&["debug.x:1|c"]);
    assert_eq!(status, 1, "{stdout}");
    assert!(stdout.contains("rejected: rule: counter debug.x: expected a name"), "{stdout}");
    assert!(stdout.contains(&format!("rule in line {}, ", line("debug.**"))), "{stdout}");
    let (_, stdout, _) = explain(&["--json", "debug.x:1|c"]);
    let explained: Value = serde_json::from_str(&stdout).unwrap();
    let dropped = &explained["outcomes"][0]["dropped"];
    assert_eq!(dropped["reason"], "rule");
    assert_eq!(dropped["rules"], json!({ "sent_name": "debug.x", "lines": [line("debug.**")] }));
}

#[test]
fn check_shows_mistakes_and_rules_that_never_apply() {
    let check = |rules: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = write_config(&folder, rules);
        told(&tallyd().args(["check", "--config", path.to_str().unwrap()]).output().unwrap())
    };
    let (status, _, stderr) = check("rules:\n- { match: \"a.*\", name: \"$2\" }\n");
    assert_eq!(status, 1);
    assert!(stderr.contains("`rules[0].name`: `$2`: `match` has one wildcard"), "{stderr}");
    let (status, stdout, stderr) =
        check("rules:\n- { match: \"a.*\" }\n- { match: a.b, drop: true }\n- { match: b.c }\n");
    assert_eq!(status, 0, "{stdout}{stderr}");
    assert_eq!(stderr.matches("warning:").count(), 1, "{stderr}");
    assert!(stderr.contains("`rules[1]`: never applies, because the rule in line "), "{stderr}");
}

#[test]
fn a_tap_shows_the_name_before_and_after_the_rules() {
    let daemon = Daemon::start(&config(RULES));
    let mut tap = tallyd()
        .args(["tap", "--format", "json", "--count", "2", "--with-rejected", "--admin"])
        .arg(format!("http://{}", daemon.admin))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    daemon.wait_for("the tap", |status| status["taps"]["open"] == 1);
    daemon.send(counter("web.a.requests.200", 1));
    daemon.send(counter("debug.x", 1));
    let mut text = String::new();
    std::io::Read::read_to_string(&mut tap.stdout.take().unwrap(), &mut text).unwrap();
    tap.wait().unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0]["name"], "web.requests", "{text}");
    assert_eq!(events[0]["sent_name"], "web.a.requests.200");
    assert_eq!(events[0]["tags"], json!({ "code": "200", "env": "stage", "host": "a" }));
    assert_eq!(events[0]["rules"].as_array().unwrap().len(), 1);
    assert_eq!(events[1]["reason"], "rule", "{text}");
}

#[test]
fn the_self_metrics_are_not_subject_to_rules() {
    let daemon = Daemon::start(
        "interval: 100ms\nself_metrics: true\nforwarders: { file: { path: DIR/out, format: json } }\n\
         rules:\n- { match: \"**\", drop: true }\n",
    );
    daemon.send(counter("m", 1));
    daemon.wait_for("a self-metric", |_| {
        let written = points(&daemon.path("out"));
        written.iter().any(|point| point["name"].as_str().unwrap().starts_with("tallyd."))
    });
    assert_eq!(*rejected(&daemon.status()), json!({ "rule": 1 }));
}
