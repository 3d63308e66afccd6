//! The command `tallyd kamailio` and the poller, against recorded replies of Kamailio.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use common::markdown;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use binrpc::Member;
use common::replay::{Answer, Replay, captures, payload};
use common::{Daemon, assert_balanced, tallyd};
use serde_json::Value;

/// Exit status, standard output, standard error.
fn run(args: &[&str]) -> (i32, String, String) {
    let output = tallyd().arg("kamailio").args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_sends_and_prints_the_same_as_kamcmd() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    let mut compared = 0;
    for recorded in ["", "idle", "big", "small_limits"] {
        for capture in captures(recorded) {
            replay.learn_one(&capture);
            let words = capture.command.split(' ');
            let args: Vec<&str> = std::iter::once(replay.unix.as_str()).chain(words).collect();
            let (status, printed, _) = run(&args);
            assert_eq!(printed, capture.printed, "{}", capture.name);
            let is_fault = payload(&capture.reply).0 == binrpc::PacketKind::Fault;
            assert_eq!(status, i32::from(is_fault), "{}", capture.name);
            assert_eq!(replay.last_request(), payload(&capture.request).1, "{}", capture.name);
            compared += 1;
        }
    }
    assert!(compared >= 79, "{compared}");
}

#[test]
fn the_command_prints_json() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    replay.learn("");
    let json = |args: &[&str]| -> serde_json::Value {
        let args: Vec<&str> = [&[replay.tcp.as_str(), "--json"], args].concat();
        serde_json::from_str(&run(&args).1).unwrap()
    };
    let uptime = json(&["core.uptime"]);
    assert!(uptime[0]["uptime"].is_u64(), "{uptime}");
    let gateways = json(&["dispatcher.list"]);
    let first = &gateways[0]["RECORDS"][0]["SET"];
    assert_eq!(first["ID"], 2);
    assert_eq!(first["TARGETS"][0]["DEST"]["URI"], "sip:127.0.0.1:25463");
    // A set with one gateway has the same structure as one with several.
    let second = &gateways[0]["RECORDS"][1]["SET"];
    assert_eq!(second["TARGETS"][0]["DEST"]["FLAGS"], "AP");
    assert_eq!(json(&["dmq.list_nodes"]).as_array().unwrap().len(), 2);
    let fault = json(&["no.such_method"]);
    assert_eq!(fault["error"]["code"], 500);
    assert_eq!(fault["error"]["message"], "command no.such_method not found");
}

#[test]
fn without_an_answer_the_command_reports_why() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    let nowhere = format!("unix:{}/nowhere", folder.path().display());
    let (status, printed, said) = run(&[&nowhere, "core.uptime"]);
    assert_eq!((status, printed.as_str()), (1, ""));
    assert!(said.starts_with(&format!("cannot connect to {nowhere}: No such file")), "{said}");

    replay.answer(Answer::Hang);
    let (status, _, said) = run(&[&replay.unix, "core.uptime", "--timeout", "50ms"]);
    assert_eq!(status, 1);
    assert!(said.contains("did not send a complete reply within 0.05s"), "{said}");

    let (status, _, said) = run(&["localhost", "core.uptime"]);
    assert_eq!(status, 2);
    assert!(said.contains("an endpoint is unix:/path"), "{said}");
}

// ---- The poller ----------------------------------------------------------------------------

/// A daemon that polls `replay` frequently and writes its points to a file.
fn polling(replay: &Replay, more: &str) -> Daemon {
    Daemon::start(&format!(
        "interval: 200ms\n\
         kamailio: [{{ endpoint: \"{}\", interval: 100ms, tags: {{ node: edge-1 }}, {more} }}]\n\
         forwarders: {{ file: {{ path: DIR/points, format: json }} }}\n",
        replay.unix
    ))
}

/// Waits until this number of polls has begun, so that at least one of them saw the current state.
fn wait_polls(daemon: &Daemon, polls: u64) -> Value {
    let before = daemon.status()["kamailio"][0]["polls"].as_u64().unwrap();
    daemon.wait_for("polls", |status| {
        status["kamailio"][0]["polls"].as_u64().unwrap() >= before + polls
    })
}

fn uptime(started: &str, seconds: i32) -> Vec<binrpc::BinrpcValue> {
    vec![binrpc::BinrpcValue::Struct(vec![
        Member::named("now", "Fri Nov 21 13:51:33 2025".into()),
        Member::named("up_since", started.into()),
        Member::named("uptime", seconds.into()),
    ])]
}

fn created(total: i32) -> Vec<binrpc::BinrpcValue> {
    vec![binrpc::BinrpcValue::Struct(vec![Member::named("created", total.into())])]
}

fn named<'a>(points: &'a [Value], name: &str) -> Vec<&'a Value> {
    points.iter().filter(|point| point["name"] == name).collect()
}

#[test]
fn polled_metrics_are_those_of_the_document() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    replay.learn("");
    // Metrics that require other settings of Kamailio.
    let runtime = binrpc::BinrpcValue::Struct(vec![Member::named("DLGLOAD", 3.into())]);
    let gateway = vec![
        Member::named("URI", "sip:a".into()),
        Member::named("FLAGS", "AX".into()),
        Member::named("RUNTIME", runtime),
    ];
    let targets = binrpc::BinrpcValue::Struct(vec![Member::named(
        "DEST",
        binrpc::BinrpcValue::Struct(gateway),
    )]);
    let set = vec![Member::named("ID", 7.into()), Member::named("TARGETS", targets)];
    let sets =
        binrpc::BinrpcValue::Struct(vec![Member::named("SET", binrpc::BinrpcValue::Struct(set))]);
    let list = binrpc::BinrpcValue::Struct(vec![Member::named("RECORDS", sets)]);
    replay.set("dispatcher.list more", &[list]);

    let daemon = polling(&replay, "methods: [default, dispatcher.list more, no.such_method]");
    wait_polls(&daemon, 3);
    let stopped = daemon.stop();
    let points = stopped.points("points");
    let page = markdown::document("docs/kamailio.md");
    let rows: Vec<_> = page.rows().filter(|row| row.len() >= 3).collect();
    let mut unseen: BTreeSet<&str> = rows
        .iter()
        .map(|row| row[0])
        .filter(|cell| cell.starts_with("`kamailio.") || cell.starts_with("`*"))
        .collect();
    assert!(points.len() > 300 && unseen.len() > 70, "{} and {}", points.len(), unseen.len());
    for point in &points {
        let name = point["name"].as_str().unwrap();
        // The most specific row for the name.
        let row = rows
            .iter()
            .filter(|row| {
                let pattern = row[0].trim_matches('`');
                match pattern.split_once('*') {
                    Some((start, end)) => name.starts_with(start) && name.ends_with(end),
                    None => name == pattern,
                }
            })
            .max_by_key(|row| (!row[0].contains('*'), row[0].len()));
        let row = row.unwrap_or_else(|| panic!("docs/kamailio.md does not describe {name}"));
        assert_eq!(point["type"], row[1], "docs/kamailio.md: row {} for {name}", row[0]);
        let mut tags: BTreeSet<&str> =
            point["tags"].as_object().unwrap().keys().map(String::as_str).collect();
        assert!(tags.remove("node"), "{name}");
        // Only of gateways with this attribute.
        if name.starts_with("kamailio.dispatcher.list.") && name != "kamailio.dispatcher.list.sets"
        {
            tags.insert("duid");
        }
        let described: BTreeSet<&str> = match row.len() {
            4 => row[2].split('`').skip(1).step_by(2).collect(),
            _ => BTreeSet::new(),
        };
        assert_eq!(tags, described, "docs/kamailio.md: row {} for {name}", row[0]);
        unseen.remove(row[0]);
    }
    assert!(
        unseen.is_empty(),
        "docs/kamailio.md describes {unseen:?}, which tallyd did not produce"
    );
}

#[test]
fn polled_values_equal_those_of_the_replies() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    replay.learn("");
    let daemon = polling(&replay, "methods: [default, htable.stats]");
    wait_polls(&daemon, 2);
    let stopped = daemon.stop();
    let points = stopped.points("points");
    for (name, tag, value) in [
        ("kamailio.core.shmmem.free", None, 27_721_592.0),
        ("kamailio.tm.stats.waiting", None, 1.0),
        ("kamailio.script.my_negative", None, -467.0),
        ("kamailio.script.MixedCase_Total", None, 467.0),
        ("kamailio.dlg.stats_active.ongoing", None, 4.0),
        ("kamailio.pkg.stats.used", Some(("entry", "0")), 732_504.0),
        ("kamailio.dispatcher.list.state", Some(("uri", "sip:127.0.0.1:25465")), 3.0),
        ("kamailio.dispatcher.list.active", Some(("uri", "sip:127.0.0.1:25462")), 1.0),
        ("kamailio.dmq.list_nodes.active", Some(("port", "25467")), 0.0),
        ("kamailio.rtpengine.show.enabled", Some(("index", "1")), 0.0),
        ("kamailio.htable.stats.slots", Some(("name", "big")), 16.0),
    ] {
        let points = named(&points, name);
        let is_it = |point: &&&Value| tag.is_none_or(|(key, value)| point["tags"][key] == value);
        let point = points.iter().find(is_it).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(point["fields"]["value"], value, "{name}");
    }
}

#[test]
fn totals_survive_a_restart_a_reset_and_the_end_of_32_bits() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    let end = u32::MAX as i32;
    replay.set("core.uptime", &uptime("a", 100));
    replay.set("tm.stats", &created(end - 4));
    let daemon = polling(&replay, "methods: [tm.stats]");
    wait_polls(&daemon, 2);
    // The counter wraps at 2^32: 4 up to the maximum, 1 to 0, and 2 more.
    replay.set("tm.stats", &created(2));
    wait_polls(&daemon, 2);
    // The counter was reset to 0 and then counted 1.
    replay.set("tm.stats", &created(1));
    wait_polls(&daemon, 2);
    // Kamailio restarts and counts more than before.
    replay.answer(Answer::HangUp);
    wait_polls(&daemon, 4);
    replay.set("core.uptime", &uptime("b", 1));
    replay.set("tm.stats", &created(30));
    replay.answer(Answer::Recorded);
    wait_polls(&daemon, 2);
    let status = daemon.status();
    assert_balanced(&status);
    assert_eq!(status["kamailio"][0]["up"], true);
    let stopped = daemon.stop();
    let points = stopped.points("points");
    let counts: Vec<f64> = named(&points, "kamailio.tm.stats.created")
        .iter()
        .map(|point| point["fields"]["count"].as_f64().unwrap())
        .collect();
    assert!(counts.iter().all(|count| *count >= 0.0), "{counts:?}");
    assert_eq!(counts.iter().sum::<f64>(), 7.0 + 1.0 + 30.0, "{counts:?}");
    let down = named(&points, "kamailio.up").iter().any(|point| point["fields"]["value"] == 0.0);
    assert!(down, "a window in which it did not answer");
}

#[test]
fn prometheus_sees_the_totals_of_kamailio() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    replay.learn("");
    let daemon = Daemon::start(&format!(
        "interval: 200ms\n\
         kamailio: [{{ endpoint: \"{}\", interval: 100ms, tags: {{ node: edge-1 }} }}]\n\
         forwarders: {{ prometheus: {{ listen: \"127.0.0.1:0\" }} }}\n",
        replay.unix
    ));
    daemon.wait_for("a window", |status| {
        status["forwarders"]["prometheus"]["delivered"].as_u64().unwrap() > 300
    });
    let page = format!("http://{}/metrics", daemon.page.unwrap());
    let shows = |line: &str| {
        let text = common::get(&page).unwrap().text().unwrap();
        text.lines().any(|shown| shown == line)
    };
    for line in [
        "kamailio_tm_stats_rpl_sent_total{node=\"edge-1\"} 220",
        "kamailio_tm_stats_waiting{node=\"edge-1\"} 1",
        "kamailio_tm_stats_codes_total{code=\"4xx\",node=\"edge-1\"} 54",
        "kamailio_sl_stats_codes_total{code=\"404\",node=\"edge-1\"} 30",
        "kamailio_core_shmmem_free{node=\"edge-1\"} 27721592",
        "kamailio_script_my_big_total{node=\"edge-1\"} 467000000000",
    ] {
        assert!(shows(line), "{line}");
    }
    // Kamailio was restarted.
    replay.set("core.uptime", &uptime("anew", 1));
    replay.set("tm.stats", &created(3));
    daemon.wait_for("the next windows", |_| {
        shows("kamailio_tm_stats_created_total{node=\"edge-1\"} 3")
    });
}

#[test]
fn a_missing_method_is_logged_once_and_retried_later() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    replay.set("core.uptime", &uptime("a", 100));
    replay.set("sl.stats", &[]);
    let daemon = polling(&replay, "methods: [tm.stats, sl.stats], retry_methods: 1h");
    let status = wait_polls(&daemon, 4);
    let faults = &status["kamailio"][0]["faults"];
    assert_eq!(faults["tm.stats"], "command tm.stats not found (500)");
    assert_eq!(status["kamailio"][0]["up"], true);
    let asked = |method: &str| replay.requests().iter().filter(|asked| *asked == method).count();
    assert_eq!(asked("tm.stats"), 1);
    assert!(asked("sl.stats") >= 4);
    // A restart of Kamailio may load the module of the method.
    replay.set("tm.stats", &created(3));
    replay.set("core.uptime", &uptime("b", 1));
    wait_polls(&daemon, 3);
    assert_eq!(daemon.status()["kamailio"][0]["faults"], serde_json::json!({}));
    let stopped = daemon.stop();
    let told: Vec<_> = stopped.log.iter().filter(|line| line["method"] == "tm.stats").collect();
    let messages: Vec<_> = told.iter().map(|line| line["message"].as_str().unwrap()).collect();
    let expected = [
        "Kamailio does not have the method; will retry every 1h",
        "Kamailio now accepts the method",
    ];
    assert_eq!(messages, expected);
}

#[test]
fn a_default_method_on_which_kamailio_fails_makes_the_poll_incomplete() {
    for fault in ["fault.struct_overflow", "fault.body_overflow"] {
        let folder = tempfile::tempdir().unwrap();
        let replay = Replay::start(folder.path());
        replay.learn("");
        let overflow = captures("small_limits").into_iter().find(|capture| capture.name == fault);
        replay.set_recorded("stats.fetch all", &overflow.unwrap());
        let daemon = polling(&replay, "methods: [default]");
        let status = wait_polls(&daemon, 3);
        assert_eq!(status["kamailio"][0]["up"], true);
        let stopped = daemon.stop();
        let points = stopped.points("points");
        let complete = named(&points, "kamailio.poll.complete");
        assert!(!complete.is_empty());
        assert!(complete.iter().all(|point| point["fields"]["value"] == 0), "{complete:?}");
        let warnings = stopped.log.iter().filter(|line| line["method"] == "stats.fetch all");
        let messages: Vec<_> = warnings.map(|line| line["message"].as_str().unwrap()).collect();
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert!(messages[0].contains("binrpc_struct_max_body_size"), "{messages:?}");
    }
}

#[test]
fn without_a_listener_only_kamailio_is_polled() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    replay.learn("");
    let config = folder.path().join("tallyd.yaml");
    let text = format!(
        "interval: 200ms\nlisteners: []\nadmin: {{ listen: none }}\n\
         kamailio: [{{ endpoint: \"{}\", interval: 100ms }}]\n",
        replay.unix
    );
    std::fs::write(&config, text).unwrap();
    let checked = tallyd().args(["check", "--config"]).arg(&config).output().unwrap();
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(said.contains("good\n  no listeners\n  polls Kamailio at "), "{said}");
    let mut daemon =
        tallyd().arg("run").arg("--config").arg(config).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(daemon.stdout.take().unwrap()).lines();
    let up = lines.map_while(Result::ok).find(|line| line.contains("gauge kamailio.up"));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(up.unwrap().ends_with("value=1"));
}

#[test]
fn a_kamailio_that_hangs_times_out_and_delays_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    replay.answer(Answer::Hang);
    let other = tempfile::tempdir().unwrap();
    let well = Replay::start(other.path());
    well.learn("");
    let daemon = Daemon::start(&format!(
        "interval: 200ms\n\
         kamailio:\n\
         - {{ endpoint: \"{}\", interval: 300ms, timeout: 100ms, tags: {{ node: a }} }}\n\
         - {{ endpoint: \"{}\", interval: 100ms, tags: {{ node: b }} }}\n\
         forwarders: {{ file: {{ path: DIR/points, format: json }} }}\n",
        replay.unix, well.tcp
    ));
    daemon.send(r#"{"metric_name":"m","metric_type":"counter"}"#);
    let status = daemon.wait_for("failures", |status| {
        status["kamailio"][0]["failures"].as_u64() >= Some(3)
            && status["kamailio"][1]["polls"].as_u64() >= Some(3)
    });
    let [hung, answered] = [0, 1].map(|index| &status["kamailio"][index]);
    assert_eq!((&hung["up"], &answered["up"]), (&false.into(), &true.into()), "{status:#}");
    let error = hung["last_error"].as_str().unwrap();
    assert!(error.contains("0.1s"), "{error}");
    assert_eq!(answered["failures"], 0);
    // Each poll opened a new connection and closed it.
    assert!(replay.connections() >= 3);
    let stopped = daemon.stop();
    let told = stopped.warnings().iter().filter(|line| line.contains("not responding")).count();
    assert_eq!(told, 1, "the log hears of it once");
    let points = stopped.points("points");
    assert_eq!(named(&points, "m").len(), 1);
    let up = |node: &str, up: f64| {
        let points = named(&points, "kamailio.up");
        points.iter().any(|p| p["tags"]["node"] == node && p["fields"]["value"] == up)
    };
    assert!(up("a", 0.0) && !up("a", 1.0) && up("b", 1.0));
}

#[test]
fn polled_samples_are_in_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    replay.learn("");
    let daemon = polling(&replay, "methods: [default]");
    let number = |value: &Value| value.as_u64().unwrap();
    let status =
        daemon.wait_for("two polls", |status| number(&status["listeners"][1]["datagrams"]) >= 24);
    let listener = &status["listeners"][1];
    assert_eq!(listener["listener"], format!("kamailio {}", replay.unix));
    assert!(number(&listener["received"]) > 600, "{listener}");
    assert_eq!(listener["received"], listener["aggregated"]);
    let ledger = &status["ledger"];
    assert_eq!(number(&ledger["received"]), number(&ledger["aggregated"]));
    assert_balanced(&status);
}

#[test]
fn a_reload_adds_changes_and_removes_instances_and_totals_continue() {
    let folder = tempfile::tempdir().unwrap();
    let replay = Replay::start(folder.path());
    replay.set("core.uptime", &uptime("long ago", 1000));
    replay.set("tm.stats", &created(100));
    let to_file = "interval: 200ms\nforwarders: { file: { path: DIR/points, format: json } }\n";
    let polled = |more: &str| {
        format!(
            "{to_file}kamailio: [{{ endpoint: \"{}\", interval: 100ms, {more} }}]\n",
            replay.unix
        )
    };
    let daemon = Daemon::start(to_file);
    daemon.reload(&polled("methods: [tm.stats]"));
    wait_polls(&daemon, 2);
    replay.set("tm.stats", &created(107));
    let status = daemon.reload(&polled("methods: [tm.stats, core.uptime]"));
    assert!(status["kamailio"][0]["polls"].as_u64() > Some(0), "its polls go on: {status:#}");
    wait_polls(&daemon, 2);
    let received = daemon.reload(to_file)["ledger"]["received"].clone();
    let status = daemon.status();
    assert_eq!(status["kamailio"], serde_json::json!([]));
    assert_eq!(status["ledger"]["received"], received, "nobody asks any more");
    assert_balanced(&status);
    let points = daemon.stop().points("points");
    let created: f64 = named(&points, "kamailio.tm.stats.created")
        .iter()
        .map(|point| point["fields"]["count"].as_f64().unwrap())
        .sum();
    assert_eq!(created, 7.0);
    assert!(!named(&points, "kamailio.core.uptime.uptime").is_empty());
}

#[test]
fn two_instances_need_tags_that_differ() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tallyd.yaml");
    let instances = "kamailio:\n- endpoint: unix:/a\n- endpoint: unix:/b\n  tags: { node: \"\" }\n";
    std::fs::write(&path, instances).unwrap();
    let output = tallyd().args(["check", "--config"]).arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("tallyd.yaml:3:3: `kamailio[1]` has the tags of `kamailio[0]`"),
        "{said}"
    );
}
