//! Selects the series that a destination receives, and changes their names and tags.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use basics::globs::Globs;
use basics::scalar_text::ScalarText;
use serde::Deserialize;

use model::{Point, Series, Snapshot};

/// `select`: the part of a snapshot that a destination receives.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SelectConfig {
    /// Globs on the metric name (`*` matches dots too); an empty list includes all. Empty by
    /// default.
    pub include: Globs,
    /// Globs on the metric name of series to leave out, applied after `include`. Empty by default.
    pub exclude: Globs,
    /// Tags to leave out. Series that become equal are merged: counts are added, the latest gauge
    /// wins, timers and sets merge. Empty by default.
    pub drop_tags: Vec<String>,
    /// Tags to add; they replace tags of the same key. Empty by default.
    pub tags: BTreeMap<String, ScalarText>,
    /// Text in front of each metric name. Empty by default.
    pub prefix: String,
}

impl SelectConfig {
    /// Returns the destination's view of a snapshot; the same `Arc` if nothing changes.
    #[must_use]
    pub fn apply(&self, snapshot: &Arc<Snapshot>) -> Arc<Snapshot> {
        let filters = !self.include.is_empty() || !self.exclude.is_empty();
        let renames =
            !self.drop_tags.is_empty() || !self.tags.is_empty() || !self.prefix.is_empty();
        if !filters && !renames {
            return Arc::clone(snapshot);
        }
        let chosen = snapshot.points.iter().filter(|point| self.wants(point.series.name()));
        let points =
            if renames { self.rename(chosen, snapshot).into() } else { chosen.cloned().collect() };
        Arc::new(Snapshot { points, ..Snapshot::clone(snapshot) })
    }

    fn wants(&self, name: &str) -> bool {
        self.include.matches(name).unwrap_or(true) && !self.exclude.matches(name).unwrap_or(false)
    }

    fn rename<'a>(
        &self,
        chosen: impl Iterator<Item = &'a Point>,
        snapshot: &Snapshot,
    ) -> Vec<Point> {
        let mut points: Vec<Point> = Vec::new();
        let mut places: HashMap<Arc<Series>, usize> = HashMap::new();
        for point in chosen {
            let series = Arc::new(self.renamed(&point.series));
            match places.get(&series) {
                Some(place) => {
                    points[*place].value.merge(point.value.clone(), snapshot);
                }
                None => {
                    places.insert(Arc::clone(&series), points.len());
                    points.push(Point { series, value: point.value.clone() });
                }
            }
        }
        points
    }

    fn renamed(&self, series: &Series) -> Series {
        let name = format!("{}{}", self.prefix, series.name());
        // By key: the value, and whether it is a literal.
        let mut tags: BTreeMap<&str, (&str, bool)> = (0..)
            .zip(series.tags())
            .map(|(index, (key, value))| (key, (value, series.is_literal(index))))
            .filter(|(key, _)| !self.drop_tags.iter().any(|drop| drop == key))
            .collect();
        let own = self.tags.iter();
        tags.extend(own.map(|(key, value)| (&**key, (value.as_str(), value.is_literal()))));
        let literals: Vec<bool> = tags.values().map(|(_, is_literal)| *is_literal).collect();
        let tags: Vec<_> = tags.into_iter().map(|(key, (value, _))| (key, value)).collect();
        Series::with_literals(series.kind(), &name, &tags, |index| literals[index])
            .with_timer_type(series.timer_type())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::testing::{point, shown, snapshot_of};
    use model::{MetricKind, Percentile, Sum, Timer, Value};

    fn globs(texts: &[&str]) -> Globs {
        Globs::parse(texts).unwrap()
    }

    #[test]
    fn include_and_exclude_choose_by_name() {
        let select = SelectConfig {
            include: globs(&["user.*"]),
            exclude: globs(&["*.debug"]),
            ..SelectConfig::default()
        };
        let snapshot = Arc::new(snapshot_of(vec![
            point(MetricKind::Counter, "user.a.b", &[], Value::Counter(Sum::of(1.0))),
            point(MetricKind::Counter, "user.a.debug", &[], Value::Counter(Sum::of(1.0))),
            point(MetricKind::Counter, "other", &[], Value::Counter(Sum::of(1.0))),
        ]));
        assert_eq!(shown(&select.apply(&snapshot)), ["counter user.a.b = 1"]);
    }

    #[test]
    fn nothing_to_change_shares_the_snapshot() {
        let snapshot = Arc::new(snapshot_of(vec![]));
        assert!(Arc::ptr_eq(&SelectConfig::default().apply(&snapshot), &snapshot));
    }

    #[test]
    fn a_changed_series_keeps_the_types_of_its_tags() {
        let select = SelectConfig {
            drop_tags: vec!["a".into()],
            tags: BTreeMap::from([
                ("c".into(), "3".into()),
                ("d".into(), ScalarText::literal("4")),
            ]),
            ..SelectConfig::default()
        };
        let tags = [("a", "1"), ("b", "2"), ("c", "2"), ("e", "2")];
        let series = Series::with_literals(MetricKind::Trace, "m", &tags, |index| index < 3);
        let renamed = select.renamed(&series);
        assert_eq!(renamed.to_string(), "trace m b=2 c=3 d=4 e=2");
        let literals = [0, 1, 2, 3].map(|index| renamed.is_literal(index));
        assert_eq!(literals, [true, false, true, false]);
    }

    #[test]
    fn series_that_become_equal_are_merged_and_never_sent_twice() {
        let select = SelectConfig {
            drop_tags: vec!["host".into()],
            tags: BTreeMap::from([("dc".into(), "x".into())]),
            prefix: "p.".into(),
            ..SelectConfig::default()
        };
        let timer = |values: [f64; 2]| {
            let mut timer = Timer::default();
            values.iter().for_each(|value| timer.record(*value, 1.0, 1000));
            Value::timer(timer, &[Percentile::parse("50").unwrap()])
        };
        let gauge = |value, arrival_ns| Value::Gauge { value, arrival_ns };
        let (a, b) = ([("host", "a"), ("s", "1")], [("host", "b"), ("s", "1")]);
        let snapshot = Arc::new(snapshot_of(vec![
            point(MetricKind::Counter, "c", &a, Value::Counter(Sum::of(1.0))),
            point(MetricKind::Counter, "c", &b, Value::Counter(Sum::of(2.0))),
            point(MetricKind::Gauge, "g", &a, gauge(7.0, 20)),
            point(MetricKind::Gauge, "g", &b, gauge(8.0, 10)),
            point(MetricKind::Timer, "t", &a, timer([1.0, 2.0])),
            point(MetricKind::Timer, "t", &b, timer([3.0, 6.0])),
        ]));
        assert_eq!(
            shown(&select.apply(&snapshot)),
            ["counter p.c dc=x s=1 = 3", "gauge p.g dc=x s=1 = 7", "timer p.t dc=x s=1 = 3"]
        );
    }
}
