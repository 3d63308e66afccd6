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

/// The message in a reply; `None` if it is incomplete or too large. Servers may compress it as the
/// request was compressed, so a compressed one is gzip.
pub(super) fn unframed(body: &[u8]) -> Option<Cow<'_, [u8]>> {
    if body.is_empty() {
        return Some(Cow::Borrowed(body));
    }
    let (header, message) = body.split_first_chunk::<FRAME_BYTES>()?;
    let [is_compressed, length @ ..] = *header;
    if u32::from_be_bytes(length) as usize != message.len() {
        return None;
    }
    match is_compressed {
        0 => Some(Cow::Borrowed(message)),
        1 => unpacked(message).map(Cow::Owned),
        _ => None,
    }
}

fn unpacked(message: &[u8]) -> Option<Vec<u8>> {
    let mut unpacked = Vec::new();
    let mut decoder = GzDecoder::new(message).take(MESSAGE_BYTES_MAX + 1);
    decoder.read_to_end(&mut unpacked).ok()?;
    (unpacked.len() as u64 <= MESSAGE_BYTES_MAX).then_some(unpacked)
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

    #[test]
    fn a_message_is_read_from_its_frame_compressed_or_not() {
        assert_eq!(unframed(&frame(b"x", false).unwrap()).as_deref(), Some(&b"x"[..]));
        assert_eq!(unframed(&frame(&gzip(b"x"), true).unwrap()).as_deref(), Some(&b"x"[..]));
        assert_eq!(unframed(b"").as_deref(), Some(&b""[..]));
        let bomb = gzip(&vec![0; 1 << 20]);
        for (message, flag) in [(&b"x"[..], 1), (b"x", 2), (&bomb, 1)] {
            let mut body = frame(message, false).unwrap();
            body[0] = flag;
            assert_eq!(unframed(&body), None, "{flag}");
        }
        let body = frame(b"xy", false).unwrap();
        assert_eq!((unframed(&body[..6]), unframed(&body[..4])), (None, None));
    }
}
