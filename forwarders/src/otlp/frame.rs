//! The frame of a message in gRPC: whether it is compressed, and its length.

use std::borrow::Cow;
use std::io::{self, Read};

use flate2::read::GzDecoder;

/// Bytes before a message.
const FRAME_BYTES: usize = 5;
/// Maximum size of a reply's message after decompression: the HTTP client limits it before.
const MESSAGE_BYTES_MAX: u64 = 64 << 10;

/// Adds the frame to a message.
pub(super) fn frame(message: &[u8], is_compressed: bool) -> io::Result<Vec<u8>> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(FRAME_BYTES + message.len());
    frame.push(u8::from(is_compressed));
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(message);
    Ok(frame)
}

/// The message in a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unframed<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    /// Whether the message is longer.
    pub(super) is_cut: bool,
}

/// The message in the body of a reply, or its start if the body `is_cut`; `None` if the frame is
/// malformed. Servers may compress the message as the request was compressed, so a compressed one is
/// gzip.
pub(super) fn unframed(body: &[u8], is_cut: bool) -> Option<Unframed<'_>> {
    if body.is_empty() {
        return Some(Unframed { bytes: Cow::Borrowed(body), is_cut });
    }
    let (header, message) = body.split_first_chunk::<FRAME_BYTES>()?;
    let [is_compressed, length @ ..] = *header;
    let length = u32::from_be_bytes(length) as usize;
    if length != message.len() && !(is_cut && length > message.len()) {
        return None;
    }
    match is_compressed {
        0 => Some(Unframed { bytes: Cow::Borrowed(message), is_cut }),
        1 => unpacked(message, is_cut),
        _ => None,
    }
}

fn unpacked(message: &[u8], is_cut: bool) -> Option<Unframed<'static>> {
    let mut unpacked = Vec::new();
    let mut decoder = GzDecoder::new(message).take(MESSAGE_BYTES_MAX + 1);
    let is_complete = decoder.read_to_end(&mut unpacked).is_ok();
    if !is_complete && !is_cut {
        return None;
    }
    let is_long = unpacked.len() as u64 > MESSAGE_BYTES_MAX;
    unpacked.truncate(MESSAGE_BYTES_MAX as usize);
    Some(Unframed { bytes: Cow::Owned(unpacked), is_cut: is_cut || is_long })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(message: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(message).unwrap();
        encoder.finish().unwrap()
    }

    /// The message in a body that is complete.
    fn message(body: &[u8]) -> Option<Vec<u8>> {
        let Unframed { bytes, is_cut } = unframed(body, false)?;
        assert!(!is_cut);
        Some(bytes.into_owned())
    }

    #[test]
    fn a_message_is_read_from_its_frame_compressed_or_not() {
        assert_eq!(message(&frame(b"x", false).unwrap()).as_deref(), Some(&b"x"[..]));
        assert_eq!(message(&frame(&gzip(b"x"), true).unwrap()).as_deref(), Some(&b"x"[..]));
        assert_eq!(message(b"").as_deref(), Some(&b""[..]));
        for (content, flag) in [(&b"x"[..], 1), (b"x", 2)] {
            let mut body = frame(content, false).unwrap();
            body[0] = flag;
            assert_eq!(message(&body), None, "{flag}");
        }
        let body = frame(b"xy", false).unwrap();
        assert_eq!((message(&body[..6]), message(&body[..4])), (None, None));
    }

    #[test]
    fn of_a_message_that_is_cut_or_large_the_start_is_read() {
        let start = |body: &[u8], is_cut: bool| {
            let Unframed { bytes, is_cut } = unframed(body, is_cut).unwrap();
            assert!(is_cut);
            bytes.into_owned()
        };
        let body = frame(b"xyz", false).unwrap();
        assert_eq!(start(&body[..7], true), b"xy");
        // Random enough that a part of the compressed message has a part of the content.
        let content: Vec<u8> =
            (0..40_000_u32).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
        let packed = frame(&gzip(&content), true).unwrap();
        let found = start(&packed[..packed.len() / 4], true);
        assert!(found.len() > 1_000 && content.starts_with(&found), "{}", found.len());
        let bomb = frame(&gzip(&vec![0; 1 << 20]), true).unwrap();
        assert_eq!(start(&bomb, false), vec![0; MESSAGE_BYTES_MAX as usize]);
        assert_eq!(unframed(&body, true).map(|message| message.bytes.len()), Some(3));
    }
}
