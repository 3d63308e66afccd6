//! Packet headers and faults.

use crate::error::{DecodeError, DecodeErrorKind};
use crate::value::{BinrpcText, BinrpcValue};
use crate::wire::{big_endian, push_big_endian, size_of};

/// First byte: the magic number and the version of the protocol.
const MAGIC: u8 = 0xA1;
/// Most bytes of a header: two, four for the length, four for the cookie.
pub const HEADER_MAX: usize = 10;

/// The kind of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// A method and its parameters.
    Request,
    /// The reply of a method.
    Reply,
    /// The reason why a method did not reply.
    Fault,
}

/// The header of a packet, which precedes its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketHeader {
    /// The kind of the packet.
    pub kind: PacketKind,
    /// Number of bytes of the records.
    pub length: usize,
    /// Identifies the request that a reply belongs to. It is a number, not a byte string: Kamailio
    /// returns `00 00 00 05` as `05`.
    pub cookie: u32,
}

/// An error that Kamailio returns instead of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A status code as in SIP: 400, 404, 500.
    pub code: i32,
    /// A sentence, sometimes with a trailing newline.
    pub reason: BinrpcText,
}

impl PacketHeader {
    /// Decodes a header and returns it with its size in bytes, or `None` if it is incomplete.
    ///
    /// # Errors
    /// When the bytes do not start a packet.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        let Some(magic) = bytes.first() else { return Ok(None) };
        if *magic != MAGIC {
            return Err(DecodeError { offset: 0, kind: DecodeErrorKind::BadMagic });
        }
        let Some(second) = bytes.get(1) else { return Ok(None) };
        let kind = match second >> 4 {
            0 => PacketKind::Request,
            1 => PacketKind::Reply,
            3 => PacketKind::Fault,
            _ => return Err(DecodeError { offset: 1, kind: DecodeErrorKind::BadPacketKind }),
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

    /// Appends the header in as few bytes as possible.
    ///
    /// The length must fit 32 bits, as it does for every packet that Kamailio accepts.
    pub fn encode(&self, out: &mut Vec<u8>) {
        debug_assert!(u32::try_from(self.length).is_ok(), "a packet of {} bytes", self.length);
        let kind = match self.kind {
            PacketKind::Request => 0,
            PacketKind::Reply => 1,
            PacketKind::Fault => 3,
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
    /// Reads a fault from the records of its packet.
    #[must_use]
    pub fn from_records(records: &[BinrpcValue]) -> Option<Self> {
        match records {
            [BinrpcValue::Int(code), BinrpcValue::Text(reason), ..] => {
                Some(Self { code: *code, reason: reason.clone() })
            }
            _ => None,
        }
    }

    /// Whether Kamailio does not know the method, because the method's module is not loaded.
    #[must_use]
    pub fn is_unknown_method(&self) -> bool {
        let reason = self.reason.to_str();
        self.code == 500
            && reason.starts_with("command ")
            && reason.trim_end().ends_with("not found")
    }

    /// Whether Kamailio failed while it carried out the method: `Internal error`, or `Internal server
    /// error processing …`. The usual cause is a reply that exceeds a limit of the module ctl.
    #[must_use]
    pub fn is_internal_error(&self) -> bool {
        self.code == 500 && self.reason.to_str().starts_with("Internal ")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_is_incomplete_until_its_last_byte() {
        let bytes = [0xA1, 0x13, 0x02, 0xAA, 0xBB, 0xCC, 0xDD, 0x99];
        for end in 0..7 {
            assert_eq!(PacketHeader::decode(&bytes[..end]), Ok(None), "{end} bytes");
        }
        let header = PacketHeader { kind: PacketKind::Reply, length: 2, cookie: 0xAABB_CCDD };
        assert_eq!(PacketHeader::decode(&bytes), Ok(Some((header, 7))));
    }

    #[test]
    fn other_protocols_are_rejected_at_the_first_byte() {
        assert!(PacketHeader::decode(b"HTTP/1.1 200 OK").is_err());
        assert!(PacketHeader::decode(&[0xA2]).is_err());
        assert!(PacketHeader::decode(&[0xA1, 0x20]).is_err());
    }

    #[test]
    fn a_cookie_is_compared_as_a_number() {
        let cookie = |bytes: &[u8]| PacketHeader::decode(bytes).unwrap().unwrap().0.cookie;
        assert_eq!(cookie(&[0xA1, 0x13, 0, 0, 0, 0, 5]), cookie(&[0xA1, 0x10, 0, 5]));
    }

    proptest! {
        #[test]
        fn a_header_survives_encoding(kind in 0..3_u8, length in any::<u32>(), cookie in any::<u32>()) {
            let kind = [PacketKind::Request, PacketKind::Reply, PacketKind::Fault][usize::from(kind)];
            let header = PacketHeader { kind, length: length as usize, cookie };
            let mut bytes = Vec::new();
            header.encode(&mut bytes);
            prop_assert!(bytes.len() <= HEADER_MAX);
            prop_assert_eq!(PacketHeader::decode(&bytes), Ok(Some((header, bytes.len()))));
        }
    }
}
