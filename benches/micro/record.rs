//! Datagrams into the table of a listener: decode, tag, look up, add.

use std::cell::RefCell;

use benches::datagrams::Datagrams;
use benches::pipeline::Pipeline;
use benches::wording::{self, Wording};
use divan::Bencher;
use divan::counter::ItemsCount;

/// Samples of a series in a window.
const ROUNDS: usize = 5;

fn main() {
    divan::main();
}

/// Known series, the same lines again and again but for their numbers. With few series they are
/// recognised, with many they are decoded.
#[divan::bench(
    args = [&wording::JSON, &wording::STATSD, &wording::DOGSTATSD],
    consts = [1_000, 100_000],
    sample_count = 20,
    sample_size = 1,
)]
fn known_lines<const SERIES: usize>(bencher: Bencher<'_, '_>, wording: &Wording) {
    known(bencher, wording, SERIES);
}

/// Known series, each line with a time of its own, so that it has to be decoded.
#[divan::bench(
    args = [&wording::JSON_TIMED, &wording::DOGSTATSD_TIMED],
    consts = [1_000, 100_000],
    sample_count = 20,
    sample_size = 1,
)]
fn new_lines<const SERIES: usize>(bencher: Bencher<'_, '_>, wording: &Wording) {
    known(bencher, wording, SERIES);
}

/// Series that nobody has seen before.
#[divan::bench(
    args = [&wording::JSON, &wording::STATSD, &wording::DOGSTATSD],
    consts = [1_000, 100_000],
    sample_count = 20,
    sample_size = 1,
)]
fn new_series<const SERIES: usize>(bencher: Bencher<'_, '_>, wording: &Wording) {
    let datagrams = Datagrams::of_metrics(wording, SERIES, 0..1);
    bencher
        .counter(ItemsCount::new(SERIES))
        .with_inputs(|| Pipeline::new(wording.protocol))
        .bench_local_values(|mut pipeline| {
            pipeline.record(&datagrams);
            pipeline
        });
}

fn known(bencher: Bencher<'_, '_>, wording: &Wording, series: usize) {
    let pipeline = RefCell::new(Pipeline::warm(wording, series));
    let datagrams = Datagrams::of_metrics(wording, series, 0..ROUNDS);
    bencher
        .counter(ItemsCount::new(series * ROUNDS))
        // Each time into a new window.
        .with_inputs(|| pipeline.borrow_mut().flush())
        .bench_local_values(|_window_before| pipeline.borrow_mut().record(&datagrams));
}
