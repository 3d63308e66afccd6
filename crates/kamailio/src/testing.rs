//! The body of the fuzz target `binrpc`: packets from an untrusted peer.

use binrpc::{BinrpcValue, DecodeLimits, Member, PacketHeader, PacketKind, decode, encode, text};

use crate::call::MethodCall;
use crate::methods::{self, METHODS};
use crate::reading::Readings;

/// Low limits, so that inputs reach them.
const LIMITS: DecodeLimits = DecodeLimits { bytes: 2_048, values: 200, depth: 6 };

/// Checks an input: the first byte chooses a method, the rest is its reply. The rest is decoded as
/// records, and as a packet with a header.
///
/// # Panics
/// If a check fails.
pub fn check(input: &[u8]) {
    let [method, records @ ..] = input else { return };
    check_header(records);
    let decoded = decode(records, &LIMITS);
    assert_eq!(decoded.as_deref().ok(), reference(records).as_deref(), "{records:x?}");
    let Ok(values) = decoded else { return };
    let mut again = Vec::new();
    values.iter().for_each(|value| encode(value, &mut again));
    let unlimited = DecodeLimits { bytes: usize::MAX, ..LIMITS };
    assert_eq!(decode(&again, &unlimited).as_ref(), Ok(&values));
    let mut printed = Vec::new();
    text::write_reply(&values, &mut printed);
    check_mapping(&call(*method), &values);
}

/// The call of a method in the table. Numbers beyond the table stand for an unknown method, so that the
/// inputs keep their meaning when the table grows.
fn call(number: u8) -> MethodCall {
    match METHODS.get(usize::from(number)) {
        Some(method) => method.default_call(),
        None => MethodCall::listed("other.method", vec!["argument".to_owned()]),
    }
}

/// Checks that a header is decoded alike from any number of bytes, and survives encoding.
fn check_header(bytes: &[u8]) {
    let whole = PacketHeader::decode(bytes);
    for end in 0..bytes.len().min(10) {
        match PacketHeader::decode(&bytes[..end]) {
            Ok(None) => {}
            part => assert_eq!(part, whole),
        }
    }
    if let Ok(Some((header, _))) = whole {
        assert!([PacketKind::Request, PacketKind::Reply, PacketKind::Fault].contains(&header.kind));
        let mut again = Vec::new();
        header.encode(&mut again);
        assert_eq!(PacketHeader::decode(&again), Ok(Some((header, again.len()))));
    }
}

/// Checks that any reply of a method becomes valid readings.
fn check_mapping(call: &MethodCall, values: &[BinrpcValue]) {
    let mut readings = Readings::default();
    methods::map_reply(call, values, &mut readings);
    for reading in readings.0 {
        assert!(reading.name.starts_with("kamailio."), "{reading:?}");
        assert!(reading.value.number().is_finite(), "{reading:?}");
    }
}

/// Decodes records by recursion, as a reference.
fn reference(bytes: &[u8]) -> Option<Vec<BinrpcValue>> {
    if bytes.len() > LIMITS.bytes {
        return None;
    }
    let mut left = LIMITS.values;
    let (members, rest) = list(bytes, None, 0, &mut left)?;
    rest.is_empty().then(|| members.into_iter().map(|member| member.value).collect())
}

type Decoded<'a, T> = Option<(T, &'a [u8])>;

/// Decodes members up to the end of a container of type `kind`, or up to the end of the bytes.
fn list<'a>(
    mut bytes: &'a [u8],
    kind: Option<u8>,
    depth: usize,
    left: &mut usize,
) -> Decoded<'a, Vec<Member>> {
    let mut members = Vec::new();
    loop {
        let Some((head, rest)) = bytes.split_first() else {
            return kind.is_none().then_some((members, bytes));
        };
        if head & 0xF0 == 0x80 && matches!(head & 0x0F, 3 | 4) {
            return (kind == Some(head & 0x0F)).then_some((members, rest));
        }
        let mut name = None;
        if head & 0x0F == 5 {
            if kind != Some(3) {
                return None;
            }
            let (text, rest) = bytes_of(bytes)?;
            name = Some(text.strip_suffix(&[0])?.into());
            bytes = rest;
        }
        let (value, rest) = value(bytes, depth, left)?;
        members.push(Member { name, value });
        bytes = rest;
    }
}

fn value<'a>(bytes: &'a [u8], depth: usize, left: &mut usize) -> Decoded<'a, BinrpcValue> {
    let (head, rest) = bytes.split_first()?;
    let value = match head & 0x0F {
        2 => {
            let number = rest.get(..usize::from(head >> 4)).filter(|number| number.len() <= 8)?;
            let double = BinrpcValue::Double(binrpc::Thousandths(number_of(number) as i64));
            (double, &rest[number.len()..])
        }
        kind @ (3 | 4) if head >> 4 == 0 => {
            *left = left.checked_sub(1)?;
            if depth >= LIMITS.depth {
                return None;
            }
            let (members, rest) = list(rest, Some(kind), depth + 1, left)?;
            let value = match kind {
                3 => BinrpcValue::Struct(members),
                _ => BinrpcValue::Array(members.into_iter().map(|member| member.value).collect()),
            };
            return Some((value, rest));
        }
        0 => {
            let (number, rest) = bytes_of(bytes)?;
            (number.len() <= 4)
                .then_some((BinrpcValue::Int(number_of(number) as u32 as i32), rest))?
        }
        1 => {
            let (text, rest) = bytes_of(bytes)?;
            (BinrpcValue::Text(text.strip_suffix(&[0])?.into()), rest)
        }
        6 => {
            let (bytes, rest) = bytes_of(bytes)?;
            (BinrpcValue::Bytes(bytes.to_vec()), rest)
        }
        _ => return None,
    };
    *left = left.checked_sub(1)?;
    Some(value)
}

/// The bytes of a record of any type except doubles, structs and arrays.
fn bytes_of(bytes: &[u8]) -> Decoded<'_, &[u8]> {
    let (head, rest) = bytes.split_first()?;
    let size = usize::from(head >> 4 & 7);
    let (size, rest) = match (head & 0x80, size) {
        (0, size) => (size, rest),
        (_, 0) => return None,
        (_, size) => {
            let length = number_of(rest.get(..size)?);
            (usize::try_from(length).ok()?, &rest[size..])
        }
    };
    Some((rest.get(..size)?, &rest[size..]))
}

fn number_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_of_binrpc_passes() {
        engine::testing::replay("binrpc", super::check);
    }
}
