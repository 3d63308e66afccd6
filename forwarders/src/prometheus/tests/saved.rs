//! Totals over a restart of the daemon.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::naming::StubNaming;
use super::*;
use crate::delivery::forwarder::SavedState;

const MAX: u64 = 1 << 20;
/// Length of a window in `snapshot_of`.
const WINDOW: Duration = Duration::from_secs(10);

impl Bench {
    fn saved(&self) -> SavedState {
        self.state.save(|_| false, MAX)
    }

    fn page(&self) -> String {
        text(&Page::of(&self.state, self.state.percentiles(), Vec::new()))
    }
}

fn restored(saved: &SavedState, away: Duration, limits: Limits) -> Bench {
    let mut bench = Bench::new(limits);
    bench.state.restore(&saved.bytes, away).unwrap();
    bench
}

#[test]
fn a_restart_changes_no_byte_of_the_page_and_totals_continue() {
    let mut before = Bench::new(LIMITS);
    before.window(each_kind());
    let page = text(&before.window(each_kind()));
    let mut after = restored(&before.saved(), Duration::from_secs(3), LIMITS);
    assert_eq!(after.page(), page);
    assert_eq!(text(&after.window(each_kind())), text(&before.window(each_kind())));
}

#[test]
fn a_series_that_was_idle_too_long_leaves_and_continues_its_total_when_it_returns() {
    let count = || vec![counter("idle", &[], 5.0)];
    let mut before = Bench::new(LIMITS);
    before.window(count());
    before.window(vec![]);
    // 20 s before the stop, and the rest while the daemon is away.
    let short = restored(&before.saved(), LIMITS.expire_after - 3 * WINDOW, LIMITS);
    assert!(short.page().contains("idle_total 5\n"));
    let mut long = restored(&before.saved(), LIMITS.expire_after, LIMITS);
    assert_eq!(long.page(), "");
    assert!(text(&long.window(count())).contains("idle_total 10\n"));
}

#[test]
fn a_restored_series_expires_like_one_that_was_never_away() {
    let limits = Limits { expire_after: 3 * WINDOW, ..LIMITS };
    let mut before = Bench::new(limits);
    before.window(vec![counter("c", &[], 1.0)]);
    before.window(vec![]);
    let mut after = restored(&before.saved(), Duration::ZERO, limits);
    for bench in [&mut before, &mut after] {
        assert_eq!(samples(&text(&bench.window(vec![]))), ["c_total 1"]);
        assert_eq!(text(&bench.window(vec![])), "");
    }
}

#[test]
fn totals_of_expired_series_survive_several_restarts() {
    let limits = Limits { expire_after: WINDOW, ..LIMITS };
    let mut bench = Bench::new(limits);
    bench.window(vec![counter("gone", &[], 7.0), timer("t", &[], &[2.0])]);
    bench.window(vec![]);
    bench.window(vec![]);
    for _ in 0..3 {
        bench = restored(&bench.saved(), Duration::ZERO, limits);
        assert_eq!(bench.page(), "");
    }
    let page = text(&bench.window(vec![counter("gone", &[], 1.0), timer("t", &[], &[3.0])]));
    assert!(page.contains("gone_total 8\n") && page.contains("t_sum 5\n"), "{page}");
}

#[test]
fn limits_hold_for_restored_series() {
    let mut before = Bench::new(LIMITS);
    let names: Vec<String> = (0..50).map(|number| format!("c{number}")).collect();
    before.window(names.iter().map(|name| counter(name, &[], 1.0)).collect());
    let saved = before.saved();
    let few = restored(&saved, Duration::ZERO, Limits { series_max: 7, ..LIMITS });
    assert_eq!(few.state.source_count(), 7);
    let small = restored(&saved, Duration::ZERO, Limits { bytes_max: 2_000, ..LIMITS });
    assert!(small.state.bytes() <= 2_000 && small.state.source_count() > 2);
}

#[test]
fn a_bound_leaves_out_series_and_says_how_many() {
    let mut before = Bench::new(LIMITS);
    let names: Vec<String> = (0..50).map(|number| format!("c{number}")).collect();
    before.window(names.iter().map(|name| counter(name, &[], 1.0)).collect());
    let whole = before.saved();
    assert_eq!(whole.left_out, 0);
    let part = before.state.save(|_| false, whole.bytes.len() as u64 / 2);
    assert!(part.bytes.len() <= whole.bytes.len() / 2);
    let after = restored(&part, Duration::ZERO, LIMITS);
    assert_eq!(after.state.source_count() as u64 + part.left_out, 50);
}

#[test]
fn series_that_are_shown_as_one_stay_one() {
    let points = || vec![counter("a.b", &[], 1.0), counter("a_b", &[], 2.0)];
    let mut before = Bench::new(LIMITS);
    before.window(points());
    let mut after = restored(&before.saved(), Duration::ZERO, LIMITS);
    assert_eq!(samples(&text(&after.window(points()))), ["a_b_total 6"]);
}

#[test]
fn values_of_other_percentiles_are_not_shown_under_the_new_ones() {
    let mut before = Bench::new(LIMITS);
    before.window(vec![timer("t", &[], &[1.0])]);
    let mut after = restored(&before.saved(), Duration::ZERO, LIMITS);
    assert!(after.page().contains("quantile=\"0.9\""));
    let percentiles = ["75"].map(|text| Percentile::parse(text).unwrap());
    let snapshot = model::Snapshot { percentiles: percentiles.into(), ..snapshot_of(vec![]) };
    after.state.apply(&snapshot);
    assert_eq!(samples(&after.page()), ["t_sum 1", "t_count 1"]);
}

#[test]
fn a_total_is_not_handed_to_a_series_of_another_name() {
    let points = |count| vec![counter("source.poll", &[], count), counter("other", &[], count)];
    let mut before = Bench::new(LIMITS);
    before.window(points(3.0));
    let mut after = Bench { state: State::new(LIMITS, Some(Arc::new(StubNaming))) };
    after.state.restore(&before.saved().bytes, Duration::ZERO).unwrap();
    let page = text(&after.window(points(1.0)));
    assert_eq!(samples(&page), ["other_total 4", "other_polls 1"]);
}

proptest! {
    #[test]
    fn changed_bytes_are_refused_or_harmless(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut before = Bench::new(LIMITS);
        before.window(each_kind());
        let mut bytes = before.saved().bytes;
        for (at, byte) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        bytes.truncate(cut.index(bytes.len() * 2));
        let mut after = Bench::new(LIMITS);
        if after.state.restore(&bytes, Duration::from_secs(5)).is_ok() {
            after.page();
            after.window(each_kind());
        } else {
            prop_assert_eq!(after.page(), "");
        }
    }
}
