//! Series whose values are recorded while a client watches a chart of them.
//!
//! A request for a chart begins the recording, or continues it for a while. Without watched series, a
//! window costs a look at an empty list.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use model::{MetricKind, Series, Snapshot};
use parking_lot::Mutex;

/// Time that a chart covers, in milliseconds.
const KEPT_MS: u64 = 300_000;
/// Most values of a series: one for each of the shortest windows.
const POINTS_MAX: usize = 3_001;
/// How long a series is recorded after the latest request.
const LEASE: Duration = Duration::from_secs(30);

/// The watched series.
#[derive(Debug, Default)]
pub struct SeriesWatches(Mutex<WatchState>);

#[derive(Debug, Default)]
struct WatchState {
    watched: Vec<WatchedSeries>,
    refused: u64,
}

#[derive(Debug)]
struct WatchedSeries {
    name: WatchedName,
    asked: Instant,
    points: VecDeque<WatchedPoint>,
}

/// What identifies a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedName {
    /// The type of the metric.
    pub kind: MetricKind,
    /// The name of the metric.
    pub name: String,
    /// The tags, sorted by key.
    pub tags: Vec<(String, String)>,
}

/// The value of a series in one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WatchedPoint {
    /// The end of the window, in Unix milliseconds.
    pub end_ms: u64,
    /// The count, level or mean; `None` without samples.
    pub value: Option<f64>,
}

impl WatchedName {
    fn is_of(&self, series: &Series) -> bool {
        self.kind == series.kind()
            && self.name == series.name()
            && self.tags.len() == series.tag_count()
            && series
                .tags()
                .zip(&self.tags)
                .all(|((key, value), own)| key == own.0 && value == own.1)
    }
}

impl SeriesWatches {
    /// The values recorded since the first request for a series, which is watched from now on. `None`
    /// if `max` other series are watched.
    #[must_use]
    pub fn ask(&self, name: &WatchedName, max: usize, now: Instant) -> Option<Vec<WatchedPoint>> {
        let mut state = self.0.lock();
        state.watched.retain(|one| now.saturating_duration_since(one.asked) < LEASE);
        if let Some(known) = state.watched.iter_mut().find(|one| one.name == *name) {
            known.asked = now;
            return Some(known.points.iter().copied().collect());
        }
        if state.watched.len() >= max {
            state.refused += 1;
            return None;
        }
        let (name, points) = (name.clone(), VecDeque::new());
        state.watched.push(WatchedSeries { name, asked: now, points });
        Some(Vec::new())
    }

    /// Records the values of a window. Takes a look at every point while a series is watched.
    pub fn record(&self, snapshot: &Snapshot, now: Instant) {
        let names: Vec<WatchedName> = {
            let mut state = self.0.lock();
            state.watched.retain(|one| now.saturating_duration_since(one.asked) < LEASE);
            state.watched.iter().map(|one| one.name.clone()).collect()
        };
        if names.is_empty() {
            return;
        }
        let mut values = vec![None; names.len()];
        for point in &snapshot.points {
            if let Some(index) = names.iter().position(|name| name.is_of(&point.series)) {
                values[index] = Some(point.value.headline());
            }
        }
        let end_ms = snapshot.window.end_ms;
        let mut state = self.0.lock();
        for (name, value) in names.iter().zip(values) {
            if let Some(watched) = state.watched.iter_mut().find(|one| one.name == *name) {
                watched.add(WatchedPoint { end_ms, value });
            }
        }
    }

    /// The number of watched series, and of requests that were refused.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let state = self.0.lock();
        let now = Instant::now();
        let is_watched = |one: &&WatchedSeries| now.saturating_duration_since(one.asked) < LEASE;
        (state.watched.iter().filter(is_watched).count() as u64, state.refused)
    }
}

impl WatchedSeries {
    /// Adds a value. Two windows may be recorded at the same time, the later one first.
    fn add(&mut self, point: WatchedPoint) {
        let place = self.points.partition_point(|one| one.end_ms < point.end_ms);
        self.points.insert(place, point);
        let last_ms = self.points.back().map_or(0, |last| last.end_ms);
        while self.points.len() > POINTS_MAX
            || self.points.front().is_some_and(|first| first.end_ms + KEPT_MS < last_ms)
        {
            self.points.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use model::testing::{counter, snapshot_of};

    use super::*;

    fn name(name: &str, host: &str) -> WatchedName {
        let tags = vec![("host".to_owned(), host.to_owned())];
        WatchedName { kind: MetricKind::Counter, name: name.to_owned(), tags }
    }

    fn window(end_ms: u64, count: f64) -> Snapshot {
        let mut snapshot = snapshot_of(vec![
            counter("a", &[("host", "x")], count),
            counter("a", &[("host", "y")], 100.0),
        ]);
        snapshot.window.end_ms = end_ms;
        snapshot
    }

    fn values(points: &[WatchedPoint]) -> Vec<(u64, Option<f64>)> {
        points.iter().map(|point| (point.end_ms, point.value)).collect()
    }

    #[test]
    fn values_are_recorded_from_the_first_request_on_until_nobody_asks() {
        let (watches, start) = (SeriesWatches::default(), Instant::now());
        let (a, b) = (name("a", "x"), name("a", "z"));
        watches.record(&window(500, 9.0), start);
        assert_eq!(watches.ask(&a, 2, start), Some(vec![]));
        assert_eq!(watches.ask(&b, 2, start), Some(vec![]));
        assert_eq!(watches.ask(&name("c", "x"), 2, start), None);
        assert_eq!(watches.counts(), (2, 1));
        watches.record(&window(2_000, 2.0), start);
        watches.record(&window(1_000, 1.0), start);
        let asked = start + LEASE / 2;
        let recorded = watches.ask(&a, 2, asked).unwrap();
        assert_eq!(values(&recorded), [(1_000, Some(1.0)), (2_000, Some(2.0))]);
        let late = start + LEASE;
        watches.record(&window(3_000, 3.0), late);
        assert_eq!(watches.ask(&b, 2, late), Some(vec![]), "it was forgotten, and begins again");
        assert_eq!(watches.ask(&a, 2, late).unwrap().len(), 3);
    }

    #[test]
    fn a_chart_covers_five_minutes_and_a_bounded_number_of_windows() {
        let (watches, now) = (SeriesWatches::default(), Instant::now());
        let a = name("a", "x");
        let _begun = watches.ask(&a, 1, now);
        for second in 0..400 {
            watches.record(&window(second * 1_000, 1.0), now);
        }
        let recorded = watches.ask(&a, 1, now).unwrap();
        assert_eq!((recorded[0].end_ms, recorded.len()), (99_000, 301));
        for number in 0..4_000 {
            watches.record(&window(500_000 + number, 1.0), now);
        }
        assert_eq!(watches.ask(&a, 1, now).unwrap().len(), POINTS_MAX);
    }
}
