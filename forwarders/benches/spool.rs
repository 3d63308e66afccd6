//! Measures the cost of a window in the spool.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use forwarders::testing::load;
use forwarders::testing::spool::{Spool, pack, unpack};

const POINTS: [usize; 2] = [1_000, 10_000];

fn main() {
    divan::main();
}

/// Encodes a window as a file.
#[divan::bench(consts = POINTS)]
fn packing<const POINTS: usize>(bencher: Bencher<'_, '_>) {
    let snapshot = load::snapshot(POINTS);
    bencher.counter(ItemsCount::new(POINTS)).bench_local(|| pack(black_box(&snapshot)));
}

/// Decodes a file.
#[divan::bench(consts = POINTS)]
fn unpacking<const POINTS: usize>(bencher: Bencher<'_, '_>) {
    let file = pack(&load::snapshot(POINTS));
    bencher
        .counter(ItemsCount::new(POINTS))
        .bench_local(|| assert_eq!(unpack(black_box(&file)), POINTS));
}

/// Writes a file safely to disk and removes it.
#[divan::bench(consts = POINTS)]
fn writing<const POINTS: usize>(bencher: Bencher<'_, '_>) {
    let file = pack(&load::snapshot(POINTS));
    // The current folder, because /tmp is often in memory.
    let folder = tempfile::tempdir_in(".").expect("a folder");
    let spool = Spool::open(folder.path());
    bencher
        .counter(BytesCount::of_slice(&file))
        .bench_local(|| spool.write_and_remove(black_box(&file)));
}
