//! Splits the bytes of a connection into packets, each after its length: DogStatsD's protocol of streams.

/// Bytes of a length, a little-endian integer.
const PREFIX: usize = 4;

/// A connection has announced a packet that is too long. Nothing shows where the next packet begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OversizedPacket {
    /// The announced length, in bytes.
    pub(crate) length: u32,
}

/// The incomplete packet of a connection. It takes memory only while there is such a packet, and no more
/// than twice the bytes of it that have arrived.
#[derive(Debug, Default)]
pub(crate) struct PacketBuffer {
    /// The length, and the content so far.
    partial: Vec<u8>,
}

impl PacketBuffer {
    /// Passes the content of each packet that ends within `chunk` to `each`, in order, and keeps the
    /// beginning of the next one. Returns whether a packet ended.
    ///
    /// # Errors
    /// If the length of a packet is above `max` bytes. The rest of the chunk is lost.
    pub(crate) fn feed(
        &mut self,
        mut chunk: &[u8],
        max: usize,
        each: &mut impl FnMut(&[u8]),
    ) -> Result<bool, OversizedPacket> {
        let mut has_ended = false;
        while !chunk.is_empty() {
            if self.partial.is_empty()
                && let Some((packet, rest)) = split_packet(chunk, max)?
            {
                // Most packets arrive whole, and are passed on without a copy.
                each(packet);
                (has_ended, chunk) = (true, rest);
                continue;
            }
            let end = self.end(max)?;
            let own = (end.unwrap_or(PREFIX) - self.partial.len()).min(chunk.len());
            self.push(&chunk[..own], end);
            chunk = &chunk[own..];
            if self.end(max)? == Some(self.partial.len()) {
                each(&self.partial[PREFIX..]);
                self.partial = Vec::new();
                has_ended = true;
            }
        }
        Ok(has_ended)
    }

    /// Takes the incomplete packet, with as much of its length as has arrived; empty without one.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.partial)
    }

    /// The number of bytes after which the incomplete packet ends; `None` if its length is incomplete.
    fn end(&mut self, max: usize) -> Result<Option<usize>, OversizedPacket> {
        // A reload may have lowered the maximum within a packet.
        let length =
            content_length(&self.partial, max).inspect_err(|_| self.partial = Vec::new())?;
        Ok(length.map(|length| PREFIX + length))
    }

    fn push(&mut self, piece: &[u8], end: Option<usize>) {
        let length = self.partial.len() + piece.len();
        if length > self.partial.capacity() {
            // Grows in powers of two, but never beyond the end of the packet.
            let room = length.next_power_of_two().min(end.unwrap_or(PREFIX));
            self.partial.reserve_exact(room - self.partial.len());
        }
        self.partial.extend_from_slice(piece);
    }
}

/// The content of a packet, and the bytes after it.
type ContentAndRest<'a> = (&'a [u8], &'a [u8]);

/// Splits the first packet; `None` if it is incomplete.
fn split_packet(bytes: &[u8], max: usize) -> Result<Option<ContentAndRest<'_>>, OversizedPacket> {
    let length = content_length(bytes, max)?;
    Ok(length.and_then(|length| bytes[PREFIX..].split_at_checked(length)))
}

/// The length at the beginning of a packet; `None` if it is incomplete.
fn content_length(bytes: &[u8], max: usize) -> Result<Option<usize>, OversizedPacket> {
    let Some(prefix) = bytes.first_chunk::<PREFIX>() else { return Ok(None) };
    let length = u32::from_le_bytes(*prefix);
    match usize::try_from(length) {
        Ok(bytes) if bytes <= max => Ok(Some(bytes)),
        _ => Err(OversizedPacket { length }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(content: &str) -> Vec<u8> {
        [&(content.len() as u32).to_le_bytes(), content.as_bytes()].concat()
    }

    /// Feeds a stream in chunks and returns its packets: the rest with `…`, an error with `!`.
    fn cut(chunks: &[&[u8]], max: usize) -> Vec<String> {
        let (mut buffer, mut seen) = (PacketBuffer::default(), Vec::new());
        for chunk in chunks {
            let before = seen.len();
            let fed = buffer.feed(chunk, max, &mut |packet| {
                seen.push(String::from_utf8_lossy(packet).into_owned());
            });
            match fed {
                Ok(has_ended) => assert_eq!(has_ended, seen.len() > before),
                Err(OversizedPacket { length }) => {
                    seen.push(format!("!{length}"));
                    break;
                }
            }
            assert!(buffer.partial.capacity() <= PREFIX + max);
        }
        let rest = buffer.finish();
        if !rest.is_empty() {
            seen.push(format!("…{}", rest.len()));
        }
        seen
    }

    #[test]
    fn packets_do_not_depend_on_chunks() {
        let stream = [packet("a:1|c\nb:2|c"), packet(""), packet("c:3|c"), packet("rest")].concat();
        let stream = &stream[..stream.len() - 1];
        let expected = ["a:1|c\nb:2|c", "", "c:3|c", "…7"];
        assert_eq!(cut(&[stream], 64), expected);
        for size in 1..12 {
            assert_eq!(cut(&stream.chunks(size).collect::<Vec<_>>(), 64), expected, "{size}");
        }
    }

    #[test]
    fn a_packet_that_is_too_long_is_an_error_as_soon_as_its_length_is_known() {
        let stream = [packet("12345678"), packet("123456789")].concat();
        let expected = ["12345678", "!9"];
        assert_eq!(cut(&[&stream], 8), expected);
        let until_length = &stream[..PREFIX + 8 + PREFIX];
        assert_eq!(cut(&until_length.chunks(1).collect::<Vec<_>>(), 8), expected);
        // Lines without a length.
        assert_eq!(cut(&[b"page.views:1|c\n"], 65_536), ["!1701273968"]);
    }

    #[test]
    fn a_maximum_that_is_lowered_within_a_packet_applies_to_it() {
        let (mut buffer, stream) = (PacketBuffer::default(), packet("12345678"));
        assert_eq!(buffer.feed(&stream[..7], 8, &mut |_| {}), Ok(false));
        assert_eq!(buffer.feed(&stream[7..], 4, &mut |_| {}), Err(OversizedPacket { length: 8 }));
        assert_eq!(buffer.finish(), b"");
    }

    proptest! {
        #[test]
        fn any_chunks_give_the_same_packets(
            contents in prop::collection::vec("[ab]{0,12}", 0..20),
            lost in 0_usize..8,
            sizes in prop::collection::vec(1_usize..30, 1..40),
            max in 1_usize..14,
        ) {
            let mut stream: Vec<u8> = contents.iter().flat_map(|content| packet(content)).collect();
            stream.truncate(stream.len().saturating_sub(lost));
            let (mut chunks, mut rest) = (Vec::new(), stream.as_slice());
            for size in sizes {
                let (chunk, left) = rest.split_at(size.min(rest.len()));
                chunks.push(chunk);
                rest = left;
            }
            chunks.push(rest);
            prop_assert_eq!(cut(&chunks, max), cut(&[&stream], max));
        }
    }
}
