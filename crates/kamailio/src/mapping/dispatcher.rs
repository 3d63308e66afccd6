//! `dispatcher.list`: gateways, whether they take calls, and their latencies.

use std::collections::{BTreeMap, HashSet};

use binrpc::BinrpcValue;

use super::MethodReply;
use super::fields::{add_total, flag, text};
use crate::reading::{BorrowedTags, Reading, Readings};

/// The start of the names of all readings of this method.
const PREFIX: &str = "kamailio.dispatcher.list.";

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
        let socket = if repeated.contains(&uri) { socket(gateway) } else { String::new() };
        let mut tags = vec![
            ("flags", text(gateway, "FLAGS")),
            ("duid", attribute(gateway, "DUID")),
            ("setid", id.clone()),
            ("socket", socket),
            ("uri", uri),
        ];
        tags.retain(|(key, value)| !value.is_empty() || !["duid", "socket"].contains(key));
        let tags: Vec<_> = tags.iter().map(|(key, value)| (*key, value.as_str())).collect();
        add_gateway(gateway, &tags, readings);
    }
}

/// An attribute of a gateway; empty if it is not set.
fn attribute(gateway: &BinrpcValue, name: &str) -> String {
    gateway.member("ATTRS").map(|attributes| text(attributes, name)).unwrap_or_default()
}

/// The socket from which Kamailio sends to a gateway, which distinguishes gateways of a set that share a
/// URI. Other gateways have no tag for it, so that a change makes no new series.
fn socket(gateway: &BinrpcValue) -> String {
    let name = Some(attribute(gateway, "SOCKNAME")).filter(|name| !name.is_empty());
    name.unwrap_or_else(|| attribute(gateway, "SOCKET"))
}

/// Adds the configured name of its set to each reading of a gateway, as the tag `set_name`.
pub(crate) fn name_sets(readings: &mut [Reading], names: &BTreeMap<String, String>) {
    if names.is_empty() {
        return;
    }
    for reading in readings.iter_mut().filter(|reading| reading.name.starts_with(PREFIX)) {
        let set = reading.tags.iter().find(|(key, _)| key == "setid");
        if let Some(name) = set.and_then(|(_, id)| names.get(id)) {
            reading.tags.push(("set_name".into(), name.clone()));
        }
    }
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
    let weights = [
        ("WEIGHT", "kamailio.dispatcher.list.weight"),
        ("RWEIGHT", "kamailio.dispatcher.list.rweight"),
    ];
    for (field, name) in weights {
        let weight = gateway.member("ATTRS").and_then(|attributes| attributes.member(field));
        if let Some(weight) = weight.and_then(BinrpcValue::number) {
            readings.level(name, tags, weight);
        }
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
