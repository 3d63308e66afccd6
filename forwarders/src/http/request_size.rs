//! Learns the largest request that a server accepts from its refusals.

/// Requests up to this size are not made smaller. A server that calls them too large has another
/// problem, which smaller requests would not solve.
pub(super) const REQUEST_BYTES_MIN: usize = 4 << 10;

/// Most bytes of a request before compression: the configured size, until the server refuses it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestSize {
    configured: usize,
    current: usize,
}

impl RequestSize {
    pub(super) fn new(configured: usize) -> Self {
        Self { configured, current: configured }
    }

    /// Most bytes of the next request.
    pub(super) fn bytes_max(self) -> usize {
        self.current
    }

    /// Halves the size after the server refused a request of `bytes` bytes for its size. Returns
    /// the new size; `None` if the request was too small for that.
    pub(super) fn halve(&mut self, bytes: usize) -> Option<usize> {
        if bytes <= REQUEST_BYTES_MIN {
            // An operator has to change the server, after which the learned size is outdated.
            self.current = self.configured;
            return None;
        }
        self.shrink(bytes);
        Some(self.current)
    }

    /// Halves the size after a request of `bytes` bytes, down to a single byte: then each request
    /// has one payload.
    pub(super) fn shrink(&mut self, bytes: usize) {
        // Half of the request, not of the limit: the request may have been much smaller than that.
        self.current = (bytes / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_halved_down_to_a_size_below_which_the_server_is_at_fault() {
        let mut size = RequestSize::new(1 << 20);
        let mut halved = Vec::new();
        while let Some(bytes) = size.halve(size.bytes_max()) {
            halved.push(bytes >> 10);
        }
        assert_eq!(halved, [512, 256, 128, 64, 32, 16, 8, 4]);
        assert_eq!(size.bytes_max(), 1 << 20);
    }
}
