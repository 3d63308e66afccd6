//! Groups of windows of one sender whose numbers overlap.
//!
//! Most groups are one window. After a restart within a window, the next run may end other windows before
//! the one that it continues, if the interval has changed: then the numbers of these windows are missing
//! in it.

use crate::evidence::Span;
use crate::numbers::{Numbers, Range};

/// A group of windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cluster {
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// How many samples it has.
    pub(crate) count: u64,
    sum: f64,
}

impl Cluster {
    /// Groups windows.
    pub(crate) fn group(mut spans: Vec<Span>) -> Vec<Self> {
        spans.sort_by_key(|span| (span.first, span.last));
        let mut clusters = Vec::<Self>::new();
        for Span { first, last, count, sum } in spans {
            match clusters.last_mut() {
                Some(cluster) if first <= cluster.last => {
                    cluster.last = cluster.last.max(last);
                    cluster.count += count;
                    cluster.sum += sum;
                }
                _ => clusters.push(Self { first, last, count, sum }),
            }
        }
        clusters
    }

    pub(crate) fn range(&self) -> Range {
        (self.first, self.last)
    }

    /// The error of the cluster, unless it has none; the `allowed` numbers may be missing.
    pub(crate) fn fault(&self, allowed: &Numbers, kernel_drops: u64) -> Option<&'static str> {
        let length = self.last - self.first + 1;
        if self.count > length {
            return Some("samples are in two windows");
        }
        let (numbers, _) = Numbers::of([self.range()]);
        let may_lack = numbers.count() - numbers.without(allowed).count() + kernel_drops;
        if length - self.count > may_lack {
            return Some("samples are missing");
        }
        let whole = (self.first + self.last) as f64 * length as f64 / 2.0;
        (self.count == length && self.sum != whole).then_some("samples are wrong")
    }

    /// How many samples above `bound` it has. A restart that `bound` stands for made its holes.
    pub(crate) fn count_above(&self, bound: u64) -> u64 {
        if bound < self.first { self.count } else { self.last.saturating_sub(bound) }
    }
}

#[test]
fn windows_in_a_hole_of_another_complete_it() {
    let span = |first, last, count, sum| Span { first, last, count, sum };
    let [none, some] = [vec![], vec![(3, 4)]].map(|ranges| Numbers::of(ranges).0);
    let whole = Cluster::group(vec![span(1, 9, 6, 29.0), span(4, 6, 3, 16.0)]);
    assert_eq!(whole[0].fault(&none, 0), None);
    let twice = Cluster::group(vec![span(1, 9, 9, 45.0), span(4, 6, 3, 15.0)]);
    assert_eq!(twice[0].fault(&none, 0), Some("samples are in two windows"));
    let holes = Cluster::group(vec![span(1, 9, 7, 38.0)]);
    assert_eq!(holes[0].fault(&none, 0), Some("samples are missing"));
    assert_eq!(holes[0].fault(&some, 0), None);
    assert_eq!((holes[0].count_above(0), holes[0].count_above(4)), (7, 5));
}
