//! The tables of a window into a snapshot: merge, summarise, forget.

use std::cell::RefCell;

use benches::datagrams::Datagrams;
use benches::pipeline::Pipeline;
use benches::wording;
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

#[divan::bench(consts = [1_000, 100_000], sample_size = 1, sample_count = 20)]
fn series<const SERIES: usize>(bencher: Bencher<'_, '_>) {
    flush(bencher, SERIES, 5);
}

/// Takes a gigabyte and half a minute, so it has to be asked for: `--include-ignored`.
#[divan::bench(consts = [1_000_000], sample_size = 1, sample_count = 10)]
#[ignore = "takes long"]
fn many_series<const SERIES: usize>(bencher: Bencher<'_, '_>) {
    flush(bencher, SERIES, 1);
}

fn flush(bencher: Bencher<'_, '_>, series: usize, rounds: usize) {
    let wording = &wording::DOGSTATSD;
    let pipeline = RefCell::new(Pipeline::warm(wording, series));
    let datagrams = Datagrams::of_metrics(wording, series, 0..rounds);
    bencher
        .counter(ItemsCount::new(series))
        .with_inputs(|| {
            pipeline.borrow_mut().record(&datagrams);
            pipeline.borrow_mut().hand_over()
        })
        .bench_local_values(|handed| pipeline.borrow_mut().flush_tally(handed));
}
