//! Second readers of line protocol, by the rules of the servers and of the official decoder.

/// A point as a reader of line protocol parses it.
#[derive(Debug, PartialEq)]
pub(super) struct Parsed {
    pub(super) measurement: String,
    /// In the order of their keys.
    pub(super) tags: Vec<(String, String)>,
    pub(super) fields: Vec<(String, f64)>,
    pub(super) timestamp: i64,
}

/// The bytes before which a backslash is an escape. Before any other byte it is a character.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    in_measurement: &'static str,
    in_tag: &'static str,
    /// Whether a byte after a backslash is never a separator, as InfluxDB 1 and 2 have it, or only
    /// if the two are an escape.
    looks_only_one_byte_back: bool,
}

pub(super) const READERS: [Reader; 3] = [
    // InfluxDB 1 and 2.
    Reader { in_measurement: ", ", in_tag: ",= ", looks_only_one_byte_back: true },
    // The official decoder for Go.
    Reader { in_measurement: ", ", in_tag: ",= ", looks_only_one_byte_back: false },
    // InfluxDB 3.
    Reader { in_measurement: "\\,= ", in_tag: "\\,= ", looks_only_one_byte_back: false },
];

/// Parses a line.
pub(super) fn parse(line: &str, reader: Reader) -> Parsed {
    assert!(!line.contains(|char: char| char.is_ascii_control()), "{line:?}");
    assert!(!line.starts_with(['#', ',', ' ']), "{line:?}");
    let (measurement, rest) = token(line, ", ", reader.in_measurement, reader);
    let mut parsed = Parsed { measurement, tags: vec![], fields: vec![], timestamp: 0 };
    let mut rest = rest;
    while let Some(tag) = rest.strip_prefix(',') {
        let (key, value) = token(tag, ",= ", reader.in_tag, reader);
        let (value, after) = token(value.strip_prefix('=').unwrap(), ",= ", reader.in_tag, reader);
        parsed.tags.push((key, value));
        rest = after;
    }
    assert_ne!(parsed.measurement, "");
    parsed.tags.sort();
    let unusable = |(key, value): &(String, String)| {
        key.is_empty() || value.is_empty() || key == "time" || value.ends_with('\\')
    };
    assert!(!parsed.tags.iter().any(unusable), "{line:?}");
    assert!(parsed.tags.is_sorted_by(|a, b| a.0 < b.0), "a key twice: {line:?}");
    let (fields, timestamp) = rest.strip_prefix(' ').unwrap().split_once(' ').unwrap();
    for field in fields.split(',') {
        let (key, value) = field.split_once('=').unwrap();
        // An integer ends with `i`.
        let number = value.strip_suffix('i').unwrap_or(value);
        parsed.fields.push((key.to_owned(), number.parse().unwrap()));
    }
    parsed.timestamp = timestamp.parse().unwrap();
    parsed
}

/// Returns the unescaped text up to one of the `ends`, and the rest with it.
fn token<'a>(text: &'a str, ends: &str, escapable: &str, reader: Reader) -> (String, &'a str) {
    let (mut read, mut rest) = (String::new(), text);
    let mut is_after_backslash = false;
    while let Some(character) = rest.chars().next() {
        let after = &rest[character.len_utf8()..];
        let escaped = after.chars().next().filter(|next| escapable.contains(*next));
        if let Some(escaped) = escaped
            && character == '\\'
        {
            read.push(escaped);
            rest = &after[escaped.len_utf8()..];
            is_after_backslash = escaped == '\\';
            continue;
        }
        if ends.contains(character) && !(is_after_backslash && reader.looks_only_one_byte_back) {
            break;
        }
        read.push(character);
        is_after_backslash = character == '\\';
        rest = after;
    }
    (read, rest)
}
