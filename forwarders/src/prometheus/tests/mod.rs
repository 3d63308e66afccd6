//! Tests pages with a parser that follows only the formats' specifications, and names by their
//! rules.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;

use super::names::{Family, assign, metric_name, page_series, quantile};
use super::page::{Page, PageFormat};
use super::state::{Limits, State};
use super::timers::TimerForms;
use super::{PrometheusConfig, StateSettings};
use model::testing::{point, snapshot_of};
use model::{
    DistinctSet, MetricKind, Percentile, Point, Series, SetSeed, Sum, Timer, TotalValue, Value,
};

pub(super) mod naming;
mod parser;
mod saved;
mod server;
mod timers;

const LIMITS: Limits = Limits {
    expire_after: Duration::from_secs(600),
    series_max: 100_000,
    bytes_max: 1 << 30,
    expired_max: 1_000,
};

fn counter(name: &str, tags: &[(&str, &str)], count: f64) -> Point {
    point(MetricKind::Counter, name, tags, Value::Counter(Sum::of(count)))
}

/// A counter whose source keeps the total.
fn kept(name: &str, tags: &[(&str, &str)], added: f64, total: f64) -> Point {
    let value = Box::new(TotalValue { added: Sum::of(added), total });
    point(MetricKind::Counter, name, tags, Value::Total(value))
}

fn trace(name: &str, tags: &[(&str, &str)], count: f64) -> Point {
    point(MetricKind::Trace, name, tags, Value::Trace(Sum::of(count)))
}

fn gauge(name: &str, tags: &[(&str, &str)], value: f64) -> Point {
    point(MetricKind::Gauge, name, tags, Value::Gauge { value, arrival_ns: 0 })
}

fn set(name: &str, tags: &[(&str, &str)], members: &[&str]) -> Point {
    let mut set = DistinctSet::default();
    members.iter().for_each(|member| set.insert(member.as_bytes(), &SetSeed::from_text("")));
    point(MetricKind::Set, name, tags, Value::set(set))
}

fn timer(name: &str, tags: &[(&str, &str)], values: &[f64]) -> Point {
    let mut timer = Timer::default();
    values.iter().for_each(|value| timer.record(*value, 1.0, 1000));
    point(MetricKind::Timer, name, tags, Value::timer(timer, &snapshot_of(vec![]).percentiles))
}

/// Renders the page of a daemon, window by window.
struct Bench {
    state: State,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        Self { state: State::new(limits, None) }
    }

    /// Shows timers in the forms of this configuration of the section.
    fn showing(limits: Limits, config: &str) -> Self {
        let config: PrometheusConfig = serde_json::from_str(config).unwrap();
        let timers = StateSettings::new(&config, limits.expire_after).timers;
        Self { state: State::new(limits, None).showing_timers(timers) }
    }

    fn window(&mut self, points: Vec<Point>) -> Page {
        let snapshot = snapshot_of(points);
        self.state.apply(&snapshot);
        Page::of(&self.state, &snapshot.percentiles, Vec::new())
    }
}

#[test]
fn a_total_that_a_negative_increment_holds_is_counted_until_it_rises_again() {
    let mut bench = Bench::new(Limits { expire_after: Duration::from_secs(20), ..LIMITS });
    let held = bench.state.held_totals();
    let mut window = |points| {
        bench.window(points);
        held.load(Ordering::Relaxed)
    };
    assert_eq!(window(vec![counter("a", &[], 10.0), counter("b", &[], 0.1)]), 0);
    assert_eq!(window(vec![counter("a", &[], -5.0), counter("b", &[], 0.2)]), 1);
    assert_eq!(window(vec![counter("a", &[], -5.0), counter("b", &[], -1.0)]), 2);
    assert_eq!(window(vec![counter("a", &[], 10.0)]), 1);
    assert_eq!(window(vec![]), 0, "an expired series has no total");
}

fn text_of(points: Vec<Point>) -> String {
    text(&Bench::new(LIMITS).window(points))
}

fn text(page: &Page) -> String {
    String::from_utf8(page.plain(PageFormat::Text).to_vec()).unwrap()
}

fn openmetrics(page: &Page) -> String {
    String::from_utf8(page.plain(PageFormat::OpenMetrics).to_vec()).unwrap()
}

/// Returns the lines of samples.
fn samples(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

fn each_kind() -> Vec<Point> {
    vec![
        timer("user.latency", &[("stage", "login")], &[1.0, 2.0, 3.0, 4.0]),
        counter("user.logins", &[("host", "b")], 2.5),
        counter("user.logins", &[("host", "a"), ("stage", "x\"y\\z\n")], 5.0),
        gauge("queue.depth", &[], -1.5),
        set("users", &[], &["a", "b", "a"]),
        trace("user.trace", &[], 7.0),
    ]
}

#[test]
fn the_text_page_shows_each_kind() {
    let expected = r#"# HELP queue_depth tallyd gauge queue.depth
# TYPE queue_depth gauge
queue_depth -1.5
# HELP user_latency tallyd timer user.latency
# TYPE user_latency summary
user_latency{stage="login",quantile="0.5"} 2
user_latency{stage="login",quantile="0.9"} 4
user_latency{stage="login",quantile="0.95"} 4
user_latency{stage="login",quantile="0.99"} 4
user_latency_sum{stage="login"} 10
user_latency_count{stage="login"} 4
# HELP user_logins_total tallyd counter user.logins
# TYPE user_logins_total counter
user_logins_total{host="a",stage="x\"y\\z\n"} 5
user_logins_total{host="b"} 2.5
# HELP user_trace_total tallyd trace user.trace
# TYPE user_trace_total counter
user_trace_total 7
# HELP users tallyd set users
# TYPE users gauge
users 2
"#;
    assert_eq!(text_of(each_kind()), expected);
}

#[test]
fn the_openmetrics_page_differs_in_the_names_of_counters_and_in_its_end() {
    let page = Bench::new(LIMITS).window(each_kind());
    let expected = text(&page)
        .replace("# HELP user_logins_total", "# HELP user_logins")
        .replace("# TYPE user_logins_total", "# TYPE user_logins")
        .replace("# HELP user_trace_total", "# HELP user_trace")
        .replace("# TYPE user_trace_total", "# TYPE user_trace");
    assert_eq!(openmetrics(&page), format!("{expected}# EOF\n"));
    assert!(!page.breaks_openmetrics());
}

#[test]
fn before_the_first_window_the_page_is_empty_and_valid() {
    let page = Page::default();
    assert_eq!(text(&page), "");
    assert_eq!(openmetrics(&page), "# EOF\n");
}

#[test]
fn totals_grow_from_window_to_window_and_last_values_stay() {
    let mut bench = Bench::new(LIMITS);
    bench.window(vec![
        counter("c", &[], 2.0),
        gauge("g", &[], 7.0),
        timer("t", &[], &[1.0, 2.0]),
        set("s", &[], &["a", "b"]),
    ]);
    let page = bench.window(vec![counter("c", &[], 3.0), timer("t", &[], &[10.0])]);
    let expected = [
        "c_total 5",
        "g 7",
        "s 2",
        "t{quantile=\"0.5\"} 10",
        "t{quantile=\"0.9\"} 10",
        "t{quantile=\"0.95\"} 10",
        "t{quantile=\"0.99\"} 10",
        "t_sum 13",
        "t_count 3",
    ];
    assert_eq!(samples(&text(&page)), expected);
    assert_eq!(text(&bench.window(vec![])), text(&page), "an idle window changes nothing");
}

#[test]
fn a_total_stays_at_its_maximum_until_the_sum_exceeds_it() {
    let mut bench = Bench::new(LIMITS);
    let mut shown = Vec::new();
    for count in [-2.0, 5.0, -1.0, 0.5, 1.5] {
        let page = text(&bench.window(vec![counter("c", &[], count)]));
        shown.push(samples(&page)[0].to_owned());
    }
    assert_eq!(shown, ["c_total 0", "c_total 3", "c_total 3", "c_total 3", "c_total 4"]);
}

#[test]
fn a_total_kept_by_its_source_is_shown_unchanged_even_after_a_restart() {
    let mut bench = Bench::new(LIMITS);
    for (added, total, shown) in
        [(0.0, 500.0, "c_total 500"), (7.0, 507.0, "c_total 507"), (3.0, 3.0, "c_total 3")]
    {
        let page = bench.window(vec![kept("c", &[], added, total)]);
        assert_eq!(samples(&text(&page)), [shown]);
    }
    // A window from the spool has only the increment.
    let page = bench.window(vec![counter("c", &[], 4.0)]);
    assert_eq!(samples(&text(&page)), ["c_total 7"]);
}

#[test]
fn the_increases_of_merged_totals_are_added_up() {
    let mut bench = Bench::new(LIMITS);
    let both = |a, b| vec![kept("c.d", &[], a, 500.0 + a), kept("c_d", &[], b, 9_000.0 + b)];
    assert_eq!(samples(&text(&bench.window(both(1.0, 2.0)))), ["c_d_total 3"]);
    // Also while only one of them is live.
    let page = bench.window(vec![kept("c.d", &[], 4.0, 505.0)]);
    assert_eq!(samples(&text(&page)), ["c_d_total 7"]);
    assert_eq!(samples(&text(&bench.window(both(1.0, 1.0)))), ["c_d_total 9"]);
}

#[test]
fn an_expired_series_continues_from_its_total() {
    let mut bench = Bench::new(Limits { expire_after: Duration::from_secs(20), ..LIMITS });
    bench.window(vec![counter("c", &[], 5.0), timer("t", &[], &[2.0]), gauge("g", &[], 1.0)]);
    bench.window(vec![counter("busy", &[], 1.0)]);
    let page = bench.window(vec![counter("busy", &[], 1.0)]);
    assert_eq!(samples(&text(&page)), ["busy_total 2"]);
    assert_eq!(bench.state.source_count(), 1);
    let page = bench.window(vec![counter("c", &[], 2.0), timer("t", &[], &[3.0])]);
    let page = text(&page);
    assert!(page.contains("\nc_total 7\n"), "{page}");
    assert!(page.contains("\nt_sum 5\n") && page.contains("\nt_count 2\n"), "{page}");
    assert!(!page.contains("\ng "), "{page}");
}

#[test]
fn the_total_that_expired_first_is_removed_above_the_limit() {
    let limits = Limits { expire_after: Duration::from_secs(10), expired_max: 2, ..LIMITS };
    let mut bench = Bench::new(limits);
    for name in ["a", "b", "c"] {
        bench.window(vec![counter(name, &[], 5.0)]);
    }
    bench.window(vec![]);
    let all = ["a", "b", "c"].map(|name| counter(name, &[], 1.0)).to_vec();
    let page = text(&bench.window(all));
    assert_eq!(samples(&page), ["a_total 1", "b_total 6", "c_total 6"]);
}

#[test]
fn a_page_without_live_series_is_empty_and_takes_no_room() {
    let mut bench = Bench::new(Limits { expire_after: Duration::from_secs(10), ..LIMITS });
    bench.window(each_kind());
    assert!(bench.state.bytes() > 0);
    let page = bench.window(vec![]);
    assert_eq!(text(&page), "");
    assert_eq!((bench.state.source_count(), bench.state.bytes()), (0, 0));
}

#[test]
fn series_that_become_the_same_are_merged() {
    let later = |value, arrival_ns| Value::Gauge { value, arrival_ns };
    let page = text_of(vec![
        counter("a.b", &[("k.1", "v")], 1.0),
        counter("a-b", &[("k_1", "v")], 2.0),
        counter("a_b", &[("k_1", "w")], 4.0),
        point(MetricKind::Gauge, "g.g", &[], later(7.0, 20)),
        point(MetricKind::Gauge, "g-g", &[], later(8.0, 10)),
        timer("t.t", &[], &[1.0, 2.0, 3.0]),
        timer("t-t", &[], &[4.0]),
        set("s.s", &[], &["a", "b"]),
        set("s-s", &[], &["b", "c"]),
    ]);
    let expected = [
        "a_b_total{k_1=\"v\"} 3",
        "a_b_total{k_1=\"w\"} 4",
        "g_g 7",
        "s_s 3",
        "t_t{quantile=\"0.5\"} 2",
        "t_t{quantile=\"0.9\"} 4",
        "t_t{quantile=\"0.95\"} 4",
        "t_t{quantile=\"0.99\"} 4",
        "t_t_sum 10",
        "t_t_count 4",
    ];
    assert_eq!(samples(&page), expected);
    assert!(page.contains("# HELP a_b_total tallyd counter a-b\n"), "{page}");
}

#[test]
fn a_name_conflict_of_two_kinds_is_resolved_regardless_of_their_order() {
    let points = vec![
        set("a", &[], &["x"]),
        timer("a", &[], &[1.0]),
        trace("a", &[], 2.0),
        gauge("a", &[], 3.0),
        counter("a", &[], 4.0),
        gauge("b.sum", &[], 5.0),
        timer("b", &[], &[6.0]),
        counter("c", &[], 7.0),
        counter("c.total", &[], 8.0),
        gauge("c.total", &[], 9.0),
        gauge("a_timer", &[], 10.0),
    ];
    let page = text_of(points.clone());
    let sample = |name: &str, value: &str| {
        assert!(page.contains(&format!("\n{name} {value}\n")), "{name} {value}: {page}");
    };
    sample("a_total", "4");
    sample("a", "3");
    sample("a_timer", "10");
    sample("a_timer_2_sum", "1");
    sample("a_set", "1");
    sample("a_trace_total", "2");
    sample("b_sum", "5");
    sample("b_timer_sum", "6");
    sample("c_total", "7");
    sample("c_total_counter_total", "8");
    sample("c_total_gauge", "9");
    parser::parse_text(&page);
    assert_eq!(text_of(points.into_iter().rev().collect()), page);
}

#[test]
fn openmetrics_shows_a_counter_without_its_type_where_its_name_is_taken() {
    let page = Bench::new(LIMITS).window(vec![
        counter("orders", &[], 1.0),
        counter("orders.created", &[], 2.0),
        counter("depth", &[], 3.0),
        gauge("depth", &[], 4.0),
    ]);
    let page = openmetrics(&page);
    assert!(page.contains("# TYPE orders counter\norders_total 1\n"), "{page}");
    assert!(page.contains("# TYPE orders_created_total unknown\norders_created_total 2\n"));
    assert!(page.contains("# TYPE depth_total unknown\ndepth_total 3\n"), "{page}");
    parser::parse_openmetrics(&page);
}

#[test]
fn a_page_that_openmetrics_cannot_represent_is_detected() {
    let breaks = |points| Bench::new(LIMITS).window(points).breaks_openmetrics();
    assert!(breaks(vec![timer("t", &[], &[-1.0, 5.0])]), "a negative value");
    assert!(breaks(vec![timer("t", &[], &[1.0]), gauge("t.created", &[], 1.0)]));
    assert!(!breaks(vec![timer("t", &[], &[1.0]), gauge("g", &[], -1.0)]));
}

#[test]
fn a_full_page_drops_new_series_and_updates_the_others() {
    let points = |count| (0..5).map(|n| counter(&format!("c{n}"), &[], count)).collect();
    let mut state = State::new(Limits { series_max: 3, ..LIMITS }, None);
    let snapshot = snapshot_of(points(1.0));
    for _ in 0..2 {
        let applied = state.apply(&snapshot);
        assert_eq!((applied.shown, applied.refused), (3, 2));
    }
    let page = Page::of(&state, &snapshot.percentiles, Vec::new());
    assert_eq!(samples(&text(&page)), ["c0_total 2", "c1_total 2", "c2_total 2"]);
}

#[test]
fn the_page_is_never_larger_than_its_limit() {
    let bytes_max = 20_000;
    let long = "x\n".repeat(300);
    let mut bench = Bench::new(Limits { bytes_max, ..LIMITS });
    let points = (0..200).flat_map(|n| {
        let n = n.to_string();
        let tags = [("long", long.as_str()), ("n", &n)];
        [timer("t", &tags, &[1e-300]), counter(&n, &tags, 1e300)]
    });
    let page = bench.window(points.collect());
    let len = text(&page).len() as u64;
    assert!(len <= bytes_max && len > bytes_max / 2, "{len}");
}

#[test]
fn label_names_are_valid_and_none_occurs_twice() {
    let labels = |kind, tags: &[(&str, &str)]| {
        let mut tags = tags.to_vec();
        tags.sort_unstable();
        let series = page_series(&Series::new(kind, "m", &tags), &TimerForms::default());
        let labels: Vec<String> =
            series.tags().map(|(label, value)| format!("{label}={value}")).collect();
        labels.join(" ")
    };
    let counter = |tags: &[(&str, &str)]| labels(MetricKind::Counter, tags);
    assert_eq!(counter(&[("a.b", "1"), ("a_b", "2"), ("a-b", "3")]), "a_b=2 a_b_2=3 a_b_3=1");
    assert_eq!(counter(&[("a.b", "1"), ("a_b_2", "2"), ("a-b", "3")]), "a_b=3 a_b_2=2 a_b_3=1");
    assert_eq!(counter(&[("__name__", "x"), ("9", "y"), ("é", "z")]), "_=z _9=y _name__=x");
    assert_eq!(counter(&[("job", "j"), ("instance", "i"), ("le", "1")]), "instance=i job=j le=1");
    assert_eq!(counter(&[("empty", ""), ("quantile", "q")]), "quantile=q");
    let tags = [("quantile", "q"), ("tag_quantile", "t")];
    assert_eq!(labels(MetricKind::Timer, &tags), "tag_quantile=t tag_quantile_2=q");
}

#[test]
fn metric_names_are_valid() {
    for (name, shown) in
        [("a.b", "a_b"), ("9lives", "_9lives"), ("a:b", "a_b"), ("naïve", "na_ve"), ("\0\n", "__")]
    {
        assert_eq!(metric_name(name), shown);
    }
}

#[test]
fn a_percentile_becomes_a_quantile_digit_by_digit() {
    for (percentile, shown) in [
        ("50", "0.5"),
        ("99", "0.99"),
        ("99.9", "0.999"),
        ("99.99", "0.9999"),
        ("5", "0.05"),
        ("0.1", "0.001"),
        ("100", "1.0"),
        ("10", "0.1"),
    ] {
        assert_eq!(quantile(&Percentile::parse(percentile).unwrap()), shown);
    }
}

#[test]
fn a_name_that_gives_way_takes_none_that_another_has_by_right() {
    let families = [
        ("a", MetricKind::Gauge),
        ("a", MetricKind::Set),
        ("a_set", MetricKind::Gauge),
        ("a_set_2", MetricKind::Timer),
    ];
    let families = families.map(|(base, kind)| Family { base, kind, is_renamed: false });
    let names: Vec<_> =
        assign(&families, &TimerForms::default()).into_iter().map(|name| name.base).collect();
    assert_eq!(names, ["a", "a_set_3", "a_set", "a_set_2"]);
}

/// Names and tags that resemble each other and the names that the formats reserve.
fn hostile_text() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "a", "b", ".", "_", "__", "total", "_total", "sum", "_count", "_created", "quantile", "le",
        "__name__", "timer", "gauge", "2", ":", "é", "\n", "\"", "\\", "\0", "{", "}", "#", " ",
        "=", ",", "\u{2028}", "# EOF", "\r",
    ]);
    prop::collection::vec(parts, 1..4).prop_map(|parts| parts.concat())
}

fn hostile_point() -> impl Strategy<Value = Point> {
    let tags = prop::collection::btree_map(hostile_text(), hostile_text(), 0..4);
    let values = prop::collection::vec(-1e3..1e3_f64, 1..5);
    (0..5_u8, hostile_text(), tags, values).prop_map(|(kind, name, tags, values)| {
        let tags: Vec<(&str, &str)> =
            tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        match kind {
            0 => counter(&name, &tags, values[0]),
            1 => trace(&name, &tags, values[0].abs()),
            2 => gauge(&name, &tags, values[0]),
            3 => set(&name, &tags, &["a", "b"][..values.len().min(2)]),
            _ => timer(&name, &tags, &values),
        }
    })
}

/// A window without two points of one series.
fn hostile_window() -> impl Strategy<Value = Vec<Point>> {
    prop::collection::vec(hostile_point(), 0..30).prop_map(|points| {
        let mut seen = std::collections::HashSet::new();
        points.into_iter().filter(|point| seen.insert(point.series.to_string())).collect()
    })
}

proptest! {
    #[test]
    fn every_page_follows_the_rules_of_its_format(
        windows in prop::collection::vec(hostile_window(), 1..5),
        expire_s in 10..40_u64,
    ) {
        let expire_after = Duration::from_secs(expire_s);
        let mut bench = Bench::new(Limits { expire_after, ..LIMITS });
        let mut totals: BTreeMap<String, f64> = BTreeMap::new();
        for points in windows {
            let snapshot = snapshot_of(points);
            let applied = bench.state.apply(&snapshot);
            prop_assert_eq!(applied.shown, snapshot.points.len() as u64);
            let page = Page::of(&bench.state, &snapshot.percentiles, Vec::new());
            let text = text(&page);
            prop_assert!(text.len() as u64 <= bench.state.bytes());
            let parsed = parser::parse_text(&text);
            if !page.breaks_openmetrics() {
                let strict = parser::parse_openmetrics(&openmetrics(&page));
                prop_assert_eq!(&strict.samples, &parsed.samples);
            }
            for (sample, value) in parsed.samples {
                let (kind, help) = &parsed.family_of[&sample];
                let (name, labels) = sample.split_once('{').unwrap();
                let is_count = name.ends_with("_count") && !labels.contains("\"quantile\"");
                if kind == "counter" || (kind == "summary" && is_count) {
                    // Another metric may take a name that has become free.
                    let before = totals.insert(format!("{sample} {help}"), value).unwrap_or(0.0);
                    prop_assert!(value >= before, "{} fell from {} to {}", sample, before, value);
                }
            }
        }
    }
}
