//! The header of a packet.

use crate::decode::{DecodeError, Trouble};
use crate::value::{Text, Value};

/// First byte: the magic number and the version of the protocol.
const MAGIC: u8 = 0xA1;
/// Most bytes of a header: two, four of the length, four of the cookie.
pub const HEADER_MAX: usize = 10;

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A method and its parameters.
    Request,
    /// What the method answered.
    Reply,
    /// Why it did not.
    Fault,
}

/// What stands before the records of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the packet is.
    pub kind: Kind,
    /// Bytes of the records.
    pub length: usize,
    /// Tells which request a reply belongs to. It is a number: Kamailio sends back `00 00 00 05` as
    /// `05`.
    pub cookie: u32,
}

/// What Kamailio says instead of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A number in the manner of SIP: 400, 404, 500.
    pub code: i32,
    /// A sentence, at times with a newline at its end.
    pub reason: Text,
}

impl Header {
    /// Reads a header: it and its length, or `None` if there is more to come.
    ///
    /// # Errors
    /// When these bytes begin no packet.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        let Some(magic) = bytes.first() else { return Ok(None) };
        if *magic != MAGIC {
            return Err(DecodeError { offset: 0, trouble: Trouble::BadMagic });
        }
        let Some(second) = bytes.get(1) else { return Ok(None) };
        let kind = match second >> 4 {
            0 => Kind::Request,
            1 => Kind::Reply,
            3 => Kind::Fault,
            _ => return Err(DecodeError { offset: 1, trouble: Trouble::BadKind }),
        };
        let length_size = usize::from(second >> 2 & 3) + 1;
        let cookie_size = usize::from(second & 3) + 1;
        let end = 2 + length_size + cookie_size;
        let Some(numbers) = bytes.get(2..end) else { return Ok(None) };
        let (length, cookie) = numbers.split_at(length_size);
        let header =
            Self { kind, length: big_endian(length) as usize, cookie: big_endian(cookie) as u32 };
        Ok(Some((header, end)))
    }

    /// Writes it, in the fewest bytes.
    ///
    /// The length has to fit 32 bits, as all packets do that Kamailio takes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        debug_assert!(u32::try_from(self.length).is_ok(), "a packet of {} bytes", self.length);
        let kind = match self.kind {
            Kind::Request => 0,
            Kind::Reply => 1,
            Kind::Fault => 3,
        };
        let (length, cookie) = (self.length as u64, u64::from(self.cookie));
        let (length_size, cookie_size) = (size_of(length).max(1), size_of(cookie).max(1));
        let sizes = ((length_size - 1) << 2 | (cookie_size - 1)) as u8;
        out.extend([MAGIC, kind << 4 | sizes]);
        push_big_endian(out, length, length_size);
        push_big_endian(out, cookie, cookie_size);
    }
}

impl Fault {
    /// Reads the records of a fault.
    #[must_use]
    pub fn of(records: &[Value]) -> Option<Self> {
        match records {
            [Value::Int(code), Value::Text(reason), ..] => {
                Some(Self { code: *code, reason: reason.clone() })
            }
            _ => None,
        }
    }

    /// Whether it says that there is no such method: its module is not loaded.
    #[must_use]
    pub fn is_unknown_method(&self) -> bool {
        let reason = self.reason.to_str();
        self.code == 500
            && reason.starts_with("command ")
            && reason.trim_end().ends_with("not found")
    }
}

/// How many bytes a number takes: none for 0.
pub(crate) fn size_of(number: u64) -> usize {
    8 - number.leading_zeros() as usize / 8
}

/// The last `size` bytes of a number.
pub(crate) fn push_big_endian(out: &mut Vec<u8>, number: u64, size: usize) {
    out.extend_from_slice(&number.to_be_bytes()[8 - size..]);
}

/// The number in up to eight bytes.
pub(crate) fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_is_asked_for_until_it_is_there() {
        let bytes = [0xA1, 0x13, 0x02, 0xAA, 0xBB, 0xCC, 0xDD, 0x99];
        for end in 0..7 {
            assert_eq!(Header::decode(&bytes[..end]), Ok(None), "{end} bytes");
        }
        let header = Header { kind: Kind::Reply, length: 2, cookie: 0xAABB_CCDD };
        assert_eq!(Header::decode(&bytes), Ok(Some((header, 7))));
    }

    #[test]
    fn what_begins_no_packet_is_told_at_once() {
        assert!(Header::decode(b"HTTP/1.1 200 OK").is_err());
        assert!(Header::decode(&[0xA2]).is_err());
        assert!(Header::decode(&[0xA1, 0x20]).is_err());
    }

    #[test]
    fn a_cookie_is_a_number_however_many_bytes_it_has() {
        let cookie = |bytes: &[u8]| Header::decode(bytes).unwrap().unwrap().0.cookie;
        assert_eq!(cookie(&[0xA1, 0x13, 0, 0, 0, 0, 5]), cookie(&[0xA1, 0x10, 0, 5]));
    }

    proptest! {
        #[test]
        fn a_header_comes_back(kind in 0..3_u8, length in any::<u32>(), cookie in any::<u32>()) {
            let kind = [Kind::Request, Kind::Reply, Kind::Fault][usize::from(kind)];
            let header = Header { kind, length: length as usize, cookie };
            let mut bytes = Vec::new();
            header.encode(&mut bytes);
            prop_assert!(bytes.len() <= HEADER_MAX);
            prop_assert_eq!(Header::decode(&bytes), Ok(Some((header, bytes.len()))));
        }
    }
}
