//! No sample is lost or counted twice: the sum of the points equals the sum of the samples.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use common::{Daemon, total};

/// A deterministic, uneven increment: a constant or a power of two could mask an error.
fn increment(number: u64) -> u64 {
    number * 7919 % 1000
}

fn counters(from: u64, to: u64) -> impl Iterator<Item = String> {
    (from..to).map(|number| {
        format!(
            r#"{{"metric_name":"m","metric_type":"counter","count":{},"host":"{}"}}"#,
            increment(number),
            number % 100
        )
    })
}

#[test]
fn the_sum_over_many_windows_is_what_was_sent() {
    const SENT: u64 = 200_000;
    let daemon =
        Daemon::start("interval: 100ms\nforwarders: { file: { path: DIR/out, format: json } }\n");
    std::thread::scope(|scope| {
        for half in 0..2 {
            let daemon = &daemon;
            scope
                .spawn(move || daemon.send_paced(counters(half * SENT / 2, (half + 1) * SENT / 2)));
        }
    });
    let status = daemon.wait_received(SENT);
    assert_eq!(status["ledger"]["aggregated"], SENT);
    assert_eq!(status["ledger"]["kernel_drops"], 0);
    let stopped = daemon.stop();
    let points = stopped.points("out");
    let windows: std::collections::BTreeSet<u64> =
        points.iter().map(|point| point["timestamp"].as_u64().unwrap()).collect();
    assert!(windows.len() > 5, "the edges of {} windows were put to the test", windows.len());
    assert_eq!(total(&points, "m", "count"), (0..SENT).map(increment).sum::<u64>() as f64);
    let mut seen = std::collections::HashSet::new();
    for point in &points {
        let of = (point["timestamp"].to_string(), point["tags"].to_string());
        assert!(seen.insert(of), "a series has one point a window: {point}");
    }
}

#[test]
fn a_count_near_the_end_of_the_range_has_a_finite_rate_in_a_short_window() {
    let daemon = Daemon::start(
        "interval: 100ms\nbind_port: 0\nforwarders: { file: { path: DIR/out, format: json } }\n",
    );
    daemon.send(r#"{"metric_name":"m","metric_type":"counter","count":1e308}"#);
    daemon.send(r#"{"metric_name":"t","metric_type":"timer","value":1,"sample_rate":1e-308}"#);
    daemon.wait_received(2);
    // The test cannot read a point with an infinite number, which is not JSON.
    let points = daemon.stop().points("out");
    let count = |name: &str| total(&points, name, "count");
    assert_eq!((count("m"), count("t")), (1e308, 1e308));
    for point in &points {
        assert!(point["fields"]["rate"].as_f64().is_some_and(|rate| rate >= 1e308), "{point}");
    }
}

#[test]
fn a_stop_right_after_a_burst_loses_nothing() {
    for _ in 0..3 {
        let daemon =
            Daemon::start("interval: 10s\nforwarders: { file: { path: DIR/out, format: json } }\n");
        let burst = daemon.burst();
        counters(0, burst).for_each(|datagram| daemon.send(datagram));
        let stopped = daemon.stop();
        assert!(stopped.status.success());
        let sum: u64 = (0..burst).map(increment).sum();
        assert_eq!(total(&stopped.points("out"), "m", "count"), sum as f64);
        let ledger = stopped
            .log
            .iter()
            .find(|entry| entry["message"] == "ledger of the listeners")
            .expect("the last word is the ledger");
        assert_eq!(ledger["received"], burst);
    }
}

#[test]
fn the_ledger_balances_at_any_instant() {
    let daemon =
        Daemon::start("interval: 100ms\nforwarders: { file: { path: DIR/out, format: json } }\n");
    let messages = |number: u64| {
        if number.is_multiple_of(3) {
            "nonsense".to_owned()
        } else {
            counters(number, number + 1).collect()
        }
    };
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| daemon.send_paced((0..50_000).map(messages)));
        while !sender.is_finished() {
            let status = daemon.status();
            let number = |value: &serde_json::Value| value.as_u64().unwrap();
            let ledger = &status["ledger"];
            let rejected: u64 = ledger["rejected"].as_object().unwrap().values().map(number).sum();
            assert_eq!(number(&ledger["received"]), number(&ledger["aggregated"]) + rejected);
            common::assert_balanced(&status);
        }
        sender.join().unwrap();
    });
    let status = daemon.wait_received(50_000);
    assert_eq!(status["ledger"]["rejected"]["bad_json"], 16_667);
}

#[test]
fn every_datagram_dropped_by_the_kernel_is_counted() {
    const SENT: u64 = 5_000;
    let daemon = Daemon::start("receive_buffer: 4KiB\nforwarders: { file: { path: DIR/out } }\n");
    daemon.signal("STOP");
    counters(0, SENT).for_each(|datagram| daemon.send(datagram));
    daemon.signal("CONT");
    let status = daemon.wait_for("every datagram's fate", |status| {
        let ledger = &status["ledger"];
        let number = |key: &str| ledger[key].as_u64().unwrap();
        number("received") + number("kernel_drops") == SENT
    });
    assert!(status["ledger"]["kernel_drops"].as_u64().unwrap() > 0);
}
