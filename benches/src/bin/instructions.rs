//! What callgrind counts: `scripts/bench-instructions.sh` runs this once for each benchmark.
//!
//! Without an argument, it lists the benchmarks. With the name of one, it prepares it, runs it once
//! within [`counted_region`], and prints of how many messages, samples, series or points it was.

use std::hint::black_box;
use std::process::ExitCode;
use std::thread;

use benches::datagrams::Datagrams;
use benches::pipeline::Pipeline;
use benches::rejects::{self, Rejects};
use benches::wording::{self, Wording};
use forwarders::payload::Batch;
use forwarders::testing::{encoders, load};

const METRICS: usize = 1_000;
const ROUNDS: usize = 10;

/// Prepares, counts, and tells of how many.
type Benchmark = Box<dyn FnOnce() -> usize + Send>;

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn main() -> ExitCode {
    let asked = std::env::args().nth(1);
    for (name, benchmark) in benchmarks() {
        match &asked {
            None => println!("{name}"),
            Some(asked) if *asked == name => {
                // On a thread, as in the daemon. And the main thread's stack begins behind the
                // environment: copying takes other instructions if that is longer.
                let units = thread::spawn(benchmark).join();
                println!("{}", units.expect("a benchmark that does not panic"));
                return ExitCode::SUCCESS;
            }
            Some(_) => {}
        }
    }
    let Some(asked) = asked else { return ExitCode::SUCCESS };
    eprintln!("there is no benchmark `{asked}`");
    ExitCode::FAILURE
}

fn benchmarks() -> Vec<(String, Benchmark)> {
    let mut all: Vec<(String, Benchmark)> = Vec::new();
    for wording in wording::ALL {
        all.push((format!("decode/{wording}"), Box::new(|| decode(wording))));
    }
    for rejects in rejects::ALL {
        all.push((format!("decode/{rejects}"), Box::new(|| reject(rejects))));
    }
    for wording in [
        &wording::JSON,
        &wording::JSON_TIMED,
        &wording::STATSD,
        &wording::DOGSTATSD,
        &wording::DOGSTATSD_TIMED,
    ] {
        all.push((format!("record/{wording}"), Box::new(|| record(wording))));
    }
    for wording in [&wording::JSON, &wording::STATSD, &wording::DOGSTATSD] {
        let name = format!("record/{wording}-new-series");
        all.push((name, Box::new(|| record_new_series(wording))));
    }
    for series in [1_000, 10_000] {
        all.push((format!("flush/{series}"), Box::new(move || flush(series))));
    }
    for encoder in encoders::names() {
        all.push((format!("encode/{encoder}"), Box::new(|| encode(encoder))));
    }
    all
}

/// All that is counted: callgrind is told to start when this function is entered and to stop when it
/// is left.
#[inline(never)]
fn counted_region(work: &mut dyn FnMut()) {
    work();
    // Something to do behind it: a jump into `work` would not come back to here.
    black_box(work);
}

fn decode(wording: &Wording) -> usize {
    let datagrams = Datagrams::of_metrics(wording, METRICS, 0..1);
    decode_as(&datagrams, (METRICS * wording.samples, 0))
}

fn reject(rejects: &Rejects) -> usize {
    let datagrams = rejects.datagrams(ROUNDS);
    decode_as(&datagrams, (0, datagrams.iter().len()))
}

fn decode_as(datagrams: &Datagrams, expected: (usize, usize)) -> usize {
    assert_eq!(datagrams.decode(), expected, "samples, rejections");
    counted_region(&mut || {
        black_box(datagrams.decode());
    });
    expected.0 + expected.1
}

/// Known series; lines that can be recognised are.
fn record(wording: &Wording) -> usize {
    let mut pipeline = Pipeline::warm(wording, METRICS);
    let datagrams = Datagrams::of_metrics(wording, METRICS, 0..ROUNDS);
    record_into(&mut pipeline, &datagrams)
}

fn record_new_series(wording: &Wording) -> usize {
    let datagrams = Datagrams::of_metrics(wording, METRICS, 0..1);
    record_into(&mut Pipeline::new(wording.protocol), &datagrams)
}

fn record_into(pipeline: &mut Pipeline, datagrams: &Datagrams) -> usize {
    let before = pipeline.recorded();
    counted_region(&mut || pipeline.record(datagrams));
    (pipeline.recorded() - before) as usize
}

fn flush(series: usize) -> usize {
    let mut pipeline = Pipeline::warm(&wording::DOGSTATSD, series);
    pipeline.record(&Datagrams::of_metrics(&wording::DOGSTATSD, series, 0..ROUNDS));
    let mut handed = Some(pipeline.hand_over());
    let mut snapshot = None;
    counted_region(&mut || snapshot = handed.take().map(|handed| pipeline.flush_tally(handed)));
    snapshot.map_or(0, |snapshot| snapshot.points.len())
}

fn encode(encoder: &str) -> usize {
    let snapshot = load::snapshot(METRICS);
    let mut encode = encoders::encoder(encoder);
    let mut batch = Batch::default();
    // Once before, so that the batch has its memory.
    encode(&snapshot, &mut batch);
    batch.clear();
    counted_region(&mut || encode(&snapshot, &mut batch));
    assert_eq!(batch.points_pending(), METRICS as u64, "points");
    METRICS
}
