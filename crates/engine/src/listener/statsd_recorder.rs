//! Records statsd lines, whose values share a name and tags: a line looks up its series once for
//! each of its types, whatever the number of its values.

use smallvec::SmallVec;

use super::Origin;
use super::recorder_context::RecorderContext;
use super::rejected_line::RejectedLine;
use super::stats::ListenerCounts;
use crate::aggregator::shapes::{KnownLine, NumberMeaning};
use crate::aggregator::table::{SeriesKind, SeriesPlace, SeriesTable};
use crate::protocol::statsd::{LineSink, StatsdLine, ValueRun};
use crate::protocol::{Rejection, SampleValue, SignedGauges, TextTags};
use model::MetricKind;

/// Takes the samples and rejections of one line.
pub(super) struct StatsdRecorder<'r, 'a, S> {
    pub(super) context: &'a RecorderContext,
    /// The meaning of a sign before the value of a gauge.
    pub(super) gauges: SignedGauges,
    pub(super) table: &'r mut SeriesTable,
    pub(super) counts: &'r mut ListenerCounts,
    pub(super) rejected: RejectedLine<'r, S>,
    pub(super) arrival_ns: u64,
    /// The properties of the line, if such lines can be cached.
    pub(super) known: Option<KnownLine>,
    /// Whether the series of the line was known.
    pub(super) was_known: bool,
}

/// The series of the values of one type.
struct PlaceOfKind {
    kind: MetricKind,
    place: SeriesPlace,
    values: u64,
}

/// The series of a line's values. Nearly every line has only one type.
type Places = SmallVec<[PlaceOfKind; 1]>;

impl<'a, S: Origin> LineSink<'a> for StatsdRecorder<'_, 'a, S> {
    #[inline]
    fn line(&mut self, line: StatsdLine<'a, '_>) {
        let before = self.counts.aggregated;
        if let [run] = line.runs
            && let Some(value) = run.single_value()
        {
            self.single_value(&line, run, &value);
        } else {
            self.values(&line);
        }
        if line.is_timestamped {
            self.counts.timestamped += self.counts.aggregated - before;
        }
    }

    fn rejected(&mut self, rejection: Rejection) {
        self.rejected.add(self.context, rejection, self.counts);
    }
}

impl<'a, S: Origin> StatsdRecorder<'_, 'a, S> {
    /// Records the value of a line with only one, as most lines have.
    #[inline]
    fn single_value(
        &mut self,
        line: &StatsdLine<'a, '_>,
        run: &ValueRun<'a>,
        value: &SampleValue<'a>,
    ) {
        let RecorderContext { identifier, registry, .. } = self.context;
        let series = (SeriesKind { kind: value.kind(), timer_type: run.timer_type() }, &*line.name);
        let place = self.table.locate_message(identifier, series, line.tags, registry);
        if self.table.record_at(place.slot, value, run.weight(), self.arrival_ns) {
            self.counts.aggregated += 1;
        } else {
            self.dropped(place);
        }
        self.learn(place, value, run.weight());
    }

    /// Records the values of any line.
    #[inline(never)]
    fn values(&mut self, line: &StatsdLine<'a, '_>) {
        let mut places = Places::new();
        for run in line.runs {
            run.for_each_value(|value| match value {
                Ok(value) => {
                    let (value, weight) = (self.gauges.apply(value), run.weight());
                    let kind = SeriesKind { kind: value.kind(), timer_type: run.timer_type() };
                    let place = self.place(&line.name, line.tags, kind, &mut places);
                    if self.table.record_at(place.slot, &value, weight, self.arrival_ns) {
                        self.counts.aggregated += 1;
                    } else {
                        self.dropped(place);
                    }
                    self.learn(place, &value, weight);
                }
                Err(rejection) => self.rejected(rejection),
            });
        }
        for of_kind in places.iter().filter(|of_kind| !of_kind.place.is_requested) {
            self.count_overflowed(of_kind);
        }
        // Not cached: a shape can stand only for a line with a single run of values.
        if line.runs.len() > 1 {
            self.known = None;
        }
    }

    /// Records the values of a line with a known shape.
    pub(super) fn known_values(&mut self, known: KnownLine, run: &ValueRun<'_>) {
        run.for_each_value(|value| match value {
            Ok(value) => {
                let KnownLine { slot, weight, .. } = known;
                let value = self.gauges.apply(value);
                let is_recorded = self.table.record_at(slot, &value, weight, self.arrival_ns);
                self.counts.count_recorded(is_recorded);
            }
            Err(rejection) => self.rejected.add(self.context, rejection, self.counts),
        });
    }

    /// Finds or creates the series of a value. Called for valid values only: an invalid one must
    /// not create a series.
    fn place(
        &mut self,
        name: &str,
        tags: &TextTags<'_>,
        series_kind: SeriesKind,
        places: &mut Places,
    ) -> SeriesPlace {
        let SeriesKind { kind, .. } = series_kind;
        if let Some(known) = places.iter_mut().find(|of_kind| of_kind.kind == kind) {
            known.values += 1;
            return known.place;
        }
        let RecorderContext { identifier, registry, .. } = self.context;
        let place = self.table.locate_message(identifier, (series_kind, name), tags, registry);
        // Only the first value of a line is reported in full if a rule rejects it.
        let next = SeriesPlace { is_rejected: false, ..place };
        places.push(PlaceOfKind { kind, place: next, values: 1 });
        place
    }

    /// Counts a value that a rule drops.
    #[cold]
    fn dropped(&mut self, place: SeriesPlace) {
        match self.table.rejection().filter(|_| place.is_rejected) {
            Some(rejection) => self.rejected(rejection),
            None => self.counts.count_dropped(),
        }
    }

    /// Counts the values after the first one, which the lookup has counted.
    #[cold]
    fn count_overflowed(&self, of_kind: &PlaceOfKind) {
        if let Some(series) = self.table.series(of_kind.place.slot) {
            self.context.registry.count_overflowed(series.name(), of_kind.values - 1);
        }
    }

    /// Notes the properties of the line, for the cache. Lines that overflow are not cached: each of
    /// them needs a lookup in the registry, which counts it, and admits the series once there is
    /// room.
    fn learn(&mut self, place: SeriesPlace, value: &SampleValue<'_>, weight: f64) {
        if self.known.is_none() && place.is_requested {
            let known = |meaning| KnownLine { slot: place.slot, meaning, weight };
            self.known = NumberMeaning::of(value).map(known);
            self.was_known = place.was_known;
        }
    }
}
