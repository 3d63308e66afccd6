//! Advice on datagrams that a listener with a `secret` refuses, and on signed ones at a listener without.

use crate::listener::Protocol;
use crate::protocol::signed::SignedDatagram;
use crate::protocol::{MessageLimits, RejectReason};

/// Unix times that a signature may have: from 2015 to 2106.
const PLAUSIBLE_SECONDS: std::ops::RangeInclusive<u64> = 1_420_070_400..=0xffff_ffff;

/// What to do about a signature that was refused for this reason.
pub(super) fn advice(
    protocol: Protocol,
    message: &[u8],
    reason: RejectReason,
) -> Option<&'static str> {
    Some(match reason {
        RejectReason::Unsigned | RejectReason::BadSignature if is_plain(protocol, message) => {
            "this message is not signed: give its sender the secret, or send it to a listener without \
             `secret`"
        }
        RejectReason::BadSignature => {
            "the sender has another secret, or the datagram was changed on its way"
        }
        RejectReason::Stale => {
            "compare the clocks of both hosts; datagrams that were signed before the listener got its \
             secret are refused as well"
        }
        RejectReason::FromFuture => "the sender's clock is ahead: compare the clocks of both hosts",
        RejectReason::Replayed => "somebody, or a device in the network, sent it again",
        RejectReason::WindowFull => "raise `signatures.max_datagrams`",
        _ => return None,
    })
}

/// The advice on a datagram that a listener without a secret cannot decode, if it looks signed.
pub(crate) fn advice_on_signed(datagram: &[u8], reason: RejectReason) -> Option<&'static str> {
    let is_undecodable = matches!(reason, RejectReason::BadJson | RejectReason::BadLine);
    // Text has no zero bytes.
    let is_signed = |parts: SignedDatagram<'_>| PLAUSIBLE_SECONDS.contains(&parts.seconds);
    let looks_signed = is_undecodable && SignedDatagram::parse(datagram).is_some_and(is_signed);
    looks_signed.then_some("this looks like a signed datagram, but the listener has no `secret`")
}

/// Whether the message can be decoded as it is.
fn is_plain(protocol: Protocol, message: &[u8]) -> bool {
    let mut is_plain = false;
    protocol.decode(message, &MessageLimits::default(), &mut |sample| is_plain |= sample.is_ok());
    is_plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::signed::SigningKey;

    #[test]
    fn a_plain_message_is_told_from_a_wrong_signature() {
        let of = |message: &[u8], reason| advice(Protocol::Statsd, message, reason).unwrap();
        let plain = of(b"a:1|c", RejectReason::Unsigned);
        assert!(plain.starts_with("this message is not signed"), "{plain}");
        let long = [b"some.long.name:1|c".as_slice(), &b"|#tag:value".repeat(4)].concat();
        assert_eq!(of(&long, RejectReason::BadSignature), plain);
        let wrong = of(&[7; 60], RejectReason::BadSignature);
        assert!(wrong.starts_with("the sender has another secret"), "{wrong}");
        assert_eq!(advice(Protocol::Json, &[7; 60], RejectReason::BadJson), None);
    }

    #[test]
    fn a_signed_datagram_at_an_unsigned_listener_is_recognised() {
        let mut datagram = Vec::new();
        SigningKey::new("a secret").sign(1_490_114_074, 7, b"a:1|c", &mut datagram);
        assert!(advice_on_signed(&datagram, RejectReason::BadLine).is_some());
        let text = "a text that is long enough for a signature, but is none";
        assert_eq!(advice_on_signed(text.as_bytes(), RejectReason::BadLine), None);
        assert_eq!(advice_on_signed(&datagram, RejectReason::TooLong), None);
    }
}
