//! `tallyd tap` against the real daemon: it shows the received samples and does not affect their
//! aggregation.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Child, ChildStdout, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::replay::Replay;
use common::{Daemon, PATIENCE, shown, tallyd, write_config};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

/// A running `tallyd tap`. Killed when dropped.
struct Tap {
    child: Child,
    lines: Receiver<String>,
    notes: Receiver<String>,
}

impl Tap {
    /// Starts a tap and waits until the daemon has accepted it.
    fn start(daemon: &Daemon, args: &[&str]) -> Self {
        let before = accepted(&daemon.status());
        let mut tap = Self::spawn(daemon, args);
        tap.lines = lines(tap.child.stdout.take().unwrap());
        wait_accepted(daemon, before + 1);
        tap
    }

    fn spawn(daemon: &Daemon, args: &[&str]) -> Self {
        let admin = format!("http://{}", daemon.admin);
        let mut command = tallyd();
        command.args(["tap", "--admin", &admin]).args(args).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let notes = lines(child.stderr.take().unwrap());
        Self { child, lines: channel().1, notes }
    }

    /// The next line.
    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("another line")
    }

    /// The next object of a tap with `--format json`.
    fn object(&self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }

    /// The next line of standard error.
    fn note(&self) -> String {
        self.notes.recv_timeout(PATIENCE).expect("another note")
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            std::process::Command::new("kill").args(["-s", name, &pid]).status().unwrap().success()
        );
    }

    /// Waits for the end of the tap; returns its status and the remaining lines.
    fn end(mut self) -> (i32, Vec<String>, Vec<String>) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the tap does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        (status.code().unwrap(), self.lines.iter().collect(), self.notes.iter().collect())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn accepted(status: &Value) -> u64 {
    status["taps"]["accepted"].as_u64().unwrap()
}

fn wait_accepted(daemon: &Daemon, count: u64) {
    daemon.wait_for("the tap", |status| accepted(status) >= count);
}

/// A client of the endpoint that reads its events.
struct Events(BufReader<reqwest::blocking::Response>);

impl Events {
    fn open(daemon: &Daemon, query: &str) -> Self {
        let client = common::http().timeout(None).build().unwrap();
        let url = format!("http://{}/api/v1/tap?{query}", daemon.admin);
        let reply = client.get(url).send().unwrap();
        assert_eq!(reply.status().as_u16(), 200);
        assert_eq!(reply.headers()["content-type"], "text/event-stream");
        Self(BufReader::new(reply))
    }

    /// The name and data of the next event.
    fn next(&mut self) -> Option<(String, Value)> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let [name, data] = &lines[..] else { panic!("{lines:?}") };
        let data = data.strip_prefix("data: ").unwrap();
        Some((
            name.strip_prefix("event: ").unwrap().to_owned(),
            serde_json::from_str(data).unwrap(),
        ))
    }
}

/// The sum of `counts` events.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    received: u64,
    unseen: u64,
    matched: u64,
    shown: u64,
    dropped: u64,
}

impl Counts {
    fn add(&mut self, counts: &Value) {
        for (sum, name) in [
            (&mut self.received, "received"),
            (&mut self.unseen, "unseen"),
            (&mut self.matched, "matched"),
            (&mut self.shown, "shown"),
            (&mut self.dropped, "dropped"),
        ] {
            *sum += counts[name].as_u64().unwrap();
        }
    }
}

fn counter(name: &str, tags: &str) -> String {
    format!(r#"{{"metric_name": "{name}", "metric_type": "counter"{tags}}}"#)
}

/// Runs `tallyd tap` to its end.
fn tap(args: &[&str]) -> Output {
    tallyd().arg("tap").args(args).stdin(Stdio::null()).output().unwrap()
}

fn error_of(output: &Output, status: i32) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    assert_eq!(output.stdout, b"", "{stderr}");
    stderr
}

// ---- What is shown -------------------------------------------------------------------------

#[test]
fn a_sample_is_shown_as_recorded() {
    let daemon = Daemon::start("agent: { tags: { env: stage, role: web } }\n");
    let tap = Tap::start(&daemon, &["--format", "json"]);
    daemon.send(
        r#"{"metric_name": "user.latency", "metric_type": "timer", "value": "12.5",
           "sample_rate": 0.25, "stage": "login", "role": "db"}"#
            .replace('\n', " "),
    );
    let mut sample = tap.object();
    assert!(sample["time"].as_str().unwrap().ends_with('Z'));
    assert!(sample["sender"].as_str().unwrap().starts_with("127.0.0.1:"));
    for member in ["time", "sender"] {
        sample[member] = Value::Null;
    }
    assert_eq!(
        sample,
        json!({
            "event": "sample", "time": null, "sender": null,
            "listener": format!("json/udp {}", daemon.udp),
            "type": "timer", "name": "user.latency", "means": "value", "value": 12.5,
            "sample_rate": 0.25, "tags": { "env": "stage", "role": "web", "stage": "login" },
            "agent_tags": ["env", "role"], "replaced": { "role": "db" },
        })
    );
    let values = [
        (r#""gauge", "value": -3"#, "set", json!(-3)),
        (r#""gauge", "value": "-3""#, "add", json!(-3)),
        (r#""set", "value": "a b""#, "member", json!("a b")),
        (r#""trace""#, "occurrence", Value::Null),
        (r#""counter", "count": 1.5"#, "count", json!(1.5)),
    ];
    for (rest, means, value) in values {
        // Repeated, so that the line is in the listener's line cache and is not decoded again.
        for _ in 0..3 {
            daemon.send(format!(r#"{{"metric_name": "m", "metric_type": {rest}}}"#));
            let sample = tap.object();
            assert_eq!((&sample["means"], &sample["value"]), (&means.into(), &value), "{rest}");
        }
    }
}

#[test]
fn only_matching_samples_are_shown() {
    let daemon = Daemon::start("agent: { tags: { env: stage } }\n");
    let args = ["--match", "user.*", "-m", "db", "--type", "counter,gauge", "--tag", "stage=log*"];
    let tap = Tap::start(&daemon, &[&args[..], &["-t", "env=stage", "--format", "json"]].concat());
    let login = r#", "stage": "login""#;
    for message in [
        counter("user.a", login),
        counter("other", login),
        counter("db", login),
        counter("db.x", login),
        counter("user.b", r#", "stage": "search""#),
        counter("user.c", ""),
        counter("user.d", login).replace("counter", "trace"),
        counter(r"us\u0065r.e", login),
        counter("user.f.g", r#", "stage": "logout", "env": "prod""#),
    ] {
        daemon.send(message);
    }
    // Several messages in a datagram, as lines and in an array.
    let two = format!("{}\n{}", counter("user.h", login), counter("no", login));
    daemon.send(&two);
    daemon.send(format!("[{}]", two.replace("user.h", "user.i").replace('\n', ",")));
    let names: Vec<_> = (0..6).map(|_| tap.object()["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["user.a", "db", "user.e", "user.f.g", "user.h", "user.i"]);
    tap.signal("INT");
    let (status, lines, notes) = tap.end();
    assert_eq!((status, lines, notes), (0, vec![], vec![]));
}

#[test]
fn senders_are_filtered_by_address_and_shown() {
    let daemon = Daemon::start("");
    let tap = Tap::start(&daemon, &["--from", "127.0.0.2", "--with-rejected"]);
    let other = UdpSocket::bind("127.0.0.2:0").unwrap();
    let from = format!(" from {}", other.local_addr().unwrap());
    for (message, part) in [("bad", " rejected bad_json at byte 0: "), (&counter("a", ""), " a 1 ")]
    {
        daemon.send(message);
        other.send_to(message.as_bytes(), daemon.udp).unwrap();
        let line = tap.line();
        assert!(line.contains(part) && line.ends_with(&from), "{line}");
        if message == "bad" {
            assert_eq!(tap.line().trim_start(), "bad");
        }
    }
}

#[test]
fn samples_of_every_transport_are_shown_with_their_sender() {
    let daemon = Daemon::start(
        "bind_port: 0\n\
         listeners:\n\
         \x20 - { protocol: statsd, transport: tcp, address: \"127.0.0.1:0\" }\n\
         \x20 - { transport: unix, path: DIR/stream.sock }\n\
         \x20 - { transport: unix_datagram, path: DIR/datagram.sock }\n",
    );
    let tap = Tap::start(&daemon, &["--format", "json"]);
    let mut tcp = TcpStream::connect(daemon.address("statsd/tcp ")).unwrap();
    tcp.write_all(b"a:1:2|c|#x:y\n").unwrap();
    for value in [1, 2] {
        let sample = tap.object();
        assert_eq!(sample["sender"], tcp.local_addr().unwrap().to_string());
        assert_eq!((&sample["value"], &sample["tags"]["x"]), (&json!(value), &json!("y")));
    }
    let path = daemon.path("stream.sock");
    let mut unix = UnixStream::connect(&path).unwrap();
    unix.write_all(format!("{}\n", counter("b", "")).as_bytes()).unwrap();
    let sample = tap.object();
    let sender = format!("unix:{} (pid {})", path.display(), std::process::id());
    assert_eq!(sample["sender"], sender);
    assert_eq!(sample["listener"], format!("json/unix {}", path.display()));
    let path = daemon.path("datagram.sock");
    UnixDatagram::unbound().unwrap().send_to(counter("c", "").as_bytes(), &path).unwrap();
    assert_eq!(tap.object()["sender"], format!("unix:{}", path.display()));
}

#[test]
fn polled_samples_of_kamailio_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    replay.learn("");
    let daemon = Daemon::start(&format!(
        "kamailio: [{{ endpoint: \"{}\", interval: 1s, tags: {{ node: edge-1 }} }}]\n",
        replay.unix
    ));
    let tap = Tap::start(&daemon, &["-m", "kamailio.core.uptime*", "-n", "1", "--format", "json"]);
    let sample = tap.object();
    assert_eq!(sample["listener"], format!("kamailio {}", replay.unix));
    assert_eq!((&sample["type"], &sample["tags"]["node"]), (&json!("gauge"), &json!("edge-1")));
}

#[test]
fn rejected_messages_are_shown_with_reason_and_position_and_are_escaped() {
    let daemon = Daemon::start("");
    let people = Tap::start(&daemon, &["--rejected"]);
    let programs = Tap::start(&daemon, &["--rejected", "--format", "json"]);
    daemon.send(counter("good", ""));
    daemon.send("{\"metric_name\": \"\x1b[31m\", \"metric_type\": \"timr\"}");
    let line = people.line();
    assert!(line.contains(" rejected bad_json at byte 17: expected "), "{line}");
    let line = people.line();
    assert_eq!(line.trim_start(), r#"{"metric_name": "\u{1b}[31m", "metric_type": "timr"}"#);
    let told = programs.object();
    let list: Value = serde_json::from_str(&daemon.get("/api/v1/rejected").1).unwrap();
    for member in ["listener", "sender", "reason", "offset", "expected", "excerpt"] {
        assert_eq!(told[member], list["rejected"][0][member], "{member}");
    }
    // All of them, whereas the endpoint's list records twenty a second.
    for _ in 0..50 {
        daemon.send("x");
    }
    (0..50).for_each(|_| assert_eq!(programs.object()["excerpt"], "x"));
}

const DROP_RULE: &str = "rules:\n- { match: \"debug.**\", drop: true }\n";

#[test]
fn samples_that_a_rule_drops_are_shown_each_time_with_their_own_line() {
    let daemon = Daemon::start(DROP_RULE);
    let tap = Tap::start(&daemon, &["--rejected", "--format", "json"]);
    let kept = [counter("kept", ""), counter("kept", "")].join("\n");
    let datagram = format!("{kept}\n{}", counter("debug.x", ""));
    // The first line of a name is decoded, and the next ones are known.
    for _ in 0..3 {
        daemon.send(&datagram);
    }
    let shown = [tap.object(), tap.object(), tap.object()];
    let list: Value = serde_json::from_str(&daemon.get("/api/v1/rejected").1).unwrap();
    for told in shown {
        for member in ["listener", "sender", "reason", "offset", "expected", "excerpt"] {
            assert_eq!(told[member], list["rejected"][0][member], "{member}");
        }
        assert_eq!((&told["reason"], &told["offset"]), (&json!("rule"), &json!(kept.len() + 1)));
    }
}

#[test]
fn samples_that_a_rule_drops_all_count_as_matched_in_a_flood() {
    let daemon = Daemon::start(&format!(
        "admin: {{ listen: \"127.0.0.1:0\", tap: {{ max_rate: 10 }} }}\n{DROP_RULE}"
    ));
    let taps = ["rejected=also", "rejected=only", ""].map(|query| Events::open(&daemon, query));
    let messages = 4_000;
    let name = |n| if n % 4 == 0 { "kept" } else { "debug.x" };
    daemon.send_paced((0..messages).map(|n| counter(name(n), "")));
    for (mut tap, matched) in taps.into_iter().zip([messages, messages / 4 * 3, messages / 4]) {
        let mut counts = Counts::default();
        while counts.received < messages {
            let (name, data) = tap.next().unwrap();
            if name == "counts" {
                counts.add(&data);
            }
        }
        assert_eq!((counts.matched, counts.unseen), (matched, 0), "{counts:?}");
        assert!(counts.shown > 0, "{counts:?}");
    }
}

#[test]
fn events_have_their_documented_members() {
    let daemon = Daemon::start("agent: { tags: { env: stage } }\n");
    let mut events = Events::open(&daemon, "rejected=also");
    daemon.send("x");
    daemon.send(format!("{}\n{}", counter("a", ""), counter(&"n".repeat(5000), "")));
    let admin = include_str!("../docs/admin.md");
    let mut seen = BTreeSet::new();
    let stop = std::thread::scope(|scope| {
        let mut stopped = None;
        let mut daemon = Some(daemon);
        while let Some((name, data)) = events.next() {
            seen.insert(name.clone());
            for member in data.as_object().unwrap().keys().chain([&name]) {
                assert!(admin.contains(&format!("`{member}`")) || name == "end", "{member}");
            }
            if name == "sample" && data["cut"] == true {
                let daemon = daemon.take().unwrap();
                stopped = Some(scope.spawn(move || daemon.stop()));
            }
        }
        stopped.unwrap().join().unwrap()
    });
    assert!(stop.status.success());
    let all = ["counts", "end", "rejected", "sample", "start"];
    assert!(seen.iter().eq(all), "{seen:?}");
}

// ---- More than can be shown ----------------------------------------------------------------

#[test]
fn a_flood_is_sampled_and_counted_completely() {
    let daemon = Daemon::start("admin: { listen: \"127.0.0.1:0\", tap: { max_rate: 10 } }\n");
    let tap = Tap::start(&daemon, &[]);
    let mut all = Events::open(&daemon, "rate=1000000");
    let mut some = Events::open(&daemon, "match=*.7&type=counter&rate=5");
    let messages = 5_000;
    daemon.send_paced((0..messages).map(|n| counter(&format!("m.{}", n % 10), "")));
    let (mut counts, mut samples, mut names) = (Counts::default(), 0, BTreeSet::new());
    while counts.received < messages {
        let (name, data) = all.next().unwrap();
        match name.as_str() {
            "start" => assert_eq!(data["rate"], 10, "no more than is configured"),
            "sample" => {
                samples += 1;
                names.insert(data["name"].to_string());
            }
            _ => counts.add(&data),
        }
    }
    assert_eq!((counts.received, counts.matched), (messages, messages), "{counts:?}");
    assert!(counts.unseen == 0 && counts.dropped == 0, "{counts:?}");
    assert!(counts.shown == samples && (10..2_500).contains(&samples), "{counts:?}");
    assert!(names.len() > 1, "not the same one each time: {names:?}");

    let (mut counts, mut samples) = (Counts::default(), 0);
    while counts.received < messages {
        let (name, data) = some.next().unwrap();
        match name.as_str() {
            "start" => assert_eq!(data["rate"], 5),
            "sample" => {
                samples += 1;
                assert_eq!(data["name"], "m.7");
            }
            _ => counts.add(&data),
        }
    }
    // Samples that the tap skipped are reported, and the counts of the others are exact.
    assert!(counts.matched <= 500 && counts.matched + counts.unseen >= 500, "{counts:?}");
    assert!(counts.shown == samples && samples <= counts.matched, "{counts:?}");

    let note = tap.note();
    let shape: String = note.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert!(shape.starts_with("sampling: 0"), "{note}");
    assert!(note.ends_with(" samples a second are shown"), "{note}");
    tap.signal("TERM");
    let (status, lines, notes) = tap.end();
    assert_eq!(status, 0);
    let shown: usize = lines.iter().filter(|line| line.contains(" counter  m.")).count();
    assert!(shown >= 10, "{lines:?}");
    let last = notes.last().unwrap();
    assert!(last.starts_with("shown: ") && last.ends_with(" samples"), "{notes:?}");
    drop((all, some));
    let status = daemon.wait_for("the clients to be gone", |status| status["taps"]["open"] == 0);
    assert_eq!(status["ledger"]["aggregated"], messages);
}

#[test]
fn taps_do_not_affect_aggregation() {
    let config = "interval: 1h\nforwarders: { file: { path: DIR/points, format: json } }\n";
    let run = |is_tapped: bool| {
        let daemon = Daemon::start(config);
        let taps: Vec<_> = ["", "match=*.7", "tag=host=h3&rejected=also", "rejected=only"]
            .iter()
            .filter(|_| is_tapped)
            .map(|query| {
                let mut events = Events::open(&daemon, query);
                std::thread::spawn(move || {
                    let mut ended = false;
                    while let Some((name, _)) = events.next() {
                        ended = name == "end";
                    }
                    assert!(ended, "the last event says that it is the last");
                })
            })
            .collect();
        daemon.send_paced((0..12_000).map(|n| match n % 50 {
            0 => "nonsense".to_owned(),
            1 => format!("[{}, {}]", counter("array", ""), counter("array", "")),
            _ => counter(&format!("m.{}", n % 10), &format!(r#", "host": "h{}""#, n % 7)),
        }));
        let ledger = daemon.status()["ledger"].clone();
        let stopped = daemon.stop();
        taps.into_iter().for_each(|tap| tap.join().unwrap());
        (ledger, shown(&stopped.points("points")))
    };
    let (without, with) = (run(false), run(true));
    assert_eq!(without.0["received"], 12_240);
    assert_eq!(without.0["kernel_drops"], 0);
    assert_eq!(with, without);
}

#[test]
fn a_client_that_does_not_read_loses_only_its_own_samples() {
    let daemon = Daemon::start(
        "admin: { listen: \"127.0.0.1:0\", tap: { max_rate: 10000, max_cpu: 50 } }\n\
         bind_port: 0\n\
         listeners: [{ transport: tcp, address: \"127.0.0.1:0\" }]\n",
    );
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&daemon.admin.into()).unwrap();
    let mut stalled = TcpStream::from(socket);
    let request = format!("GET /api/v1/tap HTTP/1.1\r\nHost: {}\r\n\r\n", daemon.admin);
    stalled.write_all(request.as_bytes()).unwrap();
    wait_accepted(&daemon, 1);
    let reader = Tap::start(&daemon, &["--match", "last", "--count", "1"]);

    // Until the client's queue is full or, on a slow machine, the client is closed.
    let long = counter("m", &format!(r#", "tag": "{}""#, "x".repeat(6_000)));
    let lines = format!("{long}\n").repeat(500);
    let mut tcp = TcpStream::connect(daemon.address("json/tcp ")).unwrap();
    let mut sent = 0;
    let deadline = Instant::now() + PATIENCE;
    loop {
        tcp.write_all(lines.as_bytes()).unwrap();
        sent += 500;
        let status = daemon.wait_received(sent);
        if status["taps"]["dropped"] != 0 || status["taps"]["open"] == 1 {
            break;
        }
        assert!(Instant::now() < deadline, "all of it waits: {:#}", status["taps"]);
    }
    let status = daemon.wait_for("the client to be closed", |status| status["taps"]["open"] == 1);
    assert_eq!(status["ledger"]["aggregated"], sent);
    let resident = status["process"]["resident_peak_bytes"].as_u64().unwrap();
    assert!(resident < 200 << 20, "{resident}");
    daemon.send(counter("last", ""));
    assert_eq!(reader.end().0, 0);
    drop(stalled);
}

#[test]
fn the_number_of_taps_is_limited() {
    let daemon = Daemon::start("admin: { listen: \"127.0.0.1:0\", tap: { max_clients: 1 } }\n");
    let admin = format!("http://{}", daemon.admin);
    let first = Tap::start(&daemon, &[]);
    let error = error_of(&tap(&["--admin", &admin]), 1);
    assert!(error.contains("the limit of open taps is reached"), "{error}");
    assert!(error.contains("`admin: {tap: {max_clients}}`"), "{error}");
    first.signal("INT");
    assert_eq!(first.end().0, 0);
    let status = daemon.wait_for("the first to be gone", |status| status["taps"]["open"] == 0);
    assert_eq!(status["taps"]["refused"], 1);
    drop(Tap::start(&daemon, &[]));

    let without = Daemon::start("admin: { listen: \"127.0.0.1:0\", tap: { max_clients: 0 } }\n");
    let error = error_of(&tap(&["--admin", &format!("http://{}", without.admin)]), 1);
    assert!(error.contains("taps are turned off"), "{error}");
}

// ---- How it ends ---------------------------------------------------------------------------

#[test]
fn a_stop_of_the_daemon_ends_a_tap_after_the_last_sample() {
    let daemon = Daemon::start("shutdown_timeout: 30s\n");
    let tap = Tap::start(&daemon, &["--format", "json"]);
    for _ in 0..100 {
        daemon.send(counter("m", ""));
    }
    let stopped = daemon.stop();
    assert!(stopped.status.success(), "{:?}", stopped.warnings());
    let (status, lines, notes) = tap.end();
    assert_eq!((status, lines.len()), (0, 100));
    assert_eq!(notes, ["the daemon is stopping"]);
}

#[test]
fn count_and_duration_end_a_tap_with_different_statuses() {
    let daemon = Daemon::start("");
    let tap = Tap::start(&daemon, &["--count", "2", "--duration", "1h"]);
    for _ in 0..3 {
        daemon.send(counter("m", ""));
    }
    let (status, lines, _) = tap.end();
    assert_eq!((status, lines.len()), (0, 2));
    let tap = Tap::start(&daemon, &["--count", "2", "--duration", "200ms"]);
    assert_eq!(tap.end().0, 1, "fewer than were asked for");
    let tap = Tap::start(&daemon, &["--duration", "200ms"]);
    assert_eq!(tap.end().0, 0);
    let tap = Tap::start(&daemon, &["-n", "2"]);
    drop(daemon);
    let (status, _, notes) = tap.end();
    assert_eq!(status, 1);
    assert!(
        notes[0].contains(" the connection") || notes[0].contains("stopped answering"),
        "{notes:?}"
    );
}

#[test]
fn a_tap_ends_quietly_when_its_reader_closes_the_pipe() {
    let daemon = Daemon::start("");
    let mut tap = Tap::spawn(&daemon, &[]);
    wait_accepted(&daemon, 1);
    // Nothing is sent, so the closed pipe is not noticed by a failed write.
    drop::<ChildStdout>(tap.child.stdout.take().unwrap());
    let (status, _, notes) = tap.end();
    assert_eq!((status, notes), (0, vec![]));
}

#[test]
fn errors_of_tap_have_advice() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = error_of(&tap(&["--admin", &nobody.to_string()]), 1);
    assert!(error.contains("start one with `tallyd run`, or use --admin"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(&folder, "admin: { listen: none }\n");
    let error = error_of(&tap(&["--config", path.to_str().unwrap()]), 1);
    assert!(error.contains("turns off the admin endpoint (`admin: {listen: none}`)"), "{error}");
    for (args, words) in [
        (&["--type", "timr"][..], "unknown type `timr`: expected counter, gauge"),
        (&["--from", "10.0.0.1/8"], "for the network write 10.0.0.0/8"),
        (&["--rejected", "--match", "a"], "`from` is the only filter"),
        (&["--rejected", "--with-rejected"], "cannot be used with"),
        (&["--match", "["], "is not a glob"),
        (&["--tag", "="], "KEY or KEY=VALUE"),
        (&["--count", "0"], "--count"),
    ] {
        let error = error_of(&tap(args), 2);
        assert!(error.contains(words), "{args:?}: {error}");
    }
}

#[test]
fn tap_finds_the_daemon_by_its_configuration() {
    let daemon = Daemon::start("");
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(&folder, &format!("admin: {{ listen: \"{}\" }}\n", daemon.admin));
    let output = tap(&["--config", path.to_str().unwrap(), "--duration", "100ms"]);
    assert_eq!(error_of(&output, 0), "");
}

#[test]
fn a_tap_is_refused_to_pages_of_other_sites() {
    let daemon = Daemon::start("");
    let client = common::http().build().unwrap();
    let url = format!("http://{}/api/v1/tap", daemon.admin);
    for (header, value) in [("sec-fetch-site", "cross-site"), ("host", "evil.example")] {
        let reply = client.get(&url).header(header, value).send().unwrap();
        assert_eq!(reply.status().as_u16(), 403, "{header}");
    }
    assert_eq!(daemon.get("/api/v1/tap?mtch=a").0, 400);
    assert_eq!(accepted(&daemon.status()), 0);
}

// ---- Points that leave -----------------------------------------------------------------------

/// Sends a counter after each pause until the tap has ended, and returns its lines.
fn tapped_output(daemon: &Daemon, args: &[&str]) -> Vec<String> {
    let mut command = tallyd();
    command.args(["tap", "--admin", &format!("http://{}", daemon.admin), "--out"]).args(args);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let deadline = std::time::Instant::now() + common::PATIENCE;
    while child.try_wait().unwrap().is_none() {
        assert!(std::time::Instant::now() < deadline, "the tap does not end");
        daemon.send(r#"{"metric_name":"user.logins","metric_type":"counter","stage":"login"}"#);
        daemon.send(r#"{"metric_name":"other","metric_type":"gauge","value":3}"#);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(ToOwned::to_owned).collect()
}

const TWO_DESTINATIONS: &str = "interval: 200ms\nforwarders:\n  file: { path: DIR/points }\n  \
    influxdb: { url: \"http://127.0.0.1:1\", database: d }\n  console: { name: renamed, select: { prefix: \"p.\", \
    drop_tags: [stage] } }\n";

#[test]
fn points_are_shown_when_they_leave_a_destination_after_select() {
    let daemon = Daemon::start(TWO_DESTINATIONS);
    let lines =
        tapped_output(&daemon, &["renamed", "--match", "p.*", "--count", "4", "--format", "json"]);
    assert_eq!(lines.len(), 4);
    for line in lines {
        let point: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&point["event"], &point["forwarder"]), (&"point".into(), &"renamed".into()));
        assert!(["p.user.logins", "p.other"].contains(&point["name"].as_str().unwrap()), "{point}");
        assert_eq!((&point["tags"]["stage"], &point["refused"]), (&Value::Null, &Value::Null));
        assert!(point["fields"].as_object().unwrap().values().all(Value::is_number), "{point}");
    }
    // Those that wait for a destination that is down have not left.
    let lines = tapped_output(&daemon, &["--count", "10", "--type", "gauge"]);
    assert!(lines.iter().all(|line| line.contains(" to file") || line.contains(" to renamed")));
    assert!(
        lines.iter().any(|line| line.contains("gauge") && line.contains("value=3")),
        "{lines:?}"
    );
    let status = daemon.wait_for("the end of the taps", |status| status["taps"]["open"] == 0);
    assert_eq!((&status["taps"]["accepted"], &status["taps"]["refused"]), (&2.into(), &0.into()));
    assert!(status["taps"]["shown"].as_u64() >= Some(14), "{}", status["taps"]);
}

#[test]
fn payloads_are_shown_as_the_destination_gets_them() {
    let daemon = Daemon::start(TWO_DESTINATIONS);
    let lines = tapped_output(&daemon, &["file", "--bytes", "--match", "user.*", "--count", "2"]);
    let text = lines.join("\n");
    assert!(text.contains("payload") && text.contains("to file"), "{text}");
    assert!(text.contains("counter user.logins stage=login count="), "{text}");
    for (args, words) in [
        (&["--out", "nobody"][..], "expected one of"),
        (&["--bytes"], "--out"),
        (&["--out", "file", "--rejected"], "cannot be used with"),
    ] {
        let mut command = tallyd();
        command.args(["tap", "--admin", &format!("http://{}", daemon.admin)]).args(args);
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(words), "{error}");
    }
}

#[test]
fn a_client_that_does_not_read_delays_no_delivery_and_its_loss_is_counted() {
    let daemon = Daemon::start(
        "interval: 200ms\naggregation: { max_series: 200000, max_series_per_metric: 200000 }\n\
         listeners: [{ protocol: statsd, transport: tcp, address: \"127.0.0.1:0\" }]\n\
         forwarders: { file: { path: DIR/points } }\n",
    );
    let mut tap = std::net::TcpStream::connect(daemon.admin).unwrap();
    tap.write_all(b"GET /api/v1/tap?out= HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    daemon.wait_for("the tap", |status| status["taps"]["open"] == 1);
    let mut lines = String::new();
    for number in 0..100_000 {
        lines += &format!("m:1|c|#host:web-{number:050}\n");
    }
    let mut tcp = std::net::TcpStream::connect(daemon.address("statsd/tcp")).unwrap();
    tcp.write_all(lines.as_bytes()).unwrap();
    daemon.wait_for("delivery", |status| {
        status["forwarders"]["file"]["delivered"].as_u64() >= Some(100_000)
    });
    drop(tap);
    let status = daemon.wait_for("the end of the tap", |status| status["taps"]["open"] == 0);
    assert!(status["taps"]["dropped"].as_u64() > Some(0), "{}", status["taps"]);
    let taps = &status["taps"];
    let counted = taps["shown"].as_u64().unwrap() + taps["dropped"].as_u64().unwrap();
    assert_eq!(counted, status["forwarders"]["file"]["delivered"].as_u64().unwrap());
}
