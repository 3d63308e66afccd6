//! Prometheus from end to end: the real daemon's page, read by the tests, by `promtool` and by a real
//! Prometheus; data of remote write, read back from real servers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use common::prometheus::{Prometheus, page, query, wait_for_lines};
use common::promtool::promtool;
use common::{Daemon, PATIENCE, tallyd};
use forwarders::testing::real_server;
use serde_json::{Value, json};

const PAGE: &str = "interval: 200ms\nforwarders: { prometheus: { listen: \"127.0.0.1:0\" } }\n";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";

#[test]
fn connections_beyond_the_limit_replace_idle_ones_and_are_shown_in_the_status() {
    let daemon = Daemon::start(
        "forwarders:
  console: {}
  prometheus: { listen: \"127.0.0.1:0\", max_connections: 1 }
",
    );
    let refused =
        |status: &Value| status["forwarders"]["prometheus"]["refused_connections"].clone();
    assert_eq!(refused(&daemon.status()), 0);
    let connect = || TcpStream::connect(daemon.page.unwrap()).unwrap();
    let mut idle = connect();
    for count in 1..=2 {
        let next = connect();
        assert_eq!(idle.read(&mut [0; 1]).unwrap_or(0), 0, "closed at once");
        assert_eq!(refused(&daemon.status()), count);
        idle = next;
    }
    let (_, own) = daemon.get("/metrics");
    let line = "tallyd_page_connections_refused_total{forwarder=\"prometheus\"} 2\n";
    assert!(own.contains(line), "{own}");
    assert!(daemon.status()["forwarders"]["console"].get("refused_connections").is_none());
    let stopped = daemon.stop();
    let told: Vec<_> =
        stopped.warnings().into_iter().filter(|line| line.contains("max_connections")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
}

/// Sends samples of every type and returns the lines that they produce.
fn send_each_kind(daemon: &Daemon) -> [&'static str; 8] {
    for message in [
        r#"{"metric_name":"user.login","metric_type":"counter","count":3,"stage":"a"}"#,
        r#"{"metric_name":"user.login","metric_type":"counter","count":4,"stage":"b"}"#,
        r#"{"metric_name":"user.login","metric_type":"trace"}"#,
        r#"{"metric_name":"queue.depth","metric_type":"gauge","value":-7.5}"#,
        r#"{"metric_name":"users","metric_type":"set","value":"x"}"#,
        r#"{"metric_name":"user.latency","metric_type":"timer","value":12}"#,
    ] {
        daemon.send(message);
    }
    [
        "user_login_total{environment=\"test\",stage=\"a\"} 3",
        "user_login_total{environment=\"test\",stage=\"b\"} 4",
        "user_login_trace_total{environment=\"test\"} 1",
        "queue_depth{environment=\"test\"} -7.5",
        "users{environment=\"test\"} 1",
        "user_latency{environment=\"test\",quantile=\"0.9\"} 12",
        "user_latency_sum{environment=\"test\"} 12",
        "user_latency_count{environment=\"test\"} 1",
    ]
}

#[test]
fn the_page_shows_all_points_in_both_formats_and_the_ledger_counts_them() {
    let daemon = Daemon::start(&format!("{PAGE}agent: {{ tags: {{ environment: test }} }}\n"));
    assert_eq!(page(&daemon, "*/*"), "", "empty before the first window");
    assert_eq!(page(&daemon, OPENMETRICS), "# EOF\n");
    let lines = send_each_kind(&daemon);
    let text = wait_for_lines(&daemon, &lines);
    assert!(text.contains("# TYPE user_login_total counter\n"), "{text}");
    assert!(text.contains("# TYPE user_latency summary\n"), "{text}");
    let openmetrics = page(&daemon, OPENMETRICS);
    assert!(openmetrics.contains("# TYPE user_login counter\n"), "{openmetrics}");
    assert!(openmetrics.ends_with("# EOF\n"));

    // Totals cover all windows.
    daemon.send(r#"{"metric_name":"user.login","metric_type":"counter","count":5,"stage":"a"}"#);
    wait_for_lines(&daemon, &["user_login_total{environment=\"test\",stage=\"a\"} 8"]);
    let status = daemon.wait_for("all points on the page", |status| {
        status["forwarders"]["prometheus"]["delivered"] == 7
    });
    let forwarder = &status["forwarders"]["prometheus"];
    assert_eq!((&forwarder["flushed"], &forwarder["queued"]), (&json!(7), &json!(0)));
    assert!(daemon.stop().status.success());
}

#[test]
fn an_expired_series_leaves_the_page_even_without_further_samples() {
    let config = format!("{PAGE}aggregation: {{ expire_after: 600ms }}\n");
    let daemon = Daemon::start(&config);
    daemon.send(r#"{"metric_name":"gone","metric_type":"counter","count":5}"#);
    wait_for_lines(&daemon, &["gone_total 5"]);
    let deadline = Instant::now() + PATIENCE;
    while !page(&daemon, "text/plain").is_empty() {
        assert!(Instant::now() < deadline, "it stays");
    }
    daemon.send(r#"{"metric_name":"gone","metric_type":"counter","count":2}"#);
    wait_for_lines(&daemon, &["gone_total 7"]);
}

#[test]
fn a_page_address_in_use_keeps_the_daemon_from_starting_and_check_does_not_bind() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tallyd.yaml");
    let config = format!(
        "bind_port: 0\nadmin: {{ listen: none }}\nforwarders: {{ prometheus: {{ listen: \"{address}\" }} }}\n"
    );
    fs::write(&path, config).unwrap();
    let run = |args: &[&str]| tallyd().args(args).arg("--config").arg(&path).output().unwrap();
    assert!(run(&["check"]).status.success());
    let output = run(&["run"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let expected =
        format!("forwarder prometheus: cannot listen on {address} for the page: Address already");
    assert!(stderr.contains(&expected), "{stderr}");
    // As with a listener, the program that has the address may end before the daemon starts.
    let output = run(&["check", "--connect"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    let expected = format!("warning: prometheus: cannot listen on {address}: Address already");
    assert!(stderr.contains(&expected), "{stderr}");
}

#[test]
fn without_a_page_and_without_remote_write_the_section_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tallyd.yaml");
    for (section, words) in [
        ("{ listen: none }", "there is nothing to do"),
        ("{ naming: pascal }", "did you mean `pascom`"),
        ("{ path: metrics }", "a path is `/` and letters"),
        ("{ max_connections: 0 }", "between 1 and 65536"),
    ] {
        fs::write(&path, format!("forwarders: {{ prometheus: {section} }}\n")).unwrap();
        let output = tallyd().args(["check", "--config"]).arg(&path).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(words), "{stderr}");
    }
}

/// Sends names that become equal on the page, names with two types, and names that break an unescaped
/// format.
fn send_hostile(daemon: &Daemon) -> u64 {
    let names = [
        "a.b",
        "a-b",
        "a_b",
        "a.b.total",
        "a.b.sum",
        "a.b.count",
        "a.b.created",
        "a.b{x=\"y\"} 1",
        "9.lives",
        "::",
        "__name__",
        "é\u{2028}",
        "x\ny 1",
        "# EOF",
        "a\\b\"",
        "quantile",
        "total",
    ];
    let mut sent = 0;
    for name in names {
        for kind in ["counter", "gauge", "timer", "set", "trace"] {
            for tags in [
                json!({}),
                json!({"a.b": "1", "a_b": "2", "a-b": "3"}),
                json!({"__name__": "x", "quantile": "0.5", "le": "1", "job": "j"}),
                json!({"é": "\"\\\n\u{0}", "9": "{}#,= ", "instance": "i"}),
            ] {
                let message = json!({
                    "metric_name": name, "metric_type": kind, "value": 1, "tags": tags
                });
                daemon.send(message.to_string());
                sent += 1;
            }
        }
    }
    sent
}

#[test]
fn promtool_accepts_plain_names_and_parses_hostile_ones() {
    let Some(program) = real_server("TALLYD_TEST_PROMTOOL") else { return };
    let daemon = Daemon::start(PAGE);
    for message in [
        r#"{"metric_name":"user.login","metric_type":"counter","count":3,"stage":"a"}"#,
        r#"{"metric_name":"queue.depth","metric_type":"gauge","value":-7.5}"#,
        r#"{"metric_name":"user.latency.seconds","metric_type":"timer","value":1.5}"#,
    ] {
        daemon.send(message);
    }
    let plain = wait_for_lines(
        &daemon,
        &["user_login_total{stage=\"a\"} 3", "queue_depth -7.5", "user_latency_seconds_count 1"],
    );
    assert_eq!(promtool(&program, &plain), (Some(0), String::new()));

    let sent = send_hostile(&daemon);
    let status = daemon.wait_received(sent + 3);
    assert_eq!(status["ledger"]["aggregated"], sent + 3);
    daemon.wait_for("all points on the page", |status| {
        status["forwarders"]["prometheus"]["delivered"].as_u64() >= Some(sent + 3)
    });
    let hostile = page(&daemon, "text/plain");
    // Status 3: the page was parsed, with lint warnings about names such as `a_b_count`. 1 would be a
    // page that does not parse.
    let (status, words) = promtool(&program, &hostile);
    assert_eq!(status, Some(3), "{words}");
    assert!(!words.contains("error while linting"), "{words}");
}

#[test]
fn a_real_prometheus_sees_every_value_exactly() {
    let daemon = Daemon::start(&format!("{PAGE}agent: {{ tags: {{ environment: test }} }}\n"));
    let Some(prometheus) = Prometheus::scraping(&daemon, "values") else { return };
    let lines = send_each_kind(&daemon);
    wait_for_lines(&daemon, &lines);
    let expected = BTreeMap::from(
        [
            (r#"{"__name__":"user_login_total","environment":"test","stage":"a"}"#, 3.0),
            (r#"{"__name__":"user_login_total","environment":"test","stage":"b"}"#, 4.0),
            (r#"{"__name__":"user_login_trace_total","environment":"test"}"#, 1.0),
            (r#"{"__name__":"queue_depth","environment":"test"}"#, -7.5),
            (r#"{"__name__":"users","environment":"test"}"#, 1.0),
            (r#"{"__name__":"user_latency","environment":"test","quantile":"0.9"}"#, 12.0),
            (r#"{"__name__":"user_latency_sum","environment":"test"}"#, 12.0),
            (r#"{"__name__":"user_latency_count","environment":"test"}"#, 1.0),
        ]
        .map(|(labels, value)| (labels.to_owned(), value)),
    );
    let all = r#"{TEST,environment="test",quantile=~"|0.9"}"#;
    prometheus.wait_for(all, |found| *found == expected);
    prometheus.wait_for("up{TEST}", |found| found.values().eq([&1.0]));

    // Samples arrive between scrapes; the totals, from which rate() and increase() are computed, are
    // exact at the end.
    const SENT: u64 = 50_000;
    daemon.send_paced((0..SENT).map(|number| {
        format!(
            r#"{{"metric_name":"load","metric_type":"counter","count":2,"n":"{}"}}"#,
            number % 50
        )
    }));
    prometheus.wait_for("sum(load_total{TEST})", |found| found.values().eq([&100_000.0]));
    prometheus.wait_for("sum(resets(load_total{TEST}[5m]))", |found| found.values().eq([&0.0]));
    daemon.send(r#"{"metric_name":"load","metric_type":"counter","count":10,"n":"7"}"#);
    let increase = r#"sum(max_over_time(load_total{TEST,n="7"}[5m]))"#;
    prometheus.wait_for(increase, |found| found.values().eq([&2010.0]));
    let rate = r#"rate(load_total{TEST,n="7"}[1m]) > 0"#;
    prometheus.wait_for(rate, |found| found.len() == 1);
}

#[test]
fn a_real_prometheus_scrapes_hostile_names_without_an_error() {
    let daemon = Daemon::start(PAGE);
    let Some(prometheus) = Prometheus::scraping(&daemon, "hostile") else { return };
    let sent = send_hostile(&daemon);
    daemon.wait_received(sent);
    daemon.wait_for("all points on the page", |status| {
        status["forwarders"]["prometheus"]["delivered"].as_u64() >= Some(sent)
    });
    let samples = page(&daemon, "text/plain").lines().filter(|line| !line.starts_with('#')).count();
    let all = |found: &BTreeMap<String, f64>| found.values().eq([&(samples as f64)]);
    prometheus.wait_for("scrape_samples_scraped{TEST}", all);
    prometheus.wait_for("scrape_samples_post_metric_relabeling{TEST}", all);
    prometheus.wait_for("count({TEST,__name__!~\"up|scrape_.*\"})", all);
    prometheus.wait_for("up{TEST}", |found| found.values().eq([&1.0]));
}

fn remote_write_conf(url: &str) -> String {
    format!(
        "interval: 200ms\nagent: {{ tags: {{ run: \"{}\" }} }}\naggregation: {{ expire_after: 1s }}\n\
         forwarders: {{ prometheus: {{ listen: none, remote_write: {{ url: \"{url}\" }} }} }}\n",
        std::process::id()
    )
}

/// Sends through remote write and reads back until the totals are correct, then waits until the series
/// end.
fn read_back_remote_write(write: &str, read: &str, flush: impl Fn()) {
    let daemon = Daemon::start(&remote_write_conf(write));
    assert!(daemon.page.is_none());
    const SENT: u64 = 20_000;
    daemon.send_paced((0..SENT).map(|number| {
        let kind = if number % 2 == 0 { "counter" } else { "timer" };
        format!(
            r#"{{"metric_name":"pushed.{kind}","metric_type":"{kind}","value":2,"n":"{}"}}"#,
            number % 40
        )
    }));
    let run = std::process::id();
    let deadline = Instant::now() + PATIENCE;
    let wait_for = |expression: &str, wanted: Option<f64>| loop {
        // A sample in each window keeps the series from expiring before they are read.
        daemon.send(r#"{"metric_name":"alive","metric_type":"counter"}"#);
        flush();
        let found: Vec<f64> = query(read, expression).into_values().collect();
        if found.first().copied() == wanted {
            break;
        }
        assert!(Instant::now() < deadline, "{expression}: {found:?}, {:#}", daemon.status());
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    let peak = |name: &str| format!("sum(max_over_time({name}{{run=\"{run}\"}}[10m]))");
    wait_for(&peak("pushed_counter_total"), Some(20_000.0));
    wait_for(&peak("pushed_timer_sum"), Some(20_000.0));
    wait_for(&peak("pushed_timer_count"), Some(10_000.0));
    wait_for(&format!("count(max_over_time(pushed_timer{{run=\"{run}\"}}[10m]))"), Some(80.0));
    // After expire_after without samples, a stale marker ends the series at once, and not only the five
    // minutes of lookback.
    wait_for(&format!("count({{__name__=~\"pushed.*\",run=\"{run}\"}})"), None);
    wait_for(&format!("count(alive_total{{run=\"{run}\"}})"), Some(1.0));
    let status = daemon.status();
    let ledger = &status["forwarders"]["prometheus.remote_write"];
    assert_eq!(ledger["dropped"], json!({}), "{ledger:#}");
    assert!(ledger["delivered"].as_u64() > Some(0), "{ledger:#}");
    assert!(daemon.stop().status.success());
}

#[test]
fn remote_write_delivers_to_victoriametrics() {
    let Some(url) = real_server("TALLYD_TEST_VICTORIAMETRICS") else { return };
    read_back_remote_write(&format!("{url}/api/v1/write"), &url, || {
        common::http().build().unwrap().get(format!("{url}/internal/force_flush")).send().unwrap();
    });
}

#[test]
fn remote_write_delivers_to_prometheus() {
    let Some(url) = real_server("TALLYD_TEST_PROMETHEUS") else { return };
    read_back_remote_write(&format!("{url}/api/v1/write"), &url, || ());
}
