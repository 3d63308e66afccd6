//! The points of a snapshot, or a part of them.

use std::ops::{Deref, Range};
use std::slice;
use std::sync::{Arc, OnceLock};

use super::Point;
use crate::heap;

/// Points in a fixed order. Clones and parts share them, so a part of a window is not a copy.
#[derive(Clone, Debug)]
pub struct Points {
    all: Arc<AllPoints>,
    /// The indexes of the part in `all`.
    part: Range<usize>,
}

/// The points that clones and parts share.
#[derive(Debug)]
struct AllPoints {
    points: Vec<Point>,
    /// An estimate of their memory, once it was needed. It takes a look at every series.
    heap_bytes: OnceLock<u64>,
}

impl Points {
    /// A part of the points. Indexes beyond the end are ignored.
    #[must_use]
    pub fn part(&self, indexes: Range<usize>) -> Self {
        let end = self.len().min(indexes.end);
        let start = end.min(indexes.start);
        let part = self.part.start + start..self.part.start + end;
        Self { all: Arc::clone(&self.all), part }
    }

    /// An estimate of the memory of all points, also of those outside this part.
    pub(crate) fn heap_bytes(&self) -> u64 {
        *self.all.heap_bytes.get_or_init(|| heap::points_bytes(&self.all.points))
    }
}

impl Deref for Points {
    type Target = [Point];

    fn deref(&self) -> &[Point] {
        &self.all.points[self.part.clone()]
    }
}

impl From<Vec<Point>> for Points {
    fn from(points: Vec<Point>) -> Self {
        let part = 0..points.len();
        Self { all: Arc::new(AllPoints { points, heap_bytes: OnceLock::new() }), part }
    }
}

impl FromIterator<Point> for Points {
    fn from_iter<I: IntoIterator<Item = Point>>(points: I) -> Self {
        points.into_iter().collect::<Vec<_>>().into()
    }
}

impl<'a> IntoIterator for &'a Points {
    type Item = &'a Point;
    type IntoIter = slice::Iter<'a, Point>;

    fn into_iter(self) -> slice::Iter<'a, Point> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::snapshot_of_counters;

    #[test]
    fn a_part_of_a_part_is_a_part_of_the_whole_and_ends_with_it() {
        let all = snapshot_of_counters(10).points;
        let named = |points: &super::Points| -> Vec<String> {
            points.iter().map(|point| point.series.to_string()).collect()
        };
        let names = named(&all);
        assert_eq!(named(&all.part(0..10)), names);
        assert_eq!(named(&all.part(2..8).part(1..3)), names[3..5]);
        assert_eq!(named(&all.part(2..8).part(4..100)), names[6..8]);
        assert!(all.part(11..20).is_empty() && all.part(4..4).is_empty());
    }
}
