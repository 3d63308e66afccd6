//! Turns the tallies of a window into a snapshot: merges, summarises, expires.

use std::cell::RefCell;

use benches::datagrams::DatagramList;
use benches::message_format::{self, MessageFormat};
use benches::pipeline::BenchPipeline;
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

#[divan::bench(consts = [1_000, 100_000], sample_size = 1, sample_count = 20)]
fn series<const SERIES: usize>(bencher: Bencher<'_, '_>) {
    flush(bencher, &message_format::DOGSTATSD, SERIES, 5);
}

/// Without tags, each series has its own name.
#[divan::bench(consts = [1_000, 100_000], sample_size = 1, sample_count = 20)]
fn own_names<const SERIES: usize>(bencher: Bencher<'_, '_>) {
    flush(bencher, &message_format::STATSD, SERIES, 5);
}

/// Only timers, with 20 samples each.
#[divan::bench(consts = [1_000, 100_000], sample_size = 1, sample_count = 20)]
fn timers<const SERIES: usize>(bencher: Bencher<'_, '_>) {
    let format = &message_format::DOGSTATSD_PACKED;
    let datagrams = DatagramList::of_timers(format, SERIES, 0..4);
    let mut pipeline = BenchPipeline::new(format.protocol);
    for _ in 0..2 {
        pipeline.record(&datagrams);
        assert_eq!(pipeline.flush().points.len(), SERIES, "series");
    }
    measure(bencher, pipeline, &datagrams, SERIES);
}

/// Takes a gigabyte and half a minute, so it runs only with `--include-ignored`.
#[divan::bench(consts = [1_000_000], sample_size = 1, sample_count = 10)]
#[ignore = "takes long"]
fn many_series<const SERIES: usize>(bencher: Bencher<'_, '_>) {
    flush(bencher, &message_format::DOGSTATSD, SERIES, 1);
}

/// Like [`many_series`].
#[divan::bench(consts = [1_000_000], sample_size = 1, sample_count = 10)]
#[ignore = "takes long"]
fn many_own_names<const SERIES: usize>(bencher: Bencher<'_, '_>) {
    flush(bencher, &message_format::STATSD, SERIES, 1);
}

fn flush(bencher: Bencher<'_, '_>, format: &MessageFormat, series: usize, rounds: usize) {
    let datagrams = DatagramList::of_metrics(format, series, 0..rounds);
    measure(bencher, BenchPipeline::warm(format, series), &datagrams, series);
}

fn measure(
    bencher: Bencher<'_, '_>,
    pipeline: BenchPipeline,
    datagrams: &DatagramList,
    series: usize,
) {
    let pipeline = RefCell::new(pipeline);
    bencher
        .counter(ItemsCount::new(series))
        .with_inputs(|| {
            pipeline.borrow_mut().record(datagrams);
            pipeline.borrow_mut().hand_over()
        })
        .bench_local_values(|handed| pipeline.borrow_mut().flush_tally(handed));
}
