//! examples/fleet/telegraf.conf and examples/grafana/fleet.json: results of the fleet job in Kafka, through a
//! real Telegraf, in a real InfluxDB, which has an answer for each panel.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use common::{PATIENCE, root};
use forwarders::testing::real_server;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

/// A Telegraf with the configuration of the example. Killed when dropped.
struct Telegraf(Child);

impl Telegraf {
    fn start(program: &str, log: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        command.arg("--config").arg(root().join("examples/fleet/telegraf.conf"));
        command.envs(variables.iter().copied()).stdout(Stdio::null());
        Self(command.stderr(fs::File::create(log).unwrap()).spawn().unwrap())
    }
}

impl Drop for Telegraf {
    fn drop(&mut self) {
        let _has_ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn dashboard() -> Value {
    let path = root().join("examples/grafana/fleet.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("no {key} in {value:#}"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value:#}"))
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(dashboard, "panels").iter().filter(|panel| panel["type"] != "row")
}

/// All queries, each with its place: those of panels and those that fill the variables.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let of_panels = panels(dashboard).flat_map(|panel| {
        let queries = list(panel, "targets").iter().map(|target| text(target, "query"));
        queries.map(move |query| (text(panel, "title").to_owned(), query.to_owned()))
    });
    let variables = list(&dashboard["templating"], "list").iter();
    let variables = variables.filter(|variable| variable["type"] == "query");
    let of_variables = variables.map(|variable| {
        (format!("${}", text(variable, "name")), text(variable, "query").to_owned())
    });
    of_panels.chain(of_variables).collect()
}

/// A query as Grafana would send it, with the variables' defaults.
fn filled(query: &str) -> String {
    query
        .replace("$timeFilter", "time > now() - 10m AND time < now() + 10m")
        .replace("$__interval", "10s")
        .replace("$window", "10")
        .replace("$environment", "(prod|stage)")
        .replace("$timer", "rpc.time")
        .replace("$counter", "rpc.requests")
        .replace("$set", "rpc.callers")
        .replace("$gauge", "connections.open")
}

#[test]
fn each_panel_has_a_description_a_unit_a_place_of_its_own_and_known_variables() {
    let dashboard = dashboard();
    let variables: BTreeSet<&str> =
        list(&dashboard["templating"], "list").iter().map(|one| text(one, "name")).collect();
    let (mut ids, mut titles, mut taken) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for panel in panels(&dashboard) {
        let title = text(panel, "title");
        assert!(ids.insert(panel["id"].as_u64().unwrap()) && titles.insert(title), "{title}");
        assert!(text(panel, "description").ends_with('.'), "{title}");
        assert_ne!(text(&panel["fieldConfig"]["defaults"], "unit"), "", "{title}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let grid = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for x in grid("x")..grid("x") + grid("w") {
            for y in grid("y")..grid("y") + grid("h") {
                assert!(x < 24 && taken.insert((x, y)), "{title} covers another panel");
            }
        }
    }
    for (place, query) in queries(&dashboard) {
        for used in query.split('$').skip(1) {
            let end = used.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let used = &used[..end.unwrap_or(used.len())];
            let is_grafanas = ["timeFilter", "__interval"].contains(&used) || used.is_empty();
            assert!(is_grafanas || variables.contains(used), "{place}: ${used}");
        }
    }
}

/// Results that the job wrote, moved to these milliseconds. Their sketches are left out, as with `sketches: false`.
fn results(end: u64) -> Vec<Value> {
    let lines = fs::read_to_string(root().join("tests/fleet/results.jsonl")).unwrap();
    let mut results: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let newest = results.iter().map(|result| result["timestamp"].as_u64().unwrap()).max().unwrap();
    for result in &mut results {
        let age = newest - result["timestamp"].as_u64().unwrap();
        result["timestamp"] = (end - age).into();
    }
    results
}

fn write(broker: &str, topic: &str, results: &[Value]) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", broker).create().unwrap();
    for result in results {
        let value = result.to_string();
        let record = BaseRecord::<(), String>::to(topic).payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

/// The answers of InfluxDB, or nothing while the database does not exist.
fn answers(url: &str, database: &str, query: &str) -> Vec<Value> {
    let parameters = [("db", database), ("q", query), ("epoch", "ms")];
    let url = reqwest::Url::parse_with_params(&format!("{url}/query"), &parameters).unwrap();
    let reply: Value = common::get(url).unwrap().json().unwrap();
    assert!(reply["error"].is_null(), "{query}: {reply}");
    let result = &reply["results"][0];
    let error = result["error"].as_str().unwrap_or_default();
    assert!(error.is_empty() || error.starts_with("database not found"), "{query}: {error}");
    result["series"].as_array().cloned().unwrap_or_default()
}

#[test]
fn a_real_influxdb_has_the_results_and_an_answer_for_each_panel() {
    let (Some(broker), Some(url), Some(program)) = (
        real_server("TALLYD_TEST_KAFKA"),
        real_server("TALLYD_TEST_INFLUXDB"),
        real_server("TALLYD_TEST_TELEGRAF_PROGRAM"),
    ) else {
        return;
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let end = u64::try_from(now.as_millis()).unwrap() / 10_000 * 10_000;
    let topic = format!("tallyd-fleet-dashboard-{}", std::process::id());
    let database = topic.replace('-', "_");
    let mut results = results(end);
    // The first version of a result, which the one in `results` corrects.
    let mut wrong = results[0].clone();
    wrong["fields"]["count"] = 1.into();
    results.insert(0, wrong);
    write(&broker, &topic, &results);
    results.remove(0);

    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let _telegraf = Telegraf::start(
        &program,
        &log,
        &[
            ("KAFKA_BROKER", &broker),
            ("FLEET_TOPIC", &topic),
            ("INFLUXDB_URL", &url),
            ("INFLUXDB_DATABASE", &database),
        ],
    );
    let mut left = queries(&dashboard());
    assert!(left.len() > 15, "{left:?}");
    let deadline = Instant::now() + PATIENCE;
    while !left.is_empty() {
        left.retain(|(_, query)| answers(&url, &database, &filled(query)).is_empty());
        let said = || fs::read_to_string(&log).unwrap();
        assert!(Instant::now() < deadline, "no answer for {left:#?}\n{}", said());
        std::thread::sleep(Duration::from_millis(100));
    }
    check_values(&url, &database, &results);
}

/// Each result is in the store once, with all its fields.
fn check_values(url: &str, database: &str, results: &[Value]) {
    let deadline = Instant::now() + PATIENCE;
    for result in results {
        let tags = result["tags"].as_object().unwrap();
        let tags = tags
            .iter()
            .map(|(key, value)| format!(" AND \"{key}\" = '{}'", value.as_str().unwrap()));
        // A group without a tag is another series.
        let others =
            ["environment", "service"].iter().filter(|tag| result["tags"][**tag].is_null());
        let others = others.map(|tag| format!(" AND \"{tag}\" = ''"));
        let query = format!(
            "SELECT * FROM \"{}\" WHERE \"kind\" = '{}' AND \"window\" = '{}' AND time = {}ms{}",
            text(result, "name"),
            text(result, "type"),
            result["interval"],
            result["timestamp"],
            tags.chain(others).collect::<String>()
        );
        let mut found = answers(url, database, &query);
        while found.is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(100));
            found = answers(url, database, &query);
        }
        assert!(found.len() == 1 && list(&found[0], "values").len() == 1, "{query}: {found:?}");
        for (field, value) in result["fields"].as_object().unwrap() {
            let columns = list(&found[0], "columns");
            let at = columns.iter().position(|column| column == field.as_str());
            let stored =
                &found[0]["values"][0][at.unwrap_or_else(|| panic!("no {field}: {found:?}"))];
            assert_eq!(stored.as_f64(), value.as_f64(), "{field} of {result}");
        }
    }
}
