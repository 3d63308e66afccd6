//! The payloads of a load, built before the first is sent: a sender that formats messages between two
//! sends would measure itself.

use super::message::Messages;
use super::options::{Load, PAYLOAD_BYTES_MAX};
use super::random::{Deck, SeededRandom};

/// Least number of messages before they repeat, if they fit into [`BYTES_WANTED`].
const MESSAGES_MIN: u32 = 8_192;
/// Memory for these messages. More series or values may take more.
const BYTES_WANTED: usize = 64 << 20;
/// Most memory.
const BYTES_MAX: usize = 2 << 30;

/// Datagrams, or lines of a stream, one after the other. They are sent in a ring: the first follows
/// the last.
#[derive(Debug)]
pub(super) struct Payloads {
    /// All bytes. Lines of a stream end with newlines, datagrams do not.
    pub(super) bytes: Vec<u8>,
    /// The end of each payload.
    pub(super) ends: Vec<usize>,
}

impl Payloads {
    /// Builds the payloads. In one round, every series and every distinct value occurs equally often, in
    /// an order that the seed decides; where the round does not end with a datagram, some occur once
    /// more.
    ///
    /// # Errors
    /// A sentence that names the options, when one payload or all of them become too large.
    pub(super) fn build(load: &Load) -> Result<Self, String> {
        let messages = Messages::new(load);
        let mut random = SeededRandom::new(load.seed);
        let mut series = Deck::new(load.series);
        let mut values = Deck::new(load.values);
        let mut payloads = Self { bytes: Vec::new(), ends: Vec::new() };
        let distinct = load.series.max(load.values);
        let mut count = 0;
        while count < distinct || (count < MESSAGES_MIN && payloads.bytes.len() < BYTES_WANTED) {
            let start = payloads.bytes.len();
            for place in 0..load.batch {
                if place > 0 {
                    payloads.bytes.push(b'\n');
                }
                let (series, value) = (series.deal(&mut random), values.deal(&mut random));
                messages.write(&mut payloads.bytes, series, value);
            }
            count += load.batch;
            if !load.is_datagram {
                payloads.bytes.push(b'\n');
            }
            let length = payloads.bytes.len() - start;
            if length > PAYLOAD_BYTES_MAX {
                return Err(format!(
                    "{} came to {length} bytes, more than the {PAYLOAD_BYTES_MAX} that UDP \
                     carries: lower --batch, --message-bytes or --tags",
                    if load.batch == 1 { "a message" } else { "a datagram" }
                ));
            }
            if length.saturating_mul((distinct / load.batch) as usize) > BYTES_MAX {
                return Err("the messages take more than 2 GiB: lower --series, --values, \
                            --message-bytes or --tags"
                    .to_owned());
            }
            payloads.ends.push(payloads.bytes.len());
        }
        Ok(payloads)
    }

    /// The number of payloads in the ring.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The start of a payload.
    pub(super) fn start(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.ends[index - 1] }
    }

    /// The bytes of a payload.
    pub(super) fn get(&self, index: usize) -> &[u8] {
        &self.bytes[self.start(index)..self.ends[index]]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use engine::listener::Protocol;

    fn load() -> Load {
        Load {
            protocol: Protocol::Statsd,
            is_datagram: true,
            gso: false,
            types: "set".parse().unwrap(),
            series: 100,
            tags: 0,
            values: 20_000,
            message_bytes: 0,
            batch: 10,
            seed: 1,
        }
    }

    #[test]
    fn a_round_has_each_series_and_each_value() {
        let payloads = Payloads::build(&load()).unwrap();
        assert_eq!(payloads.len(), 2_000);
        let (mut series, mut values) = (HashMap::new(), HashMap::new());
        for index in 0..payloads.len() {
            let datagram = std::str::from_utf8(payloads.get(index)).unwrap();
            assert_eq!(datagram.lines().count(), 10);
            for line in datagram.lines() {
                let (name, value) = line.split_once(':').unwrap();
                *series.entry(name).or_insert(0) += 1;
                *values.entry(value).or_insert(0) += 1;
            }
        }
        assert!(series.len() == 100 && series.values().all(|count| *count == 200));
        assert!(values.len() == 20_000 && values.values().all(|count| *count == 1));
    }

    #[test]
    fn the_seed_decides_the_order() {
        let [same, again, other] = [1, 1, 2].map(|seed| {
            let load = Load { seed, ..load() };
            Payloads::build(&load).unwrap().bytes
        });
        assert_eq!(same, again);
        assert_ne!(same, other);
    }

    #[test]
    fn lines_of_a_stream_end_with_newlines() {
        let load = Load { is_datagram: false, batch: 1, ..load() };
        let payloads = Payloads::build(&load).unwrap();
        assert!((0..payloads.len()).all(|index| {
            payloads.get(index).iter().position(|byte| *byte == b'\n')
                == Some(payloads.get(index).len() - 1)
        }));
    }

    #[test]
    fn a_datagram_that_udp_does_not_carry_is_refused() {
        let error = Payloads::build(&Load { batch: 10_000, ..load() }).unwrap_err();
        assert!(error.contains("--batch"), "{error}");
        let large = Load { message_bytes: 60_000, batch: 1, ..load() };
        assert!(Payloads::build(&Load { values: 100_000, ..large.clone() }).is_err());
        let payloads = Payloads::build(&Load { values: 10, ..large }).unwrap();
        assert!(payloads.len() < 1_200, "{}", payloads.len());
    }
}
