//! Timers as histograms from end to end: the pages of real daemons, read by the tests, by `promtool` and
//! by a real Prometheus; native histograms of remote write, read back from a real server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use common::prometheus::{PROTOBUF, Prometheus, query, wait_for_lines};
use common::promtool::promtool;
use common::{Daemon, PATIENCE};
use forwarders::testing::real_server;
use serde_json::json;

/// Starts a daemon that shows timers in these forms and keeps every value of a window.
fn showing(timers: &str) -> Daemon {
    Daemon::start(&format!(
        "interval: 200ms\naggregation: {{ exact_samples: 100000 }}\n\
         forwarders: {{ prometheus: {{ listen: \"127.0.0.1:0\", timers: {timers} }} }}\n"
    ))
}

/// Returns the text of a page with timers in every form.
fn page_with_histograms() -> String {
    let daemon = showing(
        "[native, summary, histogram], buckets: [{ match: \"*.seconds\", le: [0.5, 1, 2] }]",
    );
    daemon.send(r#"{"metric_name":"user.latency.seconds","metric_type":"timer","value":1.5}"#);
    let page = wait_for_lines(
        &daemon,
        &[
            "# TYPE user_latency_seconds histogram",
            "user_latency_seconds_bucket{le=\"1.0\"} 0",
            "user_latency_seconds_bucket{le=\"2.0\"} 1",
            "user_latency_seconds_bucket{le=\"+Inf\"} 1",
            "# TYPE user_latency_seconds_quantiles summary",
            "user_latency_seconds_quantiles{quantile=\"0.5\"} 1.5",
        ],
    );
    let url = format!("http://{}/metrics", daemon.page.unwrap());
    let reply = common::http().build().unwrap().get(url).header("Accept", PROTOBUF).send().unwrap();
    let content_type = reply.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(content_type.starts_with("application/vnd.google.protobuf; "), "{content_type}");
    assert!(reply.bytes().unwrap().windows(20).any(|bytes| bytes == b"user_latency_seconds"));
    page
}

#[test]
fn promtool_accepts_a_page_with_timers_in_every_form() {
    let Some(program) = real_server("TALLYD_TEST_PROMTOOL") else { return };
    assert_eq!(promtool(&program, &page_with_histograms()), (Some(0), String::new()));
}

/// Values of an exponential distribution with this mean, which cover three orders of magnitude, in an
/// order that no window has sorted.
fn latencies(count: u32, mean: f64) -> Vec<f64> {
    let step = |n: u32| f64::from(n.wrapping_mul(7_919) % count);
    (0..count).map(|n| -mean * (1.0 - (step(n) + 0.5) / f64::from(count)).ln()).collect()
}

/// Returns the smallest value with at least this share of the values at or below it.
fn percentile(sorted: &[f64], quantile: f64) -> f64 {
    sorted[((quantile * sorted.len() as f64).ceil() as usize).max(1) - 1]
}

#[test]
fn quantiles_over_two_daemons_are_within_one_percent_of_the_pooled_samples() {
    let daemons = [showing("[native, histogram]"), showing("[native, histogram]")];
    let prometheus = Prometheus::scraping_all(&[&daemons[0], &daemons[1]], "quantiles");
    let Some(prometheus) = prometheus else { return };
    // Prime numbers, so that `latencies` returns each value once.
    let values = [latencies(5_003, 40.0), latencies(9_001, 300.0)];
    for (daemon, values) in daemons.iter().zip(&values) {
        daemon.send_paced(values.iter().map(|value| {
            format!(r#"{{"metric_name":"latency","metric_type":"timer","value":{value}}}"#)
        }));
    }
    let mut pooled = values.concat();
    pooled.sort_unstable_by(f64::total_cmp);
    let all = |found: &BTreeMap<String, f64>| found.values().eq([&(pooled.len() as f64)]);
    prometheus.wait_for("histogram_count(sum(latency{TEST}))", all);
    for quantile in [0.01, 0.1, 0.5, 0.9, 0.99, 0.999] {
        let found =
            prometheus.query(&format!("histogram_quantile({quantile}, sum(latency{{TEST}}))"));
        let exact = percentile(&pooled, quantile);
        let error = (found.values().next().unwrap() / exact - 1.0).abs();
        println!("quantile {quantile}: {exact}, {found:?}, error {error:.5}");
        assert!(error < 0.01, "{quantile}: {found:?} instead of {exact}");
    }
    let resets = "sum(resets(latency{TEST}[5m]))";
    prometheus.wait_for(resets, |found| found.values().eq([&0.0]));
    // The page as text has the exact numbers by the default bounds.
    for (daemon, values) in daemons.iter().zip(&values) {
        for bound in ["5.0", "100.0", "1000.0"] {
            let exact = values.iter().filter(|value| **value <= bound.parse().unwrap()).count();
            wait_for_lines(daemon, &[&format!("latency_bucket{{le=\"{bound}\"}} {exact}")]);
        }
    }
}

#[test]
fn remote_write_delivers_native_histograms_to_prometheus() {
    let Some(url) = real_server("TALLYD_TEST_PROMETHEUS") else { return };
    let run = std::process::id();
    let daemon = Daemon::start(&format!(
        "interval: 200ms\nagent: {{ tags: {{ run: \"{run}\" }} }}\naggregation: {{ expire_after: 1s }}\n\
         forwarders: {{ prometheus: {{ listen: none, timers: native, \
         remote_write: {{ url: \"{url}/api/v1/write\" }} }} }}\n"
    ));
    let values = latencies(9_001, 100.0);
    daemon.send_paced(values.iter().map(|value| {
        format!(r#"{{"metric_name":"pushed.native","metric_type":"timer","value":{value}}}"#)
    }));
    let deadline = Instant::now() + PATIENCE;
    let wait_for = |expression: &str, wanted: Option<f64>| loop {
        daemon.send(r#"{"metric_name":"native.alive","metric_type":"counter"}"#);
        let found: Vec<f64> = query(&url, expression).into_values().collect();
        if found.first().copied() == wanted {
            break;
        }
        assert!(Instant::now() < deadline, "{expression}: {found:?}, {:#}", daemon.status());
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    let series = format!("pushed_native{{run=\"{run}\"}}");
    // The series ends a second after its last sample, so its last value is looked for in a range.
    wait_for(&format!("max_over_time(histogram_count({series})[1m:200ms])"), Some(9_001.0));
    // Its end is a stale marker, so that no query finds it any longer.
    wait_for(&format!("count({series})"), None);
    let ledger = &daemon.status()["forwarders"]["prometheus.remote_write"];
    assert_eq!(ledger["dropped"], json!({}), "{ledger:#}");
}

/// Returns a configuration of a page on a port that stays the same over restarts, because the port is part of the
/// series' labels in Prometheus.
fn on_one_port(timers: &str) -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!(
        "interval: 200ms\naggregation: {{ exact_samples: 100000, expire_after: 1m }}\n\
         forwarders: {{ prometheus: {{ listen: \"127.0.0.1:{port}\", timers: {timers} }} }}\n"
    )
}

fn send(daemon: &Daemon, values: &[f64]) {
    daemon.send_paced(values.iter().map(|value| {
        format!(r#"{{"metric_name":"latency","metric_type":"timer","value":{value}}}"#)
    }));
}

/// Returns the lines of the page for these values, sent in any number of windows.
fn lines_for(values: &[f64], bounds: &[&str]) -> Vec<String> {
    let up_to =
        |bound: &str| values.iter().filter(|value| **value <= bound.parse().unwrap()).count();
    let line = |bound: &&str| format!("latency_bucket{{le=\"{bound}\"}} {}", up_to(bound));
    let count = values.len();
    let whole =
        [format!("latency_bucket{{le=\"+Inf\"}} {count}"), format!("latency_count {count}")];
    bounds.iter().map(line).chain(whole).collect()
}

/// Restarts a daemon several times in an orderly way, with and without samples in the open window, and
/// checks the counts each time, on the page and in `count` of a real Prometheus if there is one.
fn restarts_keep(timers: &str, accept: &str, bounds: &[&str], count: &str, series: &str) {
    let config = on_one_port(timers);
    let values = latencies(3_001, 40.0);
    let mut daemon = Daemon::start(&config);
    let prometheus = Prometheus::scraping(&daemon, &format!("restarts-{timers}"));
    let mut sent = 0;
    let shows_all = |daemon: &Daemon, sent: usize| {
        let lines = lines_for(&values[..sent], bounds);
        wait_for_lines(daemon, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        if let Some(prometheus) = &prometheus {
            prometheus.wait_for(count, |found| found.values().eq([&(sent as f64)]));
        }
    };
    for part in values.chunks(501) {
        send(&daemon, part);
        sent += part.len();
        // With odd parts the samples are in the open window, with even ones on the page.
        let is_shown = sent % 2 == 0;
        if is_shown {
            shows_all(&daemon, sent);
        }
        let before = is_shown.then(|| bytes(&daemon, accept));
        daemon = Daemon::start_in(daemon.stop().folder, &config);
        if let Some(before) = before {
            assert!(before == bytes(&daemon, accept), "the same page, before the first window");
        }
        shows_all(&daemon, sent);
    }
    let Some(prometheus) = prometheus else { return };
    let resets = format!("sum(resets({series}[10m]))");
    prometheus.wait_for(&resets, |found| found.values().eq([&0.0]));
}

/// Returns the page as it is sent.
fn bytes(daemon: &Daemon, accept: &str) -> Vec<u8> {
    let url = format!("http://{}/metrics", daemon.page.unwrap());
    let request = common::http().build().unwrap().get(url).header("Accept", accept);
    request.send().unwrap().bytes().unwrap().to_vec()
}

#[test]
fn native_histograms_continue_over_orderly_restarts_without_a_reset() {
    restarts_keep("native", PROTOBUF, &[], "histogram_count(latency{TEST})", "latency{TEST}");
}

#[test]
fn classic_histograms_continue_over_orderly_restarts_without_a_reset() {
    restarts_keep(
        "histogram",
        "text/plain",
        &["5.0", "25.0", "100.0", "10000.0"],
        "latency_count{TEST}",
        "latency_bucket{TEST}",
    );
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

#[test]
fn a_created_timestamp_makes_the_increase_exact_from_the_first_sample_and_over_a_crash() {
    let config = on_one_port("native");
    let daemon = Daemon::start(&config);
    let Some(prometheus) = Prometheus::scraping(&daemon, "created") else { return };
    let range = "latency{TEST}[10m]";
    let resets = "sum(resets(latency{TEST}[10m]))";
    let waits_for_count = |count: f64| {
        prometheus.wait_for("histogram_count(latency{TEST})", |found| found.values().eq([&count]));
    };
    let began = now();
    send(&daemon, &latencies(101, 40.0));
    waits_for_count(101.0);
    if !prometheus.stores_created_timestamps() {
        return;
    }
    let samples = prometheus.samples(range);
    let (created, first) = samples[0];
    assert_eq!(first, 0.0, "{samples:?}");
    // The start of the window of the first sample.
    assert!(began - 0.2 <= created && created <= samples[1].0, "{began}: {samples:?}");
    assert!(samples[1..].iter().all(|(_, count)| *count == 101.0), "{samples:?}");

    // After the crash the total soon exceeds the old one: only the created timestamp shows the reset.
    daemon.signal("KILL");
    let daemon = Daemon::start_in(daemon.wait().folder, &config);
    send(&daemon, &latencies(211, 40.0));
    waits_for_count(211.0);
    prometheus.wait_for(resets, |found| found.values().eq([&1.0]));
    let samples = prometheus.samples(range);
    let zeros: Vec<f64> =
        samples.iter().filter(|(_, count)| *count == 0.0).map(|(at, _)| *at).collect();
    assert_eq!(zeros.len(), 2, "{samples:?}");
    assert!(zeros[0] == created && zeros[1] > created, "{samples:?}");
}

#[test]
fn a_histogram_that_expires_ends_at_once_and_continues_when_it_returns() {
    for (timers, count, series) in [
        ("native", "histogram_count(latency{TEST})", "latency{TEST}"),
        ("histogram", "latency_count{TEST}", "latency_bucket{TEST}"),
    ] {
        let daemon = Daemon::start(&on_one_port(timers).replace("1m", "3s"));
        let test = format!("stale-{timers}");
        let Some(prometheus) = Prometheus::scraping(&daemon, &test) else { return };
        // A new target is scraped only after some seconds.
        let is_up = |found: &BTreeMap<String, f64>| found.values().eq([&1.0]);
        prometheus.wait_for("up{TEST}", is_up);
        let values = latencies(101, 40.0);
        for total in [101.0, 202.0] {
            send(&daemon, &values);
            prometheus.wait_for(count, |found| found.values().eq([&total]));
            // A stale marker, and not the five minutes of lookback.
            prometheus.wait_for(&format!("count({series})"), BTreeMap::is_empty);
            prometheus.wait_for("up{TEST}", is_up);
        }
        let resets = format!("sum(resets({series}[10m]))");
        prometheus.wait_for(&resets, |found| found.values().eq([&0.0]));
    }
}
