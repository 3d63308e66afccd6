//! The queue in memory of a destination that fails and has no spool.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use common::{Daemon, assert_balanced};
use serde_json::Value;

/// A destination that fails, whose queue is limited in bytes.
fn config(max_bytes: &str) -> String {
    format!(
        "interval: 100ms\nshutdown_timeout: 1s\nforwarders:\n  file:\n    path: /dev/full\n    \
         delivery: {{ retry: {{ max: 100ms }}, queue: {{ max_bytes: {max_bytes} }} }}\n"
    )
}

/// Messages with 200 values of one timer.
fn values() -> String {
    let message = r#"{"metric_name":"t","metric_type":"timer","value":1.5}"#;
    format!("[{}]", vec![message; 200].join(","))
}

fn queued_bytes(status: &Value) -> u64 {
    status["forwarders"]["file"]["queued_bytes"].as_u64().unwrap()
}

#[test]
fn windows_of_large_points_are_dropped_before_they_exceed_the_memory_of_the_queue() {
    let daemon = Daemon::start(&config("24KiB"));
    let mut largest = 0;
    daemon.wait_for("dropped windows", |status| {
        daemon.send(values());
        // A window of the scheduler's choice can contain several messages.
        status["forwarders"]["file"]["dropped"]["queue_full"].as_u64() > Some(3)
    });
    for _ in 0..20 {
        daemon.send(values());
        largest = largest.max(queued_bytes(&daemon.status()));
    }
    assert!((4 << 10..24 << 10).contains(&largest), "{largest} bytes");
    daemon.reload(&config("1MiB"));
    let status = daemon.wait_for("more windows than before", |status| {
        daemon.send(values());
        queued_bytes(status) > 48 << 10
    });
    assert_balanced(&status);
    let warnings = daemon.stop().warnings().join("\n");
    assert!(warnings.contains("queue full"), "{warnings}");
    assert!(warnings.contains(r#""limit":"delivery.queue.max_bytes""#), "{warnings}");
}
