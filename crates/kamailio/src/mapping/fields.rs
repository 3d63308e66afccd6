//! Fields of records: their names, numbers and texts.

use std::borrow::Cow;

use binrpc::{BinrpcValue, Member};

use super::MethodReply;
use crate::reading::{BorrowedTags, Readings};

/// Adds a level, the value of a gauge, for each number of a struct.
pub(crate) fn levels(reply: &MethodReply<'_>, readings: &mut Readings) {
    for (name, number) in reply.members().iter().filter_map(named_number) {
        readings.level(format!("{}.{name}", reply.prefix), &[], number);
    }
}

/// The name of a member and its number, if it has both.
pub(super) fn named_number(member: &Member) -> Option<(Cow<'_, str>, f64)> {
    let name = member.name.as_ref()?.to_str();
    if name.is_empty() {
        return None;
    }
    Some((name, member.value.number()?))
}

/// Adds a total. Kamailio keeps a total in 32 bits if it sends it as an int.
pub(super) fn add_total(
    name: impl Into<String>,
    tags: BorrowedTags<'_>,
    value: &BinrpcValue,
    readings: &mut Readings,
) {
    if let Some(total) = value.number() {
        readings.total(name, tags, total, matches!(value, BinrpcValue::Int(_)));
    }
}

/// The text of a member, or its number as text; empty if there is none, or if it is Kamailio's
/// `<null string>`.
pub(super) fn text(record: &BinrpcValue, name: &str) -> String {
    match record.member(name) {
        Some(BinrpcValue::Int(int)) => int.to_string(),
        Some(value) => {
            value.text().filter(|text| text != "<null string>").unwrap_or_default().into()
        }
        None => String::new(),
    }
}

/// A condition as a number: 1 or 0.
pub(super) fn flag(is_true: bool) -> f64 {
    f64::from(u8::from(is_true))
}
