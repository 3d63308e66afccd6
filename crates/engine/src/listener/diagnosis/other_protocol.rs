//! Recognises messages that were sent to a listener of another protocol.

use crate::listener::Protocol;
use crate::protocol::{MessageLimits, RejectReason, statsd};

/// A message of a protocol, in words.
pub(super) const fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Json => "JSON message",
        Protocol::Statsd => "statsd line",
    }
}

/// The protocol of a rejected message, if it is another one than that of its listener.
pub(super) fn of(protocol: Protocol, message: &[u8], reason: RejectReason) -> Option<Protocol> {
    match protocol {
        Protocol::Json => {
            let is_suspect = matches!(reason, RejectReason::BadJson | RejectReason::NotAnObject);
            (is_suspect && is_statsd(message)).then_some(Protocol::Statsd)
        }
        Protocol::Statsd => is_json(message).then_some(Protocol::Json),
    }
}

/// Whether it begins like the first message of a TLS client: a handshake record of TLS 1.0, as all later
/// versions send it, or of SSL 3.
pub(super) fn is_tls(message: &[u8]) -> bool {
    message.starts_with(&[0x16, 0x03])
}

/// Whether all of it is valid for statsd.
fn is_statsd(message: &[u8]) -> bool {
    let message = message.trim_ascii();
    // Damaged JSON may contain `:` and `|` too.
    if message.first().is_none_or(|first| b"{[\"".contains(first)) {
        return false;
    }
    let (mut samples, mut is_valid) = (0, true);
    let skipped = statsd::decode(message, &MessageLimits::default(), &mut |sample| {
        samples += 1;
        is_valid &= sample.is_ok();
    });
    is_valid && samples + skipped > 0
}

/// Whether it begins like an object with a key, or like a list of objects. No metric is called so.
fn is_json(message: &[u8]) -> bool {
    let message = message.trim_ascii_start();
    let after = |first: u8| message.strip_prefix(&[first]).map(<[u8]>::trim_ascii_start);
    let is_object = after(b'{').is_some_and(|rest| rest.starts_with(b"\""));
    is_object || after(b'[').is_some_and(|rest| rest.starts_with(b"{"))
}
