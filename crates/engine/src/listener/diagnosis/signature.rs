//! Advice on datagrams that a listener with a `secret` refuses, and on signed ones at a listener without.

use crate::protocol::RejectReason;
use crate::protocol::signed::{is_text, looks_signed};

/// What to do about a signature that was refused for this reason. `message` is the part that may be shown,
/// or its beginning.
pub(super) fn advice(message: &[u8], reason: RejectReason) -> Option<&'static str> {
    Some(match reason {
        RejectReason::Unsigned | RejectReason::BadSignature if is_text(message) => {
            "this message is not signed: give its sender the secret, or send it to a listener without \
             `secret`"
        }
        RejectReason::BadSignature => {
            "the sender has another secret, or the datagram was changed on its way"
        }
        RejectReason::Stale => "compare the clocks of both hosts",
        RejectReason::FromFuture => "the sender's clock is ahead: compare the clocks of both hosts",
        RejectReason::Replayed => "somebody, or a device in the network, sent it again",
        RejectReason::MaybeReplayed => {
            "nothing: the daemon before this one crashed, or could not save the datagrams that it accepted; \
             this ends by itself after `signatures.window` at most"
        }
        RejectReason::WindowFull => "raise `signatures.max_datagrams`",
        _ => return None,
    })
}

/// The advice on a datagram that a listener without a secret cannot decode, if it looks signed.
pub(crate) fn advice_on_signed(datagram: &[u8], reason: RejectReason) -> Option<&'static str> {
    let is_undecodable = matches!(reason, RejectReason::BadJson | RejectReason::BadLine);
    (is_undecodable && looks_signed(datagram))
        .then_some("this looks like a signed datagram, but the listener has no `secret`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::signed::SigningKey;

    #[test]
    fn a_plain_message_differs_from_a_wrong_signature() {
        let of = |message: &[u8], reason| advice(message, reason).unwrap();
        let plain = of(b"a:1|c", RejectReason::Unsigned);
        assert!(plain.starts_with("this message is not signed"), "{plain}");
        for tags in [4, 400] {
            let long = [b"some.long.name:1|c".as_slice(), &b"|#tag:value".repeat(tags)].concat();
            assert_eq!(of(&long, RejectReason::BadSignature), plain);
        }
        let wrong = of(&[7; 60], RejectReason::BadSignature);
        assert!(wrong.starts_with("the sender has another secret"), "{wrong}");
        assert_eq!(advice(&[7; 60], RejectReason::BadJson), None);
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
