//! Runs simulations and reports their number, their faults and their findings.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use simulation::{Counted, Outcome, simulate};

const USAGE: &str = "\
usage: simulation [--seeds N] [--windows N] [--from SEED] [--trace] [--keep-going]

Simulates the daemon with the seeds SEED (default: 1), SEED + 1 and so on, until
N seeds are done and N windows are closed (default: 100 seeds). Fails on the first
violated guarantee, and prints its seed and the last events. --trace prints all
events. --keep-going continues after a failure.
";
/// Events that are printed after a failure.
const LAST_EVENTS: usize = 80;
/// A simulation that takes longer hangs.
const HANGS_AFTER: u64 = 300;

#[derive(Debug)]
struct Options {
    seeds: u64,
    windows: u64,
    from: u64,
    is_traced: bool,
    keeps_going: bool,
}

fn options() -> Option<Options> {
    let mut options =
        Options { seeds: 0, windows: 0, from: 1, is_traced: false, keeps_going: false };
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--trace" => options.is_traced = true,
            "--keep-going" => options.keeps_going = true,
            name => {
                let number = words.next()?.parse().ok()?;
                match name {
                    "--seeds" => options.seeds = number,
                    "--windows" => options.windows = number,
                    "--from" => options.from = number,
                    _ => return None,
                }
            }
        }
    }
    if options.seeds == 0 && options.windows == 0 {
        options.seeds = 100;
    }
    Some(options)
}

fn main() -> ExitCode {
    let mut out = io::stdout().lock();
    let Some(options) = options() else {
        let _closed = out.write_all(USAGE.as_bytes());
        return ExitCode::from(2);
    };
    match run(&options, &mut out) {
        Ok(0) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Runs the simulations. Returns the number of failures.
fn run(options: &Options, out: &mut impl Write) -> io::Result<u64> {
    let (began, current) = (Instant::now(), watchdog());
    let (mut total, mut seeds, mut failures) = (Counted::default(), 0, 0);
    while seeds < options.seeds || total.windows < options.windows {
        let seed = options.from + seeds;
        current.store(seed, Ordering::Relaxed);
        let outcome = simulate(seed, options.is_traced);
        total.add(&outcome.counted);
        seeds += 1;
        if options.is_traced {
            outcome.trace.iter().try_for_each(|line| writeln!(out, "{line}"))?;
            writeln!(out, "digest {:016x}", outcome.digest)?;
        }
        if let Some(failure) = &outcome.failure {
            failures += 1;
            report_failure(out, seed, failure, options)?;
            if !options.keeps_going {
                break;
            }
        }
    }
    report(out, &total, seeds, failures, began.elapsed())?;
    Ok(failures)
}

fn report_failure(
    out: &mut impl Write,
    seed: u64,
    failure: &str,
    options: &Options,
) -> io::Result<()> {
    writeln!(out, "seed {seed} FAILED: {failure}")?;
    if options.keeps_going || options.is_traced {
        return Ok(());
    }
    let Outcome { trace, .. } = simulate(seed, true);
    for line in &trace[trace.len().saturating_sub(LAST_EVENTS)..] {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "all events: simulation --from {seed} --seeds 1 --trace")
}

fn report(
    out: &mut impl Write,
    total: &Counted,
    seeds: u64,
    failures: u64,
    took: Duration,
) -> io::Result<()> {
    let a_minute = |number: u64| number as f64 / took.as_secs_f64() * 60.0;
    writeln!(
        out,
        "simulated {seeds} seeds in {:.1} s: {:.0} seeds a minute, {:.0} windows a minute",
        took.as_secs_f64(),
        a_minute(seeds),
        a_minute(total.windows)
    )?;
    let Counted { windows, pushes, points, requests, disk_operations, runs, .. } = total;
    writeln!(
        out,
        "windows {windows}, queued {pushes} with {points} points, requests {requests}, \
        disk operations {disk_operations}, runs {runs}, simulated days {:.1}",
        total.simulated.as_secs_f64() / 86_400.0
    )?;
    writeln!(
        out,
        "points of idle series {}, repeated {}, lost in a crash {}",
        total.idle, total.repeated, total.lost_in_crash
    )?;
    for (kind, times) in &total.faults {
        writeln!(out, "{times:>10} {kind}")?;
    }
    for (reason, points) in &total.dropped {
        writeln!(out, "{points:>10} points dropped: {reason}")?;
    }
    writeln!(out, "failures: {failures}")
}

/// Ends the process if a simulation hangs. Returns where the current seed has to be stored.
fn watchdog() -> Arc<AtomicU64> {
    let current = Arc::new(AtomicU64::new(0));
    let watched = Arc::clone(&current);
    thread::spawn(move || {
        let (mut seed, mut seconds) = (0, 0);
        loop {
            thread::sleep(Duration::from_secs(1));
            let now = watched.load(Ordering::Relaxed);
            seconds = if now == seed { seconds + 1 } else { 0 };
            seed = now;
            if seconds > HANGS_AFTER {
                let _closed = writeln!(io::stderr(), "seed {seed} FAILED: it hangs");
                process::exit(1);
            }
        }
    });
    current
}
