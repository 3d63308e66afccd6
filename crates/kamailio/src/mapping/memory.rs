//! Memory: shared by all processes, and private to each.

use binrpc::BinrpcValue;

use super::MethodReply;
use super::fields::{levels, named_number, text};
use crate::reading::{BorrowedTags, Readings};

/// The fields of `pkg.stats` that become readings.
const PRIVATE_FIELDS: [&str; 5] = ["used", "free", "real_used", "total_size", "total_frags"];

/// Maps `core.shmmem` and `shm.stats`: their fields, and the headroom now and at its lowest.
pub(crate) fn shared(reply: &MethodReply<'_>, readings: &mut Readings) {
    levels(reply, readings);
    let Some(record) = reply.records.first() else { return };
    if let Some(room) = headroom(record, "real_used", "total") {
        readings.level(format!("{}.headroom", reply.prefix), &[], room);
    }
    if let Some(room) = headroom(record, "max_used", "total") {
        readings.level(format!("{}.headroom_least", reply.prefix), &[], room);
    }
}

/// Maps `pkg.stats`: the memory of each process, and the headroom of the process that has the least.
/// Number and description identify a process; its pid would make new series with each start.
pub(crate) fn private(reply: &MethodReply<'_>, readings: &mut Readings) {
    let mut least: Option<f64> = None;
    for record in reply.records {
        let (entry, process) = (text(record, "entry"), text(record, "desc"));
        if entry.is_empty() {
            continue;
        }
        let tags = [("entry", entry.as_str()), ("process", process.as_str())];
        add_fields(record, &tags, readings);
        if let Some(room) = headroom(record, "real_used", "total_size") {
            readings.level("kamailio.pkg.stats.headroom", &tags, room);
            least = Some(least.map_or(room, |least| least.min(room)));
        }
    }
    if let Some(least) = least {
        readings.level("kamailio.pkg.stats.headroom_least", &[], least);
    }
}

fn add_fields(record: &BinrpcValue, tags: BorrowedTags<'_>, readings: &mut Readings) {
    let numbers = record.members().iter().filter_map(named_number);
    for (name, number) in numbers.filter(|(name, _)| PRIVATE_FIELDS.contains(&&**name)) {
        readings.level(format!("kamailio.pkg.stats.{name}"), tags, number);
    }
}

/// The unused part of the memory, from 0 to 1.
fn headroom(record: &BinrpcValue, used: &str, total: &str) -> Option<f64> {
    let used = record.member(used)?.number()?;
    let total = record.member(total)?.number()?;
    (total > 0.0).then(|| (1.0 - used / total).clamp(0.0, 1.0))
}
