//! `tallyd bench`: load-tests a daemon and reports loss and CPU time.
//!
//! The messages are built beforehand (`payloads`) and sent at a rate (`sender`). The difference
//! between the daemon's ledgers before and after (`target`) shows their fate.

use std::io::{self, Write};
use std::num::NonZeroU64;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use rustix::thread::{CpuSet, sched_setaffinity};

use self::error::BenchError;
use self::options::{BenchArgs, Load};
use self::payloads::Payloads;
use self::progress::BenchProgress;
use self::report::{BenchReport, StatusPair};
use self::sender::SentLoad;
use self::sockets::LoadSockets;
use self::spawn::SpawnedDaemon;
use self::target::Witness;
use crate::commands::client::terminal;

mod error;
mod message;
pub mod options;
mod payloads;
mod progress;
mod random;
mod report;
mod sender;
mod signals;
mod sockets;
mod spawn;
mod target;
mod text;

/// Wrong usage.
const STATUS_USAGE: u8 = 2;

/// Runs the command: status 0 if every message is accounted for, 1 if not or if nothing could be
/// measured, 2 for wrong usage.
#[must_use]
#[allow(clippy::print_stderr)]
pub fn command(args: &BenchArgs) -> ExitCode {
    match run(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            match error {
                BenchError::Usage(_) | BenchError::Protocol { .. } => ExitCode::from(STATUS_USAGE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Measures and reports. Returns whether the exit status is 0.
#[allow(clippy::print_stderr)]
fn run(args: &BenchArgs) -> Result<bool, BenchError> {
    let transport = args.spawn.unwrap_or(args.endpoint.transport);
    let load = args.load(transport).map_err(BenchError::Usage)?;
    let payloads = Payloads::build(&load).map_err(BenchError::Usage)?;
    if let Some(most) = args.print {
        return match print(&payloads, most) {
            // The reader has closed the pipe.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
            outcome => Ok(outcome.map(|()| true)?),
        };
    }
    let stop = signals::watch().map_err(BenchError::Signals)?;
    let spawned = spawn(args, &load)?;
    args.pin.map_or(Ok(()), |pin| stay_on(pin.sender))?;
    let endpoint = target::endpoint(args, spawned.as_ref())?;
    let sockets = LoadSockets::connect(&endpoint, args.sockets, payloads, load.gso)?;
    let witness = Witness::find(args, spawned.as_ref(), &endpoint, load.protocol)?;
    if let Witness::Silent(why) = &witness {
        eprintln!("{why}");
        eprintln!(
            "so the report will not show the fate of the messages; use --admin for another endpoint"
        );
    }
    let (sent, outcome) = measure(args, &load, sockets, witness, &stop);
    let (pair, unknown) = match outcome {
        Ok(pair) => (Some(pair), None),
        Err(why) => (None, Some(why)),
    };
    let pace = (args.sockets, args.rate.0.map(NonZeroU64::get));
    let report = BenchReport::new(&endpoint, &load, pace, sent, pair.as_ref());
    show(&report, unknown.as_deref(), args.json)?;
    Ok(report.is_success(!args.no_admin, args.strict))
}

/// Prints the first payloads, each with its line end.
fn print(payloads: &Payloads, most: usize) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for index in 0..most {
        let payload = payloads.get(index % payloads.len());
        stdout.write_all(payload.strip_suffix(b"\n").unwrap_or(payload))?;
        stdout.write_all(b"\n")?;
    }
    stdout.flush()
}

/// Starts a daemon, pinned to its core, if `--spawn` is given.
fn spawn(args: &BenchArgs, load: &Load) -> Result<Option<SpawnedDaemon>, BenchError> {
    let Some(transport) = args.spawn else { return Ok(None) };
    if let Some(core) = args.pin.and_then(|pin| pin.daemon) {
        // A child inherits the cores of its parent.
        stay_on(core)?;
    }
    Ok(Some(SpawnedDaemon::start(transport, load)?))
}

/// Pins this thread, and those that it starts, to one core.
fn stay_on(core: usize) -> Result<(), BenchError> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).map_err(|error| BenchError::Pin { core, source: error.into() })
}

/// Sends the load and waits for the daemon to settle; returns its status before and after, or the
/// reason why it is unknown.
fn measure(
    args: &BenchArgs,
    load: &Load,
    sockets: LoadSockets,
    witness: Witness,
    stop: &AtomicBool,
) -> (SentLoad, Result<StatusPair, String>) {
    let mut progress = BenchProgress::new(load.batch, args.amount());
    let sent = sender::run(sockets, args.amount(), args.payload_rate(), stop, |sent| {
        progress.sending(sent);
    });
    let messages = sent.payloads * u64::from(load.batch);
    let pair = match witness {
        Witness::Daemon(watched) => {
            target::settle(*watched, messages, load, |missing| progress.waiting(missing))
        }
        Witness::NotAsked => Err("the daemon's status was not read (--no-admin)".to_owned()),
        Witness::Silent(why) => Err(why),
    };
    progress.clear();
    (sent, pair)
}

/// Prints the report.
fn show(report: &BenchReport, unknown: Option<&str>, as_json: bool) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    if as_json {
        serde_json::to_writer_pretty(&mut stdout, report)?;
        stdout.write_all(b"\n")?;
    } else {
        let colours = terminal::has_colours(&stdout);
        stdout.write_all(text::write(report, unknown, colours).as_bytes())?;
    }
    stdout.flush()
}
