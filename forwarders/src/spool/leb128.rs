//! Encodes whole numbers as LEB128: seven bits in each byte, the lowest bits first.

/// Appends a number; it takes 1 to 10 bytes.
pub(crate) fn write(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::write;

    #[test]
    fn small_numbers_take_a_byte_and_the_largest_ten() {
        let bytes = |number| {
            let mut out = Vec::new();
            write(&mut out, number);
            out
        };
        assert_eq!((bytes(0), bytes(0x7f)), (vec![0], vec![0x7f]));
        assert_eq!((bytes(0x80), bytes(300)), (vec![0x80, 1], vec![0xac, 2]));
        assert_eq!(bytes(u64::MAX), [&[0xff; 9][..], &[1]].concat());
    }
}
