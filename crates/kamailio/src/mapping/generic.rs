//! Any other method that answers with numbers in structs.

use std::borrow::Cow;

use binrpc::{BinrpcValue, Member};

use crate::config::Method;
use crate::reading::{Measured, Reading, Readings};

/// Fields that tell one struct of a list from another.
const NAMING: [&str; 16] = [
    "name", "id", "ID", "key", "url", "uri", "URI", "host", "port", "entry", "index", "set",
    "domain", "Domain", "AoR", "IDX",
];

type Tags = Vec<(Cow<'static, str>, String)>;

/// Each number is a level, named by the method and the names of the structs around it. The fields that
/// name a struct are its tags instead; one of several that has none has its place as a tag. Arguments
/// are a tag too.
pub(super) fn map(method: &Method, records: &[BinrpcValue], readings: &mut Readings) {
    let prefix = format!("kamailio.{}", method.name());
    let arguments = method.arguments();
    let tags: Tags =
        if arguments.is_empty() { vec![] } else { vec![("arguments".into(), arguments)] };
    let structs = records.iter().filter(|record| matches!(record, BinrpcValue::Struct(_)));
    let is_list = structs.clone().count() > 1;
    for (place, record) in structs.enumerate() {
        let tags = with_name(&tags, record, is_list.then_some(place));
        walk(&prefix, &tags, record.members(), readings);
    }
    // A number alone; several could not be told from each other.
    if let [record] = records {
        add(&prefix, &tags, record, readings);
    }
}

fn walk(prefix: &str, tags: &Tags, members: &[Member], readings: &mut Readings) {
    let mut place = 0;
    for member in members {
        let name = member.name.as_ref().map(binrpc::BinrpcText::to_str);
        let path = match name.as_deref() {
            None | Some("") => prefix.to_owned(),
            Some(name) => format!("{prefix}.{name}"),
        };
        match &member.value {
            BinrpcValue::Struct(inner) => {
                let is_listed = is_one_of_many(member, members);
                let tags = with_name(tags, &member.value, is_listed.then_some(place));
                place += usize::from(is_listed);
                walk(&path, &tags, inner, readings);
            }
            // Without a name it would be the next one's rival; a name is a tag already.
            _ if name.is_none_or(|name| NAMING.contains(&&*name)) => {}
            value => add(&path, tags, value, readings),
        }
    }
}

/// Whether a struct has others beside it, or could have: a list may happen to hold one.
fn is_one_of_many(member: &Member, members: &[Member]) -> bool {
    let structs = || members.iter().filter(|other| matches!(other.value, BinrpcValue::Struct(_)));
    member.name.is_none()
        || structs().filter(|other| other.name == member.name).count() > 1
        || (members.len() == 1 && structs().count() == 1)
}

fn with_name(tags: &Tags, record: &BinrpcValue, place: Option<usize>) -> Tags {
    let mut tags = tags.clone();
    let before = tags.len();
    for name in NAMING {
        let value = super::label(record, name);
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

fn add(name: &str, tags: &Tags, value: &BinrpcValue, readings: &mut Readings) {
    let number = match value {
        // Nothing says what is unsigned here, so a number is what `kamcmd` prints.
        BinrpcValue::Int(int) => Some(f64::from(*int)),
        value => value.number(),
    };
    if let Some(number) = number {
        let value = Measured::Level(number);
        readings.0.push(Reading { name: name.to_owned(), tags: tags.clone(), value });
    }
}
