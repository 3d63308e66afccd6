//! Packets of whole lines out of the payloads of a batch.

use memchr::memrchr;

use crate::delivery::payload::Batch;

/// How far a batch has been sent. Only goes forward: what may have left is not sent again.
#[derive(Debug, Default)]
pub(super) struct PacketProgress {
    /// The first payload of which something is left.
    next: usize,
    /// How much of it was in packets before.
    offset: usize,
}

/// What goes at once.
#[derive(Debug, Default)]
pub(super) struct Packet {
    /// The lines; each ends with a newline.
    pub(super) bytes: Vec<u8>,
    /// Payloads that end in it.
    pub(super) ends: Vec<usize>,
    /// One that goes on in the next.
    pub(super) goes_on: Option<usize>,
    after: PacketProgress,
}

impl Packet {
    /// Fills it with what comes next: payloads as a whole as long as they fit, and one that does
    /// not fit into any packet line by line. `bytes_max` does not count the newline at the end.
    /// Returns whether there is anything.
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
                // The encoder makes no line that does not fit.
                let lines = memrchr(b'\n', room).map_or(rest.len(), |end| end + 1);
                self.bytes.extend_from_slice(&rest[..lines]);
                self.goes_on = Some(payload.id);
                self.after = PacketProgress { next: payload.id, offset: begun + lines };
            }
            break;
        }
        !self.ends.is_empty() || self.goes_on.is_some()
    }

    /// As a datagram, which ends by itself.
    pub(super) fn datagram(&self) -> &[u8] {
        self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes)
    }

    /// Every payload of which something is in it.
    pub(super) fn payloads(&self) -> impl Iterator<Item = usize> + '_ {
        self.ends.iter().copied().chain(self.goes_on)
    }

    /// Notes that it is not to be sent again.
    pub(super) fn is_behind(&mut self, progress: &mut PacketProgress) {
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
                packet.is_behind(&mut progress);
                for id in packet.ends.clone() {
                    batch.delivered(id);
                }
            }
            prop_assert!(batch.is_settled());
            prop_assert_eq!(sent, expected);
        }
    }
}
