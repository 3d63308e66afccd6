//! Datagrams, back to back in one buffer.

use std::hint::black_box;
use std::ops::Range;

use engine::listener::Protocol;
use engine::protocol::{MessageLimits, Rejection, Sample, json, statsd};
use forwarders::testing::load::{Metric, scramble};

use crate::message_format::MessageFormat;

/// Datagrams of one protocol.
///
/// They are in one buffer, like those that the kernel returns. With an allocation for each, a
/// benchmark of a hundred thousand datagrams would mostly wait for memory.
#[derive(Debug)]
pub struct DatagramList {
    protocol: Protocol,
    bytes: Vec<u8>,
    places: Vec<Range<usize>>,
}

impl DatagramList {
    /// Creates an empty list.
    #[must_use]
    pub fn new(protocol: Protocol) -> Self {
        Self { protocol, bytes: Vec::new(), places: Vec::new() }
    }

    /// The reports of `metrics` metrics in these rounds, in a different order each round.
    #[must_use]
    pub fn of_metrics(format: &MessageFormat, metrics: usize, rounds: Range<usize>) -> Self {
        Self::of(format, (0..metrics).map(Metric::new).collect(), rounds)
    }

    /// The reports of `timers` timers in these rounds, in a different order each round.
    #[must_use]
    pub fn of_timers(format: &MessageFormat, timers: usize, rounds: Range<usize>) -> Self {
        Self::of(format, (0..timers).map(Metric::timer).collect(), rounds)
    }

    fn of(format: &MessageFormat, mut metrics: Vec<Metric>, rounds: Range<usize>) -> Self {
        let mut datagrams = Self::new(format.protocol);
        for round in rounds {
            shuffle(&mut metrics, round);
            for together in metrics.chunks(format.metrics) {
                datagrams.push(|bytes| format.write(bytes, together, round));
            }
        }
        datagrams
    }

    /// Adds a datagram, which `write` appends.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.places.push(start..self.bytes.len());
    }

    /// The datagrams in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.places.iter().map(|place| &self.bytes[place.clone()])
    }

    /// Decodes all datagrams. Returns the numbers of samples and rejections.
    #[must_use]
    pub fn decode(&self) -> (usize, usize) {
        let limits = MessageLimits::default();
        let (mut samples, mut rejections) = (0, 0);
        let mut each = |message: Result<Sample<'_>, Rejection>| match black_box(message) {
            Ok(_) => samples += 1,
            Err(_) => rejections += 1,
        };
        for bytes in self.iter() {
            match self.protocol {
                Protocol::Json => json::decode(bytes, &limits, &mut each),
                Protocol::Statsd => {
                    statsd::decode(bytes, &limits, &mut each);
                }
            }
        }
        (samples, rejections)
    }
}

/// The Fisher–Yates shuffle.
fn shuffle<T>(list: &mut [T], seed: usize) {
    for last in (1..list.len()).rev() {
        let random = scramble((seed as u64) << 32 | last as u64);
        list.swap(last, random as usize % (last + 1));
    }
}
