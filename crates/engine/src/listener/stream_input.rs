//! The bytes of a connection, by the framing of its listener.

use super::lines::{LineBuffer, LineChunk};
use super::packets::{OversizedPacket, PacketBuffer};
use super::stream_config::Framing;
use crate::protocol::{RejectReason, Rejection};

/// The incomplete message of a connection.
#[derive(Debug)]
pub(super) enum StreamInput {
    Lines(LineBuffer),
    Packets(PacketBuffer),
}

/// A part of the input, passed to the caller of [`StreamInput::feed`].
#[derive(Debug)]
pub(super) enum InputPart<'a> {
    /// Complete lines.
    Lines(&'a [u8]),
    /// Input that is too long, and its beginning.
    Rejected(Rejection, &'a [u8]),
}

/// The state of a connection after some bytes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FedState {
    /// No message ended.
    Incomplete,
    /// A message ended.
    HasEnded,
    /// The connection must be closed, because its further bytes cannot be read.
    Unreadable,
}

/// The last input of a connection that is closed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LastInput {
    None,
    /// A whole line without its end.
    Line(Vec<u8>),
    /// A part of a message.
    Unfinished(Rejection, Vec<u8>),
}

impl StreamInput {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Lines => Self::Lines(LineBuffer::default()),
            Framing::LengthPrefixed => Self::Packets(PacketBuffer::default()),
        }
    }

    /// Passes the messages that end within `chunk` to `each`, in order, and keeps the beginning of the
    /// next one. `max` is the maximum length of a line or a packet.
    pub(super) fn feed(
        &mut self,
        chunk: &[u8],
        max: usize,
        each: &mut impl FnMut(InputPart<'_>),
    ) -> FedState {
        let reason = RejectReason::TooLong;
        let has_ended = match self {
            Self::Lines(lines) => lines.feed(chunk, max, &mut |part| match part {
                LineChunk::Lines(lines) => each(InputPart::Lines(lines)),
                LineChunk::TooLong(line) => {
                    let rejection = Rejection { reason, offset: max, expected: "the line's end" };
                    each(InputPart::Rejected(rejection, line));
                }
            }),
            Self::Packets(packets) => {
                match packets.feed(chunk, max, &mut |packet| each(InputPart::Lines(packet))) {
                    Ok(has_ended) => has_ended,
                    Err(OversizedPacket { length }) => {
                        let expected =
                            "the length of a packet, up to `max_line`, as 4 bytes, little-endian";
                        let rejection = Rejection { reason, offset: 0, expected };
                        each(InputPart::Rejected(rejection, &length.to_le_bytes()));
                        return FedState::Unreadable;
                    }
                }
            }
        };
        if has_ended { FedState::HasEnded } else { FedState::Incomplete }
    }

    /// Takes the last input of a connection that is closed. A line without an end is whole if the peer has
    /// ended its input (`has_ended`). Otherwise it may be incomplete, and half a line could be a different
    /// valid message. A packet has a length, so that one without its end is never whole.
    pub(super) fn finish(&mut self, has_ended: bool) -> LastInput {
        let (rest, expected) = match self {
            Self::Lines(lines) => {
                let line = lines.finish();
                if line.trim_ascii().is_empty() {
                    return LastInput::None;
                }
                if has_ended {
                    return LastInput::Line(line);
                }
                (line, "the line's end")
            }
            Self::Packets(packets) => (packets.finish(), "the rest of the packet"),
        };
        if rest.is_empty() {
            return LastInput::None;
        }
        let (reason, offset) = (RejectReason::Unfinished, rest.len());
        LastInput::Unfinished(Rejection { reason, offset, expected }, rest)
    }
}
