//! A strict parser of both formats, written from their specifications and independent of the
//! writer.

use std::collections::{BTreeMap, BTreeSet};

/// A parsed page.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// Name and sorted labels of each sample, with its value.
    pub(super) samples: BTreeMap<String, f64>,
    /// Type and help of each sample's family.
    pub(super) family_of: BTreeMap<String, (String, String)>,
}

struct Family {
    name: String,
    kind: String,
    help: String,
}

pub(super) fn parse_text(page: &str) -> Parsed {
    let (parsed, families) = parse(page, false);
    let mut names = BTreeSet::new();
    for family in families {
        assert!(names.insert(family.name.clone()), "family {} twice", family.name);
    }
    parsed
}

pub(super) fn parse_openmetrics(page: &str) -> Parsed {
    let body = page.strip_suffix("# EOF\n").expect("ends with # EOF");
    let (parsed, families) = parse(body, true);
    // No other family may use a name that a family reserves.
    let mut names = BTreeSet::new();
    for family in families {
        let suffixes: &[&str] = match family.kind.as_str() {
            "counter" => &["", "_total", "_created"],
            "summary" => &["", "_sum", "_count", "_created"],
            "histogram" => &["", "_bucket", "_sum", "_count", "_created"],
            _ => &[""],
        };
        for suffix in suffixes {
            let name = format!("{}{suffix}", family.name);
            assert!(names.insert(name.clone()), "clashing name {name}");
        }
    }
    parsed
}

fn parse(page: &str, strict: bool) -> (Parsed, Vec<Family>) {
    let mut parsed = Parsed::default();
    let mut families: Vec<Family> = Vec::new();
    let mut group = None;
    let mut groups = BTreeSet::new();
    assert!(page.is_empty() || page.ends_with('\n'), "the last line has no end");
    let mut lines = page.split_terminator('\n');
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("HELP has a text");
            let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE "));
            let (typed, kind) = kind.and_then(|kind| kind.split_once(' ')).expect("TYPE follows");
            assert_eq!(typed, name);
            assert!(
                ["counter", "gauge", "histogram", "summary", "unknown"].contains(&kind),
                "{line}"
            );
            assert!(strict || kind != "unknown", "{line}");
            let [name, kind, help] = [name, kind, help].map(str::to_owned);
            families.push(Family { name, kind, help });
            (group, groups) = (None, BTreeSet::new());
            continue;
        }
        assert!(!line.starts_with('#'), "a comment: {line}");
        let family = families.last().expect("a sample has a family");
        let (name, labels, value) = sample(line);
        check_name(&name, &labels, value, family, strict, line);
        let mut series = labels.clone();
        if family.kind == "summary" {
            series.remove("quantile");
        }
        if family.kind == "histogram" {
            series.remove("le");
        }
        if group.as_ref() != Some(&series) {
            assert!(groups.insert(series.clone()), "series not in one piece: {line}");
            group = Some(series);
        }
        let id = format!("{name}{labels:?}");
        assert!(parsed.samples.insert(id.clone(), value).is_none(), "twice: {line}");
        parsed.family_of.insert(id, (family.kind.clone(), family.help.clone()));
    }
    (parsed, families)
}

fn check_name(
    name: &str,
    labels: &BTreeMap<String, String>,
    value: f64,
    family: &Family,
    strict: bool,
    line: &str,
) {
    let rest = name.strip_prefix(&family.name).unwrap_or_else(|| panic!("strange: {line}"));
    match (family.kind.as_str(), rest) {
        ("counter", "_total") if strict => assert!(value >= 0.0, "{line}"),
        ("counter", "") if !strict => {
            assert!(name.ends_with("_total") && value >= 0.0, "{line}");
        }
        ("summary", "_sum") => assert!(!strict || value >= 0.0, "{line}"),
        ("summary", "_count") => assert!(value >= 0.0 && value.fract() == 0.0, "{line}"),
        ("summary", "") => {
            let quantile: f64 = labels["quantile"].parse().unwrap();
            assert!((0.0..=1.0).contains(&quantile) && (!strict || value >= 0.0), "{line}");
        }
        ("histogram", "_bucket") => {
            let le = &labels["le"];
            assert!(le == "+Inf" || le.parse::<f64>().unwrap().is_finite(), "{line}");
            assert!(value >= 0.0 && value.fract() == 0.0, "{line}");
        }
        ("histogram", "_sum") => assert!(!strict || value >= 0.0, "{line}"),
        ("histogram", "_count") => assert!(value >= 0.0 && value.fract() == 0.0, "{line}"),
        ("gauge" | "unknown", "") => {}
        _ => panic!("not in its family: {line}"),
    }
    if rest == "_sum" || rest == "_count" {
        assert!(family.kind != "summary" || !labels.contains_key("quantile"), "{line}");
    }
}

/// Parses the name, labels and value of a line.
fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let end = line.find(['{', ' ']).expect("a sample has a value");
    let name = &line[..end];
    assert!(is_name(name), "not a metric name: {line}");
    let mut labels = BTreeMap::new();
    let mut rest = &line[end..];
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").expect("a label has a value");
            assert!(is_name(label) && !label.starts_with("__"), "not a label name: {line}");
            let (value, after) = quoted(after);
            assert!(!value.is_empty(), "an empty label: {line}");
            assert!(labels.insert(label.to_owned(), value).is_none(), "label twice: {line}");
            if let Some(after) = after.strip_prefix('}') {
                rest = after;
                break;
            }
            rest = after.strip_prefix(',').expect("labels are separated by commas");
        }
    }
    let value = rest.strip_prefix(' ').expect("a blank before the value");
    let value: f64 = value.parse().unwrap_or_else(|_| panic!("not a number: {line}"));
    assert!(value.is_finite(), "{line}");
    (name.to_owned(), labels, value)
}

/// Returns a quoted text without its escapes, and the text after it.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                other => panic!("unknown escape {other:?}"),
            },
            _ => value.push(char),
        }
    }
    panic!("a label without an end");
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
}
