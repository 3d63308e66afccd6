//! `idle`: the points of live series without samples, compared with a real statsd and a real
//! Telegraf, and from end to end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use common::carbon::Catcher;
use common::etsy::{Flushes, Pair, Round, is_its_own, read};
use common::{Daemon, PATIENCE, points, root, shown, tallyd};
use serde_json::Value;

#[path = "idle/telegraf.rs"]
mod telegraf;

// ---- Compared with a real statsd ---------------------------------------------------------------

/// Attempts to compare in which neither of both flushes between two rounds.
const ATTEMPTS: usize = 5;
const ROUNDS: usize = 10;

/// The series of each round: each has samples in some rounds, and gaps of one to nine rounds.
fn input(round: usize, with_changes: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |is_now: bool, line: String| {
        if is_now {
            lines.push(line);
        }
    };
    add(round == 1, "c.once:3|c".into());
    add(round.is_multiple_of(3), format!("c.third:{round}|c|@0.5"));
    add([2, 3, 8].contains(&round), "c.gap:-1|c|#env:prod".into());
    add(round == 4, "c.zero:0|c".into());
    add(round == 1, "t.once:7|ms".into());
    add([1, 5, 6, 10].contains(&round), format!("t.gap:{round}|ms|@0.25"));
    add([3, 9].contains(&round), "t.tagged:1|ms|#env:prod".into());
    add(round == 2, "s.once:x|s".into());
    add([1, 7].contains(&round), format!("s.gap:{round}|s"));
    add(round == 1, "g.once:42|g".into());
    add([2, 8].contains(&round), format!("g.gap:{round}.5|g|#env:prod"));
    add(round == 3, "g.zero:0|g".into());
    add([1, 5, 7].contains(&round), format!("g.often:{round}|g"));
    add(with_changes && [2, 6, 9].contains(&round), "g.changed:+5|g".into());
    add(with_changes && round == 4, "g.changed:-1|g".into());
    lines
}

/// The lines of ten rounds from both, with no flush in between: statsd counts the flushes in which it
/// keeps a gauge.
fn rounds(statsd: &str, members: &str, with_changes: bool) -> Option<Vec<Round>> {
    for _ in 0..ATTEMPTS {
        let mut pair = Pair::start(statsd, members)?;
        for round in 1..=ROUNDS {
            pair.round(&input(round, with_changes));
        }
        let Flushes { rounds, has_gap, .. } = pair.finish();
        if !has_gap {
            return Some(rounds);
        }
    }
    panic!("the machine is too busy: a flush came between two rounds in {ATTEMPTS} attempts");
}

/// Compares every line of ten rounds, in both namespaces. `idle` is the number of lines that statsd
/// wrote for series without samples in the round.
#[allow(clippy::print_stderr, reason = "--nocapture shows how much was compared")]
fn compare(statsd: &str, members: &str, with_changes: bool) {
    for legacy in [true, false] {
        let statsd = format!("{statsd}, graphite: {{ legacyNamespace: {legacy} }}");
        let members = format!("etsy: {{ legacy_namespace: {legacy} }}, {members}");
        let Some(rounds) = rounds(&statsd, &members, with_changes) else { return };
        let mut lines = 0;
        for (number, Round { statsd: theirs, daemon: ours }) in (1..).zip(rounds) {
            let of_series = theirs.into_iter().filter(|(path, _)| !is_its_own(path));
            let theirs: BTreeMap<String, f64> = of_series.collect();
            lines += theirs.len();
            assert_eq!(ours, theirs, "round {number}: tallyd, statsd; {statsd}; {members}");
        }
        eprintln!("{statsd}: {lines} equal lines");
        assert!(lines > 50, "{lines}");
    }
}

#[test]
fn statsd_and_tallyd_write_the_same_lines_for_idle_series_by_default() {
    compare("deleteIdleStats: false", "", true);
}

#[test]
fn statsd_and_tallyd_write_the_same_lines_with_delete_idle_stats() {
    compare("deleteIdleStats: true", "idle: none", false);
}

#[test]
fn statsd_and_tallyd_write_the_same_lines_with_delete_counters() {
    compare("deleteCounters: true", "idle: { counters: none }", true);
}

#[test]
fn statsd_and_tallyd_write_the_same_lines_with_delete_timers() {
    compare("deleteTimers: true", "idle: { timers: none }", true);
}

#[test]
fn statsd_and_tallyd_write_the_same_lines_with_delete_sets() {
    compare("deleteSets: true", "idle: { sets: none }", true);
}

#[test]
fn statsd_and_tallyd_write_the_same_lines_with_delete_gauges() {
    compare("deleteGauges: true", "idle: { gauges: none }", false);
}

#[test]
fn statsd_and_tallyd_write_the_same_lines_with_a_ttl_of_gauges() {
    // Three flushes: that of the sample, and two of idle windows.
    compare("deleteGauges: true, gaugesMaxTTL: 3", "idle_for: { gauges: 2s }", false);
}

#[test]
fn statsd_and_tallyd_write_the_same_lines_with_delete_idle_stats_except_gauges() {
    compare(
        "deleteIdleStats: true, deleteGauges: false",
        "idle: { counters: none, timers: none, sets: none, traces: none }",
        true,
    );
}

#[test]
fn statsd_and_tallyd_write_the_same_lines_with_delete_idle_stats_and_a_ttl_of_gauges() {
    compare(
        "deleteIdleStats: true, gaugesMaxTTL: 4, deleteSets: false",
        "idle: { counters: none, timers: none, traces: none }, idle_for: { gauges: 3s }",
        false,
    );
}

// ---- From end to end ---------------------------------------------------------------------------

const EACH_KIND: &str = "c:3|c\ng:7|g\nt:5|ms\ns:x|s";

/// The configuration of a daemon with a listener for statsd and these destinations.
fn config(interval: &str, forwarders: &str) -> String {
    format!(
        "interval: {interval}\nlisteners: [{{ protocol: statsd, address: \"127.0.0.1:0\" }}]\n\
         forwarders: {{ {forwarders} }}\n"
    )
}

fn send(daemon: &Daemon, lines: &str) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(lines.as_bytes(), daemon.address("statsd/udp ")).unwrap();
}

/// Waits until a file has a window that meets the condition, and returns its points.
fn wait_for_window(daemon: &Daemon, file: &str, is_met: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The last line may be incomplete, and its window too.
        let text = std::fs::read_to_string(daemon.path(file)).unwrap_or_default();
        let mut windows: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
        for point in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            windows.entry(point["timestamp"].as_u64().unwrap()).or_default().push(point);
        }
        if let Some(window) = windows.into_values().find(|window| is_met(window)) {
            return window;
        }
        assert!(Instant::now() < deadline, "timeout waiting for a window in {file}: {text}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn has_count(count: f64) -> impl Fn(&[Value]) -> bool {
    move |window| {
        let is_it =
            |one: &Value| one["name"] == "c" && one["fields"]["count"].as_f64() == Some(count);
        window.iter().any(is_it)
    }
}

#[test]
fn each_destination_gets_the_idle_series_that_it_wants_and_its_ledger_counts_them() {
    let daemon = Daemon::start(&config(
        "200ms",
        "file: [{ name: all, path: DIR/all, format: json, idle: statsd }, \
                { name: gauges, path: DIR/gauges, format: json, idle: { gauges: last } }, \
                { name: none, path: DIR/none, format: json }]",
    ));
    send(&daemon, EACH_KIND);
    let is_complete = |window: &[Value]| has_count(0.0)(window) && window.len() == 4;
    let window = wait_for_window(&daemon, "all", is_complete);
    let zeros = [
        "counter c {} {count:0}",
        "gauge g {} {value:7}",
        "set s {} {count:0}",
        "timer t {} {count:0}",
    ];
    assert_eq!(shown(&window), zeros);
    let schema = std::fs::read_to_string(root().join("docs/record.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    assert!(window.iter().all(|record| schema.is_valid(record)), "{window:?}");
    let is_gauge_alone = |window: &[Value]| window.len() == 1 && window[0]["name"] == "g";
    wait_for_window(&daemon, "gauges", is_gauge_alone);
    // One more window with samples, so that an idle one between both would show.
    send(&daemon, "c:5|c");
    wait_for_window(&daemon, "none", has_count(5.0));
    let stopped = daemon.stop();
    let folder = stopped.folder.path();
    assert_eq!(points(&folder.join("none")).len(), 5, "no point of an idle series");
    for name in ["all", "gauges", "none"] {
        let last = stopped
            .log
            .iter()
            .rfind(|entry| entry["forwarder"] == name && entry.get("flushed").is_some());
        let ledger = last.unwrap_or_else(|| panic!("{name} in {:#?}", stopped.log));
        let lines = points(&folder.join(name)).len();
        assert_eq!([&ledger["flushed"], &ledger["delivered"]], [lines, lines], "{name}");
    }
}

#[test]
fn idle_series_end_after_idle_for_and_when_they_expire() {
    let daemon = Daemon::start(&format!(
        "aggregation: {{ expire_after: 1s }}\n{}",
        config(
            "200ms",
            "file: { path: DIR/all, format: json, idle: statsd, idle_for: { gauges: 400ms } }"
        )
    ));
    send(&daemon, EACH_KIND);
    daemon.wait_for("the end of all series", |status| {
        status["series"]["total"] == 0 && status["forwarders"]["file"]["flushed"].as_u64() > Some(4)
    });
    let records = points(&daemon.path("all"));
    // From the window with the sample to the last idle one. A window may be longer than 200 ms on a busy
    // machine, so that the time of an end is exact to a window.
    let idle_ms = |name: &str| {
        let mut ends = records
            .iter()
            .filter(|record| record["name"] == name)
            .map(|record| record["timestamp"].as_u64().unwrap());
        let first = ends.next().unwrap();
        ends.next_back().unwrap() - first
    };
    for name in ["c", "s", "t"] {
        assert!((800..=1200).contains(&idle_ms(name)), "{name}: {}", idle_ms(name));
    }
    assert!((200..=600).contains(&idle_ms("g")), "g: {}", idle_ms("g"));
}

#[test]
fn a_reload_changes_what_idle_series_write() {
    let of = |idle: &str| {
        config("200ms", &format!("file: {{ path: DIR/all, format: json, idle: {idle} }}"))
    };
    let daemon = Daemon::start(&of("none"));
    send(&daemon, EACH_KIND);
    wait_for_window(&daemon, "all", has_count(3.0));
    daemon.reload(&of("statsd"));
    wait_for_window(&daemon, "all", has_count(0.0));
    daemon.reload(&of("{ sets: zero }"));
    let is_set_alone = |window: &[Value]| window.len() == 1 && window[0]["name"] == "s";
    wait_for_window(&daemon, "all", is_set_alone);
}

#[test]
fn gauges_keep_their_value_over_a_restart_and_other_idle_series_begin_with_their_next_sample() {
    let config = config("200ms", "file: { path: DIR/all, format: json, idle: statsd }");
    let daemon = Daemon::start(&config);
    send(&daemon, EACH_KIND);
    wait_for_window(&daemon, "all", has_count(0.0));
    let stopped = daemon.stop();
    assert!(stopped.status.success());
    std::fs::remove_file(stopped.folder.path().join("all")).unwrap();
    let daemon = Daemon::start_in(stopped.folder, &config);
    let first = wait_for_window(&daemon, "all", |_| true);
    assert_eq!(shown(&first), ["gauge g {} {value:7}"]);
    send(&daemon, "c:1|c");
    wait_for_window(&daemon, "all", has_count(0.0));
}

#[test]
fn points_of_idle_series_wait_on_disk_like_any_others() {
    let catcher = Catcher::start();
    let folder = tempfile::tempdir().unwrap();
    let config = |address: &str| {
        config(
            "1s",
            &format!(
                "graphite: {{ address: \"{address}\", naming: etsy, delivery: {{ retry: {{ max: 1s }} }} }}"
            ),
        )
    };
    // No program listens at this address.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let daemon = Daemon::start_in(folder, &config(&free.to_string()));
    send(&daemon, EACH_KIND);
    daemon.wait_for("idle windows on disk", |status| {
        status["forwarders"]["graphite"]["spooled"].as_u64() >= Some(8)
    });
    let stopped = daemon.stop();
    let daemon = Daemon::start_in(stopped.folder, &config(&catcher.address));
    daemon.wait_for("the delivery", |status| {
        let ledger = &status["forwarders"]["graphite"];
        ledger["recovered"].as_u64() >= Some(8) && ledger["spooled"] == 0
    });
    daemon.stop();
    let lines: Vec<_> = catcher
        .connections()
        .iter()
        .flat_map(|text| text.lines().map(read).collect::<Vec<_>>())
        .collect();
    let values = |path: &str| -> Vec<f64> {
        let mut found: Vec<_> = lines.iter().filter(|line| line.0 == path).collect();
        found.sort_by_key(|line| line.2);
        found.iter().map(|line| line.1).collect()
    };
    for (path, first, idle) in [
        ("stats.counters.c.count", 3.0, 0.0),
        ("stats.gauges.g", 7.0, 7.0),
        ("stats.sets.s.count", 1.0, 0.0),
        ("stats.timers.t.count", 1.0, 0.0),
    ] {
        let values = values(path);
        assert!(values.len() > 1 && values[0] == first, "{path}: {values:?}");
        assert!(values[1..].iter().all(|value| *value == idle), "{path}: {values:?}");
    }
    assert_eq!(values("stats.timers.t.mean"), [5.0]);
}

#[test]
fn counters_and_gauges_stay_alive_at_a_statsd_destination() {
    let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = receiver.local_addr().unwrap();
    let daemon = Daemon::start(&config(
        "200ms",
        &format!("statsd: {{ address: \"{address}\", idle: statsd }}"),
    ));
    send(&daemon, EACH_KIND);
    let mut packet = [0; 2048];
    let mut received = || {
        let length = receiver.recv(&mut packet).unwrap();
        let mut lines: Vec<String> =
            std::str::from_utf8(&packet[..length]).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(received()[..2], ["c:3|c", "g:7|g"]);
    assert_eq!(received(), ["c:0|c", "g:7|g"]);
}

#[test]
fn destinations_without_points_for_idle_series_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tallyd.yaml");
    for (forwarders, words) in [
        ("prometheus: { idle: statsd }", "must be `none`: the page and remote write keep"),
        (
            "statsd: { address: a, idle: { sets: zero } }",
            "`sets` must be `none`: statsd's protocol",
        ),
        ("console: { idle_for: 1m }", "has no effect without points to limit"),
        ("console: { idle: { gauges: zero } }", "zero"),
    ] {
        std::fs::write(&path, format!("forwarders: {{ {forwarders} }}\n")).unwrap();
        let args = ["check", "--config", path.to_str().unwrap()];
        let output = tallyd().args(args).output().unwrap();
        let said =
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(words), "{forwarders}: {said}");
    }
}

#[test]
fn an_idle_for_without_effect_is_warned_about() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tallyd.yaml");
    for (idle_for, words) in [
        ("5s", "warning: FILE:1:40: `forwarders.console.idle_for`: shorter than `interval` (10s)"),
        ("{ gauges: 11m }", "idle_for`: longer than `aggregation.expire_after` (10m)"),
        ("10s", ""),
        ("10m", ""),
        ("1h } }\nrules: [{ match: a, expire_after: 1h }]\naggregation: { gauge_memory: 24h", ""),
        (
            "2h } }\nrules: [{ match: a, expire_after: 1h }]\naggregation: { gauge_memory: 24h",
            "longer",
        ),
    ] {
        // The braces after the value close the sections of the last line.
        let close = if idle_for.contains('\n') { "}" } else { "} }" };
        let text =
            format!("forwarders: {{ console: {{ idle: statsd, idle_for: {idle_for} {close}\n");
        std::fs::write(&path, text).unwrap();
        let output = tallyd().args(["check", "--config", path.to_str().unwrap()]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let said = said.replace(path.to_str().unwrap(), "FILE");
        assert!(output.status.success() && said.contains(words), "{idle_for}: {said}");
        assert_eq!(said.contains("idle_for"), !words.is_empty(), "{idle_for}: {said}");
    }
}

#[test]
fn explain_shows_the_lines_of_a_window_without_samples() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tallyd.yaml");
    let config = "forwarders: { graphite: { address: \"g:2003\", naming: etsy, idle_for: 1m } }\n";
    std::fs::write(&path, config).unwrap();
    let args = ["explain", "--statsd", "--json", "--config", path.to_str().unwrap()];
    let output = tallyd().args(args).args(["t:5|ms"]).output().unwrap();
    let explained: Value = serde_json::from_slice(&output.stdout).unwrap();
    let idle = &explained["forwarders"][0]["idle"];
    let text = idle[0]["body"]["text"].as_str().unwrap_or_else(|| panic!("{explained:#}"));
    let lines: Vec<&str> = text.lines().map(|line| line.rsplit_once(' ').unwrap().0).collect();
    assert_eq!(lines, ["stats.timers.t.count 0", "stats.timers.t.count_ps 0"]);
}
