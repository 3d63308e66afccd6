//! One write request: what it says besides its lines.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::Uri;
use hyper::body::Bytes;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};

use crate::text::Secret;

/// Where requests go, and in whose name.
#[derive(Debug)]
pub(crate) struct Api {
    pub(super) uri: Uri,
    /// The header `Authorization`.
    pub(super) authorization: Option<Secret>,
}

/// The headers of a request.
pub(super) fn headers(gzip: bool) -> Vec<(HeaderName, HeaderValue)> {
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    let mut headers = vec![(CONTENT_TYPE, text)];
    if gzip {
        headers.push((CONTENT_ENCODING, HeaderValue::from_static("gzip")));
    }
    headers
}

/// The body with these lines, of so many bytes together.
pub(super) fn body<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    bytes: usize,
    gzip: bool,
) -> io::Result<Bytes> {
    if !gzip {
        let mut body = Vec::with_capacity(bytes);
        lines.for_each(|line| body.extend_from_slice(line));
        return Ok(body.into());
    }
    // Line protocol repeats itself so much that more effort gains little.
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes / 8), Compression::fast());
    for line in lines {
        encoder.write_all(line)?;
    }
    Ok(encoder.finish()?.into())
}
