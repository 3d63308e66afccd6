//! Combines the payloads of a batch into packets of whole lines.

use memchr::memrchr;

use crate::delivery::payload::Batch;

/// The position up to which a batch has been sent. It only advances, because bytes that may have
/// left are not sent again.
#[derive(Debug, Default)]
pub(super) struct PacketProgress {
    /// The first payload with unsent bytes.
    next: usize,
    /// Number of its bytes in earlier packets.
    offset: usize,
}

impl PacketProgress {
    /// The payload of which only some lines were sent.
    pub(super) fn begun(&self) -> Option<usize> {
        (self.offset > 0).then_some(self.next)
    }
}

/// Lines that are sent together.
#[derive(Debug, Default)]
pub(super) struct Packet {
    /// The lines, each with its line feed.
    pub(super) bytes: Vec<u8>,
    /// The payloads that end in this packet.
    pub(super) ends: Vec<usize>,
    /// A payload that continues in the next packet.
    pub(super) goes_on: Option<usize>,
    after: PacketProgress,
}

impl Packet {
    /// Fills the packet with the next payloads: whole ones as long as they fit, and a payload that
    /// exceeds every packet line by line. `bytes_max` does not include the last line feed. Returns
    /// whether the packet has any payload.
    pub(super) fn fill(
        &mut self,
        batch: &Batch,
        progress: &PacketProgress,
        bytes_max: usize,
    ) -> bool {
        self.bytes.clear();
        self.ends.clear();
        self.goes_on = None;
        self.after = PacketProgress { next: progress.next, offset: 0 };
        for payload in batch.pending_from(progress.next) {
            let begun = if payload.id == progress.next { progress.offset } else { 0 };
            let rest = payload.bytes.get(begun..).unwrap_or_default();
            if (self.bytes.len() + rest.len()).saturating_sub(1) <= bytes_max {
                self.bytes.extend_from_slice(rest);
                self.ends.push(payload.id);
                self.after = PacketProgress { next: payload.id + 1, offset: 0 };
                continue;
            }
            if self.bytes.is_empty() {
                let room = &rest[..rest.len().min(bytes_max + 1)];
                // The encoder refuses lines that do not fit.
                let lines = memrchr(b'\n', room).map_or(rest.len(), |end| end + 1);
                self.bytes.extend_from_slice(&rest[..lines]);
                self.goes_on = Some(payload.id);
                self.after = PacketProgress { next: payload.id, offset: begun + lines };
            }
            break;
        }
        !self.ends.is_empty() || self.goes_on.is_some()
    }

    /// Returns the packet as a datagram, which needs no line feed at its end.
    pub(super) fn datagram(&self) -> &[u8] {
        self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes)
    }

    /// Returns every payload with bytes in this packet.
    pub(super) fn payloads(&self) -> impl Iterator<Item = usize> + '_ {
        self.ends.iter().copied().chain(self.goes_on)
    }

    /// Moves `progress` past the packet, which must not be sent again.
    pub(super) fn advance(&mut self, progress: &mut PacketProgress) {
        *progress = std::mem::take(&mut self.after);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn packets_are_whole_lines_up_to_their_size_and_nothing_is_left_out_or_twice(
            payloads in prop::collection::vec(
                prop::collection::vec((0..26_u8, 1..=500_usize), 0..8), 0..30,
            ),
            gone in prop::collection::vec(0..30_usize, 0..5),
        ) {
            let mut batch = Batch::default();
            for lines in &payloads {
                let line = |(letter, length): &(u8, usize)| {
                    let letter = char::from(b'a' + letter);
                    format!("{}\n", letter.to_string().repeat(*length))
                };
                let bytes: String = lines.iter().map(line).collect();
                batch.push(1, |_| (), |out| out.extend_from_slice(bytes.as_bytes()));
            }
            gone.iter().filter(|id| **id < payloads.len()).for_each(|id| batch.set_aside(*id, "x"));
            let expected: Vec<u8> =
                batch.pending().flat_map(|payload| payload.bytes.to_vec()).collect();
            let (mut packet, mut progress) = (Packet::default(), PacketProgress::default());
            let mut sent = Vec::new();
            while packet.fill(&batch, &progress, 500) {
                prop_assert!(packet.datagram().len() <= 500);
                prop_assert!(packet.bytes.is_empty() || packet.bytes.ends_with(b"\n"));
                sent.extend_from_slice(&packet.bytes);
                packet.advance(&mut progress);
                for id in packet.ends.clone() {
                    batch.delivered(id);
                }
            }
            prop_assert!(batch.is_settled());
            prop_assert_eq!(sent, expected);
        }
    }
}
