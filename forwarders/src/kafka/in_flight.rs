//! Tracks which side has each payload of the batch: tallyd, the client library, or the brokers.
//!
//! The library copies a record when it is handed over and reports its outcome even after `send` was
//! dropped. The state of each payload therefore outlives a call of `send`: the next call waits for
//! the payloads that the library still holds and does not hand them over again.

use super::bisect::Sieve;

/// The state of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// On this side, to be handed over.
    Here,
    /// On this side, from a batch that the brokers refused because of one of its records.
    Suspect,
    /// With the client library, which will report its outcome.
    Library,
    /// Delivered or refused.
    Settled,
}

/// The states of the payloads of one batch.
#[derive(Debug, Default)]
pub(super) struct Custody {
    places: Vec<Place>,
    /// All payloads with a smaller id are in another state than `Here`.
    next: usize,
    open: usize,
    suspects: usize,
    in_library: usize,
    sieve: Sieve,
}

impl Custody {
    /// Starts a batch with this number of payloads.
    pub(super) fn reset(&mut self, payloads: usize) {
        self.places.clear();
        self.places.resize(payloads, Place::Here);
        self.next = 0;
        self.open = payloads;
        self.suspects = 0;
        self.in_library = 0;
        self.sieve = Sieve::default();
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
    pub(super) fn sieve(&mut self) -> &mut Sieve {
        &mut self.sieve
    }

    /// Returns whether a payload awaits its hand-over and is no suspect.
    pub(super) fn is_here(&self, id: usize) -> bool {
        self.places[id] == Place::Here
    }

    /// Returns whether a payload is a suspect.
    pub(super) fn is_suspect(&self, id: usize) -> bool {
        self.places[id] == Place::Suspect
    }

    /// Returns whether the library will report on a payload.
    pub(super) fn is_in_library(&self, id: usize) -> bool {
        self.places[id] == Place::Library
    }

    /// Notes that the library took a payload.
    pub(super) fn handed_over(&mut self, id: usize) {
        self.put(id, Place::Library);
    }

    /// Notes that the library returned a payload, which must be handed over again.
    pub(super) fn came_back(&mut self, id: usize) {
        // While a group of suspects is in flight, the library holds nothing else.
        let doubted = self.sieve.is_trying();
        self.put(id, if doubted { Place::Suspect } else { Place::Here });
        // Records are reported in any order, so that the payload may lie before the position
        // reached.
        self.next = self.next.min(id);
    }

    /// Notes that the brokers refused a payload together with others.
    pub(super) fn suspected(&mut self, id: usize) {
        self.put(id, Place::Suspect);
    }

    /// Notes that a payload is delivered or refused.
    pub(super) fn settled(&mut self, id: usize) {
        self.put(id, Place::Settled);
    }

    /// Notes that no payload with a smaller id is left to hand over.
    pub(super) fn looked_up_to(&mut self, next: usize) {
        self.next = next;
    }

    /// Takes back all payloads of a library that ended without reports on them.
    pub(super) fn all_come_back(&mut self) {
        for id in 0..self.places.len() {
            if self.is_in_library(id) {
                self.came_back(id);
            }
        }
        self.sieve.call_off();
    }

    fn put(&mut self, id: usize, place: Place) {
        let before = std::mem::replace(&mut self.places[id], place);
        // Counters, because scanning 100,000 states after each report would be quadratic.
        let change = |count: &mut usize, of: Place| {
            *count -= usize::from(before == of);
            *count += usize::from(place == of);
        };
        change(&mut self.suspects, Place::Suspect);
        change(&mut self.in_library, Place::Library);
        self.open -= usize::from(before != Place::Settled && place == Place::Settled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_library_holds_is_not_handed_over_again_until_it_comes_back() {
        let mut custody = Custody::default();
        custody.reset(3);
        custody.handed_over(0);
        custody.handed_over(1);
        custody.looked_up_to(2);
        assert_eq!((custody.in_library(), custody.open(), custody.next()), (2, 3, 2));
        custody.settled(0);
        custody.came_back(1);
        assert_eq!((custody.in_library(), custody.open(), custody.next()), (0, 2, 1));
        assert!(custody.is_here(1) && custody.is_here(2) && !custody.is_here(0));
    }

    #[test]
    fn suspects_wait_until_nothing_else_is_left() {
        let mut custody = Custody::default();
        custody.reset(3);
        custody.handed_over(0);
        custody.suspected(0);
        assert!(!custody.only_suspects_left() && !custody.is_here(0));
        custody.handed_over(1);
        custody.settled(1);
        assert!(!custody.only_suspects_left(), "the third is still here");
        custody.handed_over(2);
        assert!(!custody.only_suspects_left(), "the third is with the library");
        custody.settled(2);
        assert!(custody.only_suspects_left());
    }

    #[test]
    fn a_suspect_that_comes_back_from_its_group_is_still_one() {
        let mut custody = Custody::default();
        custody.reset(1);
        custody.handed_over(0);
        custody.suspected(0);
        custody.handed_over(0);
        custody.sieve().add(100);
        custody.came_back(0);
        assert!(custody.is_suspect(0));
    }

    #[test]
    fn a_library_that_is_gone_owes_nothing() {
        let mut custody = Custody::default();
        custody.reset(2);
        custody.handed_over(0);
        custody.handed_over(1);
        custody.looked_up_to(2);
        custody.settled(0);
        custody.all_come_back();
        assert_eq!((custody.in_library(), custody.open(), custody.next()), (0, 1, 1));
    }
}
