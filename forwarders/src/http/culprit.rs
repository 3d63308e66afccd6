//! The search in a request that the server neither accepts nor refuses.
//!
//! First, a few of its payloads are sent alone. If the server accepts none of them, the sender
//! compares with data from elsewhere. If the server accepts nothing at all, the server is at fault,
//! and all data is kept.
//!
//! If it accepts other data, the request is halved as long as it is not accepted. A payload that is
//! not accepted alone is the culprit: it is refused, once the server has accepted other data again.
//! If no payload is the culprit, the request was too large.

use super::request_size::RequestSize;

/// A search for the culprit in a stalled request.
#[derive(Debug)]
pub(super) struct CulpritSearch {
    /// The ids of the payloads to send alone, the next one last.
    trials: Vec<usize>,
    /// Whether the server has accepted other data since the search began.
    pub(super) is_proven: bool,
    /// The size of requests before the search.
    pub(super) size_before: RequestSize,
    /// The payloads that the server did not accept alone, until it has accepted other data again.
    pub(super) suspects: Vec<usize>,
    /// Whether a payload was refused.
    pub(super) has_culprit: bool,
}

impl CulpritSearch {
    /// A search in a request with the payloads `ids`.
    pub(super) fn new(ids: &[usize], size: RequestSize) -> Self {
        Self {
            trials: trials(ids),
            is_proven: false,
            size_before: size,
            suspects: Vec::new(),
            has_culprit: false,
        }
    }

    /// The payload to send alone next; `None` if enough of them were sent.
    pub(super) fn trial(&self) -> Option<usize> {
        if self.is_proven { None } else { self.trials.last().copied() }
    }

    /// Ends the current trial, which the server did not accept.
    pub(super) fn trial_failed(&mut self) {
        self.trials.pop();
    }
}

/// The first payload, the middle one and the last one, so that a culprit among them, or next to
/// others of its kind, does not spoil all trials.
fn trials(ids: &[usize]) -> Vec<usize> {
    let [first, .., last] = ids else {
        // It was just sent alone.
        return Vec::new();
    };
    let mut trials = vec![*last, ids[ids.len() / 2], *first];
    trials.dedup();
    trials
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_are_spread_over_the_request() {
        for (ids, expected) in
            [(&[7][..], &[][..]), (&[7, 8], &[8, 7]), (&[1, 3, 5, 7, 9], &[9, 5, 1]), (&[], &[])]
        {
            assert_eq!(trials(ids), expected, "{ids:?}");
        }
    }
}
