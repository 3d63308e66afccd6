//! The program whose instructions callgrind counts: `scripts/bench-instructions.sh` runs it once
//! for each benchmark.
//!
//! Without an argument, it lists the benchmarks. With the name of one, it prepares the benchmark,
//! runs it once within [`counted_region`], and prints the number of messages, samples, series or
//! points.

use std::hint::black_box;
use std::process::ExitCode;
use std::thread;

use benches::datagrams::DatagramList;
use benches::message_format::{self, MessageFormat};
use benches::pipeline::BenchPipeline;
use benches::rejects::{self, Rejects};
use benches::rules;
use forwarders::payload::Batch;
use forwarders::testing::{encoders, load};

const METRICS: usize = 1_000;
const ROUNDS: usize = 10;

/// Prepares and runs a benchmark, and returns the number of units.
type Benchmark = Box<dyn FnOnce() -> usize + Send>;

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn main() -> ExitCode {
    let asked = std::env::args().nth(1);
    for (name, benchmark) in benchmarks() {
        match &asked {
            None => println!("{name}"),
            Some(asked) if *asked == name => {
                // On a thread, as in the daemon. The stack of the main thread would start after the
                // environment, whose length changes its alignment and so the instructions of a
                // copy.
                let units = thread::spawn(benchmark).join();
                println!("{}", units.expect("a benchmark that does not panic"));
                return ExitCode::SUCCESS;
            }
            Some(_) => {}
        }
    }
    let Some(asked) = asked else { return ExitCode::SUCCESS };
    eprintln!("unknown benchmark `{asked}`");
    ExitCode::FAILURE
}

fn benchmarks() -> Vec<(String, Benchmark)> {
    let mut all: Vec<(String, Benchmark)> = Vec::new();
    for format in message_format::ALL {
        all.push((format!("decode/{format}"), Box::new(|| decode(format))));
    }
    for rejects in rejects::ALL {
        all.push((format!("decode/{rejects}"), Box::new(|| reject(rejects))));
    }
    for format in [
        &message_format::JSON,
        &message_format::JSON_TIMED,
        &message_format::STATSD,
        &message_format::STATSD_TEN,
        &message_format::DOGSTATSD,
        &message_format::DOGSTATSD_TIMED,
        &message_format::DOGSTATSD_PACKED,
        &message_format::DOGSTATSD_PACKED_TIMED,
    ] {
        all.push((format!("record/{format}"), Box::new(|| record(format, METRICS))));
    }
    for format in [&message_format::JSON, &message_format::STATSD, &message_format::DOGSTATSD] {
        all.push((format!("record/{format}-uncached"), Box::new(|| record_uncached(format))));
    }
    let reordered = &message_format::DOGSTATSD_REORDERED;
    all.push((format!("record/{reordered}"), Box::new(|| record_reordered(reordered))));
    // As many instructions as without rules.
    for format in [&message_format::JSON, &message_format::STATSD] {
        all.push((format!("record/{format}-ruled"), Box::new(|| record_ruled(format))));
    }
    let longest = &message_format::DOGSTATSD_LONGEST;
    all.push((format!("record/{longest}"), Box::new(|| record(longest, 1))));
    for format in [&message_format::JSON, &message_format::STATSD, &message_format::DOGSTATSD] {
        let name = format!("record/{format}-new-series");
        all.push((name, Box::new(|| record_new_series(format))));
    }
    for series in [1_000, 10_000] {
        let format = &message_format::DOGSTATSD;
        all.push((format!("flush/{series}"), Box::new(move || flush(format, series))));
    }
    // Without tags, each series has its own name.
    for series in [1_000, 10_000] {
        let (name, format) = (format!("flush/own-names-{series}"), &message_format::STATSD);
        all.push((name, Box::new(move || flush(format, series))));
    }
    for encoder in encoders::names() {
        all.push((format!("encode/{encoder}"), Box::new(|| encode(encoder))));
    }
    all
}

/// The counted code: callgrind starts counting when this function is entered, and stops when it is
/// left.
#[inline(never)]
fn counted_region(work: &mut dyn FnMut()) {
    work();
    // Prevents a tail call: a jump into `work` would not return to this function.
    black_box(work);
}

fn decode(format: &MessageFormat) -> usize {
    let datagrams = DatagramList::of_metrics(format, METRICS, 0..1);
    decode_as(&datagrams, (METRICS * format.samples, 0))
}

fn reject(rejects: &Rejects) -> usize {
    let datagrams = rejects.datagrams(ROUNDS);
    decode_as(&datagrams, (0, datagrams.iter().len()))
}

fn decode_as(datagrams: &DatagramList, expected: (usize, usize)) -> usize {
    assert_eq!(datagrams.decode(), expected, "samples, rejections");
    counted_region(&mut || {
        black_box(datagrams.decode());
    });
    expected.0 + expected.1
}

/// Known series, whose lines are in the line cache if the format allows it.
fn record(format: &MessageFormat, series: usize) -> usize {
    let mut pipeline = BenchPipeline::warm(format, series);
    let datagrams = DatagramList::of_metrics(format, series, 0..ROUNDS);
    record_into(&mut pipeline, &datagrams)
}

/// [`record`] with ten thousand rules, of which the last one changes the tags of all series.
fn record_ruled(format: &MessageFormat) -> usize {
    let mut pipeline = BenchPipeline::warm_with_rules(format, METRICS, rules::globs(10_000));
    let datagrams = DatagramList::of_metrics(format, METRICS, 0..ROUNDS);
    record_into(&mut pipeline, &datagrams)
}

/// Known series without a line cache.
fn record_uncached(format: &MessageFormat) -> usize {
    let mut pipeline = BenchPipeline::warm_without_line_cache(format, METRICS);
    let datagrams = DatagramList::of_metrics(format, METRICS, 0..ROUNDS);
    record_into(&mut pipeline, &datagrams)
}

/// Known series, each time with an order of the tags that has not come before.
fn record_reordered(format: &MessageFormat) -> usize {
    let mut pipeline = BenchPipeline::warm(format, METRICS);
    let datagrams = DatagramList::of_metrics(format, METRICS, ROUNDS..2 * ROUNDS);
    record_into(&mut pipeline, &datagrams)
}

fn record_new_series(format: &MessageFormat) -> usize {
    let datagrams = DatagramList::of_metrics(format, METRICS, 0..1);
    record_into(&mut BenchPipeline::new(format.protocol), &datagrams)
}

fn record_into(pipeline: &mut BenchPipeline, datagrams: &DatagramList) -> usize {
    let before = pipeline.recorded();
    counted_region(&mut || pipeline.record(datagrams));
    (pipeline.recorded() - before) as usize
}

fn flush(format: &MessageFormat, series: usize) -> usize {
    let mut pipeline = BenchPipeline::warm(format, series);
    pipeline.record(&DatagramList::of_metrics(format, series, 0..ROUNDS));
    let mut handed = Some(pipeline.hand_over());
    let mut snapshot = None;
    counted_region(&mut || snapshot = handed.take().map(|handed| pipeline.flush_tally(handed)));
    snapshot.map_or(0, |snapshot| snapshot.points.len())
}

fn encode(encoder: &str) -> usize {
    let snapshot = load::snapshot(METRICS);
    let mut encode = encoders::encoder(encoder);
    let mut batch = Batch::default();
    // Once before counting, so that the batch has allocated its memory.
    encode(&snapshot, &mut batch);
    batch.clear();
    counted_region(&mut || encode(&snapshot, &mut batch));
    assert_eq!(batch.points_pending(), METRICS as u64, "points");
    METRICS
}
