//! Bytes to values.

use thiserror::Error;

use crate::packet::big_endian;
use crate::value::{Member, Text, Thousandths, Value};

/// What the records of one packet may be. More is refused, so that a broken peer costs no more than
/// this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of all records. Kamailio's largest are dumps of hash tables, some 100 bytes an
    /// entry.
    pub bytes: usize,
    /// Most values, at some 50 bytes each.
    pub values: usize,
    /// Most structs within each other; Kamailio needs 7.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 8 << 20, values: 1_000_000, depth: 32 }
    }
}

/// Why bytes are no records.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{trouble}, at byte {offset}")]
pub struct DecodeError {
    /// Where the trouble is, counted from the first record, or from the first byte of a header.
    pub offset: usize,
    /// What it is.
    pub trouble: Trouble,
}

/// What is wrong with bytes.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Trouble {
    /// They begin no packet.
    #[error("this is no BINRPC packet")]
    BadMagic,
    /// A kind of packet that there is not.
    #[error("a packet of an unknown kind")]
    BadKind,
    /// More of them than allowed.
    #[error("more bytes than allowed")]
    TooLong,
    /// More values than allowed.
    #[error("more values than allowed")]
    TooMany,
    /// More nested structs than allowed.
    #[error("structs nested too deeply")]
    TooDeep,
    /// They end within a record.
    #[error("the records break off")]
    BrokenOff,
    /// Text without its zero byte.
    #[error("a text without its end")]
    BadText,
    /// A number of more bytes than its type has.
    #[error("a number that is too long")]
    BadNumber,
    /// A type that is not known. It cannot be passed over, because what its size bits mean is not
    /// known either.
    #[error("a value of an unknown type")]
    UnknownType,
    /// A name where none may stand, or without its value.
    #[error("a name without a value")]
    StrayName,
    /// An end without its beginning.
    #[error("an end of a struct that has not begun")]
    StrayEnd,
}

/// Reads the records of a packet, without its header.
///
/// # Errors
/// At the first byte that cannot be read, or where a limit is exceeded.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Vec<Value>, DecodeError> {
    if bytes.len() > limits.bytes {
        return Err(DecodeError { offset: limits.bytes, trouble: Trouble::TooLong });
    }
    let mut decoder = Decoder::new(limits);
    let mut reader = Reader { bytes, at: 0 };
    while reader.at < bytes.len() {
        let offset = reader.at;
        let decoded = reader.token().and_then(|token| decoder.add(token));
        decoded.map_err(|trouble| DecodeError { offset, trouble })?;
    }
    decoder.finish().map_err(|trouble| DecodeError { offset: bytes.len(), trouble })
}

/// One record, or one end of a struct or an array.
enum Token<'a> {
    Value(Value),
    Name(&'a [u8]),
    Start(Shape),
    End(Shape),
}

/// What has members.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Struct,
    Array,
}

/// The types in the low half of a record's first byte.
pub(crate) mod tag {
    pub(crate) const INT: u8 = 0;
    pub(crate) const TEXT: u8 = 1;
    pub(crate) const DOUBLE: u8 = 2;
    pub(crate) const STRUCT: u8 = 3;
    pub(crate) const ARRAY: u8 = 4;
    pub(crate) const NAME: u8 = 5;
    pub(crate) const BYTES: u8 = 6;
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, size: usize) -> Result<&'a [u8], Trouble> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..size).ok_or(Trouble::BrokenOff)?;
        self.at += size;
        Ok(taken)
    }

    fn token(&mut self) -> Result<Token<'a>, Trouble> {
        let head = self.take(1)?[0];
        let kind = head & 0x0F;
        if kind == tag::DOUBLE {
            // Negative ones have eight bytes, so for this type the highest bit is part of the size.
            return self.double(usize::from(head >> 4)).map(Token::Value);
        }
        let (size, is_flagged) = (usize::from(head >> 4 & 7), head & 0x80 != 0);
        match (kind, size, is_flagged) {
            (tag::STRUCT, 0, _) => return Ok(bound(Shape::Struct, is_flagged)),
            (tag::ARRAY, 0, _) => return Ok(bound(Shape::Array, is_flagged)),
            (tag::INT | tag::TEXT | tag::NAME | tag::BYTES, 0, true) => {
                return Err(Trouble::StrayEnd);
            }
            _ => {}
        }
        let size = if is_flagged { self.length(size)? } else { size };
        Ok(match kind {
            tag::INT => Token::Value(self.int(size)?),
            tag::TEXT => Token::Value(Value::Text(self.text(size)?.into())),
            tag::NAME => Token::Name(self.text(size)?),
            tag::BYTES => Token::Value(Value::Bytes(self.take(size)?.to_vec())),
            _ => return Err(Trouble::UnknownType),
        })
    }

    /// A length in so many bytes, at most seven.
    fn length(&mut self, size: usize) -> Result<usize, Trouble> {
        let length = big_endian(self.take(size)?);
        // One that does not fit is longer than what there is.
        usize::try_from(length).map_err(|_| Trouble::BrokenOff)
    }

    fn int(&mut self, size: usize) -> Result<Value, Trouble> {
        if size > 4 {
            return Err(Trouble::BadNumber);
        }
        Ok(Value::Int(big_endian(self.take(size)?) as u32 as i32))
    }

    fn double(&mut self, size: usize) -> Result<Value, Trouble> {
        if size > 8 {
            return Err(Trouble::BadNumber);
        }
        Ok(Value::Double(Thousandths(big_endian(self.take(size)?) as i64)))
    }

    fn text(&mut self, size: usize) -> Result<&'a [u8], Trouble> {
        match self.take(size)?.split_last() {
            Some((0, text)) => Ok(text),
            _ => Err(Trouble::BadText),
        }
    }
}

fn bound<'a>(shape: Shape, is_end: bool) -> Token<'a> {
    if is_end { Token::End(shape) } else { Token::Start(shape) }
}

/// Puts records together. A list of what is open takes the place of recursion.
struct Decoder {
    limits: Limits,
    values: usize,
    open: Vec<Open>,
    /// The innermost open one, or all records; its name is never used.
    current: Open,
}

struct Open {
    shape: Option<Shape>,
    /// The name that it has in the one around it.
    name: Option<Text>,
    members: Vec<Member>,
    /// The name of the next member.
    next_name: Option<Text>,
}

impl Open {
    fn new(shape: Option<Shape>, name: Option<Text>) -> Self {
        Self { shape, name, members: Vec::new(), next_name: None }
    }
}

impl Decoder {
    fn new(limits: &Limits) -> Self {
        Self { limits: *limits, values: 0, open: Vec::new(), current: Open::new(None, None) }
    }

    fn add(&mut self, token: Token<'_>) -> Result<(), Trouble> {
        match token {
            Token::Value(value) => {
                self.count()?;
                let name = self.current.next_name.take();
                self.current.members.push(Member { name, value });
            }
            Token::Name(name) => {
                let may_stand = self.current.shape == Some(Shape::Struct);
                if !may_stand || self.current.next_name.is_some() {
                    return Err(Trouble::StrayName);
                }
                self.current.next_name = Some(name.into());
            }
            Token::Start(shape) => {
                self.count()?;
                if self.open.len() >= self.limits.depth {
                    return Err(Trouble::TooDeep);
                }
                let inner = Open::new(Some(shape), self.current.next_name.take());
                self.open.push(std::mem::replace(&mut self.current, inner));
            }
            Token::End(shape) => self.close(shape)?,
        }
        Ok(())
    }

    fn close(&mut self, shape: Shape) -> Result<(), Trouble> {
        if self.current.shape != Some(shape) {
            return Err(Trouble::StrayEnd);
        }
        if self.current.next_name.is_some() {
            return Err(Trouble::StrayName);
        }
        let outer = self.open.pop().ok_or(Trouble::StrayEnd)?;
        let Open { name, members, .. } = std::mem::replace(&mut self.current, outer);
        let value = match shape {
            Shape::Struct => Value::Struct(members),
            Shape::Array => Value::Array(values(members)),
        };
        self.current.members.push(Member { name, value });
        Ok(())
    }

    fn count(&mut self) -> Result<(), Trouble> {
        self.values += 1;
        if self.values > self.limits.values { Err(Trouble::TooMany) } else { Ok(()) }
    }

    fn finish(self) -> Result<Vec<Value>, Trouble> {
        if self.open.is_empty() {
            Ok(values(self.current.members))
        } else {
            Err(Trouble::BrokenOff)
        }
    }
}

fn values(members: Vec<Member>) -> Vec<Value> {
    members.into_iter().map(|member| member.value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(bytes: &[u8]) -> Result<Vec<Value>, Trouble> {
        decode(bytes, &Limits::default()).map_err(|error| error.trouble)
    }

    #[test]
    fn every_form_of_a_number_is_read() {
        for (bytes, value) in [
            (&[0x00][..], Value::Int(0)),
            (&[0x10, 0x07], Value::Int(7)),
            (&[0x40, 0xFF, 0xFF, 0xFF, 0xFE], Value::Int(-2)),
            (&[0x90, 0x02, 0x12, 0x34], Value::Int(0x1234)),
            (&[0xA0, 0x00, 0x02, 0x12, 0x34], Value::Int(0x1234)),
            (&[0x02], Value::Double(Thousandths(0))),
            (&[0x22, 0x09, 0xC4], Value::Double(Thousandths(2_500))),
            // By the rule of the other types this were the end of a double.
            (
                &[0x82, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFC, 0x18],
                Value::Double(Thousandths(-1_000)),
            ),
            (&[0x11, 0x00], Value::from("")),
        ] {
            assert_eq!(records(bytes), Ok(vec![value]), "{bytes:x?}");
        }
    }

    #[test]
    fn members_may_have_no_names() {
        let bytes = [0x03, 0x25, b'a', 0, 0x00, 0x10, 0x01, 0x03, 0x83, 0x83];
        let members = vec![
            Member::named("a", Value::Int(0)),
            Member::bare(Value::Int(1)),
            Member::bare(Value::Struct(vec![])),
        ];
        assert_eq!(records(&bytes), Ok(vec![Value::Struct(members)]));
    }

    #[test]
    fn what_is_wrong_is_told_where_it_is() {
        for (bytes, offset, trouble) in [
            (&[0x00, 0x20, 0x01][..], 1, Trouble::BrokenOff),
            (&[0xF1, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], 0, Trouble::BrokenOff),
            (&[0x21, b'a', b'b'], 0, Trouble::BadText),
            (&[0x01], 0, Trouble::BadText),
            (&[0x50, 1, 2, 3, 4, 5], 0, Trouble::BadNumber),
            (&[0x92, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0, Trouble::BadNumber),
            (&[0x07], 0, Trouble::UnknownType),
            (&[0x13, 0x00], 0, Trouble::UnknownType),
            (&[0x25, b'a', 0], 0, Trouble::StrayName),
            (&[0x04, 0x25, b'a', 0, 0x00, 0x84], 1, Trouble::StrayName),
            (&[0x03, 0x25, b'a', 0, 0x25, b'b', 0], 4, Trouble::StrayName),
            (&[0x03, 0x25, b'a', 0, 0x83], 4, Trouble::StrayName),
            (&[0x83], 0, Trouble::StrayEnd),
            (&[0x03, 0x84], 1, Trouble::StrayEnd),
            (&[0x80], 0, Trouble::StrayEnd),
            (&[0x03], 1, Trouble::BrokenOff),
            (&[0x03, 0x25, b'a', 0], 4, Trouble::BrokenOff),
        ] {
            let expected = DecodeError { offset, trouble };
            assert_eq!(decode(bytes, &Limits::default()), Err(expected), "{bytes:x?}");
        }
    }

    #[test]
    fn each_limit_holds_at_its_last_value() {
        let limits = Limits { bytes: 6, values: 3, depth: 2 };
        let trouble = |bytes: &[u8]| decode(bytes, &limits).map_err(|error| error.trouble);
        assert!(trouble(&[0x03, 0x03, 0x83, 0x83, 0x00]).is_ok());
        assert_eq!(trouble(&[0x03, 0x03, 0x03, 0x83, 0x83, 0x83]), Err(Trouble::TooDeep));
        assert_eq!(trouble(&[0x00; 4]), Err(Trouble::TooMany));
        assert_eq!(trouble(&[0x00; 7]), Err(Trouble::TooLong));
    }

    #[test]
    fn endless_nesting_ends() {
        assert_eq!(records(&vec![0x03; 1 << 20]), Err(Trouble::TooDeep));
    }
}
