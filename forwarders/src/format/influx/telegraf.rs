//! `naming: telegraf`: the measurements, fields and types of Telegraf's statsd input.
//!
//! A dot of a name becomes the separator. The tag `metric_type` has the type, so that a counter and a
//! timer of one name are two series. Counts are integers unless the configuration makes them floats:
//! InfluxDB refuses a field that changes its type. Percentiles and the median follow Telegraf's rules
//! for positions in the sorted samples, each of which occurs as often as its weight says.

use model::{MetricKind, Series, Snapshot, TimerType, TimerValue, Value};

use super::naming::TelegrafConfig;
use crate::format::number;

/// The tag for the type.
pub(super) const METRIC_TYPE: &str = "metric_type";

/// The type of a series, as Telegraf names it. Telegraf has no traces, and a series for each type of
/// timers.
pub(super) fn metric_type(series: &Series) -> &'static str {
    match series.kind() {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Timer => match series.timer_type() {
            TimerType::Timing => "timing",
            TimerType::Histogram => "histogram",
            TimerType::Distribution => "distribution",
        },
        MetricKind::Set => "set",
        MetricKind::Trace => "trace",
    }
}

/// The measurement of a name.
pub(super) fn measurement(name: &str, config: &TelegrafConfig) -> String {
    name.replace('.', config.metric_separator.as_str())
}

/// Whether two series of a window may be written alike although they need only escapes.
pub(super) fn may_merge(snapshot: &Snapshot, config: &TelegrafConfig) -> bool {
    let separator = config.metric_separator.as_str();
    // Names that become equal differ first where one has a dot and another one the first character of
    // the separator.
    let first = separator.as_bytes().first().copied().unwrap_or_default();
    let (mut has_dot, mut has_separator) = (false, false);
    for point in &snapshot.points {
        let name = point.series.name().as_bytes();
        has_dot |= name.contains(&b'.');
        has_separator |= name.contains(&first);
        // A client's own tag of this key gets another key, which may be taken.
        if (has_dot && has_separator && separator != ".") || point.series.tag(METRIC_TYPE).is_some()
        {
            return true;
        }
    }
    false
}

/// Appends measurement and tags of a series that needs no escapes and has no tag `metric_type`.
pub(super) fn write_plain_key(out: &mut Vec<u8>, series: &Series, config: &TelegrafConfig) {
    let mut parts = series.name().as_bytes().split(|byte| *byte == b'.');
    out.extend_from_slice(parts.next().unwrap_or_default());
    for part in parts {
        out.extend_from_slice(config.metric_separator.as_str().as_bytes());
        out.extend_from_slice(part);
    }
    let mut push = |key: &str, value: &str| {
        out.push(b',');
        out.extend_from_slice(key.as_bytes());
        out.push(b'=');
        out.extend_from_slice(value.as_bytes());
    };
    let mut needs_type = true;
    for (key, value) in series.tags() {
        if needs_type && METRIC_TYPE < key {
            push(METRIC_TYPE, metric_type(series));
            needs_type = false;
        }
        push(key, value);
    }
    if needs_type {
        push(METRIC_TYPE, metric_type(series));
    }
}

/// Appends the fields of a value, separated by commas.
pub(super) fn write_fields(
    out: &mut Vec<u8>,
    snapshot: &Snapshot,
    value: &Value,
    config: &TelegrafConfig,
) {
    match value {
        Value::Counter(_) | Value::Total(_) | Value::Trace(_) => {
            write_count(out, "value=", value.headline(), config.float_counters);
        }
        Value::Gauge { value, .. } => write_float(out, "value=", *value),
        Value::Set(set) => write_count(out, "value=", set.count, config.float_sets),
        Value::Timer(timer) => write_timer(out, snapshot, timer, config),
    }
}

/// A timer without samples has no statistic but its count.
fn write_timer(
    out: &mut Vec<u8>,
    snapshot: &Snapshot,
    timer: &TimerValue,
    config: &TelegrafConfig,
) {
    let summary = &timer.summary;
    write_count(out, "count=", summary.count, config.float_timings);
    if timer.is_idle() {
        return;
    }
    write_float(out, ",lower=", summary.min);
    write_float(out, ",mean=", summary.mean);
    let positions = Positions::new(timer);
    write_float(out, ",median=", positions.median());
    write_float(out, ",stddev=", summary.stddev);
    write_float(out, ",sum=", summary.sum);
    write_float(out, ",upper=", summary.max);
    for percentile in snapshot.percentiles.iter() {
        out.push(b',');
        number::write(out, percentile.rank());
        write_float(out, "_percentile=", positions.percentile(percentile.rank()));
    }
}

fn write_float(out: &mut Vec<u8>, field: &str, value: f64) {
    out.extend_from_slice(field.as_bytes());
    number::write(out, value);
}

/// Appends a count: the nearest integer, or the number itself as a float.
fn write_count(out: &mut Vec<u8>, field: &str, count: f64, is_float: bool) {
    if is_float {
        return write_float(out, field, count);
    }
    out.extend_from_slice(field.as_bytes());
    // The conversion saturates, like the range of the type in InfluxDB.
    out.extend_from_slice(itoa::Buffer::new().format(count.round() as i64).as_bytes());
    out.push(b'i');
}

/// The sorted samples of a timer by position, counted from 0. A sample occupies as many positions as
/// its weight says.
struct Positions {
    /// Each value with the position after its last one.
    ends: Vec<(f64, f64)>,
    /// The number of positions, at least 1.
    count: f64,
}

impl Positions {
    fn new(timer: &TimerValue) -> Self {
        let mut ends = Vec::new();
        let mut end = 0.0;
        timer.timer.for_each_sample(|value, weight| {
            end += weight;
            ends.push((value, end));
        });
        Self { ends, count: timer.summary.count.round().max(1.0) }
    }

    fn value_at(&self, position: f64) -> f64 {
        let at = self.ends.partition_point(|(_, end)| *end <= position);
        self.ends.get(at).or(self.ends.last()).map_or(0.0, |(value, _)| *value)
    }

    /// The value at the share of the positions that `rank` percent are, rounded down: of the values 1 to
    /// 10, the 90th percentile is 10.
    fn percentile(&self, rank: f64) -> f64 {
        let position = (self.count * rank / 100.0).floor();
        self.value_at(position.min(self.count - 1.0))
    }

    /// The middle value, or the mean of the two in the middle.
    fn median(&self) -> f64 {
        let middle = (self.count / 2.0).floor();
        if middle * 2.0 < self.count {
            return self.value_at(middle);
        }
        f64::midpoint(self.value_at(middle - 1.0), self.value_at(middle))
    }
}
