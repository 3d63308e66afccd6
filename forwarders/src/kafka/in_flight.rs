//! Tracks which side has each payload of the batch: tallyd, the client library, or the brokers.
//!
//! The library copies a record when it is handed over and reports its outcome even after `send` was
//! dropped. The state of each payload therefore outlives a call of `send`: the next call waits for
//! the payloads that the library still holds and does not hand them over again.

use super::bisect::RecordBisect;

/// The state of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PayloadState {
    /// On this side, to be handed over.
    Waiting,
    /// On this side, from a batch that the brokers refused because of one of its records.
    Suspect,
    /// With the client library, which will report its outcome.
    Library,
    /// Delivered or refused.
    Settled,
}

/// The states of the payloads of one batch.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    states: Vec<PayloadState>,
    /// All payloads with a smaller id are in another state than `Waiting`.
    next: usize,
    open: usize,
    suspects: usize,
    in_library: usize,
    bisect: RecordBisect,
}

impl InFlight {
    /// Starts a batch with this number of payloads.
    pub(super) fn reset(&mut self, payloads: usize) {
        self.states.clear();
        self.states.resize(payloads, PayloadState::Waiting);
        self.next = 0;
        self.open = payloads;
        self.suspects = 0;
        self.in_library = 0;
        self.bisect = RecordBisect::default();
    }

    /// Returns whether every payload is delivered or refused.
    pub(super) fn is_settled(&self) -> bool {
        self.open == 0
    }

    /// Returns the number of payloads that are neither delivered nor refused.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Returns the number of payloads for which the library will send a report.
    pub(super) fn in_library(&self) -> usize {
        self.in_library
    }

    /// Returns whether only suspects are left, so that groups of them can be sent.
    pub(super) fn only_suspects_left(&self) -> bool {
        self.suspects > 0 && self.suspects == self.open
    }

    /// Returns the id from which to look for payloads to hand over.
    pub(super) fn next(&self) -> usize {
        self.next
    }

    /// Returns the search for the record because of which a batch was refused.
    pub(super) fn bisect(&mut self) -> &mut RecordBisect {
        &mut self.bisect
    }

    /// Returns whether a payload awaits its hand-over and is no suspect.
    pub(super) fn is_waiting(&self, id: usize) -> bool {
        self.states[id] == PayloadState::Waiting
    }

    /// Returns whether a payload is a suspect.
    pub(super) fn is_suspect(&self, id: usize) -> bool {
        self.states[id] == PayloadState::Suspect
    }

    /// Returns whether the library will report on a payload.
    pub(super) fn is_in_library(&self, id: usize) -> bool {
        self.states[id] == PayloadState::Library
    }

    /// Notes that the library took a payload.
    pub(super) fn handed_over(&mut self, id: usize) {
        self.put(id, PayloadState::Library);
    }

    /// Notes that the library returned a payload, which must be handed over again.
    pub(super) fn came_back(&mut self, id: usize) {
        // While a group of suspects is in flight, the library holds nothing else.
        let doubted = self.bisect.is_trying();
        self.put(id, if doubted { PayloadState::Suspect } else { PayloadState::Waiting });
        // Records are reported in any order, so that the payload may lie before the position
        // reached.
        self.next = self.next.min(id);
    }

    /// Notes that the brokers refused a payload together with others.
    pub(super) fn suspected(&mut self, id: usize) {
        self.put(id, PayloadState::Suspect);
    }

    /// Notes that a payload is delivered or refused.
    pub(super) fn settled(&mut self, id: usize) {
        self.put(id, PayloadState::Settled);
    }

    /// Notes that no payload with a smaller id is left to hand over.
    pub(super) fn looked_up_to(&mut self, next: usize) {
        self.next = next;
    }

    /// Takes back all payloads of a library that ended without reports on them.
    pub(super) fn all_come_back(&mut self) {
        for id in 0..self.states.len() {
            if self.is_in_library(id) {
                self.came_back(id);
            }
        }
        self.bisect.call_off();
    }

    fn put(&mut self, id: usize, place: PayloadState) {
        let before = std::mem::replace(&mut self.states[id], place);
        // Counters, because scanning 100,000 states after each report would be quadratic.
        let change = |count: &mut usize, of: PayloadState| {
            *count -= usize::from(before == of);
            *count += usize::from(place == of);
        };
        change(&mut self.suspects, PayloadState::Suspect);
        change(&mut self.in_library, PayloadState::Library);
        self.open -= usize::from(before != PayloadState::Settled && place == PayloadState::Settled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_in_the_library_are_not_handed_over_again_until_they_come_back() {
        let mut in_flight = InFlight::default();
        in_flight.reset(3);
        in_flight.handed_over(0);
        in_flight.handed_over(1);
        in_flight.looked_up_to(2);
        assert_eq!((in_flight.in_library(), in_flight.open(), in_flight.next()), (2, 3, 2));
        in_flight.settled(0);
        in_flight.came_back(1);
        assert_eq!((in_flight.in_library(), in_flight.open(), in_flight.next()), (0, 2, 1));
        assert!(in_flight.is_waiting(1) && in_flight.is_waiting(2) && !in_flight.is_waiting(0));
    }

    #[test]
    fn suspects_wait_until_nothing_else_is_left() {
        let mut in_flight = InFlight::default();
        in_flight.reset(3);
        in_flight.handed_over(0);
        in_flight.suspected(0);
        assert!(!in_flight.only_suspects_left() && !in_flight.is_waiting(0));
        in_flight.handed_over(1);
        in_flight.settled(1);
        assert!(!in_flight.only_suspects_left(), "the third is still here");
        in_flight.handed_over(2);
        assert!(!in_flight.only_suspects_left(), "the third is with the library");
        in_flight.settled(2);
        assert!(in_flight.only_suspects_left());
    }

    #[test]
    fn a_suspect_that_comes_back_from_its_group_is_still_one() {
        let mut in_flight = InFlight::default();
        in_flight.reset(1);
        in_flight.handed_over(0);
        in_flight.suspected(0);
        in_flight.handed_over(0);
        in_flight.bisect().add(100);
        in_flight.came_back(0);
        assert!(in_flight.is_suspect(0));
    }

    #[test]
    fn a_library_that_is_gone_owes_nothing() {
        let mut in_flight = InFlight::default();
        in_flight.reset(2);
        in_flight.handed_over(0);
        in_flight.handed_over(1);
        in_flight.looked_up_to(2);
        in_flight.settled(0);
        in_flight.all_come_back();
        assert_eq!((in_flight.in_library(), in_flight.open(), in_flight.next()), (0, 1, 1));
    }
}
