//! The dashboards of examples/grafana and the rules of etc/prometheus-alerts.yaml and
//! etc/prometheus-calls.yaml are consistent, use only existing metrics, and a real Prometheus has data
//! for every panel.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use common::markdown;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Daemon, PATIENCE};
use forwarders::testing::real_server;
use serde_json::{Value, json};

const DASHBOARDS: [&str; 4] = ["tallyd", "kamailio", "timers", "calls"];

fn read(name: &str) -> Value {
    let path = common::root().join(format!("examples/grafana/{name}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("no {key} in {value:#}"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value:#}"))
}

/// All panels, including those in collapsed rows, without the rows themselves.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let rows = list(dashboard, "panels").iter();
    let with_folded = rows
        .flat_map(|row| std::iter::once(row).chain(row["panels"].as_array().into_iter().flatten()));
    with_folded.filter(|panel| panel["type"] != "row").collect()
}

/// All expressions, each with its location.
fn expressions(dashboard: &Value) -> Vec<(String, &str)> {
    let title = text(dashboard, "title");
    let mut found = Vec::new();
    for panel in panels(dashboard) {
        let place = format!("{title}: {}", text(panel, "title"));
        found.extend(list(panel, "targets").iter().map(|one| (place.clone(), text(one, "expr"))));
    }
    for one in list(&dashboard["annotations"], "list") {
        if let Some(expression) = one["expr"].as_str() {
            found.push((format!("{title}: annotation {}", text(one, "name")), expression));
        }
    }
    found
}

/// An expression as Grafana would send it, with its variables replaced for a job.
fn filled(expression: &str, job: &str) -> String {
    expression
        .replace("$__rate_interval", "10s")
        .replace("$__range", "1m")
        .replace("$job", job)
        .replace("$instance", ".*")
        .replace("$node", ".*")
        .replace("${metric}", "user_latency")
        .replace("$metric", "user_latency")
        .replace("$limit", "100")
        .replace("$carrier", ".*")
        .replace("$gateway", ".*")
}

/// The metric names in an expression that begin with a prefix.
fn metrics<'a>(expression: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(move |word| word.starts_with(prefix))
}

// ---- Consistency -----------------------------------------------------------------------------

#[test]
fn every_panel_has_a_description_a_unit_and_a_source() {
    for name in DASHBOARDS {
        let dashboard = read(name);
        assert!(text(&dashboard, "uid").starts_with("tallyd"));
        assert!(dashboard["id"].is_null(), "an id would replace another dashboard");
        let variables = list(&dashboard["templating"], "list");
        let variables: BTreeSet<&str> = variables.iter().map(|one| text(one, "name")).collect();
        // The recording rules combine all instances.
        let by_instance = name != "calls";
        let needed = if by_instance { ["instance", "job"] } else { ["carrier", "gateway"] };
        assert!(needed.iter().chain(["datasource"].iter()).all(|name| variables.contains(name)));
        let mut ids = BTreeSet::new();
        let mut titles = BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = text(panel, "title");
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: the id of {title}");
            assert!(titles.insert(title), "{name}: two panels are called {title}");
            assert!(text(panel, "description").ends_with('.'), "{name}: {title}");
            assert_ne!(text(&panel["fieldConfig"]["defaults"], "unit"), "", "{name}: {title}");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}: {title}");
            assert!(!list(panel, "targets").is_empty(), "{name}: {title}");
            let mut letters = BTreeSet::new();
            for target in list(panel, "targets") {
                assert!(letters.insert(text(target, "refId")), "{name}: {title}");
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{name}: {title}");
            }
        }
        for (place, expression) in expressions(&dashboard) {
            for used in expression.split('$').skip(1) {
                let used = used.strip_prefix('{').unwrap_or(used);
                let end = used.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let used = &used[..end.unwrap_or(used.len())];
                let is_grafanas = ["__rate_interval", "__range"].contains(&used);
                assert!(is_grafanas || variables.contains(used), "{place}: ${used}");
            }
            let selection = if by_instance {
                "job=~\"$job\", instance=~\"$instance\""
            } else {
                "{carrier=~\"$carrier\""
            };
            assert!(expression.contains(selection), "{place}");
        }
    }
}

#[test]
fn panels_do_not_overlap() {
    for name in DASHBOARDS {
        let dashboard = read(name);
        let mut taken: BTreeMap<(u64, u64), String> = BTreeMap::new();
        for panel in list(&dashboard, "panels") {
            let grid = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(grid("x") + grid("w") <= 24, "{name}: {}", text(panel, "title"));
            for x in grid("x")..grid("x") + grid("w") {
                for y in grid("y")..grid("y") + grid("h") {
                    let other = taken.insert((x, y), text(panel, "title").to_owned());
                    assert_eq!(other, None, "{name}: under {}", text(panel, "title"));
                }
            }
        }
    }
}

// ---- Existing metrics ------------------------------------------------------------------------

/// The metric names in docs/metrics.md.
fn self_metrics() -> BTreeSet<String> {
    let document = markdown::document("docs/metrics.md");
    let names = document
        .rows()
        .filter_map(|row| row[0].strip_prefix('`')?.strip_suffix('`').map(str::to_owned));
    names.filter(|name| name.starts_with("tallyd_")).collect()
}

#[test]
fn the_dashboard_of_the_daemon_shows_all_its_metrics_and_no_others() {
    let dashboard = read("tallyd");
    let expressions = expressions(&dashboard);
    let shown: BTreeSet<String> = expressions
        .iter()
        .flat_map(|(_, expression)| metrics(expression, "tallyd_"))
        .map(str::to_owned)
        .collect();
    assert_eq!(shown, self_metrics());
}

/// The metrics of docs/kamailio.md with their names on the page for Prometheus; `*` is kept.
fn kamailio_metrics() -> Vec<String> {
    let document = markdown::document("docs/kamailio.md");
    let rows = document.rows().filter_map(|row| {
        let name = row[0].strip_prefix('`')?.strip_suffix('`')?;
        let ending = match row[1] {
            "counter" if !name.ends_with(".total") => "_total",
            _ => "",
        };
        Some(format!("{}{ending}", name.replace('.', "_")))
    });
    let names: Vec<String> = rows.filter(|name| name.starts_with("kamailio_")).collect();
    assert!(names.len() > 70, "{names:?}");
    names
}

fn is_of(name: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        Some((begin, end)) => {
            name.len() > begin.len() + end.len() && name.starts_with(begin) && name.ends_with(end)
        }
        None => name == pattern,
    }
}

#[test]
fn dashboard_and_alerts_use_only_documented_kamailio_metrics() {
    let told = kamailio_metrics();
    let (dashboard, rules) = (read("kamailio"), rules());
    let expressions = expressions(&dashboard).into_iter().map(|(_, expression)| expression);
    for expression in expressions.chain([rules.as_str()]) {
        for name in metrics(expression, "kamailio_") {
            assert!(told.iter().any(|pattern| is_of(name, pattern)), "{name} is not in the table");
        }
    }
}

fn rules() -> String {
    fs::read_to_string(common::root().join("etc/prometheus-alerts.yaml")).unwrap()
}

// ---- Prometheus' own tools -------------------------------------------------------------------

#[test]
fn promtool_accepts_every_expression() {
    let Some(program) = real_server("TALLYD_TEST_PROMTOOL") else { return };
    let mut rules = Vec::new();
    for name in DASHBOARDS {
        for (number, (_, expression)) in expressions(&read(name)).iter().enumerate() {
            let record = format!("{name}:{number}");
            rules.push(json!({ "record": record, "expr": filled(expression, ".*") }));
        }
    }
    assert!(rules.len() > 100, "{}", rules.len());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    // JSON is valid YAML.
    let group = json!({ "groups": [{ "name": "dashboards", "rules": rules }] });
    fs::write(&file, group.to_string()).unwrap();
    let output = Command::new(program).args(["check", "rules"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn each_alert_fires_only_when_it_should() {
    let Some(program) = real_server("TALLYD_TEST_PROMTOOL") else { return };
    let cases = common::root().join("tests/alerts.yaml");
    let output = Command::new(program).args(["test", "rules"]).arg(&cases).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let cases = fs::read_to_string(cases).unwrap();
    for rule in rules().lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(cases.contains(&format!("alertname: {rule}\n")), "tests/alerts.yaml on {rule}");
    }
}

/// The recording rules of etc/prometheus-calls.yaml.
fn call_rules() -> BTreeSet<String> {
    let text = fs::read_to_string(common::root().join("etc/prometheus-calls.yaml")).unwrap();
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("- record: "));
    names.map(str::to_owned).collect()
}

#[test]
fn the_dashboard_of_calls_shows_only_recorded_series() {
    let dashboard = read("calls");
    let rules = call_rules();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    for (place, expression) in expressions(&dashboard) {
        let names = expression.split(|c| !is_name(c)).filter(|word| word.contains(':'));
        let names: Vec<&str> = names.collect();
        assert!(!names.is_empty(), "{place}");
        assert!(names.iter().all(|name| rules.contains(*name)), "{place}: {names:?}");
    }
}

#[test]
fn the_recording_rules_of_calls_have_the_values_of_their_definitions() {
    let Some(program) = real_server("TALLYD_TEST_PROMTOOL") else { return };
    let cases = common::root().join("tests/calls.yaml");
    let output = Command::new(program).args(["test", "rules"]).arg(&cases).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let cases = fs::read_to_string(cases).unwrap();
    // The rates by result and by carrier are parts of the others.
    let tested = call_rules().into_iter().filter(|rule| !rule.ends_with("attempts:rate5m"));
    for rule in tested {
        assert!(cases.contains(&rule), "tests/calls.yaml on {rule}");
    }
}

/// Removes the file when dropped, so that Prometheus stops scraping its targets.
struct Targets(PathBuf);

impl Drop for Targets {
    fn drop(&mut self) {
        // Another run may have removed it already.
        let _gone_already = fs::remove_file(&self.0);
    }
}

/// Panels without data as long as no error occurs.
const MAY_BE_EMPTY: [&str; 3] = ["Connections", "Restarts", "Stateless replies"];

/// Counters of faults that this test does not cause, and that are shown only above 0.
const FAULTS_NOT_CAUSED: [&str; 7] = [
    "tallyd_admin_accept_errors_total",
    "tallyd_admin_connections_cut_total",
    "tallyd_admin_handshakes_failed_total",
    "tallyd_admin_requests_denied_total",
    "tallyd_admin_requests_refused_total",
    "tallyd_clock_steps_total",
    "tallyd_restart_state_failures_total",
];

fn may_be_empty(place: &str, expression: &str) -> bool {
    MAY_BE_EMPTY.iter().any(|title| place.ends_with(title))
        || expression.ends_with("> 0")
            && FAULTS_NOT_CAUSED.iter().any(|metric| expression.contains(metric))
}

/// The series that Prometheus returns for an expression of a dashboard.
fn answer(url: &str, expression: &str, job: &str) -> Vec<Value> {
    let query = [("query", filled(expression, job))];
    let url = reqwest::Url::parse_with_params(&format!("{url}/api/v1/query"), &query).unwrap();
    let reply: Value = common::get(url).unwrap().json().unwrap();
    assert_eq!(reply["status"], "success", "{expression}: {reply}");
    list(&reply["data"], "result").to_vec()
}

/// Makes Prometheus scrape these addresses as a job.
fn scrape(folder: &str, addresses: &[String], job: &str) -> Targets {
    let targets = Targets(PathBuf::from(folder).join(format!("{job}.json")));
    let config = json!([{ "targets": addresses, "labels": { "job": job } }]);
    fs::write(&targets.0, config.to_string()).unwrap();
    targets
}

/// A daemon for each form, because Prometheus stores only the native buckets of a histogram that has both.
#[test]
fn a_real_prometheus_has_native_and_classic_buckets_for_the_heat_maps_of_timers() {
    let Some(url) = real_server("TALLYD_TEST_PROMETHEUS") else { return };
    let Some(targets) = real_server("TALLYD_TEST_PROMETHEUS_TARGETS") else { return };
    let daemons = ["native", "histogram"].map(|form| {
        Daemon::start(&format!(
            "interval: 200ms\n\
             forwarders: {{ prometheus: {{ listen: \"127.0.0.1:0\", timers: {form} }} }}\n"
        ))
    });
    let job = format!("timers-{}", std::process::id());
    let pages = daemons.each_ref().map(|daemon| daemon.page.unwrap().to_string());
    let _targets = scrape(&targets, &pages, &job);
    let dashboard = read("timers");
    let mut left = expressions(&dashboard);
    let deadline = Instant::now() + PATIENCE;
    while !left.is_empty() {
        for daemon in &daemons {
            daemon.send(r#"{"metric_name":"user.latency","metric_type":"timer","value":12.5}"#);
        }
        left.retain(|(_, expression)| answer(&url, expression, &job).is_empty());
        assert!(Instant::now() < deadline, "no answer for {left:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let heat_maps: Vec<&Value> =
        panels(&dashboard).into_iter().filter(|panel| panel["type"] == "heatmap").collect();
    let shown = |panel: &Value| {
        let target = &list(panel, "targets")[0];
        assert_eq!(target["format"], "heatmap");
        answer(&url, text(target, "expr"), &job)
    };
    let native = shown(heat_maps[0]);
    let buckets = list(&native[0]["histogram"][1], "buckets");
    // Boundary rule, lower bound, upper bound, count.
    assert_eq!(buckets.len(), 1, "{native:#?}");
    let bound = |at: usize| text_at(&buckets[0], at).parse::<f64>().unwrap();
    assert!(bound(1) < 12.5 && 12.5 <= bound(2) && bound(2) / bound(1) < 1.011, "{native:#?}");
    let classic = shown(heat_maps[1]);
    let bounds: BTreeSet<&str> = classic.iter().map(|one| text(&one["metric"], "le")).collect();
    assert!(bounds.len() == 12 && bounds.contains("25.0"), "{classic:#?}");
}

fn text_at(list: &Value, at: usize) -> &str {
    list[at].as_str().unwrap_or_else(|| panic!("no text at {at} of {list:#}"))
}

#[test]
fn a_real_prometheus_has_an_answer_for_every_panel() {
    let Some(url) = real_server("TALLYD_TEST_PROMETHEUS") else { return };
    let Some(targets) = real_server("TALLYD_TEST_PROMETHEUS_TARGETS") else { return };
    let folder = tempfile::Builder::new().prefix("k").tempdir().unwrap();
    let kamailio = common::replay::Replay::start(folder.path());
    kamailio.learn("");
    let certificates = tempfile::tempdir().unwrap();
    let pki = common::pki::Pki::new(certificates.path(), "ca");
    pki.issue("server");
    // Nothing listens on port 1.
    let daemon = Daemon::start_in(
        certificates,
        &format!(
            "interval: 200ms\nbind_port: 0\n\
         listeners:\n\
         - {{ transport: tcp, address: \"127.0.0.1:0\", \
         tls: {{ cert_file: DIR/server.pem, key_file: DIR/server.key }} }}\n\
         - {{ transport: udp, address: \"127.0.0.1:0\", allow: [192.0.2.1], \
         mirror: [\"udp://127.0.0.1:1\"], secret: \"0123456789abcdef\" }}\n\
         kamailio: [{{ endpoint: \"{}\", interval: 200ms, tags: {{ node: edge-1 }}, methods: [default, no.such] }}]\n\
         forwarders:\n  graphite: {{ address: \"127.0.0.1:1\", delivery: {{ queue: {{ max_points: 1 }}, \
         spool: {{ max_files: 1 }} }} }}\n  \
         kafka: {{ kafka_broker: \"127.0.0.1:1\", kafka_topic: \"m.{{name}}\" }}\n  prometheus: {{ listen: \"127.0.0.1:0\", \
         merge: {{ url: \"http://127.0.0.1:1/\" }}, probe: {{ targets: [none] }} }}\n",
            kamailio.unix
        ),
    );
    let job = format!("dashboards-{}", std::process::id());
    let both = [daemon.admin.to_string(), daemon.page.unwrap().to_string()];
    let _targets = scrape(&targets, &both, &job);

    let tls = daemon.address("json/tcp ");
    let refused = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let allows_others = daemon.status()["listeners"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| text(one, "listener").rsplit(' ').next().unwrap().to_owned())
        .collect::<Vec<_>>();
    let dashboards = ["tallyd", "kamailio"].map(read);
    let all = dashboards.iter().flat_map(expressions);
    let mut left: Vec<(String, &str)> =
        all.filter(|(place, expression)| !may_be_empty(place, expression)).collect();
    let asked = left.len();
    assert!(asked > 100, "{asked}");
    let deadline = Instant::now() + PATIENCE;
    while !left.is_empty() {
        daemon.send(r#"{"metric_name":"m","metric_type":"counter"}"#);
        daemon.send("nonsense");
        for address in &allows_others {
            // Fails for a stream listener, which has no UDP socket on that port.
            let _is_sent = refused.send_to(b"{}", address);
        }
        // A TLS handshake that fails.
        drop(std::net::TcpStream::connect(tls).unwrap());
        left.retain(|(_, expression)| answer(&url, expression, &job).is_empty());
        assert!(Instant::now() < deadline, "no answer for {left:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
