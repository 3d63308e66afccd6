//! examples/influxdb and examples/graphite against real servers: the shown queries find the points that
//! are sent with the example configurations.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use common::markdown;
use std::fs;
use std::process::Command;

use common::carbon::Carbon;
use common::{Daemon, interval_without_an_edge};
use forwarders::testing::{real_program, real_server};
use serde_json::{Value, json};

/// Starts a daemon with a configuration of examples/ after replacing some text, runs plain.py against
/// it, and stops it, which delivers everything.
fn send_the_shop(example: &str, replaced: &[(&str, &str)]) {
    let root = common::root();
    let file = root.join(format!("examples/{example}/tallyd.yaml"));
    let mut config = fs::read_to_string(file).unwrap();
    for (word, by) in replaced {
        assert!(config.contains(word), "{config}");
        config = config.replace(word, by);
    }
    let interval = interval_without_an_edge();
    // The window ends when the daemon stops. A restart state would give it its planned end, which is
    // in the future, where the queries do not look yet.
    let daemon = Daemon::start(&format!(
        "interval: {interval}s\nrestart_state: {{ enabled: false }}\n{config}"
    ));
    let program = root.join("examples/python/plain.py");
    let mut python = Command::new("python3");
    python.arg(program).env("TALLYD_ADDRESS", daemon.udp.to_string());
    assert!(python.status().unwrap().success());
    daemon.wait_received(109);
    let stopped = daemon.stop();
    assert_eq!(stopped.warnings(), [""; 0]);
}

/// The lines of the blocks with a mark in an example's README.
fn lines(example: &str, language: &str, mark: &str) -> Vec<String> {
    let blocks = markdown::document(&format!("examples/{example}/README.md")).blocks();
    let marked = blocks.iter().filter(|block| block.is(language, mark));
    marked.flat_map(|block| block.text.lines().map(str::to_owned)).collect()
}

#[test]
fn influxdb_answers_every_query_that_is_shown() {
    let Some(url) = real_server("TALLYD_TEST_INFLUXDB") else { return };
    if !real_program("python3") {
        return;
    }
    let database = format!("example_{}", std::process::id());
    let http = common::http().build().unwrap();
    let query = |text: &str| -> Vec<Value> {
        let parameters = [("db", database.as_str()), ("q", text)];
        let url = reqwest::Url::parse_with_params(&format!("{url}/query"), &parameters).unwrap();
        let reply: Value = http.post(url).send().unwrap().json().unwrap();
        let result = &reply["results"][0];
        assert!(reply["error"].is_null() && result["error"].is_null(), "{text}: {reply}");
        result["series"].as_array().cloned().unwrap_or_default()
    };
    query(&format!("CREATE DATABASE {database}"));
    send_the_shop(
        "influxdb",
        &[("http://127.0.0.1:8086", &url), ("database: metrics", &format!("database: {database}"))],
    );

    let queries = lines("influxdb", "sql", "queries");
    assert!(queries.len() > 10, "{queries:?}");
    for text in queries {
        let found = query(&text.replace("\"metrics\"", &database));
        assert!(!found.is_empty() || text.starts_with("CREATE"), "nothing: {text}");
    }
    let value = |text: &str| query(text)[0]["values"][0][1].clone();
    // The new default policy is empty: the points are in the previous one.
    for (field, measurement, expected) in [
        ("sum(count)", "shop.orders", json!(3)),
        ("last(value)", "shop.carts", json!(15)),
        ("max(count)", "shop.customers", json!(2)),
        ("sum(count)", "shop.items", json!(4950)),
    ] {
        let text = format!("SELECT {field} FROM autogen.\"{measurement}\"");
        assert_eq!(value(&text), expected, "{text}");
    }
}

#[test]
fn graphite_renders_every_target_that_is_shown() {
    let Some(carbon) = Carbon::start() else { return };
    if !real_program("python3") {
        return;
    }
    send_the_shop("graphite", &[("127.0.0.1:2003", &carbon.line)]);
    carbon.wait_for("all paths", |stored| {
        ["orders", "carts", "checkout.p99", "customers", "items", "signup"]
            .iter()
            .all(|name| stored.contains_key(&format!("test.web1.shop.{name}")))
    });

    let targets = lines("graphite", "text", "targets");
    assert!(targets.len() > 10, "{targets:?}");
    let query = |target: &String| {
        let parameters = [("target", target.as_str()), ("from", "-10min"), ("format", "json")];
        let url = reqwest::Url::parse_with_params("http://none/", &parameters).unwrap();
        url.query().unwrap().to_owned()
    };
    let rendered = carbon.render(&targets.iter().map(query).collect::<Vec<_>>());
    for (target, rendered) in targets.iter().zip(&rendered) {
        let points = rendered[0]["datapoints"].as_array().unwrap_or_else(|| {
            panic!("nothing is rendered for {target}: {rendered}");
        });
        assert!(points.iter().any(|point| point[0].is_number()), "{target}: {rendered}");
    }
    let last = |target: &str| {
        let place = targets.iter().position(|one| one == target).unwrap();
        let points = rendered[place][0]["datapoints"].as_array().unwrap();
        points.iter().rev().find_map(|point| point[0].as_f64()).unwrap()
    };
    assert_eq!(last("test.web1.shop.orders"), 3.0);
    assert_eq!(last("keepLastValue(test.*.shop.carts)"), 15.0);
    assert_eq!(last("integral(test.web1.shop.items)"), 4950.0);
    assert_eq!(last("test.web1.shop.customers"), 2.0);
    assert_eq!(carbon.complaints(), [""; 0]);
}
