//! The daemon's self-metrics: on the admin endpoint's page, in the pipeline, and in the documents.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use common::markdown;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use common::promtool::promtool;
use common::{Daemon, total};
use engine::protocol::RejectReason;
use forwarders::stats::reason;
use forwarders::testing::real_server;
use serde_json::json;

/// A Kamailio that does not exist.
const KAMAILIO: &str = "kamailio: [{ endpoint: \"unix:/nonexistent/ctl\" }]\n";

/// A family on the page.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
    /// The values by label text.
    samples: BTreeMap<String, f64>,
}

/// Parses the page. Label values contain no braces or commas here.
fn families(page: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            families.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let family = families.get_mut(name).expect("its comments come first");
            let names = labels.split(',').filter_map(|label| label.split_once('='));
            family.labels.extend(names.map(|(name, _)| name.to_owned()));
            let labels = labels.trim_end_matches('}').to_owned();
            let before = family.samples.insert(labels, value.parse().unwrap());
            assert_eq!(before, None, "twice on the page: {line}");
        }
    }
    families
}

fn page(daemon: &Daemon) -> BTreeMap<String, Family> {
    let (status, page) = daemon.get("/metrics");
    assert_eq!(status, 200);
    families(&page)
}

/// A daemon with samples for almost every metric: datagram and stream listeners, two sockets with one
/// address, and destinations that are up and down.
fn busy(more: &str) -> Daemon {
    let mut config = "interval: 200ms\n\
        listeners:\n\
        - { transport: tcp, address: \"127.0.0.1:0\" }\n\
        - { transport: tcp, address: \"127.0.0.1:0\", \
            tls: { cert_file: DIR/server.pem, key_file: DIR/server.key } }\n\
        - { transport: udp, address: \"127.0.0.1:0\", threads: 2, allow: [192.0.2.1], \
            mirror: [\"udp://127.0.0.1:1\"], secret: 0123456789abcdef }\n\
        bind_port: 0\n\
        forwarders:\n  file: { path: DIR/points }\n"
        .to_owned();
    config.insert_str(0, more);
    // Nothing listens on port 1.
    config += "  graphite: { address: \"127.0.0.1:1\" }\n";
    config += "  kafka: { kafka_broker: \"127.0.0.1:1\", kafka_topic: \"m.{name}\" }\n";
    config += "  prometheus: { listen: \"127.0.0.1:0\", merge: { url: \"http://127.0.0.1:1/\" }, \
               probe: { targets: [none] } }\n";
    let folder = tempfile::tempdir().unwrap();
    common::pki::Pki::new(folder.path(), "ca").issue("server");
    let daemon = Daemon::start_in(folder, &config);
    daemon.send(r#"{"metric_name":"m","metric_type":"counter","count":3}"#);
    daemon.send("nonsense");
    daemon.wait_for("a window on disk", |status| {
        let delivered = status["forwarders"]["file"]["delivered"].as_u64() >= Some(1);
        let spooled = status["forwarders"]["graphite"]["spooled"].as_u64() >= Some(1);
        delivered && spooled
    });
    daemon
}

#[test]
fn the_document_lists_exactly_the_self_metrics() {
    let shown = page(&busy(KAMAILIO));
    let document = markdown::document("docs/metrics.md");
    let mut documented = BTreeSet::new();
    for row in document.rows() {
        let Some(name) = row[0].strip_prefix("`tallyd_").and_then(|name| name.strip_suffix('`'))
        else {
            continue;
        };
        let name = format!("tallyd_{name}");
        let family = shown.get(&name).unwrap_or_else(|| panic!("{name} is not on the page"));
        assert_eq!(row[1], family.kind, "the type of {name}");
        let labels: BTreeSet<String> = row[2]
            .split(", ")
            .map(|label| label.replace('`', ""))
            .filter(|label| label != "none")
            .collect();
        let may_be_empty = name.starts_with("tallyd_kamailio_last_success");
        let has_none = family.samples.is_empty() && may_be_empty;
        assert!(has_none || labels == family.labels, "the labels of {name}: {family:?}");
        assert_eq!(row[3], family.help, "the meaning of {name}");
        assert!(["no", "not yet", "of ", "**yes**"].iter().any(|word| row[4].starts_with(word)));
        documented.insert(name);
    }
    let shown: BTreeSet<String> = shown.into_keys().collect();
    assert_eq!(shown.difference(&documented).collect::<Vec<_>>(), [""; 0], "not in the document");
}

#[test]
fn the_page_agrees_with_the_status() {
    let daemon = busy("");
    let mut tcp = std::net::TcpStream::connect(daemon.address("json/tcp")).unwrap();
    std::io::Write::write_all(&mut tcp, b"{\"metric_type\":\"trace\"}\n").unwrap();
    let status = daemon.wait_received(3);
    let shown = page(&daemon);
    let sum = |name: &str| shown[name].samples.values().sum::<f64>();
    let sample = |name: &str, labels: &str| shown[name].samples[labels];
    assert_eq!(sum("tallyd_samples_received_total"), 3.0);
    assert_eq!(sum("tallyd_samples_aggregated_total"), 1.0);
    assert_eq!(sum("tallyd_samples_rejected_total"), 2.0);
    let udp = format!("listener=\"json/udp {}\"", daemon.udp);
    assert_eq!(sample("tallyd_samples_rejected_total", &format!("{udp},reason=\"bad_json\"")), 1.0);
    assert_eq!(sample("tallyd_samples_rejected_total", &format!("{udp},reason=\"too_deep\"")), 0.0);
    assert_eq!(sum("tallyd_connections_open"), 1.0);
    assert_eq!(sum("tallyd_series"), 1.0);
    assert_eq!(sample("tallyd_points_flushed_total", "forwarder=\"file\""), 1.0);
    assert_eq!(sample("tallyd_points_delivered_total", "forwarder=\"file\""), 1.0);
    assert!(sum("tallyd_windows_total") >= 1.0);
    assert_eq!(sum("tallyd_window_interval_seconds"), 0.2);
    let labels = shown["tallyd_samples_received_total"].samples.len();
    assert_eq!(labels, 4, "threads that share an address are one: {:#}", status["listeners"]);
    assert_eq!(sample("tallyd_forwarder_up", "forwarder=\"graphite\""), 0.0);
    assert_eq!(sample("tallyd_points_spooled", "forwarder=\"graphite\""), 1.0);
    assert_eq!(sample("tallyd_spool_files", "forwarder=\"graphite\""), 1.0);
    assert_eq!(sample("tallyd_points_quarantined_total", "forwarder=\"graphite\""), 0.0);
    assert_eq!(sample("tallyd_points_not_quarantined_total", "forwarder=\"graphite\""), 0.0);
}

#[test]
fn every_reason_has_a_sample_before_it_occurs() {
    let shown = page(&Daemon::start("forwarders: { file: { path: DIR/points } }\n"));
    let reasons = |name: &str| shown[name].samples.len();
    assert_eq!(reasons("tallyd_samples_rejected_total"), RejectReason::ALL.len());
    assert_eq!(reasons("tallyd_points_dropped_total"), reason::ALL.len());
}

#[test]
fn promtool_accepts_the_page_and_the_alerts() {
    let Some(program) = real_server("TALLYD_TEST_PROMTOOL") else { return };
    let (_, text) = busy(KAMAILIO).get("/metrics");
    assert_eq!(promtool(&program, &text), (Some(0), String::new()));
    let rules = common::root().join("etc/prometheus-alerts.yaml");
    let output = Command::new(program).args(["check", "rules"]).arg(&rules).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // The alerts use only metrics of the page.
    let shown = families(&text);
    let rules = std::fs::read_to_string(rules).unwrap();
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named: BTreeSet<&str> = words.filter(|word| word.starts_with("tallyd_")).collect();
    assert!(named.len() > 8);
    assert!(named.iter().all(|name| shown.contains_key(*name)), "{named:?}");
}

#[test]
fn self_metrics_pass_through_the_pipeline_and_do_not_count_as_received() {
    let daemon = Daemon::start(
        "interval: 200ms\nself_metrics: true\nagent: { tags: { host: a } }\n\
         forwarders: { file: { path: DIR/points, format: json } }\n",
    );
    daemon.send(r#"{"metric_name":"m","metric_type":"counter","count":3}"#);
    daemon.send("nonsense");
    daemon.wait_received(2);
    let stopped = daemon.stop();
    let points = stopped.points("points");
    // The stop closes the last window after all samples are counted.
    assert_eq!(total(&points, "tallyd.samples_received", "count"), 2.0);
    assert_eq!(total(&points, "tallyd.samples_aggregated", "count"), 1.0);
    assert_eq!(total(&points, "tallyd.datagrams_read", "count"), 2.0);
    let of = |name: &str| points.iter().filter(|point| point["name"] == name).collect::<Vec<_>>();
    let rejected = of("tallyd.samples_rejected");
    assert!(rejected.iter().all(|point| point["tags"]["reason"] == "bad_json"), "{rejected:?}");
    assert_eq!(rejected.iter().map(|p| p["fields"]["count"].as_f64().unwrap()).sum::<f64>(), 1.0);
    let version = of("tallyd.build_info")[0];
    assert_eq!(version["type"], "gauge");
    assert_eq!(version["tags"], json!({"host": "a", "version": env!("CARGO_PKG_VERSION")}));
    // The self-metrics of a window cover the windows before it.
    let delivered = total(&points, "tallyd.points_delivered", "count");
    let last = points.last().unwrap()["timestamp"].clone();
    let in_last = points.iter().filter(|point| point["timestamp"] == last).count();
    assert!(delivered <= (points.len() - in_last) as f64, "{delivered} of {}", points.len());
    let ledger = stopped.log.iter().find(|entry| entry["message"] == "ledger of the listeners");
    assert_eq!(ledger.unwrap()["received"], 2);
}

#[test]
fn without_the_key_self_metrics_produce_no_points() {
    let daemon = Daemon::start(
        "interval: 200ms\nforwarders: { file: { path: DIR/points, format: json } }\n",
    );
    daemon.send(r#"{"metric_name":"m","metric_type":"counter"}"#);
    daemon.wait_for("the point", |status| status["forwarders"]["file"]["delivered"] == 1);
    assert_eq!(daemon.stop().points("points").len(), 1);
}
