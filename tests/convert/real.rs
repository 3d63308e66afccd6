//! The original programs and tallyd with the converted configuration, with the same traffic.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use common::etsy::{Flushes, Pair, Round, is_its_own};
use common::line_protocol::{differences, written};
use common::{Daemon, PATIENCE, get};
use forwarders::testing::real_server;
use serde_json::Value;
use tempfile::TempDir;

use super::{DATA_FORMATS, convert_file, with_output};

/// Converts a text.
fn convert(kind: &str, source: &str, flags: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.conf");
    fs::write(&path, source).unwrap();
    convert_file(kind, &path, flags)
}

// ---- statsd ------------------------------------------------------------------------------------

/// Lines of every type; some series have gaps.
fn lines(round: usize) -> Vec<String> {
    let mut lines = vec![
        format!("page.views:{round}|c"),
        "page.views:1|c|@0.1".to_owned(),
        "users:a|s".to_owned(),
        format!("users:{round}|s"),
    ];
    lines.extend((1..=20).map(|value| format!("render.time:{}|ms", value * round)));
    lines.extend((1..=3).map(|value| format!("db/query time:{value}|ms|@0.5")));
    if round.is_multiple_of(2) {
        lines.extend(
            ["queue:5|g", "queue:+2|g", "rare:1|c", "rare.time:7|ms", "tagged:1|c|#env:prod"]
                .map(str::to_owned),
        );
    }
    lines
}

/// Compares every line of four flushes of statsd with this configuration and of tallyd with the converted
/// one.
fn compare(members: &str) {
    const ROUNDS: usize = 4;
    let config = |port: &str| {
        format!(
            "{{ port: 8125, address: '127.0.0.1', flushInterval: 1000, graphiteHost: '127.0.0.1', graphitePort: {port}, {members} }}"
        )
    };
    for _ in 0..5 {
        let converted = |port: &str| {
            convert("statsd", &config(port), &[]).replace("127.0.0.1:8125", "127.0.0.1:0")
        };
        let Some(mut pair) = Pair::start_with(config, converted) else { return };
        (1..=ROUNDS).for_each(|round| pair.round(&lines(round)));
        let Flushes { rounds, has_gap, .. } = pair.finish();
        if has_gap {
            continue;
        }
        let mut compared = 0;
        for (number, Round { statsd, daemon }) in (1..).zip(rounds) {
            let statsd: BTreeMap<_, _> =
                statsd.into_iter().filter(|(path, _)| !is_its_own(path)).collect();
            compared += statsd.len();
            assert_eq!(daemon, statsd, "round {number}: tallyd, statsd; {members}");
        }
        assert!(compared > 60, "{compared}");
        return;
    }
    panic!("the machine is too busy: a flush came between two rounds in every attempt");
}

#[test]
fn a_converted_configuration_of_statsd_writes_the_same_lines() {
    compare("");
}

#[test]
fn a_converted_configuration_of_statsd_with_names_and_statistics_writes_the_same_lines() {
    compare(
        "percentThreshold: [50, 90, 99.9, -10], deleteIdleStats: true, deleteGauges: false,\n\
         graphite: { legacyNamespace: false, globalPrefix: 'shop', prefixCounter: 'c', globalSuffix: 'web1' },\n\
         histogram: [{ metric: 'render', bins: [1, 10, 50, 'inf'] }, { metric: 'db', bins: [] }],\n\
         calculatedTimerMetrics: ['count', 'median', 'upper_percent', 'histogram']",
    );
}

#[test]
fn a_converted_configuration_of_statsd_that_deletes_gauges_writes_the_same_lines() {
    compare(
        "deleteGauges: true, gaugesMaxTTL: 2, deleteCounters: true, graphite: { globalSuffix: 'web1' }",
    );
}

// ---- statsd_exporter ---------------------------------------------------------------------------

/// A program of a test. Killed when dropped.
struct Original {
    process: Child,
    folder: TempDir,
}

impl Drop for Original {
    fn drop(&mut self) {
        let _has_ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

impl Original {
    fn start(program: PathBuf, folder: TempDir, args: &[String]) -> Self {
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let process =
            Command::new(program).args(args).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { process, folder }
    }
}

fn free_port() -> u16 {
    // A port that is free for both transports.
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The samples of a page by series, without those of the process, quantiles, and the help.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let is_own = |line: &str| {
        ["go_", "process_", "promhttp_", "statsd_"].iter().any(|own| line.starts_with(own))
    };
    let lines = page
        .lines()
        .filter(|line| !line.starts_with('#') && !is_own(line) && !line.contains("quantile="));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (sorted_labels(series), value.parse().unwrap())
        })
        .collect()
}

/// A series with its labels in order, and bounds as numbers.
fn sorted_labels(series: &str) -> String {
    let Some((name, labels)) = series.split_once('{') else { return series.to_owned() };
    let label = |label: &str| match label.strip_prefix("le=\"") {
        Some(bound) => format!("le={}", bound.trim_end_matches('"').parse::<f64>().unwrap()),
        None => label.to_owned(),
    };
    let mut labels: Vec<String> = labels.trim_end_matches('}').split(',').map(label).collect();
    labels.sort();
    format!("{name}{{{}}}", labels.join(","))
}

const MAPPING: &str = r#"
defaults:
  summary_options:
    quantiles: [{ quantile: 0.5, error: 0.05 }, { quantile: 0.99, error: 0.001 }]
mappings:
  - match: "test.dispatcher.*.*.*"
    name: "dispatcher_events_total"
    labels: { processor: "$1", action: "$2", outcome: "$3", job: "test_dispatcher" }
  - match: "*.signup.*.*"
    name: "signup_events_total"
    match_metric_type: counter
    labels: { provider: "$2", outcome: "$3", job: "${1}_server" }
  - match: "disk.*.free"
    name: "disk_free_bytes"
    scale: 1024
    labels: { device: "$1" }
  - match: "disk.*.*"
    name: "disk_${2}"
    labels: { device: "$1" }
  - match: "rpc.*"
    name: "rpc_seconds"
    match_metric_type: observer
    labels: { method: "$1" }
  - match: '^(?P<service>[a-z]+)\.api\.(.+)$'
    match_type: regex
    name: "api_${2}_total"
    labels: { service: "$service" }
  - match: "mem.*"
    action: drop
    name: "dropped"
  - match: 'debug\.'
    match_type: regex
    action: drop
    name: "dropped"
"#;

const EXPORTED: [&str; 14] = [
    "test.dispatcher.Foo.send.success:3|c",
    "test.dispatcher.Foo.send.success:2|c|@0.5",
    "shop.signup.facebook.failure:1|c",
    "shop.signup.facebook.failure:7|g",
    "disk.sda.free:10|g",
    "disk.sda.used:11|g",
    "mem.free:1|g",
    "rpc.get:250|ms",
    "rpc.get:750|ms",
    "pay.api.orders:4|c",
    "x.debug.y:1|c",
    "plain_total:5|c|#zone:a,az:b",
    "plain.level:-3|g",
    "plain.time:1000|ms",
];

/// Starts the exporter and tallyd with the converted mappings, sends the lines to both and compares the pages.
fn compare_pages(mapping: &str, lines: &[&str]) {
    let Some(program) = real_server("TALLYD_TEST_STATSD_EXPORTER") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mapping.yml");
    fs::write(&path, mapping).unwrap();
    let (statsd, web) = (free_port(), free_port());
    let flags = [
        format!("--statsd.listen-udp=127.0.0.1:{statsd}"),
        "--statsd.listen-tcp=".to_owned(),
        format!("--web.listen-address=127.0.0.1:{web}"),
    ];
    let given: Vec<&str> = ["--"].into_iter().chain(flags.iter().map(String::as_str)).collect();
    let config = convert("statsd-exporter", mapping, &given)
        .replace(&format!("127.0.0.1:{statsd}"), "127.0.0.1:0")
        .replace(&format!("127.0.0.1:{web}"), "127.0.0.1:0");
    let daemon = Daemon::start(&format!("interval: 1s\n{config}"));
    let args =
        [&[format!("--statsd.mapping-config={}", path.display())][..], flags.as_slice()].concat();
    let _exporter = Original::start(PathBuf::from(program), folder, &args);
    let url = format!("http://127.0.0.1:{web}/metrics");
    let deadline = Instant::now() + PATIENCE;
    while get(&url).is_err() {
        assert!(Instant::now() < deadline, "the exporter does not answer");
        std::thread::yield_now();
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listener = daemon.address("statsd/udp ");
    for line in lines {
        socket.send_to(line.as_bytes(), ("127.0.0.1", statsd)).unwrap();
        socket.send_to(line.as_bytes(), listener).unwrap();
    }
    let page = format!("http://{}/metrics", daemon.page.unwrap());
    loop {
        let read = |url: &str| samples(&get(url).unwrap().text().unwrap());
        let (theirs, ours) = (read(&url), read(&page));
        if theirs == ours && theirs.len() > 5 {
            return;
        }
        assert!(Instant::now() < deadline, "exporter: {theirs:#?}\ntallyd: {ours:#?}\n{config}");
        std::thread::yield_now();
    }
}

#[test]
fn a_converted_mapping_shows_the_same_samples_as_statsd_exporter() {
    compare_pages(MAPPING, &EXPORTED);
}

#[test]
fn converted_histograms_have_the_same_buckets_as_those_of_statsd_exporter() {
    let mapping = "defaults:\n  observer_type: histogram\nmappings:\n  - match: \"web.*.time\"\n    name: \"web_$1\"\n    \
                   histogram_options: { buckets: [0.01, 0.1, 1] }\n";
    let lines = [
        "web.cart.time:62.5|ms",
        "web.cart.time:500|ms",
        "web.cart.time:4000|ms",
        "other:250|ms",
        "other:3000|ms",
    ];
    compare_pages(mapping, &lines);
}

// ---- Telegraf ----------------------------------------------------------------------------------

const TELEGRAF: &str = r#"
[global_tags]
  dc = "eu"
  region = "agent"
[agent]
  interval = "1s"
  flush_interval = "100ms"
  round_interval = true
  precision = "1ms"
  hostname = "web1"
[[inputs.statsd]]
  service_address = "127.0.0.1:PORT"
  datadog_extensions = true
  delete_gauges = false
  percentiles = [90.0, 99.9]
  float_sets = true
  templates = [
    "cpu.* measurement.measurement.region",
    "mem.* measurement.host.measurement team=ops",
    "*.*.*.deep.* measurement.zone.zone.measurement.measurement",
  ]
[[outputs.file]]
  files = ["OUT"]
  data_format = "influx"
"#;

/// Each is a series of its own.
const MEASURED: [&str; 11] = [
    "cpu.load.us-west:1|c",
    "cpu.idle.us-west.more.parts:2|c",
    "cpu.load:3|c",
    "mem.h1.cached:4|c|#service:a",
    "a.b.c.deep.e.f:5|c",
    "plain.name:6|c|#region:mine",
    "cpu.temp.us-west:7|g",
    "cpu.time.eu:8|ms",
    "cpu.size.eu:8|h|@0.1",
    "plain.users:anna|s",
    "plain.depth:-0.5|g|#service:a",
];

/// The lines of a file with line protocol that are complete, without the counter `ready`.
fn lines_of(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let complete = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let wanted = complete.filter(|line| !line.starts_with("ready,"));
    wanted.map(|line| line.trim_end().to_owned()).collect()
}

/// Starts Telegraf with this file and tallyd with the converted one, sends the lines to both, and waits until
/// the files that they write compare equal. `PORT` and `OUT` in the source are the port and the file.
fn compare_files(
    source: &str,
    lines: &[&str],
    compare: impl Fn(&Path, &Path) -> Result<(), String>,
) {
    let Some(program) = real_server("TALLYD_TEST_TELEGRAF_PROGRAM") else { return };
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let source = source.replace("PORT", &port.to_string());
    let of_telegraf = source.replace("OUT", folder.path().join("out").to_str().unwrap());
    let path = folder.path().join("telegraf.conf");
    fs::write(&path, of_telegraf).unwrap();
    let telegraf = Original::start(
        PathBuf::from(program),
        folder,
        &["--config".to_owned(), path.display().to_string()],
    );
    let config = convert("telegraf", &source, &[]).replace(&format!(":{port}"), ":0");
    let daemon = Daemon::start(&config.replace("path: OUT", "path: DIR/out"));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (to, out) = (("127.0.0.1", port), telegraf.folder.path().join("out"));
    let deadline = Instant::now() + PATIENCE;
    // Until Telegraf reads its socket.
    while !fs::read_to_string(&out).unwrap_or_default().contains("ready") {
        assert!(Instant::now() < deadline, "Telegraf does not write");
        let _may_be_refused = socket.send_to(b"ready:1|c", to);
        std::thread::yield_now();
    }
    let listener = daemon.address("statsd/udp ");
    for line in lines {
        socket.send_to(line.as_bytes(), to).unwrap();
        socket.send_to(line.as_bytes(), listener).unwrap();
    }
    while let Err(differences) = compare(&out, &daemon.path("out")) {
        assert!(Instant::now() < deadline, "{differences}\n{config}");
        std::thread::yield_now();
    }
}

#[test]
fn a_converted_configuration_of_telegraf_writes_the_same_lines() {
    compare_files(TELEGRAF, &MEASURED, |telegraf, tallyd| {
        let (theirs, ours) = (written(&lines_of(telegraf), ""), written(&lines_of(tallyd), ""));
        let differences = differences(&theirs, &ours);
        let is_complete = theirs.len() == MEASURED.len();
        if differences.is_empty() && is_complete {
            return Ok(());
        }
        Err(format!("{differences:#?}\n{theirs:#?}"))
    });
}

/// Lines for one series of each type; the timer is one datagram, so that its values are in one window.
const IN_JSON: [&str; 4] = [
    "plain.count:6|c",
    "plain.depth:-0.5|g",
    "plain.users:anna|s",
    "plain.time:30|ms\nplain.time:10|ms\nplain.time:90|ms\nplain.time:50|ms\nplain.time:20|ms",
];

/// The fields of a file with JSON, by name and type, under Telegraf's names.
fn fields_of(path: &Path) -> BTreeMap<String, BTreeMap<String, f64>> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let metrics = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let own = |metric: Value| {
        let kind = metric["type"].as_str().or(metric["tags"]["metric_type"].as_str()).unwrap();
        let kind = kind.replace("timing", "timer");
        let name = metric["name"].as_str().unwrap().replace('.', "_");
        let field = |(field, value): (&String, &Value)| {
            let field = match (kind.as_str(), field.as_str()) {
                // These have no counterpart, or differ by rule.
                (_, "rate" | "90_percentile" | "p90") => return None,
                ("counter" | "set", "count") => "value",
                ("timer", "min") => "lower",
                ("timer", "max") => "upper",
                ("timer", "p50") => "median",
                (_, field) => field,
            };
            Some((field.to_owned(), value.as_f64().unwrap()))
        };
        let fields: BTreeMap<String, f64> =
            metric["fields"].as_object().unwrap().iter().filter_map(field).collect();
        (format!("{name} {kind}"), fields)
    };
    metrics.map(own).filter(|(name, _)| !name.starts_with("ready ")).collect()
}

#[test]
fn a_converted_configuration_of_telegraf_with_json_has_all_fields() {
    let source = TELEGRAF
        .replace("data_format = \"influx\"", "data_format = \"json\"")
        .replace("percentiles = [90.0, 99.9]", "percentiles = [90.0]");
    compare_files(&source, &IN_JSON, |telegraf, tallyd| {
        let (theirs, ours) = (fields_of(telegraf), fields_of(tallyd));
        let has_all = theirs.len() == IN_JSON.len()
            && theirs["plain_time timer"].get("median") == Some(&30.0);
        if has_all && theirs == ours { Ok(()) } else { Err(format!("{theirs:#?}\n{ours:#?}")) }
    });
}

#[test]
fn the_data_formats_that_are_named_are_those_of_telegraf() {
    let Some(program) = real_server("TALLYD_TEST_TELEGRAF_PROGRAM") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telegraf.conf");
    let is_accepted = |format: &str, option: &str| {
        let output = format!("file]]\n  data_format = \"{format}\"\n  {option}");
        fs::write(&path, with_output(&output)).unwrap();
        let mut check = Command::new(&program);
        check.args(["config", "check", "--config"]).arg(&path);
        let output = check.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (format, option) in DATA_FORMATS {
        let (accepted, words) = is_accepted(format, option);
        assert!(accepted, "{format}: {words}");
    }
    assert!(!is_accepted("xml", "").0);
    assert!(!is_accepted("carbon2", "csv_header = true").0, "an option of another format");
}
