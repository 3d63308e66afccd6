//! Errors of the decoder.

use thiserror::Error;

/// Why bytes are not a packet or its records.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{kind}, at byte {offset}")]
pub struct DecodeError {
    /// Where decoding stopped, counted from the first record, or from the first byte of a header.
    pub offset: usize,
    /// The kind of the error.
    pub kind: DecodeErrorKind,
}

/// The kind of a [`DecodeError`].
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeErrorKind {
    /// The first byte does not start a packet.
    #[error("not a BINRPC packet")]
    BadMagic,
    /// The packet is neither a request nor a reply nor a fault.
    #[error("unknown packet kind")]
    BadPacketKind,
    /// More bytes than [`DecodeLimits::bytes`](crate::DecodeLimits::bytes).
    #[error("more bytes than allowed")]
    TooManyBytes,
    /// More values than [`DecodeLimits::values`](crate::DecodeLimits::values).
    #[error("more values than allowed")]
    TooManyValues,
    /// More nested structs than [`DecodeLimits::depth`](crate::DecodeLimits::depth).
    #[error("structs nested too deeply")]
    TooDeep,
    /// The bytes end inside a record.
    #[error("truncated record")]
    Truncated,
    /// A text without its terminating zero byte.
    #[error("text without its terminating zero byte")]
    UnterminatedText,
    /// A number with more bytes than its type allows.
    #[error("number with too many bytes")]
    OversizedNumber,
    /// An unknown type. It cannot be skipped, because the meaning of its size bits is unknown too.
    #[error("value of an unknown type")]
    UnknownType,
    /// A name outside of a struct, or without a value.
    #[error("name without a value")]
    StrayName,
    /// The end of a struct or array that is not open.
    #[error("end of a struct that is not open")]
    StrayEnd,
}
