//! Windows that are divided between two runs of the daemon.
//!
//! An orderly stop ends the open window before its planned end. The run that follows continues it if
//! it has a window with the same end: destinations that keep the last write of each timestamp get all
//! samples under this timestamp then, and destinations that add up get the rest.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::clock::rated_length;
use model::{ClosedWindow, PartialWindow, Snapshot, Window};

/// The windows that earlier runs began and whose ends are not reached.
#[derive(Debug, Default)]
pub struct CarriedWindows {
    /// In the order of their ends.
    windows: Vec<PartialWindow>,
}

/// The open window at a stop.
#[derive(Debug)]
pub struct CutWindow {
    /// In both forms.
    pub closed: ClosedWindow,
    /// All windows that the next run may continue.
    pub windows: Vec<PartialWindow>,
    /// The ends of the windows that no run completes, in Unix milliseconds.
    pub forgotten_ms: Vec<u64>,
}

impl CarriedWindows {
    /// Continues windows that an earlier run began.
    #[must_use]
    pub fn new(mut windows: Vec<PartialWindow>) -> Self {
        windows.sort_by_key(end_of);
        Self { windows }
    }

    /// Whether no window is left to continue.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// Completes a window that has reached its end, and forgets windows that ended before it. Returns
    /// the ends of these too, in Unix milliseconds: their first parts were delivered under these
    /// timestamps, which no other window may get, not even after the clock is set back.
    ///
    /// Any window with the same end is continued, also one of another interval: a window of an earlier
    /// run that was not continued would be lost where the last write of a timestamp is kept.
    pub fn complete(&mut self, window: Snapshot, interval: Duration) -> (ClosedWindow, Vec<u64>) {
        let end_ms = window.window.end_ms;
        let forgotten_ms = self.forget(|carried_ms| carried_ms < end_ms);
        let reached = self.windows.iter().position(|carried| end_of(carried) == end_ms);
        let closed = match reached.map(|place| self.windows.remove(place)) {
            Some(carried) => {
                let start_ms = carried.start_ms.min(start_of(&window));
                let whole = joined(&window, &carried, start_ms..end_ms, interval);
                ClosedWindow { increment: Arc::new(window), whole: Arc::new(whole), idle: None }
            }
            None => ClosedWindow::undivided(window),
        };
        (closed, forgotten_ms)
    }

    /// Cuts the open window at its last flush, before its planned end.
    pub fn cut(mut self, window: Snapshot, planned_end_ms: u64, interval: Duration) -> CutWindow {
        let now_ms = window.window.end_ms;
        // The stop came at the end of the window, or after it.
        if planned_end_ms <= now_ms {
            let (closed, forgotten_ms) = self.complete(window, interval);
            return CutWindow { closed, windows: self.windows, forgotten_ms };
        }
        let place = self.windows.iter().position(|carried| end_of(carried) == planned_end_ms);
        let carried = place.map(|place| self.windows.remove(place));
        let part = match carried {
            Some(carried) => {
                let start_ms = carried.start_ms.min(start_of(&window));
                let mut snapshot = joined(&window, &carried, start_ms..now_ms, interval);
                snapshot.window.end_ms = planned_end_ms;
                PartialWindow { start_ms, snapshot }
            }
            None => {
                let of_window = Window { end_ms: planned_end_ms, ..window.window };
                let snapshot = Snapshot { window: of_window, ..window.clone() };
                PartialWindow { start_ms: start_of(&window), snapshot }
            }
        };
        let whole = Arc::new(part.snapshot.clone());
        let forgotten_ms = self.forget(|carried_ms| carried_ms <= now_ms);
        self.windows.push(part);
        self.windows.sort_by_key(end_of);
        let closed = ClosedWindow { increment: Arc::new(window), whole, idle: None };
        CutWindow { closed, windows: self.windows, forgotten_ms }
    }

    /// Forgets the windows with these ends, and returns the ends.
    fn forget(&mut self, is_over: impl Fn(u64) -> bool) -> Vec<u64> {
        self.windows
            .extract_if(.., |carried| is_over(end_of(carried)))
            .map(|one| end_of(&one))
            .collect()
    }
}

fn end_of(carried: &PartialWindow) -> u64 {
    carried.snapshot.window.end_ms
}

fn start_of(window: &Snapshot) -> u64 {
    let Window { end_ms, length } = window.window;
    end_ms.saturating_sub(length.as_millis() as u64)
}

/// Both parts of a window, which has lasted for this time.
fn joined(
    later: &Snapshot,
    earlier: &PartialWindow,
    time_ms: Range<u64>,
    interval: Duration,
) -> Snapshot {
    let mut whole = later.continuing(&earlier.snapshot);
    let length = Duration::from_millis(time_ms.end.saturating_sub(time_ms.start));
    whole.window.length = rated_length(length, interval);
    whole
}

#[cfg(test)]
mod tests {
    use model::testing::{counter, snapshot_of};

    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    /// A counter in a window, with its start and end in seconds.
    fn window(start: u64, end: u64, count: f64) -> Snapshot {
        let mut snapshot = snapshot_of(vec![counter("c", &[], count)]);
        snapshot.window = Window { end_ms: end * 1_000, length: Duration::from_secs(end - start) };
        snapshot
    }

    /// Count, timestamp and length of a window, times in seconds.
    fn shown(snapshot: &Snapshot) -> (f64, u64, u64) {
        let Window { end_ms, length } = snapshot.window;
        (snapshot.points[0].value.headline(), end_ms / 1_000, length.as_secs())
    }

    fn cut(
        carried: Vec<PartialWindow>,
        window: Snapshot,
        end: u64,
    ) -> (ClosedWindow, Vec<PartialWindow>) {
        let cut = CarriedWindows::new(carried).cut(window, end * 1_000, TEN);
        (cut.closed, cut.windows)
    }

    fn complete(carried: &mut CarriedWindows, window: Snapshot) -> ClosedWindow {
        carried.complete(window, TEN).0
    }

    #[test]
    fn a_window_of_four_runs_is_complete_in_one_form_and_adds_up_in_the_other() {
        let (first, carried) = cut(vec![], window(0, 2, 10.0), 10);
        assert_eq!((shown(&first.increment), shown(&first.whole)), ((10.0, 2, 2), (10.0, 10, 2)));
        let (second, carried) = cut(carried, window(3, 4, 5.0), 10);
        assert_eq!((shown(&second.increment), shown(&second.whole)), ((5.0, 4, 1), (15.0, 10, 4)));
        let (third, carried) = cut(carried, window(5, 6, 2.0), 10);
        assert_eq!((shown(&third.increment), shown(&third.whole)), ((2.0, 6, 1), (17.0, 10, 6)));
        let mut carried = CarriedWindows::new(carried);
        let last = complete(&mut carried, window(7, 10, 1.0));
        assert_eq!((shown(&last.increment), shown(&last.whole)), ((1.0, 10, 3), (18.0, 10, 10)));
        assert!(carried.is_empty());
        let next = complete(&mut carried, window(10, 20, 4.0));
        assert!(Arc::ptr_eq(&next.increment, &next.whole));
    }

    #[test]
    fn a_window_whose_end_has_passed_is_not_continued() {
        let (_, carried) = cut(vec![], window(0, 2, 10.0), 10);
        let mut carried = CarriedWindows::new(carried);
        let closed = complete(&mut carried, window(12, 20, 1.0));
        assert_eq!((shown(&closed.whole), carried.is_empty()), ((1.0, 20, 8), true));
    }

    #[test]
    fn a_window_of_another_interval_that_ends_at_the_same_time_continues_it() {
        let (_, carried) = cut(vec![], window(0, 3, 10.0), 10);
        let mut carried = CarriedWindows::new(carried);
        let before = complete(&mut carried, window(3, 5, 1.0));
        assert_eq!((shown(&before.whole), carried.is_empty()), ((1.0, 5, 2), false));
        let same_end = complete(&mut carried, window(5, 10, 2.0));
        assert_eq!(
            (shown(&same_end.increment), shown(&same_end.whole)),
            ((2.0, 10, 5), (12.0, 10, 10))
        );
    }

    #[test]
    fn a_stop_before_the_end_of_a_carried_window_hands_both_on() {
        let (_, carried) = cut(vec![], window(0, 3, 10.0), 10);
        let (_, carried) = cut(carried, window(3, 4, 1.0), 5);
        let handed: Vec<_> = carried.iter().map(|one| shown(&one.snapshot)).collect();
        assert_eq!(handed, [(1.0, 5, 1), (10.0, 10, 3)]);
    }

    #[test]
    fn a_stop_at_the_end_of_a_window_leaves_nothing_of_it_to_continue() {
        let (_, carried) = cut(vec![], window(0, 3, 10.0), 10);
        let (last, carried) = cut(carried, window(4, 10, 1.0), 10);
        assert_eq!((shown(&last.increment), shown(&last.whole)), ((1.0, 10, 6), (11.0, 10, 10)));
        assert!(carried.is_empty());
    }

    #[test]
    fn a_window_without_samples_still_shows_those_of_the_earlier_run() {
        let (_, carried) = cut(vec![], window(0, 3, 10.0), 10);
        let empty = Snapshot { points: Vec::new().into(), ..window(4, 10, 0.0) };
        let closed = complete(&mut CarriedWindows::new(carried), empty);
        assert_eq!((closed.increment.points.len(), shown(&closed.whole)), (0, (10.0, 10, 10)));
    }

    #[test]
    fn a_continued_window_begins_where_the_first_run_began_it() {
        let (_, carried) = cut(vec![], window(43, 45, 10.0), 50);
        assert_eq!(carried[0].start_ms, 43_000);
        let (second, carried) = cut(carried, window(46, 47, 5.0), 50);
        assert_eq!((carried[0].start_ms, shown(&second.whole)), (43_000, (15.0, 50, 4)));
        let closed = complete(&mut CarriedWindows::new(carried), window(48, 50, 1.0));
        assert_eq!(shown(&closed.whole), (16.0, 50, 7));
    }

    #[test]
    fn a_stop_at_the_end_of_a_carried_window_hands_only_the_open_one_on() {
        let (_, carried) = cut(vec![], window(0, 3, 10.0), 5);
        let (_, carried) = cut(carried, window(4, 5, 1.0), 10);
        let handed: Vec<_> = carried.iter().map(|one| shown(&one.snapshot)).collect();
        assert_eq!(handed, [(1.0, 10, 1)]);
    }

    #[test]
    fn the_ends_of_windows_that_no_run_completes_are_returned() {
        let (_, carried) = cut(vec![], window(0, 3, 10.0), 10);
        let (_, carried) = cut(carried, window(3, 4, 10.0), 20);
        let ahead = CarriedWindows::new(carried.clone()).cut(window(68, 69, 1.0), 70_000, TEN);
        assert_eq!((ahead.forgotten_ms, ahead.windows.len()), (vec![10_000, 20_000], 1));
        let ahead = CarriedWindows::new(carried.clone()).cut(window(68, 70, 1.0), 70_000, TEN);
        assert_eq!((ahead.forgotten_ms, ahead.windows.len()), (vec![10_000, 20_000], 0));
        let (_, forgotten_ms) = CarriedWindows::new(carried).complete(window(12, 20, 1.0), TEN);
        assert_eq!(forgotten_ms, [10_000], "the other is completed");
    }
}
