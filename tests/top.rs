//! `/api/v1/top` and `tallyd top`: exact top lists in the API, as text and on a terminal.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::pty::Terminal;
use common::{Daemon, PATIENCE, tallyd};
use serde_json::Value;

fn top(daemon: &Daemon, query: &str) -> Value {
    let (status, body) = daemon.get(&format!("/api/v1/top{query}"));
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Polls until the response meets a condition, and returns it.
fn wait_top(daemon: &Daemon, query: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = top(daemon, query);
        if is_so(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{answer:#}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until this number of samples is in ended windows; returns all rows.
fn wait_samples(daemon: &Daemon, query: &str, samples: u64) -> Value {
    wait_top(daemon, query, |answer| sum(&answer["metrics"]["top"], "samples") == samples)
}

fn sum(rows: &Value, member: &str) -> u64 {
    rows.as_array().unwrap().iter().map(|row| row[member].as_u64().unwrap()).sum()
}

fn names(rows: &Value, member: &str) -> Vec<String> {
    rows.as_array().unwrap().iter().map(|row| row[member].as_str().unwrap().to_owned()).collect()
}

fn row<'a>(rows: &'a Value, name: &str) -> &'a Value {
    rows.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap()
}

// ---- The endpoint ----------------------------------------------------------------------------

#[test]
fn samples_of_every_type_are_counted_exactly_by_metric() {
    let daemon = Daemon::start(
        "interval: 200ms\nbind_port: 0\n\
         listeners: [{ protocol: statsd, transport: tcp, address: \"127.0.0.1:0\" }]\n\
         forwarders: { file: { path: DIR/points } }\n",
    );
    let kinds = [("counter", 700), ("gauge", 500), ("timer", 1300), ("set", 90), ("trace", 40)];
    let messages = kinds.iter().flat_map(|(kind, count)| {
        (0..*count).map(move |number| {
            let host = number % 7;
            format!(r#"{{"metric_name":"m.{kind}","metric_type":"{kind}","value":{number},"host":"{host}"}}"#)
        })
    });
    daemon.send_paced(messages);
    // The same metrics through another listener, with sample rates, deltas and packed values.
    let mut tcp = TcpStream::connect(daemon.address("statsd/tcp")).unwrap();
    for _ in 0..50 {
        tcp.write_all(b"m.counter:5|c|@0.1\nm.gauge:+3|g\nm.timer:1:2:3|ms\nonly.here:1|c\n")
            .unwrap();
    }
    daemon.send("nonsense");
    let sent = 2_630 + 50 * 6;
    daemon.wait_received(sent + 1);
    let answer = wait_samples(&daemon, "?parts=metrics&sort=series", sent);
    let rows = &answer["metrics"]["top"];
    for (name, samples, series) in [
        ("m.counter", 750, 8),
        ("m.gauge", 550, 8),
        ("m.timer", 1_450, 8),
        ("m.set", 90, 7),
        ("m.trace", 40, 7),
        ("only.here", 50, 1),
    ] {
        assert_eq!(row(rows, name)["samples"], samples, "{name}");
        assert_eq!(row(rows, name)["series"], series, "{name}");
        assert_eq!(row(rows, name)["overflowed"], 0);
    }
    assert_eq!(answer["metrics"]["total"], 6);
    assert_eq!(daemon.status()["ledger"]["aggregated"], sent, "the ledger says the same");
    assert_eq!(daemon.status()["series"]["total"], sum(rows, "series"));
}

#[test]
fn metrics_are_ordered_by_last_window_series_or_new_series() {
    let daemon = Daemon::start("interval: 1s\nforwarders: { file: { path: DIR/points } }\n");
    let message = |name: &str, host: u32| {
        format!(r#"{{"metric_name":"{name}","metric_type":"counter","host":"{host}"}}"#)
    };
    daemon.send_paced((0..40).map(|host| message("wide", host)));
    wait_samples(&daemon, "?parts=metrics&sort=series", 40);
    daemon.send_paced((0..100).map(|_| message("loud", 0)));
    wait_samples(&daemon, "?parts=metrics&sort=series", 140);
    let by = |sort: &str| top(&daemon, &format!("?parts=metrics&sort={sort}"))["metrics"].clone();
    assert_eq!(names(&by("series")["top"], "name"), ["wide", "loud"]);
    let new = by("new_series");
    assert_eq!(names(&new["top"], "name"), ["wide", "loud"]);
    assert_eq!(new["new_within_s"], 6.0);
    let one = top(&daemon, "?parts=metrics&sort=series&limit=1");
    assert_eq!(names(&one["metrics"]["top"], "name"), ["wide"]);
    // A window without samples leaves the totals unchanged.
    let quiet = wait_top(&daemon, "", |answer| answer["metrics"]["window_samples"] == 0);
    assert_eq!(names(&quiet["metrics"]["top"], "name"), ["loud", "wide"]);
    assert_eq!(sum(&quiet["metrics"]["top"], "samples"), 140);
    assert_eq!(sum(&quiet["metrics"]["top"], "window_samples"), 0);
    // No new series for six windows.
    let old = wait_top(&daemon, "?parts=metrics&sort=new_series", |answer| {
        answer["metrics"]["top"].as_array().unwrap().is_empty()
    });
    assert_eq!(old["metrics"]["total"], 2);
}

#[test]
fn tag_keys_are_ordered_by_their_distinct_values() {
    let daemon = Daemon::start(
        "interval: 200ms\nagent: { tags: { dc: a } }\nadmin: { listen: \"127.0.0.1:0\", top: { max_tag_keys: 3 } }\n",
    );
    daemon.send_paced((0..300).map(|number| {
        let user = number % 150;
        let stage = number % 4;
        format!(r#"{{"metric_name":"m{}","metric_type":"gauge","value":1,"user":"{user}","stage":"{stage}"}}"#, number % 2)
    }));
    daemon.send(r#"{"metric_name":"n","metric_type":"gauge","value":1,"zzz":"1","yyy":"2"}"#);
    daemon.wait_received(301);
    let keys = top(&daemon, "?parts=tag_keys")["tag_keys"].clone();
    assert_eq!(keys["series"], 301);
    assert_eq!(keys["is_complete"], true);
    assert_eq!(names(&keys["top"], "key"), ["user", "stage", "dc"]);
    let numbers = |member: &str| -> Vec<u64> {
        keys["top"].as_array().unwrap().iter().map(|row| row[member].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers("values"), [150, 4, 1]);
    assert_eq!(numbers("series"), [300, 300, 301]);
    assert_eq!(keys["other_keys"], 2, "beyond max_tag_keys");
}

#[test]
fn senders_are_counted_exactly_from_the_first_request_on() {
    let daemon = Daemon::start(
        "interval: 200ms\nbind_port: 0\n\
         listeners: [{ transport: tcp, address: \"127.0.0.1:0\" }, { transport: unix, path: DIR/s }]\n",
    );
    let message = r#"{"metric_name":"m","metric_type":"counter"}"#;
    daemon.send(message);
    daemon.wait_received(1);
    let first = top(&daemon, "?parts=senders")["senders"].clone();
    assert_eq!(first["top"], Value::Array(Vec::new()), "counting had not started");
    let socket = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(daemon.udp).unwrap();
        socket
    };
    let (quiet, loud) = (socket(), socket());
    quiet.send(message.as_bytes()).unwrap();
    for _ in 0..20 {
        loud.send(format!("{message}\n{message}\nnonsense").as_bytes()).unwrap();
    }
    let mut tcp = TcpStream::connect(daemon.address("json/tcp")).unwrap();
    let lines = format!("{message}\n[{message},{message}]\n");
    tcp.write_all(lines.as_bytes()).unwrap();
    let mut unix = std::os::unix::net::UnixStream::connect(daemon.path("s")).unwrap();
    // The last line has no newline: it counts when the connection is closed.
    unix.write_all(message.as_bytes()).unwrap();
    drop(unix);
    daemon.wait_received(1 + 1 + 60 + 3 + 1);
    let senders = top(&daemon, "?parts=senders")["senders"].clone();
    let bytes = message.len() as u64;
    let expected = [
        (loud.local_addr().unwrap().to_string(), 20, 20 * (2 * bytes + 10), 60, 20),
        (tcp.local_addr().unwrap().to_string(), 0, lines.len() as u64, 3, 0),
        (quiet.local_addr().unwrap().to_string(), 1, bytes, 1, 0),
        (format!("pid {}", std::process::id()), 0, bytes, 1, 0),
    ];
    for (sender, datagrams, bytes, messages, rejected) in &expected {
        let rows = senders["top"].as_array().unwrap();
        let row = rows.iter().find(|row| row["sender"] == **sender);
        let row = row.unwrap_or_else(|| panic!("no {sender} in {senders:#}"));
        for (member, number) in [
            ("datagrams", datagrams),
            ("bytes", bytes),
            ("messages", messages),
            ("rejected", rejected),
        ] {
            assert_eq!(row[member], *number, "{member} of {sender}");
        }
    }
    assert_eq!(senders["top"].as_array().unwrap().len(), 4);
    assert_eq!(senders["top"][0]["sender"], expected[0].0, "the most messages first");
    // Senders that are not listed are in the rest.
    let one = top(&daemon, "?parts=senders&limit=1")["senders"].clone();
    assert_eq!(one["others"]["messages"], 5);
}

#[test]
fn senders_beyond_the_limit_are_counted_together() {
    let daemon = Daemon::start("admin: { listen: \"127.0.0.1:0\", top: { max_senders: 2 } }\n");
    top(&daemon, "?parts=senders");
    let message = r#"{"metric_name":"m","metric_type":"counter"}"#;
    for _ in 0..10 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(message.as_bytes(), daemon.udp).unwrap();
    }
    daemon.wait_received(10);
    let senders = top(&daemon, "?parts=senders")["senders"].clone();
    assert_eq!(senders["top"].as_array().unwrap().len(), 2);
    assert_eq!(
        sum(&senders["top"], "messages") + senders["others"]["messages"].as_u64().unwrap(),
        10
    );
    let none = Daemon::start("admin: { listen: \"127.0.0.1:0\", top: { max_senders: 0 } }\n");
    top(&none, "?parts=senders");
    none.send(message);
    none.wait_received(1);
    let senders = top(&none, "?parts=senders")["senders"].clone();
    assert_eq!(
        (&senders["top"], &senders["others"]["messages"]),
        (&Value::Array(vec![]), &0.into())
    );
}

#[test]
fn an_invalid_query_is_refused_with_a_message() {
    let daemon = Daemon::start("");
    for (query, words) in [
        ("?limit=0", "1 to 1000"),
        ("?limit=1001", "1 to 1000"),
        ("?limit=many", "limit"),
        ("?sort=size", "new_series"),
        ("?parts=metrics,all", "tag_keys"),
        ("?colour=red", "colour"),
    ] {
        let (status, body) = daemon.get(&format!("/api/v1/top{query}"));
        assert_eq!(status, 400, "{query}: {body}");
        assert!(body.contains(words), "{query}: {body}");
    }
    let before = top(&daemon, "");
    assert_eq!(before["metrics"]["window_end"], Value::Null, "no window has ended yet");
}

// ---- As text ---------------------------------------------------------------------------------

fn once(daemon: &Daemon, more: &[&str]) -> Output {
    let mut command = tallyd();
    command.args(["top", "--admin", &daemon.admin.to_string(), "--interval", "200ms"]).args(more);
    command.output().unwrap()
}

/// A daemon with data for each view.
fn busy() -> Daemon {
    let daemon = Daemon::start(
        "interval: 200ms\nforwarders:\n  file: { path: DIR/points }\n  console: { name: screen }\n",
    );
    daemon.send_paced((0..120).map(|number| {
        let metric = number % 30;
        format!(
            r#"{{"metric_name":"service.m{metric:02}","metric_type":"counter","host":"{}"}}"#,
            number % 3
        )
    }));
    daemon.send("nonsense \x1b[31m\u{202e}");
    daemon.wait_received(121);
    wait_samples(&daemon, "?parts=metrics&sort=series", 120);
    daemon
}

#[test]
fn once_prints_all_views_as_plain_text() {
    let daemon = busy();
    for output in [once(&daemon, &["--once"]), once(&daemon, &[])] {
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains('\x1b') && !text.contains('\u{202e}'), "{text}");
        for part in [
            "messages: received 121 = aggregated 120 + rejected 1; kernel drops 0, refused 0\n",
            "Metrics by samples: 30 metrics",
            "Metrics by series: 30 metrics",
            "  and 20 more, see --limit\n",
            "Tags: 1 key in 30 series",
            "Senders: counted for",
            "  screen (console)  up ",
            &format!("  json/udp {} ", daemon.udp),
            "Rejected: the latest 1\n",
            "nonsense \\u{1b}[31m",
            "      at byte 0: expected ",
        ] {
            assert!(text.contains(part), "no {part:?} in:\n{text}");
        }
    }
}

#[test]
fn once_prints_the_requested_view_and_rows() {
    let daemon = busy();
    let output = once(&daemon, &["--once", "--view", "metrics", "--filter", "M07", "--limit", "3"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\n  service.m07 ") && !text.contains("service.m08"), "{text}");
    assert!(!text.contains("\nTags") && !text.contains("\nRejected"), "{text}");
}

#[test]
fn without_a_daemon_top_reports_it() {
    let mut command = tallyd();
    let output = command.args(["top", "--admin", "127.0.0.1:1", "--once"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("http://127.0.0.1:1: "), "{words}");
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tallyd.yaml");
    std::fs::write(&config, "admin: { listen: none }\n").unwrap();
    let output = tallyd().args(["top", "--config"]).arg(&config).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("admin: {listen: none}"));
}

#[test]
fn top_finds_the_daemon_by_the_configuration() {
    let daemon = Daemon::start("");
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tallyd.yaml");
    std::fs::write(&config, format!("admin: {{ listen: \"{}\" }}\n", daemon.admin)).unwrap();
    let mut command = tallyd();
    command.args(["top", "--once", "--interval", "100ms", "--config"]).arg(&config);
    let output = command.output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains(&daemon.admin.to_string()));
}

// ---- On a terminal ---------------------------------------------------------------------------

/// Starts `tallyd top` in a terminal of 80 columns and 24 lines.
fn watch(daemon: &Daemon, more: &[&str]) -> Terminal {
    Terminal::start(&command(&daemon.admin.to_string(), more), 80, 24)
}

fn command(admin: &str, more: &[&str]) -> Command {
    let mut command = tallyd();
    command.args(["top", "--admin", admin, "--interval", "100ms"]).args(more);
    command
}

#[test]
fn eighty_columns_are_enough_for_every_view() {
    let daemon = busy();
    let mut terminal = watch(&daemon, &[]);
    terminal.wait("service.m00");
    let screen = terminal.wait("q quit  ? help");
    assert!(screen.starts_with("tallyd 0"), "{screen}");
    assert!(
        screen.contains("messages 121 = 120 aggregated + 1 rejected   kernel drops 0"),
        "{screen}"
    );
    assert!(screen.contains("q quit  ? help"), "{screen}");
    for (key, parts) in [
        ("2", ["TAG KEY", "host"]),
        ("3", ["SENDER", "MSG/s▼"]),
        ("4", ["FORWARDER▲", "screen (console)"]),
        ("5", ["LISTENER", "IN/s▼"]),
        ("6", ["bad_json", "nonsense \\u{1b}[31m"]),
        ("1", ["METRIC", "SAMPLES/s▼"]),
    ] {
        terminal.keys(key);
        let screen =
            terminal.wait_for(parts[1], |screen| parts.iter().all(|part| screen.contains(part)));
        assert!(screen.lines().count() <= 24, "{screen}");
    }
    terminal.keys("?");
    terminal.wait("PageUp PageDown");
    terminal.keys("?");
    terminal.wait("SAMPLES/s▼");
    terminal.keys("\t");
    terminal.wait("TAG KEY");
    terminal.keys("\x1b[Z");
    terminal.wait("SAMPLES/s▼");
    terminal.keys("q");
    assert!(terminal.end().success());
}

#[test]
fn rows_are_sorted_filtered_and_scrolled_by_keys() {
    let daemon = busy();
    let mut terminal = watch(&daemon, &[]);
    terminal.wait("service.m00");
    terminal.keys("ss");
    terminal.wait("SERIES▼");
    let screen = terminal.wait("1-15 of 30");
    assert!(screen.contains("service.m14") && !screen.contains("service.m15"), "{screen}");
    terminal.keys("\x1b[B");
    terminal.wait("2-16 of 30");
    terminal.keys("\x1b[6~");
    terminal.wait("16-30 of 30");
    terminal.keys("\x1b[5~");
    terminal.wait("1-15 of 30");
    terminal.keys("\x1b[F");
    terminal.wait("16-30 of 30");
    terminal.keys("\x1b[H");
    terminal.wait("1-15 of 30");
    terminal.keys("r");
    terminal.wait("SERIES▲");
    terminal.keys("/M07");
    let screen = terminal.wait("with \"m07\"");
    assert!(screen.contains("/M07"), "what is written: {screen}");
    assert!(screen.contains("service.m07") && !screen.contains("service.m08"), "{screen}");
    terminal.keys("\r");
    terminal.wait("Esc all rows");
    terminal.keys("\x1b");
    terminal.wait("1-15 of 30");
    terminal.keys("\x03");
    assert!(terminal.end().success());
}

#[test]
fn a_paused_screen_stays_as_it_is() {
    let daemon = busy();
    let mut terminal = watch(&daemon, &[]);
    terminal.wait("messages 121 =");
    terminal.keys("p");
    let before = terminal.wait("PAUSED");
    daemon
        .send_paced((0..9).map(|_| r#"{"metric_name":"new","metric_type":"counter"}"#.to_owned()));
    wait_samples(&daemon, "?parts=metrics&sort=series", 129);
    // A view that was not open before has its rows too: polling continued during the pause.
    terminal.keys("2");
    let screen = terminal.wait("host ");
    let header = |screen: &str| screen.lines().take(4).collect::<Vec<_>>().join("\n");
    assert_eq!(header(&screen), header(&before));
    terminal.keys("p");
    terminal.wait("messages 130 =");
    terminal.keys("q");
    assert!(terminal.end().success());
}

#[test]
fn top_notices_that_a_daemon_disappears_and_returns() {
    let daemon = busy();
    let admin = daemon.admin;
    let mut terminal = watch(&daemon, &[]);
    terminal.wait("messages 121 =");
    drop(daemon);
    let screen = terminal.wait("no answer since ");
    assert!(screen.contains(" UTC, retrying: Connection refused"), "{screen}");
    assert!(screen.contains("messages 121 ="), "the last that is known stays: {screen}");
    let config = format!("admin: {{ listen: \"{admin}\" }}\n");
    let daemon = Daemon::start(&config);
    let screen = terminal.wait("all is well");
    assert!(screen.contains("messages 0 = 0 aggregated"), "it begins anew: {screen}");
    drop(daemon);
    terminal.keys("q");
    assert!(terminal.end().success());
}

#[test]
fn any_terminal_size_is_drawn_and_a_resize_redraws() {
    let daemon = busy();
    let mut terminal = watch(&daemon, &["--view", "listeners"]);
    terminal.wait("CONNS");
    terminal.resize(140, 40);
    terminal.wait_for("the footer in the last line", |screen| {
        screen.lines().nth(39).is_some_and(|line| line.starts_with("q quit"))
    });
    terminal.resize(40, 12);
    let screen = terminal.wait_for("fewer columns", |screen| {
        screen.contains("LISTENER") && !screen.contains("CONNS") && screen.lines().count() == 12
    });
    assert!(screen.contains("IN/s"), "{screen}");
    terminal.resize(20, 4);
    terminal.wait("too small; q quits");
    terminal.resize(80, 24);
    terminal.wait("CONNS");
    terminal.keys("q");
    assert!(terminal.end().success());
}

#[test]
fn a_signal_restores_the_terminal() {
    let daemon = busy();
    for signal in ["TERM", "INT", "HUP"] {
        let terminal = watch(&daemon, &[]);
        terminal.wait("messages 121 =");
        terminal.signal(signal);
        assert!(terminal.end().success(), "{signal}");
    }
}

#[test]
fn top_can_be_suspended_and_continued() {
    let daemon = busy();
    let top = command(&daemon.admin.to_string(), &[]);
    // The kernel stops a process only if a shell with job control can continue it.
    let mut shell = Command::new("bash");
    shell.args(["-c", "set -m; \"$0\" \"$@\"; echo stopped; read -r line; fg"]);
    shell.arg(top.get_program()).args(top.get_args());
    let mut terminal = Terminal::start(&shell, 80, 24);
    terminal.wait("messages 121 =");
    terminal.keys("\x1a");
    let screen = terminal.wait("stopped");
    assert!(!screen.contains("messages 121"), "{screen}");
    terminal.keys("\n");
    terminal.wait("messages 121 =");
    terminal.keys("q");
    assert!(terminal.end().success());
}

#[test]
fn no_color_disables_colours() {
    let daemon = busy();
    // Red and green, as parameters of a sequence that ends in `m`; others move the cursor.
    let is_coloured = |terminal: &Terminal| {
        let formatted = terminal.formatted();
        let mut sequences = formatted.split("\u{1b}[").skip(1);
        sequences.any(|sequence| {
            let parameters = sequence.split(|c: char| c.is_ascii_alphabetic()).next().unwrap();
            let is_style = sequence[parameters.len()..].starts_with('m');
            is_style && parameters.split(';').any(|one| ["31", "32"].contains(&one))
        })
    };
    let terminal = watch(&daemon, &[]);
    terminal.wait("all is well");
    assert!(is_coloured(&terminal), "{:?}", terminal.formatted());
    let mut without = command(&daemon.admin.to_string(), &[]);
    without.env("NO_COLOR", "1");
    let terminal = Terminal::start(&without, 80, 24);
    terminal.wait("all is well");
    assert!(!is_coloured(&terminal), "{:?}", terminal.formatted());
}

#[test]
fn a_daemon_that_hangs_is_reported_and_keys_still_work() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let daemon = busy();
    let status = daemon.get("/api/v1/status").1;
    let (top, history) = (daemon.get("/api/v1/top").1, daemon.get("/api/v1/history").1);
    // The server answers the first requests and then hangs.
    std::thread::spawn(move || {
        let mut open = Vec::new();
        let mut is_done = false;
        for mut stream in silent.incoming().map_while(Result::ok) {
            let mut lines = std::io::BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while !is_done
                && std::io::BufRead::read_line(&mut lines, &mut line).is_ok_and(|n| n > 0)
            {
                let body = match std::mem::take(&mut line) {
                    line if line.starts_with("GET /api/v1/top") => &top,
                    line if line.starts_with("GET /api/v1/history") => &history,
                    line if line.starts_with("GET /api/v1/status") => &status,
                    _ => continue,
                };
                let length = body.len();
                let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
                stream.write_all(reply.as_bytes()).unwrap();
                // The status is the last request of a round.
                is_done = body == &status;
            }
            open.push(stream);
        }
    });
    let mut terminal = Terminal::start(&command(&address.to_string(), &[]), 80, 24);
    terminal.wait("all is well");
    terminal.keys("5");
    terminal.wait("IN/s");
    terminal.wait("no answer for ");
    terminal.keys("q");
    assert!(terminal.end().success());
}
