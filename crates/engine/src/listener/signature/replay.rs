//! Recognises datagrams of a key that arrived before.
//!
//! A signed datagram is accepted once. The window remembers the accepted datagrams of each second, as
//! long as the clock would allow them again. If it holds as many as it may, it forgets the oldest second
//! and refuses every further datagram of that second and of those before: the window becomes shorter, but
//! no datagram is accepted twice.

use std::collections::{BTreeMap, HashSet};

use basics::units::Span;

use super::mark::MARK_AHEAD;

/// Longest `window`.
pub(super) const WINDOW_MAX: Span = Span::from_secs(600);

/// The seconds in which an earlier run may have accepted any datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnknownSeconds {
    /// The last of them, as Unix time; 0 if there are none.
    pub until: u64,
    /// The seconds by which the earlier run accepted datagrams ahead of its clock.
    pub window: u64,
}

impl From<u64> for UnknownSeconds {
    /// After an earlier run whose window is not known: it may have been the longest one.
    fn from(until: u64) -> Self {
        Self { until, window: WINDOW_MAX.get().as_secs() }
    }
}

impl From<(u64, u64)> for UnknownSeconds {
    fn from((until, window): (u64, u64)) -> Self {
        Self { until, window }
    }
}

impl UnknownSeconds {
    /// Whether a datagram that was signed in this second may have been accepted. While the last second is
    /// further ahead of the clock than the earlier run can have accepted, the clock is behind that of the
    /// earlier run, or that one was wrong. The seconds then do not count, but apply again once the clock
    /// is corrected.
    fn contain(self, signed: u64, now: u64, window: u64) -> bool {
        let max_ahead = self.window.max(window).saturating_add(MARK_AHEAD);
        signed <= self.until && self.until <= now.saturating_add(max_ahead)
    }
}

/// The bounds of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayBounds {
    /// Maximum difference between the time of a signature and the clock of this host, in seconds.
    pub seconds: u64,
    /// Maximum number of remembered datagrams.
    pub datagrams: usize,
}

/// Why an authentic datagram is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayRefusal {
    /// It was signed too long ago, or in a second that was forgotten.
    Stale,
    /// It was signed too far in the future.
    FromFuture,
    /// It was accepted before.
    Replayed,
    /// An earlier run that left no memory may have accepted it.
    MaybeReplayed,
    /// There is no room to remember it, and no older second to forget.
    Full,
}

/// The datagrams of one key that were accepted.
#[derive(Debug)]
pub struct ReplayWindow {
    /// By the second of their signature.
    accepted: BTreeMap<u64, HashSet<u64>>,
    /// Their number.
    remembered: usize,
    /// Datagrams that were signed before this second are refused.
    first: u64,
    /// Never changed: a clock that is wrong for a moment must not erase it.
    unknown: UnknownSeconds,
    /// Seconds after this one are of a time from which the clock was set back. They are the first to be
    /// forgotten, because the seconds that the clock reaches before them need the room.
    unreachable: u64,
}

impl ReplayWindow {
    /// Creates an empty window, which refuses datagrams of the unknown seconds.
    #[must_use]
    pub fn new(unknown: impl Into<UnknownSeconds>) -> Self {
        Self::restored(0, unknown, BTreeMap::new())
    }

    /// Creates a window of stored contents: the first second that it accepts, those of which it does not
    /// know all datagrams, and accepted datagrams.
    #[must_use]
    pub fn restored(
        first: u64,
        unknown: impl Into<UnknownSeconds>,
        accepted: BTreeMap<u64, HashSet<u64>>,
    ) -> Self {
        let remembered = accepted.values().map(HashSet::len).sum();
        Self { accepted, remembered, first, unknown: unknown.into(), unreachable: u64::MAX }
    }

    /// The first second that it accepts.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The seconds of which it does not know all datagrams that may have been accepted.
    #[must_use]
    pub fn unknown(&self) -> UnknownSeconds {
        self.unknown
    }

    /// The latest second of which it knows anything.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.accepted.last_key_value().map_or(self.first, |(second, _)| *second)
    }

    /// The accepted datagrams by the second of their signature, the latest first.
    pub fn accepted(&self) -> impl Iterator<Item = (u64, &HashSet<u64>)> {
        self.accepted.iter().rev().map(|(second, ids)| (*second, ids))
    }

    /// Accepts a datagram that was signed in the second `signed`, and remembers it. Returns whether older
    /// ones had to be forgotten too early.
    ///
    /// # Errors
    /// When the datagram must not be accepted.
    pub fn accept(
        &mut self,
        now: u64,
        bounds: ReplayBounds,
        signed: u64,
        id: u64,
    ) -> Result<bool, ReplayRefusal> {
        self.advance(now, bounds.seconds);
        if signed > now.saturating_add(bounds.seconds) {
            return Err(ReplayRefusal::FromFuture);
        }
        if signed < self.first {
            return Err(ReplayRefusal::Stale);
        }
        if self.accepted.get(&signed).is_some_and(|ids| ids.contains(&id)) {
            return Err(ReplayRefusal::Replayed);
        }
        if self.unknown.contain(signed, now, bounds.seconds) {
            return Err(ReplayRefusal::MaybeReplayed);
        }
        let is_shortened = self.make_room(bounds.datagrams, signed)?;
        self.accepted.entry(signed).or_default().insert(id);
        self.remembered += 1;
        Ok(is_shortened)
    }

    /// Forgets the seconds that the clock has left behind.
    fn advance(&mut self, now: u64, seconds: u64) {
        let earliest = now.saturating_sub(seconds);
        if self.first > now.saturating_add(seconds) {
            // As well, by more than the window.
            self.first = earliest;
            self.unreachable = now.saturating_add(seconds);
        } else if now > self.unreachable {
            self.unreachable = u64::MAX;
        }
        if earliest > self.first {
            self.forget_before(earliest);
        }
    }

    fn forget_before(&mut self, first: u64) {
        self.first = first;
        let kept = self.accepted.split_off(&first);
        let forgotten = std::mem::replace(&mut self.accepted, kept);
        self.remembered -= forgotten.values().map(HashSet::len).sum::<usize>();
    }

    /// Forgets seconds until there is room for a datagram of this one: those that the clock has left by
    /// being set back, then the oldest. Returns whether it forgot any.
    fn make_room(&mut self, datagrams: usize, signed: u64) -> Result<bool, ReplayRefusal> {
        let mut is_shortened = false;
        while self.remembered >= datagrams {
            is_shortened = true;
            if let Some(last) = self.accepted.last_entry()
                && *last.key() > self.unreachable
            {
                self.remembered -= last.remove().len();
                continue;
            }
            let oldest = self.accepted.first_key_value().map(|(second, _)| *second);
            let oldest = oldest.filter(|oldest| *oldest < signed).ok_or(ReplayRefusal::Full)?;
            self.forget_before(oldest + 1);
        }
        Ok(is_shortened)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: ReplayBounds = ReplayBounds { seconds: 10, datagrams: 4 };

    #[test]
    fn a_datagram_is_accepted_once() {
        let mut window = ReplayWindow::new(0);
        assert_eq!(window.accept(100, BOUNDS, 100, 1), Ok(false));
        for now in 100..=110 {
            assert_eq!(window.accept(now, BOUNDS, 100, 1), Err(ReplayRefusal::Replayed));
        }
        assert_eq!(window.accept(111, BOUNDS, 100, 1), Err(ReplayRefusal::Stale));
        // The same beginning of an HMAC in another second is another datagram.
        assert_eq!(window.accept(111, BOUNDS, 101, 1), Ok(false));
    }

    #[test]
    fn the_clocks_may_differ_by_the_window() {
        let mut window = ReplayWindow::new(0);
        for (signed, outcome) in [
            (90, Ok(false)),
            (110, Ok(false)),
            (89, Err(ReplayRefusal::Stale)),
            (111, Err(ReplayRefusal::FromFuture)),
            (u64::MAX, Err(ReplayRefusal::FromFuture)),
            (0, Err(ReplayRefusal::Stale)),
        ] {
            assert_eq!(window.accept(100, BOUNDS, signed, 7), outcome, "{signed}");
        }
    }

    #[test]
    fn what_an_earlier_run_may_have_accepted_is_refused() {
        let mut window = ReplayWindow::new(105);
        for (now, signed, outcome) in [
            (100, 89, Err(ReplayRefusal::Stale)),
            (100, 90, Err(ReplayRefusal::MaybeReplayed)),
            (100, 105, Err(ReplayRefusal::MaybeReplayed)),
            (100, 106, Ok(false)),
            (106, 106, Err(ReplayRefusal::Replayed)),
            (115, 105, Err(ReplayRefusal::MaybeReplayed)),
            (116, 105, Err(ReplayRefusal::Stale)),
        ] {
            assert_eq!(window.accept(now, BOUNDS, signed, 1), outcome, "{signed} at {now}");
        }
    }

    #[test]
    fn a_clock_that_is_wrong_for_a_moment_does_not_erase_what_an_earlier_run_accepted() {
        // The daemon before this one crashed at 1,000, and this one started with a clock that was wrong.
        let mut window = ReplayWindow::new((1_002, 10));
        assert_eq!(window.accept(100, BOUNDS, 100, 1), Ok(false));
        assert_eq!(window.accept(1_001, BOUNDS, 1_000, 1), Err(ReplayRefusal::MaybeReplayed));
        assert_eq!(window.accept(1_001, BOUNDS, 1_003, 1), Ok(false));
    }

    #[test]
    fn unknown_seconds_count_up_to_the_longer_window_and_the_lead_of_the_mark() {
        for (recorded, ahead) in [(0, 12), (10, 12), (30, 32)] {
            for (until, outcome) in
                [(100 + ahead, Err(ReplayRefusal::MaybeReplayed)), (101 + ahead, Ok(false))]
            {
                let mut window = ReplayWindow::new((until, recorded));
                assert_eq!(window.accept(100, BOUNDS, 100, 1), outcome, "{recorded} {until}");
            }
        }
    }

    #[test]
    fn a_full_window_forgets_the_oldest_second_and_accepts_nothing_of_it_again() {
        let mut window = ReplayWindow::new(0);
        for (signed, id) in [(100, 1), (100, 2), (101, 3), (102, 4)] {
            assert_eq!(window.accept(102, BOUNDS, signed, id), Ok(false));
        }
        assert_eq!(window.accept(102, BOUNDS, 102, 5), Ok(true));
        assert_eq!(window.accept(102, BOUNDS, 100, 1), Err(ReplayRefusal::Stale));
        assert_eq!(window.accept(102, BOUNDS, 100, 6), Err(ReplayRefusal::Stale));
        assert_eq!(window.accept(102, BOUNDS, 101, 3), Err(ReplayRefusal::Replayed));
        assert_eq!(window.accept(102, BOUNDS, 102, 7), Ok(false), "there is room");
    }

    #[test]
    fn a_full_window_accepts_datagrams_after_the_clock_was_set_back() {
        let mut window = ReplayWindow::new(0);
        for (second, id) in [(3_600, 1), (3_600, 2), (3_601, 3), (3_602, 4)] {
            assert_eq!(window.accept(3_602, BOUNDS, second, id), Ok(false));
        }
        for (now, id) in (100..130).zip(5..) {
            assert!(window.accept(now, BOUNDS, now, id).is_ok(), "{now}");
            assert_eq!(window.accept(now, BOUNDS, now, id), Err(ReplayRefusal::Replayed));
        }
    }

    #[test]
    fn a_second_that_fills_the_window_alone_has_no_room_for_more() {
        let mut window = ReplayWindow::new(0);
        for id in 0..4 {
            assert_eq!(window.accept(100, BOUNDS, 100, id), Ok(false));
        }
        assert_eq!(window.accept(100, BOUNDS, 100, 9), Err(ReplayRefusal::Full));
        assert_eq!(window.accept(100, BOUNDS, 100, 3), Err(ReplayRefusal::Replayed));
        assert_eq!(window.accept(101, BOUNDS, 101, 9), Ok(true));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_the_window_for_good() {
        let mut window = ReplayWindow::new(0);
        assert_eq!(window.accept(1_000, BOUNDS, 1_000, 1), Ok(false));
        // By less than the window, nothing that could be a repetition is accepted.
        assert_eq!(window.accept(985, BOUNDS, 989, 2), Err(ReplayRefusal::Stale));
        assert_eq!(window.accept(995, BOUNDS, 1_000, 1), Err(ReplayRefusal::Replayed));
        assert_eq!(window.accept(500, BOUNDS, 500, 3), Ok(false));
        assert_eq!(window.accept(500, BOUNDS, 500, 3), Err(ReplayRefusal::Replayed));
        assert_eq!(window.accept(1_000, BOUNDS, 1_000, 1), Err(ReplayRefusal::Replayed));
    }

    #[test]
    fn a_clock_that_is_set_back_by_the_window_changes_nothing() {
        let mut window = ReplayWindow::restored(1_000, 0, BTreeMap::new());
        assert_eq!(window.accept(990, BOUNDS, 985, 1), Err(ReplayRefusal::Stale));
        assert_eq!(window.first(), 1_000);
        assert_eq!(window.accept(989, BOUNDS, 985, 1), Ok(false));
        assert_eq!(window.first(), 979);
    }

    #[test]
    fn after_the_clock_was_set_back_the_latest_seconds_make_room_one_by_one() {
        let mut window = ReplayWindow::restored(3_600, 0, BTreeMap::new());
        for (now, signed) in [(3_600, 3_600), (3_601, 3_601), (100, 100), (100, 101)] {
            assert_eq!(window.accept(now, BOUNDS, signed, signed), Ok(false));
        }
        let seconds = |window: &ReplayWindow| -> Vec<(u64, usize)> {
            window.accepted().map(|(second, ids)| (second, ids.len())).collect()
        };
        // 110 is the last second that the clock allowed when it was set back.
        assert_eq!(window.accept(110, BOUNDS, 110, 7), Ok(true));
        assert_eq!(seconds(&window), [(3_600, 1), (110, 1), (101, 1), (100, 1)]);
        assert_eq!(window.accept(110, BOUNDS, 110, 8), Ok(true));
        assert_eq!(seconds(&window), [(110, 2), (101, 1), (100, 1)]);
        assert_eq!(window.accept(110, BOUNDS, 110, 9), Ok(true));
        assert_eq!(seconds(&window), [(110, 3), (101, 1)]);
    }

    #[test]
    fn the_last_second_that_a_clock_allows_after_it_was_set_back_is_not_forgotten() {
        let mut window = ReplayWindow::restored(3_600, 0, BTreeMap::new());
        for id in 0..4 {
            assert_eq!(window.accept(100, BOUNDS, 110, id), Ok(false));
        }
        assert_eq!(window.accept(100, BOUNDS, 110, 9), Err(ReplayRefusal::Full));
        assert_eq!(window.accept(100, BOUNDS, 110, 3), Err(ReplayRefusal::Replayed));
    }

    #[test]
    fn the_newest_second_is_that_of_the_latest_datagram() {
        let mut window = ReplayWindow::restored(100, 0, BTreeMap::new());
        assert_eq!(window.newest(), 100);
        assert_eq!(window.accept(100, BOUNDS, 105, 1), Ok(false));
        assert_eq!(window.accept(100, BOUNDS, 103, 1), Ok(false));
        assert_eq!(window.newest(), 105);
    }

    proptest! {
        /// For any datagrams and any bound: none is accepted twice, and the bound holds.
        #[test]
        fn nothing_is_accepted_twice_while_the_clock_runs_forward(
            datagrams in prop::collection::vec((0..3_u64, 0..30_u64, 0..4_u64), 0..200),
            most in 1..20_usize,
        ) {
            let bounds = ReplayBounds { seconds: 5, datagrams: most };
            let (mut window, mut now, mut accepted) = (ReplayWindow::new(99), 100, HashSet::new());
            for (passed, signed, id) in datagrams {
                now += passed;
                let signed = now + signed - 15;
                let outcome = window.accept(now, bounds, signed, id);
                let is_near = signed >= 100 && signed.abs_diff(now) <= 5;
                match outcome {
                    Ok(_) => {
                        prop_assert!(is_near && accepted.insert((signed, id)));
                    }
                    Err(ReplayRefusal::Replayed) => prop_assert!(accepted.contains(&(signed, id))),
                    Err(ReplayRefusal::FromFuture) => prop_assert!(signed > now + 5),
                    Err(ReplayRefusal::MaybeReplayed) => prop_assert!(signed <= 99),
                    Err(ReplayRefusal::Stale | ReplayRefusal::Full) => {
                        prop_assert!(!is_near || accepted.len() >= most);
                    }
                }
                let remembered: usize = window.accepted.values().map(HashSet::len).sum();
                prop_assert_eq!(remembered, window.remembered);
                prop_assert!(remembered <= most);
            }
        }
    }
}
