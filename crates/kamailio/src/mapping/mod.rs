//! From what a method answers to readings: a table for the methods that are known, a rule for all
//! others. `docs/kamailio.md` lists what comes out.

mod dispatcher;
mod generic;
mod lists;
mod memory;
mod statistics;

use binrpc::BinrpcValue;

use super::config::Method;
use super::reading::{Labels, Measured, Readings};

/// Adds the readings of a reply. Fields that hold no number are left out, and so are records of
/// another shape than the method's: a later Kamailio may answer differently.
pub fn map(method: &Method, records: &[BinrpcValue], readings: &mut Readings) {
    let record = || records.first().map_or(&[][..], BinrpcValue::members).iter();
    match method.name() {
        "tm.stats" => {
            for member in record() {
                transactions(member, readings);
            }
        }
        "sl.stats" => {
            for member in record() {
                stateless(member, readings);
            }
        }
        "core.shmmem" => memory::shared("kamailio.core.shmmem", records, readings),
        "shm.stats" => memory::shared("kamailio.shm.stats", records, readings),
        "pkg.stats" => memory::private(records, readings),
        "core.uptime" => levels("kamailio.core.uptime", records, readings),
        "core.tcp_info" => levels("kamailio.core.tcp_info", records, readings),
        "tls.info" => levels("kamailio.tls.info", records, readings),
        "dlg.stats_active" => levels("kamailio.dlg.stats_active", records, readings),
        "stats.fetch" | "stats.fetchn" => statistics::map(records, readings),
        "dispatcher.list" => dispatcher::map(records, readings),
        "dmq.list_nodes" => lists::nodes(records, readings),
        "rtpengine.show" => lists::media_proxies(records, readings),
        _ => generic::map(method, records, readings),
    }
}

/// Fields of `tm.stats` that only grow; those of the codes do too.
const TRANSACTION_TOTALS: [&str; 8] = [
    "total",
    "total_local",
    "rpl_received",
    "rpl_generated",
    "rpl_sent",
    "created",
    "freed",
    "delayed_free",
];

fn transactions(member: &binrpc::Member, readings: &mut Readings) {
    let Some((name, number)) = field(member) else { return };
    if is_code(&name) {
        total("kamailio.tm.stats.codes", &[("code", &name)], &member.value, readings);
    } else if TRANSACTION_TOTALS.contains(&&*name) {
        total(format!("kamailio.tm.stats.{name}"), &[], &member.value, readings);
    } else {
        readings.level(format!("kamailio.tm.stats.{name}"), &[], number);
    }
}

fn stateless(member: &binrpc::Member, readings: &mut Readings) {
    let Some((name, _)) = field(member) else { return };
    if is_code(&name) {
        total("kamailio.sl.stats.codes", &[("code", &name)], &member.value, readings);
    }
}

/// Whether a field is the count of a code, such as `404`, or of a class, such as `4xx` or `xxx`.
fn is_code(name: &str) -> bool {
    name.len() == 3 && name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'x')
}

/// Each number of a struct as a level.
fn levels(prefix: &str, records: &[BinrpcValue], readings: &mut Readings) {
    for member in records.first().map_or(&[][..], BinrpcValue::members) {
        if let Some((name, number)) = field(member) {
            readings.level(format!("{prefix}.{name}"), &[], number);
        }
    }
}

/// The name of a member and its number, if it has both.
fn field(member: &binrpc::Member) -> Option<(std::borrow::Cow<'_, str>, f64)> {
    let name = member.name.as_ref()?.to_str();
    if name.is_empty() {
        return None;
    }
    Some((name, member.value.number()?))
}

/// Adds a total; one that came as an int is of 32 bits.
fn total(
    name: impl Into<String>,
    labels: Labels<'_>,
    value: &BinrpcValue,
    readings: &mut Readings,
) {
    if let Some(number) = value.number() {
        let wraps = matches!(value, BinrpcValue::Int(_));
        readings.add(name.into(), labels, Measured::Total { total: number, wraps });
    }
}

/// The text of a member, or its number as text; empty where there is none, or where Kamailio says so.
fn label(record: &BinrpcValue, name: &str) -> String {
    match record.member(name) {
        Some(BinrpcValue::Int(int)) => int.to_string(),
        Some(value) => {
            value.text().filter(|text| text != "<null string>").unwrap_or_default().into()
        }
        None => String::new(),
    }
}
