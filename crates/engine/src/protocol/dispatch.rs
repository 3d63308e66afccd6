//! The protocol of the clients of a listener, and its decoder.

use serde::Deserialize;

use super::{MessageLimits, Rejection, Sample, json, statsd};

/// The protocol of the clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// JSON messages.
    #[default]
    Json,
    /// statsd lines.
    Statsd,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 2] = [Self::Json, Self::Statsd];

    /// The protocol with this name in the configuration.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == word)
    }

    /// The protocol of a listener with this label, such as `json/udp 127.0.0.1:5090`; `None` for a
    /// label of something else.
    #[must_use]
    pub fn of_label(label: &str) -> Option<Self> {
        Self::from_word(label.split_once('/')?.0)
    }

    /// The name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Statsd => "statsd",
        }
    }

    /// Whether the bytes must be decoded as a whole, not line by line.
    #[must_use]
    pub fn is_array(self, bytes: &[u8]) -> bool {
        match self {
            Self::Json => json::is_array(bytes),
            Self::Statsd => false,
        }
    }

    /// Decodes a datagram and passes each sample or rejection to `each`, in order. Returns the
    /// number of lines that are neither.
    pub fn decode<'a>(
        self,
        datagram: &'a [u8],
        limits: &MessageLimits,
        each: &mut impl FnMut(Result<Sample<'a>, Rejection>),
    ) -> u64 {
        match self {
            Self::Json => {
                json::decode(datagram, limits, each);
                0
            }
            Self::Statsd => statsd::decode(datagram, limits, each),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_begins_with_the_protocol_of_its_listener() {
        for protocol in Protocol::ALL {
            assert_eq!(Protocol::from_word(protocol.as_str()), Some(protocol));
        }
        for (label, protocol) in [
            ("json/udp 127.0.0.1:5090", Some(Protocol::Json)),
            ("statsd/unix /run/statsd", Some(Protocol::Statsd)),
            ("kamailio/udp 127.0.0.1:2049", None),
            ("json", None),
        ] {
            assert_eq!(Protocol::of_label(label), protocol, "{label}");
        }
    }

    #[test]
    fn only_json_has_arrays_and_only_statsd_has_lines_that_are_skipped() {
        let datagram = b"[]\n_e{1,1}:a|b\n_e{1,1}:c|d";
        let outcome = |protocol: Protocol| {
            let mut results = 0;
            let skipped =
                protocol.decode(datagram, &MessageLimits::default(), &mut |_| results += 1);
            (protocol.is_array(datagram), skipped, results > 0)
        };
        assert_eq!(outcome(Protocol::Json), (true, 0, true));
        assert_eq!(outcome(Protocol::Statsd), (false, 2, true));
        assert!(!Protocol::Json.is_array(b"{}"));
    }
}
