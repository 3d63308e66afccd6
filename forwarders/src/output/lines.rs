//! Lines that are being written.

/// Lines, each with its newline, and how much of them is written.
#[derive(Debug)]
pub(crate) struct Lines {
    bytes: Vec<u8>,
    written: usize,
}

impl Lines {
    /// Lines of which nothing is written.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), written: 0 }
    }

    /// The bytes that are not written.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Records that the first `length` bytes of the rest are written.
    pub(crate) fn advance(&mut self, length: usize) {
        self.written += length;
        debug_assert!(self.written <= self.bytes.len(), "more bytes written than given");
    }

    /// Records the whole lines among the first `length` bytes of the rest as written. The line after
    /// them is written again from its start.
    #[cfg_attr(not(feature = "file"), allow(dead_code, reason = "the file forwarder's"))]
    pub(crate) fn advance_by_lines(&mut self, length: usize) {
        let whole = self.rest()[..length].iter().rposition(|byte| *byte == b'\n');
        self.advance(whole.map_or(0, |newline| newline + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_line_is_written_again_from_its_start() {
        let mut lines = Lines::new(b"ab\ncd\nef\n");
        lines.advance_by_lines(2);
        assert_eq!(lines.rest(), b"ab\ncd\nef\n");
        lines.advance_by_lines(4);
        assert_eq!(lines.rest(), b"cd\nef\n");
        lines.advance(2);
        assert_eq!(lines.rest(), b"\nef\n");
        lines.advance_by_lines(4);
        assert_eq!(lines.rest(), b"");
    }
}
