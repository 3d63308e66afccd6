//! `stats.fetch` and `stats.fetchn`: statistics of all modules, including those of scripts.

use binrpc::{BinrpcValue, Member};

use super::MethodReply;
use super::fields::{add_total, named_number};
use crate::reading::Readings;

/// Groups of Kamailio's own modules, whose statistics only increase except for [`is_level`].
const GROUPS: [&str; 10] =
    ["core", "dialog", "dns", "pike", "registrar", "shmem", "sl", "tcp", "tmx", "usrloc"];
/// Suffixes of a statistic of any other group that only increases.
const COUNTER_SUFFIXES: [&str; 3] = ["_total", "_seconds", "_bytes"];
/// `stats.fetchn` sends a statistic below zero as a number below this one, without its value.
const UNDERFLOW: f64 = -9e15;

/// Maps each statistic to a reading with the same name, `kamailio.GROUP.NAME`.
pub(crate) fn map(reply: &MethodReply<'_>, readings: &mut Readings) {
    for member in reply.records.iter().flat_map(BinrpcValue::members) {
        add(member, readings);
    }
}

fn add(member: &Member, readings: &mut Readings) {
    let Some((name, number)) = named_number(member) else { return };
    if number <= UNDERFLOW {
        return;
    }
    let (group, rest) = name.split_once('.').unwrap_or(("", &name));
    let metric = format!("kamailio.{name}");
    let is_counter =
        if GROUPS.contains(&group) { !is_level(group, rest) } else { has_counter_suffix(&name) };
    if is_counter {
        add_total(metric, &[], &member.value, readings);
    } else {
        readings.level(metric, &[], number);
    }
}

/// Whether a statistic of one of [`GROUPS`] is a level. A reply does not distinguish levels from totals.
fn is_level(group: &str, name: &str) -> bool {
    match group {
        "shmem" | "usrloc" => true,
        "tcp" => name.starts_with("current_"),
        "tmx" => ["active_transactions", "inuse_transactions"].contains(&name),
        "dialog" => ["active_dialogs", "early_dialogs"].contains(&name),
        // All others are settings of the module.
        "registrar" => !["accepted_regs", "rejected_regs"].contains(&name),
        _ => false,
    }
}

/// Whether the name of a statistic of a script, or of an unknown module, says that it only increases.
pub(crate) fn has_counter_suffix(name: &str) -> bool {
    COUNTER_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// The group and name of a statistic in the name of a reading, `kamailio.GROUP.NAME`. Readings of most
/// other methods have more words; the metrics about polls have as many.
pub(crate) fn group_and_name(reading: &str) -> Option<(&str, &str)> {
    let (group, name) = reading.strip_prefix("kamailio.")?.split_once('.')?;
    let is_statistic = !group.is_empty() && !name.is_empty() && !name.contains('.');
    is_statistic.then_some((group, name))
}

/// Whether a reading is a statistic. The name of a statistic that a script counts may contain dots.
pub(crate) fn is_statistic(reading: &str) -> bool {
    group_and_name(reading).is_some() || reading.starts_with("kamailio.script.")
}
