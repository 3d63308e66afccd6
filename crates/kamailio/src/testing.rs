//! BINRPC: packets from a peer that may send anything.

use binrpc::{BinrpcValue, DecodeLimits, Member, PacketHeader, PacketKind, decode, encode, text};

use crate::config::Method;
use crate::mapping;
use crate::reading::{Measured, Readings};

/// What the limits are here: low, so that they are reached.
const LIMITS: DecodeLimits = DecodeLimits { bytes: 2_048, values: 200, depth: 6 };
/// Methods with a mapping of their own, and one without.
const METHODS: [&str; 13] = [
    "tm.stats",
    "sl.stats",
    "core.shmmem",
    "core.uptime",
    "core.tcp_info",
    "stats.fetch",
    "pkg.stats",
    "dispatcher.list",
    "dlg.stats_active",
    "dmq.list_nodes",
    "rtpengine.show",
    "shm.stats",
    "other.method argument",
];

/// The first byte chooses a method, the others are its reply: first records alone, then a packet.
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
    let method = METHODS[usize::from(*method) % METHODS.len()];
    check_mapping(&Method::parse(method).expect("it has a name"), &values);
}

/// A header is the same however its bytes come, and comes back.
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

/// Whatever a method answers, what comes out is samples.
fn check_mapping(method: &Method, values: &[BinrpcValue]) {
    let mut readings = Readings::default();
    mapping::map(method, values, &mut readings);
    for reading in readings.0 {
        assert!(reading.name.starts_with("kamailio."), "{reading:?}");
        let (Measured::Level(number)
        | Measured::Total { total: number, .. }
        | Measured::Growth { total: number, .. }
        | Measured::Increment(number)) = reading.value;
        assert!(number.is_finite(), "{reading:?}");
    }
}

/// The records once more, by recursion.
fn reference(bytes: &[u8]) -> Option<Vec<BinrpcValue>> {
    if bytes.len() > LIMITS.bytes {
        return None;
    }
    let mut left = LIMITS.values;
    let (members, rest) = list(bytes, None, 0, &mut left)?;
    rest.is_empty().then(|| members.into_iter().map(|member| member.value).collect())
}

type Rest<'a, T> = Option<(T, &'a [u8])>;

/// Members up to the end mark of `kind`, or of all bytes.
fn list<'a>(
    mut bytes: &'a [u8],
    kind: Option<u8>,
    depth: usize,
    left: &mut usize,
) -> Rest<'a, Vec<Member>> {
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

fn value<'a>(bytes: &'a [u8], depth: usize, left: &mut usize) -> Rest<'a, BinrpcValue> {
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

/// The bytes of a record, by the rule that all types but doubles and lists have.
fn bytes_of(bytes: &[u8]) -> Rest<'_, &[u8]> {
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
