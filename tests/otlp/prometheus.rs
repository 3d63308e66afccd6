//! Prometheus as an OTLP server.

use std::time::Instant;

use common::{Daemon, PATIENCE};
use forwarders::testing::real_server;
use serde_json::Value;

/// The value of an expression; `None` if it has no result.
fn value(url: &str, expression: &str) -> Option<f64> {
    let url = format!("{url}/api/v1/query");
    let url = reqwest::Url::parse_with_params(&url, &[("query", expression)]).unwrap();
    let reply: Value = common::get(url).unwrap().json().unwrap();
    assert_eq!(reply["status"], "success", "{reply}");
    let value = reply["data"]["result"][0]["value"][1].as_str()?;
    Some(value.parse().unwrap())
}

#[test]
fn prometheus_stores_totals_and_native_histograms_and_ends_expired_series() {
    const SENT: u64 = 9_000;
    // Debian's version, which `TALLYD_TEST_PROMETHEUS` names, does not receive OTLP.
    let Some(url) = real_server("TALLYD_TEST_PROMETHEUS_CURRENT") else { return };
    let run = format!("run-{}", std::process::id());
    let daemon = Daemon::start(&format!(
        "interval: 200ms\naggregation: {{ expire_after: 2s }}\nforwarders:\n  otlp:\n    \
         endpoint: \"{url}/api/v1/otlp\"\n    temporality: cumulative\n    \
         resource: {{ service.name: {run}, service.instance.id: a }}\n"
    ));
    daemon.send_paced((0..SENT).map(|number| {
        match number % 3 {
            0 => r#"{"metric_name":"otlp.hits","metric_type":"counter","count":2,"stage":"a"}"#
                .to_owned(),
            1 => r#"{"metric_name":"otlp.level","metric_type":"gauge","value":-7.5}"#.to_owned(),
            _ => format!(
                r#"{{"metric_name":"otlp.latency","metric_type":"timer","value":{}}}"#,
                number / 3 + 1
            ),
        }
    }));
    let deadline = Instant::now() + PATIENCE;
    let wait_for = |expression: &str, wanted: Option<f64>| loop {
        daemon.send(r#"{"metric_name":"otlp.alive","metric_type":"counter"}"#);
        let found = value(&url, expression);
        if found == wanted {
            break;
        }
        assert!(Instant::now() < deadline, "{expression}: {found:?}, {:#}", daemon.status());
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    let of = |name: &str| format!("{{__name__=~\"{name}\",job=\"{run}\",instance=\"a\"}}");
    // A series ends soon after its last sample, so its values are looked for in a range.
    let peak = |name: &str| format!("sum(max_over_time({}[5m]))", of(name));
    wait_for(&peak("otlp[._]hits(_total)?"), Some(6_000.0));
    wait_for(&format!("sum(last_over_time({}[5m]))", of("otlp[._]level")), Some(-7.5));
    let latency = of("otlp[._]latency");
    let latency = format!("last_over_time({latency}[5m])");
    wait_for(&format!("histogram_count({latency})"), Some(3_000.0));
    wait_for(&format!("histogram_sum({latency})"), Some(4_501_500.0));
    for quantile in [0.1_f64, 0.5, 0.9, 0.99] {
        let found = value(&url, &format!("histogram_quantile({quantile}, {latency})")).unwrap();
        let exact = quantile * 3_000.0;
        assert!((found / exact - 1.0).abs() < 0.01, "{quantile}: {found} instead of {exact}");
    }
    // The point without a value that ends a series makes it stale at once.
    wait_for(&format!("count({})", of("otlp[._](hits|latency).*")), None);
    wait_for(&format!("count({})", of("otlp[._]alive.*")), Some(1.0));
    let otlp = &daemon.status()["forwarders"]["otlp"];
    assert_eq!(otlp["dropped"], serde_json::json!({}), "{otlp:#}");
}
