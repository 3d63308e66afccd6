//! The keys of records, which select their partitions.

use super::config::RecordKey;
use model::Series;

impl RecordKey {
    /// Appends the key of a series; nothing for [`RecordKey::None`].
    ///
    /// `Series` writes `name,key=value,key=value` with the tags in order, and a backslash before
    /// each `,`, `=` and `\` in them, so that no two series of one kind share a key.
    pub(super) fn write(self, out: &mut Vec<u8>, series: &Series) {
        match self {
            // Nothing in it needs a backslash.
            Self::Series if series.is_plain() => series.write_joined(out, b',', b'='),
            Self::Series => {
                write_escaped(out, series.name());
                for (key, value) in series.tags() {
                    out.push(b',');
                    write_escaped(out, key);
                    out.push(b'=');
                    write_escaped(out, value);
                }
            }
            Self::Name => out.extend_from_slice(series.name().as_bytes()),
            Self::None => {}
        }
    }
}

fn write_escaped(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        if matches!(byte, b',' | b'=' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use model::MetricKind;

    fn key_of(how: RecordKey, name: &str, tags: &[(&str, &str)]) -> String {
        let mut out = Vec::new();
        how.write(&mut out, &Series::new(MetricKind::Counter, name, tags));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_series_is_its_name_and_tags() {
        let tags = [("a,b", "x=y"), ("stage", "login\\")];
        assert_eq!(
            key_of(RecordKey::Series, "user.logins", &tags),
            r"user.logins,a\,b=x\=y,stage=login\\"
        );
        assert_eq!(key_of(RecordKey::Series, "user.logins", &[]), "user.logins");
        let plain = [("env", "prod"), ("stage", "login")];
        assert_eq!(key_of(RecordKey::Series, "m", &plain), "m,env=prod,stage=login");
        assert_eq!(key_of(RecordKey::Name, "user,logins", &tags), "user,logins");
        assert_eq!(key_of(RecordKey::None, "user.logins", &tags), "");
    }

    /// Parses a key into the name and then tag keys and values in turn.
    fn parts(key: &str) -> Vec<String> {
        let mut parts = vec![String::new()];
        let mut letters = key.chars();
        while let Some(letter) = letters.next() {
            match letter {
                ',' | '=' => parts.push(String::new()),
                '\\' => parts.last_mut().unwrap().push(letters.next().unwrap()),
                _ => parts.last_mut().unwrap().push(letter),
            }
        }
        parts
    }

    proptest! {
        #[test]
        fn a_key_reads_back_as_the_series_so_no_two_share_one(
            name in "[a,=\\\\é]{0,6}",
            tags in prop::collection::btree_map("[a,=\\\\]{0,4}", "[a,=\\\\]{0,4}", 0..4),
        ) {
            let tags: BTreeMap<String, String> = tags;
            let sorted: Vec<(&str, &str)> =
                tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let mut expected = vec![name.clone()];
            for (key, value) in &tags {
                expected.extend([key.clone(), value.clone()]);
            }
            prop_assert_eq!(parts(&key_of(RecordKey::Series, &name, &sorted)), expected);
        }
    }
}
