//! A window into the bytes that a destination sends.
//!
//! A destination is measured by a line in `forwarders/src/testing/encoders.rs`.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use forwarders::payload::Batch;
use forwarders::testing::{encoders, load};

fn main() {
    divan::main();
}

#[divan::bench(args = encoders::names(), consts = [1_000, 100_000])]
fn points<const POINTS: usize>(bencher: Bencher<'_, '_>, encoder: &str) {
    let snapshot = load::snapshot(POINTS);
    let mut encode = encoders::encoder(encoder);
    let mut batch = Batch::default();
    bencher.counter(ItemsCount::new(POINTS)).bench_local(|| {
        batch.clear();
        encode(black_box(&snapshot), &mut batch);
        assert_eq!(batch.points_pending(), POINTS as u64);
    });
}
