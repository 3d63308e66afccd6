//! Encodes snapshots as bytes and decodes them.
//!
//! A spool keeps snapshots, not encoded payloads: a fixed encoder or a changed setting also applies
//! to the backlog, and one format serves all destinations. The format is written by hand rather
//! than derived from the types of the model, because later versions must read the files although
//! these types change.
//!
//! # The format
//!
//! Whole numbers are LEB128, signed numbers zigzag LEB128. Doubles are 8 bytes, little-endian. Text
//! is its length in bytes, then UTF-8. A list is its length, then its items.
//!
//! A snapshot: instance, end of the window (Unix ms), its length (ns), number of samples that a timer
//! keeps one by one, percentiles as decimal text, points. A point: kind, series (see `series`), value.
//!
//! The decoder does not trust its input: the checksum of a file guards against accidents, not
//! against a program that can write into the folder.

use std::sync::Arc;
use std::time::Duration;

use super::leb128;
use super::primitives::{MalformedSnapshot, SnapshotReader, put_double, put_sum, put_text};
use super::series::{put_series, read_series};
use model::PointRanges;
use model::{
    Buckets, DistinctSet, MetricKind, Percentile, Point, Series, SetParts, SketchParts, Snapshot,
    Timer, TimerParts, TimerType, Value, Window,
};

/// The kinds, and the types of timers, by their numbers on disk. A number never changes, because a later
/// version reads the same file.
const NUMBERED_KINDS: [(MetricKind, TimerType); 7] = [
    (MetricKind::Counter, TimerType::Timing),
    (MetricKind::Gauge, TimerType::Timing),
    (MetricKind::Timer, TimerType::Timing),
    (MetricKind::Set, TimerType::Timing),
    (MetricKind::Trace, TimerType::Timing),
    (MetricKind::Timer, TimerType::Histogram),
    (MetricKind::Timer, TimerType::Distribution),
];

/// The number on disk of a kind, and of the type of a timer.
fn kind_number(kind: MetricKind, series: &Series) -> u8 {
    let timer_type = match kind {
        MetricKind::Timer => series.timer_type(),
        _ => TimerType::default(),
    };
    let is_it = |numbered: &(MetricKind, TimerType)| *numbered == (kind, timer_type);
    NUMBERED_KINDS.iter().position(is_it).unwrap_or_default() as u8
}

/// Form of a timer or a set: its values or members, one by one.
const EXACT: u8 = 0;
/// Form of a timer that has too many values for [`EXACT`], written by tallyd 0.1.0: a sketch whose
/// buckets have other bounds. This version reads this form and does not write it.
const SKETCH_0_1_0: u8 = 1;
/// Form of a timer that has too many values for [`EXACT`]: a sketch.
const SKETCH: u8 = 2;
/// Form of a set with too many members for [`EXACT`], written by tallyd 0.1.0: registers. This
/// version reads this form and does not write it.
const REGISTERS: u8 = 1;
/// Form of a set with too many members for [`EXACT`]: an HLL sketch in the format of Apache
/// DataSketches.
const HLL: u8 = 2;

/// Appends the selected points of a snapshot. `instance` identifies the current run of the daemon;
/// it is written unless the snapshot names an earlier run.
pub(crate) fn encode(snapshot: &Snapshot, points: &PointRanges, instance: &str, out: &mut Vec<u8>) {
    // A window that is spooled again keeps the run that flushed it: consumers that remove
    // duplicates have to see the same run in both deliveries.
    put_text(out, snapshot.instance.as_deref().unwrap_or(instance));
    leb128::write(out, snapshot.window.end_ms);
    leb128::write(out, snapshot.window.length.as_nanos() as u64);
    leb128::write(out, snapshot.exact_samples as u64);
    leb128::write(out, snapshot.percentiles.len() as u64);
    for percentile in snapshot.percentiles.iter() {
        // The decimal text of `p99_9` without a detour through a double, which could differ.
        put_text(out, &percentile.label()[1..].replace('_', "."));
    }
    leb128::write(out, points.count());
    for point in points.of(&snapshot.points) {
        put_point(out, point);
    }
}

/// Decodes a snapshot that [`encode`] wrote.
///
/// # Errors
/// When the bytes are not exactly one valid snapshot.
pub(crate) fn decode(bytes: &[u8]) -> Result<Snapshot, MalformedSnapshot> {
    let mut reader = SnapshotReader(bytes);
    let instance: Arc<str> = reader.text()?.into();
    let end_ms = reader.number()?;
    let length = Duration::from_nanos(reader.number()?);
    let exact_samples = usize::try_from(reader.number()?).map_err(|_| MalformedSnapshot)?;
    let percentiles: Arc<[Percentile]> = reader
        .list(|reader| Percentile::parse(reader.text()?).map_err(|_| MalformedSnapshot))?
        .into();
    let points = reader.list(|reader| reader.point(&percentiles))?;
    // Encoders divide by the length to get rates.
    let is_valid = reader.0.is_empty() && !length.is_zero();
    is_valid.then_some(()).ok_or(MalformedSnapshot)?;
    Ok(Snapshot {
        window: Window { end_ms, length },
        start_ms: None,
        percentiles,
        exact_samples,
        instance: Some(instance),
        points: points.into(),
    })
}

pub(crate) fn put_point(out: &mut Vec<u8>, point: &Point) {
    out.push(kind_number(point.value.kind(), &point.series));
    put_series(out, &point.series);
    match &point.value {
        Value::Counter(sum) | Value::Trace(sum) => put_sum(out, *sum),
        // The running total of the source is outdated when the file is read; its increase is not.
        Value::Total(total) => put_sum(out, total.added),
        Value::Gauge { value, arrival_ns } => {
            put_double(out, *value);
            leb128::write(out, *arrival_ns);
        }
        Value::Timer(timer) => put_timer(out, timer.timer.parts()),
        Value::Set(set) => put_set(out, set.set.parts()),
    }
}

fn put_timer(out: &mut Vec<u8>, parts: TimerParts) {
    match parts {
        TimerParts::Exact { values, weights } => {
            out.push(EXACT);
            leb128::write(out, values.len() as u64);
            values.into_iter().for_each(|value| put_double(out, value));
            leb128::write(out, weights.len() as u64);
            weights.into_iter().for_each(|weight| put_double(out, weight));
        }
        TimerParts::Sketch(parts) => {
            let SketchParts { weight, sum, min, max, mean, squares, values, buckets } = *parts;
            out.push(SKETCH);
            put_sum(out, weight);
            put_sum(out, sum);
            [min, max, mean, squares].into_iter().for_each(|number| put_double(out, number));
            leb128::write(out, values);
            leb128::write(out, buckets.zero);
            put_buckets(out, &buckets.positive);
            put_buckets(out, &buckets.negative);
        }
    }
}

/// Appends the buckets of a sketch. Indexes are written as differences, most of which fit into a byte.
fn put_buckets(out: &mut Vec<u8>, buckets: &[(i32, u64)]) {
    leb128::write(out, buckets.len() as u64);
    let mut before = 0;
    for (index, count) in buckets {
        // In 64 bits, because the difference of two `i32` can overflow 32.
        let difference = i64::from(*index) - before;
        leb128::write(out, ((difference << 1) ^ (difference >> 63)) as u64);
        leb128::write(out, *count);
        before = i64::from(*index);
    }
}

fn put_set(out: &mut Vec<u8>, parts: SetParts) {
    match parts {
        SetParts::Members(members) => {
            out.push(EXACT);
            leb128::write(out, members.len() as u64);
            members.iter().for_each(|member| out.extend_from_slice(&member.to_le_bytes()));
        }
        SetParts::Sketch(bytes) => {
            out.push(HLL);
            leb128::write(out, bytes.len() as u64);
            out.extend_from_slice(&bytes);
        }
    }
}

impl SnapshotReader<'_> {
    pub(crate) fn point(&mut self, percentiles: &[Percentile]) -> Result<Point, MalformedSnapshot> {
        let number = usize::from(self.byte()?);
        let (kind, timer_type) = *NUMBERED_KINDS.get(number).ok_or(MalformedSnapshot)?;
        let series = Arc::new(read_series(self, kind)?.with_timer_type(timer_type));
        let value = match kind {
            MetricKind::Counter => Value::Counter(self.sum()?),
            MetricKind::Trace => Value::Trace(self.sum()?),
            MetricKind::Gauge => {
                // Several formats have no notation for infinity and NaN.
                let value = Some(self.double()?).filter(|value| value.is_finite());
                Value::Gauge { value: value.ok_or(MalformedSnapshot)?, arrival_ns: self.number()? }
            }
            MetricKind::Timer => Value::timer(self.timer()?, percentiles),
            MetricKind::Set => Value::set(self.set()?),
        };
        Ok(Point { series, value })
    }

    fn timer(&mut self) -> Result<Timer, MalformedSnapshot> {
        let parts = match self.byte()? {
            EXACT => TimerParts::Exact {
                values: self.list(Self::double)?,
                weights: self.list(Self::double)?,
            },
            form @ (SKETCH_0_1_0 | SKETCH) => TimerParts::Sketch(Box::new(self.sketch(form)?)),
            _ => return Err(MalformedSnapshot),
        };
        Timer::from_parts(parts).ok_or(MalformedSnapshot)
    }

    fn sketch(&mut self, form: u8) -> Result<SketchParts, MalformedSnapshot> {
        let (weight, sum) = (self.sum()?, self.sum()?);
        let (min, max, mean, squares) =
            (self.double()?, self.double()?, self.double()?, self.double()?);
        if form == SKETCH_0_1_0 {
            // The sum of the counts.
            self.double()?;
        }
        let values = self.number()?;
        let (zero, positive, negative) = (self.number()?, self.buckets()?, self.buckets()?);
        let mut buckets = Buckets { zero, positive, negative };
        if form == SKETCH_0_1_0 {
            buckets = buckets.from_0_1_0();
        }
        Ok(SketchParts { weight, sum, min, max, mean, squares, values, buckets })
    }

    fn buckets(&mut self) -> Result<Vec<(i32, u64)>, MalformedSnapshot> {
        let mut index = 0_i64;
        self.list(|reader| {
            let zigzag = reader.number()?;
            let difference = ((zigzag >> 1) as i64) ^ -((zigzag & 1) as i64);
            // A forged difference can be any number; the sum must neither wrap nor panic.
            index = index.checked_add(difference).ok_or(MalformedSnapshot)?;
            Ok((i32::try_from(index).map_err(|_| MalformedSnapshot)?, reader.number()?))
        })
    }

    fn set(&mut self) -> Result<DistinctSet, MalformedSnapshot> {
        let set = match self.byte()? {
            EXACT => DistinctSet::from_parts(SetParts::Members(
                self.list(|reader| reader.word().map(u64::from_le_bytes))?,
            )),
            // Both other forms are bytes with a length, so a form is read before it is recognized.
            form => {
                let length = self.length()?;
                let bytes = self.take(length)?;
                match form {
                    REGISTERS => DistinctSet::from_registers_of_0_1(bytes),
                    HLL => DistinctSet::from_parts(SetParts::Sketch(bytes.into())),
                    _ => None,
                }
            }
        };
        set.ok_or(MalformedSnapshot)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::influx::{self, LineNaming, TelegrafConfig};
    use crate::format::{json, pystatsd::Envelope};
    use model::{Sum, testing::snapshot_of};

    /// Generates a value of any kind.
    fn value() -> impl Strategy<Value = Value> {
        let number = prop_oneof![-1e9_f64..1e9, Just(0.0), Just(f64::MAX), Just(-1e-300)];
        let samples = prop::collection::vec((number.clone(), 1_u8..4), 0..60);
        prop_oneof![
            prop::collection::vec(number.clone(), 0..4).prop_map(|increments| {
                let mut sum = Sum::default();
                increments.into_iter().for_each(|increment| sum.add(increment));
                Value::Counter(sum)
            }),
            (0_u32..100_000).prop_map(|count| Value::Trace(Sum::of(f64::from(count)))),
            (number, any::<u64>())
                .prop_map(|(value, arrival_ns)| Value::Gauge { value, arrival_ns }),
            (samples, prop::bool::ANY).prop_map(|(samples, exact)| {
                let mut timer = Timer::default();
                for (value, weight) in samples {
                    timer.record(value, f64::from(weight), if exact { 1000 } else { 5 });
                }
                Value::timer(timer, &snapshot_of(vec![]).percentiles)
            }),
            prop_oneof![0_u32..50, 5_000_u32..8_000].prop_map(|members| {
                let mut set = DistinctSet::default();
                (0..members).for_each(|member| {
                    set.insert(&member.to_le_bytes(), &model::SetSeed::from_text(""));
                });
                Value::set(set)
            }),
        ]
    }

    /// Generates a snapshot whose names and tags consist of any characters.
    pub(crate) fn snapshot() -> impl Strategy<Value = Snapshot> {
        let text = prop_oneof![any::<String>(), "[0-9]{1,3}"];
        let tags = prop::collection::btree_map(any::<String>(), text, 0..4);
        let point =
            (1_usize..9, any::<String>(), tags, value()).prop_map(|(every, name, tags, value)| {
                let tags: Vec<_> = tags.into_iter().collect();
                let name = format!("n{name}");
                let is_literal = |index: usize| index.is_multiple_of(every);
                let types = [TimerType::Timing, TimerType::Histogram, TimerType::Distribution];
                let series = Series::with_literals(value.kind(), &name, &tags, is_literal)
                    .with_timer_type(types[every % types.len()]);
                Point { series: Arc::new(series), value }
            });
        (prop::collection::vec(point, 0..12), 1_u64..1 << 45, 1_u64..5_000).prop_map(
            |(points, end_ms, length_ms)| {
                let mut snapshot = snapshot_of(points);
                snapshot.window = Window { end_ms, length: Duration::from_millis(length_ms) };
                snapshot
            },
        )
    }

    /// Everything in a snapshot that affects the payload of any destination.
    pub(crate) fn shown(snapshot: &Snapshot) -> Vec<u8> {
        let mut out = Vec::new();
        let envelope = Envelope::new(&"".into(), &"".into());
        for point in &snapshot.points {
            json::write_point(&mut out, snapshot, point);
            envelope.write_point(&mut out, snapshot, point);
            let telegraf = LineNaming::Telegraf(TelegrafConfig::default());
            for naming in [LineNaming::Tallyd, telegraf] {
                influx::write_point(&mut out, snapshot, point, &naming);
            }
            match &point.value {
                Value::Timer(timer) => {
                    for rank in [0.1, 25.0, 99.9, 100.0] {
                        out.extend(timer.timer.percentile(rank).to_le_bytes());
                    }
                    out.extend(format!("{:?}", timer.timer.parts()).bytes());
                }
                Value::Set(set) => out.extend(format!("{:?}", set.set.parts()).bytes()),
                Value::Counter(sum) | Value::Trace(sum) => out.extend(format!("{sum:?}").bytes()),
                Value::Total(total) => out.extend(format!("{:?}", total.added).bytes()),
                Value::Gauge { arrival_ns, .. } => out.extend(arrival_ns.to_le_bytes()),
            }
        }
        out.extend(format!("{:?} {:?}", snapshot.percentiles, snapshot.exact_samples).bytes());
        out
    }

    fn encoded(snapshot: &Snapshot) -> Vec<u8> {
        let mut out = Vec::new();
        encode(snapshot, &PointRanges::first(snapshot.points.len()), "run-1", &mut out);
        out
    }

    proptest! {
        #[test]
        fn a_snapshot_survives_the_round_trip(snapshot in snapshot()) {
            let bytes = encoded(&snapshot);
            let again = decode(&bytes).unwrap();
            prop_assert_eq!(shown(&again), shown(&snapshot));
            prop_assert_eq!(again.window, snapshot.window);
            prop_assert_eq!(again.instance.as_deref(), Some("run-1"));
            prop_assert_eq!(encoded(&again), bytes);
        }

        #[test]
        fn any_other_bytes_are_refused_or_harmless(
            snapshot in snapshot(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in prop::bool::ANY,
        ) {
            let mut bytes = encoded(&snapshot);
            let at = at.index(bytes.len());
            if cut {
                bytes.truncate(at);
                prop_assert_eq!(decode(&bytes).err(), Some(MalformedSnapshot));
            } else {
                bytes[at] = byte;
                if let Ok(other) = decode(&bytes) {
                    shown(&other);
                }
            }
        }

        #[test]
        fn random_bytes_cause_no_panic(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let _either_way = decode(&noise);
        }
    }

    #[test]
    fn only_pending_points_are_written() {
        let all = model::testing::snapshot_of_counters(6);
        let mut batch = crate::delivery::payload::Batch::default();
        (0..6).for_each(|_| batch.push(1, |_| (), |_| ()));
        [0, 3, 4].into_iter().for_each(|id| batch.delivered(id));
        let mut out = Vec::new();
        encode(&all, &batch.points_left(), "run-1", &mut out);
        let left = decode(&out).unwrap();
        let tags: Vec<_> = left.points.iter().map(|point| point.series.tag("n").unwrap()).collect();
        assert_eq!(tags, ["1", "2", "5"]);
    }

    #[test]
    fn a_snapshot_has_a_length_and_ends_with_its_points() {
        let mut snapshot = model::testing::snapshot_of_counters(1);
        let mut bytes = encoded(&snapshot);
        assert!(decode(&bytes).is_ok());
        bytes.push(0);
        assert_eq!(decode(&bytes).err(), Some(MalformedSnapshot));
        snapshot.window.length = Duration::ZERO;
        assert_eq!(decode(&encoded(&snapshot)).err(), Some(MalformedSnapshot));
    }

    #[test]
    fn a_length_without_items_takes_no_memory() {
        let mut bytes = Vec::new();
        put_text(&mut bytes, "run-1");
        [1, 1, 1].into_iter().for_each(|number| leb128::write(&mut bytes, number));
        leb128::write(&mut bytes, u64::MAX);
        assert_eq!(decode(&bytes).err(), Some(MalformedSnapshot));
    }
}
