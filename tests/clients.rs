//! Real client libraries: every message arrives exactly, over each transport that a library supports.
//! `tests/clients/` contains a program for each library, which always sends the same messages.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use common::markdown;
use common::rates::full_windows;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Daemon, interval_without_an_edge, shown};
use forwarders::testing::real_client;
use serde_json::{Value, json};

// ---- Running the clients -------------------------------------------------------------------

/// The listeners that the clients send to.
const LISTENERS: &str = "# bind_port: is not opened
listeners:
  - { address: '127.0.0.1:0' }
  - { address: '[::1]:0' }
  - { protocol: statsd, address: '127.0.0.1:0' }
  - { protocol: statsd, address: '[::1]:0' }
  - { protocol: statsd, transport: tcp, address: '127.0.0.1:0' }
  - { protocol: statsd, transport: tcp, address: '[::1]:0' }
  - { protocol: statsd, transport: unix, path: DIR/stream }
  - { protocol: statsd, transport: unix_datagram, path: DIR/datagram }
  - { protocol: statsd, transport: unix, path: DIR/packets, framing: length_prefixed, gauges: level }
forwarders: { file: { path: DIR/out, format: json } }
";

/// A daemon with all listeners, whose first window lasts longer than the test.
fn daemon() -> Daemon {
    Daemon::start(&format!("{LISTENERS}interval: {}s\n", interval_without_an_edge()))
}

/// A transport: the beginning of its listener's label, and the name that the client programs use.
enum Way {
    Ip(&'static str, &'static str),
    Unix(&'static str, &'static str),
}

const UDP: Way = Way::Ip("statsd/udp 127.0.0.1", "udp");
const UDP_V6: Way = Way::Ip("statsd/udp [::1]", "udp");
const TCP: Way = Way::Ip("statsd/tcp 127.0.0.1", "tcp");
const TCP_V6: Way = Way::Ip("statsd/tcp [::1]", "tcp");
const UNIX: Way = Way::Unix("stream", "");

impl Way {
    /// The arguments of a client program that select it.
    fn arguments(&self, daemon: &Daemon) -> Vec<String> {
        match self {
            Self::Ip(label, word) => {
                let address = daemon.address(label);
                vec![(*word).to_owned(), address.ip().to_string(), address.port().to_string()]
            }
            Self::Unix(file, scheme) => {
                vec!["unix".to_owned(), format!("{scheme}{}", daemon.path(file).display())]
            }
        }
    }
}

/// A program that sends with a client library.
struct Client {
    program: String,
    libraries: Option<String>,
}

impl Client {
    /// `None`, and a message on standard error, if the library is not installed.
    fn python() -> Option<Self> {
        let program = real_client("TALLYD_TEST_CLIENTS_PYTHON")?;
        Some(Self { program, libraries: None })
    }

    /// `None`, and a message on standard error, if the library is not installed.
    fn node() -> Option<Self> {
        let libraries = real_client("TALLYD_TEST_CLIENTS_NODE_PATH")?;
        Some(Self { program: "node".to_owned(), libraries: Some(libraries) })
    }

    /// Runs a script to its end, with an empty environment, because the libraries read settings from it.
    fn run(&self, script: &Path, arguments: &[String]) {
        let mut command = Command::new(&self.program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        if let Some(libraries) = &self.libraries {
            command.env("NODE_PATH", libraries);
        }
        // tallyd's Python client, which is not installed.
        command.env("PYTHONPATH", common::root().join("clients/python"));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let Output { status, stdout, stderr } =
            command.arg(script).args(arguments).output().unwrap();
        let said = [stdout, stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(status.success() && said.is_empty(), "{script:?} {arguments:?}: {status}\n{said}");
    }

    /// Runs a program of `tests/clients/` over several transports, each with its own prefix.
    fn send(&self, daemon: &Daemon, program: &str, mode: &[&str], ways: &[(&str, Way)]) {
        for (prefix, way) in ways {
            let mut arguments: Vec<String> = mode.iter().map(|&word| word.to_owned()).collect();
            arguments.push((*prefix).to_owned());
            arguments.extend(way.arguments(daemon));
            self.run(&in_tests(&format!("clients/{program}")), &arguments);
        }
    }
}

fn in_tests(path: &str) -> PathBuf {
    common::root().join("tests").join(path)
}

/// Waits for all samples, stops the daemon and returns the points by prefix.
fn arrived(daemon: Daemon, samples: u64, skipped: u64) -> BTreeMap<String, Vec<String>> {
    let status = daemon.wait_for("all that was sent", |status| {
        let ledger = &status["ledger"];
        ledger["received"].as_u64() >= Some(samples) && ledger["skipped"].as_u64() >= Some(skipped)
    });
    let ledger = &status["ledger"];
    let counted = [&ledger["aggregated"], &ledger["skipped"], &ledger["kernel_drops"]];
    assert_eq!(counted, [samples, skipped, 0], "{status:#}");
    assert_eq!(ledger["rejected"], json!({}), "{}", daemon.get("/api/v1/rejected").1);
    by_prefix(daemon.stop().points("out"))
}

/// The points as text, by the first part of their names.
fn by_prefix(points: Vec<Value>) -> BTreeMap<String, Vec<String>> {
    let windows: BTreeSet<u64> =
        points.iter().map(|point| point["timestamp"].as_u64().unwrap()).collect();
    assert_eq!(windows.len(), 1, "all in one window");
    let mut by_prefix = BTreeMap::<String, Vec<Value>>::new();
    for mut point in points {
        let (prefix, name) = point["name"].as_str().unwrap().split_once('.').unwrap();
        let (prefix, name) = (prefix.to_owned(), name.to_owned());
        point["fields"] = steady(&name, &point["fields"]);
        point["name"] = name.into();
        by_prefix.entry(prefix).or_default().push(point);
    }
    by_prefix.into_iter().map(|(prefix, points)| (prefix, shown(&points))).collect()
}

/// The fields that are the same in every run and independent of each other.
fn steady(name: &str, fields: &Value) -> Value {
    let mut kept = fields.as_object().unwrap().clone();
    // The measured duration of a block differs from run to run.
    let is_measured = name == "block";
    kept.retain(|field, _| match field.as_str() {
        "count" | "value" => true,
        "sum" | "min" | "max" | "p50" | "p90" => !is_measured,
        _ => false,
    });
    kept.into()
}

/// Checks that each prefix has the expected points.
fn assert_each(arrived: &BTreeMap<String, Vec<String>>, prefixes: &[&str], expected: &[&str]) {
    let seen: Vec<&str> = arrived.keys().map(String::as_str).collect();
    assert_eq!(seen, prefixes);
    for (prefix, points) in arrived {
        assert_eq!(points, expected, "{prefix}");
    }
}

// ---- The classic client --------------------------------------------------------------------

#[test]
fn the_classic_python_client_over_all_its_transports() {
    let Some(python) = Client::python() else { return };
    let daemon = daemon();
    let ways = [("tcp4", TCP), ("tcp6", TCP_V6), ("udp4", UDP), ("udp6", UDP_V6), ("unix", UNIX)];
    python.send(&daemon, "python/classic.py", &[], &ways);
    let arrived = arrived(daemon, 5 * 133, 0);
    assert_each(
        &arrived,
        &["tcp4", "tcp6", "udp4", "udp6", "unix"],
        &[
            "counter bytes {} {count:1.5}",
            "counter hits {} {count:3}",
            "counter piped {} {count:4950}",
            "counter sampled {} {count:100}",
            "gauge depth {} {value:12}",
            "gauge temperature {} {value:-4}",
            "set users {} {count:3}",
            "timer block {} {count:1}",
            "timer query {} {count:3,max:1500,min:0.5,p50:320,p90:1500,sum:1820.5}",
            "timer sampled_query {} {count:20,max:10,min:10,p50:10,p90:10,sum:200}",
        ],
    );
}

// ---- DogStatsD -----------------------------------------------------------------------------

const DOGSTATSD: [&str; 13] = [
    "counter bytes {env:stage,urgent:true} {count:1.5}",
    "counter hits {env:stage,stage:login,urgent:true,url:http://example.net/a} {count:4}",
    "counter hits {env:stage,urgent:true} {count:-1}",
    "counter late {env:stage,urgent:true} {count:3}",
    "counter sampled {env:stage,urgent:true} {count:100}",
    "gauge depth {env:stage,urgent:true} {value:12}",
    "gauge late {env:stage,urgent:true} {value:9}",
    "set users {env:stage,urgent:true} {count:3}",
    "timer block {env:stage,urgent:true} {count:1}",
    "timer query {env:stage,urgent:true} {count:2,max:320,min:0.5,p50:0.5,p90:320,sum:320.5}",
    "timer sampled_query {env:stage,urgent:true} {count:20,max:10,min:10,p50:10,p90:10,sum:200}",
    "timer size {env:stage,urgent:true} {count:10,max:10,min:1,p50:5,p90:9,sum:55}",
    "timer spread {env:stage,urgent:true} {count:10,max:5,min:0.5,p50:2.5,p90:4.5,sum:27.5}",
];

#[test]
fn the_dogstatsd_client_over_all_its_transports() {
    let Some(python) = Client::python() else { return };
    let daemon = daemon();
    let ways = [
        ("udp4", UDP),
        ("udp6", UDP_V6),
        ("unix", Way::Unix("datagram", "unix://")),
        ("unixgram", Way::Unix("datagram", "unixgram://")),
        ("unixpackets", Way::Unix("packets", "unix://")),
        ("unixstream", Way::Unix("packets", "unixstream://")),
    ];
    python.send(&daemon, "python/dogstatsd.py", &["plain"], &ways);
    let status = daemon.wait_received(6 * 49);
    assert_eq!(status["ledger"]["timestamped"], 6 * 2, "{status:#}");
    let arrived = arrived(daemon, 6 * 49, 6 * 2);
    let prefixes = ["udp4", "udp6", "unix", "unixgram", "unixpackets", "unixstream"];
    assert_each(&arrived, &prefixes, &DOGSTATSD);
}

#[test]
fn the_dogstatsd_client_with_many_lines_in_a_datagram() {
    let Some(python) = Client::python() else { return };
    let daemon = daemon();
    let ways = [
        ("udp", UDP),
        ("unix", Way::Unix("datagram", "unix://")),
        ("unixstream", Way::Unix("packets", "unixstream://")),
    ];
    python.send(&daemon, "python/dogstatsd.py", &["buffered"], &ways);
    let status = daemon.wait_received(3 * 49);
    assert!(status["ledger"]["datagrams"].as_u64().unwrap() < 20, "{status:#}");
    assert_each(&arrived(daemon, 3 * 49, 3 * 2), &["udp", "unix", "unixstream"], &DOGSTATSD);
}

#[test]
fn the_dogstatsd_client_with_client_side_aggregation() {
    let Some(python) = Client::python() else { return };
    let daemon = daemon();
    python.send(&daemon, "python/dogstatsd.py", &["aggregated"], &[("udp", UDP)]);
    // The client sums all 100 calls and sends the sum with sample rate 0.1: DogStatsD's own server
    // computes 1000 from that too.
    let expected = DOGSTATSD.map(|point| {
        if point.contains(" sampled ") { point.replace("100", "1000") } else { point.to_owned() }
    });
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    assert_each(&arrived(daemon, 37, 2), &["udp"], &expected);
}

#[test]
fn the_dogstatsd_client_on_a_stream_is_rejected_with_advice() {
    let Some(python) = Client::python() else { return };
    let daemon = daemon();
    let way = Way::Unix("stream", "unix://");
    python.send(&daemon, "python/dogstatsd.py", &["plain"], &[("unix", way)]);
    let status = daemon.wait_received(49 + 2);
    assert_eq!(status["ledger"]["rejected"], json!({ "bad_line": 49 + 2 }));
    assert_eq!(status["ledger"]["aggregated"], 0);
    let rejected = daemon.get("/api/v1/rejected").1;
    assert!(rejected.contains("DogStatsD clients need `framing: length_prefixed`"), "{rejected}");
}

/// The telemetry of a client: its own counters, with the tags that identify it.
fn telemetry(arrived: &BTreeMap<String, Vec<String>>, tags: &str) -> Vec<String> {
    let prefix = "counter dogstatsd.client.";
    let own = arrived["datadog"].iter().map(|point| point.strip_prefix(prefix).unwrap());
    own.map(|point| point.replacen(tags, "TAGS", 1)).collect()
}

#[test]
fn telemetry_of_the_dogstatsd_client_is_counted_like_any_metric() {
    let Some(python) = Client::python() else { return };
    let daemon = daemon();
    python.send(&daemon, "python/dogstatsd.py", &["telemetry"], &[("udp", UDP)]);
    let arrived = arrived(daemon, 12, 0);
    assert_eq!(arrived["udp"], ["counter hits {env:stage,urgent:true} {count:1}"]);
    let tags = "{client:py,client_transport:udp,client_version:0.56.0,env:stage,urgent:true}";
    let bytes = "udp.hits:1|c|#env:stage,urgent|c:ci-4a1b|card:low\n".len();
    assert_eq!(
        telemetry(&arrived, tags),
        [
            "bytes_dropped TAGS {count:0}",
            "bytes_dropped_queue TAGS {count:0}",
            "bytes_dropped_writer TAGS {count:0}",
            &format!("bytes_sent TAGS {{count:{bytes}}}"),
            "events TAGS {count:0}",
            "metrics TAGS {count:1}",
            "packets_dropped TAGS {count:0}",
            "packets_dropped_queue TAGS {count:0}",
            "packets_dropped_writer TAGS {count:0}",
            "packets_sent TAGS {count:1}",
            "service_checks TAGS {count:0}",
        ]
    );
}

// ---- hot-shots -----------------------------------------------------------------------------

const HOT_SHOTS: [&str; 13] = [
    "counter hits {env:stage,stage:login,url:http://example.net/a} {count:4}",
    "counter hits {env:stage} {count:-1}",
    "counter late {env:stage,stage:login} {count:3}",
    "counter left {env:stage} {count:1.5}",
    "counter right {env:stage} {count:1.5}",
    "counter sampled {env:stage} {count:100}",
    "gauge depth {env:stage} {value:12}",
    "set users {env:stage} {count:3}",
    "timer block {env:stage} {count:1}",
    "timer query {env:stage} {count:2,max:320,min:0.5,p50:0.5,p90:320,sum:320.5}",
    "timer sampled_query {env:stage} {count:20,max:10,min:10,p50:10,p90:10,sum:200}",
    "timer size {env:stage} {count:10,max:10,min:1,p50:5,p90:9,sum:55}",
    "timer spread {env:stage} {count:10,max:5,min:0.5,p50:2.5,p90:4.5,sum:27.5}",
];

#[test]
fn hot_shots_over_all_its_transports() {
    let Some(node) = Client::node() else { return };
    let daemon = daemon();
    let ways = [("tcp4", TCP), ("tcp6", TCP_V6), ("udp4", UDP), ("udp6", UDP_V6), ("unix", UNIX)];
    node.send(&daemon, "node/hot_shots.js", &["plain"], &ways);
    let arrived = arrived(daemon, 5 * 50, 5 * 2);
    assert_each(&arrived, &["tcp4", "tcp6", "udp4", "udp6", "unix"], &HOT_SHOTS);
}

#[test]
fn hot_shots_with_many_lines_in_a_datagram() {
    let Some(node) = Client::node() else { return };
    let daemon = daemon();
    node.send(&daemon, "node/hot_shots.js", &["buffered"], &[("udp", UDP), ("tcp", TCP)]);
    let status = daemon.wait_received(2 * 50);
    assert!(status["ledger"]["datagrams"].as_u64().unwrap() < 10, "{status:#}");
    assert_each(&arrived(daemon, 2 * 50, 2 * 2), &["tcp", "udp"], &HOT_SHOTS);
}

#[test]
fn hot_shots_with_client_side_aggregation() {
    let Some(node) = Client::node() else { return };
    let daemon = daemon();
    node.send(&daemon, "node/hot_shots.js", &["aggregated"], &[("udp", UDP)]);
    assert_each(&arrived(daemon, 48, 2), &["udp"], &HOT_SHOTS);
}

#[test]
fn hot_shots_in_telegrafs_dialect() {
    let Some(node) = Client::node() else { return };
    let daemon = daemon();
    node.send(&daemon, "node/hot_shots.js", &["telegraf"], &[("udp", UDP)]);
    let expected: Vec<String> = HOT_SHOTS
        .iter()
        .filter(|point| !point.contains(" late "))
        .map(|point| point.replace("http://example.net/a", "/a"))
        .collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    assert_each(&arrived(daemon, 49, 0), &["udp"], &expected);
}

#[test]
fn telemetry_of_hot_shots_is_counted_like_any_metric() {
    let Some(node) = Client::node() else { return };
    let daemon = daemon();
    node.send(&daemon, "node/hot_shots.js", &["telemetry"], &[("udp", UDP)]);
    let arrived = arrived(daemon, 3, 0);
    assert_eq!(arrived["udp"], ["counter hits {env:stage} {count:1}"]);
    let tags = "client:nodejs,client_transport:udp,client_version:17.1.1";
    assert_eq!(
        telemetry(&arrived, tags),
        ["metrics {TAGS} {count:1}", "metrics_by_type {TAGS,metrics_type:count} {count:1}"]
    );
}

// ---- Programs written for pystatsd ---------------------------------------------------------

#[test]
fn programs_that_send_json_for_pystatsd() {
    // The program needs no library, only Python; without Python the test is skipped.
    let Some(python) = Client::python() else { return };
    let daemon = daemon();
    for label in ["json/udp 127.0.0.1", "json/udp [::1]"] {
        let address = daemon.address(label);
        let arguments = [address.ip().to_string(), address.port().to_string()];
        python.run(&in_tests("clients/python/agent.py"), &arguments);
    }
    let arrived = arrived(daemon, 2 * 11, 0);
    assert_eq!(
        arrived["user"],
        [
            "counter logins {code:200,ok:true,stage:login} {count:2}",
            "counter logins {stage:login} {count:10}",
            "trace city {city:Köln,emoji:😀} {count:2}",
            "trace signup {stage:form,username:anna} {count:6}",
            "trace signup {stage:form,username:bert} {count:2}",
        ]
    );
    assert_eq!(
        arrived["broker"],
        ["gauge connections {host:192.0.2.7} {value:41}", "gauge level {} {value:-4}"]
    );
}

// ---- Kamailio ------------------------------------------------------------------------------

/// The expected totals, computed with the simplest arithmetic: by name and type, the number of datagrams
/// and the sum of their values, if these are numbers.
fn totals(datagrams: &str) -> BTreeMap<(&str, &str), (u64, Option<f64>)> {
    let mut totals = BTreeMap::new();
    for datagram in datagrams.lines() {
        let (name, rest) = datagram.split_once(':').unwrap();
        let (number, kind) = rest.split_once('|').unwrap();
        let (count, sum) = totals.entry((name, kind)).or_insert((0, Some(0.0)));
        *count += 1;
        *sum = sum.and_then(|sum| Some(sum + number.parse::<f64>().ok()?));
    }
    totals
}

#[test]
fn every_datagram_of_kamailios_statsd_module() {
    let datagrams = std::fs::read_to_string(in_tests("fixtures/kamailio/statsd.txt")).unwrap();
    let totals = totals(&datagrams);
    let sent = datagrams.lines().count() as u64;
    // The Kamailio script used a variable that the module does not expand.
    let (unexpanded, no_sum) = totals[&("method.$rm", "g")];
    assert_eq!((sent, unexpanded, no_sum), (1974, 129, None));

    let statsd = "# bind_port: is not opened\n\
        listeners: [{ protocol: statsd, address: \"127.0.0.1:0\" }]\n\
        forwarders: { file: { path: DIR/out, format: json } }\n";
    let daemon = Daemon::start(&format!("{statsd}interval: {}s\n", interval_without_an_edge()));
    daemon.send_paced(datagrams.split_inclusive('\n').map(str::to_owned));
    let status = daemon.wait_received(sent);
    let ledger = &status["ledger"];
    assert_eq!(ledger["rejected"], json!({ "bad_value": unexpanded }));
    let counted = [&ledger["datagrams"], &ledger["aggregated"], &ledger["kernel_drops"]];
    assert_eq!(counted, [sent, sent - unexpanded, 0]);

    let points = daemon.stop().points("out");
    let fields = |kind: &str, name: &str| {
        let mut found =
            points.iter().filter(|point| point["type"] == kind && point["name"] == name);
        let fields = found.next().map(|point| point["fields"].clone());
        assert!(found.next().is_none(), "{name} is one series in one window");
        fields.unwrap_or_else(|| panic!("no {kind} {name}"))
    };
    for ((name, kind), (count, sum)) in &totals {
        let Some(sum) = sum else { continue };
        match *kind {
            "c" => assert_eq!(fields("counter", name)["count"], json!(*sum as i64)),
            "ms" | "h" => {
                let fields = fields("timer", name);
                assert_eq!(
                    (&fields["count"], &fields["sum"]),
                    (&json!(count), &json!(*sum as i64))
                );
            }
            // All of these are the same set member and the same gauge value.
            "s" => assert_eq!(fields("set", name)["count"], 1),
            "g" if *name == "testbed.level" => {
                assert_eq!(fields("gauge", name)["value"], json!(*sum as i64), "changes add up");
            }
            "g" => assert_eq!(fields("gauge", name)["value"], json!(level(*sum / *count as f64))),
            other => panic!("{name} is of type {other}"),
        }
    }
    assert_eq!(points.len(), totals.len() - 1);
}

/// A number as the output writes it: whole numbers without a fraction.
fn level(number: f64) -> Value {
    if number.fract() == 0.0 { json!(number as i64) } else { json!(number) }
}

// ---- docs/clients.md -----------------------------------------------------------------------

/// The programs of the page, each with the shown result.
fn programs(page: &markdown::Document) -> Vec<(markdown::Block, String)> {
    let mut blocks = page.blocks().into_iter();
    let mut programs = Vec::new();
    while let Some(block) = blocks.next() {
        if block.is("python", "sends") || block.is("js", "sends") {
            let arrives = blocks.next().filter(|next| next.is("text", "arrives"));
            let arrives = arrives.unwrap_or_else(|| panic!("{block}: what arrives?"));
            programs.push((block, arrives.text));
        }
    }
    programs
}

/// A daemon with the page's configuration, on free ports and in a temporary folder.
fn daemon_of(page: &markdown::Document) -> Daemon {
    let blocks = page.blocks();
    let config = &blocks.iter().find(|block| block.language() == "yaml").unwrap().text;
    let config = config.replace(":5090", ":0").replace(":8125", ":0").replace("/run/tallyd", "DIR");
    Daemon::start(&format!("# bind_port: is not opened\n{config}"))
}

/// Runs a program against a new daemon and returns the sorted points as the page shows them. Repeats
/// the run if a window ended during it.
fn run_program(client: &Client, page: &markdown::Document, program: &str) -> Vec<String> {
    for _attempt in 0..5 {
        let daemon = daemon_of(page);
        let port = |label| daemon.address(label).port().to_string();
        let program = program
            .replace("5090", &port("json/udp "))
            .replace("8125", &port("statsd/udp "))
            .replace("/run/tallyd", daemon.path("").to_str().unwrap().trim_end_matches('/'));
        let script = daemon.path("program");
        std::fs::write(&script, program).unwrap();
        client.run(&script, &[]);
        let stdout = full_windows(&daemon.stop().stdout, 10.0);
        let points: Vec<_> = stdout.lines().map(|line| line.split_once(' ').unwrap()).collect();
        if points.iter().all(|(time, _)| *time == points[0].0) {
            let mut shown: Vec<_> =
                points.iter().map(|(_, point)| format!("TIME {point}")).collect();
            shown.sort();
            return shown;
        }
    }
    panic!("five programs in a row met a window's edge");
}

#[test]
fn the_programs_in_the_clients_document_send_what_it_shows() {
    let (Some(python), Some(node)) = (Client::python(), Client::node()) else { return };
    let page = markdown::document("docs/clients.md");
    let programs = programs(&page);
    assert!(programs.len() >= 6);
    for (program, arrives) in programs {
        let client = if program.language() == "js" { &node } else { &python };
        let shown: Vec<&str> = arrives.lines().collect();
        assert_eq!(run_program(client, &page, &program.text), shown, "{program}");
    }
}
