//! Orderly restarts from end to end: nothing is lost or overwritten at any destination, and no total
//! starts again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "restart/stores.rs"]
mod stores;
#[path = "kafka/topic.rs"]
mod topic;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use common::carbon::{Carbon, Catcher};
use common::{
    Daemon, PATIENCE, assert_balanced, interval_without_an_edge, tallyd, total, write_config,
};
use forwarders::testing::{libfaketime, real_server};
use serde_json::Value;
use stores::{FakeInflux, FakeStatsd, last_writes, sum_of};
use tempfile::TempDir;
use topic::read_back;

/// Random numbers from a seed.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn counter(name: &str, count: u64) -> String {
    format!(r#"{{"metric_name":"{name}","metric_type":"counter","count":{count}}}"#)
}

fn gauge(change: &str) -> String {
    format!(r#"{{"metric_name":"level","metric_type":"gauge","value":"{change}"}}"#)
}

/// The value of a series on the page of a daemon that has just started.
fn on_page(daemon: &Daemon, series: &str) -> Option<f64> {
    let url = format!("http://{}/metrics", daemon.page.unwrap());
    let page = common::get(url).unwrap().text().unwrap();
    let line =
        page.lines().find_map(|line| line.strip_prefix(&format!("{series} ")).map(str::to_owned));
    line.map(|value| value.parse().unwrap())
}

/// Sends counters and waits until the daemon has them.
fn count(daemon: &Daemon, received: u64, counts: &[u64]) {
    counts.iter().for_each(|one| daemon.send(counter("c", *one)));
    daemon.wait_received(received + counts.len() as u64);
}

/// Runs a daemon twenty times, each time until a random moment, and counts. Returns the sum of all
/// counts. `started` sees each daemon before its first window.
fn restart_at_random(
    seed: u64,
    config: &str,
    mut started: impl FnMut(&Daemon, u64),
) -> (TempDir, u64) {
    let mut random = Seeded(seed);
    let (mut folder, mut sent) = (tempfile::tempdir().unwrap(), 0);
    for _ in 0..20 {
        let daemon = Daemon::start_in(folder, config);
        started(&daemon, sent);
        let mut received = 0;
        for _ in 0..1 + random.below(3) {
            let counts: Vec<u64> = (0..5).map(|_| 1 + random.below(9)).collect();
            counts.iter().for_each(|one| daemon.send(counter("c", *one)));
            sent += counts.iter().sum::<u64>();
            received += 5;
            // Chooses the moments of the load and of the stop; waits for nothing.
            thread::sleep(Duration::from_millis(random.below(250)));
        }
        daemon.send(gauge("+1"));
        daemon.wait_received(received + 1);
        assert_balanced(&daemon.status());
        let stopped = daemon.stop();
        let mut warnings = stopped.warnings();
        // A broker that has just started is not ready at once.
        warnings.retain(|warning| !warning.contains("librdkafka"));
        assert_eq!(warnings, [""; 0]);
        folder = stopped.folder;
    }
    (folder, sent)
}

#[test]
fn twenty_restarts_at_random_moments_lose_and_overwrite_nothing_at_any_destination() {
    let (influx, carbon, statsd) = (FakeInflux::start(), Catcher::start(), FakeStatsd::start());
    let config = format!(
        "interval: 1s
forwarders:
  file: {{ path: DIR/out, format: json }}
  influxdb: {{ url: \"{}\", database: d, gzip: false }}
  graphite: {{ address: \"{}\" }}
  statsd: {{ address: \"{}\" }}
  prometheus: {{ listen: \"127.0.0.1:0\" }}
",
        influx.url, carbon.address, statsd.address
    );
    let (folder, sent) = restart_at_random(4, &config, |daemon, sent| {
        let expected = (sent > 0).then_some(sent as f64);
        assert_eq!(on_page(daemon, "c_total"), expected, "before the first window");
    });

    let points = common::points(&folder.path().join("out"));
    assert_eq!(total(&points, "c", "count"), sent as f64, "file");
    let mut levels = points.iter().filter(|point| point["name"] == "level");
    assert_eq!(levels.next_back().unwrap()["fields"]["value"], 20);
    assert_eq!(sum_of(&influx.stored(), "c count"), sent as f64, "InfluxDB");
    let carbon = last_writes(&carbon.connections());
    assert_eq!(sum_of(&carbon, "c"), sent as f64, "Graphite");
    assert_eq!(statsd.wait_for_sum("c", sent as f64), sent as f64, "statsd");
    let daemon = Daemon::start_in(folder, &config);
    assert_eq!(on_page(&daemon, "c_total"), Some(sent as f64), "the page");
    assert_eq!(on_page(&daemon, "level"), Some(20.0));
}

#[test]
fn real_stores_have_exactly_what_was_sent_over_twenty_restarts() {
    let (Some(influx), Some(broker)) =
        (real_server("TALLYD_TEST_INFLUXDB"), real_server("TALLYD_TEST_KAFKA"))
    else {
        return;
    };
    let (Some(prometheus), Some(targets), Some(carbon)) = (
        real_server("TALLYD_TEST_PROMETHEUS"),
        real_server("TALLYD_TEST_PROMETHEUS_TARGETS"),
        Carbon::start(),
    ) else {
        return;
    };
    let test = format!("restart_{}", std::process::id());
    let create = format!("{influx}/query?q=CREATE%20DATABASE%20{test}");
    common::http().build().unwrap().post(create).send().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let target = Path::new(&targets).join(format!("{test}.json"));
    fs::write(&target, format!(r#"[{{"targets": ["127.0.0.1:{port}"], "labels": {{}}}}]"#))
        .unwrap();
    let config = format!(
        "interval: 1s
agent: {{ tags: {{ test: {test} }} }}
forwarders:
  influxdb: {{ url: \"{influx}\", database: {test} }}
  graphite: {{ address: \"{}\" }}
  kafka: {{ kafka_broker: \"{broker}\", kafka_topic: {test}, format: json }}
  prometheus:
    listen: \"127.0.0.1:{port}\"
    remote_write: {{ url: \"{prometheus}/api/v1/write\" }}
",
        carbon.line
    );
    let (folder, sent) = restart_at_random(7, &config, |_, _| ());
    let sent = sent as f64;

    // One more run, whose page is scraped. It also delivers the windows that a slow server left in a spool.
    let daemon = Daemon::start_in(folder, &config);
    daemon.wait_for("all points delivered", |status| {
        let forwarders = status["forwarders"].as_object().unwrap();
        forwarders.values().all(|one| one["queued"] == 0 && one["spooled"] == 0)
    });
    let query = format!("{influx}/query?db={test}&q=SELECT%20SUM(%22count%22)%20FROM%20c");
    let reply: Value = common::get(query).unwrap().json().unwrap();
    assert_eq!(reply["results"][0]["series"][0]["values"][0][1].as_f64(), Some(sent), "{reply}");
    let sum = |points: &[(u64, f64)]| points.iter().map(|(_, value)| value).sum::<f64>();
    let path = format!("c;test={test}");
    let stored = carbon.wait_for("all", |stored| stored.get(&path).is_some_and(|c| sum(c) >= sent));
    assert_eq!(sum(&stored[&path]), sent, "Graphite: {stored:?}");
    let count = |records: &[(String, Value)]| {
        let points: Vec<Value> = records.iter().map(|(_, point)| point.clone()).collect();
        total(&points, "c", "count")
    };
    let records = read_back(&broker, &test, |records| count(records) >= sent);
    assert_eq!(count(&records), sent, "Kafka");
    for origin in ["job!=\"\"", "job=\"\""] {
        let series = format!("c_total{{test=\"{test}\",{origin}}}");
        wait_for_answer(&prometheus, &format!("max({series})"), sent);
        wait_for_answer(&prometheus, &format!("sum(resets({series}[10m]))"), 0.0);
    }
    assert_eq!(daemon.stop().warnings(), [""; 0]);
    fs::remove_file(target).unwrap();
}

/// Waits until Prometheus evaluates an expression to a value.
fn wait_for_answer(prometheus: &str, expression: &str, expected: f64) {
    let url = format!("{prometheus}/api/v1/query");
    let url = reqwest::Url::parse_with_params(&url, &[("query", expression)]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reply: Value = common::get(url.clone()).unwrap().json().unwrap();
        let value = reply["data"]["result"][0]["value"][1].as_str().map(str::to_owned);
        if value.and_then(|value| value.parse().ok()) == Some(expected) {
            return;
        }
        assert!(Instant::now() < deadline, "{expression} is not {expected}: {reply}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A configuration whose window stays open, with a destination of each kind.
fn open_window(influx: &FakeInflux) -> String {
    format!(
        "interval: {}s\nforwarders:\n  file: {{ path: DIR/out, format: json }}\n  \
         influxdb: {{ url: \"{}\", database: d, gzip: false }}\n  \
         prometheus: {{ listen: \"127.0.0.1:0\" }}\n",
        interval_without_an_edge(),
        influx.url
    )
}

/// One run that counts and stops.
fn run(folder: TempDir, config: &str, counts: &[u64]) -> TempDir {
    let daemon = Daemon::start_in(folder, config);
    count(&daemon, 0, counts);
    daemon.stop().folder
}

#[test]
fn four_runs_in_one_window_are_one_point_where_the_last_write_stays_and_four_elsewhere() {
    let influx = FakeInflux::start();
    let config = open_window(&influx);
    let mut folder = tempfile::tempdir().unwrap();
    for counts in [[1, 9], [2, 8], [3, 7], [4, 6]] {
        folder = run(folder, &config, &counts);
    }
    let stored = influx.stored();
    let values: Vec<f64> = stored["c count"].values().copied().collect();
    assert_eq!(values, [40.0]);
    let points = common::points(&folder.path().join("out"));
    let times: Vec<u64> = points.iter().map(|point| point["timestamp"].as_u64().unwrap()).collect();
    assert!(times.len() == 4 && times.is_sorted_by(|a, b| a < b), "{times:?}");
    assert_eq!(total(&points, "c", "count"), 40.0);
    // InfluxDB has the planned end, a multiple of the interval, as its timestamp.
    let end = *stored["c count"].keys().next().unwrap();
    assert!(end > times[3], "{end} {times:?}");
}

#[test]
fn a_run_whose_clock_is_ahead_costs_no_part_of_the_window_that_the_run_before_it_began() {
    let Some(library) = libfaketime() else { return };
    let influx = FakeInflux::start();
    let config = open_window(&influx);
    let folder = run(tempfile::tempdir().unwrap(), &config, &[1]);
    let path = write_config(&folder, &config);
    let mut command = tallyd();
    command
        .args(["run", "--config", path.to_str().unwrap()])
        .stdin(Stdio::null())
        .env("LD_PRELOAD", library)
        // In seconds: more than the longest interval.
        .env("FAKETIME", "+7200")
        // The second name is that of older versions.
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    let ahead = Daemon::start_command(folder, &mut command);
    count(&ahead, 0, &[2]);
    let folder = run(ahead.stop().folder, &config, &[4]);
    let stored = influx.stored();
    let values: Vec<f64> = stored["c count"].values().copied().collect();
    assert_eq!(values, [1.0, 4.0, 2.0], "in the order of their timestamps");
    assert_eq!(total(&common::points(&folder.path().join("out")), "c", "count"), 7.0);
}

#[test]
fn parts_of_a_window_that_waited_on_disk_arrive_before_the_complete_window() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let config = format!(
        "interval: {}s\nshutdown_timeout: 1s\nforwarders:\n  influxdb:\n    \
         url: \"http://{address}\"\n    database: d\n    gzip: false\n    \
         delivery: {{ retry: {{ max: 100ms }}, spool: {{ min_free: 1MiB, order: fair }} }}\n",
        interval_without_an_edge()
    );
    let mut folder = tempfile::tempdir().unwrap();
    for count in [1, 2, 4] {
        folder = run(folder, &config, &[count]);
    }
    let influx = FakeInflux::at(&address);
    let daemon = Daemon::start_in(folder, &config);
    count(&daemon, 0, &[8]);
    let status = daemon.wait_for("the backlog", |status| {
        status["forwarders"]["influxdb"]["delivered"].as_u64() == Some(3)
    });
    assert_eq!(status["forwarders"]["influxdb"]["recovered"], 3);
    assert_balanced(&status);
    let values = |influx: &FakeInflux| -> Vec<f64> {
        influx.stored()["c count"].values().copied().collect()
    };
    assert_eq!(values(&influx), [7.0], "the last part is the largest");
    daemon.stop();
    assert_eq!(values(&influx), [15.0]);
}

#[test]
fn a_run_with_other_settings_continues_gauges_and_totals_but_no_window() {
    let influx = FakeInflux::start();
    let config = open_window(&influx);
    let folder = run(tempfile::tempdir().unwrap(), &config, &[5]);
    let other = config.replace("interval: ", "interval: 3599s #");
    let daemon = Daemon::start_in(folder, &other);
    assert_eq!(on_page(&daemon, "c_total"), Some(5.0));
    count(&daemon, 0, &[7]);
    daemon.stop();
    let mut values: Vec<f64> = influx.stored()["c count"].values().copied().collect();
    values.sort_by(f64::total_cmp);
    assert_eq!(values, [5.0, 7.0]);
}

#[test]
fn sets_are_not_merged_with_sets_of_another_seed() {
    let influx = FakeInflux::start();
    let base = open_window(&influx);
    let mut folder = tempfile::tempdir().unwrap();
    for (seed, members, expected, dropped) in [
        ("the first seed", ["a", "b"], 2.0, 0),
        ("the first seed", ["b", "c"], 3.0, 0),
        ("another seed", ["c", "d"], 2.0, 1),
    ] {
        let config = format!("aggregation: {{ set_seed: {seed} }}\n{base}");
        let daemon = Daemon::start_in(folder, &config);
        for member in members {
            let value = format!(r#""value":"{member}""#);
            daemon.send(format!(r#"{{"metric_name":"s","metric_type":"set",{value}}}"#));
        }
        daemon.wait_received(2);
        let line = format!("tallyd_restart_state_failures_total{{part=\"windows\"}} {dropped}\n");
        assert!(daemon.get("/metrics").1.contains(&line), "{line}");
        let stopped = daemon.stop();
        assert_eq!(stopped.warnings().len(), dropped, "{:?}", stopped.warnings());
        let values: Vec<f64> = influx.stored()["s count"].values().copied().collect();
        assert_eq!(values, [expected], "{seed}");
        folder = stopped.folder;
    }
}

#[test]
fn damage_to_one_part_costs_only_that_part_and_is_logged_and_counted() {
    for (part, file) in
        [("windows", "windows"), ("levels", "levels"), ("totals", "totals-prometheus")]
    {
        let influx = FakeInflux::start();
        let config = open_window(&influx);
        let folder = run(tempfile::tempdir().unwrap(), &config, &[5]);
        let path = folder.path().join("state/restart").join(file);
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, bytes).unwrap();
        let daemon = Daemon::start_in(folder, &config);
        let (_, metrics) = daemon.get("/metrics");
        for each in ["windows", "levels", "totals"] {
            let failures = u8::from(each == part);
            let line =
                format!("tallyd_restart_state_failures_total{{part=\"{each}\"}} {failures}\n");
            assert!(metrics.contains(&line), "{line}: {metrics}");
        }
        let expected = (part != "totals").then_some(5.0);
        assert_eq!(on_page(&daemon, "c_total"), expected);
        count(&daemon, 0, &[7]);
        let stopped = daemon.stop();
        let values: f64 = influx.stored()["c count"].values().sum();
        assert_eq!(values, 12.0, "the second run overwrites nothing");
        let warnings = stopped.warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("cannot use a part of the restart state"), "{warnings:?}");
        assert!(warnings[0].contains(file), "{warnings:?}");
    }
}

#[test]
fn a_crash_leaves_no_totals_of_an_earlier_time_but_the_window_that_an_earlier_run_began() {
    let influx = FakeInflux::start();
    let config = open_window(&influx);
    let folder = run(tempfile::tempdir().unwrap(), &config, &[5]);
    let daemon = Daemon::start_in(folder, &config);
    assert_eq!(on_page(&daemon, "c_total"), Some(5.0));
    count(&daemon, 0, &[100]);
    daemon.signal("KILL");
    let folder = daemon.wait().folder;

    let daemon = Daemon::start_in(folder, &config);
    assert_eq!(on_page(&daemon, "c_total"), None, "a reset to 0, not to 5");
    count(&daemon, 0, &[7]);
    daemon.stop();
    let values: Vec<f64> = influx.stored()["c count"].values().copied().collect();
    assert_eq!(values, [12.0], "only the samples of the killed run are lost");
}

#[test]
fn a_start_that_fails_leaves_the_state_to_the_next_one() {
    let influx = FakeInflux::start();
    let config = open_window(&influx);
    let folder = run(tempfile::tempdir().unwrap(), &config, &[5]);
    let state = |folder: &TempDir| {
        ["windows", "levels", "totals-prometheus"]
            .map(|file| fs::read(folder.path().join("state/restart").join(file)).ok())
    };
    let before = state(&folder);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = format!("admin: {{ listen: \"{}\" }}\n", taken.local_addr().unwrap());
    let path = write_config(&folder, &format!("{admin}{config}"));
    let failed =
        tallyd().args(["run", "--config"]).arg(path).stdin(Stdio::null()).output().unwrap();
    assert!(!failed.status.success());
    assert!(state(&folder) == before && before.iter().all(Option::is_some));
    let daemon = Daemon::start_in(folder, &config);
    assert_eq!(on_page(&daemon, "c_total"), Some(5.0));
    count(&daemon, 0, &[7]);
    daemon.stop();
    let values: Vec<f64> = influx.stored()["c count"].values().copied().collect();
    assert_eq!(values, [12.0]);
}

#[test]
fn without_restart_state_every_run_has_a_timestamp_of_its_own() {
    let influx = FakeInflux::start();
    let config = format!("restart_state: {{ enabled: false }}\n{}", open_window(&influx));
    let mut folder = tempfile::tempdir().unwrap();
    for count in [5, 7] {
        folder = run(folder, &config, &[count]);
    }
    let stored: BTreeMap<u64, f64> = influx.stored().remove("c count").unwrap();
    assert_eq!(stored.values().copied().collect::<Vec<_>>(), [5.0, 7.0]);
    let daemon = Daemon::start_in(folder, &config);
    assert_eq!(on_page(&daemon, "c_total"), None);
}

#[test]
fn a_bound_that_is_too_small_costs_what_exceeds_it_and_is_logged() {
    let influx = FakeInflux::start();
    let config = format!("restart_state: {{ max_bytes: 60 }}\n{}", open_window(&influx));
    let daemon = Daemon::start(&config);
    count(&daemon, 0, &[5]);
    (0..5).for_each(|number| {
        let name = format!("a.long.name.of.a.gauge.{number}");
        daemon.send(format!(r#"{{"metric_name":"{name}","metric_type":"gauge","value":1}}"#));
    });
    daemon.wait_received(6);
    let stopped = daemon.stop();
    let warnings = stopped.warnings().concat();
    for words in [
        "cannot save the open window",
        "restart_state.max_bytes is 60",
        "values of gauges beyond restart_state.max_bytes",
        "totals beyond restart_state.max_bytes",
    ] {
        assert!(warnings.contains(words), "{words}: {warnings}");
    }
    let daemon = Daemon::start_in(stopped.folder, &config);
    let (_, metrics) = daemon.get("/metrics");
    assert!(metrics.contains("tallyd_restart_state_failures_total{part=\"windows\"} 0\n"));
}

#[test]
fn a_second_daemon_with_the_same_state_dir_leaves_the_state_of_the_first_alone() {
    let influx = FakeInflux::start();
    let config = open_window(&influx);
    let first = Daemon::start(&config);
    count(&first, 0, &[5]);
    let state = first.path("state");
    let second = Daemon::start(&format!("state_dir: {}\n{config}", state.display()));
    count(&second, 0, &[100]);
    let warnings = second.stop().warnings().concat();
    assert!(warnings.contains("is in use by another daemon"), "{warnings}");
    let daemon = Daemon::start_in(first.stop().folder, &config);
    assert_eq!(on_page(&daemon, "c_total"), Some(5.0));
}

/// Waits until a path exists, or does not.
fn wait_until_exists(path: &Path, exists: bool) {
    let deadline = Instant::now() + PATIENCE;
    while path.exists() != exists {
        assert!(Instant::now() < deadline, "{} exists: {}", path.display(), !exists);
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_state_dir_that_becomes_usable_during_a_run_gets_its_state_at_the_stop() {
    let influx = FakeInflux::start();
    let config = open_window(&influx);
    let folder = run(tempfile::tempdir().unwrap(), &config, &[5]);
    let (state, aside) = (folder.path().join("state"), folder.path().join("aside"));
    fs::rename(&state, &aside).unwrap();
    fs::write(&state, "a file in the place of the folder").unwrap();

    let daemon = Daemon::start_in(folder, &config);
    assert_eq!(on_page(&daemon, "c_total"), None);
    count(&daemon, 0, &[7]);
    daemon.send(gauge("+3"));
    daemon.wait_received(2);
    fs::remove_file(&state).unwrap();
    fs::rename(&aside, &state).unwrap();
    // A crash from here on must not lead to the totals of the first run.
    wait_until_exists(&state.join("restart/totals-prometheus"), false);
    let stopped = daemon.stop();
    let warnings = stopped.warnings();
    // Both of the start: the stop has nothing to report.
    let is_of_start = |warning: &String| {
        warning.contains("cannot use the restart state") || warning.contains("spool unusable")
    };
    assert!(warnings.len() == 2 && warnings.iter().all(is_of_start), "{warnings:?}");

    let daemon = Daemon::start_in(stopped.folder, &config);
    assert_eq!(on_page(&daemon, "c_total"), Some(7.0));
    assert_eq!(on_page(&daemon, "level"), Some(3.0));
}

#[test]
fn a_stop_uses_a_state_dir_that_has_just_become_usable() {
    let influx = FakeInflux::start();
    let config = open_window(&influx);
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fs::write(&state, "a file in the place of the folder").unwrap();
    let daemon = Daemon::start_in(folder, &config);
    count(&daemon, 0, &[7]);
    fs::remove_file(&state).unwrap();
    let folder = daemon.stop().folder;
    let daemon = Daemon::start_in(folder, &config);
    assert_eq!(on_page(&daemon, "c_total"), Some(7.0));
    count(&daemon, 0, &[8]);
    daemon.stop();
    let values: Vec<f64> = influx.stored()["c count"].values().copied().collect();
    assert_eq!(values, [15.0], "the window is continued");
}

#[test]
fn a_reload_that_replaces_the_page_keeps_its_totals() {
    let config = |more: &str| {
        format!(
            "interval: 100ms\nforwarders: {{ prometheus: {{ listen: \"127.0.0.1:0\"{more} }} }}\n"
        )
    };
    let daemon = Daemon::start(&config(""));
    count(&daemon, 0, &[5]);
    daemon.wait_for("the window", |status| status["forwarders"]["prometheus"]["delivered"] == 1);
    daemon.reload(&config(", max_connections: 9"));
    count(&daemon, 1, &[7]);
    let folder = daemon.stop().folder;
    let daemon = Daemon::start_in(folder, &config(""));
    assert_eq!(on_page(&daemon, "c_total"), Some(12.0));
}
