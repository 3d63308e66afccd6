//! Every guarantee in docs/reliability.md, and every attack in docs/security.md, names tests that exist.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use common::markdown::document;

/// The heading after the guarantees.
const LAST_SECTION: &str = "## What tallyd does not guarantee";
/// The fewest guarantees that the test has to find.
const GUARANTEES_MIN: usize = 30;

#[test]
fn every_guarantee_names_tests_that_exist() {
    let page = document("docs/reliability.md");
    let prose: Vec<&str> = page.prose().take_while(|line| *line != LAST_SECTION).collect();
    let text = prose.join("\n");
    let guarantees: Vec<&str> = text.split("\n- **").skip(1).collect();
    assert!(guarantees.len() >= GUARANTEES_MIN, "{}", guarantees.len());
    let mut complaints = Vec::new();
    for guarantee in guarantees {
        let named: Vec<_> =
            guarantee.split('`').filter_map(|code| code.split_once(".rs::")).collect();
        if named.is_empty() {
            complaints.push(format!("no test: {guarantee}"));
        }
        let missing = named.into_iter().filter(|(file, test)| !exists(file, test));
        complaints.extend(missing.map(|(file, test)| format!("{file}.rs has no test {test}")));
    }
    assert!(complaints.is_empty(), "docs/reliability.md: {complaints:#?}");
}

#[test]
fn every_attempted_attack_names_tests_that_exist() {
    let page = document("docs/security.md");
    let rows: Vec<_> =
        page.rows().filter(|row| row.len() == 3 && row[2].contains(".rs::")).collect();
    assert!(rows.len() >= 20, "{}", rows.len());
    for row in rows {
        let named = row[2].split('`').filter_map(|code| code.split_once(".rs::"));
        for (file, test) in named {
            assert!(exists(file, test), "docs/security.md: {file}.rs has no test {test}");
        }
    }
}

/// Whether a file contains a test of that name, also as a property of `proptest!`.
fn exists(file: &str, test: &str) -> bool {
    let path = common::root().join(Path::new(file).with_extension("rs"));
    let source = std::fs::read_to_string(path).unwrap_or_default();
    source.split("#[").any(|item| {
        let is_test = item.starts_with("test]") || item.starts_with("tokio::test");
        is_test && item.contains(&format!("fn {test}("))
    })
}
