//! A window that two runs of the daemon recorded: the values of both as one.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Point, Series, Snapshot, Value};

impl Snapshot {
    /// All samples of a window of which an earlier run of the daemon had recorded the first part.
    ///
    /// Window, percentiles and limits are those of `self`, which holds the later part. The result is
    /// the snapshot that one run would have made, except that the points of the earlier part come
    /// first.
    #[must_use]
    pub fn continuing(&self, earlier: &Self) -> Self {
        let mut points: Vec<Point> =
            earlier.points.iter().map(|point| self.restated(point, earlier)).collect();
        let places: HashMap<Arc<Series>, usize> = points
            .iter()
            .enumerate()
            .map(|(place, point)| (Arc::clone(&point.series), place))
            .collect();
        for point in &self.points {
            match places.get(&point.series) {
                Some(place) => points[*place].value.continue_with(point.value.clone(), self),
                None => points.push(point.clone()),
            }
        }
        Self { points: points.into(), ..self.clone() }
    }

    /// A point of the earlier part. A reload or a restart may have changed the percentiles.
    fn restated(&self, point: &Point, earlier: &Self) -> Point {
        let value = match &point.value {
            Value::Timer(timer) if self.percentiles != earlier.percentiles => {
                Value::timer(timer.timer.clone(), &self.percentiles)
            }
            value => value.clone(),
        };
        Point { series: Arc::clone(&point.series), value }
    }
}

impl Value {
    /// Adds the value of the same series in the later part of the window.
    ///
    /// Differs from [`Value::merge`], which joins two series, where only the order counts: the arrival
    /// times of two runs cannot be compared, and the latest total of a source stays one.
    fn continue_with(&mut self, later: Self, snapshot: &Snapshot) {
        match (&mut *self, later) {
            (Self::Gauge { .. }, later @ Self::Gauge { .. }) => *self = later,
            (Self::Total(own), Self::Total(later)) => {
                own.added.merge(later.added);
                own.total = later.total;
            }
            (_, later) => self.merge(later, snapshot),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{counter, point, shown, snapshot_of, timer};
    use crate::{DistinctSet, MetricKind, Percentile, SetSeed, Sum, Timer, TotalValue};

    fn gauge(value: f64, arrival_ns: u64) -> Point {
        point(MetricKind::Gauge, "g", &[], Value::Gauge { value, arrival_ns })
    }

    #[test]
    fn counts_add_up_and_the_later_gauge_wins_whatever_the_clocks_of_the_runs_say() {
        let earlier =
            snapshot_of(vec![counter("a", &[], 2.0), gauge(7.0, 900), counter("b", &[], 1.0)]);
        let later =
            snapshot_of(vec![gauge(5.0, 3), counter("c", &[], 4.0), counter("a", &[], 3.0)]);
        let whole = later.continuing(&earlier);
        assert_eq!(
            shown(&whole),
            ["counter a = 5", "gauge g = 5", "counter b = 1", "counter c = 4"]
        );
    }

    #[test]
    fn a_gauge_that_is_not_set_again_keeps_its_value() {
        let whole = snapshot_of(vec![]).continuing(&snapshot_of(vec![gauge(7.0, 900)]));
        assert_eq!(shown(&whole), ["gauge g = 7"]);
    }

    #[test]
    fn the_latest_total_of_a_source_is_kept() {
        let total = |added, total| {
            let value = Value::Total(Box::new(TotalValue { added: Sum::of(added), total }));
            snapshot_of(vec![point(MetricKind::Counter, "t", &[], value)])
        };
        let whole = total(3.0, 13.0).continuing(&total(2.0, 10.0));
        let Value::Total(both) = &whole.points[0].value else { panic!("{whole:?}") };
        assert_eq!((both.added.value(), both.total), (5.0, 13.0));
    }

    #[test]
    fn timers_have_the_percentiles_of_the_later_part() {
        let earlier = snapshot_of(vec![timer("t", &[], &[(1.0, 1.0), (2.0, 1.0)])]);
        let percentiles = ["100"].map(|text| Percentile::parse(text).unwrap());
        let later = Snapshot { percentiles: Arc::new(percentiles), ..snapshot_of(vec![]) };
        let whole = later.continuing(&earlier);
        let Value::Timer(timer) = &whole.points[0].value else { panic!("{whole:?}") };
        assert_eq!(timer.summary.percentiles.as_slice(), [2.0]);
    }

    /// The samples of a few series.
    #[derive(Clone, Debug)]
    enum Sample {
        Count(f64),
        Trace,
        Gauge(f64),
        Timer(f64, f64),
        Member(u16),
    }

    fn sample() -> impl Strategy<Value = (usize, Sample)> {
        let number = prop_oneof![(-1000_i32..1000).prop_map(f64::from), -1e6_f64..1e6];
        let sample = prop_oneof![
            number.clone().prop_map(Sample::Count),
            Just(Sample::Trace),
            number.clone().prop_map(Sample::Gauge),
            (number, 1_u8..4).prop_map(|(value, weight)| Sample::Timer(value, f64::from(weight))),
            (0_u16..6_000).prop_map(Sample::Member),
        ];
        (0_usize..3, sample)
    }

    /// Values of a timer that are kept one by one.
    const EXACT: usize = 20;

    /// Records samples as one run would.
    fn recorded(samples: &[(usize, Sample)]) -> Snapshot {
        let mut points: Vec<(String, Value)> = Vec::new();
        for (series, sample) in samples {
            let (kind, fresh) = match sample {
                Sample::Count(_) => ("c", Value::Counter(Sum::default())),
                Sample::Trace => ("x", Value::Trace(Sum::default())),
                Sample::Gauge(_) => ("g", Value::Gauge { value: 0.0, arrival_ns: 0 }),
                Sample::Timer(value, weight) => {
                    let mut timer = Timer::default();
                    timer.record(*value, *weight, EXACT);
                    ("t", Value::timer(timer, &snapshot_of(vec![]).percentiles))
                }
                Sample::Member(_) => ("s", Value::set(DistinctSet::default())),
            };
            let name = format!("{kind}{series}");
            let place = points.iter().position(|(other, _)| *other == name);
            let is_new = place.is_none();
            let place = place.unwrap_or_else(|| {
                points.push((name, fresh));
                points.len() - 1
            });
            match (&mut points[place].1, sample) {
                (Value::Counter(sum), Sample::Count(count)) => sum.add(*count),
                (Value::Trace(sum), Sample::Trace) => sum.add(1.0),
                (Value::Gauge { value, .. }, Sample::Gauge(new)) => *value = *new,
                (Value::Timer(timer), Sample::Timer(value, weight)) if !is_new => {
                    timer.timer.record(*value, *weight, EXACT);
                }
                (Value::Set(set), Sample::Member(member)) => {
                    set.set.insert(&member.to_le_bytes(), &SetSeed::from_text(""));
                }
                _ => {}
            }
        }
        let percentiles = snapshot_of(vec![]).percentiles;
        let points = points.into_iter().map(|(name, value)| {
            let value = match value {
                Value::Timer(timer) => Value::timer(timer.timer, &percentiles),
                Value::Set(set) => Value::set(set.set),
                value => value,
            };
            point(value.kind(), &name, &[], value)
        });
        Snapshot { exact_samples: EXACT, ..snapshot_of(points.collect()) }
    }

    /// The fields of every point, sorted. Statistics that depend on the order of additions are rounded.
    fn fields(snapshot: &Snapshot) -> Vec<(String, f64)> {
        let mut fields = Vec::new();
        for point in &snapshot.points {
            point.value.for_each_field(snapshot, |field, value| {
                let value =
                    if value == 0.0 { 0.0 } else { format!("{value:.9e}").parse().unwrap() };
                fields.push((format!("{} {field}", point.series), value));
            });
        }
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        fields
    }

    proptest! {
        #[test]
        fn two_parts_are_what_one_run_would_have_recorded(
            samples in prop::collection::vec(sample(), 0..400),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let whole = recorded(&samples);
            let mut cuts: Vec<usize> =
                cuts.iter().map(|cut| cut.index(samples.len() + 1)).collect();
            cuts.extend([0, samples.len()]);
            cuts.sort_unstable();
            let parts = cuts.windows(2).map(|cut| recorded(&samples[cut[0]..cut[1]]));
            let joined = parts.reduce(|earlier, later| later.continuing(&earlier)).unwrap();
            for (one, other) in fields(&joined).iter().zip(&fields(&whole)) {
                prop_assert_eq!(&one.0, &other.0);
                let scale = one.1.abs().max(other.1.abs()).max(1e-3);
                prop_assert!((one.1 - other.1).abs() <= 1e-8 * scale, "{:?} {:?}", one, other);
            }
            prop_assert_eq!(joined.points.len(), whole.points.len());
        }
    }
}
