//! Values to bytes, in the fewest of them, as Kamailio does it.

use crate::decode::tag::{ARRAY, BYTES, DOUBLE, INT, NAME, STRUCT, TEXT};
use crate::packet::{Header, Kind, push_big_endian, size_of};
use crate::value::{Member, Value};

/// Most bytes of a request: Kamailio closes the connection on a longer one.
pub const REQUEST_MAX: usize = 65_535;

/// A method and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method's name.
    pub method: String,
    /// What it is given.
    pub parameters: Vec<Value>,
}

impl Request {
    /// A request without parameters.
    #[must_use]
    pub fn new(method: &str) -> Self {
        Self { method: method.to_owned(), parameters: Vec::new() }
    }

    /// The same with one more parameter.
    #[must_use]
    pub fn with(mut self, parameter: impl Into<Value>) -> Self {
        self.parameters.push(parameter.into());
        self
    }

    /// The whole packet.
    #[must_use]
    pub fn encode(&self, cookie: u32) -> Vec<u8> {
        let mut payload = Vec::new();
        push_text(&mut payload, TEXT, self.method.as_bytes());
        self.parameters.iter().for_each(|parameter| encode(parameter, &mut payload));
        packet(Kind::Request, cookie, &payload)
    }
}

/// A packet of these records.
#[must_use]
pub fn packet(kind: Kind, cookie: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + crate::packet::HEADER_MAX);
    Header { kind, length: payload.len(), cookie }.encode(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

/// Marks an end, or that the length of the value follows.
const FLAG: u8 = 0x80;
/// Longest value whose length is in the first byte.
const SHORT_MAX: usize = 7;

/// Appends a record. It goes as deep as the value does: that of a value which [`decode`](crate::decode())
/// gave is bounded.
pub fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Int(int) => push_number(out, INT, u64::from(*int as u32)),
        Value::Text(text) => push_text(out, TEXT, text.as_bytes()),
        Value::Double(double) => push_number(out, DOUBLE, double.0 as u64),
        Value::Struct(members) => {
            out.push(STRUCT);
            for Member { name, value } in members {
                if let Some(name) = name {
                    push_text(out, NAME, name.as_bytes());
                }
                encode(value, out);
            }
            out.push(STRUCT | FLAG);
        }
        Value::Array(values) => {
            out.push(ARRAY);
            values.iter().for_each(|value| encode(value, out));
            out.push(ARRAY | FLAG);
        }
        Value::Bytes(bytes) => {
            push_head(out, BYTES, bytes.len());
            out.extend_from_slice(bytes);
        }
    }
}

/// The size of a number goes into the upper half, flag included: only negative doubles need it.
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
    use crate::decode::{Limits, decode};
    use crate::value::{Text, Thousandths};

    /// Any value that the protocol can carry.
    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(Value::Int),
            (-3..300_i32).prop_map(Value::Int),
            any::<i64>().prop_map(|number| Value::Double(Thousandths(number))),
            (-2_000..70_000_i64).prop_map(|number| Value::Double(Thousandths(number))),
            any_text().prop_map(Value::Text),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        ];
        leaf.prop_recursive(5, 64, 6, |inner| {
            let member = (prop::option::of(any_text()), inner.clone())
                .prop_map(|(name, value)| Member { name, value });
            prop_oneof![
                prop::collection::vec(member, 0..6).prop_map(Value::Struct),
                prop::collection::vec(inner, 0..6).prop_map(Value::Array),
            ]
        })
    }

    fn any_text() -> impl Strategy<Value = Text> {
        let short = prop::collection::vec(any::<u8>(), 0..12);
        let long = prop::collection::vec(any::<u8>(), 250..260);
        prop_oneof![4 => short, 1 => long].prop_map(|text| Text::from(text.as_slice()))
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(values in prop::collection::vec(any_value(), 0..4)) {
            let mut bytes = Vec::new();
            values.iter().for_each(|value| encode(value, &mut bytes));
            prop_assert_eq!(decode(&bytes, &Limits::default()), Ok(values));
        }

        #[test]
        fn no_part_of_a_record_is_a_record(value in any_value(), cut in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            encode(&value, &mut bytes);
            let cut = cut.index(bytes.len());
            let part = decode(&bytes[..cut], &Limits::default());
            prop_assert!(cut == 0 || part.is_err(), "{part:?}");
        }

        #[test]
        fn any_bytes_are_records_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(values) = decode(&bytes, &Limits::default()) {
                let mut again = Vec::new();
                values.iter().for_each(|value| encode(value, &mut again));
                prop_assert_eq!(decode(&again, &Limits::default()), Ok(values));
            }
        }
    }

    #[test]
    fn zero_is_one_byte_for_an_int_and_for_a_double() {
        let mut bytes = Vec::new();
        encode(&Value::Int(0), &mut bytes);
        encode(&Value::Double(Thousandths(0)), &mut bytes);
        assert_eq!(bytes, [0x00, 0x02]);
    }
}
