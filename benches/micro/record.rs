//! Records datagrams into the table of a listener: decodes, tags, looks up, adds.

use std::cell::RefCell;
use std::sync::Arc;

use benches::datagrams::DatagramList;
use benches::message_format::{self, MessageFormat};
use benches::pipeline::BenchPipeline;
use benches::rules::{self, Regexes};
use divan::Bencher;
use divan::counter::ItemsCount;
use engine::listener::Protocol;
use engine::rules::Rules;

/// Samples per series and window.
const ROUNDS: usize = 5;
/// New series for many rules.
const NEW_SERIES: usize = 100_000;

fn main() {
    divan::main();
}

/// Known series: the same lines again and again, with different numbers.
#[divan::bench(
    args = [
        &message_format::JSON,
        &message_format::STATSD,
        &message_format::DOGSTATSD,
        &message_format::DOGSTATSD_PACKED,
    ],
    consts = [1_000, 100_000],
    sample_count = 20,
    sample_size = 1,
)]
fn known_lines<const SERIES: usize>(bencher: Bencher<'_, '_>, format: &MessageFormat) {
    known(bencher, format, SERIES);
}

/// Known series, with a different time on each line.
#[divan::bench(
    args = [&message_format::JSON_TIMED, &message_format::DOGSTATSD_TIMED],
    consts = [1_000, 100_000],
    sample_count = 20,
    sample_size = 1,
)]
fn timed_lines<const SERIES: usize>(bencher: Bencher<'_, '_>, format: &MessageFormat) {
    known(bencher, format, SERIES);
}

/// New series.
#[divan::bench(
    args = [&message_format::JSON, &message_format::STATSD, &message_format::DOGSTATSD],
    consts = [1_000, 100_000],
    sample_count = 20,
    sample_size = 1,
)]
fn new_series<const SERIES: usize>(bencher: Bencher<'_, '_>, format: &MessageFormat) {
    let datagrams = DatagramList::of_metrics(format, SERIES, 0..1);
    bencher
        .counter(ItemsCount::new(SERIES))
        .with_inputs(|| BenchPipeline::new(format.protocol))
        .bench_local_values(|mut pipeline| {
            pipeline.record(&datagrams);
            pipeline
        });
}

/// 100,000 new series, with this number of rules; 0 for none.
#[divan::bench(args = [0, 100, 10_000], sample_count = 10, sample_size = 1)]
fn new_series_with_globs(bencher: Bencher<'_, '_>, rules: usize) {
    let compiled = if rules == 0 { Arc::default() } else { rules::globs(rules) };
    new_series_with_rules(bencher, &compiled, &rules::lines(NEW_SERIES, 10_000));
}

/// The same with regular expressions.
#[divan::bench(
    args = [Regexes::Start, Regexes::Middle, Regexes::Unicode, Regexes::Classes],
    consts = [100, 10_000],
    sample_count = 10,
    sample_size = 1,
)]
fn new_series_with_regexes<const RULES: usize>(bencher: Bencher<'_, '_>, regexes: Regexes) {
    new_series_with_rules(bencher, &regexes.rules(RULES), &regexes.lines(NEW_SERIES, 10_000));
}

/// The time to compile rules with regular expressions.
#[divan::bench(
    args = [Regexes::Start, Regexes::Middle, Regexes::Unicode, Regexes::Classes],
    sample_count = 3,
    sample_size = 1,
)]
fn compile_10_000_regexes(bencher: Bencher<'_, '_>, regexes: Regexes) {
    bencher.bench_local(|| regexes.rules(10_000));
}

fn new_series_with_rules(
    bencher: Bencher<'_, '_>,
    compiled: &Arc<Rules>,
    datagrams: &DatagramList,
) {
    bencher
        .counter(ItemsCount::new(NEW_SERIES))
        .with_inputs(|| BenchPipeline::with_rules(Protocol::Statsd, Arc::clone(compiled)))
        .bench_local_values(|mut pipeline| {
            pipeline.record(datagrams);
            pipeline
        });
}

/// A datagram of 9 KB: one line with as many values and tags as the default limits allow.
#[divan::bench(sample_count = 100)]
fn longest_line(bencher: Bencher<'_, '_>) {
    let format = &message_format::DOGSTATSD_LONGEST;
    let pipeline = RefCell::new(BenchPipeline::warm(format, 1));
    let datagrams = DatagramList::of_metrics(format, 1, 0..1);
    bencher
        .counter(ItemsCount::new(format.samples))
        .bench_local(|| pipeline.borrow_mut().record(&datagrams));
}

fn known(bencher: Bencher<'_, '_>, format: &MessageFormat, series: usize) {
    let pipeline = RefCell::new(BenchPipeline::warm(format, series));
    let datagrams = DatagramList::of_metrics(format, series, 0..ROUNDS);
    bencher
        .counter(ItemsCount::new(series * ROUNDS * format.samples))
        // Each iteration records into a new window.
        .with_inputs(|| pipeline.borrow_mut().flush())
        .bench_local_values(|_window_before| pipeline.borrow_mut().record(&datagrams));
}
