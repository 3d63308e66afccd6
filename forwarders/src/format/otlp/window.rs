//! The payloads of a window, those of a metric next to each other.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::form::MetricForm;
use super::request::write_metric;
use super::wire::{write_histogram, write_number};
use super::{HistogramPoint, PointTimes, WholeCounts};
use crate::delivery::payload::Batch;
use model::{Point, Series, Snapshot, Value};

/// Encodes windows as payloads.
#[derive(Debug)]
pub(crate) struct WindowEncoder {
    /// Maximum number of buckets of a timer for each sign.
    pub(crate) buckets_max: usize,
}

impl WindowEncoder {
    /// An encoder of timers with at most `buckets_max` buckets for each sign, at least 3.
    pub(crate) fn new(buckets_max: usize) -> Self {
        Self { buckets_max }
    }

    /// Adds each point of a window as a payload: the increment of the window.
    pub(crate) fn encode(&self, snapshot: &Snapshot, batch: &mut Batch) {
        let times = PointTimes::of(snapshot);
        let order = by_metric(snapshot.points.iter().map(|point| &*point.series));
        for place in &order {
            let point = &snapshot.points[*place];
            batch.push(1, |_| (), |out| self.write(out, point, times));
        }
        batch.set_places(order.into_iter());
    }

    /// Appends the payload of a point: the increment of its window.
    pub(crate) fn write(&self, out: &mut Vec<u8>, point: &Point, times: PointTimes) {
        write_metric(out, MetricForm::of_window(&point.value), point.series.name());
        match &point.value {
            Value::Timer(timer) => {
                let (buckets, counts) = (timer.timer.buckets(), WholeCounts::nearest());
                let (values, max) = ((&timer.summary).into(), self.buckets_max);
                let histogram = HistogramPoint::new(&buckets, values, counts, max);
                write_histogram(out, &point.series, times, &histogram);
            }
            value => write_number(out, &point.series, times, value.headline()),
        }
    }
}

/// The indexes of series so that those of a metric are next to each other. Metrics are in the order
/// of their first series, as are the series of each.
pub(crate) fn by_metric<'a>(series: impl Iterator<Item = &'a Series>) -> Vec<usize> {
    let mut metrics: HashMap<(u8, &str), usize, RandomState> = HashMap::default();
    let mut counts: Vec<usize> = Vec::new();
    let mut metric_of = Vec::with_capacity(series.size_hint().0);
    for series in series {
        let metric = *metrics.entry((series.kind() as u8, series.name())).or_insert_with(|| {
            counts.push(0);
            counts.len() - 1
        });
        counts[metric] += 1;
        metric_of.push(metric);
    }
    // From now on, the place of the next series of each metric.
    let mut next = 0;
    for count in &mut counts {
        next += std::mem::replace(count, next);
    }
    let mut order = vec![0; metric_of.len()];
    for (index, metric) in metric_of.into_iter().enumerate() {
        order[counts[metric]] = index;
        counts[metric] += 1;
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::MetricKind::{Counter, Gauge};

    #[test]
    fn series_of_a_metric_come_together_in_their_order() {
        let series = [(Counter, "a"), (Gauge, "b"), (Gauge, "a"), (Counter, "a"), (Gauge, "b")]
            .map(|(kind, name)| Series::new(kind, name, &[] as &[(&str, &str)]));
        assert_eq!(by_metric(series.iter()), [0, 3, 1, 4, 2]);
        assert_eq!(by_metric(std::iter::empty()), [] as [usize; 0]);
    }
}
