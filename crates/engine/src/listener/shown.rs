//! The part of a rejected datagram that an operator sees.

use basics::escape::excerpt;

use crate::protocol::signed::looks_signed;

/// Returns the bytes around the offset as escaped text. Shows nothing of a datagram that looks signed: a
/// reader could send it to the listener with its secret.
pub(super) fn shown_excerpt(datagram: &[u8], offset: usize) -> String {
    if looks_signed(datagram) { String::new() } else { excerpt(datagram, offset) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::signed::SigningKey;

    #[test]
    fn nothing_of_a_signed_datagram_is_shown() {
        let mut datagram = Vec::new();
        SigningKey::new("a secret").sign(1_490_114_074, 7, b"a:1|c\na:x|c", &mut datagram);
        assert_eq!(shown_excerpt(&datagram, datagram.len() - 3), "");
        assert_eq!(shown_excerpt(b"a:x|c", 2), "a:x|c");
    }
}
