//! Tests the forwarder with real servers, which check the lines and return the points.
//!
//! `TALLYD_TEST_INFLUXDB`, `TALLYD_TEST_INFLUXDB_AUTH` and `TALLYD_TEST_VICTORIAMETRICS` are their
//! addresses, as `tests/servers/influxdb.sh` and `tests/servers/victoriametrics.sh` print them.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value as Json, json};

use super::*;
use crate::http::header::HeaderMap;
use crate::http::{HttpRequest, HttpUrl, TlsConfig};
use crate::testing::real_server;
use basics::text::Secret;

const ADMIN: &str = "Basic YWRtaW46YWRtaW4gcGFzc3dvcmQ=";

/// A server for requests of tests.
struct Server {
    url: HttpUrl,
    client: HttpClient,
}

impl Server {
    /// Returns the server in an environment variable; `None` skips the test.
    fn find(variable: &str) -> Option<Self> {
        let url = HttpUrl::parse(&real_server(variable)?).unwrap();
        let tls = TlsConfig::default();
        let client = HttpClient::new(HttpSettings {
            name: "test",
            url: &url,
            tls: &tls,
            authorization: Some(Secret::new(ADMIN)),
            timeout: Duration::from_secs(30),
            resolve_every: Duration::from_secs(60),
        });
        Some(Self { client: client.unwrap(), url })
    }

    async fn post(&self, path: &str, parameters: &[(&str, &str)], body: &str) -> String {
        let url = self.url.below(path, parameters).unwrap();
        let body = body.to_owned().into();
        let request = HttpRequest { url, headers: HeaderMap::new(), body };
        let reply = self.client.post(request).await.unwrap();
        // Not its class: the answer of a query is no acknowledgement of a write.
        assert!(reply.status.is_success() && !reply.is_cut, "{reply}");
        String::from_utf8(reply.body).unwrap()
    }

    /// Queries InfluxDB 1 and returns the series of the first result.
    async fn query(&self, database: &str, query: &str) -> Json {
        let parameters = [("db", database), ("q", query), ("epoch", "s")];
        let reply: Json =
            serde_json::from_str(&self.post("/query", &parameters, "").await).unwrap();
        assert!(reply["results"][0]["error"].is_null(), "{reply}");
        reply["results"][0]["series"].clone()
    }

    /// Creates a database for one test.
    async fn database(&self, test: &str) -> String {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("{test}_{}_{number}", std::process::id());
        self.query("", &format!("CREATE DATABASE {name}")).await;
        name
    }

    fn forwarder(&self, settings: &str) -> InfluxDb {
        influxdb(&self.url.to_string(), settings)
    }
}

/// Returns the series of VictoriaMetrics with these tags, as `name{tags}` and values.
async fn exported(server: &Server, selector: &str) -> BTreeMap<String, Json> {
    server.post("/internal/force_flush", &[], "").await;
    let lines = server.post("/api/v1/export", &[("match[]", selector)], "").await;
    lines
        .lines()
        .map(|line| {
            let mut series: Json = serde_json::from_str(line).unwrap();
            let name = series["metric"]["__name__"].take();
            series["metric"].as_object_mut().unwrap().remove("__name__");
            let key = format!("{}{}", name.as_str().unwrap(), series["metric"]);
            (key, json!([series["values"], series["timestamps"]]))
        })
        .collect()
}

#[tokio::test]
async fn influxdb_stores_every_kind_to_the_unit() {
    let Some(server) = Server::find("TALLYD_TEST_INFLUXDB") else { return };
    let database = server.database("kinds").await;
    let mut forwarder = server.forwarder(&format!(r#", "database": "{database}""#));
    forwarder.probe().await.unwrap();
    let (sent, settled) = deliver(&mut forwarder, &all_kinds()).await;
    sent.unwrap();
    assert_eq!(settled.delivered, 6);
    let series = server.query(&database, "SELECT * FROM /.*/ GROUP BY *").await;
    let stored: BTreeMap<String, (Json, Json)> = series
        .as_array()
        .unwrap()
        .iter()
        .map(|series| {
            let row = series["columns"].as_array().unwrap().iter();
            let row = row.zip(series["values"][0].as_array().unwrap());
            // The result has the fields of all series in each of them.
            let fields: serde_json::Map<String, Json> = row
                .filter(|(_, value)| !value.is_null())
                .map(|(column, value)| (column.as_str().unwrap().to_owned(), value.clone()))
                .collect();
            let mut tags = series["tags"].clone();
            if let Some(tags) = tags.as_object_mut() {
                tags.retain(|_, value| value != "");
            }
            (series["name"].as_str().unwrap().to_owned(), (tags, fields.into()))
        })
        .collect();
    let time = 1_490_114_074;
    assert_eq!(
        stored["user.logins"],
        (json!({"stage": "login", "user": "a b"}), json!({"time": time, "count": 43, "rate": 4.3}))
    );
    assert_eq!(
        stored["user.latency"],
        (
            json!({"host": "a"}),
            json!({
                "time": time, "count": 2, "rate": 0.2, "sum": 4, "min": 1.5, "max": 2.5, "mean": 2,
                "stddev": 0.5, "p50": 1.5, "p90": 2.5, "p95": 2.5, "p99": 2.5,
            })
        )
    );
    let depth = (json!({"stage": "login"}), json!({"time": time, "value": -0.25}));
    assert_eq!(stored["depth"], depth);
    assert_eq!(stored["visitors"].1, json!({"time": time, "count": 3}));
    assert_eq!(stored["seen"].1, json!({"time": time, "count": 7}));
    assert_eq!(stored["big"].1, json!({"time": time, "value": 1e300}));
}

/// Texts with a meaning in line protocol, and the texts that servers store for them.
const HOSTILE: [(&str, &str); 14] = [
    ("a b", "a b"),
    ("a,b", "a,b"),
    ("a=b", "a=b"),
    ("a\"b'c", "a\"b'c"),
    ("C:\\dir\\x", "C:\\dir\\x"),
    ("x\\", "x"),
    ("x\\,y", "x,y"),
    ("x\ny", "x\\ny"),
    ("x\ry\tz", "x_y_z"),
    ("x\u{0}y\u{7f}", "x_y_"),
    ("# x", "# x"),
    ("日本 ü", "日本 ü"),
    (" ", " "),
    ("x\n# y v=1 1\n", "x\\n# y v=1 1\\n"),
];

fn hostile() -> Snapshot {
    let hostile = |(number, (text, _)): (usize, &(&str, &str))| {
        let tags = [("t", *text)];
        let value = Value::Gauge { value: number as f64, arrival_ns: 0 };
        point(MetricKind::Gauge, "tags", &tags, value)
    };
    let mut points: Vec<_> = HOSTILE.iter().enumerate().map(hostile).collect();
    for (number, (text, _)) in HOSTILE.iter().enumerate() {
        points.push(gauge(&format!("m{text}"), number as f64));
        let value = Value::Gauge { value: number as f64, arrival_ns: 0 };
        let key = format!("k{text}");
        points.push(point(MetricKind::Gauge, "keys", &[(&key, "v")], value));
    }
    snapshot_of(points)
}

#[tokio::test]
async fn influxdb_gives_hostile_names_back_as_they_are_documented() {
    let Some(server) = Server::find("TALLYD_TEST_INFLUXDB") else { return };
    let database = server.database("hostile").await;
    let mut forwarder = server.forwarder(&format!(r#", "database": "{database}""#));
    let (sent, settled) = deliver(&mut forwarder, &hostile()).await;
    sent.unwrap();
    assert_eq!((settled.delivered, settled.refused), (42, BTreeMap::new()));
    let column = |series: Json, column: usize| -> Vec<String> {
        let rows = series[0]["values"].as_array().unwrap().clone();
        let mut texts: Vec<String> =
            rows.iter().map(|row| row[column].as_str().unwrap().to_owned()).collect();
        texts.sort();
        texts
    };
    let expected = |prefix: &str| {
        let mut texts: Vec<String> =
            HOSTILE.iter().map(|(_, stored)| format!("{prefix}{stored}")).collect();
        texts.sort();
        texts
    };
    let values = server.query(&database, "SHOW TAG VALUES FROM \"tags\" WITH KEY = t").await;
    assert_eq!(column(values, 1), expected(""));
    let keys = server.query(&database, "SHOW TAG KEYS FROM \"keys\"").await;
    assert_eq!(column(keys, 0), expected("k"));
    let measurements = column(server.query(&database, "SHOW MEASUREMENTS").await, 0);
    let mut all = expected("m");
    all.extend(["keys".to_owned(), "tags".to_owned()]);
    all.sort();
    assert_eq!(measurements, all);
}

#[tokio::test]
async fn victoriametrics_gives_the_same_back_over_both_of_its_endpoints() {
    let Some(server) = Server::find("TALLYD_TEST_VICTORIAMETRICS") else { return };
    for (test, settings) in [
        ("v1", r#", "database": "m""#.to_owned()),
        ("v2", r#", "version": "2", "bucket": "m", "org": "o", "token": "t""#.to_owned()),
    ] {
        let mut forwarder = server.forwarder(&settings);
        forwarder.probe().await.unwrap();
        let run = format!("{test}-{}", std::process::id());
        let of_this_run = |point: &Point| {
            let mut tags: Vec<(&str, &str)> = point.series.tags().collect();
            tags.push(("~run", &run));
            let name = point.series.name();
            model::testing::point(MetricKind::Gauge, name, &tags, point.value.clone())
        };
        let snapshot = snapshot_of(hostile().points.iter().map(of_this_run).collect());
        let (sent, settled) = deliver(&mut forwarder, &snapshot).await;
        sent.unwrap();
        assert_eq!(settled.delivered, 42);
        // VictoriaMetrics adds a label with the database.
        let db = if test == "v1" { json!("m") } else { Json::Null };
        let labels = |more: &[(&str, &str)]| {
            let mut labels = json!({ "~run": run });
            if !db.is_null() {
                labels["db"] = db.clone();
            }
            more.iter().for_each(|(key, value)| labels[*key] = json!(value));
            labels
        };
        let mut expected = BTreeMap::new();
        for (number, (_, stored)) in HOSTILE.iter().enumerate() {
            let value = json!([[number], [1_490_114_074_000_u64]]);
            let mut expect = |name: &str, more: &[(&str, &str)]| {
                expected.insert(format!("{name}_value{}", labels(more)), value.clone());
            };
            expect("tags", &[("t", stored)]);
            expect(&format!("m{stored}"), &[]);
            expect("keys", &[(&format!("k{stored}"), "v")]);
        }
        let selector = format!(r#"{{\~run="{run}"}}"#);
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        let mut stored = exported(&server, &selector).await;
        // New points take a moment to become visible.
        while stored.len() < expected.len() && std::time::Instant::now() < deadline {
            stored = exported(&server, &selector).await;
        }
        assert_eq!(stored, expected, "{test}");
    }
}

#[tokio::test]
async fn influxdb_refuses_a_poison_point_and_takes_the_4999_beside_it() {
    let Some(server) = Server::find("TALLYD_TEST_INFLUXDB") else { return };
    let database = server.database("poison").await;
    // This field has already the type text, but only in one measurement.
    server.post("/write", &[("db", &database)], "poison value=\"text\" 1490114074000000000").await;
    let mut forwarder = server.forwarder(&format!(r#", "database": "{database}""#));
    let mut snapshot = snapshot_of_counters(4_999);
    insert(&mut snapshot, 2_000, gauge("poison", 1.0));
    let (sent, settled) = deliver(&mut forwarder, &snapshot).await;
    sent.unwrap();
    assert_eq!((settled.delivered, settled.refused.clone()), (4_999, refused("refused", 1)));
    let words = settled.last_refusal().unwrap();
    assert!(words.contains("field type conflict: input field \"value\" on measurement"), "{words}");
    let count = server.query(&database, "SELECT SUM(\"count\") FROM c").await;
    assert_eq!(count[0]["values"][0][1], 4_999);
}

#[tokio::test]
async fn influxdb_says_when_a_request_is_too_large_and_gets_smaller_ones() {
    let Some(server) = Server::find("TALLYD_TEST_INFLUXDB_AUTH") else { return };
    let database = server.database("large").await;
    let settings = format!(
        r#", "database": "{database}", "username": "admin", "password": "admin password",
           "gzip": false, "max_lines": 100000"#
    );
    let mut forwarder = server.forwarder(&settings);
    let mut batch = Batch::default();
    forwarder.encode(&snapshot_of_counters(20_000), &mut batch);
    // A server that closes the connection during a write may cost one attempt.
    let mut attempts = 0;
    while let Err(error) = forwarder.send(&mut batch).await {
        attempts += 1;
        assert!(attempts < 10, "{error}");
    }
    assert_eq!(attempts, 0);
    assert_eq!(batch.take_settled().delivered, 20_000);
    assert!((16_385..=65_536).contains(&forwarder.sender.bytes_max()));
    let count = server.query(&database, "SELECT SUM(\"count\") FROM c").await;
    assert_eq!(count[0]["values"][0][1], 20_000);
}

#[tokio::test]
async fn influxdb_tells_what_an_operator_has_to_change() {
    let Some(open) = Server::find("TALLYD_TEST_INFLUXDB") else { return };
    let Some(auth) = Server::find("TALLYD_TEST_INFLUXDB_AUTH") else { return };
    let database = open.database("operator").await;
    let closed = auth.database("operator").await;
    auth.query("", &format!("CREATE USER \"ro {closed}\" WITH PASSWORD 'canary'")).await;
    for (server, settings, status, words) in [
        (&open, r#", "database": "nope""#.to_owned(), 404, "database not found: \"nope\""),
        (
            &open,
            format!(r#", "database": "{database}", "retention_policy": "zz""#),
            500,
            "retention policy not found: zz",
        ),
        (&open, r#", "version": "2", "bucket": "m""#.to_owned(), 404, "404 page not found"),
        (
            &auth,
            format!(r#", "database": "{closed}""#),
            401,
            "unable to parse authentication credentials",
        ),
        (
            &auth,
            format!(r#", "database": "{closed}", "username": "admin", "password": "canary""#),
            401,
            "authorization failed",
        ),
        (
            &auth,
            format!(r#", "database": "{closed}", "username": "ro {closed}", "password": "canary""#),
            403,
            "user is not authorized to write",
        ),
    ] {
        let mut forwarder = server.forwarder(&settings);
        let (sent, settled) = deliver(&mut forwarder, &snapshot_of_counters(2)).await;
        for error in [sent.unwrap_err(), forwarder.probe().await.unwrap_err()] {
            assert_eq!(error.class(), ErrorClass::Operator, "{error}");
            let shown = error.to_string();
            assert!(shown.contains(words) && shown.starts_with(&status.to_string()), "{shown}");
            assert!(!shown.contains("canary"), "{shown}");
        }
        assert_eq!(settled, Settled::default());
    }
}

#[tokio::test]
async fn a_repeat_replaces_the_points_of_the_first_time() {
    let Some(server) = Server::find("TALLYD_TEST_INFLUXDB") else { return };
    let database = server.database("repeat").await;
    let mut forwarder = server.forwarder(&format!(r#", "database": "{database}""#));
    for _ in 0..2 {
        deliver(&mut forwarder, &snapshot_of_counters(500)).await.0.unwrap();
    }
    let count = server.query(&database, "SELECT SUM(\"count\") FROM c").await;
    assert_eq!(count[0]["values"][0][1], 500);
}
