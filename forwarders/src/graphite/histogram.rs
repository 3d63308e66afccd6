//! `etsy.histogram`: the numbers of a timer's values in bins, as statsd counts them.

use basics::text::TextVisitor;
use memchr::memmem::Finder;
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::runs::TimerRuns;

/// The range in which JavaScript writes a number without an exponent.
const MAGNITUDES: std::ops::Range<f64> = 1e-6..1e21;

/// The bins of some timers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistogramConfig {
    /// Text that the name of the timer contains; the empty text is in every name. The first entry with
    /// such a text decides. Required.
    pub metric: String,
    /// Upper bounds of the bins in ascending order, `inf` for the last one. A value equal to a bound
    /// belongs to the next bin; without `inf`, values from the last bound up are not counted. An empty
    /// list stands for no histogram. Required.
    pub bins: Bins,
}

/// Upper bounds in ascending order.
#[derive(Clone, Debug, PartialEq)]
pub struct Bins(Vec<Bin>);

/// The upper bound of a bin.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bin(f64);

impl Bin {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "inf" {
            return Ok(Self(f64::INFINITY));
        }
        // `f64` would also parse `nan` and `1e2`.
        let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit() || b"-.".contains(&byte));
        let in_range = |bound: f64| bound == 0.0 || MAGNITUDES.contains(&bound.abs());
        match text.parse::<f64>() {
            // statsd writes a negative zero without its sign.
            Ok(bound) if is_decimal && in_range(bound) => Ok(Self(bound + 0.0)),
            _ => Err(format!(
                "a bin is `inf`, 0, or a decimal number from 0.000001 to 10^21 or its negative, such as 50 \
                 or -0.5, without an exponent, not `{text}`"
            )),
        }
    }

    /// Returns the name of the field: only the first dot is replaced, as in statsd.
    fn field(self) -> String {
        format!("histogram.bin_{}", self.0.to_string().replacen('.', "_", 1))
    }
}

impl Bins {
    fn new(bins: Vec<Bin>) -> Result<Self, String> {
        match bins.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            None => Ok(Self(bins)),
            Some(pair) => Err(format!(
                "bins are in ascending order, but {} is not above {}",
                pair[1].0, pair[0].0
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Bin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor::new("the upper bound of a bin", Self::parse))
    }
}

impl<'de> Deserialize<'de> for Bins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// All histograms, in the order in which their texts are searched.
#[derive(Debug)]
pub(super) struct Histograms {
    list: Vec<Histogram>,
    /// The name that is searched, with tags; its memory is reused.
    key: Vec<u8>,
}

#[derive(Debug)]
struct Histogram {
    metric: Finder<'static>,
    /// Upper bounds and names of fields.
    bins: Vec<(f64, String)>,
}

impl Histograms {
    pub(super) fn new(listed: &[HistogramConfig]) -> Self {
        let list = listed.iter().map(Histogram::new).collect();
        Self { list, key: Vec::new() }
    }

    /// Writes the number of values in each bin of the first histogram whose text occurs in the path.
    pub(super) fn for_each_field(
        &mut self,
        path: [&[u8]; 2],
        runs: &TimerRuns,
        mut field: impl FnMut(&str, f64),
    ) {
        if self.list.is_empty() {
            return;
        }
        self.key.clear();
        path.iter().for_each(|part| self.key.extend_from_slice(part));
        let of_path = |histogram: &&Histogram| histogram.metric.find(&self.key).is_some();
        let Some(histogram) = self.list.iter().find(of_path) else { return };
        let mut before = 0.0;
        for (bound, name) in &histogram.bins {
            let below = runs.count_below(*bound);
            field(name, below - before);
            before = below;
        }
    }
}

impl Histogram {
    fn new(config: &HistogramConfig) -> Self {
        let metric = Finder::new(&config.metric).into_owned();
        let bins = config.bins.0.iter().map(|bin| (bin.0, bin.field())).collect();
        Self { metric, bins }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use model::{Timer, Value};

    fn histogram(metric: &str, bins: &[&str]) -> HistogramConfig {
        let bins = bins.iter().map(|bin| Bin::parse(bin).unwrap()).collect();
        HistogramConfig { metric: metric.to_owned(), bins: Bins::new(bins).unwrap() }
    }

    fn fields(
        listed: &[HistogramConfig],
        path: [&str; 2],
        samples: &[(f64, f64)],
        exact_max: usize,
    ) -> Vec<(String, f64)> {
        let mut timer = Timer::default();
        for (value, weight) in samples {
            timer.record(*value, *weight, exact_max);
        }
        let Value::Timer(timer) = Value::timer(timer, &[]) else { panic!("a timer") };
        let mut runs = TimerRuns::default();
        runs.fill(&timer);
        let mut fields = Vec::new();
        let path = path.map(str::as_bytes);
        Histograms::new(listed)
            .for_each_field(path, &runs, |name, number| fields.push((name.to_owned(), number)));
        fields
    }

    fn counts(bins: &[&str], values: &[f64]) -> Vec<(String, f64)> {
        let samples: Vec<_> = values.iter().map(|value| (*value, 1.0)).collect();
        let fields = fields(&[histogram("", bins)], ["x", ""], &samples, 1_000);
        let name = |name: String| name.strip_prefix("histogram.").unwrap().to_owned();
        fields.into_iter().map(|(field, number)| (name(field), number)).collect()
    }

    fn named(fields: &[(&str, f64)]) -> Vec<(String, f64)> {
        fields.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
    }

    /// The worked example of statsd's documentation.
    #[test]
    fn a_value_on_a_bound_belongs_to_the_next_bin() {
        let expected = [("bin_0_01", 1.0), ("bin_1", 1.0), ("bin_10", 2.0), ("bin_inf", 1.0)];
        let counted = counts(&["0.01", "1", "10", "inf"], &[0.005, 0.5, 1.0, 1.5, 10.0]);
        assert_eq!(counted, named(&expected));
    }

    #[test]
    fn values_above_the_last_bound_are_in_no_bin() {
        let expected = named(&[("bin_-2_5", 1.0), ("bin_0", 1.0), ("bin_5", 2.0)]);
        assert_eq!(counts(&["-2.50", "-0", "5.0"], &[-3.0, -2.5, 0.0, 4.0, 5.0, 9.0]), expected);
    }

    #[test]
    fn a_value_counts_once_regardless_of_its_sample_rate() {
        let fields =
            fields(&[histogram("", &["5", "inf"])], ["x", ""], &[(1.0, 10.0), (9.0, 1.0)], 9);
        let expected = [("histogram.bin_5", 1.0), ("histogram.bin_inf", 1.0)];
        assert_eq!(fields, named(&expected));
    }

    #[test]
    fn the_first_entry_whose_text_is_in_the_name_or_in_its_tags_decides() {
        let listed = [
            histogram("foo", &[]),
            histogram("r;env=p", &["1"]),
            histogram("bar", &["2"]),
            histogram("", &["3"]),
        ];
        for (path, bound) in [
            (["a.foo.bar", ""], None),
            (["bar", ";env=prod"], Some("1")),
            (["bar", ";env=stage"], Some("2")),
            (["x", ";is=bar"], Some("2")),
            (["x", ";env=prod"], Some("3")),
        ] {
            let expected: Vec<_> =
                bound.map(|bound| (format!("histogram.bin_{bound}"), 1.0)).into_iter().collect();
            assert_eq!(fields(&listed, path, &[(0.5, 1.0)], 9), expected, "{path:?}");
        }
        assert!(fields(&listed[..3], ["x", ""], &[(0.5, 1.0)], 9).is_empty());
    }

    #[test]
    fn bins_are_decimal_numbers_in_ascending_order() {
        let read = |json: &str| serde_json::from_str::<HistogramConfig>(json);
        let whole = |bins: &str| read(&format!(r#"{{"metric": "", "bins": {bins}}}"#));
        let names = |bins: &str| -> Vec<String> {
            whole(bins).unwrap().bins.0.iter().map(|bin| bin.field()).collect()
        };
        let fields = ["histogram.bin_0_000001", "histogram.bin_100000000000000000000"];
        assert_eq!(names(r#"["0.000001", "100000000000000000000"]"#), fields);
        assert!(whole("[]").is_ok());
        for wrong in [
            r#"["1", "1"]"#,
            r#"["2", "1"]"#,
            r#"["inf", "1"]"#,
            r#"["1e3"]"#,
            r#"["nan"]"#,
            r#"["-inf"]"#,
            r#"[".inf"]"#,
            r#"["0.0000001"]"#,
            r#"["1000000000000000000000"]"#,
            r#"[""]"#,
            r#"["-"]"#,
        ] {
            assert!(whole(wrong).is_err(), "{wrong}");
        }
        assert!(read(r#"{"bins": []}"#).is_err(), "without a text");
        let error = whole(r#"["2", "1"]"#).unwrap_err().to_string();
        assert!(error.contains("1 is not above 2"), "{error}");
    }

    proptest! {
        #[test]
        fn every_value_of_a_sketch_is_in_a_bin_next_to_it(
            values in prop::collection::vec(1.0_f64..1e3, 20..200),
            weight in prop::sample::select(vec![1.0, 10.0, 3.3]),
        ) {
            let samples: Vec<_> = values.iter().map(|value| (*value, weight)).collect();
            let listed = [histogram("", &["2", "50", "400", "inf"])];
            let counted = fields(&listed, ["x", ""], &samples, 10);
            let total: f64 = counted.iter().map(|(_, number)| number).sum();
            prop_assert_eq!(total, values.len() as f64);
            // Within the error of a sketch, a value may be on the other side of a bound.
            let near = |bound: f64| {
                values.iter().filter(|value| (*value / bound - 1.0).abs() < 0.012).count() as f64
            };
            let mut below = 0.0;
            for ((_, number), bound) in counted.iter().zip([2.0, 50.0, 400.0]) {
                below += number;
                let exact = values.iter().filter(|value| **value < bound).count() as f64;
                prop_assert!((below - exact).abs() <= near(bound) + 1.0, "{below}, not {exact}");
            }
        }
    }
}
