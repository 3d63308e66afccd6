//! Compares the decoder with other statsd servers, on lines from their tests and from ours.

use serde::Deserialize;

use super::{outcome, skipped};

const VECTORS: &str = include_str!("../../../../../../tests/fixtures/statsd/peers.jsonl");
const DOCUMENT: &str = include_str!("../../../../../../docs/messages.md");

/// One line of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerVector {
    #[serde(default)]
    line: String,
    /// Instead of `line`, if it is not UTF-8.
    bytes: Option<Vec<u8>>,
    /// The samples and rejections that tallyd must return.
    becomes: Vec<String>,
    #[serde(default)]
    skipped: u64,
    /// The servers with the same result.
    like: Vec<String>,
    /// The servers with another result; not checked.
    #[serde(rename = "unlike")]
    _unlike: Vec<String>,
    /// If more servers agree on another result, the row of the document that says so.
    difference: Option<String>,
}

#[test]
fn lines_are_read_as_most_servers_read_them_or_the_difference_is_documented() {
    let mut lines = 0;
    for text in VECTORS.lines() {
        let vector: PeerVector = serde_json::from_str(text).unwrap();
        let bytes = vector.bytes.unwrap_or_else(|| vector.line.into_bytes());
        assert_eq!((outcome(&bytes), skipped(&bytes)), (vector.becomes, vector.skipped), "{text}");
        match vector.difference {
            // No other result has more servers: the unlike ones disagree with each other.
            None => assert!(!vector.like.is_empty(), "{text}"),
            Some(row) => assert!(DOCUMENT.contains(&format!("\n| {row} |")), "{row}"),
        }
        lines += 1;
    }
    assert_eq!(lines, 278);
}
