//! Notices that a server neither accepts nor refuses a request, again and again. A search then
//! finds out whether the request or the server is at fault.

use std::hash::{BuildHasher, RandomState};

/// Failures without a reply after which a search begins, if `search_after` is not smaller. A
/// connection that breaks several times with the same request breaks because of it, or the server
/// is down: the search finds out which, and costs little.
const BROKEN_MAX: u32 = 3;

/// Counts how often the server answered the same request in a row without accepting or refusing it.
/// Answers that ask for patience, and failures to connect, do not count: they say nothing about the
/// request.
#[derive(Debug)]
pub(super) struct StallCount {
    search_after: u32,
    hasher: RandomState,
    /// The hash of the request.
    request: u64,
    times: u32,
    /// Whether the latest failure had no reply.
    is_broken: bool,
    /// Whether the latest search found that the server accepts other data. The next request that
    /// stalls is then searched at once, so that windows with the same problem do not pile up.
    is_likely: bool,
}

impl StallCount {
    /// `search_after` is the number of answers after which a search begins.
    pub(super) fn new(search_after: u32) -> Self {
        Self {
            search_after,
            hasher: RandomState::new(),
            request: 0,
            times: 0,
            is_broken: false,
            is_likely: false,
        }
    }

    /// Counts an answer to a request with these payloads. `is_broken` says that there was no
    /// complete reply. Returns whether a search has to begin.
    pub(super) fn note(&mut self, payloads: &[&[u8]], is_broken: bool) -> bool {
        let request = self.hasher.hash_one(payloads);
        if self.request != request {
            (self.request, self.times) = (request, 0);
        }
        self.times = self.times.saturating_add(1);
        self.is_broken = is_broken;
        self.is_likely || self.times >= self.limit()
    }

    /// Whether the next answer may begin a search.
    pub(super) fn is_search_near(&self) -> bool {
        self.times > 0 && (self.is_likely || self.times + 1 >= self.limit())
    }

    /// Records that the server accepts other data, so that the request is at fault.
    pub(super) fn request_is_at_fault(&mut self) {
        self.is_likely = true;
    }

    /// Records that the server accepts nothing. The next search begins after half as many answers.
    pub(super) fn server_is_at_fault(&mut self) {
        self.is_likely = false;
        self.times = self.limit() / 2;
    }

    fn limit(&self) -> u32 {
        if self.is_broken { self.search_after.min(BROKEN_MAX) } else { self.search_after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_begins_after_equal_requests_only() {
        let mut stall = StallCount::new(4);
        let mut searches = Vec::new();
        for request in [b"a", b"a", b"b", b"a", b"a", b"a", b"a", b"a"] {
            searches.push(stall.note(&[request], false));
        }
        assert_eq!(searches, [false, false, false, false, false, false, true, true]);
    }

    #[test]
    fn a_broken_connection_counts_for_more_and_a_search_without_result_is_repeated_later() {
        let mut stall = StallCount::new(8);
        let broken = |stall: &mut StallCount| stall.note(&[b"a"], true);
        assert_eq!([(); 3].map(|()| broken(&mut stall)), [false, false, true]);
        stall.server_is_at_fault();
        assert_eq!([(); 2].map(|()| broken(&mut stall)), [false, true]);
        let mut stall = StallCount::new(8);
        let answered = |stall: &mut StallCount| stall.note(&[b"a"], false);
        assert_eq!((0..8).filter(|_| answered(&mut stall)).count(), 1);
        stall.server_is_at_fault();
        assert_eq!([(); 4].map(|()| answered(&mut stall)), [false, false, false, true]);
    }

    #[test]
    fn another_request_is_searched_at_once_after_one_was_at_fault() {
        let mut stall = StallCount::new(8);
        stall.request_is_at_fault();
        assert!(stall.note(&[b"b"], false));
        stall.server_is_at_fault();
        assert!(!stall.note(&[b"c"], false));
    }

    #[test]
    fn a_newer_window_is_wanted_just_before_a_search() {
        let mut stall = StallCount::new(3);
        assert!(!stall.is_search_near());
        let near = [(); 3].map(|()| {
            stall.note(&[b"a"], false);
            stall.is_search_near()
        });
        assert_eq!(near, [false, true, true]);
    }
}
