//! Finds the payload that makes a server refuse a request, if the reply does not name it.
//!
//! Half of the suspects are sent again. If the server accepts them, the bad payload is in the other
//! half. If it refuses them, the bad payload is among them, and the other half is sent with a later
//! request. So each request halves the number of payloads that are dropped in the end. The number
//! of requests is bounded, so that a server that refuses everything is not asked about every
//! payload.

/// A search among the payloads of a refused request.
#[derive(Debug)]
pub(super) struct Bisect {
    /// The ids of the payloads that may be the bad one.
    suspects: Vec<usize>,
    /// The number of suspects in the current request, which are the first ones.
    trying: usize,
    /// Whether the server refused exactly these suspects. If not, they are suspects only because
    /// the others were accepted. That is wrong for a server that refuses at random or because of
    /// the size.
    is_proven: bool,
    requests: usize,
    requests_max: usize,
}

impl Bisect {
    /// A search among payloads that were refused together, with at most `requests_max` requests.
    pub(super) fn new(suspects: Vec<usize>, requests_max: usize) -> Self {
        Self { suspects, trying: 0, is_proven: true, requests: 0, requests_max }
    }

    /// Whether the bad payload is found, no suspect is left or no request is left.
    pub(super) fn is_over(&self) -> bool {
        let is_found = self.is_proven && self.suspects.len() == 1;
        self.suspects.is_empty() || is_found || self.requests >= self.requests_max
    }

    /// The suspects to send next; `None` when the search is over.
    pub(super) fn next(&mut self) -> Option<&[usize]> {
        if self.is_over() {
            return None;
        }
        self.requests += 1;
        // At least one: a last suspect that is not proven is sent alone before it is dropped.
        self.trying = (self.suspects.len() / 2).max(1);
        Some(&self.suspects[..self.trying])
    }

    /// Records that the server refused the latest request.
    pub(super) fn refused(&mut self) {
        // The other half may contain a second bad payload. It stays pending, and a later group with
        // it begins another search.
        self.suspects.truncate(self.trying);
        self.is_proven = true;
    }

    /// Records that the payloads of the latest request are settled.
    pub(super) fn passed(&mut self) {
        // The bad payload is among the others, unless the server refused the group for another
        // reason.
        self.suspects.drain(..self.trying);
        self.is_proven = false;
    }

    /// The remaining suspects; empty if the server accepted all payloads.
    pub(super) fn suspects(&self) -> &[usize] {
        &self.suspects
    }

    /// The number of requests that the search costs, including one for the payloads that are not
    /// suspects any longer.
    pub(super) fn requests(&self) -> usize {
        self.requests + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches among `payloads` payloads. Returns the remaining suspects and the number of
    /// requests.
    fn search(
        payloads: usize,
        requests_max: usize,
        refuses: impl Fn(&[usize]) -> bool,
    ) -> (Vec<usize>, usize) {
        let mut bisect = Bisect::new((0..payloads).collect(), requests_max);
        while let Some(tried) = bisect.next() {
            if refuses(tried) { bisect.refused() } else { bisect.passed() }
        }
        (bisect.suspects().to_vec(), bisect.requests())
    }

    #[test]
    fn one_bad_payload_among_few_is_found() {
        for bad in 0..100 {
            let (blamed, requests) = search(100, 7, |tried| tried.contains(&bad));
            assert_eq!(blamed, [bad]);
            assert!(requests <= 8, "{requests}");
        }
        assert_eq!(search(1, 7, |_| true), (vec![0], 1));
    }

    #[test]
    fn the_number_of_requests_bounds_how_exactly_it_is_found() {
        for bad in [0, 1, 2_499, 2_500, 4_999] {
            let (blamed, requests) = search(5_000, 7, |tried| tried.contains(&bad));
            assert!(blamed.contains(&bad) && blamed.len() <= 40, "{blamed:?}");
            assert_eq!(requests, 8);
            let (blamed, requests) = search(5_000, 16, |tried| tried.contains(&bad));
            assert_eq!(blamed, [bad]);
            assert!(requests <= 15, "{requests}");
        }
        assert_eq!(search(3, 0, |_| true), (vec![0, 1, 2], 1));
    }

    #[test]
    fn a_search_ends_when_everything_is_refused() {
        let (blamed, requests) = search(5_000, 7, |_| true);
        assert_eq!((blamed.first(), requests), (Some(&0), 8));
    }

    #[test]
    fn no_payload_is_blamed_only_because_the_others_passed() {
        // The server accepts every payload, but at most ten at a time.
        let (blamed, requests) = search(100, 16, |tried| tried.len() > 10);
        assert_eq!((blamed, requests <= 16), (vec![], true));
    }
}
