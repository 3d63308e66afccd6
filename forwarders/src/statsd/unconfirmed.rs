//! The payloads that a stream has taken and the other side has not confirmed.

use std::collections::VecDeque;

use super::packet::Packet;
use crate::delivery::payload::Batch;

/// Payloads in the order in which they were written to the connection.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed {
    /// Bytes written since nothing was left to confirm.
    written: u64,
    /// Each payload, and the bytes written up to its end.
    ends: VecDeque<(u64, usize)>,
}

impl Unconfirmed {
    /// Adds the payloads that end in a packet.
    pub(super) fn wrote(&mut self, packet: &Packet) {
        self.written += packet.bytes.len() as u64;
        self.ends.extend(packet.ends.iter().map(|id| (self.written, *id)));
    }

    /// Whether every payload is confirmed.
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Records as delivered the payloads before the last `unacked` bytes.
    pub(super) fn confirm(&mut self, batch: &mut Batch, unacked: u64) {
        let confirmed = self.written.saturating_sub(unacked);
        while let Some((_, id)) = self.ends.pop_front_if(|(end, _)| *end <= confirmed) {
            batch.delivered(id);
        }
        if unacked == 0 {
            self.written = 0;
        }
    }

    /// Takes the payloads, whose fate is not known.
    pub(super) fn take(&mut self) -> impl Iterator<Item = usize> {
        self.written = 0;
        std::mem::take(&mut self.ends).into_iter().map(|(_, id)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statsd::packet::PacketProgress;

    #[test]
    fn payloads_are_delivered_when_their_last_byte_is_confirmed() {
        let mut batch = Batch::default();
        for _ in 0..4 {
            batch.push(1, |_| (), |out| out.extend_from_slice(b"a:1|c\n"));
        }
        let (mut packet, mut progress) = (Packet::default(), PacketProgress::default());
        let mut unconfirmed = Unconfirmed::default();
        while packet.fill(&batch, &progress, 6) {
            unconfirmed.wrote(&packet);
            packet.advance(&mut progress);
        }
        for (unacked, delivered) in [(24, 0), (19, 0), (18, 1), (7, 2), (6, 3)] {
            unconfirmed.confirm(&mut batch, unacked);
            assert_eq!(4 - batch.points_pending(), delivered, "{unacked}");
        }
        assert_eq!(unconfirmed.take().collect::<Vec<_>>(), [3]);
        assert!(unconfirmed.is_empty());
    }
}
