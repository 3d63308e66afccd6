//! `dispatcher.list`: the gateways, whether they take calls, and how fast they answer.

use binrpc::BinrpcValue;

use super::{label, total};
use crate::reading::{Labels, Readings};

/// Fields of `LATENCY` in milliseconds, and what they are called.
const LATENCIES: [(&str, &str); 4] = [
    ("AVG", "kamailio.dispatcher.list.latency_avg"),
    ("STD", "kamailio.dispatcher.list.latency_std"),
    ("EST", "kamailio.dispatcher.list.latency_est"),
    ("MAX", "kamailio.dispatcher.list.latency_max"),
];

/// Adds the readings of each gateway of each set.
pub(super) fn map(records: &[BinrpcValue], readings: &mut Readings) {
    for list in records {
        if let Some(sets) = list.member("NRSETS").and_then(BinrpcValue::number) {
            readings.level("kamailio.dispatcher.list.sets", &[], sets);
        }
        for set in list.member("RECORDS").into_iter().flat_map(|sets| sets.members_named("SET")) {
            let id = label(set, "ID");
            let targets = set.member("TARGETS").into_iter();
            for gateway in targets.flat_map(|targets| targets.members_named("DEST")) {
                destination(&id, gateway, readings);
            }
        }
    }
}

fn destination(set: &str, gateway: &BinrpcValue, readings: &mut Readings) {
    let (uri, flags) = (label(gateway, "URI"), label(gateway, "FLAGS"));
    if uri.is_empty() {
        return;
    }
    let labels = [("setid", set), ("uri", uri.as_str())];
    let with_flags = [("flags", flags.as_str()), ("setid", set), ("uri", uri.as_str())];
    readings.level("kamailio.dispatcher.list.target", &with_flags, 1.0);
    if let Some(state) = state(&flags) {
        readings.level("kamailio.dispatcher.list.state", &labels, state);
        readings.level(
            "kamailio.dispatcher.list.active",
            &labels,
            f64::from(u8::from(state < 2.0)),
        );
    }
    if let Some(priority) = gateway.member("PRIORITY").and_then(BinrpcValue::number) {
        readings.level("kamailio.dispatcher.list.priority", &labels, priority);
    }
    if let Some(latency) = gateway.member("LATENCY") {
        latencies(latency, &labels, readings);
    }
    let load = gateway.member("RUNTIME").and_then(|runtime| runtime.member("DLGLOAD"));
    if let Some(load) = load.and_then(BinrpcValue::number) {
        readings.level("kamailio.dispatcher.list.dialogs", &labels, load);
    }
}

fn latencies(latency: &BinrpcValue, labels: Labels<'_>, readings: &mut Readings) {
    for (field, name) in LATENCIES {
        if let Some(number) = latency.member(field).and_then(BinrpcValue::number) {
            readings.level(name, labels, number);
        }
    }
    if let Some(timeouts) = latency.member("TIMEOUT") {
        total("kamailio.dispatcher.list.timeouts", labels, timeouts, readings);
    }
}

/// The first flag as a number: active, trying (failures, but not enough of them), inactive, disabled.
/// The first two take calls.
fn state(flags: &str) -> Option<f64> {
    match flags.bytes().next()? {
        b'A' => Some(0.0),
        b'T' => Some(1.0),
        b'I' => Some(2.0),
        b'D' => Some(3.0),
        _ => None,
    }
}
