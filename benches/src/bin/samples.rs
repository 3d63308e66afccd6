//! Sends samples of five distributions to daemons over TCP, and prints their exact percentiles, for
//! benches/accuracy.py:
//!
//! ```text
//! samples SIZES ADDRESS...   SIZES are separated by commas; each sample goes to one of the daemons
//! ```
//!
//! A line of JSON for each timer has its percentiles by nearest rank (`exact`), and two estimates that
//! statsd's output allows: the mean of the daemons' percentiles (`averaged`), and the percentile in the
//! sum of their histograms (`binned`).

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write as _};
use std::net::TcpStream;

/// The percentiles, in thousandths.
const RANKS: [u64; 4] = [500, 950, 990, 999];
/// Upper bounds of the bins of statsd's histograms: those that tallyd uses for Prometheus by default.
const BINS: [f64; 11] =
    [5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0];
/// A listener accepts up to 4,096 values in a line by default.
const VALUES_OF_A_LINE: usize = 100;

/// A distribution of durations in milliseconds.
struct Distribution {
    name: &'static str,
    draw: fn(&mut Random) -> f64,
}

const DISTRIBUTIONS: [Distribution; 5] = [
    Distribution { name: "uniform", draw: |random| 1_000.0 * random.unit() },
    Distribution { name: "exponential", draw: |random| -50.0 * random.unit().ln() },
    Distribution { name: "lognormal", draw: |random| random.lognormal(20.0, 1.0) },
    // Nine of ten requests are answered from a cache.
    Distribution {
        name: "cache",
        draw: |random| match random.unit() {
            hit if hit <= 0.9 => random.lognormal(1.0, 0.2),
            _ => random.lognormal(80.0, 0.3),
        },
    },
    // A heavy tail: its variance is infinite.
    Distribution { name: "pareto", draw: |random| random.unit().powf(-1.0 / 1.2) },
];

/// SplitMix64: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number above 0, up to 1.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        median * (sigma * radius * (std::f64::consts::TAU * self.unit()).cos()).exp()
    }
}

/// A daemon's samples, in microseconds.
type Samples = Vec<u64>;

#[allow(clippy::print_stderr)]
fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let sizes = arguments.next().unwrap_or_default();
    let sizes: Result<Vec<usize>, _> = sizes.split(',').map(str::parse).collect();
    let daemons: Result<Vec<_>, _> =
        arguments.map(|address| TcpStream::connect(address).map(BufWriter::new)).collect();
    let (Ok(sizes), mut daemons) = (sizes, daemons?) else {
        eprintln!("usage: samples SIZES ADDRESS...");
        std::process::exit(2);
    };
    for distribution in &DISTRIBUTIONS {
        for size in &sizes {
            run(distribution, *size, &mut daemons)?;
        }
    }
    daemons.iter_mut().try_for_each(io::Write::flush)
}

#[allow(clippy::print_stdout)]
fn run(
    distribution: &Distribution,
    size: usize,
    daemons: &mut [BufWriter<TcpStream>],
) -> io::Result<()> {
    let name = format!("{}_n{size}_d{}", distribution.name, daemons.len());
    let mut shares = shares(distribution, size, daemons.len());
    for (share, daemon) in shares.iter().zip(daemons) {
        send(&name, share, daemon)?;
    }
    let binned = RANKS.map(|rank| in_bins(&shares, rank));
    shares.iter_mut().for_each(|share| share.sort_unstable());
    let averaged = RANKS.map(|rank| average(&shares, rank));
    let mut pooled = shares.concat();
    pooled.sort_unstable();
    let exact = RANKS.map(|rank| nearest_rank(&pooled, rank));
    let line = format!("{{\"timer\":\"{name}\",\"samples\":{size}");
    println!("{line},\"exact\":{exact:?},\"averaged\":{averaged:?},\"binned\":{binned:?}}}");
    Ok(())
}

/// The samples of each daemon. The daemons are hosts of different speed: the last one is four times
/// as slow as the first.
fn shares(distribution: &Distribution, size: usize, daemons: usize) -> Vec<Samples> {
    let mut random = Random(17);
    let mut shares = vec![Samples::with_capacity(size / daemons + 1); daemons];
    for sample in 0..size {
        let daemon = sample % daemons;
        let slowness = match daemons {
            1 => 1.0,
            _ => (2.0 * daemon as f64 / (daemons - 1) as f64 - 1.0).exp2(),
        };
        let microseconds = (distribution.draw)(&mut random) * slowness * 1_000.0;
        shares[daemon].push((microseconds.round() as u64).max(1));
    }
    shares
}

fn send(name: &str, samples: &[u64], daemon: &mut BufWriter<TcpStream>) -> io::Result<()> {
    let mut line = String::new();
    for values in samples.chunks(VALUES_OF_A_LINE) {
        line.clear();
        line.push_str(name);
        for value in values {
            let (whole, thousandths) = (value / 1_000, value % 1_000);
            let _infallible = write!(line, ":{whole}.{thousandths:03}");
        }
        line.push_str("|ms\n");
        daemon.write_all(line.as_bytes())?;
    }
    Ok(())
}

/// The double that a daemon gets.
fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1_000.0
}

/// The smallest value with at least this part of the samples at or below it.
fn nearest_rank(sorted: &[u64], rank: u64) -> f64 {
    let needed = (sorted.len() as u64 * rank).div_ceil(1_000);
    milliseconds(sorted[needed as usize - 1])
}

/// The mean of the daemons' percentiles (`upper_99`), as statsd computes them: it rounds the rank.
fn average(shares: &[Samples], rank: u64) -> f64 {
    let upper = |sorted: &Samples| {
        let needed = (sorted.len() as u64 * rank + 500) / 1_000;
        milliseconds(sorted[(needed as usize).max(1) - 1])
    };
    shares.iter().map(upper).sum::<f64>() / shares.len() as f64
}

/// The percentile in the sum of the daemons' histograms: a linear interpolation between the bounds of a
/// bin, or the last bound.
fn in_bins(shares: &[Samples], rank: u64) -> f64 {
    let mut counts = [0_u64; BINS.len() + 1];
    let samples = shares.iter().flatten();
    samples
        .for_each(|sample| counts[BINS.partition_point(|bin| *bin <= milliseconds(*sample))] += 1);
    let needed = counts.iter().sum::<u64>() as f64 * rank as f64 / 1_000.0;
    let (mut below, mut low) = (0.0, 0.0);
    for (high, count) in BINS.into_iter().zip(counts) {
        let count = count as f64;
        if below + count >= needed {
            return low + (high - low) * (needed - below) / count;
        }
        (below, low) = (below + count, high);
    }
    low
}
