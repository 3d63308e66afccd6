//! Measures the encoding of a window for each destination.
//!
//! An entry in `forwarders/src/testing/encoders.rs` adds a destination.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use forwarders::payload::Batch;
use forwarders::testing::{encoders, load};
use model::Snapshot;

/// Windows that are encoded before the measurement, so that the encoders' buffers have reached
/// their size and the allocator reuses large blocks.
const WARM_UP_WINDOWS: usize = 3;

fn main() {
    divan::main();
}

/// Of ten series, eight are counters, one is a gauge and one a timer.
#[divan::bench(args = encoders::names(), consts = [1_000, 100_000], sample_count = 50)]
fn mixed<const POINTS: usize>(bencher: Bencher<'_, '_>, encoder: &str) {
    encode(bencher, encoder, &load::snapshot(POINTS));
}

/// Only timers, the most expensive kind.
#[divan::bench(args = encoders::names(), consts = [1_000, 100_000], sample_count = 50)]
fn timers<const POINTS: usize>(bencher: Bencher<'_, '_>, encoder: &str) {
    encode(bencher, encoder, &load::snapshot_of_timers(POINTS));
}

fn encode(bencher: Bencher<'_, '_>, encoder: &str, snapshot: &Snapshot) {
    let mut encode = encoders::encoder(encoder);
    let mut batch = Batch::default();
    let mut encode_window = || {
        batch.clear();
        encode(black_box(snapshot), &mut batch);
        assert_eq!(batch.points_pending(), snapshot.points.len() as u64);
    };
    (0..WARM_UP_WINDOWS).for_each(|_| encode_window());
    bencher.counter(ItemsCount::new(snapshot.points.len())).bench_local(encode_window);
}
