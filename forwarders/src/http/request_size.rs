//! The largest request that a server accepts, learned from its refusals.

/// A server that refuses a request of this size for its size accepts nothing: smaller requests
/// would not help.
pub(super) const REQUEST_BYTES_MIN: usize = 4 << 10;

/// Most bytes of a request before compression: as configured, until the server refuses that much.
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

    /// Halves the size after a request of `bytes` bytes was too large; returns the new size. `None`
    /// if the server accepts nothing: then the configured size applies again, for when an operator
    /// has changed the server.
    pub(super) fn halve(&mut self, bytes: usize) -> Option<usize> {
        if bytes <= REQUEST_BYTES_MIN {
            self.current = self.configured;
            return None;
        }
        self.current = bytes / 2;
        Some(self.current)
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
