//! `tm.stats` and `sl.stats`: transactions, and replies by code.

use super::MethodReply;
use super::fields::{add_total, named_number};
use crate::reading::Readings;

/// Fields of `tm.stats` that only increase, besides the codes.
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

/// Maps `tm.stats`.
pub(crate) fn transactions(reply: &MethodReply<'_>, readings: &mut Readings) {
    for member in reply.members() {
        let Some((name, number)) = named_number(member) else { continue };
        if is_code(&name) {
            add_total("kamailio.tm.stats.codes", &[("code", &name)], &member.value, readings);
        } else if TRANSACTION_TOTALS.contains(&&*name) {
            add_total(format!("kamailio.tm.stats.{name}"), &[], &member.value, readings);
        } else {
            readings.level(format!("kamailio.tm.stats.{name}"), &[], number);
        }
    }
}

/// Maps `sl.stats`.
pub(crate) fn stateless_replies(reply: &MethodReply<'_>, readings: &mut Readings) {
    for member in reply.members() {
        let name = named_number(member).map(|(name, _)| name);
        if let Some(code) = name.filter(|name| is_code(name)) {
            add_total("kamailio.sl.stats.codes", &[("code", &code)], &member.value, readings);
        }
    }
}

/// Whether a field counts a code, such as `404`, or a class of codes, such as `4xx` or `xxx`.
fn is_code(name: &str) -> bool {
    name.len() == 3 && name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'x')
}
