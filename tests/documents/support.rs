//! docs/support.md states the versions that the tests use.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use common::markdown::document;

/// The fewest rows that the test has to check.
const ROWS_MIN: usize = 10;

#[test]
fn the_tested_versions_are_those_of_the_named_files() {
    let page = document("docs/support.md");
    let mut seen = 0;
    for row in page.rows() {
        // The other rows have no file: Debian determines the version, or the row is not about one.
        let last = *row.last().unwrap();
        let Some((file, rest)) = last.strip_prefix('`').and_then(|cell| cell.split_once('`'))
        else {
            continue;
        };
        let version = rest.strip_prefix(", as ").unwrap_or(row[1]);
        let text = std::fs::read_to_string(common::root().join(file));
        let text = text.unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(text.contains(version), "docs/support.md: {}: {file} lacks {version}", row[0]);
        seen += 1;
    }
    assert!(seen >= ROWS_MIN, "{seen}");
}
