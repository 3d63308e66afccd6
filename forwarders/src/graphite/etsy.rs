//! `naming: etsy`: the names of statsd's graphite backend, and statsd's arithmetic.
//!
//! Sums are added in statsd's order and without compensation, so that a timer's numbers equal
//! statsd's to the last bit. A test sends the same input to statsd and compares every line.

use model::{Snapshot, TimerValue, Value, Window, finite};

use super::config::{EtsyConfig, PercentThreshold};
use super::histogram::Histograms;
use super::runs::{RunSums, TimerRuns};
use super::timer_stats::TimerStats;

/// Namespaces and thresholds, prepared as bytes to copy.
#[derive(Debug)]
pub(super) struct Etsy {
    counter_rate: FieldPlace,
    counter_count: FieldPlace,
    timer: Vec<u8>,
    gauge: Vec<u8>,
    set: Vec<u8>,
    thresholds: Vec<Threshold>,
    /// The statistics to write, of those that do not depend on the thresholds.
    statistics: [Option<&'static str>; STATISTICS.len()],
    histograms: Histograms,
    runs: TimerRuns,
}

/// The fields that a timer has regardless of the thresholds, in statsd's order.
const STATISTICS: [&str; 9] =
    ["std", "upper", "lower", "count", "count_ps", "sum", "sum_squares", "mean", "median"];

/// The statistics of a timer without samples.
const OF_IDLE_TIMERS: [&str; 2] = ["count", "count_ps"];

/// The text before and after the name of a series.
#[derive(Debug)]
struct FieldPlace {
    namespace: Vec<u8>,
    field: &'static str,
}

/// A percentage and the names of its fields: count, mean, boundary, sum and sum of squares. A field
/// that is not written has no name.
#[derive(Debug)]
struct Threshold {
    percent: f64,
    fields: [Option<String>; 5],
}

impl Etsy {
    pub(super) fn new(config: &EtsyConfig) -> Self {
        let of = |prefix: &str| namespace(&[config.global_prefix.as_str(), prefix]);
        let place = |namespace, field| FieldPlace { namespace, field };
        let stats = TimerStats::new(&config.timer_stats);
        let threshold = |percent| Threshold::new(percent, &stats);
        let thresholds = config.percent_threshold.iter().map(threshold).collect();
        let statistics = STATISTICS.map(|name| Some(name).filter(|name| stats.has(name)));
        let listed: &[_] = if stats.has("histogram") { &config.histogram } else { &[] };
        let (histograms, runs) = (Histograms::new(listed), TimerRuns::default());
        if config.legacy_namespace {
            return Self {
                counter_rate: place(namespace(&["stats"]), ""),
                counter_count: place(namespace(&["stats_counts"]), ""),
                timer: namespace(&["stats.timers"]),
                gauge: namespace(&["stats.gauges"]),
                set: namespace(&["stats.sets"]),
                thresholds,
                statistics,
                histograms,
                runs,
            };
        }
        Self {
            counter_rate: place(of(config.prefix_counter.as_str()), "rate"),
            counter_count: place(of(config.prefix_counter.as_str()), "count"),
            timer: of(config.prefix_timer.as_str()),
            gauge: of(config.prefix_gauge.as_str()),
            set: of(config.prefix_set.as_str()),
            thresholds,
            statistics,
            histograms,
            runs,
        }
    }

    /// Calls `field` with namespace, name and number of each field. `path` is the path of the series
    /// without the namespace, and its tags. A trace is written as a counter.
    pub(super) fn for_each_field(
        &mut self,
        path: [&[u8]; 2],
        value: &Value,
        snapshot: &Snapshot,
        mut field: impl FnMut(&[u8], &str, f64),
    ) {
        let window = &snapshot.window;
        // Sums of squares, and means of two large values, can exceed the range of a double.
        let mut field = |namespace: &[u8], name: &str, number: f64| {
            field(namespace, name, finite(number));
        };
        match value {
            Value::Counter(_) | Value::Total(_) | Value::Trace(_) => {
                let Self { counter_rate: rate, counter_count: count, .. } = self;
                field(&rate.namespace, rate.field, window.rate(value.headline()));
                field(&count.namespace, count.field, value.headline());
            }
            Value::Gauge { value, .. } => field(&self.gauge, "", *value),
            Value::Set(set) => field(&self.set, "count", set.count),
            Value::Timer(timer) => {
                let Self { timer: namespace, thresholds, statistics, histograms, runs, .. } = self;
                let mut field = |name: &str, value| field(namespace, name, value);
                if timer.is_idle() {
                    let listed = statistics.iter().flatten();
                    let counts = listed.filter(|name| OF_IDLE_TIMERS.contains(name));
                    return counts.for_each(|name| field(name, 0.0));
                }
                runs.fill(timer);
                for threshold in thresholds {
                    threshold.for_each_field(runs, &mut field);
                }
                let numbers = numbers_of(timer, runs, window);
                for (name, number) in statistics.iter().zip(numbers) {
                    if let Some(name) = name {
                        field(name, number);
                    }
                }
                histograms.for_each_field(path, runs, &mut field);
            }
        }
    }
}

/// Joins the parts that are not empty, each followed by a dot.
fn namespace(parts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts.iter().filter(|part| !part.is_empty()) {
        bytes.extend_from_slice(part.as_bytes());
        bytes.push(b'.');
    }
    bytes
}

impl Threshold {
    fn new(threshold: &PercentThreshold, stats: &TimerStats) -> Self {
        let percent = threshold.percent();
        let label = percent.to_string().replacen('.', "_", 1).replacen('-', "top", 1);
        let boundary = if percent > 0.0 { "upper" } else { "lower" };
        let fields = ["count", "mean", boundary, "sum", "sum_squares"]
            .map(|field| Some(format!("{field}_{label}")).filter(|name| stats.has(name)));
        Self { percent, fields }
    }

    /// Writes the fields of the lowest values, or of the highest for a negative percentage. Writes
    /// nothing if the percentage rounds to no value at all.
    fn for_each_field(&self, runs: &TimerRuns, field: &mut impl FnMut(&str, f64)) {
        let all = runs.count();
        // statsd applies the percentage only to more than one value.
        let inside = if all > 1 { round(self.percent.abs() / 100.0 * all as f64) } else { 1.0 };
        let inside = (inside as u64).min(all);
        if inside == 0 {
            return;
        }
        let (boundary, within) = if self.percent > 0.0 {
            (runs.value(inside - 1), runs.lowest(inside))
        } else {
            // The highest as a difference, because `runs` has sums from the lowest value on.
            (runs.value(all - inside), runs.lowest(all).without(runs.lowest(all - inside)))
        };
        let mean = within.sum / inside as f64;
        let numbers = [inside as f64, mean, boundary, within.sum, within.squares];
        for (name, number) in self.fields.iter().zip(numbers) {
            if let Some(name) = name {
                field(name, number);
            }
        }
    }
}

/// Returns the numbers of the fields in [`STATISTICS`].
fn numbers_of(timer: &TimerValue, runs: &TimerRuns, window: &Window) -> [f64; STATISTICS.len()] {
    let summary = &timer.summary;
    let values = runs.count();
    let exact = timer.timer.is_exact();
    // The moments of a sketch are exact, but its buckets are not.
    let RunSums { sum, squares } = if exact {
        runs.lowest(values)
    } else {
        let squares =
            (summary.stddev * summary.stddev + summary.mean * summary.mean) * values as f64;
        RunSums { sum: summary.mean * values as f64, squares }
    };
    let mean = sum / values as f64;
    let std = if exact { runs.deviation(mean) } else { summary.stddev };
    let middle = values / 2;
    let median = if values % 2 == 1 {
        runs.value(middle)
    } else {
        (runs.value(middle - 1) + runs.value(middle)) / 2.0
    };
    let (count, per_second) = (summary.count, window.rate(summary.count));
    [std, summary.max, summary.min, count, per_second, sum, squares, mean, median]
}

/// Rounds to the nearest integer, halves up, like JavaScript's `Math.round`.
fn round(number: f64) -> f64 {
    // `f64::round` rounds halves away from zero.
    let floor = number.floor();
    if number - floor >= 0.5 { floor + 1.0 } else { floor }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use model::testing::snapshot_of;
    use model::{Sum, Timer};

    fn fields(config: &EtsyConfig, value: &Value) -> BTreeMap<String, f64> {
        let mut fields = BTreeMap::new();
        Etsy::new(config).for_each_field(
            [b"X", b""],
            value,
            &snapshot_of(vec![]),
            |namespace, field, number| {
                let namespace = std::str::from_utf8(namespace).unwrap();
                assert_eq!(fields.insert(format!("{namespace}X.{field}"), number), None);
            },
        );
        fields
    }

    fn thresholds(percents: &[&str]) -> EtsyConfig {
        let parse = |text: &&str| PercentThreshold::parse(text).unwrap();
        EtsyConfig { percent_threshold: percents.iter().map(parse).collect(), ..<_>::default() }
    }

    fn timer(samples: &[(f64, f64)], exact_max: usize) -> Value {
        let mut timer = Timer::default();
        for (value, weight) in samples {
            timer.record(*value, *weight, exact_max);
        }
        Value::timer(timer, &[])
    }

    fn timer_fields(percents: &[&str], values: &[f64]) -> BTreeMap<String, f64> {
        let samples: Vec<_> = values.iter().map(|value| (*value, 1.0)).collect();
        let with_namespace = fields(&thresholds(percents), &timer(&samples, 1000));
        let bare = |name: String| name.strip_prefix("stats.timers.X.").unwrap().to_owned();
        with_namespace.into_iter().map(|(name, value)| (bare(name), value)).collect()
    }

    /// The worked examples of statsd's documentation and tests.
    #[test]
    fn a_timer_has_the_fields_of_statsd() {
        let values = [450.0, 120.0, 553.0, 994.0, 334.0, 844.0, 675.0, 496.0];
        let expected = [
            ("count", 8.0),
            ("count_90", 7.0),
            ("count_ps", 0.8),
            ("lower", 120.0),
            ("mean", 558.25),
            ("mean_90", 496.0),
            ("median", 524.5),
            ("std", 260.560_333_704_115_46),
            ("sum", 4466.0),
            ("sum_90", 3472.0),
            ("sum_squares", 3_036_278.0),
            ("sum_squares_90", 2_048_242.0),
            ("upper", 994.0),
            ("upper_90", 844.0),
        ];
        let expected: BTreeMap<_, _> =
            expected.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        assert_eq!(timer_fields(&["90"], &values), expected);
    }

    #[test]
    fn thresholds_round_halves_up_and_may_be_of_the_top() {
        let one_to_ten: Vec<f64> = (1..=10).map(f64::from).collect();
        let fields = timer_fields(&["50", "75", "90", "95", "99.9"], &one_to_ten);
        let of = |name: &str| fields[name];
        assert_eq!([of("upper_50"), of("upper_75"), of("upper_90")], [5.0, 8.0, 9.0]);
        assert_eq!([of("upper_95"), of("upper_99_9")], [10.0, 10.0]);
        assert_eq!([of("mean_75"), of("mean_90")], [4.5, 5.0]);
        let five = [1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(timer_fields(&["90"], &five)["upper_90"], 5.0);
        assert_eq!(timer_fields(&["10"], &five)["upper_10"], 1.0);
        let four = [1.0, 2.0, 3.0, 4.0];
        assert!(!timer_fields(&["5"], &four).contains_key("count_5"), "5 % of 4 is none");
        let top = timer_fields(&["-50"], &four);
        assert_eq!([top["count_top50"], top["lower_top50"]], [2.0, 3.0]);
        assert_eq!(
            [top["mean_top50"], top["sum_top50"], top["sum_squares_top50"]],
            [3.5, 7.0, 25.0]
        );
        // statsd reads before the first value here and writes NaN.
        let top = timer_fields(&["-90"], &four);
        assert_eq!([top["count_top90"], top["lower_top90"], top["sum_top90"]], [4.0, 1.0, 10.0]);
        let one = timer_fields(&["-5"], &[100.0]);
        assert_eq!([one["count_top5"], one["lower_top5"], one["sum_top5"]], [1.0, 100.0, 100.0]);
    }

    #[test]
    fn a_sample_rate_scales_the_count_and_nothing_else() {
        let fields = fields(&EtsyConfig::default(), &timer(&[(100.0, 10.0)], 1000));
        let of = |name: &str| fields[&format!("stats.timers.X.{name}")];
        assert_eq!([of("count"), of("count_ps"), of("count_90")], [10.0, 1.0, 1.0]);
        assert_eq!([of("sum"), of("mean"), of("median")], [100.0; 3]);
    }

    #[test]
    fn values_near_the_end_of_the_range_make_no_infinite_number() {
        let config = thresholds(&["90", "-50"]);
        let timer = timer(&[(f64::MAX, 1.0); 4], 1_000);
        for value in [timer, Value::Counter(Sum::of(f64::MAX))] {
            let mut snapshot = snapshot_of(vec![]);
            snapshot.window.length = std::time::Duration::from_millis(100);
            Etsy::new(&config).for_each_field([b"X", b""], &value, &snapshot, |_, name, number| {
                assert!(number.is_finite(), "{name} {number}");
            });
        }
    }

    #[test]
    fn a_timer_without_samples_has_its_counts_if_they_are_selected() {
        let listed = |stats: &str| -> Vec<(String, f64)> {
            let config = format!(
                r#"{{"timer_stats": {stats}, "histogram": [{{"metric": "", "bins": ["1"]}}]}}"#
            );
            let config: EtsyConfig = serde_json::from_str(&config).unwrap();
            fields(&config, &timer(&[], 1000)).into_iter().collect()
        };
        let [count, count_ps] =
            ["count", "count_ps"].map(|name| (format!("stats.timers.X.{name}"), 0.0));
        assert_eq!(listed("[]"), [count.clone(), count_ps.clone()]);
        assert_eq!(listed(r#"["count", "upper", "histogram"]"#), [count]);
        assert_eq!(listed(r#"["count_ps", "mean_percent"]"#), [count_ps]);
        assert_eq!(listed(r#"["mean"]"#), []);
    }

    #[test]
    fn namespaces_are_those_of_the_configuration() {
        let counter = Value::Counter(Sum::of(5.0));
        let gauge = Value::Gauge { value: 1.0, arrival_ns: 0 };
        let names = |config: &EtsyConfig, value: &Value| -> Vec<String> {
            fields(config, value).into_keys().collect()
        };
        let default = EtsyConfig::default();
        assert_eq!(names(&default, &counter), ["stats.counters.X.count", "stats.counters.X.rate"]);
        assert_eq!(names(&default, &gauge), ["stats.gauges.X."]);
        let legacy = EtsyConfig { legacy_namespace: true, ..EtsyConfig::default() };
        assert_eq!(names(&legacy, &counter), ["stats.X.", "stats_counts.X."]);
        assert_eq!(fields(&legacy, &counter)["stats.X."], 0.5, "the rate");
        let none: EtsyConfig =
            serde_json::from_str(r#"{"global_prefix": "", "prefix_gauge": ""}"#).unwrap();
        assert_eq!(names(&none, &gauge), ["X."]);
    }

    proptest! {
        #[test]
        fn a_sketch_says_nearly_what_the_values_say(
            values in prop::collection::vec(1.0_f64..1e6, 20..200),
            percent in prop::sample::select(vec!["50", "90", "99.9", "-10", "-90"]),
            weight in prop::sample::select(vec![1.0, 10.0, 1.0 / 0.7, 1.0 / 0.3, 1.0 / 0.03]),
        ) {
            let samples: Vec<_> = values.iter().map(|value| (*value, weight)).collect();
            let config = thresholds(&[percent]);
            let exact = fields(&config, &timer(&samples, 1000));
            let sketched = fields(&config, &timer(&samples, 10));
            prop_assert_eq!(exact.len(), sketched.len());
            for ((name, exact), (_, sketched)) in exact.iter().zip(&sketched) {
                let field = name.rsplit('.').next().unwrap();
                let error = match field {
                    "count" | "count_ps" | "lower" | "upper" | "mean" | "sum" => 1e-9,
                    // Twice the error of a value.
                    _ if field.starts_with("sum_squares_") => 0.011,
                    _ => 0.0055,
                };
                prop_assert!(
                    (exact - sketched).abs() <= error * exact.abs().max(1.0),
                    "{name}: {sketched}, not {exact}"
                );
            }
        }
    }
}
