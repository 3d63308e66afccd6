//! `dmq.list_nodes` and `rtpengine.show`: nodes of a DMQ bus, and media proxies.

use binrpc::BinrpcValue;

use super::MethodReply;
use super::fields::{flag, text};
use crate::reading::Readings;

/// Maps `dmq.list_nodes`.
pub(crate) fn dmq_nodes(reply: &MethodReply<'_>, readings: &mut Readings) {
    for node in reply.records {
        let [host, local, port, status] =
            ["host", "local", "port", "status"].map(|name| text(node, name));
        if host.is_empty() {
            continue;
        }
        let (host, port) = (("host", host.as_str()), ("port", port.as_str()));
        let tags = [host, ("local", &local), port, ("status", &status)];
        readings.level("kamailio.dmq.list_nodes.node", &tags, 1.0);
        let is_active = flag(status == "active");
        readings.level("kamailio.dmq.list_nodes.active", &[host, port], is_active);
    }
}

/// Maps `rtpengine.show`.
pub(crate) fn media_proxies(reply: &MethodReply<'_>, readings: &mut Readings) {
    for proxy in reply.records {
        let [index, set, url, weight] =
            ["index", "set", "url", "weight"].map(|name| text(proxy, name));
        if url.is_empty() {
            continue;
        }
        let tags = [("index", index.as_str()), ("set", &set), ("url", &url), ("weight", &weight)];
        readings.level("kamailio.rtpengine.show.enabled", &tags, is_enabled(proxy));
        if let Some(weight) = proxy.member("weight").and_then(BinrpcValue::number) {
            readings.level("kamailio.rtpengine.show.weight", &tags[..3], weight);
        }
    }
}

/// 0 for a media proxy that Kamailio or the operator disabled, which is `1(permanent)` before Kamailio
/// 6.0. Otherwise the field `active`, which exists since Kamailio 6.0.
fn is_enabled(proxy: &BinrpcValue) -> f64 {
    if text(proxy, "disabled").starts_with('1') {
        return 0.0;
    }
    proxy.member("active").and_then(BinrpcValue::number).unwrap_or(1.0)
}
