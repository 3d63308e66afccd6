//! The daemon refuses an invalid configuration with the position of the error, and does not warn about
//! a valid one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::process::Output;
use std::time::{Duration, Instant};

use common::rates::full_windows;
use common::{Daemon, tallyd};

/// Runs a command on a configuration file and returns its status and standard error, with `FILE` for
/// the path.
fn outcome(command: &str, text: &str) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tallyd.yaml");
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let Output { status, stderr, .. } =
        tallyd().args([command, "--config", path]).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stderr).unwrap().replace(path, "FILE"))
}

#[test]
fn check_and_run_refuse_every_mistake_at_its_position() {
    for (text, first_line, more) in [
        ("bind_prt: 5090", "FILE:1:1: unknown key `bind_prt`", "did you mean `bind_port`?"),
        (
            "---\nbind_port: 99999",
            "FILE:2:12: `bind_port` must be a whole number from 0 to 65535, not `99999`",
            "2 | bind_port: 99999",
        ),
        ("bind_port: abc", "FILE:1:12: `bind_port` must be a whole number", "^^^"),
        ("debug_mode: maybe", "FILE:1:13: `debug_mode` must be", "debug_mode: maybe"),
        ("bind_address: no such host", "FILE:1:15: `bind_address`: must be an IP address", ""),
        ("interval: 5ms", "FILE:1:11: `interval`: must be between 100ms and 1h, not 5ms", ""),
        ("interval: 0s", "FILE:1:11: `interval`: must be between 100ms and 1h, not 0s", ""),
        ("shutdown_timeout: 0", "FILE:1:19: `shutdown_timeout`: must be greater than 0, not", ""),
        (
            "admin: { max_connections: -1 }",
            "FILE:1:27: `admin.max_connections`: must be between 1 and ",
            "",
        ),
        ("receive_buffer: 0", "FILE:1:17: `receive_buffer`: must be at least 1B, not `0`", ""),
        (
            "forwarders: { graphite: { address: h, percent_threshold: [90] } }",
            "FILE:1:39: unknown key `forwarders.graphite.percent_threshold`",
            "= `percent_threshold` belongs in the section `forwarders.graphite.etsy`",
        ),
        (
            "forwarders: { kafka: { broker: b } }",
            "FILE:1:24: unknown key `forwarders.kafka.broker`",
            "= did you mean `kafka_broker`?",
        ),
        (
            "kafka.broker: b",
            "FILE:1:1: unknown key `kafka.broker`",
            "= write it as `kafka_broker` in the section `forwarders.kafka`",
        ),
        (
            "kafka: { kafka_broker: b }",
            "FILE:1:1: unknown key `kafka`",
            "= `kafka` belongs in the section `forwarders`",
        ),
        (
            "aggregation: { interval: 1s }",
            "FILE:1:16: unknown key `aggregation.interval`",
            "= `interval` belongs at the top level of the file",
        ),
        ("interval: 10 parsecs", "FILE:1:11: `interval`: a duration is a number with a unit", ""),
        (
            "aggregation:\n  percentiles: [50, 101]",
            "FILE:2:21: `aggregation.percentiles[1]`: a percentile is a decimal number greater than 0",
            "^^^",
        ),
        ("aggregation: { max_series: 0 }", "FILE:1:28: `aggregation.max_series`: must be at", ""),
        (
            "forwarders:\n  kafka:\n    kafka_broker: b:9092",
            "FILE:2:3: `forwarders.kafka.kafka_topic` is missing",
            "2 |   kafka:",
        ),
        (
            "forwarders:\n  kafka:\n    kafka_broker: b:9092\n    kafka_topic: a b",
            "FILE:4:18: `forwarders.kafka.kafka_topic`",
            "",
        ),
        (
            "forwarders:\n  kafka:\n    kafka_broker: b:1\n    kafka_topic: t\n    librdkafka: { nonsense: 1 }",
            "FILE:5:",
            "nonsense",
        ),
        (
            "forwarders:\n  console: { format: xml }",
            "FILE:2:22: `forwarders.console.format`",
            "allowed: text, json, influx",
        ),
        ("forwarders:\n  kafak: {}", "FILE:2:3: unknown key `forwarders.kafak`", "`kafka`?"),
        (
            "forwarders:\n  file:\n    - { path: /tmp/a }\n    - { path: /tmp/b }",
            "FILE:4:7: two destinations are called `file`: give each its own `name`",
            "",
        ),
        ("forwarders: { file: { path: a, select: { include: [\"{\"] } } }", "FILE:1:", "glob"),
        ("listeners: []", "FILE:1:12: `listeners`: must contain a listener", "bind_port"),
        ("listeners: [{ address: nowhere }]", "FILE:1:24: `listeners[0].address`", "host:port"),
        ("admin: { listen: 5 }", "FILE:1:18: `admin.listen`", "none"),
        ("agent:\n\ttags: {}", "FILE:2:", ""),
        (
            "agent: { tags: { a: \"${TALLYD_TEST_IS_NOT_SET}\" } }",
            "FILE:1:21: ",
            "TALLYD_TEST_IS_NOT",
        ),
        ("bind_port: 1\nbind_port: 2", "FILE:2:1: ", "line 1"),
        ("log: { level: loud }", "FILE:1:15: ", "allowed: error, warn, info, debug, trace"),
    ] {
        for command in ["check", "run"] {
            let (status, stderr) = outcome(command, text);
            assert_eq!(status, 1, "{command}: {text}: {stderr}");
            assert!(stderr.starts_with(first_line), "{command}: {text}:\n{stderr}");
            assert!(stderr.contains(more), "{command}: {text}:\n{stderr}");
        }
    }
}

#[test]
fn fractions_in_place_of_percentages_are_warned_about() {
    let text = "aggregation: { percentiles: [0.5, 0.95, 0.999] }\nforwarders:\n  graphite:\n    - \
                { address: \"127.0.0.1:9\", name: a }\n    - { address: \"127.0.0.1:9\", etsy: { \
                percent_threshold: [0.57, -0.1] } }\n";
    let (status, stderr) = outcome("check", text);
    assert_eq!(status, 0, "{stderr}");
    for line in [
        "warning: FILE:1:16: `aggregation.percentiles`: all are 1 % or less, which are values near \
         the minimum or maximum of a timer",
        "did you mean [50, 95, 99.9]?",
        "warning: FILE:5:41: `forwarders.graphite.etsy.percent_threshold`: all are",
        "did you mean [57, -10]?",
    ] {
        assert!(stderr.contains(line), "{stderr}");
    }
    for list in ["[50]", "[0.5, 50]", "[]"] {
        let text = format!("aggregation: {{ percentiles: {list} }}");
        let (_, stderr) = outcome("check", &text);
        assert!(!stderr.contains("percentiles"), "{list}: {stderr}");
    }
    let daemon = Daemon::start("aggregation: { percentiles: [0.5, 0.99] }");
    let warnings = daemon.stop().warnings().concat();
    assert!(warnings.contains("`aggregation.percentiles`: all are 1 % or less"), "{warnings}");
    assert!(warnings.contains("did you mean [50, 99]?"), "{warnings}");
}

#[test]
fn check_finds_paths_at_which_no_socket_can_be_bound() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "precious").unwrap();
    for (name, why) in [
        ("file", "path exists and is not a socket"),
        ("", "path exists and is not a socket"),
        ("missing/socket", "its folder does not exist"),
        ("file/socket", "a part of the path is no folder"),
    ] {
        for transport in ["unix", "unix_datagram"] {
            let path = at(name);
            let text = format!(
                "admin: {{ listen: none }}\nlisteners: [{{ transport: {transport}, path: {} }}]",
                path.display()
            );
            let (status, stderr) = outcome("check", &text);
            assert_eq!(status, 1, "{name}: {stderr}");
            assert!(stderr.starts_with("FILE:2:"), "{stderr}");
            assert!(stderr.contains("`listeners[0].path`: cannot listen on "), "{stderr}");
            assert!(stderr.contains(why), "{stderr}");
            let (status, stderr) = outcome("run", &text);
            assert!(status == 1 && stderr.contains(why), "{stderr}");
        }
    }
    assert_eq!(fs::read_to_string(at("file")).unwrap(), "precious");
    let text = "listeners: [{ transport: unix, path: /run/tallyd-missing/socket }]";
    let (status, stderr) = outcome("check", text);
    assert!(status == 0 && stderr.contains("warning: FILE:1:"), "{stderr}");
}

#[test]
fn a_destination_cannot_write_to_the_daemons_own_files() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().display();
    std::os::unix::fs::symlink(folder.path(), folder.path().join("link")).unwrap();
    for (path, why) in [
        (format!("{state}/tallyd.yaml"), "is the configuration file"),
        (format!("{state}/link/tallyd.yaml"), "is the configuration file"),
        (format!("{state}/spool"), "is in the folder of the spools"),
        (format!("{state}/link/spool/kafka/new/1.b"), "is in the folder of the spools"),
        (format!("{state}/restart/totals"), "is in the folder of the restart state"),
    ] {
        for key in [
            format!("forwarders: {{ file: {{ path: {path} }} }}"),
            format!("listeners: [{{ transport: unix, path: {path} }}]"),
        ] {
            let text = format!("state_dir: {state}\n{key}\n");
            let config = folder.path().join("tallyd.yaml");
            fs::write(&config, &text).unwrap();
            for command in ["check", "run"] {
                let output = tallyd().arg(command).arg("--config").arg(&config).output().unwrap();
                let stderr = String::from_utf8(output.stderr).unwrap();
                assert!(
                    stderr.contains(why) && stderr.contains(":2:"),
                    "{command} {path}: {stderr}"
                );
                assert_eq!(output.status.code(), Some(1), "{command} {path}");
            }
            assert_eq!(fs::read_to_string(&config).unwrap(), text);
        }
    }
}

#[test]
fn no_file_of_a_configuration_is_read_without_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for file in [pipe.to_str().unwrap(), "/dev/zero"] {
        for text in [
            format!("agent: {{ tags: {{ a: \"${{file:{file}}}\" }} }}"),
            format!(
                "forwarders: {{ influxdb: {{ url: \"https://h\", database: d, tls: {{ ca_file: {file} }} }} }}"
            ),
            format!(
                "forwarders: {{ prometheus: {{ remote_write: {{ url: \"https://h/w\", tls: {{ cert_file: \
                 {file}, key_file: {file} }} }} }} }}"
            ),
            format!(
                "forwarders: {{ kafka: {{ kafka_broker: \"h:9\", kafka_topic: t, librdkafka: {{ \
                 security.protocol: ssl, ssl.ca.location: {file} }} }} }}"
            ),
        ] {
            for command in ["check", "run"] {
                let began = Instant::now();
                let (status, stderr) = outcome(command, &text);
                assert_eq!(status, 1, "{text}: {stderr}");
                assert!(stderr.starts_with("FILE:1:"), "{text}: {stderr}");
                assert!(began.elapsed() < Duration::from_secs(30), "{text}: {stderr}");
            }
        }
    }
}

#[test]
fn check_warns_of_addresses_in_use_except_those_of_the_daemon_with_this_file() {
    let folder = tempfile::tempdir().unwrap();
    let ports: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let free = ports.iter().map(|port| port.local_addr().unwrap().to_string());
    let [admin, tcp, page] = free.collect::<Vec<_>>().try_into().unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let datagrams = udp.local_addr().unwrap();
    let text = format!(
        "admin: {{ listen: \"{admin}\" }}\nlisteners:\n  - address: {datagrams}\n  - {{ transport: tcp, \
         address: \"{tcp}\" }}\n  - {{ transport: unix, path: {} }}\nforwarders: {{ prometheus: {{ \
         listen: \"{page}\" }} }}\n",
        folder.path().join("socket").display()
    );
    let (status, stderr) = outcome("check", &text);
    assert_eq!(status, 0, "{stderr}");
    for key in ["admin.listen", "listeners[0].address", "listeners[1].address", "prometheus.listen"]
    {
        assert!(stderr.contains(key), "{key}: {stderr}");
    }
    assert_eq!(stderr.matches("warning: FILE:").count(), 4, "{stderr}");
    drop((ports, udp));
    assert_eq!(outcome("check", &text), (0, String::new()));
    let daemon = Daemon::start(&text);
    let config = daemon.path("tallyd.yaml");
    let output = tallyd().args(["check", "--config"]).arg(&config).output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    // For another file, they are in use.
    let (_, stderr) = outcome("check", &text);
    assert_eq!(stderr.matches("warning: FILE:").count(), 5, "{stderr}");
    // The sockets of the daemon still work.
    let sample = br#"{"metric_name":"a","metric_type":"counter"}"#;
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(sample, datagrams).unwrap();
    daemon.wait_received(1);
}

#[test]
fn a_missing_file_is_named() {
    let output = tallyd().args(["check", "--config", "/nowhere/tallyd.yaml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("/nowhere/tallyd.yaml: cannot be read: No such file"), "{stderr}");
}

#[test]
fn wrong_usage_is_status_2() {
    for args in [&[][..], &["rnu"], &["run", "--confg", "x"]] {
        assert_eq!(tallyd().args(args).output().unwrap().status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_good_configuration_never_warns() {
    let text = r#"
bind_address: localhost
agent: { tags: { version: 1.10, environment: "${TALLYD_TEST_IS_NOT_SET:-stage}" }, on_conflict: message }
interval: 500ms
aggregation: { percentiles: [50, 99.9], max_series: 10, max_series_per_metric: 5, expire_after: 1h }
limits: { max_tags: 20 }
receive_buffer: 64KiB
shutdown_timeout: 5s
forwarders:
  console: { format: influx }
  file:
    - { name: one, path: DIR/one, select: { exclude: ["x.*"], drop_tags: [a], tags: { b: c }, prefix: p. } }
    - { name: two, path: DIR/two, format: json, delivery: { timeout: 3s, retry: { initial: 1s, max: 2s } } }
"#;
    let daemon = Daemon::start(text);
    daemon.send(r#"{"metric_name":"m","metric_type":"counter","a":"1","version":"mine"}"#);
    daemon.wait_received(1);
    let stopped = daemon.stop();
    assert!(stopped.status.success());
    assert_eq!(stopped.warnings(), [""; 0]);
    let one = full_windows(&stopped.read("one"), 0.5);
    assert!(
        one.ends_with("counter p.m b=c environment=stage version=mine count=1 rate=2\n"),
        "{one}"
    );
    let stdout = full_windows(&stopped.stdout, 0.5);
    assert!(stdout.starts_with("m,a=1,environment=stage,version=mine count=1,rate=2 "));
    assert_eq!(stopped.points("two")[0]["tags"]["version"], "mine");
}

#[test]
fn an_address_in_use_is_reported() {
    let daemon = Daemon::start("");
    let text = format!("bind_port: {}\nadmin: {{ listen: none }}\n", daemon.udp.port());
    let (status, stderr) = outcome("run", &text);
    assert_eq!(status, 1);
    assert!(stderr.contains("another program listens there"), "{stderr}");
}
