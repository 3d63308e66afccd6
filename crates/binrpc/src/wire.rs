//! The parts of the encoding that packets and records share: type tags and big-endian numbers.

/// The types of records, in the low half of a record's first byte.
pub(crate) mod tag {
    pub(crate) const INT: u8 = 0;
    pub(crate) const TEXT: u8 = 1;
    pub(crate) const DOUBLE: u8 = 2;
    pub(crate) const STRUCT: u8 = 3;
    pub(crate) const ARRAY: u8 = 4;
    pub(crate) const NAME: u8 = 5;
    pub(crate) const BYTES: u8 = 6;
}

/// The number of bytes that a number takes: none for 0.
pub(crate) fn size_of(number: u64) -> usize {
    8 - number.leading_zeros() as usize / 8
}

/// Appends the last `size` bytes of a number.
pub(crate) fn push_big_endian(out: &mut Vec<u8>, number: u64, size: usize) {
    out.extend_from_slice(&number.to_be_bytes()[8 - size..]);
}

/// Reads a number of up to eight bytes.
pub(crate) fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
