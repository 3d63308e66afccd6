//! Finds the payload for which a server refuses a request, where the reply does not name it.
//!
//! Half of the suspects are sent again. If they pass, the culprit is in the other half; if not, it
//! is in this half, and the other half goes with a later request. So each request halves the number
//! of payloads that are dropped in the end. The number of requests is bounded: a server that refuses
//! everything must not be asked about every payload.

/// A search among the payloads of a refused request.
#[derive(Debug)]
pub(super) struct Bisect {
    suspects: Vec<usize>,
    /// How many of the suspects are in the current request.
    trying: usize,
    /// Whether the server refused just these suspects. If not, they are suspects because the others
    /// passed, which a server that refuses by chance or by size can make wrong.
    is_proven: bool,
    requests: usize,
    requests_max: usize,
}

impl Bisect {
    /// A search among payloads that were refused together, by at most `requests_max` requests.
    pub(super) fn new(suspects: Vec<usize>, requests_max: usize) -> Self {
        Self { suspects, trying: 0, is_proven: true, requests: 0, requests_max }
    }

    /// Whether nothing more can be learned, or no request is left.
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
        // A last suspect that is not proven is sent alone before it is blamed.
        self.trying = (self.suspects.len() / 2).max(1);
        Some(&self.suspects[..self.trying])
    }

    /// The server refused the latest request: the other suspects are cleared for now.
    pub(super) fn refused(&mut self) {
        self.suspects.truncate(self.trying);
        self.is_proven = true;
    }

    /// The payloads of the latest request are settled: the culprit is among the others.
    pub(super) fn passed(&mut self) {
        self.suspects.drain(..self.trying);
        self.is_proven = false;
    }

    /// The payloads to blame, as far as is known; none if all have passed.
    pub(super) fn suspects(&self) -> &[usize] {
        &self.suspects
    }

    /// How many requests the search costs, including one for the cleared payloads.
    pub(super) fn requests(&self) -> usize {
        self.requests + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches among `payloads` payloads; returns the blamed ones and the number of requests.
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
        // The server refuses no payload, but more than ten at a time.
        let (blamed, requests) = search(100, 16, |tried| tried.len() > 10);
        assert_eq!((blamed, requests <= 16), (vec![], true));
    }
}
