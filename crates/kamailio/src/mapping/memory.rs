//! Memory: shared by all processes, and private to each.

use binrpc::BinrpcValue;

use super::{field, label};
use crate::reading::Readings;

/// `core.shmmem`, `shm.stats`: its levels, and how much room is left.
pub(super) fn shared(prefix: &str, records: &[BinrpcValue], readings: &mut Readings) {
    super::levels(prefix, records, readings);
    let Some(record) = records.first() else { return };
    if let Some(room) = headroom(record, "real_used", "total") {
        readings.level(format!("{prefix}.headroom"), &[], room);
    }
    if let Some(room) = headroom(record, "max_used", "total") {
        readings.level(format!("{prefix}.headroom_least"), &[], room);
    }
}

/// `pkg.stats`: the same for each process. Its number and what it is tell one from another; its pid
/// would make new series with each start.
pub(super) fn private(records: &[BinrpcValue], readings: &mut Readings) {
    let mut least: Option<f64> = None;
    for record in records {
        let (entry, process) = (label(record, "entry"), label(record, "desc"));
        if entry.is_empty() {
            continue;
        }
        let labels = [("entry", entry.as_str()), ("process", process.as_str())];
        for member in record.members() {
            let of_interest = ["used", "free", "real_used", "total_size", "total_frags"];
            if let Some((name, number)) = field(member)
                && of_interest.contains(&&*name)
            {
                readings.level(format!("kamailio.pkg.stats.{name}"), &labels, number);
            }
        }
        if let Some(room) = headroom(record, "real_used", "total_size") {
            readings.level("kamailio.pkg.stats.headroom", &labels, room);
            least = Some(least.map_or(room, |least| least.min(room)));
        }
    }
    if let Some(least) = least {
        readings.level("kamailio.pkg.stats.headroom_least", &[], least);
    }
}

/// The part of the memory that is not used, from 0 to 1.
fn headroom(record: &BinrpcValue, used: &str, total: &str) -> Option<f64> {
    let used = record.member(used)?.number()?;
    let total = record.member(total)?.number()?;
    (total > 0.0).then(|| (1.0 - used / total).clamp(0.0, 1.0))
}
