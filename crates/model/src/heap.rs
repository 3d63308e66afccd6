//! Estimates the memory that a snapshot occupies on the heap.

use crate::{Point, Series, SetValue, Snapshot, TimerValue, TotalValue, Value};

/// Bytes that an allocator adds to an allocation.
const ALLOCATION_HEADER: usize = 8;
/// Allocations are a multiple of this size.
const ALLOCATION_UNIT: usize = 16;
/// The two counts of an [`Arc`].
const ARC_COUNTS: usize = 16;

/// The memory of an allocation of `bytes` bytes, with the overhead of a common allocator.
pub(crate) fn allocation(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { (bytes + ALLOCATION_HEADER).next_multiple_of(ALLOCATION_UNIT) }
}

fn boxed<T>() -> usize {
    allocation(size_of::<T>())
}

fn shared<T>() -> usize {
    allocation(ARC_COUNTS + size_of::<T>())
}

/// The memory of the points in `points`.
pub(crate) fn points_bytes(points: &Vec<Point>) -> u64 {
    let own = allocation(points.capacity() * size_of::<Point>());
    let theirs = points.iter().map(|point| point.series.heap_bytes() + value_bytes(&point.value));
    (own + theirs.sum::<usize>()) as u64
}

impl Series {
    /// An estimate of the memory that a shared series occupies, in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        shared::<Self>() + allocation(self.text_bytes())
    }
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Counter(_) | Value::Gauge { .. } | Value::Trace(_) => 0,
        Value::Total(_) => boxed::<TotalValue>(),
        Value::Timer(value) => {
            let percentiles = &value.summary.percentiles;
            let spilled = if percentiles.spilled() { percentiles.capacity() } else { 0 };
            let spilled = allocation(spilled * size_of::<f64>());
            boxed::<TimerValue>() + value.timer.heap_bytes() + spilled
        }
        Value::Set(value) => boxed::<SetValue>() + value.set.heap_bytes(),
    }
}

impl Snapshot {
    /// An estimate of the memory that the snapshot occupies, in bytes. Computed once for all clones
    /// and parts, which share the points: a part keeps all of them in memory.
    ///
    /// A series counts in full, although other windows share it while it lives: once it has
    /// expired, the windows alone keep it.
    #[must_use]
    pub fn heap_bytes(&self) -> u64 {
        shared::<Self>() as u64 + self.points.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{counter, point, snapshot_of, timer};
    use crate::{DistinctSet, MetricKind, SetSeed, Timer};

    fn bytes_of(point: Point) -> u64 {
        snapshot_of(vec![point]).heap_bytes() - snapshot_of(vec![]).heap_bytes()
    }

    fn set_of(members: u32) -> Point {
        let mut set = DistinctSet::default();
        let seed = SetSeed::from_text("");
        (0..members).for_each(|member| set.insert(&member.to_le_bytes(), &seed));
        point(MetricKind::Set, "s", &[], Value::set(set))
    }

    fn timer_of(values: u32) -> Point {
        let samples: Vec<_> = (0..values).map(|value| (f64::from(value), 1.0)).collect();
        timer("t", &[], &samples)
    }

    #[test]
    fn memory_follows_what_a_point_contains() {
        for (name, point, bytes) in [
            ("a counter", counter("c", &[], 1.0), 100..200),
            ("a long name", counter(&"x".repeat(60_000), &[], 1.0), 60_000..60_200),
            ("long tags", counter("c", &[("a", &"x".repeat(1_000))], 1.0), 1_100..1_250),
            ("a small timer", timer_of(4), 200..400),
            ("a timer with as many values as are kept", timer_of(900), 7_400..8_700),
            ("a small set", set_of(3), 150..400),
            ("a set of members", set_of(4_000), 72_000..75_000),
            ("a set that is a sketch", set_of(5_000), 32_000..70_000),
            ("a large set", set_of(50_000), 65_536..70_000),
        ] {
            let estimated = bytes_of(point);
            assert!(bytes.contains(&estimated), "{name}: {estimated} bytes");
        }
    }

    #[test]
    fn capacity_counts_and_not_only_content() {
        let mut values = Vec::with_capacity(1_000);
        values.push(counter("c", &[], 1.0));
        let roomy = snapshot_of(values).heap_bytes();
        assert!(roomy > bytes_of(counter("c", &[], 1.0)) + 990 * size_of::<Point>() as u64);
    }

    #[test]
    fn a_sketch_of_a_timer_counts_its_buckets() {
        let mut timer = Timer::default();
        (0..5_000).for_each(|value| timer.record(f64::from(value) + 1.0, 1.0, 1_000));
        let wide = bytes_of(point(MetricKind::Timer, "t", &[], Value::timer(timer, &[])));
        let mut timer = Timer::default();
        (0..5_000).for_each(|_| timer.record(1.0, 1.0, 1_000));
        let narrow = bytes_of(point(MetricKind::Timer, "t", &[], Value::timer(timer, &[])));
        assert!(narrow > 1_000 && wide > narrow + 5_000, "{narrow} and {wide}");
    }

    #[test]
    fn more_percentiles_than_the_statistics_have_room_for_take_memory() {
        let bytes = |percentiles: u32| {
            let percentiles: Vec<_> = (1..=percentiles)
                .map(|rank| crate::Percentile::parse(&rank.to_string()).unwrap())
                .collect();
            let mut timer = Timer::default();
            timer.record(1.0, 1.0, 1_000);
            bytes_of(point(MetricKind::Timer, "t", &[], Value::timer(timer, &percentiles)))
        };
        assert_eq!(bytes(4), bytes(1));
        assert_eq!(bytes(8), bytes(4) + allocation(8 * size_of::<f64>()) as u64);
    }

    #[test]
    fn a_part_keeps_all_points_in_memory() {
        let whole = snapshot_of((0..10).map(|_| counter("c", &[], 1.0)).collect());
        let part = Snapshot { points: whole.points.part(0..2), ..whole.clone() };
        assert_eq!(part.heap_bytes(), whole.heap_bytes());
        assert!(whole.only(&crate::PointRanges::first(2)).heap_bytes() < whole.heap_bytes());
    }
}
