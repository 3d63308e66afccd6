//! `tallyd explain` with the real binary, compared with the real daemon's results for the same input.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::path::Path;
use std::process::{Output, Stdio};

use common::rates::full_windows;
use common::{Daemon, tallyd, write_config};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Runs `tallyd explain` with these arguments and this standard input.
fn explain(args: &[&str], input: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input");
    fs::write(&path, input).unwrap();
    let stdin = File::open(path).unwrap();
    tallyd().arg("explain").args(args).stdin(Stdio::from(stdin)).output().unwrap()
}

/// Writes a configuration and returns its folder and path.
fn with_config(config: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(&folder, config);
    (folder, path.to_str().unwrap().to_owned())
}

/// The JSON objects of a run with this expected exit status.
fn explained(config: &str, args: &[&str], input: &str, status: i32) -> Vec<Value> {
    let (_folder, path) = with_config(config);
    let output = explain(&[&["--json", "--config", &path], args].concat(), input);
    let (code, stdout, stderr) = told(&output);
    assert_eq!(code, status, "{stdout}{stderr}");
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn told(output: &Output) -> (i32, &str, &str) {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// The bytes of a message for a destination, all payloads concatenated.
fn payloads(message: &Value, forwarder: &str) -> String {
    let forwarders = message["forwarders"].as_array().unwrap();
    let found = forwarders.iter().find(|one| one["name"] == forwarder).unwrap();
    let payloads = found["payloads"].as_array().unwrap();
    payloads.iter().map(|payload| payload["body"]["text"].as_str().unwrap()).collect()
}

const AGENT: &str = "\
agent: { tags: { environment: stage, role: broker } }
aggregation: { percentiles: [50] }
forwarders:
  file:
    - { name: all, path: DIR/all, format: json }
    - { name: some, path: DIR/some, format: text, select: { include: [\"user.*\"], drop_tags: [role] } }
";

/// Every kind of metric, changes of a gauge, several values, and series that are not selected.
const MESSAGES: &str = r#"{"metric_name": "user.latency", "metric_type": "timer", "value": 12.5, "role": "x"}
{"metric_name": "user.logins", "metric_type": "counter", "count": 2, "sample_rate": 0.5}
{"metric_name": "user.signup", "metric_type": "trace", "tags": {"stage": "a b"}}
{"metric_name": "caller", "metric_type": "set", "value": "+4930"}
{"metric_name": "user.depth", "metric_type": "gauge", "value": 10}
{"metric_name": "user.depth", "metric_type": "gauge", "value": "-4"}
"#;

#[test]
fn explain_prints_the_bytes_that_the_daemon_writes() {
    let messages = explained(AGENT, &[], MESSAGES, 0);
    let daemon = Daemon::start(&format!("interval: 10s\n{AGENT}"));
    // All in one window, unless a window ends in between; the gauge has its last value.
    daemon.send(MESSAGES);
    daemon.wait_received(6);
    let stopped = daemon.stop();
    let without_time = |line: &str, is_json: bool| {
        if is_json {
            let mut point: Value = serde_json::from_str(line).unwrap();
            point.as_object_mut().unwrap().remove("time");
            point.as_object_mut().unwrap().remove("timestamp");
            point.to_string()
        } else {
            line.split_once(' ').unwrap().1.to_owned()
        }
    };
    for (name, is_json) in [("all", true), ("some", false)] {
        let mut told = Vec::new();
        // `explain` has two windows with the gauge, the daemon one.
        for message in messages.iter().filter(|message| message["line"] != 5) {
            let text = payloads(message, name);
            told.extend(text.lines().map(|line| without_time(line, is_json)));
        }
        let written = full_windows(&stopped.read(name), 10.0);
        let mut written: Vec<_> = written.lines().map(|line| without_time(line, is_json)).collect();
        told.sort();
        written.sort();
        assert_eq!(told, written, "{name}");
    }
}

#[test]
fn a_sample_is_explained_with_its_series_value_and_agent_tags() {
    let messages = explained(AGENT, &[], MESSAGES, 0);
    assert_eq!(
        messages[0]["outcomes"],
        json!([{ "sample": {
            "series": {
                "type": "timer",
                "name": "user.latency",
                "tags": { "environment": "stage", "role": "broker" }
            },
            "means": "value",
            "value": 12.5,
            "weight": 1.0,
            "agent_tags": [
                { "key": "environment", "value": "stage", "message": null, "wins": true },
                { "key": "role", "value": "broker", "message": "x", "wins": true }
            ],
            "folded": false
        } }])
    );
    let means = |place: usize| {
        let sample = &messages[place]["outcomes"][0]["sample"];
        (sample["means"].as_str().unwrap().to_owned(), sample["value"].clone())
    };
    assert_eq!(means(1), ("count".to_owned(), json!(2.0)));
    assert_eq!(messages[1]["outcomes"][0]["sample"]["weight"], 2.0);
    assert_eq!(means(2), ("occurrence".to_owned(), Value::Null));
    assert_eq!(means(3), ("member".to_owned(), json!("+4930")));
    assert_eq!(means(5), ("add".to_owned(), json!(-4.0)));
    // The previous message counts: 10 minus 4.
    assert_eq!(messages[5]["points"][0]["fields"], json!({ "value": 6.0 }));
    let selected = |place: usize| messages[place]["forwarders"][1]["selected"].clone();
    assert_eq!((selected(0), selected(3)), (json!(true), json!(false)));
    assert_eq!(payloads(&messages[3], "some"), "");
}

#[test]
fn on_conflict_message_keeps_the_tag_of_the_message() {
    let config = "agent: { tags: { role: broker }, on_conflict: message }\n";
    let message = r#"{"metric_name": "m", "metric_type": "trace", "role": "x"}"#;
    let messages = explained(config, &[message], "", 0);
    let sample = &messages[0]["outcomes"][0]["sample"];
    assert_eq!(sample["series"]["tags"], json!({ "role": "x" }));
    assert_eq!(sample["agent_tags"][0]["wins"], false);
}

#[test]
fn a_rejection_has_its_position_reason_and_a_suggestion() {
    let input = "\n{\"metric_name\": \"m\", \"metric_type\": \"guauge\", \"value\": 1}\r\n\
                 {\"metric_name\": \"m\", \"metric_type\": \"trace\"}\n";
    let messages = explained("", &[], input, 1);
    assert_eq!(messages[0]["line"], 2);
    assert_eq!(
        messages[0]["outcomes"],
        json!([{ "rejected": {
            "reason": "unknown_type",
            "offset": 36,
            "pointer": "/metric_type",
            "expected": "`trace`, `gauge`, `counter`, `timer` or `set`",
            "got": "\"guauge\"",
            "nearest": "gauge"
        } }])
    );
    assert_eq!((&messages[0]["points"], &messages[0]["forwarders"]), (&json!([]), &json!([])));
    assert_eq!(messages[1]["line"], 3);
    assert_eq!(messages[1]["outcomes"][0]["sample"]["series"]["name"], "m");
}

#[test]
fn an_array_has_an_outcome_for_each_element() {
    let input = "[{\"metric_name\": \"a\", \"metric_type\": \"counter\"},\n {\"metric_type\": \"trace\"}]\n";
    let messages = explained("", &[], input, 1);
    assert_eq!(messages.len(), 1);
    let outcomes = messages[0]["outcomes"].as_array().unwrap();
    assert_eq!(outcomes[0]["sample"]["series"]["name"], "a");
    assert_eq!(outcomes[1]["rejected"]["pointer"], "/1");
    assert_eq!(messages[0]["points"].as_array().unwrap().len(), 1);
}

#[test]
fn statsd_lines_have_a_sample_for_each_value_and_events_are_skipped() {
    let messages = explained(AGENT, &["--statsd"], "a:1:2:x|ms|#k:v\n_e{1,1}:a|b\n", 1);
    let outcomes = messages[0]["outcomes"].as_array().unwrap();
    assert_eq!(outcomes.len(), 3);
    assert_eq!(outcomes[2]["rejected"]["offset"], 6);
    assert_eq!(outcomes[2]["rejected"]["pointer"], Value::Null);
    assert_eq!(messages[0]["points"][0]["fields"]["sum"], 3.0);
    assert_eq!((&messages[1]["skipped"], &messages[1]["outcomes"]), (&json!(1), &json!([])));
}

#[test]
fn the_limits_of_the_configuration_hold() {
    let config = "limits: { max_tags: 1 }\naggregation: { max_series_per_metric: 1 }\n";
    let input = "a:1|c|#k:1\na:1|c|#k:2\na:1|c|#k:1,x:2\n";
    let messages = explained(config, &["--statsd"], input, 1);
    assert_eq!(messages[0]["outcomes"][0]["sample"]["folded"], false);
    assert_eq!(messages[1]["outcomes"][0]["sample"]["folded"], true);
    assert_eq!(messages[1]["points"][0]["series"]["tags"], json!({ "overflow": "true" }));
    assert_eq!(messages[2]["outcomes"][0]["rejected"]["reason"], "too_many_tags");
}

#[test]
fn text_output_is_complete_and_has_no_control_characters() {
    let (_folder, path) = with_config(AGENT);
    let input = "{\"metric_name\": \"user.a\", \"metric_type\": \"counter\", \"k\": \"\\u001b[31m\"}\n\
                 {\"metric_name\": \"user.b\", \"metric_type\": \"cuonter\", \"role\": \"\u{9b}\"}\n";
    let output = explain(&["--config", &path], input);
    let (code, stdout, stderr) = told(&output);
    assert_eq!((code, stderr), (1, ""));
    for part in [
        "-:1: {",
        "accepted: counter user.a environment=stage k=\\u{1b}[31m role=broker, count 1",
        "tags of the agent: environment=stage, role=broker",
        "all: ",
        "\"environment\"",
        "-:2: {",
        "rejected: unknown_type at byte 41 (/metric_type)",
        "did you mean \"counter\"?",
        "^\n",
    ] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    assert!(stdout.chars().all(|c| c == '\n' || !c.is_control()), "{stdout:?}");
}

#[test]
fn a_secret_in_a_payload_is_masked_unless_requested() {
    const SECRET: &str = "7444-s3cr3t";
    let config = format!(
        "forwarders: {{ kafka: {{ kafka_broker: \"localhost:1\", kafka_topic: t, kafka_apikey: {SECRET} }} }}\n"
    );
    let (_folder, path) = with_config(&config);
    let message = r#"{"metric_name": "m", "metric_type": "counter"}"#;
    for json in [&["--json"][..], &[]] {
        let args = [json, &["--config", &path, message]].concat();
        let output = explain(&args, "");
        let (code, stdout, stderr) = told(&output);
        assert_eq!(code, 0, "{stderr}");
        assert!(!stdout.contains(SECRET) && stdout.contains("***"), "{stdout}");
        assert!(stderr.contains("--show-secrets"), "{stderr}");
        let output = explain(&[&args[..], &["--show-secrets"]].concat(), "");
        let (_, stdout, stderr) = told(&output);
        assert!(stdout.contains(SECRET), "{stdout}");
        assert_eq!(stderr, "");
    }
}

#[test]
fn each_kind_of_destination_has_a_payload() {
    let config = "\
forwarders:
  graphite: { address: \"localhost:2003\" }
  influxdb: { url: \"http://localhost:1\", database: m }
  statsd: { address: \"localhost:8125\" }
  prometheus: { listen: \"127.0.0.1:0\", remote_write: { url: \"http://localhost:1/\" } }
debug_mode: true
";
    let message = r#"{"metric_name": "a.b", "metric_type": "counter", "count": 3}"#;
    let messages = explained(config, &[message], "", 0);
    let message = &messages[0];
    assert!(payloads(message, "graphite").contains("a.b 3 "), "{message:#}");
    assert!(payloads(message, "influxdb").contains("count=3"), "{message:#}");
    assert!(payloads(message, "statsd").starts_with("a.b:3|c"), "{message:#}");
    let forwarders = message["forwarders"].as_array().unwrap();
    let page = forwarders.iter().find(|one| one["name"] == "prometheus").unwrap();
    assert!(page["page"]["text"].as_str().unwrap().contains("\na_b_total 3\n"), "{page:#}");
    let remote = forwarders.iter().find(|one| one["name"] == "prometheus.remote_write").unwrap();
    assert!(!remote["payloads"][0]["body"].is_null(), "{remote:#}");
}

#[test]
fn the_buckets_that_count_a_timer_have_their_index_and_bounds() {
    let config = "\
forwarders:
  prometheus:
    listen: \"127.0.0.1:0\"
    timers: [summary, native, histogram]
    buckets: [5, 10, 25]
    remote_write: { url: \"http://localhost:1/\" }
";
    let lines = "a.b:12.5:12.5:0:-3:100|ms|#k:v\na.c:1|c\n";
    let messages = explained(config, &["--statsd"], lines, 0);
    let forwarders = messages[0]["forwarders"].as_array().unwrap();
    assert_eq!(forwarders.len(), 2);
    for forwarder in forwarders {
        let histogram = &forwarder["histograms"][0];
        assert_eq!(histogram["series"], "a_b_distribution{k=\"v\"}", "{forwarder:#}");
        let classic = json!([
            { "le": "5.0", "samples": 2.0 },
            { "le": "25.0", "samples": 2.0 },
            { "le": "+Inf", "samples": 1.0 }
        ]);
        assert_eq!(histogram["classic"], classic);
        assert_eq!(histogram["native"]["schema"], 6);
        let buckets = histogram["native"]["buckets"].as_array().unwrap();
        let indexes: Vec<_> = buckets.iter().map(|bucket| bucket["index"].as_i64()).collect();
        // 64 times the binary logarithms of 3, 12.5 and 100, rounded up.
        assert_eq!(indexes, [Some(102), None, Some(234), Some(426)]);
        for (bucket, (value, samples)) in
            buckets.iter().zip([(-3.0, 1.0), (0.0, 1.0), (12.5, 2.0), (100.0, 1.0)])
        {
            let bound = |key: &str| bucket[key].as_f64().unwrap();
            assert!(bound("lower") <= value && value <= bound("upper"), "{bucket}");
            assert!((bound("upper") - bound("lower")) <= f64::abs(value) * 0.011, "{bucket}");
            assert_eq!(bucket["samples"], samples);
        }
    }
    // A window without timers has nothing to explain.
    assert!(messages[1]["forwarders"][0].get("histograms").is_none());
    let (_folder, path) = with_config(config);
    let output = explain(&["--statsd", "--config", &path, "a.b:12.5:0|ms"], "");
    let (_, stdout, _) = told(&output);
    for line in [
        "    a_b_distribution: 1 in the bucket le=\"25.0\"\n",
        "    a_b_distribution: 1 in the native bucket 234 (12.472",
        "] of schema 6\n",
        "    a_b_distribution: 1 in the native bucket of zeros of schema 6\n",
    ] {
        assert!(stdout.contains(line), "{line}: {stdout}");
    }
}

#[test]
fn the_exit_status_distinguishes_wrong_usage_from_a_rejection() {
    let good = r#"{"metric_name": "m", "metric_type": "trace"}"#;
    for (args, input, status, said) in [
        (&[good][..], "", 0, ""),
        (&["{}"], "", 1, ""),
        (&[], "", 1, "the input contains no message"),
        (&["no.such.file"], "", 2, "neither a file nor a message"),
        (&["/"], "", 1, "cannot be read"),
        (&["--config", "/nowhere.yaml", good], "", 1, "/nowhere.yaml"),
        (&["--statsd", "a:1|c", "-"], "b:1|c", 0, ""),
    ] {
        let output = explain(args, input);
        let (code, stdout, stderr) = told(&output);
        assert_eq!(code, status, "{args:?}: {stdout}{stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
    }
    assert!(!Path::new("no.such.file").exists());
}

/// Each line of the fixture: keys of `forwarders.kafka`, a message, the record that pystatsd wrote for it,
/// and the members in which tallyd `differs` from it on purpose.
#[test]
fn records_have_the_json_types_that_pystatsd_wrote() {
    let vectors = include_str!("fixtures/pystatsd-records.jsonl");
    for vector in vectors.lines() {
        let vector: Value = serde_json::from_str(vector).unwrap();
        let kafka = vector["config"].as_object().unwrap().iter();
        // In the YAML file, a number has no quotes, and `69bc` needs none.
        let kafka = kafka.map(|(key, value)| {
            format!("{key}: {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        });
        let config = format!(
            "forwarders: {{ kafka: {{ kafka_broker: \"localhost:1\", kafka_topic: t, {} }} }}\n",
            kafka.collect::<Vec<_>>().join(", ")
        );
        let messages = explained(&config, &["--show-secrets", &vector["input"].to_string()], "", 0);
        let mut record: Value = serde_json::from_str(&payloads(&messages[0], "kafka")).unwrap();
        record.as_object_mut().unwrap().remove("@timestamp").unwrap();
        let mut expected = vector["pystatsd"].clone();
        let differs = vector["differs"].as_object().cloned().unwrap_or_default();
        expected.as_object_mut().unwrap().extend(differs);
        assert_eq!(record, expected, "{}", vector["id"]);
    }
}

#[test]
fn with_window_all_lines_of_a_file_are_one_window() {
    let (folder, config) = with_config("interval: 1s\nforwarders: { console: {} }\n");
    let file = folder.path().join("lines");
    fs::write(&file, "a:1|c\nbad\na:2|c\nt:10|ms\nt:30|ms\n").unwrap();
    let file = file.to_str().unwrap();
    let args =
        ["--json", "--config", &config, "--statsd", "--window", file, "a:4|c", "a:8|c", "g:1|g"];
    let output = explain(&args, "");
    let (code, stdout, _) = told(&output);
    assert_eq!(code, 1, "one line is rejected");
    let shown: Vec<Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (windows, messages): (Vec<&Value>, Vec<&Value>) =
        shown.iter().partition(|one| one.get("messages").is_some());
    assert_eq!(messages.len(), 8);
    assert!(messages.iter().all(|message| message["points"] == json!([])));
    assert!(messages[1]["outcomes"][0]["rejected"].is_object(), "{}", messages[1]);
    let told: Vec<_> =
        windows.iter().map(|window| (&window["source"], &window["messages"])).collect();
    assert_eq!(told, [(&json!(file), &json!(5)), (&json!("argument"), &json!(3))]);
    let counts = |window: &Value, field: &str| -> Vec<(String, f64)> {
        let points = window["points"].as_array().unwrap().iter();
        let value = |point: &Value| {
            let name = point["series"]["name"].as_str().unwrap().to_owned();
            Some((name, point["fields"].get(field)?.as_f64()?))
        };
        points.filter_map(value).collect()
    };
    assert_eq!(counts(windows[0], "count"), [("a".to_owned(), 3.0), ("t".to_owned(), 2.0)]);
    assert_eq!(counts(windows[0], "sum"), [("t".to_owned(), 40.0)]);
    assert_eq!(counts(windows[1], "count"), [("a".to_owned(), 12.0)]);
    assert!(payloads(windows[1], "console").contains("counter a count=12 rate=12"));
}

#[test]
fn a_sample_that_overflows_in_a_window_of_many_is_marked() {
    let config = "aggregation: { max_series: 1 }\n";
    let lines = "a:1|c\nb:1|c\na:1|c\n";
    let shown = explained(config, &["--statsd", "--window"], lines, 0);
    let folded = |at: usize| &shown[at]["outcomes"][0]["sample"]["folded"];
    assert_eq!([folded(0), folded(1), folded(2)], [&json!(false), &json!(true), &json!(false)]);
}

#[test]
fn the_window_of_several_messages_follows_them_as_text() {
    let (_folder, config) = with_config("forwarders: { console: {} }\n");
    let output = explain(&["--config", &config, "--statsd", "--window", "a:1|c", "a:2|c"], "");
    let (_, stdout, _) = told(&output);
    let blocks: Vec<_> = stdout.split_terminator("\n\n").collect();
    assert_eq!(blocks.len(), 3, "{stdout}");
    assert_eq!(blocks[0], "argument:1: a:1|c\n  accepted: counter a, count 1");
    assert!(blocks[2].starts_with(
        "window of argument, 2 messages:\n  point: counter a: count=3 rate=0.3\n  console: "
    ));
}
