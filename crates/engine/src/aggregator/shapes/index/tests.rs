use super::*;
use crate::aggregator::seed::{self, KeyStream};
use crate::aggregator::shapes::NumberMeaning;

/// Hashes of `count` lines.
fn hashes(count: usize) -> Vec<LineHash> {
    let mut key = seed::draw_key();
    let hash = |key: &mut KeyStream| LineHash {
        first: key.draw_word(),
        second: NonZero::<u32>::MIN | key.draw_word() as u32 & !CAME_AGAIN,
    };
    (0..count).map(|_| hash(&mut key)).collect()
}

fn target(slot: usize) -> ShapeTarget {
    ShapeTarget { slot: slot as SeriesSlot, meaning: NumberMeaning::Timer }
}

fn find(index: &mut ShapeIndex, hash: LineHash) -> Option<ShapeTarget> {
    index.find_in(0, hash).or_else(|| index.find_in(1, hash))
}

fn insert_all(index: &mut ShapeIndex, hashes: &[LineHash]) {
    for (slot, hash) in hashes.iter().enumerate() {
        if find(index, *hash).is_none() {
            index.insert(*hash, target(slot));
        }
    }
}

/// The share of these hashes that the table contains, in percent.
fn share(index: &mut ShapeIndex, hashes: &[LineHash]) -> usize {
    let known = hashes.iter().enumerate().filter(|(slot, hash)| {
        let found = find(index, **hash);
        assert!(found.is_none_or(|found| found == target(*slot)));
        found.is_some()
    });
    known.count() * 100 / hashes.len()
}

#[test]
fn while_the_table_grows_nearly_all_entries_find_room() {
    let mut index = ShapeIndex::new(64 << 20);
    let all = hashes(50_000);
    for count in [100, 1_000, 12_000, 29_000, 29_500, 44_000, 45_000, 50_000] {
        insert_all(&mut index, &all[..count]);
        assert!(share(&mut index, &all[..count]) >= 99, "{count}");
        assert!(index.bytes() <= (count * 33).max(BUCKETS_MIN * 64), "{count}");
    }
}

#[test]
fn a_full_table_keeps_entries_that_come_again() {
    let mut index = ShapeIndex::new(1 << 18);
    let all = hashes(1 << 18);
    let (again, once) = all.split_at(10_000);
    for _ in 0..3 {
        insert_all(&mut index, again);
    }
    let share_before = share(&mut index, again);
    assert!(share_before >= 99, "{share_before}");
    for (slot, hash) in once.iter().enumerate() {
        index.insert(*hash, target(again.len() + slot));
        find(&mut index, again[slot % again.len()]);
    }
    assert_eq!(index.bytes(), 1 << 18);
    let share_after = share(&mut index, again);
    assert!(share_after >= 80, "{share_after} %");
}

#[test]
fn with_more_entries_than_room_a_part_of_them_is_found() {
    for (times, at_least) in [(2, 40), (4, 17)] {
        // Room for 16,384.
        let mut index = ShapeIndex::new(1 << 18);
        let all = hashes(16_384 * times);
        for _ in 0..4 {
            insert_all(&mut index, &all);
        }
        let share = share(&mut index, &all);
        assert!(share >= at_least, "{share} %");
    }
}

#[test]
fn entries_of_the_past_make_room_for_those_of_today() {
    let mut index = ShapeIndex::new(1 << 18);
    for all in hashes(30_000).chunks(10_000) {
        for _ in 0..60 {
            insert_all(&mut index, all);
        }
        let share = share(&mut index, all);
        assert!(share >= 50, "{share} %");
    }
}

/// Hashes of lines whose buckets are the first one and the one at this place of a table of the
/// smallest size.
fn hashes_in_first_bucket(other: u64, count: u32) -> Vec<LineHash> {
    let half = other << (32 - BUCKETS_MIN.ilog2());
    let second = |number: u32| NonZero::<u32>::MIN | number << 1;
    (0..count).map(|number| LineHash { first: half, second: second(number) }).collect()
}

/// A table of the smallest size with the first bucket full.
fn index_with_full_bucket(full: &[LineHash]) -> ShapeIndex {
    let mut index = ShapeIndex::new(BUCKETS_MIN * size_of::<Bucket>());
    assert_eq!(full.len(), WAYS);
    insert_all(&mut index, full);
    assert_eq!(index.buckets[0].entries().count(), WAYS);
    index
}

#[test]
fn an_entry_in_a_full_bucket_moves_to_its_other_one() {
    let full = hashes_in_first_bucket(7, WAYS as u32);
    let mut index = index_with_full_bucket(&full);
    let new = hashes_in_first_bucket(0, WAYS as u32 + 1)[WAYS];
    index.insert(new, target(99));
    assert_eq!(index.find_in(0, new), Some(target(99)));
    assert_eq!(share(&mut index, &full), 100);
    assert_eq!(index.len(), WAYS + 1);
}

#[test]
fn each_line_that_no_longer_comes_makes_room_in_turn() {
    let all = hashes_in_first_bucket(0, 3 * WAYS as u32);
    let [full, new, once] = all.as_chunks::<WAYS>().0 else { panic!("three groups") };
    let mut index = index_with_full_bucket(full);
    assert_eq!(share(&mut index, full), 100, "they came again");
    let insert_as_often_as_one_is_admitted = |index: &mut ShapeIndex, hash| {
        (0..ADMIT_ONE_IN).for_each(|_| index.insert(hash, target(0)));
    };
    for (new, once) in new.iter().zip(once) {
        // The first time removes a mark, the second time this line takes the place.
        insert_as_often_as_one_is_admitted(&mut index, *once);
        insert_as_often_as_one_is_admitted(&mut index, *once);
        insert_as_often_as_one_is_admitted(&mut index, *new);
        assert_eq!(find(&mut index, *new), Some(target(0)));
        assert_eq!(find(&mut index, *once), None);
    }
    assert_eq!(share(&mut index, full), 0);
    assert!(new.iter().all(|hash| find(&mut index, *hash).is_some()));
    assert_eq!(index.len(), WAYS);
}

#[test]
fn a_table_grows_by_half_and_so_rarely() {
    let mut index = ShapeIndex::new(64 << 20);
    let mut sizes = Vec::new();
    for (slot, hash) in hashes(4_000).into_iter().enumerate() {
        index.insert(hash, target(slot));
        sizes.push(index.buckets.len());
    }
    sizes.dedup();
    assert_eq!(sizes, [256, 384, 576, 864, 1_296, 1_944]);
}

#[test]
fn a_table_of_the_largest_size_is_not_built_anew() {
    let mut index = ShapeIndex::new(BUCKETS_MIN * size_of::<Bucket>());
    let all = hashes(WAYS * BUCKETS_MIN);
    insert_all(&mut index, &all);
    share(&mut index, &all);
    let marked = |index: &ShapeIndex| {
        let seconds = index.buckets.iter().flat_map(|bucket| bucket.seconds);
        seconds.filter(|second| second & CAME_AGAIN != 0).count()
    };
    let before = marked(&index);
    assert!(before > LOAD_MAX * BUCKETS_MIN, "{before}");
    index.insert(hashes(1)[0], target(0));
    assert!(marked(&index) + 1 >= before, "at most one line lost its mark");
}

#[test]
fn a_table_has_room_until_it_has_its_largest_size_and_load() {
    assert!(!ShapeIndex::new(0).has_room());
    let mut index = ShapeIndex::new(BYTES_MIN);
    let largest = LOAD_MAX * BUCKETS_MIN;
    for hash in hashes(largest + 100) {
        assert_eq!(index.has_room(), index.len() < largest, "{}", index.len());
        index.insert(hash, target(0));
    }
    assert!(index.len() > largest);
}

#[test]
fn lines_that_share_a_part_of_their_hash_are_different() {
    let [one, other] = hashes(2)[..] else { panic!("two") };
    let mut index = ShapeIndex::new(1 << 20);
    index.insert(one, target(1));
    assert_eq!(find(&mut index, LineHash { first: one.first, ..other }), None);
    // A free place has the first part 0.
    let mut index = ShapeIndex::new(1 << 20);
    let zero = LineHash { first: 0, ..one };
    index.insert(zero, target(1));
    assert_eq!(find(&mut index, LineHash { first: 1, ..one }), None);
    assert_eq!(find(&mut index, zero), Some(target(1)));
}

#[test]
fn an_entry_with_the_same_hash_is_replaced() {
    let mut index = ShapeIndex::new(1 << 20);
    let hash = hashes(1)[0];
    index.insert(hash, target(1));
    index.insert(hash, target(2));
    assert_eq!(find(&mut index, hash), Some(target(2)));
    assert_eq!(index.len(), 1);
}

#[test]
fn a_slot_or_a_table_without_room_caches_nothing() {
    let hash = hashes(1)[0];
    for (bytes_max, slot, is_found) in [
        (16 << 10, 1, true),
        ((16 << 10) - 1, 1, false),
        (0, 1, false),
        (1 << 20, SLOT_MAX as usize, true),
        (1 << 20, SLOT_MAX as usize + 1, false),
    ] {
        let mut index = ShapeIndex::new(bytes_max);
        index.insert(hash, target(slot));
        assert_eq!(find(&mut index, hash).is_some(), is_found, "{bytes_max} {slot}");
    }
}

#[test]
fn each_meaning_comes_back() {
    use NumberMeaning::{Counter, Gauge, Timer, Trace};
    let mut index = ShapeIndex::new(1 << 20);
    for (hash, meaning) in hashes(4).into_iter().zip([Counter, Gauge, Timer, Trace]) {
        let target = ShapeTarget { slot: SLOT_MAX, meaning };
        index.insert(hash, target);
        assert_eq!(find(&mut index, hash), Some(target));
    }
}
