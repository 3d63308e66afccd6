//! Encodes series as bytes and decodes them, for the files of the spool and of the restart state.
//!
//! A series: name, tags. If values of tags are literals (in JSON, numbers or booleans instead of
//! strings), an empty text and the list of their indexes come before the name, which is never
//! empty.

use model::{MetricKind, Series};

use super::leb128;
use super::primitives::{MalformedSnapshot, SnapshotReader, put_text};

/// Appends a series without its kind.
pub(crate) fn put_series(out: &mut Vec<u8>, series: &Series) {
    if series.has_literals() {
        put_literals(out, series);
    }
    put_text(out, series.name());
    leb128::write(out, series.tag_count() as u64);
    for (key, value) in series.tags() {
        put_text(out, key);
        put_text(out, value);
    }
}

fn put_literals(out: &mut Vec<u8>, series: &Series) {
    put_text(out, "");
    let literals = || (0..series.tag_count()).filter(|index| series.is_literal(*index));
    leb128::write(out, literals().count() as u64);
    literals().for_each(|index| leb128::write(out, index as u64));
}

/// Reads what [`put_series`] wrote.
pub(crate) fn read_series(
    reader: &mut SnapshotReader<'_>,
    kind: MetricKind,
) -> Result<Series, MalformedSnapshot> {
    let mut name = reader.text()?;
    let mut literals = Vec::new();
    if name.is_empty() {
        literals = reader.list(SnapshotReader::number)?;
        name = reader.text()?;
    }
    let tags = reader.list(|reader| Ok((reader.text()?, reader.text()?)))?;
    // A series has each key once, in order: comparisons of series depend on it. The indexes are
    // searched for every tag, so they must be sorted.
    let is_sorted = literals.is_sorted() && tags.is_sorted_by(|a, b| a.0 < b.0);
    if name.is_empty() || !is_sorted {
        return Err(MalformedSnapshot);
    }
    let is_literal = |index: usize| literals.binary_search(&(index as u64)).is_ok();
    Ok(Series::with_literals(kind, name, &tags, is_literal))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn literals(series: &Series) -> Vec<bool> {
        (0..series.tag_count()).map(|index| series.is_literal(index)).collect()
    }

    fn read(bytes: &[u8]) -> Result<Series, MalformedSnapshot> {
        let mut reader = SnapshotReader(bytes);
        let series = read_series(&mut reader, MetricKind::Trace)?;
        reader.0.is_empty().then_some(series).ok_or(MalformedSnapshot)
    }

    #[test]
    fn a_series_without_literals_has_the_bytes_that_0_1_0_wrote() {
        let mut bytes = Vec::new();
        put_series(&mut bytes, &Series::new(MetricKind::Trace, "m", &[("k", "7")]));
        assert_eq!(bytes, b"\x01m\x01\x01k\x017");
    }

    #[test]
    fn marks_of_tags_that_do_not_exist_are_harmless() {
        let series = read(b"\x00\x02\x00\x09\x01m\x01\x01k\x017").unwrap();
        assert_eq!((literals(&series), series.to_string()), (vec![true], "trace m k=7".into()));
        let text = read(b"\x00\x01\x00\x01m\x01\x01k\x01x").unwrap();
        assert_eq!(literals(&text), [false], "a forged mark makes no invalid JSON");
        assert!(read(b"\x00\x02\x01\x00\x01m\x00").is_err(), "not sorted");
        assert!(read(b"\x00\x00\x00\x00").is_err(), "no name");
    }

    #[test]
    fn a_series_has_each_key_once_and_in_order() {
        assert!(read(b"\x01m\x02\x01a\x011\x01b\x012").is_ok());
        assert!(read(b"\x01m\x02\x01b\x011\x01a\x012").is_err());
        assert!(read(b"\x01m\x02\x01a\x011\x01a\x012").is_err());
    }

    proptest! {
        #[test]
        fn a_series_survives_the_round_trip_with_its_literals(
            tags in prop::collection::btree_map(
                any::<String>(),
                (prop_oneof!["[0-9]{1,3}", "true", "-?1\\.5e[0-9]", any::<String>()], any::<bool>()),
                0..20,
            ),
        ) {
            let marks: Vec<bool> = tags.values().map(|(_, is_marked)| *is_marked).collect();
            let tags: Vec<_> = tags.iter().map(|(key, (value, _))| (key, value)).collect();
            let series = Series::with_literals(MetricKind::Trace, "m", &tags, |index| marks[index]);
            let mut bytes = Vec::new();
            put_series(&mut bytes, &series);
            let again = read(&bytes).unwrap();
            prop_assert_eq!(literals(&again), literals(&series));
            prop_assert_eq!(again, series);
        }
    }
}
