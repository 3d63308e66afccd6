//! Encodes values and packets in as few bytes as possible, as Kamailio does.

use crate::packet::{HEADER_MAX, PacketHeader, PacketKind};
use crate::value::{BinrpcValue, Member};
use crate::wire::tag::{ARRAY, BYTES, DOUBLE, INT, NAME, STRUCT, TEXT};
use crate::wire::{push_big_endian, size_of};

/// Most bytes of a request: Kamailio closes the connection when a request is longer.
pub const REQUEST_MAX: usize = 65_535;

/// A call of a method with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRequest {
    /// The method's name.
    pub method: String,
    /// The parameters.
    pub parameters: Vec<BinrpcValue>,
}

impl CallRequest {
    /// Creates a request without parameters.
    #[must_use]
    pub fn new(method: &str) -> Self {
        Self { method: method.to_owned(), parameters: Vec::new() }
    }

    /// Adds a parameter.
    #[must_use]
    pub fn with(mut self, parameter: impl Into<BinrpcValue>) -> Self {
        self.parameters.push(parameter.into());
        self
    }

    /// Encodes the request as a packet.
    #[must_use]
    pub fn encode(&self, cookie: u32) -> Vec<u8> {
        let mut payload = Vec::new();
        push_text(&mut payload, TEXT, self.method.as_bytes());
        self.parameters.iter().for_each(|parameter| encode(parameter, &mut payload));
        packet(PacketKind::Request, cookie, &payload)
    }
}

/// Encodes a packet from its encoded records.
#[must_use]
pub fn packet(kind: PacketKind, cookie: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + HEADER_MAX);
    PacketHeader { kind, length: payload.len(), cookie }.encode(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

/// Marks an end, or a value whose length follows the first byte.
const FLAG: u8 = 0x80;
/// Longest value whose length fits into the first byte.
const SHORT_MAX: usize = 7;

/// Appends a record. Recurses as deep as the value is nested, which [`decode`](crate::decode())
/// bounds.
pub fn encode(value: &BinrpcValue, out: &mut Vec<u8>) {
    match value {
        BinrpcValue::Int(int) => push_number(out, INT, u64::from(*int as u32)),
        BinrpcValue::Text(text) => push_text(out, TEXT, text.as_bytes()),
        BinrpcValue::Double(double) => push_number(out, DOUBLE, double.0 as u64),
        BinrpcValue::Struct(members) => {
            out.push(STRUCT);
            for Member { name, value } in members {
                if let Some(name) = name {
                    push_text(out, NAME, name.as_bytes());
                }
                encode(value, out);
            }
            out.push(STRUCT | FLAG);
        }
        BinrpcValue::Array(values) => {
            out.push(ARRAY);
            values.iter().for_each(|value| encode(value, out));
            out.push(ARRAY | FLAG);
        }
        BinrpcValue::Bytes(bytes) => {
            push_head(out, BYTES, bytes.len());
            out.extend_from_slice(bytes);
        }
    }
}

/// Appends a number. Its size takes the whole upper half of the first byte, flag included: a
/// negative double has eight bytes.
fn push_number(out: &mut Vec<u8>, kind: u8, number: u64) {
    let size = size_of(number);
    out.push((size as u8) << 4 | kind);
    push_big_endian(out, number, size);
}

fn push_text(out: &mut Vec<u8>, kind: u8, text: &[u8]) {
    push_head(out, kind, text.len() + 1);
    out.extend_from_slice(text);
    out.push(0);
}

fn push_head(out: &mut Vec<u8>, kind: u8, length: usize) {
    if length <= SHORT_MAX {
        out.push((length as u8) << 4 | kind);
    } else {
        let size = size_of(length as u64);
        out.push(FLAG | (size as u8) << 4 | kind);
        push_big_endian(out, length as u64, size);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::{DecodeLimits, decode};
    use crate::value::{BinrpcText, Thousandths};

    /// Any value that the protocol can represent.
    fn any_value() -> impl Strategy<Value = BinrpcValue> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(BinrpcValue::Int),
            (-3..300_i32).prop_map(BinrpcValue::Int),
            any::<i64>().prop_map(|number| BinrpcValue::Double(Thousandths(number))),
            (-2_000..70_000_i64).prop_map(|number| BinrpcValue::Double(Thousandths(number))),
            any_text().prop_map(BinrpcValue::Text),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(BinrpcValue::Bytes),
        ];
        leaf.prop_recursive(5, 64, 6, |inner| {
            let member = (prop::option::of(any_text()), inner.clone())
                .prop_map(|(name, value)| Member { name, value });
            prop_oneof![
                prop::collection::vec(member, 0..6).prop_map(BinrpcValue::Struct),
                prop::collection::vec(inner, 0..6).prop_map(BinrpcValue::Array),
            ]
        })
    }

    fn any_text() -> impl Strategy<Value = BinrpcText> {
        let short = prop::collection::vec(any::<u8>(), 0..12);
        let long = prop::collection::vec(any::<u8>(), 250..260);
        prop_oneof![4 => short, 1 => long].prop_map(|text| BinrpcText::from(text.as_slice()))
    }

    proptest! {
        #[test]
        fn encoded_values_are_decoded_unchanged(values in prop::collection::vec(any_value(), 0..4)) {
            let mut bytes = Vec::new();
            values.iter().for_each(|value| encode(value, &mut bytes));
            prop_assert_eq!(decode(&bytes, &DecodeLimits::default()), Ok(values));
        }

        #[test]
        fn a_truncated_record_is_rejected(value in any_value(), cut in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            encode(&value, &mut bytes);
            let cut = cut.index(bytes.len());
            let part = decode(&bytes[..cut], &DecodeLimits::default());
            prop_assert!(cut == 0 || part.is_err(), "{part:?}");
        }

        #[test]
        fn arbitrary_bytes_are_decoded_or_rejected(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(values) = decode(&bytes, &DecodeLimits::default()) {
                let mut again = Vec::new();
                values.iter().for_each(|value| encode(value, &mut again));
                prop_assert_eq!(decode(&again, &DecodeLimits::default()), Ok(values));
            }
        }
    }

    #[test]
    fn zero_is_one_byte_for_an_int_and_for_a_double() {
        let mut bytes = Vec::new();
        encode(&BinrpcValue::Int(0), &mut bytes);
        encode(&BinrpcValue::Double(Thousandths(0)), &mut bytes);
        assert_eq!(bytes, [0x00, 0x02]);
    }
}
