//! Who has each payload of the batch: this side, the client library, or the brokers.
//!
//! The library copies a record when it is handed over and reports what became of it, be it after
//! `send` was dropped. So where each payload is outlives a `send`: what the library still holds is
//! waited for by the next one and not handed over again.

use super::bisect::Sieve;

/// Where a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Here, to be handed over.
    Here,
    /// Here, one of several of which the brokers refused one.
    Suspect,
    /// With the client library, which owes a report.
    Library,
    /// Delivered or refused.
    Settled,
}

/// Places of the payloads of one batch.
#[derive(Debug, Default)]
pub(super) struct Custody {
    places: Vec<Place>,
    /// No payload below is `Here`.
    next: usize,
    open: usize,
    suspects: usize,
    in_library: usize,
    sieve: Sieve,
}

impl Custody {
    /// Starts over with a batch of so many payloads.
    pub(super) fn reset(&mut self, payloads: usize) {
        self.places.clear();
        self.places.resize(payloads, Place::Here);
        self.next = 0;
        self.open = payloads;
        self.suspects = 0;
        self.in_library = 0;
        self.sieve = Sieve::default();
    }

    /// Whether every payload is delivered or refused.
    pub(super) fn is_settled(&self) -> bool {
        self.open == 0
    }

    /// How many payloads are neither delivered nor refused.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// How many payloads the library owes a report for.
    pub(super) fn in_library(&self) -> usize {
        self.in_library
    }

    /// Whether it is the suspects' turn: nothing else is here or with the library.
    pub(super) fn only_suspects_left(&self) -> bool {
        self.suspects > 0 && self.suspects == self.open
    }

    /// Where to look on for payloads to hand over.
    pub(super) fn next(&self) -> usize {
        self.next
    }

    /// Finds the record that a batch was refused for.
    pub(super) fn sieve(&mut self) -> &mut Sieve {
        &mut self.sieve
    }

    /// Whether a payload is here and nobody doubts it.
    pub(super) fn is_here(&self, id: usize) -> bool {
        self.places[id] == Place::Here
    }

    /// Whether a payload is here and doubted.
    pub(super) fn is_suspect(&self, id: usize) -> bool {
        self.places[id] == Place::Suspect
    }

    /// Whether the library owes a report for a payload.
    pub(super) fn is_in_library(&self, id: usize) -> bool {
        self.places[id] == Place::Library
    }

    /// The library took a payload.
    pub(super) fn handed_over(&mut self, id: usize) {
        self.put(id, Place::Library);
    }

    /// The library gave a payload back: it is to be handed over again.
    pub(super) fn came_back(&mut self, id: usize) {
        // While groups of suspects are tried, nothing else is with the library.
        let doubted = self.sieve.is_trying();
        self.put(id, if doubted { Place::Suspect } else { Place::Here });
        self.next = self.next.min(id);
    }

    /// The brokers refused a payload along with others.
    pub(super) fn suspected(&mut self, id: usize) {
        self.put(id, Place::Suspect);
    }

    /// Nothing is left to do for a payload.
    pub(super) fn settled(&mut self, id: usize) {
        self.put(id, Place::Settled);
    }

    /// No payload below is to be handed over.
    pub(super) fn looked_up_to(&mut self, next: usize) {
        self.next = next;
    }

    /// The library is gone, and with it the reports that it owed.
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
