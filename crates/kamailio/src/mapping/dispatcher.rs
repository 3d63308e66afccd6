//! `dispatcher.list`: gateways, whether they take calls, and their latencies.

use std::collections::HashSet;

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
            add_set(set, readings);
        }
    }
}

fn add_set(set: &BinrpcValue, readings: &mut Readings) {
    let id = text(set, "ID");
    let gateways = || {
        let targets = set.member("TARGETS").into_iter();
        let gateways = targets.flat_map(|targets| targets.members_named("DEST"));
        gateways.map(|gateway| (text(gateway, "URI"), gateway)).filter(|(uri, _)| !uri.is_empty())
    };
    let (mut seen, mut repeated) = (HashSet::new(), HashSet::new());
    for (uri, _) in gateways() {
        if let Some(uri) = seen.replace(uri) {
            repeated.insert(uri);
        }
    }
    for (uri, gateway) in gateways() {
        let (duid, socket) =
            if repeated.contains(&uri) { duid_and_socket(gateway) } else { Default::default() };
        let mut tags = vec![
            ("flags", text(gateway, "FLAGS")),
            ("duid", duid),
            ("setid", id.clone()),
            ("socket", socket),
            ("uri", uri),
        ];
        tags.retain(|(key, value)| !value.is_empty() || !["duid", "socket"].contains(key));
        let tags: Vec<_> = tags.iter().map(|(key, value)| (*key, value.as_str())).collect();
        add_gateway(gateway, &tags, readings);
    }
}

/// The attributes that distinguish gateways of a set that share a URI; empty where they are not set.
/// Other gateways have no tags for them, so that a change of an attribute makes no new series.
fn duid_and_socket(gateway: &BinrpcValue) -> (String, String) {
    let attribute = |name| gateway.member("ATTRS").map(|attributes| text(attributes, name));
    let attribute = |name| attribute(name).unwrap_or_default();
    let socket = Some(attribute("SOCKNAME")).filter(|name| !name.is_empty());
    (attribute("DUID"), socket.unwrap_or_else(|| attribute("SOCKET")))
}

/// Adds the readings of a gateway. The first tag is its flags.
fn add_gateway(gateway: &BinrpcValue, tags: BorrowedTags<'_>, readings: &mut Readings) {
    let flags = text(gateway, "FLAGS");
    readings.level("kamailio.dispatcher.list.target", tags, 1.0);
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
