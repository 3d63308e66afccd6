//! Decodes the records of a packet.

use crate::error::{DecodeError, DecodeErrorKind};
use crate::value::{BinrpcText, BinrpcValue, Member, Thousandths};
use crate::wire::{big_endian, tag};

/// Most values of one packet by default.
const VALUES_MAX: usize = 1_000_000;
/// Most nested structs by default.
const DEPTH_MAX: usize = 32;

/// Bounds on the records of one packet. The decoder rejects anything beyond them, so that a broken
/// peer cannot cost more memory than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Most bytes of all records. Kamailio's largest replies are dumps of hash tables, about 100
    /// bytes an entry.
    pub bytes: usize,
    /// Most values, at about 50 bytes each.
    pub values: usize,
    /// Most nested structs; Kamailio needs 7.
    pub depth: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { bytes: 8 << 20, values: VALUES_MAX, depth: DEPTH_MAX }
    }
}

/// Decodes the records of a packet, without its header.
///
/// # Errors
/// At the first byte that is not part of a record, or where a limit is exceeded.
pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Vec<BinrpcValue>, DecodeError> {
    if bytes.len() > limits.bytes {
        return Err(DecodeError { offset: limits.bytes, kind: DecodeErrorKind::TooManyBytes });
    }
    let mut decoder = Decoder::new(limits);
    let mut reader = RecordReader { bytes, at: 0 };
    while reader.at < bytes.len() {
        let offset = reader.at;
        let decoded = reader.token().and_then(|token| decoder.add(token));
        decoded.map_err(|kind| DecodeError { offset, kind })?;
    }
    decoder.finish().map_err(|kind| DecodeError { offset: bytes.len(), kind })
}

/// One record, or one end of a struct or an array.
enum Token<'a> {
    Value(BinrpcValue),
    Name(&'a [u8]),
    Start(ContainerKind),
    End(ContainerKind),
}

/// The two types of records that have members.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ContainerKind {
    Struct,
    Array,
}

/// Splits bytes into tokens.
struct RecordReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> RecordReader<'a> {
    fn take(&mut self, size: usize) -> Result<&'a [u8], DecodeErrorKind> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..size).ok_or(DecodeErrorKind::Truncated)?;
        self.at += size;
        Ok(taken)
    }

    fn token(&mut self) -> Result<Token<'a>, DecodeErrorKind> {
        let head = self.take(1)?[0];
        let kind = head & 0x0F;
        if kind == tag::DOUBLE {
            // A negative double has eight bytes, so the highest bit is part of the size here.
            return self.double(usize::from(head >> 4)).map(Token::Value);
        }
        let (size, is_flagged) = (usize::from(head >> 4 & 7), head & 0x80 != 0);
        match (kind, size, is_flagged) {
            (tag::STRUCT, 0, _) => return Ok(boundary(ContainerKind::Struct, is_flagged)),
            (tag::ARRAY, 0, _) => return Ok(boundary(ContainerKind::Array, is_flagged)),
            (tag::INT | tag::TEXT | tag::NAME | tag::BYTES, 0, true) => {
                return Err(DecodeErrorKind::StrayEnd);
            }
            _ => {}
        }
        let size = if is_flagged { self.length(size)? } else { size };
        Ok(match kind {
            tag::INT => Token::Value(self.int(size)?),
            tag::TEXT => Token::Value(BinrpcValue::Text(self.text(size)?.into())),
            tag::NAME => Token::Name(self.text(size)?),
            tag::BYTES => Token::Value(BinrpcValue::Bytes(self.take(size)?.to_vec())),
            _ => return Err(DecodeErrorKind::UnknownType),
        })
    }

    /// Reads a length of `size` bytes, at most seven.
    fn length(&mut self, size: usize) -> Result<usize, DecodeErrorKind> {
        let length = big_endian(self.take(size)?);
        // A length that does not fit `usize` is longer than the bytes.
        usize::try_from(length).map_err(|_| DecodeErrorKind::Truncated)
    }

    fn int(&mut self, size: usize) -> Result<BinrpcValue, DecodeErrorKind> {
        if size > 4 {
            return Err(DecodeErrorKind::OversizedNumber);
        }
        Ok(BinrpcValue::Int(big_endian(self.take(size)?) as u32 as i32))
    }

    fn double(&mut self, size: usize) -> Result<BinrpcValue, DecodeErrorKind> {
        if size > 8 {
            return Err(DecodeErrorKind::OversizedNumber);
        }
        Ok(BinrpcValue::Double(Thousandths(big_endian(self.take(size)?) as i64)))
    }

    fn text(&mut self, size: usize) -> Result<&'a [u8], DecodeErrorKind> {
        match self.take(size)?.split_last() {
            Some((0, text)) => Ok(text),
            _ => Err(DecodeErrorKind::UnterminatedText),
        }
    }
}

fn boundary<'a>(kind: ContainerKind, is_end: bool) -> Token<'a> {
    if is_end { Token::End(kind) } else { Token::Start(kind) }
}

/// Assembles tokens into values. The list of open containers replaces recursion, so that deep
/// nesting cannot exhaust the stack.
struct Decoder {
    limits: DecodeLimits,
    values: usize,
    open: Vec<OpenContainer>,
    /// The innermost open container; the list of records itself while none is open.
    current: OpenContainer,
}

/// A struct or array whose end has not been read yet.
struct OpenContainer {
    /// `None` for the list of records.
    kind: Option<ContainerKind>,
    /// Its name in the enclosing struct.
    name: Option<BinrpcText>,
    members: Vec<Member>,
    /// The name of the next member.
    next_name: Option<BinrpcText>,
}

impl OpenContainer {
    fn new(kind: Option<ContainerKind>, name: Option<BinrpcText>) -> Self {
        Self { kind, name, members: Vec::new(), next_name: None }
    }
}

impl Decoder {
    fn new(limits: &DecodeLimits) -> Self {
        let current = OpenContainer::new(None, None);
        Self { limits: *limits, values: 0, open: Vec::new(), current }
    }

    fn add(&mut self, token: Token<'_>) -> Result<(), DecodeErrorKind> {
        match token {
            Token::Value(value) => {
                self.count()?;
                let name = self.current.next_name.take();
                self.current.members.push(Member { name, value });
            }
            Token::Name(name) => {
                let is_in_struct = self.current.kind == Some(ContainerKind::Struct);
                if !is_in_struct || self.current.next_name.is_some() {
                    return Err(DecodeErrorKind::StrayName);
                }
                self.current.next_name = Some(name.into());
            }
            Token::Start(kind) => {
                self.count()?;
                if self.open.len() >= self.limits.depth {
                    return Err(DecodeErrorKind::TooDeep);
                }
                let inner = OpenContainer::new(Some(kind), self.current.next_name.take());
                self.open.push(std::mem::replace(&mut self.current, inner));
            }
            Token::End(kind) => self.close(kind)?,
        }
        Ok(())
    }

    fn close(&mut self, kind: ContainerKind) -> Result<(), DecodeErrorKind> {
        if self.current.kind != Some(kind) {
            return Err(DecodeErrorKind::StrayEnd);
        }
        if self.current.next_name.is_some() {
            return Err(DecodeErrorKind::StrayName);
        }
        let outer = self.open.pop().ok_or(DecodeErrorKind::StrayEnd)?;
        let OpenContainer { name, members, .. } = std::mem::replace(&mut self.current, outer);
        let value = match kind {
            ContainerKind::Struct => BinrpcValue::Struct(members),
            ContainerKind::Array => BinrpcValue::Array(values(members)),
        };
        self.current.members.push(Member { name, value });
        Ok(())
    }

    fn count(&mut self) -> Result<(), DecodeErrorKind> {
        self.values += 1;
        let is_within = self.values <= self.limits.values;
        is_within.then_some(()).ok_or(DecodeErrorKind::TooManyValues)
    }

    fn finish(self) -> Result<Vec<BinrpcValue>, DecodeErrorKind> {
        if self.open.is_empty() {
            Ok(values(self.current.members))
        } else {
            Err(DecodeErrorKind::Truncated)
        }
    }
}

fn values(members: Vec<Member>) -> Vec<BinrpcValue> {
    members.into_iter().map(|member| member.value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(bytes: &[u8]) -> Result<Vec<BinrpcValue>, DecodeErrorKind> {
        decode(bytes, &DecodeLimits::default()).map_err(|error| error.kind)
    }

    #[test]
    fn every_encoding_of_a_number_is_decoded() {
        for (bytes, value) in [
            (&[0x00][..], BinrpcValue::Int(0)),
            (&[0x10, 0x07], BinrpcValue::Int(7)),
            (&[0x40, 0xFF, 0xFF, 0xFF, 0xFE], BinrpcValue::Int(-2)),
            (&[0x90, 0x02, 0x12, 0x34], BinrpcValue::Int(0x1234)),
            (&[0xA0, 0x00, 0x02, 0x12, 0x34], BinrpcValue::Int(0x1234)),
            (&[0x02], BinrpcValue::Double(Thousandths(0))),
            (&[0x22, 0x09, 0xC4], BinrpcValue::Double(Thousandths(2_500))),
            // For any other type these bits would mark an end.
            (
                &[0x82, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFC, 0x18],
                BinrpcValue::Double(Thousandths(-1_000)),
            ),
            (&[0x11, 0x00], BinrpcValue::from("")),
        ] {
            assert_eq!(records(bytes), Ok(vec![value]), "{bytes:x?}");
        }
    }

    #[test]
    fn members_may_lack_names() {
        let bytes = [0x03, 0x25, b'a', 0, 0x00, 0x10, 0x01, 0x03, 0x83, 0x83];
        let members = vec![
            Member::named("a", BinrpcValue::Int(0)),
            Member::unnamed(BinrpcValue::Int(1)),
            Member::unnamed(BinrpcValue::Struct(vec![])),
        ];
        assert_eq!(records(&bytes), Ok(vec![BinrpcValue::Struct(members)]));
    }

    #[test]
    fn an_error_names_its_offset() {
        for (bytes, offset, kind) in [
            (&[0x00, 0x20, 0x01][..], 1, DecodeErrorKind::Truncated),
            (&[0xF1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], 0, DecodeErrorKind::Truncated),
            (&[0x21, b'a', b'b'], 0, DecodeErrorKind::UnterminatedText),
            (&[0x01], 0, DecodeErrorKind::UnterminatedText),
            (&[0x50, 1, 2, 3, 4, 5], 0, DecodeErrorKind::OversizedNumber),
            (&[0x92, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0, DecodeErrorKind::OversizedNumber),
            (&[0x07], 0, DecodeErrorKind::UnknownType),
            (&[0x13, 0x00], 0, DecodeErrorKind::UnknownType),
            (&[0x25, b'a', 0], 0, DecodeErrorKind::StrayName),
            (&[0x04, 0x25, b'a', 0, 0x00, 0x84], 1, DecodeErrorKind::StrayName),
            (&[0x03, 0x25, b'a', 0, 0x25, b'b', 0], 4, DecodeErrorKind::StrayName),
            (&[0x03, 0x25, b'a', 0, 0x83], 4, DecodeErrorKind::StrayName),
            (&[0x83], 0, DecodeErrorKind::StrayEnd),
            (&[0x03, 0x84], 1, DecodeErrorKind::StrayEnd),
            (&[0x80], 0, DecodeErrorKind::StrayEnd),
            (&[0x03], 1, DecodeErrorKind::Truncated),
            (&[0x03, 0x25, b'a', 0], 4, DecodeErrorKind::Truncated),
        ] {
            let expected = DecodeError { offset, kind };
            assert_eq!(decode(bytes, &DecodeLimits::default()), Err(expected), "{bytes:x?}");
        }
    }

    #[test]
    fn each_limit_holds_exactly() {
        let limits = DecodeLimits { bytes: 6, values: 3, depth: 2 };
        let result = |bytes: &[u8]| decode(bytes, &limits).map_err(|error| error.kind);
        assert!(result(&[0x03, 0x03, 0x83, 0x83, 0x00]).is_ok());
        assert_eq!(result(&[0x03, 0x03, 0x03, 0x83, 0x83, 0x83]), Err(DecodeErrorKind::TooDeep));
        assert_eq!(result(&[0x00; 4]), Err(DecodeErrorKind::TooManyValues));
        assert_eq!(result(&[0x00; 7]), Err(DecodeErrorKind::TooManyBytes));
    }

    #[test]
    fn endless_nesting_is_rejected() {
        assert_eq!(records(&vec![0x03; 1 << 20]), Err(DecodeErrorKind::TooDeep));
    }
}
