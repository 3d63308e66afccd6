//! The meaning of a series' values, by its name.

/// How statsd's legacy names of counts begin, and of rates.
const LEGACY_COUNTS: &str = "stats_counts.";
const LEGACY_RATES: &str = "stats.";

/// How the values of windows that end at different times relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueKind {
    /// The sum over all windows is the same.
    Sum,
    /// The same, of values that are divided by the length of the window.
    Rate,
    /// The last value is the same.
    Level,
    /// A statistic of the values of a window: nothing but its bounds is the same.
    Statistic,
    /// The name does not show it.
    Unknown,
}

impl ValueKind {
    /// The kind of a series, such as `stats.timers.a.mean_90` or `a{k=v} p95`.
    pub(super) fn of(series: &str) -> Self {
        if let Some((_, field)) = series.rsplit_once(' ') {
            return Self::of_field(field);
        }
        if series.starts_with(LEGACY_COUNTS) {
            return Self::Sum;
        }
        let path = series.split(';').next().unwrap_or_default();
        let parts: Vec<&str> = path.split('.').collect();
        // The first of these words is statsd's, any further one may be of the name.
        let kinds = ["counters", "timers", "gauges", "sets"];
        match parts.iter().find(|part| kinds.contains(part)) {
            Some(&"gauges") => return Self::Level,
            Some(&"sets") => return Self::Statistic,
            _ => {}
        }
        // A bin counts samples.
        if in_histogram(path) {
            return Self::Sum;
        }
        Self::of_field(parts.last().copied().unwrap_or_default())
    }

    fn of_field(field: &str) -> Self {
        match field {
            "count" | "sum" | "sum_squares" => Self::Sum,
            "rate" | "count_ps" => Self::Rate,
            _ if is_statistic(field) => Self::Statistic,
            _ => Self::Unknown,
        }
    }
}

/// Whether a field of a timer depends on the order or the extremes of the values.
fn is_statistic(field: &str) -> bool {
    let word = field.split_once('_').map_or(field, |(word, _)| word);
    let is_percentile = field.strip_prefix('p').is_some_and(|n| n.parse::<f64>().is_ok());
    let words = ["mean", "median", "upper", "lower", "std", "stddev", "min", "max", "count", "sum"];
    is_percentile || words.contains(&word)
}

/// Whether a path is that of a bin of a timer's histogram, such as `stats.timers.a.histogram.bin_10`.
fn in_histogram(path: &str) -> bool {
    path.rsplit_once('.')
        .is_some_and(|(above, field)| field.starts_with("bin_") && above.ends_with(".histogram"))
}

/// The name of another field of the same timer: that of `stats.timers.a.mean` for `count` is
/// `stats.timers.a.count`.
pub(super) fn sibling(series: &str, field: &str) -> String {
    if let Some((labelled, _)) = series.rsplit_once(' ') {
        return format!("{labelled} {field}");
    }
    let (path, tags) = series.split_once(';').map_or((series, None), |(p, t)| (p, Some(t)));
    let above = path.rsplit_once('.').map_or("", |(above, _)| above);
    let timer = if in_histogram(path) { above.strip_suffix(".histogram") } else { None };
    let above = timer.unwrap_or(above);
    match tags {
        Some(tags) => format!("{above}.{field};{tags}"),
        None => format!("{above}.{field}"),
    }
}

/// The name of the counts if a series is the rate of a counter with statsd's legacy names, which the
/// name does not show: `stats_counts.a` for `stats.a`.
pub(super) fn legacy_count(series: &str) -> Option<String> {
    series.strip_prefix(LEGACY_RATES).map(|name| format!("{LEGACY_COUNTS}{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_from_the_names_of_graphite_and_of_records() {
        for (series, kind) in [
            ("stats.counters.a.count", ValueKind::Sum),
            ("stats.counters.a.rate;k=v", ValueKind::Rate),
            ("stats.gauges.a.count", ValueKind::Level),
            ("stats.sets.a.count", ValueKind::Statistic),
            ("stats.counters.gauges.count", ValueKind::Sum),
            ("stats.timers.a.mean_90", ValueKind::Statistic),
            ("stats.timers.a.count_90", ValueKind::Statistic),
            ("stats.timers.a.sum_squares", ValueKind::Sum),
            ("stats.timers.a.histogram.bin_10;k=v", ValueKind::Sum),
            ("stats.gauges.a.histogram.bin_10", ValueKind::Level),
            ("stats_counts.a.mean", ValueKind::Sum),
            ("stats.a", ValueKind::Unknown),
            ("a{k=v w} p99.9", ValueKind::Statistic),
            ("a value", ValueKind::Unknown),
        ] {
            assert_eq!(ValueKind::of(series), kind, "{series}");
        }
    }

    #[test]
    fn a_sibling_is_another_field_of_the_same_timer() {
        assert_eq!(sibling("stats.timers.a.mean;k=v", "count"), "stats.timers.a.count;k=v");
        assert_eq!(sibling("stats.timers.a.histogram.bin_5", "count"), "stats.timers.a.count");
        assert_eq!(sibling("a{k=v} mean", "count"), "a{k=v} count");
    }
}
