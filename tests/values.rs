//! `/api/v1/series`, `tallyd values` and the admin socket: current values, and the removal of series.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::pty::Terminal;
use common::{Daemon, PATIENCE, assert_balanced, tallyd};
use serde_json::Value;

const STATSD: &str = "interval: 300ms\nbind_port: 0\n\
    listeners: [{ protocol: statsd, transport: tcp, address: \"127.0.0.1:0\" }]\n\
    forwarders: { file: { path: DIR/points, format: json } }\n";

/// A user without any right.
const NOBODY: &str = "65534";

fn series(daemon: &Daemon, query: &str) -> Value {
    let (status, body) = daemon.get(&format!("/api/v1/series{query}"));
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Polls until the reply meets a condition, and returns it.
fn wait_series(daemon: &Daemon, query: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = series(daemon, query);
        if is_so(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{answer:#}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn statsd(daemon: &Daemon, lines: &str) {
    let mut tcp = TcpStream::connect(daemon.address("statsd/tcp")).unwrap();
    tcp.write_all(lines.as_bytes()).unwrap();
}

fn names(answer: &Value) -> Vec<&str> {
    answer["series"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect()
}

/// A request to the admin socket, by this process or by another user; the status and the body.
fn through_socket(daemon: &Daemon, method: &str, path: &str) -> (u16, String) {
    let mut socket = UnixStream::connect(daemon.path("admin.sock")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).unwrap();
    let mut reply = String::new();
    socket.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn command(daemon: &Daemon, args: &[&str]) -> Output {
    let admin = format!("http://{}", daemon.admin);
    let mut command = tallyd();
    command.arg("values").args(args);
    if !args.contains(&"--admin") {
        command.args(["--admin", &admin]);
    }
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap() + std::str::from_utf8(&output.stderr).unwrap()
}

// ---- The endpoint ----------------------------------------------------------------------------

#[test]
fn series_of_every_type_have_the_values_of_the_last_window() {
    // Long windows, so that the one with the samples is the last for a while.
    let daemon = Daemon::start(&STATSD.replace("300ms", "2s"));
    let json = |kind: &str, value: &str| {
        format!(
            r#"{{"metric_name":"json.{kind}","metric_type":"{kind}","value":{value},"host":"a"}}"#
        )
    };
    let lines = "c:2|c\nc:3|c|@0.5\ng:10|g\ng:-4|g\nt:1:2:9|ms\ns:x|s\ns:y|s\n";
    let answer = loop {
        for (kind, value) in
            [("counter", "5"), ("gauge", "2.5"), ("timer", "7"), ("set", "\"m\""), ("trace", "1")]
        {
            daemon.send(json(kind, value));
        }
        statsd(&daemon, lines);
        let answer = wait_series(&daemon, "", |answer| answer["live"] == 9);
        // Unless a window ended between the messages.
        let has_all = |row: &Value| row["idle_s"] == 0.0;
        if answer["series"].as_array().unwrap().iter().all(has_all) {
            break answer;
        }
    };
    let row = |name: &str| {
        let rows = answer["series"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap().clone()
    };
    assert_eq!(row("json.counter")["type"], "counter");
    assert_eq!(row("json.counter")["tags"]["host"], "a");
    let multiple = |name: &str, of: f64| {
        let value = row(name)["value"].as_f64().unwrap();
        assert!(value > 0.0 && value % of == 0.0, "{name} {value}");
    };
    multiple("json.counter", 5.0);
    multiple("c", 8.0);
    assert_eq!(row("g")["value"].as_f64().unwrap() % 1.0, 0.0);
    assert_eq!(row("json.gauge")["value"], 2.5);
    assert_eq!(row("json.gauge")["fields"]["value"], 2.5);
    assert_eq!(row("json.timer")["fields"]["p50"], 7.0);
    assert_eq!(
        (&row("t")["fields"]["min"], &row("t")["fields"]["max"]),
        (&1.0.into(), &9.0.into())
    );
    assert_eq!((&row("t")["value"], &row("s")["value"]), (&4.0.into(), &2.0.into()));
    assert_eq!(row("json.set")["fields"]["count"], 1.0);
    multiple("json.trace", 1.0);
}

#[test]
fn an_idle_gauge_keeps_its_level_and_an_idle_counter_has_no_value_until_both_expire() {
    let config =
        STATSD.replace("interval: 300ms", "interval: 300ms\naggregation: { expire_after: 2s }");
    let daemon = Daemon::start(&config);
    statsd(&daemon, "g:10|g\nc:1|c\n");
    wait_series(&daemon, "", |answer| answer["live"] == 2);
    statsd(&daemon, "g:+5|g\n");
    let is_idle = |answer: &Value| {
        let rows = answer["series"].as_array().unwrap();
        rows.len() == 2 && rows.iter().all(|row| row["idle_s"].as_f64().unwrap() > 0.5)
    };
    let answer = wait_series(&daemon, "?sort=name", is_idle);
    let (counter, gauge) = (&answer["series"][0], &answer["series"][1]);
    assert_eq!((&counter["value"], &counter["fields"]), (&Value::Null, &serde_json::json!({})));
    assert_eq!((&gauge["value"], &gauge["fields"]), (&15.0.into(), &serde_json::json!({})));
    assert!(gauge["age_s"].as_f64() >= gauge["idle_s"].as_f64());
    wait_series(&daemon, "", |answer| answer["live"] == 0);
}

#[test]
fn parameters_filter_sort_and_divide_the_reply() {
    let daemon = Daemon::start(STATSD);
    statsd(&daemon, "a.x:1|g|#host:web-1\na.y:3|g|#host:web-2\nb:2|g|#rack:7\nc:5|c|#host:web-1\n");
    wait_series(&daemon, "", |answer| answer["live"] == 4);
    for (query, expected) in [
        ("?match=a.*", &["a.x", "a.y"][..]),
        ("?match=a.*&match=b", &["a.x", "a.y", "b"]),
        ("?tag=host=web-1", &["a.x", "c"]),
        ("?tag=rack", &["b"]),
        ("?type=gauge&sort=value", &["a.y", "b", "a.x"]),
        ("?sort=-name&limit=2", &["c", "b"]),
        ("?limit=2&offset=2", &["b", "c"]),
        ("?match=nothing", &[]),
    ] {
        assert_eq!(names(&series(&daemon, query)), expected, "{query}");
    }
    let answer = series(&daemon, "?type=gauge&limit=2");
    assert_eq!((&answer["matched"], &answer["next_offset"]), (&3.into(), &2.into()));
    for (query, words) in [("?limit=0", "limit"), ("?type=x", "unknown type"), ("?x=1", "expected")]
    {
        let (status, body) = daemon.get(&format!("/api/v1/series{query}"));
        assert!(status == 400 && body.contains(words), "{status} {body}");
    }
    let off = daemon.reload(&format!(
        "{STATSD}admin: {{ listen: \"127.0.0.1:0\", series: {{ max_requests: 0 }} }}\n"
    ));
    assert_eq!(daemon.get("/api/v1/series").0, 429);
    let refused = daemon.status()["values"]["refused"].as_u64().unwrap();
    assert!(refused > off["values"]["refused"].as_u64().unwrap());
}

#[test]
fn a_window_over_the_limit_is_not_kept_and_counted() {
    let daemon = Daemon::start(&format!(
        "{STATSD}admin: {{ listen: \"127.0.0.1:0\", series: {{ max_window: 1B }} }}\n"
    ));
    statsd(&daemon, "g:3|g\n");
    daemon.wait_for("a window", |status| status["values"]["windows_not_kept"].as_u64() > Some(0));
    let answer = wait_series(&daemon, "", |answer| answer["live"] == 1);
    assert_eq!(answer["series"][0]["value"], 3.0, "the level needs no window");
    let kept = daemon.reload(STATSD);
    assert_eq!(kept["values"]["window_bytes"], 0);
    statsd(&daemon, "g:4|g\n");
    daemon.wait_for("it", |status| status["values"]["window_bytes"].as_u64() > Some(0));
}

#[test]
fn a_hundred_thousand_series_are_listed_whole_while_health_checks_are_answered() {
    let daemon = Daemon::start(
        "interval: 2s\nbind_port: 0\naggregation: { max_series: 200000, max_series_per_metric: 200000 }\n\
         listeners: [{ protocol: statsd, transport: tcp, address: \"127.0.0.1:0\" }]\n\
         forwarders: { file: { path: DIR/points } }\nadmin: { listen: \"127.0.0.1:0\", series: { max_requests: 16 } }\n",
    );
    let mut lines = String::new();
    for number in 0..100_000 {
        lines += &format!("m.{}:1|c|#host:web-{number}\n", number % 100);
    }
    statsd(&daemon, &lines);
    wait_series(&daemon, "?limit=1", |answer| answer["live"] == 100_000);
    let slowest = std::thread::scope(|scope| {
        let asking: Vec<_> =
            (0..4).map(|_| scope.spawn(|| series(&daemon, "?sort=-value&limit=10000"))).collect();
        let mut slowest = Duration::ZERO;
        while asking.iter().any(|request| !request.is_finished()) {
            let began = Instant::now();
            assert_eq!(daemon.get("/healthz").0, 200);
            slowest = slowest.max(began.elapsed());
        }
        slowest
    });
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let output = command(&daemon, &["m.7", "--limit", "200000", "--json"]);
    assert_eq!(text(&output).lines().count(), 1_000);
    let output = command(&daemon, &["--limit", "200000", "--json"]);
    let mut all: Vec<String> = text(&output).lines().map(ToOwned::to_owned).collect();
    let is_row = |line: &String| serde_json::from_str::<Value>(line).unwrap()["type"] == "counter";
    assert!(all.iter().all(is_row));
    all.sort();
    all.dedup();
    assert!(all.len() >= 100_000, "each series once: {}", all.len());
}

// ---- The command -----------------------------------------------------------------------------

#[test]
fn the_command_prints_a_table_that_fits_the_terminal() {
    let daemon = Daemon::start(STATSD);
    let long = "a.name.that.is.much.too.long.for.one.line.of.a.terminal.with.eighty.columns";
    statsd(&daemon, &format!("{long}:1|g|#host:web-1\nqueue.depth:42|g\nt:5|ms\n"));
    wait_series(&daemon, "", |answer| answer["live"] == 3);
    let output = command(&daemon, &["--sort", "-name"]);
    let table = text(&output);
    assert!(output.status.success(), "{table}");
    assert!(table.lines().nth(1).unwrap().starts_with("t "), "{table}");
    assert!(table.contains(&format!("{long} host=web-1")), "a pipe gets whole names: {table}");
    assert!(table.contains("3 of 3 matching, 3 live; window of 0.3 s"), "{table}");
    for (columns, lines) in [(80, 24), (120, 40), (200, 50)] {
        let mut watch = tallyd();
        watch.args(["values", "--watch", "--admin", &format!("http://{}", daemon.admin)]);
        let terminal = Terminal::start(&watch, columns, lines);
        let screen = terminal.wait("Ctrl-C ends");
        assert!(screen.contains("queue.depth") && screen.contains("42"), "{screen}");
        assert_eq!(screen.contains("AGE"), columns >= 100, "{screen}");
    }
    for (args, code) in [
        (&["[", "--limit", "1"][..], 2),
        (&["--type", "histogram"], 2),
        (&["--sort", "size"], 2),
        (&["--limit", "0"], 2),
        (&["--admin", "127.0.0.1:1"], 1),
    ] {
        assert_eq!(command(&daemon, args).status.code(), Some(code), "{args:?}");
    }
}

// ---- The socket ------------------------------------------------------------------------------

fn with_socket(more: &str) -> String {
    format!("{STATSD}admin: {{ listen: \"127.0.0.1:0\", socket: DIR/admin.sock{more} }}\n")
}

#[test]
fn removed_series_are_gone_and_every_sample_stays_in_a_point() {
    let daemon = Daemon::start(&with_socket(""));
    statsd(&daemon, "old.g:10|g\nold.c:1|c\nkept:7|g\n");
    wait_series(&daemon, "", |answer| answer["live"] == 3);
    // Samples of the open window, which ends before the removal.
    let mut tcp = TcpStream::connect(daemon.address("statsd/tcp")).unwrap();
    for _ in 0..100 {
        tcp.write_all(b"old.c:1|c\n").unwrap();
    }
    drop(tcp);
    daemon.wait_received(103);
    let (status, body) = through_socket(&daemon, "DELETE", "/api/v1/series?match=old.*");
    assert_eq!((status, body.as_str()), (200, r#"{"removed":2}"#));
    assert_eq!(names(&series(&daemon, "")), ["kept"]);
    assert_eq!(daemon.status()["series"]["total"], 1);
    assert_eq!(daemon.status()["series"]["removed"], 2);
    // A change starts at 0, and the other gauge at its level.
    statsd(&daemon, "old.g:+3|g\nkept:+3|g\nold.c:5|c\n");
    let answer = wait_series(&daemon, "", |answer| answer["live"] == 3);
    let value = |name: &str| {
        let rows = answer["series"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap()["value"].clone()
    };
    assert_eq!((value("old.g"), value("kept")), (3.0.into(), 10.0.into()));
    let (status, _) = through_socket(&daemon, "DELETE", "/api/v1/series?type=gauge");
    assert_eq!(status, 400, "`match` is required");
    let status = daemon.wait_received(106);
    assert_balanced(&status);
    let stopped = daemon.stop();
    assert_eq!(common::total(&stopped.points("points"), "old.c", "count"), 106.0);
    let mut removals =
        stopped.log.iter().filter(|entry| entry.to_string().contains("series removed"));
    let removal = removals.next().unwrap().to_string();
    assert!(
        removal.contains("\"removed\":2") && removal.contains("\"sender\":\"uid "),
        "{removal}"
    );
}

#[test]
fn a_removal_whose_client_does_not_wait_takes_place_and_is_logged() {
    let daemon = Daemon::start(&with_socket(""));
    statsd(&daemon, "old:10|g\n");
    wait_series(&daemon, "", |answer| answer["live"] == 1);
    let mut socket = UnixStream::connect(daemon.path("admin.sock")).unwrap();
    let request = "DELETE /api/v1/series?match=old HTTP/1.1\r\nHost: localhost\r\n\r\n";
    socket.write_all(request.as_bytes()).unwrap();
    // A reload takes longer than reading the request.
    assert_eq!(through_socket(&daemon, "POST", "/api/v1/reload").0, 200);
    drop(socket);
    daemon.wait_for("the removal", |status| status["series"]["removed"] == 1);
    let stopped = daemon.stop();
    let is_removal = |entry: &&Value| entry.to_string().contains("series removed");
    assert_eq!(stopped.log.iter().filter(is_removal).count(), 1);
}

#[test]
fn refused_requests_leave_one_line_in_the_log() {
    let daemon = Daemon::start(&with_socket(""));
    let client = common::http().build().unwrap();
    let url = format!("http://{}/api/v1/reload", daemon.admin);
    for _ in 0..50 {
        assert_eq!(client.post(&url).send().unwrap().status().as_u16(), 403);
    }
    let stopped = daemon.stop();
    let is_refusal = |entry: &&Value| entry.to_string().contains("change something refused");
    assert_eq!(stopped.log.iter().filter(is_refusal).count(), 1);
}

#[test]
fn a_request_at_the_address_changes_nothing() {
    let daemon = Daemon::start(&with_socket(""));
    statsd(&daemon, "g:1|g\n");
    wait_series(&daemon, "", |answer| answer["live"] == 1);
    let client = common::http().build().unwrap();
    let url = format!("http://{}", daemon.admin);
    let removal = client.delete(format!("{url}/api/v1/series?match=*")).send().unwrap();
    let reload = client.post(format!("{url}/api/v1/reload")).send().unwrap();
    assert_eq!((removal.status().as_u16(), reload.status().as_u16()), (403, 403));
    assert!(removal.text().unwrap().contains("admin: {socket}"));
    assert_eq!(daemon.status()["reload"]["applied"], 0);
    let output = command(&daemon, &["g", "--delete", "--admin", &daemon.admin.to_string()]);
    assert!(!output.status.success() && text(&output).contains("admin: {socket}"));
    assert_eq!(series(&daemon, "")["live"], 1);
}

#[test]
fn only_operators_may_change_something_through_the_socket() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root, to act as another user");
        return;
    }
    let daemon = Daemon::start(&with_socket(", socket_mode: \"0666\""));
    let folder = daemon.path(".");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let socket = format!("unix:{}", daemon.path("admin.sock").display());
    statsd(&daemon, "g:1|g\nh:1|g\n");
    wait_series(&daemon, "", |answer| answer["live"] == 2);
    let as_nobody = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"]);
        command.arg(tallyd().get_program()).args(args).args(["--admin", &socket]);
        command.output().unwrap()
    };
    let output = as_nobody(&["values"]);
    assert!(output.status.success(), "everyone may read: {}", text(&output));
    for args in [&["values", "g", "--delete"][..], &["reload"]] {
        let output = as_nobody(args);
        assert!(!output.status.success(), "{}", text(&output));
        assert!(text(&output).contains("uid 65534 may not change anything"), "{}", text(&output));
    }
    assert_eq!(series(&daemon, "")["live"], 2);
    for (operators, name) in [("users: [65534]", "g"), ("groups: [65534]", "h")] {
        let more = format!(", socket_mode: \"0666\", operators: {{ {operators} }}");
        daemon.reload(&with_socket(&more));
        let output = as_nobody(&["values", name, "--delete"]);
        assert_eq!(text(&output), "1 series removed\n");
    }
    assert_eq!(series(&daemon, "")["live"], 0);
    let output = as_nobody(&["reload"]);
    assert!(text(&output).contains("nothing is different"), "{}", text(&output));
}

#[test]
fn a_reload_through_the_socket_reports_its_outcome_and_moves_the_socket() {
    let daemon = Daemon::start(&with_socket(""));
    let reload = || {
        let config = daemon.path("tallyd.yaml");
        tallyd().arg("reload").arg("--config").arg(config).output().unwrap()
    };
    assert!(text(&reload()).contains("nothing is different"), "{}", text(&reload()));
    daemon.write_config(&with_socket(", socket_mode: \"0600\"").replace("300ms", "400ms"));
    let output = reload();
    assert!(output.status.success() && text(&output).contains("interval"), "{}", text(&output));
    let mode = std::fs::metadata(daemon.path("admin.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    daemon.write_config(&format!("{}nonsense: 1\n", with_socket("")));
    let socket = format!("unix:{}", daemon.path("admin.sock").display());
    let output = tallyd().args(["reload", "--admin", &socket]).output().unwrap();
    assert!(!output.status.success() && text(&output).contains("nonsense"), "{}", text(&output));
    daemon.reload(&with_socket("").replace("admin.sock", "other.sock"));
    assert!(!daemon.path("admin.sock").exists());
    assert!(UnixStream::connect(daemon.path("other.sock")).is_ok());
    let other = daemon.path("other.sock");
    let stopped = daemon.stop();
    assert!(!other.exists(), "{:?}", stopped.log);
}

#[test]
fn the_socket_works_without_an_address() {
    // The daemon's port is found in the log otherwise, so this test starts the program itself.
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let config = folder.path().join("tallyd.yaml");
    let text = format!(
        "bind_port: 0\nadmin: {{ listen: none, socket: {} }}\nstate_dir: {}\n",
        socket.display(),
        folder.path().display()
    );
    std::fs::write(&config, text).unwrap();
    let mut daemon = tallyd().args(["run", "--config"]).arg(&config).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        let output = tallyd().arg("values").arg("--config").arg(&config).output().unwrap();
        if output.status.success() || Instant::now() > deadline {
            break output.status;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(status.success());
}
