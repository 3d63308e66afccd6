//! Windows on clocks that are set, paused and slewed.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// A host whose wall clock can be set, and the windows that ended on it. Times are in milliseconds.
struct Host {
    clock: WindowClock,
    wall_ms: u64,
    started: Instant,
    uptime_ms: u64,
    interval_ms: u64,
    edges: Vec<Edge>,
    steps: Vec<ClockStep>,
}

impl Host {
    fn new(interval_ms: u64, wall_ms: u64) -> Self {
        let started = Instant::now();
        let now = ClockReading { wall: Duration::from_millis(wall_ms), monotonic: started };
        let clock = WindowClock::new(Duration::from_millis(interval_ms), now);
        Self {
            clock,
            wall_ms,
            started,
            uptime_ms: 0,
            interval_ms,
            edges: Vec::new(),
            steps: Vec::new(),
        }
    }

    fn reading(&self) -> ClockReading {
        let monotonic = self.started + Duration::from_millis(self.uptime_ms);
        ClockReading { wall: Duration::from_millis(self.wall_ms), monotonic }
    }

    /// Both clocks advance while the process does not run.
    fn pause(&mut self, ms: u64) {
        self.wall_ms += ms;
        self.uptime_ms += ms;
    }

    fn look(&mut self) {
        self.steps.extend(self.clock.look(self.reading()));
        if self.clock.is_due() {
            self.edges.push(self.clock.close());
        }
    }

    /// Runs for a time, and looks at the clocks when the clock asks for it.
    fn run(&mut self, ms: u64) -> &mut Self {
        let until_ms = self.uptime_ms + ms;
        let mut looked_ms = None;
        loop {
            let next = self.clock.next_look().saturating_duration_since(self.started);
            // A thread wakes up in the millisecond after the one it asked for.
            let next_ms = (next.as_micros().div_ceil(1_000) as u64).max(self.uptime_ms);
            if next_ms > until_ms {
                break;
            }
            self.pause(next_ms - self.uptime_ms);
            assert_ne!(
                looked_ms.replace(next_ms),
                Some(next_ms),
                "the clock is looked at endlessly"
            );
            self.look();
        }
        self.pause(until_ms - self.uptime_ms);
        self.look();
        self
    }

    /// Sets the wall clock.
    fn set(&mut self, by_ms: i64) -> &mut Self {
        self.wall_ms = self.wall_ms.saturating_add_signed(by_ms);
        self
    }

    fn set_interval(&mut self, interval_ms: u64) {
        self.look();
        self.interval_ms = interval_ms;
        self.clock.set_interval(Duration::from_millis(interval_ms));
    }

    fn stop(&mut self) -> Edge {
        self.steps.extend(self.clock.look(self.reading()));
        let edge = self.clock.close_early();
        self.edges.push(edge);
        edge
    }

    /// The windows since the last call, as (timestamp, length).
    fn take(&mut self) -> Vec<(u64, u64)> {
        let shown = |edge: Edge| (edge.end_ms, edge.length.as_millis() as u64);
        self.edges.drain(..).map(shown).collect()
    }

    fn steps_by(&self) -> Vec<i64> {
        self.steps.iter().map(|step| step.by_ms).collect()
    }
}

const HOUR: i64 = 3_600_000;

#[test]
fn windows_end_on_multiples_of_the_interval() {
    let mut host = Host::new(10_000, 1_003_217);
    assert_eq!(
        host.run(27_000).take(),
        [(1_010_000, 6_783), (1_020_000, 10_000), (1_030_000, 10_000)]
    );
    assert!(host.steps.is_empty());
}

#[test]
fn windows_are_contiguous_however_late_they_end() {
    let mut host = Host::new(10_000, 1_003_217);
    let starts = |host: &mut Host| -> Vec<(Option<u64>, u64)> {
        host.edges.drain(..).map(|edge| (edge.start_ms, edge.end_ms)).collect()
    };
    host.run(16_000).pause(3_100);
    host.look();
    host.run(10_000);
    let late = [(None, 1_010_000), (Some(1_010_000), 1_020_000), (Some(1_020_000), 1_030_000)];
    assert_eq!(starts(&mut host), late);
    // A pause of the process over several multiples.
    host.pause(34_000);
    host.look();
    assert_eq!(starts(&mut host), [(Some(1_030_000), 1_060_000)]);
    // After a step, the end of the latest window says nothing about the start of the next one.
    host.set(HOUR);
    host.run(10_000);
    assert_eq!(starts(&mut host)[0].0, None);
    host.set(-HOUR);
    host.run(15_000);
    assert_eq!(starts(&mut host)[0].0, None);
    // A stop.
    let edge = host.stop();
    assert!(edge.start_ms.is_some_and(|start_ms| start_ms < edge.end_ms));
}

#[test]
fn a_late_window_keeps_its_timestamp_and_the_next_one_is_shorter() {
    let mut host = Host::new(10_000, 1_000_000);
    host.run(9_900).pause(3_100);
    host.look();
    assert_eq!(host.edges[0].late, Duration::from_secs(3));
    assert_eq!(host.run(10_000).take(), [(1_010_000, 13_000), (1_020_000, 7_000)]);
    assert!(host.steps.is_empty(), "a pause is no step");
}

#[test]
fn a_pause_of_several_intervals_is_one_long_window() {
    let mut host = Host::new(10_000, 1_000_000);
    host.run(15_000).take();
    host.pause(60_000);
    host.look();
    assert_eq!(host.edges[0].late, Duration::from_secs(55));
    assert_eq!(host.run(10_000).take(), [(1_070_000, 65_000), (1_080_000, 5_000)]);
    assert!(host.steps.is_empty());
}

/// Interval, moment in the window, step, and the two windows after it.
type SmallStep = (u64, u64, i64, [(u64, u64); 2]);

#[test]
fn a_small_step_back_makes_one_window_longer() {
    let cases: [SmallStep; 7] = [
        (10_000, 5_000, -3_000, [(1_060_000, 13_000), (1_070_000, 10_000)]),
        // Back over the end of the window before.
        (10_000, 1_000, -3_000, [(1_060_000, 13_000), (1_070_000, 10_000)]),
        (10_000, 1_000, -15_000, [(1_060_000, 25_000), (1_070_000, 10_000)]),
        (1_000, 500, -700, [(1_051_000, 1_700), (1_052_000, 1_000)]),
        (1_000, 0, -6_000, [(1_051_000, 7_000), (1_052_000, 1_000)]),
        (100, 50, -5_000, [(1_050_100, 5_100), (1_050_200, 100)]),
        // Too small to be called a step.
        (1_000, 20, -90, [(1_051_000, 1_090), (1_052_000, 1_000)]),
    ];
    for (interval_ms, into_ms, by_ms, expected) in cases {
        let mut host = Host::new(interval_ms, 1_000_000);
        host.run(50_000 + into_ms).take();
        let windows = host.set(by_ms).run(40_000).take();
        assert_eq!(windows[..2], expected, "{interval_ms} {into_ms} {by_ms}");
        assert_eq!(host.steps.len(), usize::from(by_ms < -90));
    }
}

#[test]
fn a_step_forward_changes_one_window() {
    let mut host = Host::new(10_000, 1_000_000);
    host.run(15_000).take();
    // Over the planned end, which would be late now.
    assert_eq!(host.set(6_000).run(20_000).take(), [(1_030_000, 14_000), (1_040_000, 10_000)]);
    assert_eq!(host.set(3_000).run(10_000).take(), [(1_050_000, 7_000)]);
    host.set(HOUR + 2_000).run(15_000);
    assert_eq!(host.take(), [(4_660_000, 8_000), (4_670_000, 10_000)]);
    assert_eq!(host.steps_by(), [6_000, 3_000, HOUR + 2_000]);
    assert!(host.steps.iter().all(|step| step.repeats_until_ms.is_none()), "{:?}", host.steps);
    assert!(host.edges.iter().all(|edge| edge.late.is_zero()));
}

#[test]
fn a_tenth_of_a_second_is_a_step() {
    for (by_ms, steps) in [(99, 0), (100, 1), (-99, 0), (-100, 1)] {
        let mut host = Host::new(10_000, 1_000_000);
        host.run(15_000).set(by_ms).run(1_000);
        assert_eq!(host.steps.len(), steps, "{by_ms}");
    }
}

#[test]
fn a_large_step_back_repeats_the_time_with_other_timestamps() {
    let mut host = Host::new(2_000, 100_000_000);
    host.run(7_200_500).take();
    let step = host.set(-HOUR).run(2_700).steps[0];
    assert_eq!(
        step,
        ClockStep { by_ms: -HOUR, end_ms: 103_602_001, repeats_until_ms: Some(107_202_000) }
    );
    assert_eq!(host.take(), [(103_602_001, 2_000)]);
    let again = host.run(3_600_000 - 2_000).take();
    assert!(again.iter().all(|(_, length)| *length == 2_000));
    assert_eq!(again[again.len() - 2..], [(107_198_001, 2_000), (107_200_001, 2_000)]);
    assert_eq!(host.run(4_000).take(), [(107_202_000, 2_000), (107_204_000, 2_000)]);

    // A third time.
    host.set(-HOUR).run(2_000);
    assert_eq!(host.take(), [(103_606_002, 2_000)]);
}

#[test]
fn a_clock_that_was_set_right_after_the_start_repeats_nothing() {
    let mut host = Host::new(2_000, 100_000_500);
    host.run(6_000).take();
    assert_eq!(host.set(-HOUR).run(4_000).take(), [(96_408_000, 2_000), (96_410_000, 2_000)]);
}

#[test]
fn an_excursion_ahead_and_back_blocks_nothing_afterwards() {
    let mut host = Host::new(10_000, 1_000_000);
    host.run(15_000).take();
    host.set(HOUR).run(30_000).set(-HOUR).run(20_000);
    let stamps: Vec<_> = host.take().iter().map(|window| window.0).collect();
    assert_eq!(stamps, [4_620_000, 4_630_000, 4_640_000, 1_050_000, 1_060_000]);
    // When the time of the excursion comes, its timestamps are not used again.
    let later = host.run(3_600_000).take();
    assert_eq!(later.iter().filter(|(_, length)| *length != 10_000).count(), 0);
    let stamps: Vec<_> = later.iter().map(|window| window.0).collect();
    assert_eq!(
        stamps[stamps.len() - 6..],
        [4_610_000, 4_620_001, 4_630_001, 4_640_001, 4_650_000, 4_660_000]
    );
}

#[test]
fn a_window_that_reaches_the_time_of_a_short_excursion_stretches_over_it() {
    let mut host = Host::new(10_000, 1_000_000);
    host.run(15_000).take();
    host.set(HOUR).run(10_000).set(-HOUR).run(10_000);
    assert_eq!(host.take(), [(4_620_000, 10_000), (1_030_000, 10_000)]);
    let later = host.run(3_600_000).take();
    assert_eq!(later[later.len() - 2..], [(4_610_000, 10_000), (4_630_000, 20_000)]);
}

#[test]
fn many_small_steps_move_no_end_away_from_the_multiples() {
    let mut host = Host::new(1_000, 1_000_000);
    for _ in 0..200 {
        host.run(130).set(-40).run(170).set(25);
    }
    let windows = host.take();
    assert!(windows.iter().all(|(end_ms, _)| end_ms % 1_000 == 0), "{windows:?}");
    assert!(windows.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1_000), "{windows:?}");
    assert!(host.steps.is_empty());
}

#[test]
fn a_wall_clock_that_stands_still_does_not_stop_the_windows() {
    let mut host = Host::new(1_000, 1_000_000);
    host.run(10_500).take();
    for _ in 0..3_000 {
        host.run(10).set(-10);
    }
    let windows = host.take();
    assert!(windows.len() >= 4, "{windows:?}");
    assert_eq!(windows.iter().map(|window| window.0).collect::<HashSet<_>>().len(), windows.len());
    assert!(windows.iter().all(|(_, length)| *length <= 7_200), "{windows:?}");
}

#[test]
fn a_new_interval_takes_effect_at_its_next_multiple() {
    let mut host = Host::new(10_000, 5_000);
    assert_eq!(host.run(9_000).take(), [(10_000, 5_000)]);
    host.set_interval(60_000);
    assert_eq!(host.run(47_500).take(), [(60_000, 50_000)]);
    host.set_interval(1_000);
    assert_eq!(host.run(1_000).take(), [(62_000, 2_000)]);
    host.set_interval(10_000);
    assert_eq!(host.run(8_000).take(), [(70_000, 8_000)]);
}

#[test]
fn a_step_just_before_a_reload_is_noticed() {
    let mut host = Host::new(10_000, 1_000_000);
    host.run(15_000).take();
    host.set(-3_000).set_interval(1_000);
    assert_eq!(host.steps_by(), [-3_000]);
    assert_eq!(host.run(1_500).take(), [(1_013_000, 6_000)]);
}

#[test]
fn a_shutdown_ends_the_window_now_and_a_restart_gets_another_timestamp() {
    let mut host = Host::new(10_000, 5_000);
    host.run(9_321).take();
    assert_eq!(host.stop().end_ms, 14_321);
    let mut restarted = Host::new(10_000, 14_500);
    assert_eq!(restarted.run(6_000).take(), [(20_000, 5_500)]);
    // At the end of a window that has just ended.
    let mut host = Host::new(10_000, 10_000);
    host.run(10_000).take();
    assert_eq!(host.stop().end_ms, 20_001);
}

#[test]
fn a_stop_just_after_a_step_uses_no_timestamp_twice() {
    let mut host = Host::new(2_000, 1_000_000);
    host.run(60_000).take();
    assert_eq!(host.set(-20_000).stop().end_ms, 1_042_001);
    assert_eq!(host.steps_by(), [-20_000]);
    let mut host = Host::new(2_000, 1_000_000);
    host.run(60_000).set(3_000);
    assert_eq!(host.stop().end_ms, 1_063_000);
}

#[test]
fn rates_are_per_interval_unless_the_window_was_cut_or_stretched() {
    let rated = |length_ms, interval_ms| {
        let (length, interval) =
            (Duration::from_micros(length_ms), Duration::from_millis(interval_ms));
        rated_length(length, interval).as_micros()
    };
    assert_eq!(rated(10_090_000, 10_000), 10_000_000);
    assert_eq!(rated(9_900_000, 10_000), 10_000_000);
    assert_eq!(rated(10_100_100, 10_000), 10_100_000);
    assert_eq!(rated(13_000_400, 10_000), 13_000_000);
    assert_eq!(rated(108_000, 100), 100_000);
    assert_eq!(rated(88_000, 100), 88_000);
    // Never zero.
    assert_eq!(rated(3, 10_000), 1_000);
}

#[derive(Clone, Debug)]
enum Event {
    Run(u64),
    Pause(u64),
    Set(i64),
    SetInterval(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let step = prop_oneof![-150..150_i64, -20_000..20_000_i64, -4_000_000..4_000_000_i64];
    let interval = prop_oneof![Just(100_u64), Just(1_000), Just(10_000), Just(60_000)];
    let event = prop_oneof![
        4 => (0..120_000_u64).prop_map(Event::Run),
        1 => (0..120_000_u64).prop_map(Event::Pause),
        3 => step.prop_map(Event::Set),
        1 => interval.prop_map(Event::SetInterval),
    ];
    proptest::collection::vec(event, 1..30)
}

proptest! {
    #[test]
    fn windows_cover_all_the_time_with_timestamps_that_are_never_used_twice(
        events in events(), interval_ms in prop_oneof![Just(100_u64), Just(1_000), Just(10_000)],
    ) {
        let mut host = Host::new(interval_ms, 1_700_000_000_123);
        let mut lengths = Duration::ZERO;
        let mut stamps = HashSet::new();
        let (mut disturbances, mut unusual) = (1, 0);
        for event in events {
            host.look();
            let interval = Duration::from_millis(host.interval_ms);
            match event {
                Event::Run(ms) => { host.run(ms); }
                Event::Pause(ms) => { host.pause(ms); host.look(); disturbances += 2; }
                Event::Set(by_ms) => { host.set(by_ms).look(); disturbances += 1; }
                Event::SetInterval(ms) => { host.set_interval(ms); disturbances += 1; }
            }
            for edge in host.edges.drain(..) {
                lengths += edge.length;
                prop_assert!(stamps.insert(edge.end_ms), "{} again", edge.end_ms);
                prop_assert!(edge.end_ms % interval.as_millis() as u64 <= 64, "{edge:?}");
                unusual += usize::from(edge.length != interval);
            }
        }
        let last = host.stop();
        lengths += last.length;
        prop_assert!(stamps.insert(last.end_ms));
        prop_assert_eq!(lengths.as_millis() as u64, host.uptime_ms);
        // One for each disturbance, and one where a repeated time begins without a step.
        prop_assert!(unusual <= 2 * disturbances, "{unusual} windows, {disturbances} disturbances");
    }
}

/// The timestamps of the windows.
fn ends(host: &Host) -> Vec<u64> {
    host.edges.iter().map(|edge| edge.end_ms).collect()
}

#[test]
fn the_next_run_uses_no_timestamp_of_the_run_before_it_again() {
    let mut before = Host::new(10_000, 1_000_000_003_000);
    before.run(30_000);
    let planned_ms = before.clock.planned_end_ms();
    let last_ms = before.clock.close_early().end_ms;
    assert_eq!((last_ms, planned_ms), (1_000_000_033_000, 1_000_000_040_000));
    let restart = |wall_ms: u64| {
        let mut after = Host::new(10_000, wall_ms);
        after.clock.restore_used(before.clock.used().to_vec());
        after.run(40_000);
        ends(&after)
    };
    let continued = [1_000_000_040_000, 1_000_000_050_000, 1_000_000_060_000, 1_000_000_070_000];
    assert_eq!(restart(1_000_000_034_000), continued, "the first completes the open window");
    // A clock that was set back a little in between makes the first window longer.
    assert_eq!(restart(1_000_000_029_000)[0], 1_000_000_040_000);
    let back = restart(1_000_000_001_000);
    assert!(back.iter().all(|end| !ends(&before).contains(end)), "{back:?}");
}

#[test]
fn a_run_ahead_of_the_time_leaves_the_planned_end_of_the_run_before_it_to_no_later_window() {
    // The time is new to the first run, or it repeats the time for the first or the second time.
    for repeats in 0..3 {
        let mut first = Host::new(10_000, 1_000_000_003_000);
        for _ in 0..repeats {
            first.run(60_000).set(-60_000);
        }
        first.run(30_000);
        let planned_ms = first.clock.planned_end_ms();
        assert_eq!(planned_ms, 1_000_000_040_000 + repeats);
        first.stop();
        let mut ahead = Host::new(10_000, first.wall_ms + 65_000);
        ahead.clock.restore_used(first.clock.used().to_vec());
        ahead.clock.use_up(&[planned_ms]);
        ahead.stop();
        let mut third = Host::new(10_000, first.wall_ms + 1_000);
        third.clock.restore_used(ahead.clock.used().to_vec());
        third.run(120_000);
        let before = [ends(&first), ends(&ahead), vec![planned_ms]].concat();
        let third = ends(&third);
        assert!(third.len() >= 10, "{third:?}");
        assert!(third.iter().all(|end| !before.contains(end)), "{before:?} {third:?}");
    }
}

#[test]
fn a_stop_while_the_clock_repeats_itself_leaves_its_timestamp_to_no_later_window() {
    let mut before = Host::new(5_000, 1_000_000_003_000);
    before.run(30_000).set(-17_000).run(15_000).set(-17_000).run(4_000);
    before.stop();
    let mut after = Host::new(5_000, before.wall_ms + 500);
    after.clock.restore_used(before.clock.used().to_vec());
    after.run(40_000);
    let (before, after) = (ends(&before), ends(&after));
    assert!(after.iter().all(|end| !before.contains(end)), "{before:?} {after:?}");
}

#[test]
fn a_time_that_was_repeated_very_often_ends_just_before_the_next_multiple() {
    let mut host = Host::new(1_000, 1_000_000);
    let range = UsedRange { first_ms: 0, last_ms: 2_000_000, times: 5_000 };
    host.clock.restore_used(vec![range]);
    host.run(2_000);
    assert_eq!(ends(&host), [1_001_999, 1_002_999]);
}

#[test]
fn ranges_that_no_run_can_have_left_are_ignored() {
    let range = |first_ms, last_ms, times| UsedRange { first_ms, last_ms, times };
    let mut host = Host::new(10_000, 1_000_000_003_000);
    let mut ranges = vec![range(0, u64::MAX, 1), range(9, 1, 1), range(0, 1 << 43, u64::MAX)];
    ranges.extend((0..100).map(|number| range(number, number, 1)));
    host.clock.restore_used(ranges);
    host.run(20_000);
    assert_eq!(ends(&host), [1_000_000_010_000, 1_000_000_020_000]);
}

#[test]
fn a_window_does_not_begin_at_its_own_end() {
    let mut clock = WindowClock::new(Duration::from_secs(10), ClockReading::now());
    clock.previous_end_ms = Some(1_000_000_000_000);
    let start_ms = |end_ms| clock.start_ms(end_ms, Duration::ZERO);
    assert_eq!(start_ms(1_000_000_000_000), None);
    assert_eq!(start_ms(1_000_000_000_001), Some(1_000_000_000_000));
}
