//! The labels of series that differ in one label, encoded once.

use prost::encoding::encode_varint;
use smallvec::SmallVec;

/// The protobuf key of a field with a text or a message.
const fn bytes_key(number: u8) -> u8 {
    number << 3 | 2
}

/// The protobuf key of the only field of `WriteRequest`.
pub(super) const TIMESERIES: u8 = bytes_key(1);

/// The labels of several series that differ only in one label, in the order that the protocol requires.
#[derive(Default)]
pub(super) struct EncodedLabels {
    /// The labels that come before the one that differs.
    before: Vec<u8>,
    after: Vec<u8>,
}

impl EncodedLabels {
    /// Replaces the labels that the series share. `open` is the name of the label that differs.
    pub(super) fn set<'a>(&mut self, shared: impl Iterator<Item = (&'a str, &'a str)>, open: &str) {
        self.before.clear();
        self.after.clear();
        let mut sorted: SmallVec<[(&str, &str); 16]> = shared.collect();
        sorted.sort_unstable_by(|a, b| a.0.cmp(b.0));
        for (name, value) in sorted {
            let part = if name < open { &mut self.before } else { &mut self.after };
            write_label(part, name, value);
        }
    }

    /// Appends a series as a field of a request: these labels, the encoded label that differs, and an
    /// encoded sample or histogram.
    pub(super) fn write(&self, out: &mut Vec<u8>, open: &[u8], value: &[u8]) {
        let parts = [&self.before, open, &self.after, value];
        let length: usize = parts.iter().map(|part| part.len()).sum();
        out.push(TIMESERIES);
        encode_varint(length as u64, out);
        parts.iter().for_each(|part| out.extend_from_slice(part));
    }
}

/// Appends a label as a field of its series.
pub(super) fn write_label(out: &mut Vec<u8>, name: &str, value: &str) {
    let start = out.len();
    out.extend_from_slice(&[bytes_key(1), 0]);
    write_text(out, 1, name);
    write_text(out, 2, value);
    let length = out.len() - start - 2;
    match u8::try_from(length) {
        Ok(short @ ..0x80) => out[start + 1] = short,
        _ => {
            // The length comes first and is known last. It takes several bytes here.
            out.truncate(start + 1);
            encode_varint(length as u64, out);
            write_text(out, 1, name);
            write_text(out, 2, value);
        }
    }
}

/// Appends a text, unless it is empty: protobuf leaves out default values.
fn write_text(out: &mut Vec<u8>, number: u8, text: &str) {
    if !text.is_empty() {
        out.push(bytes_key(number));
        encode_varint(text.len() as u64, out);
        out.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::prometheus::messages::Label;

    #[derive(Clone, PartialEq, Message)]
    struct Labels {
        #[prost(message, repeated, tag = "1")]
        labels: Vec<Label>,
    }

    fn label((name, value): (&str, &str)) -> Label {
        Label { name: name.to_owned(), value: value.to_owned() }
    }

    proptest! {
        #[test]
        fn labels_are_encoded_like_their_messages_in_the_order_of_their_names(
            tags in prop::collection::btree_map("[a-z]{1,3}", ".{0,150}", 0..6),
            open in "[A-Z_]{1,9}|[a-z]{4}", value in ".{0,150}",
        ) {
            let mut labels = EncodedLabels::default();
            // In another order than sorted.
            let tags: Vec<_> = tags.iter().rev().map(|(name, value)| (&**name, &**value)).collect();
            labels.set(tags.iter().copied(), &open);
            let (mut differing, mut out) = (Vec::new(), Vec::new());
            write_label(&mut differing, &open, &value);
            labels.write(&mut out, &differing, b"");
            let mut all: Vec<_> = tags.into_iter().chain([(&*open, &*value)]).map(label).collect();
            all.sort_by(|a, b| a.name.cmp(&b.name));
            let message = Labels { labels: all }.encode_length_delimited_to_vec();
            prop_assert_eq!(&out[1..], &message[..]);
        }
    }
}
