//! Reloads apply the differences, leave everything else running, and lose nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Daemon, PATIENCE, assert_balanced, points, shown, tallyd, total};
use serde_json::{Value, json};

const FILE: &str = "interval: 100ms\nforwarders: { file: { path: DIR/out, format: json } }\n";

fn counter(name: &str) -> String {
    format!(r#"{{"metric_name":"{name}","metric_type":"counter"}}"#)
}

fn applied(status: &Value) -> &Value {
    assert_eq!(status["reload"]["last"]["error"], Value::Null, "{:#}", status["reload"]);
    &status["reload"]["last"]["changes"]
}

fn refusal(status: &Value) -> String {
    status["reload"]["last"]["error"].as_str().expect("a refusal").to_owned()
}

/// The inode number of the socket that is bound to a UDP port.
fn socket_at(port: u16) -> String {
    let table = fs::read_to_string("/proc/net/udp").unwrap();
    let bound = format!(":{port:04X}");
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = lines.find(|fields| fields[1].ends_with(&bound)).expect("a socket at the port");
    line[9].to_owned()
}

#[test]
fn twenty_valid_and_invalid_reloads_under_load_lose_no_sample_and_keep_the_sockets() {
    let daemon = Daemon::start(FILE);
    let socket = socket_at(daemon.udp.port());
    let is_over = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                daemon.send_paced((0..2_000).map(|n| counter(&format!("m.{}", n % 50))));
                sent += 2_000;
            }
            sent
        });
        for round in 0..10 {
            let good = format!(
                "{FILE}agent: {{ tags: {{ round: \"{round}\" }} }}\nlimits: {{ max_tags: {} }}\n\
                 aggregation: {{ exact_samples: {}, line_cache: {}MiB }}\n",
                100 + round,
                1_000 + round,
                1 + round
            );
            let status = daemon.reload(&good);
            assert!(!applied(&status).as_array().unwrap().is_empty());
            let status = daemon.reload(&format!("{good}no_such_key: 1\n"));
            assert!(refusal(&status).contains("no_such_key"));
        }
        is_over.store(true, Ordering::Relaxed);
        let sent = sender.join().unwrap();
        let status = daemon.wait_received(sent);
        assert_eq!(status["ledger"]["received"], sent);
        assert_eq!(status["ledger"]["kernel_drops"], 0);
        assert_eq!(
            (&status["reload"]["applied"], &status["reload"]["refused"]),
            (&json!(10), &json!(10))
        );
        assert_balanced(&status);
        assert_eq!(socket_at(daemon.udp.port()), socket);
        sent
    });
    let stopped = daemon.stop();
    let points = stopped.points("out");
    let counted: f64 = (0..50).map(|n| total(&points, &format!("m.{n}"), "count")).sum();
    assert_eq!(counted, sent as f64);
    let rounds: BTreeSet<_> =
        points.iter().filter_map(|point| point["tags"]["round"].as_str()).collect();
    assert!(rounds.contains("9"), "lines that were known got the new tags: {rounds:?}");
    let mut ends: Vec<u64> =
        points.iter().map(|point| point["timestamp"].as_u64().unwrap()).collect();
    ends.dedup();
    assert!(ends.is_sorted(), "no window came twice or late");
}

#[test]
fn gauges_and_the_open_window_survive_a_reload() {
    let daemon =
        Daemon::start(&format!("{FILE}interval: 1h\n").replacen("interval: 100ms\n", "", 1));
    daemon.send(r#"{"metric_name":"g","metric_type":"gauge","value":10}"#);
    daemon.send(counter("c"));
    daemon.wait_received(2);
    let status = daemon.reload(FILE);
    assert_eq!(*applied(&status), json!(["interval: 1h -> 100ms"]));
    daemon.wait_for("the window", |status| status["forwarders"]["file"]["delivered"] == 2);
    daemon.send(r#"{"metric_name":"g","metric_type":"gauge","value":"-3"}"#);
    daemon.send(counter("c"));
    daemon.wait_received(4);
    let points = daemon.stop().points("out");
    assert_eq!(total(&points, "c", "count"), 2.0);
    let gauge: Vec<&Value> = points
        .iter()
        .filter(|point| point["name"] == "g")
        .map(|point| &point["fields"]["value"])
        .collect();
    assert_eq!(gauge, [&json!(10), &json!(7)]);
}

#[test]
fn the_ledger_keeps_the_counts_of_removed_listeners() {
    let daemon = Daemon::start(FILE);
    daemon.send(counter("a"));
    daemon.wait_received(1);
    let more = format!(
        "{FILE}bind_port: 0\nlisteners:\n  - {{ protocol: statsd, address: \"127.0.0.1:0\" }}\n  \
         - {{ transport: unix_datagram, path: DIR/socket }}\n"
    );
    daemon.reload(&more);
    let statsd = UdpSocket::bind("127.0.0.1:0").unwrap();
    statsd.send_to(b"b:2|c\nbad", daemon.address("statsd/udp ")).unwrap();
    let local = std::os::unix::net::UnixDatagram::unbound().unwrap();
    local.send_to(counter("c").as_bytes(), daemon.path("socket")).unwrap();
    daemon.send(counter("a"));
    daemon.wait_received(5);
    let status = daemon.reload(FILE);
    applied(&status);
    assert!(!daemon.path("socket").exists());
    let names: Vec<_> = status["listeners"].as_array().unwrap().iter().collect();
    assert_eq!(names.len(), 2, "{names:#?}");
    let gone = names[1];
    assert_eq!((&gone["listener"], &gone["received"]), (&json!("removed"), &json!(3)));
    assert_eq!(gone["rejected"], json!({ "bad_line": 1 }));
    assert_eq!(status["ledger"]["received"], 5);
    daemon.send(counter("a"));
    daemon.wait_received(6);
    let points = daemon.stop().points("out");
    let totals = ["a", "b", "c"].map(|name| total(&points, name, "count"));
    assert_eq!(totals, [3.0, 2.0, 1.0]);
}

#[test]
fn a_listener_moves_to_all_addresses_of_the_same_port_without_a_gap() {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = |address: &str| format!("{FILE}bind_address: {address}\nbind_port: {port}\n");
    let daemon = Daemon::start(&at("127.0.0.1"));
    let is_over = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                daemon.send_paced((0..100).map(|_| counter("c")));
                sent += 100;
            }
            sent
        });
        for address in ["0.0.0.0", "127.0.0.1", "0.0.0.0"] {
            applied(&daemon.reload(&at(address)));
        }
        is_over.store(true, Ordering::Relaxed);
        sender.join().unwrap()
    });
    let status = daemon.wait_received(sent);
    assert_eq!(status["listeners"][0]["listener"], format!("json/udp 0.0.0.0:{port}"));
    assert_eq!(status["ledger"]["kernel_drops"], 0);
    assert_eq!(total(&daemon.stop().points("out"), "c", "count"), sent as f64);
}

#[test]
fn a_reload_changes_allow_and_max_line_of_open_sockets() {
    let listeners = |allow: &str, max_line: &str| {
        format!(
            "{FILE}listeners:\n  - {{ address: \"127.0.0.1:0\", allow: [{allow}] }}\n  \
             - {{ transport: tcp, address: \"127.0.0.1:0\", max_line: {max_line} }}\n"
        )
    };
    let start = |text: String| text + "# bind_port: none here\n";
    let daemon = Daemon::start(&start(listeners("127.0.0.0/8", "64KiB")));
    let mut connection = TcpStream::connect(daemon.address("json/tcp ")).unwrap();
    let long = format!("{{\"metric_name\":\"{}\",\"metric_type\":\"trace\"}}\n", "n".repeat(300));
    connection.write_all(long.as_bytes()).unwrap();
    daemon.send(counter("c"));
    daemon.wait_received(2);
    applied(&daemon.reload(&start(listeners("10.0.0.0/8", "256B"))));
    daemon.send(counter("c"));
    connection.write_all(long.as_bytes()).unwrap();
    let status = daemon.wait_for("both refusals", |status| {
        status["listeners"][0]["refused"]["not_allowed"] == 1
            && status["ledger"]["rejected"]["too_long"] == 1
    });
    assert_eq!(status["listeners"][1]["connections"]["accepted"], 1);
    let status = daemon.reload(&start(
        listeners("10.0.0.0/8", "256B").replace("tcp,", "tcp, max_connections: 9,"),
    ));
    applied(&status);
    assert_eq!(status["listeners"][1]["connections"]["open"], 1);
}

#[test]
fn a_changed_destination_gets_the_points_that_waited_for_the_previous_one() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let carbon = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = |address: std::net::SocketAddr| {
        format!(
            "interval: 100ms\nforwarders:\n  file: {{ path: DIR/out, format: json }}\n  \
             graphite: {{ address: \"{address}\", delivery: {{ retry: {{ max: 1h, initial: 1h }} }} }}\n"
        )
    };
    let daemon = Daemon::start(&to(unused));
    for _ in 0..5 {
        daemon.send(counter("c"));
    }
    daemon.wait_for("a spooled window", |status| {
        status["forwarders"]["graphite"]["spooled"].as_u64() > Some(0)
            && status["forwarders"]["graphite"]["queued"] == 0
            && status["ledger"]["aggregated"] == 5
    });
    let text = to(carbon.local_addr().unwrap());
    let status = daemon.reload(&text);
    assert_eq!(applied(&status).as_array().unwrap().len(), 1);
    let reader = thread::spawn(move || {
        let (mut connection, _) = carbon.accept().unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut connection, &mut text).unwrap();
        text
    });
    let status = daemon.wait_for("the backlog", |status| {
        let graphite = &status["forwarders"]["graphite"];
        graphite["spooled"] == 0
            && graphite["queued"] == 0
            && graphite["delivered"] == graphite["flushed"]
    });
    assert_balanced(&status);
    assert_eq!(status["forwarders"]["graphite"]["recovered"], 0);
    let stopped = daemon.stop();
    let text = reader.join().unwrap();
    let counts = text.lines().filter(|line| line.starts_with("c ") || line.starts_with("c;"));
    let sum: f64 = counts.map(|line| line.split(' ').nth(1).unwrap().parse::<f64>().unwrap()).sum();
    assert_eq!(sum, 5.0, "{text}");
    assert_eq!(total(&stopped.points("out"), "c", "count"), 5.0);
}

#[test]
fn each_window_is_complete_in_all_destinations_of_its_time() {
    let daemon = Daemon::start(FILE);
    daemon.send(counter("c"));
    daemon.wait_for("the first", |status| status["forwarders"]["file"]["delivered"] == 1);
    let two = "interval: 100ms\nforwarders:\n  file:\n    - { path: DIR/out, format: json }\n    \
               - { name: second, path: DIR/second, format: json, select: { prefix: p. } }\n";
    applied(&daemon.reload(two));
    daemon.send(counter("c"));
    daemon.wait_for("both", |status| {
        status["forwarders"]["second"]["delivered"] == 1
            && status["forwarders"]["file"]["delivered"] == 2
    });
    let only =
        "interval: 100ms\nforwarders:\n  file: { name: second, path: DIR/third, format: json }\n";
    let status = daemon.reload(only);
    applied(&status);
    assert!(status["forwarders"]["file"].is_null());
    daemon.send(counter("c"));
    let status =
        daemon.wait_for("the third", |status| status["forwarders"]["second"]["delivered"] == 2);
    assert_balanced(&status);
    let stopped = daemon.stop();
    let lines = |name: &str| stopped.points(name).len();
    assert_eq!([lines("out"), lines("second"), lines("third")], [2, 1, 1]);
    assert_eq!(stopped.points("second")[0]["name"], "p.c");
    let ended = stopped
        .log
        .iter()
        .find(|entry| entry["message"] == "ledger of a forwarder" && entry["forwarder"] == "file");
    assert_eq!(ended.unwrap()["delivered"], 2);
}

#[test]
fn a_page_keeps_its_totals_unless_its_own_keys_change() {
    let page = |more: &str| {
        format!(
            "interval: 100ms\nforwarders: {{ prometheus: {{ listen: \"127.0.0.1:0\"{more} }} }}\n"
        )
    };
    let daemon = Daemon::start(&page(""));
    let read = || {
        let url = format!("http://{}/metrics", daemon.page.unwrap());
        common::get(url).and_then(reqwest::blocking::Response::text)
    };
    let wait = |wanted: &str| {
        let deadline = Instant::now() + PATIENCE;
        while !read().is_ok_and(|page| page.lines().any(|line| line == wanted)) {
            assert!(Instant::now() < deadline, "{wanted} is not on {:?}", read());
            thread::sleep(Duration::from_millis(5));
        }
    };
    daemon.send(counter("c"));
    wait("c_total 1");
    applied(&daemon.reload(&page(", select: { exclude: [\"no.*\"] }")));
    daemon.send(counter("c"));
    wait("c_total 2");
}

fn no_complaint_about_the_address(daemon: Daemon) {
    let log = daemon.stop().log;
    assert!(!log.iter().any(|line| line.to_string().contains("cannot listen")), "{log:#?}");
}

#[test]
fn a_page_whose_own_keys_change_is_served_at_the_same_address_without_a_gap() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let page = |path: &str| {
        format!(
            "interval: 100ms\nforwarders: {{ prometheus: {{ listen: \"127.0.0.1:{port}\", path: {path} }} }}\n"
        )
    };
    let scrape = |path: &str| common::get(format!("http://127.0.0.1:{port}{path}"));
    let daemon = Daemon::start(&page("/a"));
    daemon.send(counter("c"));
    let is_over = AtomicBool::new(false);
    let scrapes = thread::scope(|scope| {
        let scraper = scope.spawn(|| {
            let mut scrapes = 0;
            while !is_over.load(Ordering::Relaxed) {
                // One of the paths does not exist at that moment, but has a reply nevertheless.
                scrape("/a").unwrap_or_else(|error| panic!("after {scrapes} scrapes: {error}"));
                scrapes += 1;
            }
            scrapes
        });
        for path in ["/b", "/a", "/b", "/a", "/b"] {
            applied(&daemon.reload(&page(path)));
            let deadline = Instant::now() + PATIENCE;
            let is_served = || {
                let reply = scrape(path).and_then(|reply| reply.error_for_status()?.text());
                reply.is_ok_and(|page| page.contains("c_total 1"))
            };
            while !is_served() {
                assert!(Instant::now() < deadline, "the page is not served at {path}");
                thread::sleep(Duration::from_millis(5));
            }
        }
        is_over.store(true, Ordering::Relaxed);
        scraper.join().unwrap()
    });
    assert!(scrapes > 20, "{scrapes}");
    no_complaint_about_the_address(daemon);
}

#[test]
fn a_page_moves_to_all_addresses_of_its_port() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let page = |host: &str| {
        format!("interval: 100ms\nforwarders: {{ prometheus: {{ listen: \"{host}:{port}\" }} }}\n")
    };
    let daemon = Daemon::start(&page("127.0.0.1"));
    applied(&daemon.reload(&page("0.0.0.0")));
    let deadline = Instant::now() + PATIENCE;
    while common::get(format!("http://127.0.0.2:{port}/metrics")).is_err() {
        assert!(Instant::now() < deadline, "the page is not served at all addresses");
        thread::sleep(Duration::from_millis(5));
    }
    no_complaint_about_the_address(daemon);
}

#[test]
fn a_refused_reload_changes_nothing_and_is_reported_in_log_status_and_metrics() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken_tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let daemon = Daemon::start(FILE);
    let udp = taken.local_addr().unwrap();
    let tcp = taken_tcp.local_addr().unwrap();
    let cases = [
        (format!("{FILE}interval: soon\n").replacen("interval: 100ms\n", "", 1), "tallyd.yaml:"),
        (format!("{FILE}: :\n"), "tallyd.yaml:"),
        (
            format!("{FILE}state_dir: DIR/other\n"),
            "state_dir cannot be changed while the daemon runs",
        ),
        (
            format!("{FILE}listeners: [{{ address: \"{udp}\" }}]\ninterval: 7s\n").replacen(
                "interval: 100ms\n",
                "",
                1,
            ),
            "another program listens there",
        ),
        (format!("{FILE}admin: {{ listen: \"{tcp}\" }}\n"), "for the admin endpoint"),
        (
            format!("interval: 7s\nforwarders: {{ prometheus: {{ listen: \"{tcp}\" }} }}\n"),
            "cannot listen on",
        ),
    ];
    for (number, (config, words)) in cases.iter().enumerate() {
        let status = daemon.reload(config);
        let error = refusal(&status);
        assert!(error.contains(words), "{error}");
        assert_eq!(status["reload"]["refused"], number + 1);
        assert_eq!(status["windows"]["interval_s"], 0.1, "{config}");
        assert_eq!(status["listeners"].as_array().unwrap().len(), 1, "{config}");
        assert!(!status["forwarders"]["file"].is_null());
    }
    let (_, page) = daemon.get("/metrics");
    assert!(page.contains("tallyd_reloads_total{outcome=\"refused\"} 6\n"), "{page}");
    assert!(page.contains("tallyd_reload_successful 0\n"), "{page}");
    daemon.send(counter("c"));
    daemon.wait_received(1);
    let status = daemon.reload(FILE);
    assert_eq!(*applied(&status), json!([]));
    assert!(daemon.get("/metrics").1.contains("tallyd_reload_successful 1\n"));
    let stopped = daemon.stop();
    assert_eq!(total(&stopped.points("out"), "c", "count"), 1.0);
    let warnings = stopped.warnings();
    let refused = warnings.iter().filter(|line| line.contains("reload refused"));
    assert_eq!(refused.count(), 6, "{warnings:#?}");
}

#[test]
fn limits_and_percentiles_follow_the_file() {
    let daemon = Daemon::start(FILE);
    for n in 0..5 {
        daemon.send(counter(&format!("m{n}")));
    }
    daemon.wait_received(5);
    applied(&daemon.reload(&format!("{FILE}aggregation: {{ max_series: 5 }}\n")));
    daemon.send(r#"{"metric_name":"m0","metric_type":"timer","value":4}"#);
    let status = daemon.wait_for("the overflow", |status| status["series"]["overflowed"] != 0);
    assert_eq!(status["forwarders"]["file"]["dropped"], json!({}));
    applied(&daemon.reload(&format!("{FILE}aggregation: {{ percentiles: [75] }}\n")));
    daemon.send(r#"{"metric_name":"t","metric_type":"timer","value":4}"#);
    daemon.wait_received(7);
    let points = daemon.stop().points("out");
    let timers: Vec<Value> = points.iter().filter(|point| point["name"] == "t").cloned().collect();
    assert_eq!(shown(&timers), ["timer t {} {count:1,max:4,mean:4,min:4,p75:4,stddev:0,sum:4}"]);
    assert!(points.iter().any(|point| point["tags"]["overflow"] == "true"));
}

#[test]
fn self_metrics_count_from_the_reload_that_enables_them() {
    let daemon = Daemon::start(FILE);
    for _ in 0..5 {
        daemon.send(counter("c"));
    }
    daemon.wait_received(5);
    applied(&daemon.reload(&format!("{FILE}self_metrics: true\n")));
    let wanted = daemon.status()["windows"]["closed"].as_u64();
    daemon.send(counter("c"));
    daemon.wait_received(6);
    daemon.wait_for("two windows", |status| {
        status["windows"]["closed"].as_u64() > wanted.map(|closed| closed + 1)
    });
    applied(&daemon.reload(FILE));
    daemon.send(counter("c"));
    daemon.wait_received(7);
    let points = daemon.stop().points("out");
    let own = points.iter().filter(|point| point["name"] == "tallyd.samples_received");
    let counted: Vec<f64> = own.map(|point| point["fields"]["count"].as_f64().unwrap()).collect();
    assert_eq!(counted.iter().sum::<f64>(), 1.0, "one came in between");
}

#[test]
fn check_and_reload_report_changes_and_errors_without_secrets() {
    let config = |key: &str, interval: &str| {
        format!(
            "interval: {interval}\nforwarders:\n  influxdb:\n    url: http://127.0.0.1:1\n    version: 2\n    \
             org: o\n    bucket: b\n    token: {key}\n"
        )
    };
    let daemon = Daemon::start(&config("CANARY-1", "30m"));
    let file = daemon.path("tallyd.yaml");
    let admin = daemon.admin.to_string();
    let run = |command: &str| {
        let mut run = tallyd();
        run.args(command.split(' ')).arg("--config").arg(&file).args(["--admin", &admin]);
        let output = run.output().unwrap();
        let text =
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert!(!text.contains("CANARY"), "{text}");
        (output.status.code().unwrap(), text)
    };
    let (code, text) = run("check --diff");
    assert_eq!(code, 0, "{text}");
    assert!(text.ends_with("a reload would change: nothing is different\n"), "{text}");

    daemon.write_config(&config("CANARY-2", "40m"));
    let changes = "\n  forwarders.influxdb.token: *** has another value\n  interval: 30m -> 40m\n";
    let (code, text) = run("check --diff");
    assert!(code == 0 && text.ends_with(&format!("a reload would change:{changes}")), "{text}");
    assert_eq!(daemon.status()["reload"]["applied"], 0, "asking changes nothing");
    assert_eq!(run("reload"), (0, format!("reloaded:{changes}")));
    assert_eq!(run("reload"), (0, "reloaded: nothing is different\n".to_owned()));

    daemon.write_config(&format!("{}no_such: 1\n", config("CANARY-3", "50m")));
    let (code, text) = run("reload");
    assert!(code == 1 && text.starts_with("refused, nothing was changed:\n"), "{text}");
    assert!(text.contains("unknown key `no_such`"), "{text}");

    daemon.write_config(&format!("{}state_dir: DIR/new\n", config("CANARY-3", "50m")));
    let (code, text) = run("check --diff");
    assert!(code == 1 && text.contains("a reload would be refused:"), "{text}");
    let log = daemon.stop().log.iter().map(ToString::to_string).collect::<String>();
    assert!(!log.contains("CANARY"), "{log}");
}

#[test]
fn without_a_daemon_reload_reports_the_address() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.yaml");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fs::write(&file, format!("admin: {{ listen: \"{free}\" }}\n")).unwrap();
    let run = |more: &[&str]| {
        let output = tallyd().arg("reload").arg("--config").arg(&file).args(more).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = run(&[]);
    assert_eq!(code, Some(1));
    assert!(text.contains(&free.to_string()) && text.contains("--admin"), "{text}");
    fs::write(&file, "interval: soon\n").unwrap();
    let (code, text) = run(&[]);
    assert!(
        code == Some(1) && text.contains("f.yaml:1:11:") && text.contains("no daemon was reloaded"),
        "{text}"
    );
}

#[test]
fn only_a_daemon_that_refuses_the_credentials_makes_reload_ask_for_other_ones() {
    let endpoint = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.yaml");
    let address = endpoint.local_addr().unwrap();
    fs::write(&file, format!("admin: {{ listen: \"{address}\" }}\n")).unwrap();
    for (status, expected) in [("401 Unauthorized", true), ("429 Too Many Requests", false)] {
        let mut reload = tallyd();
        reload.arg("reload").arg("--config").arg(&file).env_remove("TALLYD_TOKEN");
        let reload = reload.stderr(Stdio::piped()).spawn().unwrap();
        let (mut stream, _) = endpoint.accept().unwrap();
        let mut lines = BufReader::new(&stream).lines();
        while !lines.next().unwrap().unwrap().is_empty() {}
        write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        let output = reload.wait_with_output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && text.contains(&status[..3]), "{text}");
        assert_eq!(text.contains("until it has read this file"), expected, "{text}");
    }
}

#[test]
fn a_watch_reloads_at_its_start_and_after_a_change_until_a_signal() {
    let socket = "admin: { listen: \"127.0.0.1:0\", socket: DIR/admin.sock }\n";
    let daemon = Daemon::start(&format!("{FILE}{socket}"));
    let file = daemon.path("tallyd.yaml");
    // At once: the watch must not see half of a file.
    let append = |line: &str| {
        let text = fs::read_to_string(&file).unwrap();
        fs::write(daemon.path("new"), format!("{text}{line}\n")).unwrap();
        fs::rename(daemon.path("new"), &file).unwrap();
    };
    let watch = tallyd()
        .args(["reload", "--watch", "--config"])
        .arg(&file)
        .args(["--admin", &format!("unix:{}", daemon.path("admin.sock").display())])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    daemon.wait_for("the first reload", |status| status["reload"]["applied"] == 1);
    append("limits: { max_tags: 7 }");
    daemon.wait_for("the reload after a change", |status| status["reload"]["applied"] == 2);
    append("no_such_key: 1");
    let status = daemon.wait_for("a refusal", |status| status["reload"]["refused"] == 1);
    assert_eq!(status["reload"]["applied"], 2, "the same content is loaded once");
    let stopped = Command::new("kill").arg(watch.id().to_string()).status().unwrap();
    assert!(stopped.success());
    let output = watch.wait_with_output().unwrap();
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("limits.max_tags: not set -> 7"), "{printed}");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.starts_with("refused, nothing was changed:"), "{errors}");
}

#[test]
fn the_log_and_the_admin_endpoint_follow_the_file() {
    let daemon = Daemon::start(FILE);
    let old = daemon.admin;
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    daemon.write_config(&format!(
        "{FILE}admin: {{ listen: \"{free}\" }}\nlog: {{ format: json, level: error }}\n"
    ));
    daemon.signal("HUP");
    let deadline = Instant::now() + PATIENCE;
    let moved = || common::get(format!("http://{free}/readyz")).is_ok_and(|r| r.status() == 200);
    while !moved() {
        assert!(Instant::now() < deadline, "the endpoint did not move");
        thread::sleep(Duration::from_millis(5));
    }
    let gone = || common::get(format!("http://{old}/readyz")).is_err();
    while !gone() {
        assert!(Instant::now() < deadline, "the old endpoint still answers");
        thread::sleep(Duration::from_millis(5));
    }
    let stopped = daemon.stop();
    let messages: Vec<_> =
        stopped.log.iter().filter_map(|entry| entry["message"].as_str()).collect();
    assert!(
        !messages.contains(&"configuration reloaded")
            && !messages.contains(&"ledger of the listeners"),
        "{messages:?}"
    );
}

#[test]
fn a_reload_reopens_a_rotated_file() {
    let daemon = Daemon::start(FILE);
    daemon.send(counter("a"));
    daemon.wait_for("the first", |status| status["forwarders"]["file"]["delivered"] == 1);
    fs::rename(daemon.path("out"), daemon.path("out.1")).unwrap();
    applied(&daemon.reload(FILE));
    daemon.send(counter("b"));
    daemon.wait_for("the second", |status| status["forwarders"]["file"]["delivered"] == 2);
    assert_eq!(points(&daemon.path("out.1")).len(), 1);
    assert_eq!(points(&daemon.path("out"))[0]["name"], "b");
}
