//! The replies of released versions are read and written without a difference, and members that a
//! command can do without may be missing.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use std::collections::BTreeSet;

use api::history::History;
use api::rejected::RejectedList;
use api::reload::ReloadForecast;
use api::status::Status;
use api::tap::{CountsEvent, EndEvent, RejectedEvent, SampleEvent, StartEvent, event};
use api::top::Top;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

macro_rules! recorded {
    ($file:literal) => {
        include_str!(concat!("recorded/0.1.0/", $file)).trim_end()
    };
}

/// Members that later versions write and that the recorded replies lack.
const LATER_MEMBERS: [&str; 4] = ["queued_bytes", "unremoved", "replaced", "timestamped"];

/// Reads and writes, without the members of later versions.
fn written<T: DeserializeOwned + Serialize>(text: &str) -> String {
    let read: T = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    without_later_members(serde_json::to_string(&read).unwrap())
}

/// All of these members are numbers, and 0 if they were missing. The text is not parsed, because the
/// order of its members is part of the comparison.
fn without_later_members(mut text: String) -> String {
    for member in LATER_MEMBERS {
        text = text.replace(&format!("\"{member}\":0,"), "");
    }
    text
}

/// The events of a tap: name and data.
fn events() -> Vec<(&'static str, &'static str)> {
    let events = recorded!("tap.txt").split("\n\n");
    let parts = events.map(|event| event.strip_prefix("event: ").unwrap().split_once("\ndata: "));
    parts.map(Option::unwrap).collect()
}

#[test]
fn recorded_replies_are_serialized_unchanged() {
    for (text, written) in [
        (recorded!("status.json"), written::<Status> as fn(&str) -> String),
        (recorded!("rejected.json"), written::<RejectedList>),
        (recorded!("history.json"), written::<History>),
        (recorded!("reload.json"), written::<ReloadForecast>),
        (recorded!("reload-refused.json"), written::<ReloadForecast>),
        (recorded!("top.json"), written::<Top>),
    ] {
        assert_eq!(written(text), text);
    }
}

#[test]
fn recorded_events_are_serialized_unchanged() {
    let mut names = BTreeSet::new();
    for (name, data) in events() {
        names.insert(name);
        let written = match name {
            event::START => written::<StartEvent<'static>>(data),
            event::SAMPLE => written::<SampleEvent<'static>>(data),
            event::REJECTED => written::<RejectedEvent<'static>>(data),
            event::COUNTS => written::<CountsEvent>(data),
            event::END => written::<EndEvent<'static>>(data),
            other => panic!("{other}"),
        };
        assert_eq!(written, data);
    }
    assert_eq!(names.len(), 5);
}

/// The paths of all members; `[]` stands for the first item of an array, `*` for the first member of
/// a map of names.
fn members(path: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let path = format!("{path}/{key}");
                found.push(path.clone());
                members(&path, value, found);
            }
        }
        Value::Array(items) if !items.is_empty() => members(&format!("{path}/0"), &items[0], found),
        _ => {}
    }
}

/// The members without which a reply cannot be read.
fn required<T: DeserializeOwned>(text: &str) -> Vec<String> {
    let whole: Value = serde_json::from_str(text).unwrap();
    let mut paths = Vec::new();
    members("", &whole, &mut paths);
    let without = |path: &String| {
        let (parent, key) = path.rsplit_once('/').unwrap();
        let mut value = whole.clone();
        value.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
        value
    };
    paths.retain(|path| serde_json::from_value::<T>(without(path)).is_err());
    paths
}

#[test]
fn a_reply_needs_only_the_members_that_every_command_uses() {
    assert_eq!(
        required::<Status>(recorded!("status.json")),
        [
            "/instance",
            "/ledger/aggregated",
            "/ledger/kernel_drops",
            "/ledger/received",
            "/ledger/rejected",
            "/listeners",
            "/listeners/0/aggregated",
            "/listeners/0/kernel_drops",
            "/listeners/0/listener",
            "/listeners/0/received",
            "/listeners/0/refused",
            "/listeners/0/rejected",
            "/process",
            "/process/cpu_s",
            "/process/pid",
            "/reload/last/changes",
            "/series",
            "/series/overflowed",
            "/version",
        ]
    );
    assert_eq!(required::<ReloadForecast>(recorded!("reload.json")), ["/changes"]);
    let rejected = required::<RejectedList>(recorded!("rejected.json"));
    assert!(!rejected.contains(&"/rejected/0/listener".to_owned()) && rejected.len() == 7);
    assert_eq!(
        required::<History>(recorded!("history.json")),
        ["/totals", "/totals/0/delivered", "/totals/0/received", "/totals/0/uptime_s"]
    );
    let top = required::<Top>(recorded!("top.json"));
    assert!(!top.iter().any(|path| path.matches('/').count() == 1), "{top:?}");
    let sample = events().into_iter().find(|(name, _)| *name == event::SAMPLE).unwrap();
    let sample = required::<SampleEvent<'static>>(sample.1);
    assert!(!sample.iter().any(|path| ["/event", "/listener"].contains(&path.as_str())));
}

#[test]
fn members_of_later_versions_are_ignored() {
    fn more(value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.values_mut().for_each(more);
                // A map of names may have any number for a value, but nothing else.
                members.insert("later".to_owned(), Value::from(7));
            }
            Value::Array(items) => items.iter_mut().for_each(more),
            _ => {}
        }
    }
    let mut top: Value = serde_json::from_str(recorded!("top.json")).unwrap();
    more(&mut top);
    let read: Top = serde_json::from_value(top).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), recorded!("top.json"));
    let mut status: Value = serde_json::from_str(recorded!("status.json")).unwrap();
    status["later"] = json!([1]);
    for path in ["/process", "/reload", "/windows", "/ledger", "/listeners/0", "/taps", "/series"] {
        status.pointer_mut(path).unwrap()["later"] = json!({ "a": 1 });
    }
    let read: Status = serde_json::from_value(status).unwrap();
    let written = without_later_members(serde_json::to_string(&read).unwrap());
    assert_eq!(written, recorded!("status.json"));
}
