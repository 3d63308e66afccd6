//! `stats.fetch`: statistics of all modules, and those that the script counts.

use binrpc::{BinrpcValue, Member};

use super::{field, total};
use crate::reading::Readings;

/// Groups of Kamailio itself, whose statistics only grow but for [`is_level`].
const GROUPS: [&str; 10] =
    ["core", "dialog", "dns", "pike", "registrar", "shmem", "sl", "tcp", "tmx", "usrloc"];
/// Ends of the names of what a script counts, where it only grows.
const SUFFIXES: [&str; 3] = ["_total", "_seconds", "_bytes"];
/// What `stats.fetchn` makes of a statistic below zero.
const OVERFLOWN: f64 = -9e15;

/// Adds each statistic under its own name.
pub(super) fn map(records: &[BinrpcValue], readings: &mut Readings) {
    for member in records.iter().flat_map(BinrpcValue::members) {
        statistic(member, readings);
    }
}

fn statistic(member: &Member, readings: &mut Readings) {
    let Some((name, number)) = field(member) else { return };
    if number <= OVERFLOWN {
        return;
    }
    let (group, rest) = name.split_once('.').unwrap_or(("", &name));
    let metric = format!("kamailio.{name}");
    let only_grows = if GROUPS.contains(&group) {
        !is_level(group, rest)
    } else {
        // A group of a script, or of a module that we do not know.
        SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
    };
    if only_grows {
        total(metric, &[], &member.value, readings);
    } else {
        readings.level(metric, &[], number);
    }
}

/// Nothing in a reply tells levels from totals.
fn is_level(group: &str, name: &str) -> bool {
    match group {
        "shmem" | "usrloc" => true,
        "tcp" => name.starts_with("current_"),
        "tmx" => ["active_transactions", "inuse_transactions"].contains(&name),
        "dialog" => ["active_dialogs", "early_dialogs"].contains(&name),
        // Settings of the module.
        "registrar" => !["accepted_regs", "rejected_regs"].contains(&name),
        _ => false,
    }
}
