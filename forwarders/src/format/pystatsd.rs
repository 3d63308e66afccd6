//! The flat JSON object that pystatsd wrote to Kafka: an envelope and, on the same level, the tags.
//!
//! ```json
//! {"apikey":"","tenant_id":"t","name":"user.logins","value":2,"@version":"1",
//!  "@timestamp":"2017-03-21T16:34:34.000Z","stage":"login"}
//! ```
//!
//! Tags share one level with the envelope, and a sender may choose any tag name. A tag that is
//! named like a member of the envelope is therefore written as `tag.<key>`, and a tag that already
//! has that form gets one more `tag.`. No two tags collide, no tag replaces a member of the
//! envelope, and a reader restores each name by removing one `tag.`.
//!
//! A tag has the JSON type that it had in the first message of its series, and the agent's tags,
//! `apikey` and `tenant_id` have the type that they have in the configuration: readers may map
//! members by type. `value` is always a number, even if the message had a number in a string.

use std::borrow::Cow;
use std::fmt;

use basics::scalar_text::ScalarText;
use basics::time::write_rfc3339;
use model::{Point, Series, Snapshot, TimerValue, Value, is_json_literal};

use super::json::{self, JsonMembers};
use super::number;

/// Members of the envelope, which are not allowed as names of tags.
const ENVELOPE: [&str; 7] =
    ["apikey", "tenant_id", "name", "value", "@version", "@timestamp", "stats"];
/// A further member of the envelope with [`Envelope::with_type`].
const TYPE: &str = "type";

/// Prefix of tags whose names are reserved.
const TAG_PREFIX: &str = "tag.";

/// The members that are the same in every object, encoded once.
pub struct Envelope {
    head: Vec<u8>,
    has_type: bool,
}

/// The object with a mask in place of its `apikey`; any other payload as it is.
#[must_use]
pub fn without_apikey(object: &[u8]) -> Cow<'_, [u8]> {
    const KEY: &[u8] = b"{\"apikey\":";
    // Never within a JSON text, in which quotes have a backslash.
    const NEXT: &[u8] = b",\"tenant_id\":";
    let end = || object.windows(NEXT.len()).position(|window| window == NEXT);
    match end().filter(|_| object.starts_with(KEY)) {
        Some(end) => [KEY, b"\"***\"", &object[end..]].concat().into(),
        None => Cow::Borrowed(object),
    }
}

impl Envelope {
    /// Creates an envelope with the credentials that the topic's reader expects; both may be empty.
    #[must_use]
    pub fn new(apikey: &ScalarText, tenant_id: &ScalarText) -> Self {
        let mut head = b"{\"apikey\":".to_vec();
        write_scalar(&mut head, apikey);
        head.extend_from_slice(b",\"tenant_id\":");
        write_scalar(&mut head, tenant_id);
        head.extend_from_slice(b",\"name\":");
        Self { head, has_type: false }
    }

    /// Sets whether objects contain the metric type as `type`.
    #[must_use]
    pub fn with_type(self, has_type: bool) -> Self {
        Self { has_type, ..self }
    }

    /// Appends a point: `value` is its headline, `@timestamp` the window's end. A timer has its
    /// other statistics in `stats`.
    pub fn write_point(&self, out: &mut Vec<u8>, snapshot: &Snapshot, point: &Point) {
        self.write_head(out, snapshot, &point.series, point.value.headline());
        if let Value::Timer(timer) = &point.value {
            write_stats(out, snapshot, timer);
        }
        self.write_tags(out, &point.series);
    }

    /// Appends a point of a counter or a trace with its running total as `value`.
    pub fn write_total(&self, out: &mut Vec<u8>, snapshot: &Snapshot, series: &Series, total: f64) {
        self.write_head(out, snapshot, series, total);
        self.write_tags(out, series);
    }

    fn write_head(&self, out: &mut Vec<u8>, snapshot: &Snapshot, series: &Series, value: f64) {
        out.extend_from_slice(&self.head);
        json::write_string(out, series.name());
        out.extend_from_slice(b",\"value\":");
        number::write(out, value);
        out.extend_from_slice(b",\"@version\":\"1\",\"@timestamp\":\"");
        write_rfc3339(out, snapshot.window.end_ms);
        out.push(b'"');
        if self.has_type {
            out.extend_from_slice(b",\"type\":\"");
            out.extend_from_slice(series.kind().as_str().as_bytes());
            out.push(b'"');
        }
    }

    fn write_tags(&self, out: &mut Vec<u8>, series: &Series) {
        for (index, (key, value)) in series.tags().enumerate() {
            write_tag_key(out, key, self.has_type);
            write_value(out, value, series.is_literal(index));
        }
        out.push(b'}');
    }
}

impl fmt::Debug for Envelope {
    /// Omits the head, which contains the API key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Envelope(***)")
    }
}

/// Appends `,"stats":{…}`, without the mean, which is the point's `value`.
fn write_stats(out: &mut Vec<u8>, snapshot: &Snapshot, timer: &TimerValue) {
    let summary = &timer.summary;
    out.extend_from_slice(b",\"stats\":{");
    let mut members = JsonMembers::default();
    let mut member = |key: &str, value: f64| {
        members.key(out, key);
        number::write(out, value);
    };
    member("count", summary.count);
    if timer.is_idle() {
        return out.push(b'}');
    }
    member("sum", summary.sum);
    member("min", summary.min);
    member("max", summary.max);
    member("stddev", summary.stddev);
    for (percentile, value) in snapshot.percentiles.iter().zip(&summary.percentiles) {
        member(percentile.label(), *value);
    }
    out.push(b'}');
}

fn write_scalar(out: &mut Vec<u8>, scalar: &ScalarText) {
    write_value(out, scalar, scalar.is_literal() && is_json_literal(scalar));
}

/// Appends a value, without quotes if it is a literal. Its text stays, so that a reader gets each
/// digit of a number.
fn write_value(out: &mut Vec<u8>, value: &str, is_literal: bool) {
    if is_literal {
        out.extend_from_slice(value.as_bytes());
    } else {
        json::write_string(out, value);
    }
}

/// Appends the key of a tag.
fn write_tag_key(out: &mut Vec<u8>, key: &str, has_type: bool) {
    out.push(b',');
    if is_reserved(key, has_type) {
        json::write_string(out, &format!("{TAG_PREFIX}{key}"));
    } else {
        json::write_string(out, key);
    }
    out.push(b':');
}

/// Returns whether a key is a member of the envelope, or a member with `tag.` prefixes.
fn is_reserved(key: &str, has_type: bool) -> bool {
    // With any number of prefixes, so that `tag.name` as a tag differs from the renamed `name`. Not
    // `trim_start_matches`, which prepares a search for each key.
    let mut member = key;
    while let Some(rest) = member.strip_prefix(TAG_PREFIX) {
        member = rest;
    }
    ENVELOPE.contains(&member) || has_type && member == TYPE
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Formatter;
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde::Deserialize;
    use serde::de::{Deserializer, MapAccess, Visitor};
    use serde_json::Value as Json;

    use super::*;
    use model::testing::{point, snapshot_of};
    use model::{MetricKind, Sum, Timer};

    fn written(point: Point) -> String {
        let snapshot = snapshot_of(vec![point]);
        let mut out = Vec::new();
        Envelope::new(&"key-1".into(), &"tenant \"1\"".into()).write_point(
            &mut out,
            &snapshot,
            &snapshot.points[0],
        );
        String::from_utf8(out).unwrap()
    }

    fn counter(tags: &[(&str, &str)]) -> String {
        written(point(MetricKind::Counter, "user.logins", tags, Value::Counter(Sum::of(43.0))))
    }

    /// The members in the order in which they are written, including repeated ones.
    struct Flat(Vec<(String, Json)>);

    impl<'de> Deserialize<'de> for Flat {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct FlatVisitor;
            impl<'de> Visitor<'de> for FlatVisitor {
                type Value = Flat;
                fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
                    formatter.write_str("an object")
                }
                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Flat, A::Error> {
                    let mut members = Vec::new();
                    while let Some(member) = map.next_entry()? {
                        members.push(member);
                    }
                    Ok(Flat(members))
                }
            }
            deserializer.deserialize_map(FlatVisitor)
        }
    }

    /// Restores the tags, as a reader of the topic does.
    fn tags_of(object: &str) -> BTreeMap<String, String> {
        let Flat(members) = serde_json::from_str(object).unwrap();
        let tag = |(key, value): (String, Json)| {
            let called = match key.strip_prefix(TAG_PREFIX) {
                Some(rest) if is_reserved(rest, false) => rest.to_owned(),
                _ => key,
            };
            (called, value.as_str().unwrap().to_owned())
        };
        let tags = members.into_iter().filter(|(key, _)| !ENVELOPE.contains(&key.as_str()));
        tags.map(tag).collect()
    }

    #[test]
    fn a_shown_object_has_a_mask_for_the_apikey() {
        for apikey in ["7444", "a \"quoted\" key,", ""] {
            let head = Envelope::new(&apikey.into(), &"t".into()).head;
            let shown = String::from_utf8(without_apikey(&head).into_owned()).unwrap();
            assert!(shown.starts_with(r#"{"apikey":"***","tenant_id":"t""#), "{shown}");
        }
        assert_eq!(*without_apikey(b"a b=1"), *b"a b=1");
    }

    #[test]
    fn a_counter_is_a_flat_object_of_envelope_and_tags() {
        assert_eq!(
            counter(&[("stage", "login"), ("user", "Zoë\n")]),
            r#"{"apikey":"key-1","tenant_id":"tenant \"1\"","name":"user.logins","value":43,"#
                .to_owned()
                + r#""@version":"1","@timestamp":"2017-03-21T16:34:34.000Z","#
                + r#""stage":"login","user":"Zoë\n"}"#
        );
    }

    #[test]
    fn a_timer_has_its_mean_as_value_and_separate_statistics() {
        let mut timer = Timer::default();
        [1.0, 2.0, 4.5].iter().for_each(|value| timer.record(*value, 1.0, 1000));
        let value = Value::timer(timer, &snapshot_of(vec![]).percentiles);
        let Value::Timer(sealed) = &value else { unreachable!("a timer was made") };
        let stddev = sealed.summary.stddev;
        let object = written(point(MetricKind::Timer, "t", &[("stats", "x")], value));
        assert_eq!(
            object,
            r#"{"apikey":"key-1","tenant_id":"tenant \"1\"","name":"t","value":2.5,"#.to_owned()
                + r#""@version":"1","@timestamp":"2017-03-21T16:34:34.000Z","#
                + r#""stats":{"count":3,"sum":7.5,"min":1,"max":4.5,"#
                + &format!(r#""stddev":{stddev},"p50":2,"p90":4.5,"p95":4.5,"p99":4.5}},"#)
                + r#""tag.stats":"x"}"#
        );
    }

    #[test]
    fn a_tag_never_overwrites_the_envelope() {
        let object =
            counter(&[("name", "evil"), ("tag.name", "2"), ("tag.x", "3"), ("value", "9")]);
        let members: Json = serde_json::from_str(&object).unwrap();
        assert_eq!((&members["name"], &members["value"]), (&"user.logins".into(), &43.into()));
        assert_eq!(members["tag.name"], "evil");
        assert_eq!(members["tag.tag.name"], "2");
        assert_eq!(members["tag.x"], "3");
        assert_eq!(members["tag.value"], "9");
    }

    #[test]
    fn literals_are_written_without_quotes_and_as_they_were_sent() {
        let tags = [("name", "1"), ("ok", "true"), ("port", "5060"), ("x", "1.50e+3"), ("y", "7")];
        let series = Series::with_literals(MetricKind::Trace, "m", &tags, |index| index < 4);
        let value = Value::Trace(Sum::of(1.0));
        let object = written(Point { series: Arc::new(series), value });
        let tags = r#","tag.name":1,"ok":true,"port":5060,"x":1.50e+3,"y":"7"}"#;
        assert!(object.ends_with(tags), "{object}");
    }

    #[test]
    fn the_type_is_a_member_on_request_and_then_no_tag_has_its_name() {
        let tags = [("tag.type", "2"), ("type", "x")];
        let trace = || point(MetricKind::Trace, "m", &tags, Value::Trace(Sum::of(1.0)));
        assert!(written(trace()).ends_with(r#"000Z","tag.type":"2","type":"x"}"#));
        let snapshot = snapshot_of(vec![trace()]);
        let envelope = Envelope::new(&"".into(), &"".into()).with_type(true);
        let mut out = Vec::new();
        envelope.write_point(&mut out, &snapshot, &snapshot.points[0]);
        let object = String::from_utf8(out).unwrap();
        let end = r#"000Z","type":"trace","tag.tag.type":"2","tag.type":"x"}"#;
        assert!(object.ends_with(end), "{object}");
    }

    #[test]
    fn a_total_replaces_the_value() {
        let snapshot = snapshot_of(vec![]);
        let series = Series::new(MetricKind::Trace, "m", &[("e", "x")]);
        let mut out = Vec::new();
        let envelope = Envelope::new(&"".into(), &"".into());
        envelope.write_total(&mut out, &snapshot, &series, 43.0);
        let object = String::from_utf8(out).unwrap();
        assert!(object.contains(r#""name":"m","value":43,"#), "{object}");
        assert!(object.ends_with(r#","e":"x"}"#), "{object}");
    }

    #[test]
    fn credentials_have_the_type_of_the_configuration() {
        let head = |apikey: ScalarText, tenant_id: ScalarText| {
            String::from_utf8(Envelope::new(&apikey, &tenant_id).head).unwrap()
        };
        let digits = "74440000000000000000000000000000";
        assert_eq!(
            head(ScalarText::literal(digits), "7".into()),
            format!(r#"{{"apikey":{digits},"tenant_id":"7","name":"#)
        );
        // A number for YAML, but not for JSON.
        assert_eq!(
            head(ScalarText::literal("0123"), ScalarText::literal("1.5")),
            r#"{"apikey":"0123","tenant_id":1.5,"name":"#
        );
    }

    #[test]
    fn the_api_key_is_not_in_the_debug_output() {
        assert_eq!(format!("{:?}", Envelope::new(&"key-1".into(), &"t".into())), "Envelope(***)");
    }

    /// Keys that resemble members of the envelope, and arbitrary ones.
    fn tag_key() -> impl Strategy<Value = String> {
        let near = (0..4_usize, prop::sample::select(&ENVELOPE[..]))
            .prop_map(|(times, key)| TAG_PREFIX.repeat(times) + key);
        prop_oneof![near, "(tag\\.){0,2}[a-z@._]{0,6}", any::<String>()]
    }

    proptest! {
        #[test]
        fn a_record_is_valid_json_whatever_is_called_a_literal(
            values in prop::collection::vec("[-+.eE0-9]{0,8}|true|false|[a-z\"]{0,3}", 0..12),
        ) {
            let tags: Vec<_> =
                (0..).zip(&values).map(|(index, value): (usize, _)| (format!("k{index:02}"), value)).collect();
            let series = Series::with_literals(MetricKind::Trace, "m", &tags, |_| true);
            let object = written(Point { series: Arc::new(series), value: Value::Trace(Sum::of(1.0)) });
            let record: Json = serde_json::from_str(&object).unwrap();
            for (key, value) in tags {
                // A value has no quotes exactly if serde_json reads it as a number or a boolean.
                let literal = serde_json::from_str(value).ok();
                let literal = literal.filter(|json: &Json| json.is_number() || json.is_boolean());
                prop_assert_eq!(&record[&key], &literal.unwrap_or_else(|| value.as_str().into()));
            }
        }

        #[test]
        fn no_member_occurs_twice_and_every_tag_reads_back(
            tags in prop::collection::btree_map(tag_key(), any::<String>(), 0..12),
        ) {
            let sorted: Vec<(&str, &str)> =
                tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let object = counter(&sorted);
            let Flat(members) = serde_json::from_str(&object).unwrap();
            let mut keys: Vec<&String> = members.iter().map(|(key, _)| key).collect();
            keys.sort_unstable();
            keys.dedup();
            prop_assert_eq!(keys.len(), members.len(), "a key occurs twice: {}", object);
            prop_assert_eq!(tags_of(&object), tags);
        }
    }
}
