//! Finds the part of a refused request that is to blame, where the server does not say.
//!
//! Half of the suspects are sent again. If they pass, the other half is to blame; if not, they are,
//! and the other half goes with the next request. So each request halves the part that is dropped
//! in the end, and at most [`REQUESTS_MAX`] are made for it: a server that refuses everything must
//! not be asked about every line.

/// Most requests for one search. The lines that turn out innocent take one more.
const REQUESTS_MAX: usize = 7;

/// A search among the ids of a refused request.
#[derive(Debug)]
pub(super) struct Search {
    suspects: Vec<usize>,
    /// How many of the suspects are on their way.
    trying: usize,
    requests: usize,
}

impl Search {
    pub(super) fn new(suspects: Vec<usize>) -> Self {
        Self { suspects, trying: 0, requests: 0 }
    }

    /// The suspects to send next; none when the search is over.
    pub(super) fn next(&mut self) -> Option<Vec<usize>> {
        if self.suspects.len() < 2 || self.requests == REQUESTS_MAX {
            return None;
        }
        self.requests += 1;
        self.trying = self.suspects.len() / 2;
        Some(self.suspects[..self.trying].to_vec())
    }

    /// Those were refused: the others are off the hook for now.
    pub(super) fn refused(&mut self) {
        self.suspects.truncate(self.trying);
    }

    /// Those are settled: it is one of the others.
    pub(super) fn passed(&mut self) {
        self.suspects.drain(..self.trying);
    }

    /// Who is to blame, as far as is known.
    pub(super) fn suspects(&self) -> &[usize] {
        &self.suspects
    }

    /// How many requests it took, the one for the innocent included.
    pub(super) fn requests(&self) -> usize {
        self.requests + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches among so many lines; returns whom it blames and how many requests it took.
    fn search(lines: usize, is_bad: impl Fn(usize) -> bool) -> (Vec<usize>, usize) {
        let mut search = Search::new((0..lines).collect());
        while let Some(tried) = search.next() {
            if tried.iter().any(|line| is_bad(*line)) { search.refused() } else { search.passed() }
        }
        (search.suspects().to_vec(), search.requests())
    }

    #[test]
    fn one_bad_line_among_few_is_found() {
        for bad in 0..100 {
            let (blamed, requests) = search(100, |line| line == bad);
            assert_eq!(blamed, [bad]);
            assert!(requests <= 8, "{requests}");
        }
        assert_eq!(search(1, |_| true), (vec![0], 1));
    }

    #[test]
    fn among_many_it_is_cornered_in_eight_requests() {
        for bad in [0, 1, 2_499, 2_500, 4_999] {
            let (blamed, requests) = search(5_000, |line| line == bad);
            assert!(blamed.contains(&bad) && blamed.len() <= 40, "{blamed:?}");
            assert_eq!(requests, 8);
        }
    }

    #[test]
    fn it_ends_when_everything_is_bad() {
        let (blamed, requests) = search(5_000, |_| true);
        assert_eq!((blamed.first(), requests), (Some(&0), 8));
    }
}
