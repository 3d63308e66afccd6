//! The mapping of any other method that replies with numbers in structs.

use binrpc::{BinrpcText, BinrpcValue, Member};

use super::MethodReply;
use super::fields::text;
use crate::reading::{ReadingTags, ReadingValue, Readings};

/// Fields that identify a struct of a list.
const IDENTIFYING_FIELDS: [&str; 16] = [
    "name", "id", "ID", "key", "url", "uri", "URI", "host", "port", "entry", "index", "set",
    "domain", "Domain", "AoR", "IDX",
];

/// Maps each number to a level, named by the method and by the names of the structs around it. Fields
/// that identify a struct become tags; a struct of a list without such fields gets its place as a tag.
/// Arguments are a tag as well.
pub(crate) fn map(reply: &MethodReply<'_>, readings: &mut Readings) {
    let MethodReply { prefix, arguments, records } = reply;
    let mut tags = ReadingTags::new();
    if !arguments.is_empty() {
        tags.push(("arguments".into(), arguments.clone()));
    }
    let structs = records.iter().filter(|record| matches!(record, BinrpcValue::Struct(_)));
    let is_list = structs.clone().count() > 1;
    for (place, record) in structs.enumerate() {
        let tags = identified(&tags, record, is_list.then_some(place));
        walk(prefix, &tags, record.members(), readings);
    }
    // Only a single number: several would be the same series.
    if let [record] = records {
        add(prefix, &tags, record, readings);
    }
}

fn walk(prefix: &str, tags: &ReadingTags, members: &[Member], readings: &mut Readings) {
    let mut place = 0;
    for member in members {
        let name = member.name.as_ref().map(BinrpcText::to_str);
        let path = match name.as_deref() {
            None | Some("") => prefix.to_owned(),
            Some(name) => format!("{prefix}.{name}"),
        };
        match &member.value {
            BinrpcValue::Struct(inner) => {
                let is_listed = is_element(member, members);
                let tags = identified(tags, &member.value, is_listed.then_some(place));
                place += usize::from(is_listed);
                walk(&path, &tags, inner, readings);
            }
            // Numbers without names would be the same series, and an identifying field is a tag.
            _ if name.is_none_or(|name| IDENTIFYING_FIELDS.contains(&&*name)) => {}
            value => add(&path, tags, value, readings),
        }
    }
}

/// Whether a struct is an element of a list, which may happen to have only one element.
fn is_element(member: &Member, members: &[Member]) -> bool {
    let structs = || members.iter().filter(|other| matches!(other.value, BinrpcValue::Struct(_)));
    member.name.is_none()
        || structs().filter(|other| other.name == member.name).count() > 1
        || (members.len() == 1 && structs().count() == 1)
}

/// The tags with those that identify a struct.
fn identified(tags: &ReadingTags, record: &BinrpcValue, place: Option<usize>) -> ReadingTags {
    let mut tags = tags.clone();
    let before = tags.len();
    for name in IDENTIFYING_FIELDS {
        let value = text(record, name);
        if !value.is_empty() {
            tags.push((name.into(), value));
        }
    }
    if let Some(place) = place
        && tags.len() == before
    {
        tags.push(("place".into(), place.to_string()));
    }
    tags
}

fn add(name: &str, tags: &ReadingTags, value: &BinrpcValue, readings: &mut Readings) {
    let number = match value {
        // Signed, as `kamcmd` prints it: the reply of an unknown method does not say which it is.
        BinrpcValue::Int(int) => Some(f64::from(*int)),
        value => value.number(),
    };
    if let Some(number) = number {
        readings.add(name.to_owned(), tags.clone(), ReadingValue::Level(number));
    }
}
