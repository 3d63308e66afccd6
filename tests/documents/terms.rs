//! A search for a standard term finds the page that explains it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use common::markdown::document;

/// The head of the table of standard terms in docs/glossary.md.
const HEAD: [&str; 3] = ["standard term", "in tallyd", "page"];
/// Terms that the table must have, because operators know them from other projects.
const REQUIRED: [&str; 10] = [
    "aggregation interval",
    "at-least-once",
    "backpressure",
    "cardinality",
    "dead letter queue",
    "flush interval",
    "histogram",
    "percentile",
    "sink",
    "temporality",
];

#[test]
fn a_search_for_a_standard_term_finds_its_page() {
    let glossary = document("docs/glossary.md");
    let rows = glossary.rows().skip_while(|row| row[..] != HEAD).skip(2);
    let mut terms = Vec::new();
    for row in rows.take_while(|row| row.len() == HEAD.len() && row[2].starts_with('[')) {
        let (_, link) = row[2].split_once("](").unwrap();
        let page = link.split(['#', ')']).next().unwrap();
        let text = document(&format!("docs/{page}")).text.to_lowercase();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(row[0]), "docs/{page} lacks the term `{}`", row[0]);
        terms.push(row[0]);
    }
    for term in REQUIRED {
        assert!(terms.contains(&term), "docs/glossary.md: no row for `{term}`: {terms:?}");
    }
}
