//! Lists of peers: nodes of a DMQ bus, media proxies.

use binrpc::BinrpcValue;

use super::label;
use crate::reading::Readings;

/// `dmq.list_nodes`.
pub(super) fn nodes(records: &[BinrpcValue], readings: &mut Readings) {
    for node in records {
        let [host, port, status, local] =
            ["host", "port", "status", "local"].map(|name| label(node, name));
        if host.is_empty() {
            continue;
        }
        let labels = [
            ("host", host.as_str()),
            ("local", local.as_str()),
            ("port", port.as_str()),
            ("status", status.as_str()),
        ];
        readings.level("kamailio.dmq.list_nodes.node", &labels, 1.0);
        let is_active = f64::from(u8::from(status == "active"));
        readings.level("kamailio.dmq.list_nodes.active", &[labels[0], labels[2]], is_active);
    }
}

/// `rtpengine.show`.
pub(super) fn media_proxies(records: &[BinrpcValue], readings: &mut Readings) {
    for proxy in records {
        let [url, set, index, weight] =
            ["url", "set", "index", "weight"].map(|name| label(proxy, name));
        if url.is_empty() {
            continue;
        }
        let labels = [("index", index.as_str()), ("set", set.as_str()), ("url", url.as_str())];
        let with_weight = [labels[0], labels[1], labels[2], ("weight", weight.as_str())];
        readings.level("kamailio.rtpengine.show.enabled", &with_weight, is_enabled(proxy));
        if let Some(weight) = proxy.member("weight").and_then(BinrpcValue::number) {
            readings.level("kamailio.rtpengine.show.weight", &labels, weight);
        }
    }
}

/// 0 where it is switched off, by hand (`1(permanent)` before Kamailio 6.0) or not; else what
/// `active` says, which there is from 6.0 on.
fn is_enabled(proxy: &BinrpcValue) -> f64 {
    if label(proxy, "disabled").starts_with('1') {
        return 0.0;
    }
    proxy.member("active").and_then(BinrpcValue::number).unwrap_or(1.0)
}
