//! `tallyd compare` with files, with daemons that send to it, and with topics.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::carbon::Statsd;
use common::{Daemon, PATIENCE, tallyd};
use forwarders::testing::real_server;
use serde_json::Value;

fn text(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// The comparison of two files with these contents.
fn files(old: &str, new: &str, args: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let (old, new) = (path("old", old), path("new", new));
    let mut command = tallyd();
    command.args(["compare", "--old"]).arg(old).arg("--new").arg(new).args(args);
    text(&command.output().unwrap())
}

#[test]
fn equal_files_have_no_difference() {
    let lines = "stats.counters.a.count 5 1700000000\nstats.counters.a.count 7 1700000010\n";
    let (status, stdout, stderr) = files(lines, lines, &[]);
    assert_eq!(status, 0, "{stdout}{stderr}");
    assert!(
        stdout.contains("equal: 1 series\n") && stdout.ends_with("no unexplained difference\n")
    );
}

#[test]
fn a_difference_has_its_window_values_and_totals() {
    let old = "a.count 5 10\na.count 7 20\nb 1 10\nc 1 10\n";
    let new = "a.count 5 10\na.count 6 20\nb 1 10\nd 1 10\n";
    let (status, stdout, _) = files(old, new, &[]);
    assert_eq!(status, 1);
    for line in [
        "different: 1 series\n  a.count: 1 of 2 windows; first 1970-01-01T00:00:20.000Z: old 7, new 6; \
         totals: old 12, new 11\n",
        "only in old: 1 series\n  c\n",
        "only in new: 1 series\n  d\n",
        "3 UNEXPLAINED DIFFERENCES\n",
    ] {
        assert!(stdout.contains(line), "{stdout}");
    }
    let (status, stdout, _) = files(old, new, &["--json"]);
    assert_eq!(status, 1);
    let json: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&json["equal"], &json["unexplained"]), (&1.into(), &3.into()));
    assert_eq!(json["different"][0]["series"], "a.count");
    assert_eq!((&json["only_old"][0], &json["only_new"][0]), (&"c".into(), &"d".into()));
    let (status, ..) = files("a 1 10\n", "a 1.01 10\n", &["--tolerance", "0.02"]);
    assert_eq!(status, 0);
}

#[test]
fn a_source_without_values_is_a_failure_with_advice() {
    let (status, stdout, _) = files("", "a 1 10\n(lp0\n", &[]);
    assert_eq!(status, 1);
    assert!(stdout.contains("hint: old has no values"), "{stdout}");
    assert!(stdout.contains("hint: 1 lines of new have no value, such as `(lp0`"), "{stdout}");
    assert!(stdout.ends_with("NOTHING TO COMPARE\n"), "{stdout}");
    let output = tallyd().args(["compare", "--old", "/nonexistent", "--new", "/dev/null"]).output();
    let (status, _, stderr) = text(&output.unwrap());
    assert_eq!(status, 1);
    assert!(stderr.starts_with("/nonexistent: cannot be read"), "{stderr}");
    for (old, new) in [("tcp://:1", "tcp://:1"), ("tcp://:1", "/dev/null")] {
        let args = ["compare", "--old", old, "--new", new];
        assert_eq!(text(&tallyd().args(args).output().unwrap()).0, 2, "{old} {new}");
    }
}

/// A line of each window of 5 s.
fn windows(series: &str, values: &[f64]) -> String {
    let lines = values.iter().enumerate();
    lines
        .map(|(index, value)| format!("{series} {value} {}\n", 1_796_068_000 + 5 * index))
        .collect()
}

#[test]
fn a_daemon_that_began_later_has_a_partial_first_window() {
    let old = windows("stats.counters.c.count", &[100.0; 6]);
    let late = old.lines().skip(1).collect::<Vec<_>>().join("\n").replacen(" 100 ", " 94 ", 1);
    let (status, stdout, _) = files(&late, &old, &[]);
    assert_eq!(status, 0, "{stdout}");
    assert!(stdout.contains("explained: 1 series: partial first or last window"), "{stdout}");
    let more = late.replacen(" 94 ", " 104 ", 1);
    assert_eq!(files(&more, &old, &[]).0, 1, "a part has not more");
}

#[test]
fn rates_of_a_window_that_ended_late_are_explained_by_its_length() {
    let daemon = |lengths: &[f64]| {
        let rates = |count: f64| lengths.iter().map(|length| count / length).collect::<Vec<_>>();
        windows("stats.counters.a.count", &vec![70.0; lengths.len()])
            + &windows("stats.counters.a.rate", &rates(70.0))
            + &windows("stats.timers.b.count", &vec![9.0; lengths.len()])
            + &windows("stats.timers.b.count_ps", &rates(9.0))
    };
    let old = daemon(&[5.0; 6]);
    let new = daemon(&[5.0, 5.0, 5.062, 5.0, 4.938, 5.0]);
    let (status, stdout, _) = files(&old, &new, &[]);
    assert_eq!(status, 0, "{stdout}");
    assert!(stdout.contains("explained: 2 series: a window of one daemon was longer"), "{stdout}");
    let (_, json, _) = files(&old, &new, &["--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["explained"]["window_length"], 2, "{json:#}");
    // The rate of one series does not belong to that length.
    let wrong = new.replace(&(9.0_f64 / 5.062).to_string(), "1.79");
    let (status, stdout, _) = files(&old, &wrong, &[]);
    assert_eq!(status, 1, "{stdout}");
}

#[test]
fn a_gauge_that_cannot_be_judged_has_a_hint() {
    let gauge = |values: &[f64]| windows("stats.gauges.g", values);
    let old = gauge(&[5.0, 1.0, 9.0, 2.0, 8.0, 3.0]);
    let new = gauge(&[5.0, 7.0, 50.0, 6.0, 7.0, 4.0]);
    let new = (0..6).fold(new, |new, k| {
        new.replace(&(1_796_068_000 + 5 * k).to_string(), &(1_796_068_002 + 5 * k).to_string())
    });
    let (status, stdout, _) = files(&old, &new, &[]);
    assert_eq!(status, 1, "{stdout}");
    assert!(stdout.contains("hint: of the different series, 1 are gauges"), "{stdout}");
}

#[test]
fn a_comparison_in_the_background_of_a_script_ignores_the_interrupt_of_another_program() {
    let command = format!(
        "{} compare --old tcp://127.0.0.1:0 --new tcp://127.0.0.2:0 --for 10m & echo $!; wait $!",
        tallyd().get_program().display()
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &command]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut shell = shell.spawn().unwrap();
    let mut pid = String::new();
    BufReader::new(shell.stdout.as_mut().unwrap()).read_line(&mut pid).unwrap();
    let mut stderr = BufReader::new(shell.stderr.take().unwrap()).lines();
    let first = stderr.next().unwrap().unwrap();
    assert!(first.starts_with("comparing for 10m"), "{first}");
    for signal in ["-INT", "-TERM"] {
        assert!(Command::new("kill").args([signal, pid.trim()]).status().unwrap().success());
    }
    let ended = stderr.next().unwrap().unwrap();
    assert!(ended.starts_with("SIGTERM ended it"), "{ended}");
    shell.wait().unwrap();
}

/// `tallyd compare` that listens at two free ports.
struct Comparing {
    child: Child,
    ports: [u16; 2],
}

impl Comparing {
    fn start() -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners = [free(), free()];
        let ports = listeners.each_ref().map(|one| one.local_addr().unwrap().port());
        drop(listeners);
        let [old, new] = ports.map(|port| format!("tcp://127.0.0.1:{port}"));
        let mut command = tallyd();
        command.args(["compare", "--old", &old, "--new", &new, "--for", "10m", "--json"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while ports.iter().any(|port| TcpStream::connect(("127.0.0.1", *port)).is_err()) {
            assert!(Instant::now() < deadline, "the command does not listen");
            std::thread::yield_now();
        }
        Self { child, ports }
    }

    /// Ends it, and returns its result.
    fn end(self) -> (i32, Value) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let (status, stdout, _) = text(&self.child.wait_with_output().unwrap());
        (status, serde_json::from_str(&stdout).unwrap())
    }
}

/// A daemon that writes statsd's names to a port, with a mirror target if there is one.
fn daemon(port: u16, mirror: Option<&str>) -> Daemon {
    let mirror = mirror.map_or(String::new(), |target| format!(", mirror: [\"udp://{target}\"]"));
    Daemon::start(&format!(
        "interval: 1s\nlisteners: [{{ protocol: statsd, address: \"127.0.0.1:0\"{mirror} }}]\n\
         # bind_port: none\nforwarders:\n  graphite:\n    address: \"127.0.0.1:{port}\"\n    \
         naming: etsy\n"
    ))
}

const KINDS: [&str; 5] = ["page:1|c", "time:12|ms", "level:+3|g", "who:x|s", "half:1|c|@0.5"];

/// Sends 1,000 lines a second to the daemon until it has closed this number of windows: a process that
/// gets no processor time for a quarter of a second loses none of them, with a receive buffer of 200 KiB.
fn send_for(daemon: &Daemon, windows: u64) {
    let mut sent = 0;
    loop {
        for _ in 0..50 {
            daemon.send(KINDS[sent as usize % KINDS.len()]);
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(50));
        let status = daemon.wait_received(sent);
        if status["windows"]["closed"].as_u64().unwrap() >= windows {
            return;
        }
    }
}

#[test]
fn two_daemons_with_mirrored_traffic_agree() {
    let comparing = Comparing::start();
    let second = daemon(comparing.ports[1], None);
    let address = second.address("statsd/udp").to_string();
    let first = daemon(comparing.ports[0], Some(&address));
    send_for(&first, 4);
    first.stop();
    second.stop();
    let (status, result) = comparing.end();
    assert_eq!(status, 0, "{result:#}");
    assert_eq!(result["unexplained"], 0);
    assert!(result["old"]["series"].as_u64() >= Some(10), "{result:#}");
}

#[test]
fn a_daemon_that_loses_samples_differs() {
    let comparing = Comparing::start();
    let second = daemon(comparing.ports[1], None);
    let address = second.address("statsd/udp").to_string();
    let first = daemon(comparing.ports[0], Some(&address));
    send_for(&first, 3);
    // More than the mirrored samples of a window.
    for _ in 0..50_000 {
        second.send("page:1000|c");
    }
    send_for(&first, 5);
    first.stop();
    second.stop();
    let (status, result) = comparing.end();
    assert_eq!(status, 1, "{result:#}");
    let names: Vec<&str> = result["different"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["series"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"stats.counters.page.count"), "{names:?}");
}

#[test]
fn the_real_statsd_and_tallyd_have_no_unexplained_difference() {
    let comparing = Comparing::start();
    let port = comparing.ports[0];
    let config = format!(
        "{{ flushInterval: 1000, graphiteHost: '127.0.0.1', graphitePort: {port}, \
         graphite: {{ legacyNamespace: false }} }}"
    );
    let Some(statsd) = Statsd::start(&config) else {
        comparing.end();
        return;
    };
    let daemon = daemon(comparing.ports[1], Some(&statsd.address));
    // statsd's first window is longer than the interval on a busy machine. It has no samples then.
    daemon.wait_for("a window of both", |status| status["windows"]["closed"].as_u64() >= Some(2));
    send_for(&daemon, 8);
    daemon.stop();
    let (status, result) = comparing.end();
    assert_eq!(status, 0, "{result:#}");
    assert!(result["explained"]["self_metrics"].as_u64() >= Some(1), "{result:#}");
}

#[test]
fn two_topics_with_equal_records_have_no_difference() {
    let Some(broker) = real_server("TALLYD_TEST_KAFKA") else { return };
    let topics = ["compare-old", "compare-new"];
    let folder = tempfile::tempdir().unwrap();
    let kafka = topics.map(|topic| {
        format!("    - {{ name: {topic}, kafka_broker: \"{broker}\", kafka_topic: {topic} }}\n")
    });
    let config = format!("interval: 1s\nforwarders:\n  kafka:\n{}", kafka.concat());
    let daemon = Daemon::start_in(folder, &config);
    for number in 0..100 {
        daemon.send(format!(
            r#"{{"metric_name":"m{}","metric_type":"timer","value":{number},"k":1}}"#,
            number % 7
        ));
    }
    daemon.wait_received(100);
    assert!(daemon.stop().status.success());
    let [old, new] = topics.map(|topic| format!("kafka://{broker}/{topic}"));
    let mut command = tallyd();
    command.args(["compare", "--old", &old, "--new", &new, "--json"]);
    let (status, stdout, stderr) = text(&command.output().unwrap());
    assert_eq!(status, 0, "{stdout}{stderr}");
    let result: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(result["old"]["series"], result["equal"], "{result:#}");
    assert!(result["equal"].as_u64() >= Some(7 * 9), "{result:#}");
}
