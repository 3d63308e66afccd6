//! `dispatcher.list`: gateways, whether they take calls, and their latencies.

use binrpc::BinrpcValue;

use super::MethodReply;
use super::fields::{add_total, flag, text};
use crate::reading::{BorrowedTags, Readings};

/// Fields of `LATENCY` in milliseconds, and their metrics.
const LATENCIES: [(&str, &str); 4] = [
    ("AVG", "kamailio.dispatcher.list.latency_avg"),
    ("STD", "kamailio.dispatcher.list.latency_std"),
    ("EST", "kamailio.dispatcher.list.latency_est"),
    ("MAX", "kamailio.dispatcher.list.latency_max"),
];

/// Maps each gateway of each set.
pub(crate) fn map(reply: &MethodReply<'_>, readings: &mut Readings) {
    for list in reply.records {
        if let Some(sets) = list.member("NRSETS").and_then(BinrpcValue::number) {
            readings.level("kamailio.dispatcher.list.sets", &[], sets);
        }
        for set in list.member("RECORDS").into_iter().flat_map(|sets| sets.members_named("SET")) {
            let id = text(set, "ID");
            let targets = set.member("TARGETS").into_iter();
            for gateway in targets.flat_map(|targets| targets.members_named("DEST")) {
                add_gateway(&id, gateway, readings);
            }
        }
    }
}

fn add_gateway(set: &str, gateway: &BinrpcValue, readings: &mut Readings) {
    let (uri, flags) = (text(gateway, "URI"), text(gateway, "FLAGS"));
    if uri.is_empty() {
        return;
    }
    let tags = [("flags", flags.as_str()), ("setid", set), ("uri", uri.as_str())];
    readings.level("kamailio.dispatcher.list.target", &tags, 1.0);
    let tags = &tags[1..];
    if let Some(state) = state(&flags) {
        readings.level("kamailio.dispatcher.list.state", tags, state);
        readings.level("kamailio.dispatcher.list.active", tags, flag(state < 2.0));
    }
    if let Some(priority) = gateway.member("PRIORITY").and_then(BinrpcValue::number) {
        readings.level("kamailio.dispatcher.list.priority", tags, priority);
    }
    if let Some(latency) = gateway.member("LATENCY") {
        add_latencies(latency, tags, readings);
    }
    let load = gateway.member("RUNTIME").and_then(|runtime| runtime.member("DLGLOAD"));
    if let Some(load) = load.and_then(BinrpcValue::number) {
        readings.level("kamailio.dispatcher.list.dialogs", tags, load);
    }
}

fn add_latencies(latency: &BinrpcValue, tags: BorrowedTags<'_>, readings: &mut Readings) {
    for (field, name) in LATENCIES {
        if let Some(number) = latency.member(field).and_then(BinrpcValue::number) {
            readings.level(name, tags, number);
        }
    }
    if let Some(timeouts) = latency.member("TIMEOUT") {
        add_total("kamailio.dispatcher.list.timeouts", tags, timeouts, readings);
    }
}

/// The first flag as a number: active, trying (after fewer failures than the limit), inactive,
/// disabled. The first two take calls.
fn state(flags: &str) -> Option<f64> {
    match flags.bytes().next()? {
        b'A' => Some(0.0),
        b'T' => Some(1.0),
        b'I' => Some(2.0),
        b'D' => Some(3.0),
        _ => None,
    }
}
