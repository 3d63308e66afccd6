//! Requests that the stand-ins of HTTP servers receive.

use std::io::{self, BufRead};

/// A request with a `Content-Length`, or without a body.
pub struct HttpRequest {
    /// The method, the target and the version.
    pub first_line: String,
    pub body: Vec<u8>,
}

impl HttpRequest {
    /// Reads the next request; `None` at the end of the connection.
    ///
    /// # Errors
    /// When the connection breaks, also within a body.
    pub fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut first_line = String::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let lower = line.trim().to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if lower.is_empty() {
                break;
            }
            first_line = if first_line.is_empty() { line } else { first_line };
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(Some(Self { first_line, body }))
    }

    /// The body of a protocol that consists of text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}
