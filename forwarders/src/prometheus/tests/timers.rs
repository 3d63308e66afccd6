//! Timers as histograms: in text, in protobuf, and over a restart.

use prost::Message;

use super::*;
use crate::prometheus::messages::{Metric, MetricFamily, MetricType};
use crate::prometheus::native::NativeHistogram;
use crate::prometheus::native::tests::buckets;

const NATIVE: &str = r#"{"timers": "native"}"#;
const ALL: &str = r#"{"timers": ["native", "histogram", "summary"]}"#;
/// Start of the window of `snapshot_of`, in Unix seconds.
const START: i64 = 1_490_114_064;

fn families(page: &Page) -> Vec<MetricFamily> {
    let bytes = page.plain(PageFormat::Protobuf);
    let mut rest = &bytes[..];
    let mut families = Vec::new();
    while !rest.is_empty() {
        families.push(MetricFamily::decode_length_delimited(&mut rest).unwrap());
    }
    families
}

/// The only series of a page with one timer.
fn only(page: &Page) -> Metric {
    families(page).remove(0).metric.remove(0)
}

#[test]
fn a_classic_histogram_has_cumulative_buckets_and_a_name_next_to_the_summary() {
    let config = r#"{"timers": ["summary", "histogram"], "buckets": [0.5, 10, 1e6]}"#;
    let values = [0.5, 0.6, 10.0, 11.0, 2e6];
    let tags = [("le", "x"), ("stage", "login")];
    let page = Bench::showing(LIMITS, config).window(vec![timer("user.latency", &tags, &values)]);
    let text = text(&page);
    let histogram = text.split_once("# HELP user_latency_distribution").unwrap().1;
    let expected = r#" tallyd timer user.latency
# TYPE user_latency_distribution histogram
user_latency_distribution_bucket{stage="login",tag_le="x",le="0.5"} 1
user_latency_distribution_bucket{stage="login",tag_le="x",le="10.0"} 3
user_latency_distribution_bucket{stage="login",tag_le="x",le="1e+06"} 4
user_latency_distribution_bucket{stage="login",tag_le="x",le="+Inf"} 5
user_latency_distribution_sum{stage="login",tag_le="x"} 2000022.1
user_latency_distribution_count{stage="login",tag_le="x"} 5
"#;
    assert_eq!(histogram, expected);
    assert!(text.contains("# TYPE user_latency summary\nuser_latency{"), "{text}");
    assert_eq!(openmetrics(&page), format!("{text}# EOF\n"));
    assert!(!page.has_protobuf());
}

#[test]
fn a_native_histogram_is_one_bucket_in_text() {
    let page = Bench::showing(LIMITS, NATIVE).window(vec![timer("t", &[], &[1.0, 2.0])]);
    let expected = "# HELP t tallyd timer t\n# TYPE t histogram\n\
         t_bucket{le=\"+Inf\"} 2\nt_sum 3\nt_count 2\n";
    assert_eq!(text(&page), expected);
}

#[test]
fn a_series_in_protobuf_has_the_time_when_its_total_was_0() {
    let limits = Limits { expire_after: Duration::from_secs(10), ..LIMITS };
    let mut bench = Bench::showing(limits, NATIVE);
    let created =
        |page: &Page| only(page).histogram.unwrap().created_timestamp.map(|at| at.seconds);
    let mut window = |points: Vec<Point>, shift_s: u64| {
        let mut snapshot = snapshot_of(points);
        snapshot.window.end_ms += shift_s * 1_000;
        bench.state.apply(&snapshot);
        Page::of(&bench.state, &snapshot.percentiles, Vec::new())
    };
    let some = || vec![timer("t", &[], &[1.0])];
    assert_eq!(created(&window(some(), 0)), Some(START));
    assert_eq!(created(&window(some(), 10)), Some(START));
    assert_eq!(families(&window(vec![], 20)), []);
    // It continues from its total, and so from the same time.
    let page = window(some(), 30);
    assert_eq!(created(&page), Some(START));
    assert_eq!(only(&page).histogram.unwrap().sample_count, 3);
}

#[test]
fn a_total_that_its_source_keeps_has_no_known_time_of_creation() {
    let mut bench = Bench::showing(LIMITS, NATIVE);
    let page = bench.window(vec![kept("c", &[], 1.0, 500.0), counter("d", &[], 1.0)]);
    let created = |family: &MetricFamily| family.metric[0].counter.unwrap().created_timestamp;
    let [kept, counted] = &families(&page)[..] else { panic!("two families") };
    assert_eq!((kept.name.as_str(), created(kept)), ("c_total", None));
    assert_eq!(created(counted).unwrap().seconds, START);
}

#[test]
fn a_page_without_room_merges_buckets_instead_of_growing() {
    let wide: Vec<f64> = (0..600).map(|n| 1.01_f64.powi(n)).collect();
    let bytes_max = 3_000;
    let mut bench = Bench::showing(Limits { bytes_max, ..LIMITS }, NATIVE);
    let reduced = bench.state.reduced_histograms();
    for values in wide.chunks(100) {
        let page = bench.window(vec![timer("t", &[], values), timer("u", &[], values)]);
        let size = text(&page).len() + page.plain(PageFormat::Protobuf).len();
        assert!(size as u64 <= bench.state.bytes() && bench.state.bytes() <= bytes_max);
    }
    assert!(reduced.load(Ordering::Relaxed) > 2);
    let page = bench.window(vec![]);
    assert!(
        families(&page)
            .iter()
            .all(|family| { family.metric[0].histogram.as_ref().unwrap().sample_count == 600 })
    );
}

#[test]
fn the_bound_of_a_page_includes_a_long_label_in_each_form_of_a_timer() {
    let label = "x".repeat(3_000);
    for forms in [
        r#"["summary", "native"]"#,
        r#"["native", "histogram", "summary"]"#,
        r#"["histogram", "native"]"#,
        r#"["summary"]"#,
        r#"["native"]"#,
        r#"["histogram"]"#,
    ] {
        let config = format!(r#"{{"timers": {forms}}}"#);
        let mut bench = Bench::showing(LIMITS, &config);
        let tags = [("k", label.as_str())];
        let page = bench.window(vec![timer("t", &tags, &[1.0]), counter("c", &tags, 1.0)]);
        let protobuf =
            if forms.contains("native") { page.plain(PageFormat::Protobuf).len() } else { 0 };
        let size = (text(&page).len() + protobuf) as u64;
        assert!(size <= bench.state.bytes(), "{forms}: {size} > {}", bench.state.bytes());
    }
}

#[test]
fn a_histogram_above_its_limit_loses_resolution_and_no_count() {
    let wide: Vec<f64> = (0..600).map(|n| 1.01_f64.powi(n)).collect();
    let mut bench = Bench::showing(LIMITS, r#"{"timers": "native", "max_buckets": 50}"#);
    let page = bench.window(vec![timer("t", &[], &wide)]);
    let histogram = only(&page).histogram.unwrap();
    // 600 values at 1 % cover 8.6 octaves, so 35 buckets of schema 2.
    assert_eq!((histogram.schema, histogram.sample_count), (Some(2), 600));
    assert_eq!(bench.state.reduced_histograms().load(Ordering::Relaxed), 1);
}

#[test]
fn a_restart_continues_histograms_and_another_list_of_bounds_restarts_the_timer() {
    let window = || vec![timer("t", &[], &[1.0, -7.0, 0.0]), counter("c", &[], 1.0)];
    let mut before = Bench::showing(LIMITS, ALL);
    before.window(window());
    let page = before.window(window());
    let saved = before.state.save(|_| false, 1 << 20);
    let restored = |config: &str| {
        let mut after = Bench::showing(LIMITS, config);
        after.state.restore(&saved.bytes, Duration::from_secs(3)).unwrap();
        after
    };
    let mut after = restored(ALL);
    let restored_page = Page::of(&after.state, after.state.percentiles(), Vec::new());
    for format in [PageFormat::Text, PageFormat::Protobuf] {
        assert_eq!(restored_page.plain(format), page.plain(format), "{format:?}");
    }
    let (after, before) = (after.window(window()), before.window(window()));
    assert_eq!(after.plain(PageFormat::Protobuf), before.plain(PageFormat::Protobuf));

    let summary = text(&restored("{}").window(window()));
    assert!(summary.contains("t_count 9\n"), "its parts are known: {summary}");
    let other = r#"{"timers": "histogram", "buckets": [1]}"#;
    let other = text(&restored(other).window(window()));
    assert!(other.contains("t_bucket{le=\"1.0\"} 3\n") && other.contains("t_count 3\n"), "{other}");
    assert!(other.contains("c_total 3\n"), "{other}");
}

#[test]
fn remembered_histograms_count_by_their_memory() {
    let limits = Limits { expire_after: Duration::from_secs(10), expired_max: 60, ..LIMITS };
    let mut bench = Bench::showing(limits, NATIVE);
    let wide: Vec<f64> = (0..300).map(|n| 1.02_f64.powi(n)).collect();
    bench.window(vec![timer("a", &[], &wide)]);
    bench.window(vec![timer("b", &[], &wide)]);
    bench.window(vec![]);
    let page = bench.window(vec![timer("a", &[], &[1.0]), timer("b", &[], &[1.0])]);
    let text = text(&page);
    assert!(text.contains("a_count 1\n") && text.contains("b_count 301\n"), "{text}");
}

/// Windows of two timers, with weights.
fn windows() -> impl Strategy<Value = Vec<Vec<(f64, f64)>>> {
    let value = prop_oneof![-1e3..1e3_f64, Just(0.0), 0.1..10.0_f64];
    let sample = (value, prop_oneof![Just(1.0), Just(1.0 / 0.3)]);
    prop::collection::vec(prop::collection::vec(sample, 1..40), 1..6)
}

proptest! {
    #[test]
    fn the_native_histogram_of_the_page_is_that_of_all_samples(windows in windows()) {
        let mut bench = Bench::showing(LIMITS, NATIVE);
        let mut page = Page::default();
        for window in &windows {
            page = bench.window(vec![model::testing::timer("t", &[], window)]);
        }
        let mut pooled = NativeHistogram::default();
        pooled.add(&buckets(&windows.concat()));
        let mut expected = crate::prometheus::messages::Histogram::default();
        expected.set_native(&pooled);
        let shown = only(&page).histogram.unwrap();
        prop_assert_eq!(&shown.positive_span, &expected.positive_span);
        prop_assert_eq!(&shown.positive_delta, &expected.positive_delta);
        prop_assert_eq!(&shown.negative_span, &expected.negative_span);
        prop_assert_eq!(&shown.negative_delta, &expected.negative_delta);
        prop_assert_eq!((shown.schema, shown.zero_count), (Some(6), expected.zero_count));
        // Prometheus refuses a histogram whose count differs from its buckets.
        let counts = |deltas: &[i64]| -> i64 {
            deltas.iter().scan(0, |sum, delta| { *sum += delta; Some(*sum) }).sum()
        };
        let total = counts(&shown.positive_delta) + counts(&shown.negative_delta);
        prop_assert_eq!(shown.sample_count, total as u64 + shown.zero_count.unwrap());
    }

    #[test]
    fn a_page_in_protobuf_has_the_samples_of_the_text(
        all in prop::collection::vec(hostile_window(), 1..4),
        config in prop::sample::select(vec![
            NATIVE, ALL, r#"{"timers": ["summary", "native", "histogram"], "buckets": [-5, 0, 5]}"#,
        ]),
    ) {
        let mut bench = Bench::showing(LIMITS, config);
        for points in all {
            let page = bench.window(points);
            let text = text(&page);
            let size = text.len() + page.plain(PageFormat::Protobuf).len();
            prop_assert!(size as u64 <= bench.state.bytes());
            let parsed = parser::parse_text(&text);
            if !page.breaks_openmetrics() {
                parser::parse_openmetrics(&openmetrics(&page));
            }
            let mut samples = BTreeMap::new();
            families(&page).iter().for_each(|family| add_samples(&mut samples, family));
            prop_assert_eq!(samples, parsed.samples);
        }
    }
}

/// Adds the samples of a family, as the text format has them.
fn add_samples(samples: &mut BTreeMap<String, f64>, family: &MetricFamily) {
    let name = &family.name;
    for metric in &family.metric {
        let labels: BTreeMap<&str, &str> =
            metric.label.iter().map(|label| (label.name.as_str(), label.value.as_str())).collect();
        let mut add = |suffix: &str, other: Option<(&str, String)>, value: f64| {
            let mut labels = labels.clone();
            labels.extend(other.as_ref().map(|(label, text)| (*label, text.as_str())));
            assert!(samples.insert(format!("{name}{suffix}{labels:?}"), value).is_none());
        };
        match family.r#type() {
            MetricType::Counter => add("", None, metric.counter.unwrap().value),
            MetricType::Gauge => add("", None, metric.gauge.unwrap().value),
            MetricType::Summary => {
                let summary = metric.summary.as_ref().unwrap();
                for quantile in &summary.quantile {
                    let text = quantile.quantile.to_string();
                    add("", Some(("quantile", text)), quantile.value);
                }
                add("_sum", None, summary.sample_sum);
                add("_count", None, summary.sample_count as f64);
            }
            MetricType::Histogram => {
                let histogram = metric.histogram.as_ref().unwrap();
                for bucket in &histogram.bucket {
                    let le = crate::prometheus::names::le(bucket.upper_bound);
                    add("_bucket", Some(("le", le)), bucket.cumulative_count as f64);
                }
                let count = histogram.sample_count as f64;
                add("_bucket", Some(("le", "+Inf".to_owned())), count);
                add("_sum", None, histogram.sample_sum);
                add("_count", None, count);
            }
        }
    }
}
