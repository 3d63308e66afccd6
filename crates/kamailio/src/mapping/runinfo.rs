//! `core.runinfo`: the time since the start, with the version of Kamailio.

use binrpc::BinrpcValue;

use super::MethodReply;
use super::fields::text;
use crate::reading::Readings;

/// The fields that become tags.
const TAGS: [&str; 3] = ["compiled", "compiler", "version"];

/// Maps the reply.
pub(crate) fn map(reply: &MethodReply<'_>, readings: &mut Readings) {
    let Some(record) = reply.records.first() else { return };
    let values = TAGS.map(|name| (name, text(record, name)));
    let tags: Vec<_> = values
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    if let Some(uptime) = record.member("uptime_secs").and_then(BinrpcValue::number) {
        readings.level("kamailio.core.runinfo.uptime", &tags, uptime);
    }
}
