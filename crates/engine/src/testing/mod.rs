//! Properties that hold for any input: the bodies of the fuzz targets in `fuzz/`, and the reference
//! implementations with which fuzz targets and property tests compare.
//!
//! Each `check` takes any bytes, and panics if a property is violated. The tests here run the
//! checks on the committed inputs, so that every `cargo test` covers the findings of fuzzers.

// A check panics on failure, like a test.
#![allow(clippy::missing_panics_doc, reason = "a check panics on failure")]

use std::path::{Path, PathBuf};
use std::{fs, panic};

use crate::protocol::{Sample, SampleValue, TagValue};

pub mod json;
pub mod lines;
pub mod recorder;
pub mod signed;
pub mod statsd;

/// A text without surrounding blanks.
fn trim(text: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !b" \t\r\n".contains(byte);
    let first = text.iter().position(is_text).unwrap_or(text.len());
    let end = text.iter().rposition(is_text).map_or(first, |last| last + 1);
    &text[first..end]
}

/// Panics if two samples differ, even if only in the sign of a zero.
fn assert_same_sample(ours: &Sample<'_>, expected: &Sample<'_>) {
    assert_eq!((&ours.name, &ours.value), (&expected.name, &expected.value));
    assert_eq!(ours.weight.to_bits(), expected.weight.to_bits(), "{ours:?}, not {expected:?}");
    assert!(tags(ours).eq(tags(expected)), "{ours:?}, not {expected:?}");
    assert_eq!(number(&ours.value).to_bits(), number(&expected.value).to_bits(), "{ours:?}");
}

fn tags<'s>(sample: &'s Sample<'_>) -> impl Iterator<Item = (&'s str, &'s TagValue<'s>)> {
    sample.tags.iter().map(|(key, value)| (key.as_ref(), value))
}

fn number(value: &SampleValue<'_>) -> f64 {
    match value {
        SampleValue::Counter(number)
        | SampleValue::Total { added: number, .. }
        | SampleValue::GaugeSet(number)
        | SampleValue::GaugeAdd(number)
        | SampleValue::Timer(number) => *number,
        SampleValue::Set(_) | SampleValue::Trace => 0.0,
    }
}

/// Panics if a sample violates the invariants of its type.
fn assert_invariants(sample: &Sample<'_>) {
    assert!(!sample.name.is_empty(), "{sample:?}");
    assert!(sample.weight.is_finite() && sample.weight >= 1.0, "{sample:?}");
    assert!(number(&sample.value).is_finite(), "{sample:?}");
    assert!(sample.tags.is_sorted_by(|a, b| a.0 < b.0), "{sample:?}");
    assert!(tags(sample).all(|(key, value)| !key.is_empty() && !value.is_empty()), "{sample:?}");
}

/// Runs `check` on the committed corpus of a fuzz target and on its former findings.
///
/// # Panics
/// If `check` does, or if the target has no corpus.
pub fn replay(target: &str, check: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let corpus = files(&fuzz.join("corpus").join(target));
    assert!(!corpus.is_empty(), "no corpus of {target}");
    for path in corpus.into_iter().chain(files(&fuzz.join("regressions").join(target))) {
        let input = fs::read(&path).expect("a readable file");
        let passed = panic::catch_unwind(|| check(&input));
        assert!(passed.is_ok(), "{} does not pass", path.display());
    }
}

/// The files of a folder, which may not exist.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::replay;

    #[test]
    fn the_corpus_of_json_passes() {
        replay("json", super::json::check);
    }

    #[test]
    fn the_corpus_of_statsd_passes() {
        replay("statsd", super::statsd::check);
    }

    #[test]
    fn the_corpus_of_the_recorder_passes() {
        replay("recorder", super::recorder::check);
    }

    #[test]
    fn the_corpus_of_signed_datagrams_passes() {
        replay("signed", super::signed::check);
    }

    #[test]
    fn the_corpus_of_stream_lines_passes() {
        replay("lines", super::lines::check);
    }
}
