//! Lines seen before: the fast path past decoding, tagging and looking up.
//!
//! A client sends the same line over and over, and only the number in it changes. A shape is such a
//! line without its number. A line with a known shape belongs to a known series, has a known weight,
//! and its number is all that is left to read.
//!
//! Looking up has three steps, so that whoever has several lines at hand can overlap the waiting for
//! memory: [`Shapes::look`] for all of them, then [`Shapes::find`], then [`Shapes::check`].

mod lines;

use std::hash::{BuildHasher, Hasher};

use self::lines::{Head, LINE_BYTES_MAX, LineAt, Lines};
use super::seed::{self, Seeded};
use super::tally::Place;
use crate::protocol::SampleValue;
use crate::protocol::split::Split;

/// Shapes in a bucket: as many as a cache line has room for.
const WAYS: usize = 5;
/// Buckets of the smallest index.
const BUCKETS_MIN: usize = 256;
/// The index grows beyond so many shapes a bucket on average: few buckets are full then.
const LOAD_MAX: usize = 2;
/// When all room is used up, it was in vain unless one of so many lines was known.
const HITS_SHARE_MIN: u64 = 4;
/// After a run in vain, lines pass without a look for so many times as long.
const PAUSE_RUNS: u64 = 16;

/// What a number of a known shape means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// An increment.
    Counter,
    /// A new level.
    Gauge,
    /// A measured value.
    Timer,
    /// Nothing: an occurrence.
    Trace,
}

impl Meaning {
    /// What the number of such a value means; none where it is not a plain number.
    #[must_use]
    pub fn of(value: &SampleValue<'_>) -> Option<Self> {
        match value {
            SampleValue::Counter(_) => Some(Self::Counter),
            SampleValue::GaugeSet(_) => Some(Self::Gauge),
            SampleValue::Timer(_) => Some(Self::Timer),
            SampleValue::Trace => Some(Self::Trace),
            SampleValue::Total { .. } | SampleValue::GaugeAdd(_) | SampleValue::Set(_) => None,
        }
    }

    fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Counter,
            1 => Self::Gauge,
            2 => Self::Timer,
            _ => Self::Trace,
        }
    }
}

/// What is known of a line with a known shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// The series' place in the table.
    pub place: Place,
    /// What its number means.
    pub meaning: Meaning,
    /// The sample's weight.
    pub weight: f64,
}

/// A look for a line's shape on its way: its hash, and what was found by it. Whether that is the
/// line's own, [`Shapes::check`] tells.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    hash: u32,
    hit: Option<(Place, LineAt)>,
    /// As of how many changes of the shapes; the first look is as of none.
    changes: u64,
}

/// The shapes of one table: they name its places.
pub struct Shapes {
    /// A power of two of them, or none until the first shape is learned: a listener that nobody
    /// uses costs nothing.
    buckets: Vec<Bucket>,
    lines: Lines,
    count: usize,
    bytes_max: usize,
    /// Counts what makes an earlier [`Look`] void.
    changes: u64,
    /// Drawn anew: senders must not choose lines that push each other out.
    seed: Seeded,
    /// Since all was forgotten for want of room.
    looked_up: u64,
    found: u64,
    /// Lines to let pass without a look.
    pause: u64,
    /// The way whose shape goes next when a bucket is full. Which one is left to chance: lines
    /// often come in turn, and then the oldest is just the one that comes next.
    victim: usize,
}

/// Shapes by a part of their hash. Looking for one touches one cache line.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket {
    /// 0 where there is none.
    hashes: [u32; WAYS],
    places: [Place; WAYS],
    lines: [LineAt; WAYS],
}

impl Shapes {
    /// No shapes; later they may take so many bytes. With 0, none is ever learned.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            buckets: Vec::new(),
            lines: Lines::default(),
            count: 0,
            bytes_max,
            changes: 1,
            seed: seed::draw(),
            looked_up: 0,
            found: 0,
            pause: 0,
            victim: 0,
        }
    }

    /// Whether lines are to be looked up at all right now. To be asked once a line.
    #[inline]
    pub fn is_worth_a_look(&mut self) -> bool {
        if self.pause > 0 {
            self.pause -= 1;
            return false;
        }
        self.looked_up += 1;
        true
    }

    /// Begins to look for a line's shape, and asks the processor to have at hand soon what
    /// [`Shapes::find`] needs.
    #[inline]
    #[must_use]
    pub fn look(&self, split: &Split<'_>) -> Look {
        let (before, after) = split.around();
        let mut hasher = self.seed.build_hasher();
        hasher.write(before);
        hasher.write(after);
        let hash = hasher.finish();
        // 0 is no shape.
        let hash = (hash ^ (hash >> 32)) as u32 | 1 << 31;
        if let Some(bucket) = self.buckets.get(self.bucket_of(hash)) {
            crate::sys::prefetch(bucket);
        }
        Look { hash, hit: None, changes: 0 }
    }

    /// Finds a shape by its hash, and asks for what [`Shapes::check`] needs. Returns the place that
    /// the shape leads to.
    #[inline]
    pub fn find(&self, look: &mut Look, split: &Split<'_>) -> Option<Place> {
        look.hit = self.hit(look.hash);
        look.changes = self.changes;
        let (place, line) = look.hit?;
        self.lines.prefetch(line, split.line.len());
        Some(place)
    }

    /// What is known of the line, if the shape that was found is the line's own.
    #[inline]
    pub fn check(&mut self, look: Look, split: &Split<'_>) -> Option<Known> {
        let is_current = look.changes == self.changes;
        let (place, line) = if is_current { look.hit } else { self.hit(look.hash) }?;
        let (before, after) = split.around();
        let (head, line) = self.lines.get(line);
        if line.len() != before.len() + after.len()
            || usize::from(head.before) != before.len()
            || line[..before.len()] != *before
            || line[before.len()..] != *after
        {
            return None;
        }
        self.found += 1;
        Some(Known { place, meaning: Meaning::from_byte(head.meaning), weight: head.weight })
    }

    #[inline]
    fn hit(&self, hash: u32) -> Option<(Place, LineAt)> {
        let bucket = self.buckets.get(self.bucket_of(hash))?;
        let way = bucket.hashes.iter().position(|known| *known == hash)?;
        Some((bucket.places[way], bucket.lines[way]))
    }

    /// Remembers a line's shape.
    pub fn learn(&mut self, look: Look, split: &Split<'_>, known: Known) {
        let hash = look.hash;
        let (before, after) = split.around();
        let length = before.len() + after.len();
        if length > LINE_BYTES_MAX || self.bytes_max == 0 {
            return;
        }
        self.make_room();
        self.changes += 1;
        let head = Head {
            weight: known.weight,
            before: before.len() as u16,
            length: length as u16,
            meaning: known.meaning as u8,
        };
        let place = self.bucket_of(hash);
        let bucket = &mut self.buckets[place];
        // One of the same hash is either the line's own or would never be found again.
        let same = bucket.hashes.iter().position(|known| *known == hash);
        let way = same.or_else(|| bucket.hashes.iter().position(|known| *known == 0));
        let way = way.unwrap_or_else(|| {
            self.victim = (self.victim + 1) % WAYS;
            self.victim
        });
        if bucket.hashes[way] == 0 {
            self.count += 1;
        } else {
            self.lines.remove(bucket.lines[way]);
        }
        bucket.hashes[way] = hash;
        bucket.places[way] = known.place;
        bucket.lines[way] = self.lines.insert(head, before, after);
    }

    /// Forgets the shapes that lead to other places.
    pub fn retain(&mut self, keep: impl Fn(Place) -> bool) {
        self.changes += 1;
        let Self { buckets, lines, count, .. } = self;
        for bucket in buckets {
            for way in 0..WAYS {
                if bucket.hashes[way] != 0 && !keep(bucket.places[way]) {
                    bucket.hashes[way] = 0;
                    lines.remove(bucket.lines[way]);
                    *count -= 1;
                }
            }
        }
    }

    /// Sees to it that one more fits in.
    fn make_room(&mut self) {
        if self.bytes() >= self.bytes_max {
            if self.found * HITS_SHARE_MIN < self.looked_up {
                self.pause = self.looked_up * PAUSE_RUNS;
            }
            (self.looked_up, self.found, self.count) = (0, 0, 0);
            (self.buckets, self.lines) = (Vec::new(), Lines::default());
        }
        if self.count >= self.buckets.len() * LOAD_MAX {
            self.grow_index();
        }
    }

    fn bytes(&self) -> usize {
        self.lines.bytes() + self.buckets.len() * size_of::<Bucket>()
    }

    fn grow_index(&mut self) {
        let doubled = vec![Bucket::default(); (self.buckets.len() * 2).max(BUCKETS_MIN)];
        let old = std::mem::replace(&mut self.buckets, doubled);
        for bucket in old {
            for way in (0..WAYS).filter(|way| bucket.hashes[*way] != 0) {
                let hash = bucket.hashes[way];
                let place = self.bucket_of(hash);
                // Half of what was in one bucket, or less: there is room.
                let next = &mut self.buckets[place];
                let free = next.hashes.iter().position(|known| *known == 0).unwrap_or(way);
                next.hashes[free] = hash;
                next.places[free] = bucket.places[way];
                next.lines[free] = bucket.lines[way];
            }
        }
    }

    #[inline]
    fn bucket_of(&self, hash: u32) -> usize {
        hash as usize & self.buckets.len().wrapping_sub(1)
    }
}

impl std::fmt::Debug for Shapes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Shapes({})", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Option<Split<'_>> {
        let start = line.find(':').map_or(line.len(), |colon| colon + 1);
        if start == line.len() {
            return Some(Split::without_number(line.as_bytes()));
        }
        Split::at_number(line.as_bytes(), start, true)
    }

    fn known(place: Place) -> Known {
        Known { place, meaning: Meaning::Counter, weight: 1.0 }
    }

    fn learn(shapes: &mut Shapes, line: &str, place: Place) {
        let split = split(line).unwrap();
        shapes.learn(shapes.look(&split), &split, known(place));
    }

    fn find(shapes: &mut Shapes, line: &str) -> Option<Place> {
        let split = split(line).unwrap();
        let mut look = shapes.look(&split);
        shapes.find(&mut look, &split);
        shapes.check(look, &split).map(|known| known.place)
    }

    #[test]
    fn a_line_that_differs_in_its_number_alone_is_known() {
        let mut shapes = Shapes::new(1 << 20);
        learn(&mut shapes, "a:1|c", 7);
        for (line, place) in [
            ("a:1|c", Some(7)),
            ("a:25.5|c", Some(7)),
            ("a:-3|c", Some(7)),
            ("a:1|g", None),
            ("b:1|c", None),
            ("a:1|c ", None),
            ("aa:1|c", None),
            ("a:1", None),
            ("a", None),
        ] {
            assert_eq!(find(&mut shapes, line), place, "{line}");
        }
    }

    #[test]
    fn a_line_without_a_number_is_known_as_a_whole() {
        let mut shapes = Shapes::new(1 << 20);
        learn(&mut shapes, "abc", 1);
        assert_eq!(find(&mut shapes, "abc"), Some(1));
        assert_eq!(find(&mut shapes, "abd"), None);
    }

    #[test]
    fn too_long_a_line_is_simply_not_remembered() {
        let mut shapes = Shapes::new(1 << 20);
        let line = "x".repeat(LINE_BYTES_MAX + 1);
        learn(&mut shapes, &line, 1);
        assert_eq!(find(&mut shapes, &line), None);
        learn(&mut shapes, &line[1..], 1);
        assert_eq!(find(&mut shapes, &line[1..]), Some(1));
    }

    #[test]
    fn what_leads_to_a_place_that_is_gone_is_forgotten_and_its_room_used_again() {
        let mut shapes = Shapes::new(1 << 20);
        for place in 0..1_000 {
            learn(&mut shapes, &format!("m{place:03}:1|c"), place);
        }
        let bytes = shapes.bytes();
        shapes.retain(|place| place % 2 == 0);
        let mut found = |place| find(&mut shapes, &format!("m{place:03}:1|c"));
        let places: Vec<_> = (0..1_000).filter_map(&mut found).collect();
        assert!(places.iter().all(|place| place % 2 == 0));
        // A few were pushed out by others of their bucket.
        assert!(places.len() > 480, "{}", places.len());
        for place in 0..500 {
            learn(&mut shapes, &format!("n{place:03}:1|c"), place);
        }
        assert!(shapes.bytes() < bytes + bytes / 20);
    }

    #[test]
    fn nearly_all_of_many_lines_are_known_as_long_as_there_is_room() {
        let mut shapes = Shapes::new(64 << 20);
        for _ in 0..2 {
            for place in 0..100_000 {
                learn(&mut shapes, &format!("some.name.{place}:1|c"), place);
            }
        }
        let known = (0..100_000)
            .filter(|place| find(&mut shapes, &format!("some.name.{place}:1|c")) == Some(*place));
        assert!(known.count() > 98_000);
    }

    #[test]
    fn beyond_its_room_it_starts_anew_and_pauses_if_it_was_in_vain() {
        let mut shapes = Shapes::new(1 << 20);
        let (mut looks, mut place) = (0, 0);
        while shapes.pause == 0 {
            looks += u32::from(shapes.is_worth_a_look());
            learn(&mut shapes, &format!("some.name.{place}:1|c"), place);
            place += 1;
            assert!(shapes.bytes() <= 2 << 20);
        }
        assert_eq!(shapes.pause, u64::from(looks) * PAUSE_RUNS);

        let mut shapes = Shapes::new(1 << 20);
        for place in 0..100_000 {
            assert!(shapes.is_worth_a_look(), "half of the lines are known");
            learn(&mut shapes, &format!("some.name.{place}:1|c"), place);
            shapes.is_worth_a_look();
            assert!(find(&mut shapes, &format!("some.name.{place}:1|c")).is_some());
        }
    }

    #[test]
    fn without_room_nothing_is_learned() {
        let mut shapes = Shapes::new(0);
        learn(&mut shapes, "a:1|c", 7);
        assert_eq!(find(&mut shapes, "a:1|c"), None);
    }
}
