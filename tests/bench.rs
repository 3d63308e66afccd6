//! `tallyd bench` against the real daemon: its report agrees with the daemon's ledger.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{TcpListener, UdpSocket};
use std::process::Output;
use std::time::{Duration, Instant};

use common::{Daemon, PATIENCE, tallyd};
use serde_json::{Value, json};

/// Runs `tallyd bench` with these arguments to its end.
fn bench(args: &[&str]) -> Output {
    tallyd().arg("bench").args(args).env_remove("NO_COLOR").output().unwrap()
}

/// Runs `tallyd bench` with this expected exit status and returns its JSON report.
fn report(args: &[&str], status: i32) -> Value {
    let output = bench(&[args, &["--json"]].concat());
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{args:?}: {told}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {told}"))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn url(daemon: &Daemon) -> String {
    format!("http://{}", daemon.admin)
}

/// Checks the report of a run without loss.
fn assert_all_accepted(report: &Value, messages: u64) {
    assert_eq!(report["sent"]["messages"], messages, "{report:#}");
    assert_eq!(report["ledger"]["received"], messages, "{report:#}");
    assert_eq!(report["ledger"]["accepted"], messages, "{report:#}");
    assert_eq!(report["ledger"]["unaccounted"], 0, "{report:#}");
    assert_eq!(report["accounted"], true, "{report:#}");
}

/// Slow enough for the smallest receive buffer that hosts grant by default.
const GENTLE: [&str; 2] = ["--rate", "2000"];

#[test]
fn the_daemon_aggregates_every_json_message_sent() {
    let daemon = Daemon::start("forwarders: { file: { path: DIR/points, format: json } }\n");
    let (to, admin) = (format!("udp://{}", daemon.udp), url(&daemon));
    let types = "counter=2,gauge=1,timer=1,set=1,trace=1";
    let args = [&to, "--admin", &admin, "--count", "600", "--series", "12", "--types", types];
    let report = report(&[&args[..], &GENTLE].concat(), 0);
    assert_all_accepted(&report, 600);
    assert_eq!(report["sent"]["datagrams"], 600);
    let status = daemon.status();
    assert_eq!(status["ledger"]["aggregated"], 600);
    assert_eq!(status["series"]["total"], 12);
    assert_eq!(report["sent"]["bytes"], status["ledger"]["bytes"]);
    assert_eq!(report["daemon"]["instance"], status["instance"]);

    let points = daemon.stop().points("points");
    // 600 messages, round-robin over 12 series, of which 4 are counters.
    assert_eq!(common::total(&points, "bench.counter.0", "count"), 200.0);
    assert_eq!(common::total(&points, "bench.timer.0", "count"), 100.0);
    assert_eq!(common::total(&points, "bench.trace.0", "count"), 100.0);
}

#[test]
fn batches_of_statsd_lines_are_counted_by_line() {
    let daemon = Daemon::start(
        "listeners: [{ protocol: statsd, address: \"127.0.0.1:0\" }]\n# bind_port: none\n",
    );
    let (to, admin) = (format!("udp://{}", daemon.udp), url(&daemon));
    let args = [&to, "--admin", &admin, "--protocol", "statsd", "--batch", "10"];
    let args = [&args[..], &["--count", "1001", "--series", "7"], &GENTLE].concat();
    let report = report(&args, 0);
    // Only whole datagrams are sent.
    assert_all_accepted(&report, 1010);
    assert_eq!(report["sent"]["datagrams"], 101);
    assert_eq!(daemon.status()["series"]["total"], 7);
}

#[test]
fn each_transport_delivers_every_message() {
    for transport in ["udp", "tcp", "unix", "unix_datagram"] {
        let spawn = format!("--spawn={transport}");
        let args = [&spawn, "--count", "3000", "--rate", "20k", "--sockets", "3"];
        let report = report(&args, 0);
        assert_all_accepted(&report, 3000);
        let endpoint = report["endpoint"].as_str().unwrap();
        assert!(endpoint.starts_with(&format!("{transport}://")), "{endpoint}");
        let is_datagram = transport == "udp" || transport == "unix_datagram";
        assert_eq!(report["sent"]["datagrams"].is_u64(), is_datagram);
        let listener = report["ledger"]["listeners"][0].as_str().unwrap();
        assert!(listener.starts_with(&format!("json/{transport} ")), "{listener}");
    }
}

#[test]
fn a_stream_is_sent_as_fast_as_the_daemon_takes_it() {
    let args = ["--spawn=tcp", "--protocol", "statsd", "--rate", "max", "--count", "100k"];
    assert_all_accepted(&report(&args, 0), 100_000);
}

#[test]
fn the_rate_is_not_exceeded() {
    let args = ["--spawn", "--rate", "1000", "--duration", "300ms", "--batch", "3"];
    let report = report(&args, 0);
    let (sent, seconds) = (&report["sent"], report["sent"]["seconds"].as_f64().unwrap());
    assert!(seconds >= 0.3, "{sent}");
    // The first datagram is due immediately.
    let messages = sent["messages"].as_f64().unwrap();
    assert!(messages >= 3.0 && messages <= 1000.0 * seconds + 3.0, "{sent}");
    assert_eq!(report["load"]["rate"], 1000);
}

#[test]
fn a_spawned_daemon_is_measured_and_stopped() {
    let report = report(&["--spawn", "--count", "2000", "--rate", "20k"], 0);
    assert_all_accepted(&report, 2000);
    let daemon = &report["daemon"];
    let cpu = daemon["cpu_s"].as_f64().unwrap();
    assert!(cpu > 0.0, "{daemon}");
    let per_million = daemon["cpu_s_per_million"].as_f64().unwrap();
    assert!((per_million - cpu * 500.0).abs() < 1e-6 * per_million, "{daemon}");
    assert!(report["sent"]["cpu_s_per_million"].as_f64().unwrap() > 0.0);
    assert!(daemon["resident_peak_bytes"].as_u64().unwrap() > 1 << 20, "{daemon}");
    let pid = daemon["pid"].as_u64().unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "it still runs");
}

#[test]
fn the_json_report_has_its_documented_members() {
    let report = report(&["--spawn", "--count", "10"], 0);
    let members =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let expected = json!({
        "endpoint": 0, "protocol": 0, "load": 0, "sent": 0, "ledger": 0, "daemon": 0, "accounted": 0,
    });
    assert_eq!(members(&report), members(&expected));
    let page = std::fs::read_to_string(common::root().join("docs/bench.md")).unwrap();
    for part in ["load", "sent", "ledger", "daemon"] {
        for member in members(&report[part]) {
            assert!(page.contains(&format!("`{member}`")), "docs/bench.md on {part}.{member}");
        }
    }
}

#[test]
fn the_text_report_shows_counts_losses_and_costs() {
    let output = bench(&["--spawn", "--count", "1000", "--rate", "10k"]);
    assert!(output.status.success());
    let text = text(&output.stdout);
    for part in ["sent ", "1,000", "accepted ", "kernel drops ", "unaccounted "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains("CPU seconds per million messages"), "{text}");
    assert!(text.contains("All messages were accepted"), "{text}");
    assert!(!text.contains('\x1b') && output.stderr.is_empty(), "no terminal, no escapes: {text}");
}

#[test]
fn rejected_messages_are_reported_by_reason() {
    let daemon = Daemon::start("limits: { max_tags: 2 }\n");
    let (to, admin) = (format!("udp://{}", daemon.udp), url(&daemon));
    let args = [&[&to, "--admin", &admin, "--count", "50"][..], &GENTLE].concat();
    let told = report(&args, 0);
    assert_eq!(told["ledger"]["rejected"], json!({ "too_many_tags": 50 }));
    assert_eq!(told["ledger"]["accepted"], 0);
    assert_eq!(told["accounted"], true);
    report(&[&args[..], &["--strict"]].concat(), 1);
}

#[test]
fn datagrams_that_the_kernel_drops_are_accounted_for() {
    // The buffer is smaller than the datagrams of one system call.
    let daemon = Daemon::start("receive_buffer: 4KiB\n");
    let (to, admin) = (format!("udp://{}", daemon.udp), url(&daemon));
    let args = [&to, "--admin", &admin, "--count", "20k", "--batch", "5", "--rate", "max"];
    let report = report(&args, 0);
    let ledger = &report["ledger"];
    let drops = ledger["kernel_drops"].as_u64().unwrap();
    assert!(drops > 0, "{ledger}");
    assert_eq!(ledger["received"].as_u64().unwrap() + 5 * drops, 20_000);
    assert_eq!(report["accounted"], true);
}

#[test]
fn datagrams_that_share_packets_are_counted_one_by_one() {
    let args = ["--spawn", "--gso", "--message-bytes", "200", "--count", "3000", "--rate", "20k"];
    let report = report(&args, 0);
    assert_all_accepted(&report, 3000);
    assert_eq!(report["sent"]["datagrams"], 3000);
    assert_eq!((&report["sent"]["gso"], &report["ledger"]["gro"]), (&json!(true), &json!(true)));
}

#[test]
fn dropped_packets_of_several_datagrams_explain_missing_messages() {
    let daemon = Daemon::start(
        "receive_buffer: 4KiB\nlisteners: [{ address: \"127.0.0.1:0\", gro: true }]\n# bind_port: none\n",
    );
    let (to, admin) = (format!("udp://{}", daemon.udp), url(&daemon));
    let args = [&to, "--admin", &admin, "--gso", "--message-bytes", "200", "--rate", "max"];
    let output = bench(&[&args[..], &["--count", "20k"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stdout);
    assert!(told.contains("perhaps in the ") && told.contains(" dropped packets"), "{told}");

    // The same load to a listener without `gro` is accounted for.
    let daemon = Daemon::start("receive_buffer: 4KiB\n");
    let (to, admin) = (format!("udp://{}", daemon.udp), url(&daemon));
    let args = [&to, "--admin", &admin, "--gso", "--message-bytes", "200", "--rate", "max"];
    let report = report(&[&args[..], &["--count", "20k"]].concat(), 0);
    assert!(report["ledger"]["kernel_drops"].as_u64() > Some(0), "{report:#}");
    assert_eq!(report["ledger"]["unaccounted"], 0);
}

#[test]
fn messages_that_no_daemon_receives_are_reported_missing() {
    // The ledger is read from another daemon than the one that receives the messages.
    let daemon = Daemon::start("");
    let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = elsewhere.local_addr().unwrap().to_string();
    let report = report(&[&to, "--admin", &url(&daemon), "--count", "10"], 1);
    assert_eq!(report["ledger"]["unaccounted"], 10);
    assert_eq!(report["ledger"]["listeners"], json!([]));
    assert_eq!(report["accounted"], false);
}

#[test]
fn a_target_that_does_not_listen_fails_before_the_measurement() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for to in [format!("udp://{udp}"), format!("tcp://{tcp}"), "unix:///nowhere".to_owned()] {
        let output = bench(&[&to]);
        assert_eq!(output.status.code(), Some(1), "{to}");
        let told = text(&output.stderr);
        assert!(told.contains(&to) && told.contains("tallyd bench --spawn"), "{told}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn without_an_admin_endpoint_only_the_sending_is_reported() {
    let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().to_string();
    let told = report(&[&to, "--no-admin", "--count", "10"], 0);
    assert_eq!((&told["sent"]["messages"], &told["ledger"]), (&json!(10), &Value::Null));

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = bench(&[&to, "--admin", &nobody, "--count", "10"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--no-admin"), "{}", text(&output.stderr));
}

#[test]
fn wrong_usage_is_reported_before_anything_is_sent() {
    let daemon = Daemon::start(
        "listeners: [{ protocol: statsd, address: \"127.0.0.1:0\" }]\n# bind_port: none\n",
    );
    let (to, admin) = (format!("udp://{}", daemon.udp), url(&daemon));
    for (args, word) in [
        (vec!["--protocol", "statsd", "--types", "trace", "--spawn"], "trace"),
        (vec!["--batch", "2", "--spawn=tcp"], "--batch"),
        (vec!["--gso", "--spawn=unix_datagram"], "--gso"),
        (vec!["--batch", "10000"], "65507"),
        (vec!["--rate", "0"], "greater than 0"),
        (vec!["--types", "meter"], "`meter`"),
        (vec!["http://127.0.0.1:80"], "not a transport"),
        (vec!["--spawn", "--admin", "http://127.0.0.1:1"], "--admin"),
        (vec![to.as_str(), "--admin", &admin], "--protocol statsd"),
    ] {
        let output = bench(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(word), "{args:?}: {}", text(&output.stderr));
    }
    assert_eq!(daemon.status()["ledger"]["datagrams"], 1, "no more than an empty one");
}

#[test]
fn the_same_seed_generates_the_same_messages() {
    let print = |seed: &str| bench(&["--print", "200", "--seed", seed]).stdout;
    let messages = print("7");
    assert_eq!(text(&messages).lines().count(), 200);
    assert_eq!(messages, print("7"));
    assert_ne!(messages, print("8"));
    for line in text(&messages).lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        assert!(message["metric_name"].as_str().unwrap().starts_with("bench."), "{line}");
    }
}

#[test]
fn a_signal_ends_the_sending_and_the_report_follows() {
    let daemon = Daemon::start("");
    let (to, admin) = (format!("udp://{}", daemon.udp), url(&daemon));
    let child = tallyd()
        .args(["bench", &to, "--admin", &admin, "--rate", "1000", "--duration", "1h", "--json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    daemon.wait_received(1);
    let sent =
        std::process::Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["sent"]["interrupted"], true);
    assert_all_accepted(&report, report["sent"]["messages"].as_u64().unwrap());
}

#[test]
fn a_killed_load_generator_takes_its_daemon_along() {
    let mut generator = tallyd()
        .args(["bench", "--spawn", "--rate", "100", "--duration", "1h"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let children = format!("/proc/{0}/task/{0}/children", generator.id());
    let is_daemon = |pid: &String| {
        let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
        arguments.is_ok_and(|arguments| arguments.contains("\0run\0"))
    };
    let daemon = wait_for("the daemon", || {
        let pid = std::fs::read_to_string(&children).unwrap().trim().to_owned();
        Some(pid).filter(is_daemon)
    });
    generator.kill().unwrap();
    generator.wait().unwrap();
    wait_for("its end", || (!is_daemon(&daemon)).then_some(()));
}

/// Polls until there is a result.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}
