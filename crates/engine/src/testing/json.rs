//! A reference decoder for JSON messages, based on `serde_json`.

use std::collections::BTreeMap;

use model::MetricKind;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{assert_invariants, assert_same_sample, trim};
use crate::protocol::{
    LineFacts, MessageLimits, RejectReason, Sample, SampleValue, TagValue, Tags, json,
};

/// Maximum nesting of a message, including its own level.
const LEVELS_MAX: usize = 64;
/// Low limits, so that short inputs reach them, but more tags than fit without an allocation.
const LIMITS: MessageLimits = MessageLimits { max_tags: 12, max_values: 12 };

/// The expected sample or rejection.
pub type ExpectedMessage<'a> = Result<Sample<'a>, ExpectedRejection>;

/// The kind of an expected rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedRejection {
    /// The message is not JSON.
    Syntax,
    /// The message is JSON, but not a valid message.
    Content,
}

/// Compares the decoder with the reference.
pub fn check(input: &[u8]) {
    compare(input, &LIMITS);
}

/// Compares the decoder with the reference, message by message.
pub fn compare(datagram: &[u8], limits: &MessageLimits) {
    let mut ours = Vec::new();
    json::decode(datagram, limits, &mut |message| ours.push(message));
    let expected = decode(datagram, limits);
    assert_eq!(ours.len(), expected.len(), "messages: {ours:#?}, not {expected:#?}");
    for (ours, expected) in ours.iter().zip(&expected) {
        match (ours, expected) {
            (Ok(ours), Ok(expected)) => {
                assert_invariants(ours);
                assert_same_sample(ours, expected);
            }
            (Err(rejection), Err(expected)) => {
                assert!(rejection.offset <= datagram.len(), "{rejection:?}");
                assert!(
                    is_acceptable(rejection.reason, *expected),
                    "{rejection:?}, not {expected:?}"
                );
            }
            _ => panic!("{ours:#?}, not {expected:#?}"),
        }
    }
}

/// Whether the reason is acceptable. The decoder reports the first error, which may come before the
/// syntax error.
fn is_acceptable(reason: RejectReason, expected: ExpectedRejection) -> bool {
    use RejectReason::{BadJson, BadTag, NestedTag, TooDeep, TooManyTags};
    match expected {
        ExpectedRejection::Syntax => {
            matches!(reason, BadJson | BadTag | NestedTag | TooDeep | TooManyTags)
        }
        ExpectedRejection::Content => reason != BadJson,
    }
}

/// Decodes a datagram with the reference.
#[must_use]
pub fn decode<'a>(datagram: &'a [u8], limits: &MessageLimits) -> Vec<ExpectedMessage<'a>> {
    if trim(datagram).starts_with(b"[") {
        return decode_array(datagram, limits);
    }
    let lines = datagram.split(|byte| *byte == b'\n').map(trim);
    lines.filter(|line| !line.is_empty()).map(|line| decode_line(line, limits)).collect()
}

fn decode_array<'a>(datagram: &'a [u8], limits: &MessageLimits) -> Vec<ExpectedMessage<'a>> {
    match elements(trim(datagram)) {
        Some(elements) => elements.iter().map(|element| decode_line(element, limits)).collect(),
        None => vec![Err(ExpectedRejection::Syntax)],
    }
}

/// The elements of an array; `None` if brackets, quotes and commas do not fit together.
fn elements(array: &[u8]) -> Option<Vec<&[u8]>> {
    let inside = array.strip_prefix(b"[")?;
    let mut pieces = vec![Vec::new()];
    let mut closings = vec![b']'];
    let mut at = 0;
    while let Some(closing) = closings.last() {
        let byte = *inside.get(at)?;
        let length = if byte == b'"' { string_length(&inside[at..])? } else { 1 };
        match byte {
            b'{' => closings.push(b'}'),
            b'[' => closings.push(b']'),
            b'}' | b']' => {
                // Too deep to be a message: the kind of its brackets does not matter.
                if byte != *closing && closings.len() <= LEVELS_MAX + 1 {
                    return None;
                }
                closings.pop();
            }
            _ => {}
        }
        let is_separator = byte == b',' && closings.len() == 1;
        if is_separator {
            pieces.push(Vec::new());
        } else if !closings.is_empty() {
            pieces.last_mut()?.push(at..at + length);
        }
        at += length;
    }
    let texts = pieces.iter().map(|piece| match (piece.first(), piece.last()) {
        (Some(first), Some(last)) => trim(&inside[first.start..last.end]),
        _ => b"",
    });
    let texts: Vec<&[u8]> = texts.collect();
    let is_empty = texts == [b""];
    let are_whole = texts.iter().all(|text| is_one_value(text));
    (inside.len() == at && (is_empty || are_whole)).then(|| if is_empty { vec![] } else { texts })
}

/// The length of a string with its quotes.
fn string_length(text: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    let end = text.iter().skip(1).position(|byte| {
        let is_end = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        is_end
    });
    end.map(|end| end + 2)
}

/// Whether a text between two commas is one value: a string, something in brackets, or a word.
fn is_one_value(text: &[u8]) -> bool {
    match text.first() {
        None => false,
        Some(b'"') => string_length(text) == Some(text.len()),
        Some(b'{' | b'[') => {
            let (mut depth, mut at) = (0, 0);
            while at < text.len() {
                match text[at] {
                    b'"' => at += string_length(&text[at..]).unwrap_or(1) - 1,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    break;
                }
            }
            at == text.len()
        }
        Some(_) => !text.iter().any(|byte| b" \t\r\n{}[]\"".contains(byte)),
    }
}

/// The members of an object in order, each value as text.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// The nesting of a value that has `around` levels around it. Fails if the value is not JSON:
/// `serde_json` accepts half a surrogate pair in skipped values, so each string is parsed. Values
/// that are too deep are not parsed.
fn levels(value: &str, around: usize) -> Result<usize, ExpectedRejection> {
    let syntax = |_| ExpectedRejection::Syntax;
    let below = |value: &RawValue| levels(value.get(), around + 1);
    let mut deepest = around;
    match value.as_bytes().first() {
        Some(b'{' | b'[') if around == LEVELS_MAX => deepest += 1,
        Some(b'{') => {
            deepest += 1;
            for (_, value) in serde_json::from_str::<Members<'_>>(value).map_err(syntax)?.0 {
                deepest = deepest.max(below(value)?);
            }
        }
        Some(b'[') => {
            deepest += 1;
            for value in serde_json::from_str::<Vec<&RawValue>>(value).map_err(syntax)? {
                deepest = deepest.max(below(value)?);
            }
        }
        Some(b'"') => drop(serde_json::from_str::<String>(value).map_err(syntax)?),
        _ => drop(serde_json::from_str::<&RawValue>(value).map_err(syntax)?),
    }
    Ok(deepest)
}

/// Decodes one message without surrounding blanks.
///
/// # Errors
/// If the message must be rejected.
pub fn decode_line<'a>(line: &'a [u8], limits: &MessageLimits) -> ExpectedMessage<'a> {
    let line = std::str::from_utf8(line).map_err(|_| ExpectedRejection::Syntax)?;
    if serde_json::from_str::<&RawValue>(line).is_err() {
        return Err(ExpectedRejection::Syntax);
    }
    if levels(line, 0)? > LEVELS_MAX {
        return Err(ExpectedRejection::Content);
    }
    message(line, limits).ok_or(ExpectedRejection::Content)
}

/// Interprets a JSON value as a message; `None` if it is not a valid one.
fn message<'a>(value: &'a str, limits: &MessageLimits) -> Option<Sample<'a>> {
    let Members(members) = serde_json::from_str(value).ok()?;
    let mut reserved = BTreeMap::new();
    let mut tags = TagList { tags: Vec::new(), max: limits.max_tags };
    for (key, value) in members {
        let value = value.get();
        match key.as_str() {
            "metric_name" | "metric_type" | "value" | "count" | "sample_rate" => {
                reserved.insert(key, value);
            }
            "timestamp" => {}
            "tags" => {
                tags.tags.retain(|tag| !tag.is_from_tags);
                if value.starts_with('{') {
                    let Members(inner) = serde_json::from_str(value).ok()?;
                    for (key, value) in inner {
                        tags.push(true, key, value.get())?;
                    }
                } else {
                    tags.push(true, key, value)?;
                }
            }
            _ => tags.push(false, key, value)?,
        }
    }
    let tags = tags.tags.into_iter().map(|tag| (tag.key, tag.value));
    let mut tags: BTreeMap<String, TagValue<'_>> = tags.collect();
    tags.retain(|_, value| !value.is_empty());
    let tags = tags.into_iter().map(|(key, value)| (key.into(), value)).collect();
    sample(&reserved).map(|sample| Sample { tags, ..sample })
}

struct TagList<'a> {
    tags: Vec<Tag<'a>>,
    max: usize,
}

struct Tag<'a> {
    /// Whether the latest `tags` member added it.
    is_from_tags: bool,
    key: String,
    value: TagValue<'a>,
}

impl<'a> TagList<'a> {
    fn push(&mut self, is_from_tags: bool, key: String, value: &'a str) -> Option<()> {
        if key.is_empty() || self.tags.len() == self.max {
            return None;
        }
        let value = match value.as_bytes().first()? {
            b'{' | b'[' => return None,
            b'"' => text(value)?.into(),
            b'n' => "".into(),
            _ => TagValue::Literal(value),
        };
        self.tags.push(Tag { is_from_tags, key, value });
        Some(())
    }
}

/// Creates the sample from the members that are not tags.
fn sample(reserved: &BTreeMap<String, &str>) -> Option<Sample<'static>> {
    let get = |key: &str| reserved.get(key).copied();
    let name = get("metric_name").and_then(text).filter(|name| !name.is_empty())?;
    let kind = get("metric_type").and_then(text)?;
    let rate = get("sample_rate").map_or(Some(1.0), number)?;
    if rate <= 0.0 || rate > 1.0 || rate.recip().is_infinite() {
        return None;
    }
    let value = match MetricKind::from_json_word(&kind)? {
        MetricKind::Counter => {
            let count = get("count").or(get("value"));
            SampleValue::Counter(count.map_or(Some(1.0), number)?)
        }
        MetricKind::Gauge => match get("value")? {
            change if change.starts_with("\"+") || change.starts_with("\"-") => {
                SampleValue::GaugeAdd(number(change)?)
            }
            value => SampleValue::GaugeSet(number(value)?),
        },
        MetricKind::Timer => SampleValue::Timer(number(get("value")?)?),
        MetricKind::Set => SampleValue::Set(member(get("value")?)?.into()),
        MetricKind::Trace => SampleValue::Trace,
    };
    let is_weighed = matches!(value, SampleValue::Counter(_) | SampleValue::Timer(_));
    let weight = if is_weighed { rate.recip() } else { 1.0 };
    Some(Sample {
        name: name.into(),
        value,
        weight,
        tags: Tags::new(),
        facts: LineFacts::default(),
    })
}

/// The content of a string; `None` for other values.
fn text(value: &str) -> Option<String> {
    serde_json::from_str(value).ok()
}

fn member(value: &str) -> Option<String> {
    match value.as_bytes().first()? {
        b'"' => text(value),
        b'-' | b'0'..=b'9' => Some(value.to_owned()),
        _ => None,
    }
}

fn number(value: &str) -> Option<f64> {
    // The standard library also accepts `inf` and `nan`.
    member(value)?.parse().ok().filter(|number: &f64| number.is_finite())
}
