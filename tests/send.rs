//! `tallyd send` against the real daemon: its reports agree with the daemon's ledger.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, UdpSocket};
use std::process::{Output, Stdio};

use common::{Daemon, shown, tallyd, write_config};

/// One listener of each kind in addition to the one for JSON over UDP.
const LISTENERS: &str = "\
bind_port: 0
listeners:
  - { protocol: statsd, address: \"127.0.0.1:0\" }
  - { transport: tcp, address: \"127.0.0.1:0\" }
  - { transport: unix, path: DIR/stream.sock }
  - { transport: unix_datagram, path: DIR/datagram.sock }
forwarders: { file: { path: DIR/points, format: json } }
";

/// Runs `tallyd send` with these arguments to its end.
fn send(args: &[&str]) -> Output {
    tallyd().arg("send").args(args).stdin(Stdio::null()).output().unwrap()
}

/// Runs `tallyd send` with a file as standard input.
fn send_input(args: &[&str], input: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input");
    fs::write(&path, input).unwrap();
    tallyd().arg("send").args(args).stdin(File::open(path).unwrap()).output().unwrap()
}

/// Exit status, standard output, standard error.
fn told(output: &Output) -> (i32, &str, &str) {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// Sends with `--verify`; returns the output after the line about the sent message.
fn verified(daemon: &Daemon, to: &str, words: &[&str], status: i32) -> String {
    let admin = format!("http://{}", daemon.admin);
    let output = send(&[words, &["--to", to, "--verify", "--admin", &admin]].concat());
    let (code, stdout, stderr) = told(&output);
    assert_eq!(code, status, "{words:?}: {stdout}{stderr}");
    let (first, rest) = stdout.split_once('\n').unwrap_or_default();
    assert!(first.starts_with("sent "), "{stdout}{stderr}");
    assert!(!stdout.contains('\x1b'), "no terminal, no colours: {stdout}");
    rest.to_owned()
}

#[test]
fn verified_messages_are_aggregated_over_each_transport() {
    let daemon = Daemon::start(LISTENERS);
    let udp = format!("udp://{}", daemon.udp);
    let tcp = format!("tcp://{}", daemon.address("json/tcp "));
    let statsd = format!("udp://{}", daemon.address("statsd/udp "));
    let unix = format!("unix://{}", daemon.path("stream.sock").display());
    let datagram = format!("unix_datagram://{}", daemon.path("datagram.sock").display());
    let word = |metric: &'static str| [metric, "counter", "2.5", "stage=login"];
    for (to, metric, by) in [
        (&udp, "udp", "json/udp "),
        (&tcp, "tcp", "json/tcp "),
        (&unix, "unix", "json/unix "),
        (&datagram, "unix_datagram", "json/unix_datagram "),
    ] {
        let told = verified(&daemon, to, &word(metric), 0);
        assert!(told.starts_with(&format!("accepted by {by}")), "{told}");
    }
    let line = [&word("statsd")[..], &["--statsd", "--sample-rate", "0.5"]].concat();
    assert!(verified(&daemon, &statsd, &line, 0).starts_with("accepted by statsd/udp "));
    // On a stream a newline would end the message, but within an array it is whitespace.
    let array = "[{\"metric_name\": \"array\", \"metric_type\": \"trace\"},\n \
                 {\"metric_name\": \"array\", \"metric_type\": \"trace\"}]";
    assert!(verified(&daemon, &tcp, &[array], 0).starts_with("accepted"));

    let points = daemon.stop().points("points");
    let total = |name| common::total(&points, name, "count");
    for name in ["udp", "tcp", "unix", "unix_datagram"] {
        assert_eq!(total(name), 2.5, "{name}");
    }
    assert_eq!((total("statsd"), total("array")), (5.0, 2.0));
    assert!(shown(&points).iter().any(|point| point.contains("counter udp {stage:login}")));
}

#[test]
fn a_message_that_the_daemon_would_reject_is_not_sent() {
    let daemon = Daemon::start("");
    let to = format!("udp://{}", daemon.udp);
    let output = send(&["--to", &to, "user.latency", "timr", "12.5"]);
    let (code, stdout, stderr) = told(&output);
    assert_eq!((code, stdout), (1, ""));
    assert!(
        stderr.starts_with(
            "not sent: unknown_type at byte 47 (/metric_type): expected `trace`, `gauge`, \
             `counter`, `timer` or `set`, got \"timr\"; did you mean \"timer\"?\n"
        ),
        "{stderr}"
    );
    assert!(stderr.ends_with("^\n"), "a mark below the place: {stderr}");
    assert_eq!(send(&["--to", &to, "good", "counter"]).status.code(), Some(0));
    let status = daemon.wait_received(1);
    assert_eq!(status["ledger"]["rejected"], serde_json::json!({}));
}

#[test]
fn a_forced_message_is_sent_and_the_daemons_reason_is_reported() {
    let daemon = Daemon::start("limits: { max_tags: 1 }\n");
    let to = format!("udp://{}", daemon.udp);
    let told = verified(&daemon, &to, &["--force", "m", "gauge", "1,5"], 1);
    for part in ["rejected by json/udp ", "bad_value: 1", "expected a finite number", "\"1,5\""] {
        assert!(told.contains(part), "{part}: {told}");
    }
    // This message only exceeds the limit of this daemon.
    let told = verified(&daemon, &to, &["m", "gauge", "1", "a=1", "b=2"], 1);
    assert!(told.contains("too_many_tags: 1"), "{told}");
    assert_eq!(daemon.status()["ledger"]["aggregated"], 0);
}

#[test]
fn the_address_and_limits_come_from_the_configuration() {
    let daemon = Daemon::start(LISTENERS);
    let folder = tempfile::tempdir().unwrap();
    let statsd = daemon.address("statsd/udp ");
    let config = format!(
        "bind_address: \"{}\"\nbind_port: {}\nadmin: {{ listen: \"{}\" }}\n\
         limits: {{ max_tags: 1 }}\nlisteners: [{{ protocol: statsd, address: \"{statsd}\" }}]\n",
        daemon.udp.ip(),
        daemon.udp.port(),
        daemon.admin
    );
    let path = write_config(&folder, &config);
    let config = ["--config", path.to_str().unwrap(), "--verify"];
    for words in [&["m", "counter"][..], &["m", "counter", "--statsd"]] {
        let output = send(&[&config, words].concat());
        assert_eq!(told(&output).0, 0, "{:?}", told(&output));
    }
    let output = send(&[&config[..], &["m", "counter", "a=1", "b=2"]].concat());
    assert!(told(&output).2.contains("too_many_tags"), "{:?}", told(&output));
    let status = daemon.wait_received(2);
    assert_eq!(status["ledger"]["received"], 2);
    let listeners = status["listeners"].as_array().unwrap();
    let statsd =
        listeners.iter().find(|one| one["listener"].as_str().unwrap().starts_with("statsd"));
    assert_eq!(statsd.unwrap()["received"], 1);
}

#[test]
fn lines_of_standard_input_are_sent_and_invalid_ones_are_reported_by_number() {
    let daemon = Daemon::start(LISTENERS);
    let admin = format!("http://{}", daemon.admin);
    let mut input = String::new();
    for number in 1..=2000 {
        let kind = if number % 100 == 0 { "cuonter" } else { "counter" };
        input += &format!("{{\"metric_name\": \"m\", \"metric_type\": \"{kind}\"}}\r\n\n");
    }
    for to in [format!("udp://{}", daemon.udp), format!("tcp://{}", daemon.address("json/tcp "))] {
        let args = ["-", "--to", &to, "--rate", "20k", "--verify", "--admin", &admin];
        let output = send_input(&args, &input);
        let (code, stdout, stderr) = told(&output);
        assert_eq!(code, 1, "{stdout}{stderr}");
        assert!(stdout.starts_with("sent 1980 messages, "), "{stdout}");
        assert!(stdout.contains("\naccepted by json/"), "{stdout}");
        assert!(stderr.starts_with("line 199: not sent: unknown_type"), "{stderr}");
        assert_eq!(stderr.matches("not sent: unknown_type").count(), 10, "{stderr}");
        assert!(stderr.contains("not sent: 20 lines in total"), "{stderr}");
        assert!(!stderr.contains('\r') && !stderr.contains('\x1b'), "no progress: {stderr}");
    }
    assert_eq!(daemon.status()["ledger"]["aggregated"], 3960);
}

#[test]
fn messages_of_all_sizes_that_are_sent_together_arrive_whole() {
    let daemon = Daemon::start(LISTENERS);
    let admin = format!("http://{}", daemon.admin);
    let unix = format!("unix_datagram://{}", daemon.path("datagram.sock").display());
    // Runs of one size, which share packets over UDP, and single ones; up to 40 kB.
    let sizes = (0..400_usize).map(|number| match number % 100 {
        0 => 40_000,
        place @ 1..20 => place * 50,
        _ => 30 + number / 100,
    });
    let line = |size| {
        let tag = "x".repeat(size);
        format!("{{\"metric_name\":\"m\",\"metric_type\":\"counter\",\"tag\":\"{tag}\"}}\n")
    };
    let input: String = sizes.map(line).collect();
    for to in [&format!("udp://{}", daemon.udp), &unix] {
        let args = ["-", "--to", to, "--verify", "--admin", &admin, "--rate", "5k"];
        let output = send_input(&args, &input);
        let (code, stdout, stderr) = told(&output);
        assert_eq!(code, 0, "{stdout}{stderr}");
        assert!(stdout.starts_with("sent 400 messages, "), "{stdout}");
    }
    let status = daemon.status();
    assert_eq!(status["ledger"]["bytes"], 2 * (input.len() - 400));
    assert_eq!(common::total(&daemon.stop().points("points"), "m", "count"), 800.0);
}

#[test]
fn each_line_of_slow_input_is_sent_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("tcp://{}", listener.local_addr().unwrap());
    let mut child = tallyd()
        .args(["send", "-", "-q", "--statsd", "--to", &to])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut connection = BufReader::new(listener.accept().unwrap().0);
    for line in ["a:1|c\n", "b:1|c\n"] {
        stdin.write_all(line.as_bytes()).unwrap();
        let mut read = String::new();
        connection.read_line(&mut read).unwrap();
        assert_eq!(read, line);
    }
    drop(stdin);
    drop(connection);
    assert!(child.wait().unwrap().success());
}

#[test]
fn messages_that_do_not_arrive_are_reported() {
    let daemon = Daemon::start(LISTENERS);
    let admin = format!("http://{}", daemon.admin);
    // Another program's socket, which receives messages that the daemon never sees.
    let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = format!("udp://{}", elsewhere.local_addr().unwrap());
    let output = send(&["m", "counter", "--to", &to, "--verify", "--admin", &admin]);
    let (code, stdout, _) = told(&output);
    assert_eq!(code, 1);
    assert!(stdout.contains("1 of 1 messages did not arrive"), "{stdout}");
    assert!(stdout.contains("no listener at this address"), "{stdout}");

    let statsd = format!("udp://{}", daemon.address("statsd/udp "));
    let output = send(&["m", "counter", "--to", &statsd, "--verify", "--admin", &admin]);
    let (code, stdout, stderr) = told(&output);
    assert_eq!((code, stdout), (1, ""), "{stderr}");
    assert!(stderr.contains("speaks statsd: add --statsd"), "{stderr}");
}

#[test]
fn a_refused_connection_is_a_failure() {
    let daemon = Daemon::start(
        "bind_port: 0\nlisteners: [{ transport: tcp, address: \"127.0.0.1:0\", allow: [10.9.8.7] }]\n",
    );
    let to = format!("tcp://{}", daemon.address("json/tcp "));
    let admin = format!("http://{}", daemon.admin);
    let output = send(&["m", "counter", "--to", &to, "--verify", "--admin", &admin]);
    let (code, stdout, stderr) = told(&output);
    assert_eq!(code, 1, "{stdout}{stderr}");
    assert!(stdout.contains("refused as not_allowed: 1") || stderr.contains("`allow`"), "{stderr}");
}

#[test]
fn print_sends_nothing() {
    let output = send(&["m", "set", "a=b", "k=v", "--print", "--to", "127.0.0.1:9"]);
    let printed =
        "{\"metric_name\": \"m\", \"metric_type\": \"set\", \"value\": \"a=b\", \"k\": \"v\"}\n";
    assert_eq!(told(&output), (0, printed, ""));
}

#[test]
fn the_exit_status_distinguishes_wrong_usage_from_failure() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let to = format!("udp://{gone}");
    for (args, status, said) in [
        (&["m"][..], 2, "the type is missing"),
        (&["m", "counter", "1", "stage"], 2, "`stage` is not a tag"),
        (&["m", "counter", "--to", "http://a:1"], 2, "not a transport"),
        (&["m", "counter", "--to", &to], 1, "no daemon listens there"),
        (&["", "counter", "--to", &to, "--print"], 1, "bad_name"),
        (&["[]", "--to", &to, "--print"], 1, "it contains no message"),
        (&["m", "counter", "--config", "/nowhere.yaml"], 1, "/nowhere.yaml"),
        (
            &["m", "counter", "--to", &to, "--verify", "--admin", "127.0.0.1:1"],
            1,
            "use --admin for another endpoint",
        ),
    ] {
        let output = send(args);
        let (code, stdout, stderr) = told(&output);
        assert_eq!(code, status, "{args:?}: {stdout}{stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
}

#[test]
fn a_message_larger_than_a_datagram_is_not_sent() {
    let line = format!("{}:1|c", "x".repeat(70_000));
    let args = ["-", "--statsd", "--print", "--to", "127.0.0.1:9"];
    let (code, stdout, stderr) = (send_input(&args, &line), "", "line 1: not sent: too_long: udp");
    assert_eq!((told(&code).0, told(&code).1), (1, stdout));
    assert!(told(&code).2.starts_with(stderr), "{}", told(&code).2);
}
