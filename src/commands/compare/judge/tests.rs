//! Verdicts of all kinds.

use super::*;

fn recording(text: &str) -> RecordedOutput {
    let mut recording = RecordedOutput::default();
    text.lines().for_each(|line| recording.add_line(line.as_bytes(), 0));
    recording
}

fn verdict(series: &str, old: &str, new: &str) -> Verdict {
    let (old, new) = (recording(old), recording(new));
    Judge::new(&old, &new, 1e-9).verdict(series)
}

/// A line of each window, which ends at 10 s, 20 s and so on, later by `phase`.
fn windows(series: &str, phase: i64, values: &[f64]) -> String {
    let lines = values
        .iter()
        .enumerate()
        .map(|(index, value)| format!("{series} {value} {}\n", 10 * (index as i64 + 1) + phase));
    lines.collect()
}

#[test]
fn values_within_the_tolerance_are_equal() {
    assert_eq!(verdict("a", "a 1 10\na 2 20", "a 1 10\na 2.000000001 20"), Verdict::Equal);
    assert_eq!(verdict("a", "a nan 10", "a nan 10"), Verdict::Equal);
    let Verdict::Different(difference) = verdict("a", "a 1 10\na 2 20", "a 1 10\na 2.1 20") else {
        panic!("2 is not 2.1")
    };
    assert_eq!(difference.windows, (1, 2));
    assert_eq!(difference.first, (20_000, Some(2.0), Some(2.1)));
    assert_eq!(difference.totals, (3.0, 3.1));
}

#[test]
fn a_sample_that_falls_into_the_next_window_is_explained_only_if_the_totals_agree() {
    let old = windows("a.count", 0, &[5.0, 5.0, 5.0]);
    let explained = Verdict::Explained(KnownCause::OtherEnds);
    assert_eq!(verdict("a.count", &old, &windows("a.count", 0, &[5.0, 4.0, 6.0])), explained);
    let lost = verdict("a.count", &old, &windows("a.count", 0, &[5.0, 4.0, 5.0]));
    assert!(matches!(lost, Verdict::Different(_)), "{lost:?}");
}

#[test]
fn windows_of_another_phase_agree_by_their_kind() {
    let explained = Verdict::Explained(KnownCause::OtherEnds);
    let sums = windows("a.count", 0, &[5.0; 20]);
    assert_eq!(verdict("a.count", &sums, &windows("a.count", 4, &[5.0; 20])), explained);
    let lost = verdict("a.count", &sums, &windows("a.count", 4, &[4.0; 20]));
    assert!(matches!(lost, Verdict::Different(_)), "{lost:?}");
    let levels = windows("stats.gauges.a", 0, &[1.0, 7.0, 7.0, 7.0, 7.0, 3.0]);
    assert_eq!(
        verdict(
            "stats.gauges.a",
            &levels,
            &windows("stats.gauges.a", 4, &[2.0, 7.0, 7.0, 7.0, 3.0, 3.0])
        ),
        explained
    );
    let other = verdict(
        "stats.gauges.a",
        &levels,
        &windows("stats.gauges.a", 4, &[2.0, 7.0, 7.0, 7.0, 4.0, 4.0]),
    );
    assert!(matches!(other, Verdict::Different(_)), "{other:?}");
    let timer = |phase, count: f64, mean: f64| {
        windows("t.count", phase, &[count; 20]) + &windows("t.mean", phase, &[mean; 20])
    };
    assert_eq!(verdict("t.mean", &timer(0, 3.0, 1.0), &timer(4, 3.0, 2.0)), explained);
    let lost = verdict("t.mean", &timer(0, 3.0, 1.0), &timer(4, 2.0, 2.0));
    assert!(matches!(lost, Verdict::Different(_)), "{lost:?}");
}

#[test]
fn values_of_an_idle_series_are_explained() {
    let idle = Verdict::Explained(KnownCause::Idle);
    let end = "z 1 10\nz 1 20\nz 1 30\n";
    assert_eq!(
        verdict("a", &format!("{end}a 4 10\na 0 20\na 0 30"), &format!("{end}a 4 10")),
        idle
    );
    let repeats = format!("{end}stats.gauges.g 4 10\nstats.gauges.g 4 20");
    assert_eq!(verdict("stats.gauges.g", &repeats, &format!("{end}stats.gauges.g 4 10")), idle);
    assert_eq!(verdict("a", &format!("{end}a 0 20"), end), idle);
    assert_eq!(verdict("a", &format!("{end}a 3 20"), end), Verdict::OnlyOld);
    assert_eq!(verdict("a", end, &format!("{end}a 3 20")), Verdict::OnlyNew);
}

#[test]
fn windows_that_only_one_has_are_explained() {
    let old = "z 1 10\nz 1 20\nz 1 30\na 5 30";
    assert_eq!(verdict("a", old, "z 1 10\nz 1 20"), Verdict::Explained(KnownCause::Edge));
    assert_eq!(verdict("z", old, "z 1 10\nz 1 20"), Verdict::Equal);
}

#[test]
fn metrics_of_the_daemons_themselves_are_explained() {
    let itself = Verdict::Explained(KnownCause::SelfMetrics);
    for series in [
        "stats.statsd.numStats",
        "stats.counters.statsd.packets_received.count",
        "statsd.graphiteStats.last_flush",
        "tallyd.series",
    ] {
        assert_eq!(verdict(series, &format!("{series} 3 10"), "a 1 10"), itself, "{series}");
    }
}

#[test]
fn running_totals_are_recognized() {
    let old = windows("a value", 0, &[5.0, 8.0, 8.0, 20.0]);
    let old: String = old.lines().map(totals_record).collect();
    let new = windows("a value", 0, &[5.0, 3.0, 0.0, 12.0]);
    let new: String = new.lines().map(totals_record).collect();
    assert_eq!(verdict("a value", &old, &new), Verdict::Explained(KnownCause::RunningTotals));
    let lost = new.replace("12", "11");
    assert!(matches!(verdict("a value", &old, &lost), Verdict::Different(_)));
}

/// A line `a value VALUE SECONDS` as a record.
fn totals_record(line: &str) -> String {
    let parts: Vec<&str> = line.split(' ').collect();
    let (value, second) = (parts[2], parts[3]);
    format!("{{\"name\":\"a\",\"value\":{value},\"@timestamp\":\"2026-01-01T00:00:{second}Z\"}}\n")
}

#[test]
fn with_equal_ends_only_a_sum_that_moved_explains_other_differences() {
    let level = |middle: f64| windows("stats.gauges.a", 0, &[1.0, middle, 3.0]);
    let sums = windows("a.count", 0, &[5.0, 5.0, 5.0]);
    let moved = windows("a.count", 0, &[5.0, 4.0, 6.0]);
    let different = verdict("stats.gauges.a", &(level(2.0) + &sums), &(level(9.0) + &sums));
    assert!(matches!(different, Verdict::Different(_)), "{different:?}");
    let explained = verdict("stats.gauges.a", &(level(2.0) + &sums), &(level(9.0) + &moved));
    assert_eq!(explained, Verdict::Explained(KnownCause::OtherEnds));
}

#[test]
fn a_rate_of_a_shorter_first_window_is_explained() {
    let counts = windows("a.count", 0, &[5.0, 5.0, 5.0]);
    let rates = |rates: &[f64]| windows("a.rate", 0, rates) + &counts;
    let edge = verdict("a.rate", &rates(&[0.5, 0.5, 0.5]), &rates(&[0.9, 0.5, 0.5]));
    assert_eq!(edge, Verdict::Explained(KnownCause::Edge));
    let inside = verdict("a.rate", &rates(&[0.5, 0.5, 0.5]), &rates(&[0.5, 0.9, 0.5]));
    assert!(matches!(inside, Verdict::Different(_)), "{inside:?}");
}

/// The counts of two counters, and their rates for windows of these lengths in seconds.
fn divided(names: (&str, &str), lengths: &[f64]) -> String {
    let of = |name: &str, count: f64| {
        let rates: Vec<f64> = lengths.iter().map(|length| count / length).collect();
        windows(&names.0.replace('X', name), 0, &vec![count; lengths.len()])
            + &windows(&names.1.replace('X', name), 0, &rates)
    };
    of("a", 7.0) + &of("b", 900.0) + &of("c", 0.25)
}

#[test]
fn a_rate_of_a_window_that_ended_late_is_explained_by_its_length() {
    let explained = Some(KnownCause::WindowLength);
    for (names, series) in [
        (("stats.counters.X.count", "stats.counters.X.rate"), "stats.counters.a.rate"),
        (("stats.timers.X.count", "stats.timers.X.count_ps"), "stats.timers.a.count_ps"),
        (("stats_counts.X", "stats.X"), "stats.a"),
        (("stats_counts.X;k=v", "stats.X;k=v"), "stats.a;k=v"),
    ] {
        let divided = |lengths: &[f64]| divided(names, lengths);
        let plain = divided(&[10.0; 8]);
        let of = |new: &str| cause(&verdict(series, &plain, new));
        let late = [10.0, 10.0, 10.113, 9.887, 10.0, 10.0, 10.0, 10.0];
        assert_eq!(of(&divided(&late)), explained, "{series}");
        assert_eq!(cause(&verdict(series, &divided(&late), &plain)), explained, "{series}");
        let and_cut = [4.0, 10.0, 10.113, 9.887, 10.0, 10.0, 10.0, 3.0];
        assert_eq!(of(&divided(&and_cut)), explained, "{series}");
        let uneven = [10.0, 10.0, 10.4, 10.0, 10.0, 10.0, 10.0, 10.0];
        assert_eq!(of(&divided(&uneven)), explained, "the next ends are late too, by less");
    }
}

#[test]
fn a_rate_that_is_no_count_divided_by_the_length_of_the_window_is_a_difference() {
    let names = ("stats.counters.X.count", "stats.counters.X.rate");
    let late = divided(names, &[10.0, 10.0, 10.1, 9.9, 10.0, 10.0]);
    let plain = divided(names, &[10.0; 6]);
    let of = |new: &str| cause(&verdict("stats.counters.a.rate", &plain, new));
    let rate = (7.0_f64 / 10.1).to_string();
    assert!(late.contains(&rate));
    assert_eq!(of(&late.replace(&rate, "0.69")), None, "the length of the other series is another");
    assert_eq!(of(&divided(names, &[10.0, 10.0, 12.0, 8.0, 10.0, 10.0])), None, "2 s late");
    assert_eq!(of(&divided(names, &[10.5; 40])), None, "all windows are longer than their time");
    for (length, windows) in [(10.4, 6), (10.1, 361), (9.9, 5)] {
        let plain = divided(names, &vec![10.0; windows]);
        let wrong = divided(names, &vec![length; windows]);
        let wrong = cause(&verdict("stats.counters.a.rate", &plain, &wrong));
        assert_eq!(wrong, None, "rates that are always wrong: {windows} windows of {length} s");
    }
    // One wrong rate proves no other length of its window, neither alone nor against another series.
    let only = |text: &str, names: &[&str]| -> String {
        let is_kept = |line: &&str| {
            names.iter().any(|name| line.starts_with(&format!("stats.counters.{name}.")))
        };
        text.lines().filter(is_kept).map(|line| format!("{line}\n")).collect()
    };
    for kept in [&["a"][..], &["a", "b"]] {
        let plain = only(&plain, kept);
        let wrong = plain.replacen("a.rate 0.7 30", "a.rate 0.63 30", 1);
        assert_ne!(plain, wrong);
        assert_eq!(cause(&verdict("stats.counters.a.rate", &plain, &wrong)), None, "{kept:?}");
    }
    let lost = late.replace("stats.counters.a.count 7 30", "stats.counters.a.count 6 30");
    assert_eq!(of(&lost.replace(&rate, &(6.0_f64 / 10.1).to_string())), None, "a lost sample");
    let lonely = late.replace("a.count", "a.other");
    assert_eq!(cause(&verdict("stats.counters.a.rate", &plain, &lonely)), None, "without a count");
}

#[test]
fn samples_that_moved_into_a_last_window_of_its_own_are_explained() {
    let shared = "a.count 5 10\na.count 5 20\n";
    let explained = verdict(
        "a.count",
        &format!("{shared}a.count 2 25"),
        "a.count 5 10\na.count 6 20\na.count 1 26",
    );
    assert_eq!(explained, Verdict::Explained(KnownCause::OtherEnds));
}

fn uncovered(old: &str, new: &str) -> (usize, usize) {
    let (old, new) = (recording(old), recording(new));
    Judge::new(&old, &new, 1e-9).uncovered()
}

#[test]
fn windows_that_one_daemon_lacks_are_counted() {
    let all = windows("a.count", 0, &[5.0; 30]);
    assert_eq!(uncovered(&all, &all), (0, 0));
    assert_eq!(uncovered(&all, &windows("a.count", 0, &[5.0; 28])), (0, 0), "at the end of one");
    assert_eq!(uncovered(&all, &windows("a.count", 0, &[5.0; 2])), (26, 0), "it has ended");
    assert_eq!(uncovered("a 1 10\na 1 20", "a 1 1000\na 1 1010"), (2, 2), "at other times");
}

#[test]
fn a_lost_window_and_a_lost_series_are_never_explained() {
    let moved = |values: &[f64]| windows("b.count", 0, values);
    let old = windows("a.count", 0, &[5.0; 10]) + &moved(&[5.0, 5.0, 5.0, 5.0]);
    let mut lines: Vec<String> =
        windows("a.count", 0, &[5.0; 10]).lines().map(|line| format!("{line}\n")).collect();
    lines.remove(4);
    let new = lines.concat() + &moved(&[5.0, 4.0, 6.0, 5.0]);
    assert!(matches!(verdict("a.count", &old, &new), Verdict::Different(_)));
    let few =
        verdict("a.count", &windows("a.count", 0, &[1000.0; 3]), &windows("a.count", 4, &[1.0; 3]));
    assert!(matches!(few, Verdict::Different(_)), "{few:?}");
    let gauge = windows("stats.gauges.g", 0, &[4.0; 5]) + &windows("z", 0, &[1.0; 5]);
    assert_eq!(verdict("stats.gauges.g", &gauge, &windows("z", 0, &[1.0; 5])), Verdict::OnlyOld);
}

#[test]
fn a_moved_sample_of_another_timer_explains_no_statistic() {
    let moved = |values: &[f64]| windows("b.count", 0, values);
    let timer = |mean: f64| windows("t.count", 0, &[3.0; 3]) + &windows("t.mean", 0, &[mean; 3]);
    let (old, new) =
        (timer(1.0) + &moved(&[5.0, 5.0, 5.0]), timer(700.0) + &moved(&[5.0, 4.0, 6.0]));
    assert!(matches!(verdict("t.mean", &old, &new), Verdict::Different(_)));
}

#[test]
fn sums_that_are_larger_now_here_now_there_show_that_samples_move() {
    let old = windows("a.count", 0, &[100.0, 100.0, 100.0, 100.0]);
    let explained = verdict("a.count", &old, &windows("a.count", 0, &[98.0, 103.0, 99.0, 102.0]));
    assert_eq!(explained, Verdict::Explained(KnownCause::OtherEnds));
    let lost = verdict("a.count", &old, &windows("a.count", 0, &[98.0, 99.0, 99.0, 98.0]));
    assert!(matches!(lost, Verdict::Different(_)), "{lost:?}");
}

#[test]
fn levels_that_always_change_lie_between_the_other_levels_around_that_time() {
    let old = windows("stats.gauges.g", 0, &[10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
    let later = windows("stats.gauges.g", 4, &[14.0, 24.0, 34.0, 44.0, 54.0, 64.0]);
    let explained = Verdict::Explained(KnownCause::SeveralLevels);
    assert_eq!(verdict("stats.gauges.g", &old, &later), explained);
    let other = windows("stats.gauges.g", 4, &[14.0, 24.0, 99.0, 44.0, 54.0, 64.0]);
    assert!(matches!(verdict("stats.gauges.g", &old, &other), Verdict::Different(_)));
}

/// Whether a verdict explains a difference, and how.
fn cause(verdict: &Verdict) -> Option<KnownCause> {
    match verdict {
        Verdict::Explained(cause) => Some(*cause),
        _ => None,
    }
}

#[test]
fn bins_of_a_histogram_are_sums() {
    let bin = "stats.timers.a.histogram.bin_10";
    let moved = cause(&verdict(
        bin,
        &windows(bin, 0, &[9.0, 12.0, 7.0, 10.0, 8.0, 9.0]),
        &windows(bin, 4, &[10.0, 10.0, 8.0, 10.0, 8.0, 9.0]),
    ));
    assert_eq!(moved, Some(KnownCause::OtherEnds));
    let lost = verdict(bin, &windows(bin, 0, &[9.0; 30]), &windows(bin, 4, &[8.0; 30]));
    assert_eq!(cause(&lost), None);
}

#[test]
fn members_of_a_set_move_to_the_next_window_but_are_not_lost() {
    let set = "stats.sets.v.count";
    let with = |moved: f64, members: &[f64]| {
        let counts = [100.0, 100.0 - moved, 100.0 + moved, 100.0, 100.0, 100.0, 100.0, 100.0];
        windows("a.count", 0, &counts) + &windows(set, 0, members)
    };
    let all = with(0.0, &[90.0; 8]);
    let mut members = [90.0; 8];
    let of = |moved, members: &[f64]| cause(&verdict(set, &with(moved, members), &all));
    members[1] = 89.0;
    assert_eq!(of(1.0, &members), Some(KnownCause::OtherEnds), "a member that is in both");
    assert_eq!(of(0.0, &members), None, "nothing moved");
    members[2] = 91.0;
    assert_eq!(of(1.0, &members), Some(KnownCause::OtherEnds));
    members[1] = 60.0;
    assert_eq!(of(1.0, &members), None, "more than the samples of a moment");
    assert_eq!(of(1.0, &[89.0; 8]), None, "one in each window");
}

#[test]
fn a_set_with_other_ends_has_as_many_members_on_average() {
    let set = "stats.sets.v.count";
    let of =
        |new: &[f64]| cause(&verdict(set, &windows(set, 0, &[90.0; 40]), &windows(set, 4, new)));
    let near: Vec<f64> = (0..40).map(|k| f64::from(86 + k % 8)).collect();
    assert_eq!(of(&near), Some(KnownCause::OtherEnds));
    assert_eq!(of(&[70.0; 40]), None, "a fifth is missing in each window");
    let mut burst = [90.0; 40];
    burst[20] = 400.0;
    assert_eq!(of(&burst), None, "more than the windows around it have");
}

#[test]
fn only_the_first_or_last_window_of_a_daemon_is_partial_and_only_with_less() {
    let old = windows("a.count", 0, &[100.0; 8]);
    let of = |values: &[f64]| cause(&verdict("a.count", &old, &windows("a.count", 0, values)));
    let mut values = [100.0; 8];
    values[0] = 94.0;
    assert_eq!(of(&values), Some(KnownCause::Partial));
    values[7] = 20.0;
    assert_eq!(of(&values), Some(KnownCause::Partial));
    values[6] = 99.0;
    assert_eq!(of(&values), None, "a window inside");
    let later = windows("a.count", 10, &[94.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0]);
    assert_eq!(cause(&verdict("a.count", &old, &later)), Some(KnownCause::Partial));
    assert_eq!(cause(&verdict("a.count", &later, &old)), Some(KnownCause::Partial));
    let more = later.replace("94", "106");
    assert_eq!(cause(&verdict("a.count", &old, &more)), None, "a part of a window has not more");
    // Most series show that the new daemon received the part, so that this one lost samples.
    let most = |first: f64| windows("b.count", 0, &[first, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0]);
    let most = |first: f64| most(first) + &most(first).replace("b.", "c.");
    values = [100.0; 8];
    values[0] = 94.0;
    let (cut, whole) = (windows("a.count", 0, &values) + &most(9.0), old + &most(5.0));
    assert_eq!(cause(&verdict("a.count", &cut, &whole)), None);
}

#[test]
fn a_partial_window_changes_all_fields_of_a_timer_but_no_level() {
    let timer = |count: f64, first: f64| {
        windows("t.count", 0, &[count, 9.0, 9.0, 9.0, 9.0])
            + &windows("t.mean", 0, &[first, 2.0, 2.0, 2.0, 2.0])
            + &windows("stats.gauges.g", 0, &[first, 2.0, 2.0, 2.0, 2.0])
    };
    let of = |series, count| cause(&verdict(series, &timer(9.0, 1.0), &timer(count, 7.0)));
    assert_eq!(of("t.mean", 5.0), Some(KnownCause::Partial));
    assert_eq!(of("t.mean", 9.0), None, "its samples are complete");
    assert_eq!(of("stats.gauges.g", 5.0), None);
}

#[test]
fn a_partial_last_window_has_a_level_between_the_last_two_of_the_other() {
    let gauge = |count: f64, last: f64| {
        windows("a.count", 0, &[9.0, 9.0, 9.0, 9.0, count])
            + &windows("stats.gauges.g", 0, &[1.0, 2.0, 3.0, 4.0, last])
    };
    let of = |count: f64, last: f64| {
        cause(&verdict("stats.gauges.g", &gauge(count, last), &gauge(9.0, 8.0)))
    };
    assert_eq!(of(5.0, 6.0), Some(KnownCause::Partial));
    assert_eq!(of(5.0, 3.0), None, "a level that the other never had then");
    assert_eq!(of(9.0, 6.0), None, "the window is complete");
}

#[test]
fn samples_that_moved_between_windows_of_running_totals_are_recognized() {
    let records = |values: &[f64]| -> String {
        windows("a value", 0, values).lines().map(totals_record).collect()
    };
    let new = records(&[100.0; 5]);
    for (totals, expected) in [
        ([102.0, 202.0, 302.0, 402.0, 500.0], Some(KnownCause::RunningTotals)),
        ([5100.0, 5202.0, 5300.0, 5400.0, 5500.0], Some(KnownCause::RunningTotals)),
        ([102.0, 202.0, 302.0, 402.0, 502.0], Some(KnownCause::RunningTotals)),
        ([100.0, 200.0, 290.0, 390.0, 490.0], None),
        ([100.0, 160.0, 300.0, 400.0, 500.0], None),
    ] {
        assert_eq!(cause(&verdict("a value", &records(&totals), &new)), expected, "{totals:?}");
    }
}
