//! docs/limits.md states the limits of the code.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use common::keys;
use common::markdown::document;

use super::{bounds, constants, documented};

/// The fewest rows that each of the two tests has to check.
const ROWS_MIN: usize = 40;

#[test]
fn the_limits_with_a_key_have_the_defaults_and_bounds_of_the_code() {
    let page = document("docs/limits.md");
    let accepted = documented();
    let mut complaints = Vec::new();
    let rows = page.rows().filter(|row| row.len() == 5 && row[0].starts_with('`'));
    let mut seen = 0;
    for row in rows {
        let key = row[0].trim_matches('`');
        let path = accepted.get(key).unwrap_or_else(|| panic!("the key `{key}` does not exist"));
        let quantity = bounds::quantity(path).unwrap_or_else(|| panic!("`{key}` has no limit"));
        complaints.extend(default_complaint(path, row[1].trim_matches('`')));
        complaints.extend(quantity.complaints(path, row[2]));
        seen += 1;
    }
    assert!(complaints.is_empty(), "docs/limits.md: {complaints:#?}");
    assert!(seen >= ROWS_MIN, "{seen}");
}

#[test]
fn the_limits_have_the_search_of_every_destination_over_http() {
    const DEFINITION: &str = "\nconst BISECTIONS_MAX: ";
    let page = document("docs/limits.md");
    let mut open = vec![common::root().join("forwarders/src")];
    let mut seen = 0;
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if std::fs::read_to_string(&path).is_ok_and(|text| text.contains(DEFINITION)) {
            let path = path.strip_prefix(common::root()).unwrap();
            let cell = format!("`BISECTIONS_MAX` in `{}`", path.display());
            let is_listed = page.rows().any(|row| row.last() == Some(&cell.as_str()));
            assert!(is_listed, "docs/limits.md has no row for {cell}");
            seen += 1;
        }
    }
    assert!(seen > 1, "{seen}");
}

/// The difference to a configuration without the key, if there is one.
fn default_complaint(path: &str, default: &str) -> Option<String> {
    let meaning = |value| {
        let yaml = bounds::example(path, value);
        let config = keys::read(&yaml).unwrap_or_else(|error| panic!("{yaml}: {error}"));
        keys::meaning(&config)
    };
    let is_default = meaning(Some(default)) == meaning(None);
    (!is_default).then(|| format!("{path}: {default} is not the default"))
}

#[test]
fn the_fixed_limits_have_the_values_of_the_constants() {
    let page = document("docs/limits.md");
    let mut complaints = Vec::new();
    let mut seen = 0;
    let is_head = |cell: &str| cell == "constant" || cell == "---";
    for row in page.rows().filter(|row| row.len() == 4 && !is_head(row[3])) {
        let (expression, file) = row[3].split_once(" in ").unwrap();
        let (expression, file) = (expression.trim_matches('`'), file.trim_matches('`'));
        let source = std::fs::read_to_string(common::root().join(file));
        let source = source.unwrap_or_else(|error| panic!("{file}: {error}"));
        let value = constants::evaluate(expression, &source);
        if value != documented_value(row[1]) {
            complaints.push(format!("{}: {}, but {expression} is {value}", row[0], row[1]));
        }
        seen += 1;
    }
    assert!(complaints.is_empty(), "docs/limits.md: {complaints:#?}");
    assert!(seen >= ROWS_MIN, "{seen}");
}

/// The number in a cell such as `4,096`, `64 KiB` or `10 s`; times are in milliseconds.
fn documented_value(cell: &str) -> u64 {
    let (number, unit) = cell.split_once(' ').unwrap_or((cell, ""));
    let factor = match unit {
        "" | "bytes" | "characters" | "levels" | "ms" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "s" => 1_000,
        "minutes" => 60_000,
        _ => panic!("unknown unit: {cell}"),
    };
    factor * number.replace(',', "").parse::<u64>().unwrap_or_else(|_| panic!("no number: {cell}"))
}
