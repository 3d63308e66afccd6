//! Protobuf messages of remote write 1.0 and of Prometheus' protobuf page (`io.prometheus.client`),
//! with the fields that tallyd writes.

use prost::{Enumeration, Message};

use super::native::NativeHistogram;

/// A label of a series.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Label {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// Replaces `labels` with `wanted`, sorted by name. Reuses the strings, because allocating two per
/// label would double the time to encode a window.
pub(super) fn set_labels<'a>(
    labels: &mut Vec<Label>,
    wanted: impl Iterator<Item = (&'a str, &'a str)>,
) {
    let mut count = 0;
    for (name, value) in wanted {
        if count == labels.len() {
            labels.push(Label::default());
        }
        let label = &mut labels[count];
        name.clone_into(&mut label.name);
        value.clone_into(&mut label.value);
        count += 1;
    }
    labels.truncate(count);
    labels.sort_unstable_by(|a, b| a.name.cmp(&b.name));
}

/// A run of buckets with successive indexes, in both protocols.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct BucketSpan {
    /// Index of the first bucket. From the second span on, the number of empty buckets since the
    /// end of the previous span.
    #[prost(sint32, tag = "1")]
    pub(super) offset: i32,
    /// Number of buckets.
    #[prost(uint32, tag = "2")]
    pub(super) length: u32,
}

/// Longest run of empty buckets that is written as zeros. For a longer one, another span takes less
/// space.
const GAP_MAX: i32 = 2;

/// Replaces `spans` and `deltas` with `buckets`, which are sorted by index: each delta is the
/// difference between a bucket's count and the count of the previous bucket.
pub(super) fn set_buckets(
    spans: &mut Vec<BucketSpan>,
    deltas: &mut Vec<i64>,
    buckets: impl Iterator<Item = (i32, u64)>,
) {
    spans.clear();
    deltas.clear();
    let (mut next, mut before) = (0, 0_i64);
    for (index, count) in buckets {
        let gap = index - next;
        match spans.last_mut() {
            Some(span) if gap <= GAP_MAX => {
                for _ in 0..gap {
                    deltas.push(-before);
                    before = 0;
                }
                span.length += gap as u32 + 1;
            }
            _ => spans.push(BucketSpan { offset: gap, length: 1 }),
        }
        deltas.push(count as i64 - before);
        (next, before) = (index + 1, count as i64);
    }
}

/// All series of one metric.
#[derive(Clone, PartialEq, Message)]
pub(super) struct MetricFamily {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) help: String,
    #[prost(enumeration = "MetricType", tag = "3")]
    pub(super) r#type: i32,
    #[prost(message, repeated, tag = "4")]
    pub(super) metric: Vec<Metric>,
}

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(super) enum MetricType {
    Counter = 0,
    Gauge = 1,
    Summary = 2,
    Histogram = 4,
}

/// A series of a family. One of `gauge`, `counter`, `summary` and `histogram` is set.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    /// Sorted by name.
    #[prost(message, repeated, tag = "1")]
    pub(super) label: Vec<Label>,
    #[prost(message, optional, tag = "2")]
    pub(super) gauge: Option<Gauge>,
    #[prost(message, optional, tag = "3")]
    pub(super) counter: Option<Counter>,
    #[prost(message, optional, tag = "4")]
    pub(super) summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    pub(super) histogram: Option<Histogram>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Gauge {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Counter {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    #[prost(message, optional, tag = "3")]
    pub(super) created_timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Summary {
    #[prost(uint64, tag = "1")]
    pub(super) sample_count: u64,
    #[prost(double, tag = "2")]
    pub(super) sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    pub(super) quantile: Vec<Quantile>,
    #[prost(message, optional, tag = "4")]
    pub(super) created_timestamp: Option<Timestamp>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Quantile {
    #[prost(double, tag = "1")]
    pub(super) quantile: f64,
    #[prost(double, tag = "2")]
    pub(super) value: f64,
}

/// A histogram with classic buckets, native ones, or both.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(uint64, tag = "1")]
    pub(super) sample_count: u64,
    #[prost(double, tag = "2")]
    pub(super) sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    pub(super) bucket: Vec<ClassicBucket>,
    #[prost(sint32, optional, tag = "5")]
    pub(super) schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    pub(super) zero_threshold: Option<f64>,
    #[prost(uint64, optional, tag = "7")]
    pub(super) zero_count: Option<u64>,
    #[prost(message, repeated, tag = "9")]
    pub(super) negative_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "10")]
    pub(super) negative_delta: Vec<i64>,
    #[prost(message, repeated, tag = "12")]
    pub(super) positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "13")]
    pub(super) positive_delta: Vec<i64>,
    #[prost(message, optional, tag = "15")]
    pub(super) created_timestamp: Option<Timestamp>,
}

impl Histogram {
    /// Replaces the native buckets.
    pub(super) fn set_native(&mut self, native: &NativeHistogram) {
        self.schema = Some(native.schema());
        // The bucket of zeros contains only the value 0 and no values close to it.
        self.zero_threshold = Some(0.0);
        self.zero_count = Some(native.zero_count());
        set_buckets(&mut self.positive_span, &mut self.positive_delta, native.positive());
        set_buckets(&mut self.negative_span, &mut self.negative_delta, native.negative());
    }
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct ClassicBucket {
    #[prost(uint64, tag = "1")]
    pub(super) cumulative_count: u64,
    #[prost(double, tag = "2")]
    pub(super) upper_bound: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

impl Timestamp {
    /// Converts a time in Unix milliseconds; `None` for 0, which stands for an unknown time.
    pub(super) fn of(ms: u64) -> Option<Self> {
        let nanos = (ms % 1_000) as i32 * 1_000_000;
        (ms > 0).then_some(Self { seconds: (ms / 1_000) as i64, nanos })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes spans and deltas by their definition.
    fn buckets(spans: &[BucketSpan], deltas: &[i64]) -> Vec<(i32, u64)> {
        let (mut index, mut count, mut deltas) = (0, 0, deltas.iter());
        let mut buckets = Vec::new();
        for span in spans {
            index += span.offset;
            for _ in 0..span.length {
                count += deltas.next().unwrap();
                buckets.push((index, count as u64));
                index += 1;
            }
        }
        assert!(deltas.next().is_none());
        buckets
    }

    proptest! {
        #[test]
        fn buckets_decode_to_the_same_counts(
            counts in prop::collection::btree_map(-300..300_i32, 1..1_u64 << 54, 0..60),
        ) {
            let wanted: Vec<(i32, u64)> = counts.into_iter().collect();
            let (mut spans, mut deltas) = (Vec::new(), Vec::new());
            set_buckets(&mut spans, &mut deltas, wanted.iter().copied());
            let mut decoded = buckets(&spans, &deltas);
            decoded.retain(|(_, count)| *count > 0);
            prop_assert_eq!(decoded, wanted.clone());
            prop_assert!(spans.iter().skip(1).all(|span| span.offset > GAP_MAX));
            let histogram =
                Histogram { positive_span: spans, positive_delta: deltas, ..Histogram::default() };
            let size = histogram.encoded_len() as u64;
            prop_assert!(size <= super::super::native::bytes_at_most(wanted.len()) + 10, "{}", size);
        }
    }

    #[test]
    fn short_gaps_are_filled_with_zeros() {
        let (mut spans, mut deltas) = (Vec::new(), Vec::new());
        set_buckets(&mut spans, &mut deltas, [(-2, 5), (1, 7), (2, 7), (6, 1)].into_iter());
        let span = |offset, length| BucketSpan { offset, length };
        assert_eq!(spans, [span(-2, 5), span(3, 1)]);
        assert_eq!(deltas, [5, -5, 0, 7, 0, -6]);
    }
}
