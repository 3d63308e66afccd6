//! Reads a line of Graphite plaintext, or a JSON record.

use basics::time::parse_rfc3339_ms;
use serde_json::Value;

/// A value of a series.
#[derive(Debug, PartialEq)]
pub(super) struct ParsedValue {
    pub(super) series: String,
    /// In Unix milliseconds.
    pub(super) at_ms: i64,
    pub(super) value: f64,
}

/// Members of a pystatsd record that are no tags.
const OWN_MEMBERS: [&str; 6] = ["apikey", "tenant_id", "name", "value", "@version", "@timestamp"];

/// Reads a line; `None` if it has no value. `received_ms` is the time of a record that has none.
pub(super) fn line(line: &[u8], received_ms: i64) -> Option<Vec<ParsedValue>> {
    if line.first() == Some(&b'{') { record(line, received_ms) } else { graphite(line) }
}

/// Reads `path value timestamp`.
fn graphite(line: &[u8]) -> Option<Vec<ParsedValue>> {
    let mut parts = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let (path, value, time) = (parts.next()?, parts.next()?, parts.next()?);
    let (value, time): (f64, f64) = (value.parse().ok()?, time.parse().ok()?);
    let is_whole = parts.next().is_none() && time.is_finite();
    is_whole.then(|| {
        vec![ParsedValue { series: sorted(path), at_ms: (time * 1e3).round() as i64, value }]
    })
}

/// A path with its tags in the order of their keys, because Graphite ignores their order.
fn sorted(path: &str) -> String {
    let Some((name, tags)) = path.split_once(';') else { return path.to_owned() };
    let mut tags: Vec<&str> = tags.split(';').collect();
    tags.sort_unstable();
    format!("{name};{}", tags.join(";"))
}

/// Reads a record of pystatsd, or of tallyd's own format `json`.
fn record(line: &[u8], received_ms: i64) -> Option<Vec<ParsedValue>> {
    let Value::Object(record) = serde_json::from_slice(line).ok()? else { return None };
    let name = record.get("name")?.as_str()?;
    if let Some(Value::Object(fields)) = record.get("fields") {
        let tags = record.get("tags").and_then(Value::as_object);
        let series = labelled(name, tags.into_iter().flatten());
        let at_ms = time(record.get("timestamp"), received_ms)?;
        return Some(values(&series, at_ms, fields.iter()));
    }
    let is_tag = |(key, value): &(&String, &Value)| {
        let is_statistics = *key == "stats" && value.is_object();
        !is_statistics && !OWN_MEMBERS.contains(&key.as_str())
    };
    let series = labelled(name, record.iter().filter(is_tag));
    let at_ms = time(record.get("@timestamp"), received_ms)?;
    let statistics = record.get("stats").and_then(Value::as_object).into_iter().flatten();
    Some(values(&series, at_ms, record.get_key_value("value").into_iter().chain(statistics)))
}

fn time(time: Option<&Value>, received_ms: i64) -> Option<i64> {
    match time {
        None => Some(received_ms),
        Some(Value::String(text)) => parse_rfc3339_ms(text),
        Some(number) => number.as_f64().map(|ms| ms.round() as i64),
    }
}

/// The name, with the tags in braces in the order of their keys.
fn labelled<'a>(name: &str, tags: impl Iterator<Item = (&'a String, &'a Value)>) -> String {
    let shown = |(key, value): (&String, &Value)| match value {
        Value::String(text) => format!("{key}={text}"),
        other => format!("{key}={other}"),
    };
    let mut tags: Vec<String> = tags.map(shown).collect();
    tags.sort_unstable();
    if tags.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", tags.join(",")) }
}

fn values<'a>(
    series: &str,
    at_ms: i64,
    fields: impl Iterator<Item = (&'a String, &'a Value)>,
) -> Vec<ParsedValue> {
    let value = |(field, value): (&String, &Value)| {
        // pystatsd writes the value of a gauge as the client sent it, which may be a text.
        let value = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
        Some(ParsedValue { series: format!("{series} {field}"), at_ms, value })
    };
    fields.filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Vec<(String, i64, f64)>> {
        let values = line(text.as_bytes(), 7)?;
        Some(values.into_iter().map(|one| (one.series, one.at_ms, one.value)).collect())
    }

    #[test]
    fn a_line_of_graphite_has_a_path_a_value_and_a_time() {
        assert_eq!(read("a.b 1.5 10"), Some(vec![("a.b".to_owned(), 10_000, 1.5)]));
        assert_eq!(
            read("a;z=1;b=2 -1e3 10.25"),
            Some(vec![("a;b=2;z=1".to_owned(), 10_250, -1e3)])
        );
        for wrong in ["a 1", "a x 1", "a 1 x", "a 1 1 1", "a 1 inf", "(lp0"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_record_of_pystatsd_has_a_value_statistics_and_tags_as_members() {
        let record = r#"{"apikey":7,"tenant_id":"x","name":"t","value":2.5,"@version":"1",
            "@timestamp":"2017-03-21T16:34:34.000Z","stats":{"count":2,"max":3},"port":5060,"a":"b"}"#;
        let at = 1_490_114_074_000;
        let series = |field: &str| format!("t{{a=b,port=5060}} {field}");
        assert_eq!(
            read(record),
            Some(vec![
                (series("value"), at, 2.5),
                (series("count"), at, 2.0),
                (series("max"), at, 3.0)
            ])
        );
        assert_eq!(
            read(r#"{"name":"g","value":"43"}"#),
            Some(vec![("g value".to_owned(), 7, 43.0)])
        );
        assert_eq!(read("{\"value\":1}"), None);
        assert_eq!(read("{"), None);
    }

    #[test]
    fn a_record_of_tallyd_has_fields_and_tags() {
        let record = r#"{"timestamp":1500,"type":"counter","name":"c","tags":{"k":"v"},"fields":{"count":3}}"#;
        assert_eq!(read(record), Some(vec![("c{k=v} count".to_owned(), 1_500, 3.0)]));
    }
}
