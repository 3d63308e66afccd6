//! Measures the CPU time of a known line, by the number of series and by the length of the line, to
//! find steps. Prints a table; each argument restricts it to rows that contain it.

use std::fs;

use benches::datagrams::DatagramList;
use benches::message_format::{self, MessageFormat};
use benches::pipeline::BenchPipeline;
use engine::listener::Protocol;

/// Lines per measurement.
const LINES: usize = 2_000_000;
/// Measurements of each row. The fastest counts: on a busy machine, the others wait for memory.
const RUNS: usize = 5;
const SERIES: [usize; 8] = [1_000, 10_000, 50_000, 100_000, 250_000, 500_000, 750_000, 1_000_000];
const LENGTHS: [usize; 10] = [100, 150, 270, 400, 500, 650, 1_000, 2_000, 4_000, 8_000];
/// Series of the rows with different lengths.
const LONG_LINES: usize = 1_000;

#[allow(clippy::print_stdout)]
fn main() {
    let parts: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |row: &str| parts.iter().all(|part| row.contains(part.as_str()));
    println!("| row | ns a line |\n| --- | --- |");
    let measure = |row: String, pipeline: &dyn Fn() -> (BenchPipeline, DatagramList)| {
        if is_wanted(&row) {
            let (mut pipeline, datagrams) = pipeline();
            println!("| {row} | {:.0} |", time_of_line(&mut pipeline, &datagrams));
        }
    };
    for format in [&message_format::JSON, &message_format::STATSD, &message_format::DOGSTATSD] {
        for series in SERIES {
            measure(format!("{format}, {series} series"), &|| many_series(format, series));
        }
    }
    for (name, protocol) in [("json", Protocol::Json), ("dogstatsd", Protocol::Statsd)] {
        for length in LENGTHS {
            measure(format!("{name}, {length} bytes"), &|| long_lines(protocol, length));
        }
    }
}

fn many_series(format: &MessageFormat, series: usize) -> (BenchPipeline, DatagramList) {
    (BenchPipeline::warm(format, series), DatagramList::of_metrics(format, series, 0..2))
}

fn long_lines(protocol: Protocol, length: usize) -> (BenchPipeline, DatagramList) {
    let mut datagrams = DatagramList::new(protocol);
    for number in 0..LONG_LINES {
        let head = match protocol {
            Protocol::Json => format!(
                r#"{{"metric_name":"some.name","metric_type":"counter","value":{number},"host":"web-{number:04}""#
            ),
            Protocol::Statsd => format!("some.name:{number}|c|#host:web-{number:04}"),
        };
        let (before, after, end) = match protocol {
            Protocol::Json => (",\"", "\":\"production\"", "}"),
            Protocol::Statsd => (",", ":production", ""),
        };
        let mut line = head;
        // Tags of some twenty bytes, as many as fit.
        for tag in 0.. {
            let next = format!("{before}tag_{tag:03}{after}");
            if line.len() + next.len() + end.len() > length {
                break;
            }
            line += &next;
        }
        line += end;
        datagrams.push(|bytes| bytes.extend_from_slice(line.as_bytes()));
    }
    let mut pipeline = BenchPipeline::new(protocol);
    pipeline.record(&datagrams);
    (pipeline, datagrams)
}

fn time_of_line(pipeline: &mut BenchPipeline, datagrams: &DatagramList) -> f64 {
    let lines = datagrams.iter().len();
    let times = (LINES / lines).max(1);
    pipeline.record(datagrams);
    let mut run = || {
        let start = cpu_time_ns();
        (0..times).for_each(|_| pipeline.record(datagrams));
        (cpu_time_ns() - start) as f64 / (times * lines) as f64
    };
    (0..RUNS).map(|_| run()).fold(f64::INFINITY, f64::min)
}

/// The CPU time of this process.
fn cpu_time_ns() -> u64 {
    let text = fs::read_to_string("/proc/self/schedstat").expect("the kernel's statistics");
    text.split(' ').next().and_then(|time| time.parse().ok()).expect("a number")
}
