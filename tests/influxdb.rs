//! InfluxDB from end to end: the real binary against real servers, read back through their own
//! APIs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Instant;

use common::{Daemon, PATIENCE, assert_balanced, tallyd};
use forwarders::http::scripted::{RecordedRequest, ScriptedAnswer, ScriptedServer};
use forwarders::testing::real_server;
use serde_json::Value;

/// A server, with a separate database for one test.
struct Influx {
    url: String,
    database: String,
    http: reqwest::blocking::Client,
}

impl Influx {
    /// `None` if the test must be skipped.
    fn find(variable: &str, test: &str) -> Option<Self> {
        let url = real_server(variable)?;
        let database = format!("{test}_{}", std::process::id());
        let influx = Self { url, database, http: common::http().build().unwrap() };
        influx.query(&format!("CREATE DATABASE {}", influx.database));
        Some(influx)
    }

    /// Returns the rows of the first series in the response.
    fn query(&self, query: &str) -> Vec<Value> {
        let escaped: String =
            query.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
        let reply = self
            .http
            .post(format!("{}/query?db={}&epoch=s&q={escaped}", self.url, self.database))
            .basic_auth("admin", Some("admin password"))
            .send()
            .unwrap();
        let reply: Value = reply.json().unwrap();
        assert!(reply["results"][0]["error"].is_null(), "{query}: {reply}");
        reply["results"][0]["series"][0]["values"].as_array().cloned().unwrap_or_default()
    }

    fn write(&self, line: &str) {
        let url = format!("{}/write?db={}&precision=s", self.url, self.database);
        let reply = self.http.post(url).body(line.to_owned()).send().unwrap();
        assert_eq!(reply.status(), 204);
    }
}

fn config(url: &str, settings: &str) -> String {
    format!("interval: 200ms\nforwarders:\n  influxdb:\n    url: {url}\n{settings}")
}

#[test]
fn a_hundred_thousand_messages_arrive_exactly_in_influxdb() {
    const SENT: u64 = 100_000;
    let Some(influx) = Influx::find("TALLYD_TEST_INFLUXDB", "unit") else { return };
    let daemon = Daemon::start(&config(
        &influx.url,
        &format!("    database: {}\n    max_lines: 300\n", influx.database),
    ));
    let increment = |number: u64| number * 7919 % 1000;
    daemon.send_paced((0..SENT).map(|number| {
        format!(
            r#"{{"metric_name":"sum.{}","metric_type":"counter","count":{},"user":"u {}"}}"#,
            number % 4,
            increment(number),
            number % 250
        )
    }));
    daemon.send(r#"{"metric_name":"depth","metric_type":"gauge","value":-7.25,"stage":"a,b=c"}"#);
    daemon.send(r#"{"metric_name":"latency","metric_type":"timer","value":12.5,"stage":"x"}"#);
    daemon.wait_received(SENT + 2);
    let stopped = daemon.stop();
    assert!(stopped.status.success());
    assert!(stopped.warnings().is_empty(), "{:?}", stopped.warnings());

    let stored: f64 = (0..4)
        .map(|metric| influx.query(&format!("SELECT SUM(\"count\") FROM \"sum.{metric}\"")))
        .map(|rows| rows[0][1].as_f64().unwrap())
        .sum();
    assert_eq!(stored, (0..SENT).map(increment).sum::<u64>() as f64);
    let depth = influx.query("SELECT \"value\" FROM depth WHERE stage = 'a,b=c'");
    assert_eq!((depth.len(), depth[0][1].as_f64()), (1, Some(-7.25)));
    let latency = influx.query("SELECT \"count\", p99, \"sum\" FROM latency WHERE stage = 'x'");
    let latency: Vec<f64> =
        latency[0].as_array().unwrap()[1..].iter().map(|value| value.as_f64().unwrap()).collect();
    assert_eq!(latency, [1.0, 12.5, 12.5]);
    let ledger =
        stopped.log.iter().find(|entry| entry["message"] == "ledger of a forwarder").unwrap();
    assert_eq!(ledger["delivered"], ledger["flushed"]);
}

#[test]
fn a_refused_series_costs_no_other_and_is_shown_with_the_servers_error() {
    let Some(influx) = Influx::find("TALLYD_TEST_INFLUXDB", "poison") else { return };
    // Gauges are floats, but this field already exists as text.
    influx.write("poison value=\"text\" 1490114074");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    // Types conflict only within a shard, which covers some days: write the text into today's.
    influx.write(&format!("poison value=\"text\" {}", now.as_secs()));
    let daemon =
        Daemon::start(&config(&influx.url, &format!("    database: {}\n", influx.database)));
    for number in 0..50 {
        daemon.send(format!(r#"{{"metric_name":"good","metric_type":"counter","n":"{number}"}}"#));
        if number == 25 {
            daemon.send(r#"{"metric_name":"poison","metric_type":"gauge","value":1}"#);
        }
    }
    let status = daemon.wait_for("the refusal", |status| {
        status["forwarders"]["influxdb"]["dropped"]["refused"] == 1
            && status["forwarders"]["influxdb"]["delivered"] == 50
    });
    let influxdb = &status["forwarders"]["influxdb"];
    assert_eq!((&influxdb["up"], &influxdb["queued"]), (&true.into(), &0.into()));
    let words = influxdb["last_error"].as_str().unwrap();
    assert!(words.contains("field type conflict: input field \"value\" on measurement"), "{words}");
    let status = daemon.wait_for("the point in quarantine", |status| {
        status["forwarders"]["influxdb"]["spool"]["quarantined"] == 1
    });
    assert_eq!(status["forwarders"]["influxdb"]["spool"]["not_quarantined"], 0);
    let (_, own) = daemon.get("/metrics");
    assert!(own.contains("tallyd_points_quarantined_total{forwarder=\"influxdb\"} 1\n"), "{own}");
    assert!(
        own.contains("tallyd_points_not_quarantined_total{forwarder=\"influxdb\"} 0\n"),
        "{own}"
    );
    assert_balanced(&status);
    let stopped = daemon.stop();
    let is_told = |entry: &Value| {
        let of_point = entry["reason"] == "refused" && entry["points"] == 1;
        of_point && entry["message"] == "points were permanently refused"
    };
    assert!(stopped.log.iter().any(is_told), "{:?}", stopped.log);
    assert_eq!(influx.query("SELECT SUM(\"count\") FROM good")[0][1], 50);

    let config = stopped.folder.path().join("tallyd.yaml");
    let spool = |args: &[&str]| {
        let args = [&["spool"], args, &["--config", config.to_str().unwrap()]].concat();
        let output = tallyd().args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let listed: Value = serde_json::from_str(&spool(&["list", "--json"])).unwrap();
    let [file] = &listed.as_array().unwrap()[..] else { panic!("{listed}") };
    assert_eq!((&file["quarantine"], &file["points"]), (&"refused".into(), &1.into()));
    let name = file["file"].as_str().unwrap();
    assert!(
        spool(&["show", name]).ends_with(" gauge poison value=1\n"),
        "{}",
        spool(&["show", name])
    );
    assert!(spool(&["list"]).contains("in quarantine: refused"), "{}", spool(&["list"]));
    assert!(spool(&["remove", name]).starts_with("removed 1 window with 1 point"));
    assert!(spool(&["list"]).ends_with("nothing waits\n"));
}

#[test]
fn a_refused_series_is_delivered_once_the_server_accepts_it() {
    let Some(influx) = Influx::find("TALLYD_TEST_INFLUXDB", "mended") else { return };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    influx.write(&format!("poison value=\"text\" {}", now.as_secs()));
    let text = config(&influx.url, &format!("    database: {}\n", influx.database));
    let daemon = Daemon::start(&text);
    daemon.send(r#"{"metric_name":"poison","metric_type":"gauge","value":7}"#);
    daemon.wait_for("the point in quarantine", |status| {
        status["forwarders"]["influxdb"]["spool"]["quarantined"] == 1
    });
    let folder = daemon.stop().folder;

    influx.query("DROP MEASUREMENT poison");
    let spool = folder.path().join("state/spool/influxdb");
    let aside = spool.join("quarantine").read_dir().unwrap().next().unwrap().unwrap().path();
    let waiting = spool.join("new").join(aside.file_stem().unwrap());
    std::fs::rename(aside, waiting).unwrap();
    let daemon = Daemon::start_in(folder, &text);
    let status = daemon
        .wait_for("the delivery", |status| status["forwarders"]["influxdb"]["delivered"] == 1);
    assert_eq!(status["forwarders"]["influxdb"]["recovered"], 1);
    assert_eq!(influx.query("SELECT \"value\" FROM poison")[0][1], 7);
    assert!(daemon.stop().status.success());
}

#[test]
fn a_wrong_password_keeps_the_data_and_is_never_shown() {
    let Some(influx) = Influx::find("TALLYD_TEST_INFLUXDB_AUTH", "auth") else { return };
    let settings = format!("    database: {}\n    username: admin\n", influx.database);
    let wrong = config(&influx.url, &format!("{settings}    password: canary\n"));
    let daemon = Daemon::start(&format!("shutdown_timeout: 1s\n{wrong}"));
    daemon.send(r#"{"metric_name":"m","metric_type":"counter"}"#);
    let status = daemon.wait_for("the reason", |status| {
        status["forwarders"]["influxdb"]["last_error"].is_string()
    });
    let influxdb = &status["forwarders"]["influxdb"];
    // In memory or, once the window is late, on disk.
    let waiting = ["queued", "spooled"].map(|place| influxdb[place].as_u64().unwrap());
    assert_eq!((&influxdb["up"], waiting.iter().sum()), (&false.into(), 1));
    let words = influxdb["last_error"].as_str().unwrap();
    assert!(words.starts_with("401 Unauthorized from http://"), "{words}");
    let stopped = daemon.stop();
    let shown = format!("{status}{:?}{}", stopped.log, stopped.stdout);
    // Neither in plain text nor encoded as in the header.
    assert!(!shown.contains("canary") && !shown.contains("YWRtaW46Y2FuYXJ5"), "{shown}");
}

#[test]
fn check_reports_whether_a_server_would_accept_data() {
    let Some(influx) = Influx::find("TALLYD_TEST_INFLUXDB_AUTH", "check") else { return };
    let Some(victoria) = real_server("TALLYD_TEST_VICTORIAMETRICS") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tallyd.yaml");
    let check = |text: String| {
        std::fs::write(&path, text).unwrap();
        let args = ["check", "--connect", "--config", path.to_str().unwrap()];
        let output = tallyd().args(args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout) + &text(output.stderr))
    };
    let database = format!("    database: {}\n", influx.database);
    let user = "    username: admin\n    password: admin password\n";
    let (status, said) = check(config(&influx.url, &format!("{database}{user}")));
    assert!(status == Some(0) && said.contains("influxdb: answers"), "{said}");
    let (status, said) = check(config(&influx.url, &database));
    assert!(status == Some(1) && said.contains("influxdb: 401 Unauthorized"), "{said}");
    let (status, said) = check(config(&influx.url, &format!("    database: nope\n{user}")));
    assert!(status == Some(1) && said.contains("database not found: \"nope\""), "{said}");
    let (status, said) = check(config(&victoria, "    version: 2\n    bucket: b\n"));
    assert!(status == Some(0) && said.contains("influxdb: answers"), "{said}");
    assert!(influx.query("SHOW MEASUREMENTS").is_empty());
}

fn body(request: &RecordedRequest) -> String {
    String::from_utf8(request.body.clone()).unwrap()
}

fn scripted(server: &ScriptedServer, delivery: &str) -> String {
    let settings = format!("    database: m\n    gzip: false\n    delivery: {delivery}\n");
    config(&format!("http://{}", server.address), &settings)
}

#[test]
fn a_window_because_of_which_a_server_fails_does_not_stop_the_later_ones() {
    for spool in ["never", "behind"] {
        let server = ScriptedServer::start(|_, request| {
            let is_bad = body(request).contains("poison");
            ScriptedAnswer::status(if is_bad { 500 } else { 204 }, "oops")
        });
        let delivery = format!(
            "{{ retry: {{ initial: 10ms, max: 20ms, search_after: 3 }}, spool: {{ write: {spool} }} }}"
        );
        let daemon = Daemon::start(&scripted(&server, &delivery));
        // Alone in the first window that the server ever gets.
        daemon.send(r#"{"metric_name":"poison","metric_type":"counter"}"#);
        daemon.wait_for("the failure", |status| {
            status["forwarders"]["influxdb"]["failures"].as_u64() > Some(5)
        });
        let status = daemon.wait_for("the failed window", |status| {
            status["forwarders"]["influxdb"]["dropped"].as_object().unwrap().is_empty()
        });
        assert_eq!(status["forwarders"]["influxdb"]["up"], false);
        daemon.send(r#"{"metric_name":"good","metric_type":"counter","count":3}"#);
        let status = daemon.wait_for("the later window", |status| {
            status["forwarders"]["influxdb"]["delivered"] == 1
        });
        let influxdb = &status["forwarders"]["influxdb"];
        assert_eq!((&influxdb["dropped"]["refused"], &influxdb["up"]), (&1.into(), &true.into()));
        let words = influxdb["last_error"].as_str().unwrap();
        assert!(words.contains("500 Internal Server Error from http://"), "{words}");
        assert_balanced(&status);
        daemon.stop();
        assert!(server.asked().iter().any(|asked| body(asked).starts_with("good count=3")));
    }
}

#[test]
fn a_login_page_with_status_200_is_no_delivery() {
    let page = "<!DOCTYPE html><html><title>Please log in</title></html>";
    let server = ScriptedServer::start(move |count, _| {
        // The first request is that of the check.
        if count < 10 { ScriptedAnswer::status(200, page) } else { ScriptedAnswer::status(204, "") }
    });
    let text = scripted(&server, "{ retry: { initial: 10ms, max: 20ms } }");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tallyd.yaml");
    std::fs::write(&path, &text).unwrap();
    let args = ["check", "--connect", "--config", path.to_str().unwrap()];
    let output = tallyd().args(args).output().unwrap();
    let said =
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no acknowledgement: the reply is a web page"), "{said}");

    let daemon = Daemon::start(&text);
    daemon.send(r#"{"metric_name":"m","metric_type":"counter"}"#);
    let status = daemon
        .wait_for("the delivery", |status| status["forwarders"]["influxdb"]["delivered"] == 1);
    let influxdb = &status["forwarders"]["influxdb"];
    assert!(influxdb["failures"].as_u64() > Some(0), "{influxdb}");
    let words = influxdb["last_error"].as_str().unwrap();
    assert!(words.contains("no acknowledgement: the reply is a web page"), "{words}");
    assert_balanced(&status);
}

#[test]
fn version_2_arrives_in_victoriametrics() {
    let Some(url) = real_server("TALLYD_TEST_VICTORIAMETRICS") else { return };
    let run = format!("run-{}", std::process::id());
    let daemon =
        Daemon::start(&config(&url, "    version: 2\n    org: o\n    bucket: b\n    token: t\n"));
    daemon.send_paced((0..10_000).map(|number| {
        format!(
            r#"{{"metric_name":"two","metric_type":"counter","count":3,"n":"{}","run":"{run}"}}"#,
            number % 40
        )
    }));
    daemon.wait_received(10_000);
    assert!(daemon.stop().status.success());
    let sums = || sums_in_victoriametrics(&url, &format!("two_count{{run=%22{run}%22}}"));
    let deadline = Instant::now() + PATIENCE;
    // The latest data may take a moment to become visible.
    while sums().values().sum::<f64>() < 30_000.0 && Instant::now() < deadline {}
    let sums = sums();
    assert_eq!(sums.len(), 40);
    assert!(sums.values().all(|sum| *sum == 750.0), "{sums:?}");
}

/// The sum of each series, by the value of its tag `n`.
fn sums_in_victoriametrics(url: &str, selector: &str) -> BTreeMap<String, f64> {
    let get = |path: &str| common::get(format!("{url}{path}")).unwrap().text().unwrap();
    get("/internal/force_flush");
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for line in get(&format!("/api/v1/export?match[]={selector}")).lines() {
        let series: Value = serde_json::from_str(line).unwrap();
        let values = series["values"].as_array().unwrap().iter();
        let sum: f64 = values.map(|value| value.as_f64().unwrap()).sum();
        *sums.entry(series["metric"]["n"].as_str().unwrap().to_owned()).or_default() += sum;
    }
    sums
}

#[test]
fn contradictory_keys_are_reported_at_their_position() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tallyd.yaml");
    let text = "forwarders:\n  influxdb:\n    - name: eu\n      url: http://eu:8086\n      database: m\n    - name: us\n      url: http://us:8086\n      bucket: m\n";
    std::fs::write(&path, text).unwrap();
    let args = ["check", "--config", path.to_str().unwrap()];
    let output = tallyd().args(args).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("tallyd.yaml:8:7: `bucket` belongs to version 2"), "{said}");
    assert!(said.contains("8 |       bucket: m"), "{said}");
}

#[test]
fn the_daemon_starts_and_aggregates_while_influxdb_is_down() {
    // Nothing listens on port 1.
    let text = config("http://127.0.0.1:1", "    database: m\n");
    let daemon = Daemon::start(&format!("shutdown_timeout: 1s\n{text}"));
    daemon.send_paced((0..2_000).map(|number| {
        format!(r#"{{"metric_name":"m","metric_type":"counter","host":"{}"}}"#, number % 10)
    }));
    let status = daemon.wait_for("the reason that it cannot deliver", |status| {
        status["forwarders"]["influxdb"]["last_error"].is_string()
    });
    assert_eq!(status["ledger"]["aggregated"], 2_000);
    let influxdb = &status["forwarders"]["influxdb"];
    let number = |key: &str| influxdb[key].as_u64().unwrap();
    assert_eq!(influxdb["up"], false);
    assert_eq!(number("queued") + number("spooled"), number("flushed"));
    let words = influxdb["last_error"].as_str().unwrap();
    assert!(words.starts_with("cannot connect to http://127.0.0.1:1: "), "{words}");
    let stopped = daemon.stop();
    let ledger =
        stopped.log.iter().find(|entry| entry["message"] == "ledger of a forwarder").unwrap();
    assert_eq!((&ledger["dropped"], &ledger["spooled"]), (&"{}".into(), &ledger["flushed"]));
}
