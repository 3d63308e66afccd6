//! Signed datagrams, in the format of brubeck's `statsd-secure` sampler.
//!
//! ```text
//! HMAC-SHA256, 32 bytes · Unix time in seconds, 8 bytes · nonce, 4 bytes · messages
//! ```
//!
//! Both numbers are little-endian. The HMAC covers everything after it; its key is the text of the
//! secret. A datagram names neither its key nor its sender. brubeck's clients draw a random nonce for
//! each datagram; tallyd's clients use it to number their datagrams.

use ring::hmac;

/// Bytes of the HMAC.
const TAG_BYTES: usize = 32;
/// Bytes before the nonce.
const TIME_END: usize = TAG_BYTES + size_of::<u64>();
/// Bytes that a signature adds to a datagram.
pub const SIGNATURE_BYTES: usize = TIME_END + size_of::<u32>();
/// The message whose HMAC identifies a key. It is shorter than the signed part of any datagram, so no
/// datagram has this HMAC.
const IDENTITY: &[u8] = b"tallyd key";

/// Unix times that a signature may have: from 2015 to 2106.
const PLAUSIBLE_SECONDS: std::ops::RangeInclusive<u64> = 1_420_070_400..=0xffff_ffff;

/// A value that two keys have in common only if their secrets are equal. It does not reveal the secret.
pub type KeyIdentity = [u8; TAG_BYTES];

/// A key that signs and verifies.
#[derive(Clone, Debug)]
pub struct SigningKey(hmac::Key);

impl SigningKey {
    /// Derives the key from a secret text.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
    }

    /// Identifies the key.
    #[must_use]
    pub fn identity(&self) -> KeyIdentity {
        let mut identity = [0; TAG_BYTES];
        identity.copy_from_slice(hmac::sign(&self.0, IDENTITY).as_ref());
        identity
    }

    /// Appends a signed datagram with these messages. `seconds` is the Unix time.
    pub fn sign(&self, seconds: u64, nonce: u32, messages: &[u8], out: &mut Vec<u8>) {
        let (seconds, nonce) = (seconds.to_le_bytes(), nonce.to_le_bytes());
        let mut context = hmac::Context::with_key(&self.0);
        for part in [&seconds[..], &nonce, messages] {
            context.update(part);
        }
        out.extend_from_slice(context.sign().as_ref());
        for part in [&seconds[..], &nonce, messages] {
            out.extend_from_slice(part);
        }
    }
}

/// The parts of a datagram, which are authentic only if [`SignedDatagram::is_signed_with`] a known key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedDatagram<'a> {
    tag: &'a [u8; TAG_BYTES],
    /// The bytes that the tag covers.
    signed: &'a [u8],
    /// Unix time of the signature, in seconds.
    pub seconds: u64,
    /// Differs between the datagrams that a sender signs in the same second.
    pub nonce: u32,
    /// The messages.
    pub messages: &'a [u8],
}

impl<'a> SignedDatagram<'a> {
    /// Splits a datagram; `None` if it is too short for a signature.
    #[must_use]
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let (tag, signed) = datagram.split_first_chunk()?;
        let (seconds, rest) = signed.split_first_chunk()?;
        let (nonce, messages) = rest.split_first_chunk()?;
        let (seconds, nonce) = (u64::from_le_bytes(*seconds), u32::from_le_bytes(*nonce));
        Some(Self { tag, signed, seconds, nonce, messages })
    }

    /// Whether this key signed it. Takes the same time wherever the signature differs.
    #[must_use]
    pub fn is_signed_with(&self, key: &SigningKey) -> bool {
        hmac::verify(&key.0, self.signed, self.tag).is_ok()
    }

    /// Identifies an authentic datagram among the others of its key: the beginning of its HMAC.
    #[must_use]
    pub fn id(&self) -> u64 {
        let (start, _) = self.tag.split_first_chunk().unwrap_or((&[0; 8], &[]));
        u64::from_le_bytes(*start)
    }
}

/// Whether a datagram looks signed, with any secret. No text does, because this time has zero bytes.
#[must_use]
pub fn looks_signed(datagram: &[u8]) -> bool {
    let is_plausible = |parts: SignedDatagram<'_>| PLAUSIBLE_SECONDS.contains(&parts.seconds);
    SignedDatagram::parse(datagram).is_some_and(is_plausible)
}

/// Whether a datagram, or its beginning, is a text, so that it is not signed with any secret. Looks only at
/// the bytes that a signature would have: its HMAC is hardly ever valid text, and its time has zero bytes.
#[must_use]
pub fn is_text(datagram: &[u8]) -> bool {
    let start = &datagram[..datagram.len().min(SIGNATURE_BYTES)];
    // The last character may be cut.
    let is_utf8 =
        std::str::from_utf8(start).map_or_else(|error| error.error_len().is_none(), |_| true);
    let is_of_text = |byte: &u8| !byte.is_ascii_control() || b"\t\r\n".contains(byte);
    !start.is_empty() && is_utf8 && start.iter().all(is_of_text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_of(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16).map(|d| d as u8)).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// The lines of a file of vectors: secret, seconds, nonce, messages and datagram, with the last two
    /// in hexadecimal digits.
    fn vectors(text: &str) -> impl Iterator<Item = [&str; 5]> {
        let rows = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        rows.map(|row| {
            let cells: Vec<&str> = row.split('\t').collect();
            cells.try_into().unwrap()
        })
    }

    #[test]
    fn datagrams_of_other_programs_are_verified_and_reproduced() {
        let text = include_str!("../../tests/signed/vectors.tsv");
        let mut seen = 0;
        for [secret, seconds, nonce, messages, datagram] in vectors(text) {
            let (key, datagram) = (SigningKey::new(secret), bytes_of(datagram));
            let parsed = SignedDatagram::parse(&datagram).unwrap();
            assert!(parsed.is_signed_with(&key), "{secret} {seconds}");
            let numbers = (parsed.seconds.to_string(), format!("{:08x}", parsed.nonce));
            assert_eq!((numbers.0.as_str(), numbers.1.as_str()), (seconds, nonce));
            assert_eq!(parsed.messages, bytes_of(messages));
            let mut again = Vec::new();
            key.sign(parsed.seconds, parsed.nonce, parsed.messages, &mut again);
            assert_eq!(again, datagram);
            seen += 1;
        }
        assert!(seen >= 6, "{seen}");
    }

    #[test]
    fn only_a_datagram_with_room_for_a_signature_has_parts() {
        assert_eq!(SignedDatagram::parse(&[0; SIGNATURE_BYTES - 1]), None);
        let shortest = SignedDatagram::parse(&[0; SIGNATURE_BYTES]);
        assert_eq!(shortest.map(|parts| parts.messages), Some(&b""[..]));
    }

    #[test]
    fn a_datagram_is_a_text_or_looks_signed_or_neither() {
        let of = |datagram: &[u8]| (is_text(datagram), looks_signed(datagram));
        // A character that is cut after the bytes that a signature would have.
        let cut = "x".repeat(SIGNATURE_BYTES - 1) + "é";
        for text in ["a:1|c", &"{\r\n\t\"metric_name\": \"a\"}".repeat(9), &cut] {
            assert_eq!(of(text.as_bytes()), (true, false), "{text}");
        }
        let key = SigningKey::new("a secret");
        for (seconds, looks_signed) in [
            (0, false),
            (1_420_070_399, false),
            (1_420_070_400, true),
            (0xffff_ffff, true),
            (0x1_0000_0000, false),
            (u64::MAX, false),
        ] {
            let mut datagram = Vec::new();
            key.sign(seconds, 7, b"a:1|c", &mut datagram);
            assert_eq!(of(&datagram), (false, looks_signed), "{seconds}");
            assert_eq!(of(&datagram[..SIGNATURE_BYTES - 1]), (false, false));
        }
        for neither in [&b"\xff:1|c"[..], b"a\0b:1|c", b"\x1b[2J", b""] {
            assert_eq!(of(neither), (false, false), "{neither:?}");
        }
    }

    #[test]
    fn keys_have_one_identity_only_if_their_secrets_are_equal() {
        let identity = |secret: &str| SigningKey::new(secret).identity();
        assert_eq!(identity("a secret"), identity("a secret"));
        assert_ne!(identity("a secret"), identity("another"));
    }

    proptest! {
        #[test]
        fn a_signature_holds_only_for_its_key_and_its_bytes(
            seconds: u64,
            nonce: u32,
            messages in prop::collection::vec(any::<u8>(), 0..100),
            flipped in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let (key, mut datagram) = (SigningKey::new("a secret"), b"before".to_vec());
            key.sign(seconds, nonce, &messages, &mut datagram);
            let mut datagram = datagram.split_off(6);
            prop_assert_eq!(datagram.len(), messages.len() + SIGNATURE_BYTES);
            let parsed = SignedDatagram::parse(&datagram).unwrap();
            let parts = (parsed.seconds, parsed.nonce, parsed.messages);
            prop_assert_eq!(parts, (seconds, nonce, &messages[..]));
            prop_assert!(parsed.is_signed_with(&key));
            prop_assert!(!parsed.is_signed_with(&SigningKey::new("another")));
            let at = flipped.index(datagram.len());
            datagram[at] ^= 1 << bit;
            prop_assert!(!SignedDatagram::parse(&datagram).unwrap().is_signed_with(&key));
        }
    }
}
