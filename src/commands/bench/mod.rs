//! `tallyd bench`: puts a load on a daemon and tells what became of it and what it cost.
//!
//! The messages are built beforehand (`payloads`) and sent at a rate (`sender`). What became of
//! them the daemon's own ledger tells (`client::ledger`), looked at before and after (`target`).

use std::io::{self, Write};
use std::num::NonZeroU64;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use rustix::thread::{CpuSet, sched_setaffinity};
use thiserror::Error;

use self::options::{BenchArgs, Load};
use self::outgoing::Outgoing;
use self::payloads::Payloads;
use self::progress::Progress;
use self::report::{Looks, Report};
use self::sender::Sent;
use self::spawn::{SpawnError, SpawnedDaemon};
use self::target::Witness;
use crate::commands::client::connect::ConnectError;
use crate::commands::client::endpoint::Endpoint;
use crate::commands::client::ledger::LedgerError;
use crate::commands::client::terminal;

mod message;
pub mod options;
mod outgoing;
pub(crate) mod pacer;
mod payloads;
mod progress;
mod random;
mod report;
mod sender;
mod signals;
mod spawn;
mod target;
mod text;

/// Wrong usage.
const STATUS_USAGE: u8 = 2;

/// Why there is no measurement.
#[derive(Debug, Error)]
enum BenchError {
    /// The options do not go together.
    #[error("{0}")]
    Usage(String),
    /// The listener there speaks something else.
    #[error("the listener at {endpoint} speaks {spoken}: add --protocol {spoken}")]
    Protocol { endpoint: Endpoint, spoken: &'static str },
    /// The system does not allow the core, or has none of this number.
    #[error("cannot stay on core {core}: {source}; see --pin")]
    Pin { core: usize, source: io::Error },
    /// The system refuses a thread or a handler.
    #[error("cannot watch for signals: {0}")]
    Signals(#[source] io::Error),
    /// There is no daemon of its own.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// It has none, which is a bug.
    #[error("the daemon that was started has no listener")]
    NoListener,
    /// Nothing takes the messages.
    #[error("{0}; `tallyd bench --spawn` starts a daemon for the measurement")]
    Connect(#[from] ConnectError),
    /// A daemon that has to tell does not.
    #[error("{0}; --admin names another endpoint, --no-admin does without")]
    Ledger(#[from] LedgerError),
    /// Standard output takes nothing.
    #[error("cannot write the report: {0}")]
    Output(#[from] io::Error),
}

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

/// Measures and reports; whether all is good.
#[allow(clippy::print_stderr)]
fn run(args: &BenchArgs) -> Result<bool, BenchError> {
    let transport = args.spawn.unwrap_or(args.endpoint.transport);
    let load = args.load(transport).map_err(BenchError::Usage)?;
    let payloads = Payloads::build(&load).map_err(BenchError::Usage)?;
    if let Some(most) = args.print {
        return match print(&payloads, most) {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
            outcome => Ok(outcome.map(|()| true)?),
        };
    }
    let stop = signals::watch().map_err(BenchError::Signals)?;
    let spawned = spawn(args, &load)?;
    args.pin.map_or(Ok(()), |pin| stay_on(pin.sender))?;
    let endpoint = target::endpoint(args, spawned.as_ref())?;
    let outgoing = Outgoing::connect(&endpoint, args.sockets, payloads)?;
    let witness = Witness::find(args, spawned.as_ref(), &endpoint, load.protocol)?;
    if let Witness::Silent(why) = &witness {
        eprintln!("{why}");
        eprintln!(
            "so what becomes of the messages will not be known; --admin names another endpoint"
        );
    }
    let (sent, outcome) = measure(args, &load, outgoing, witness, &stop);
    let (looks, unknown) = match outcome {
        Ok(looks) => (Some(looks), None),
        Err(why) => (None, Some(why)),
    };
    let pace = (args.sockets, args.rate.0.map(NonZeroU64::get));
    let report = Report::new(&endpoint, &load, pace, sent, looks.as_ref());
    show(&report, unknown.as_deref(), args.json)?;
    Ok(report.is_good(!args.no_admin, args.strict))
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

/// Starts a daemon if that is asked for, on its core.
fn spawn(args: &BenchArgs, load: &Load) -> Result<Option<SpawnedDaemon>, BenchError> {
    let Some(transport) = args.spawn else { return Ok(None) };
    if let Some(core) = args.pin.and_then(|pin| pin.daemon) {
        // A child starts out on the cores of its parent.
        stay_on(core)?;
    }
    Ok(Some(SpawnedDaemon::start(transport, load)?))
}

/// Keeps this thread and what it starts on one core.
fn stay_on(core: usize) -> Result<(), BenchError> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).map_err(|error| BenchError::Pin { core, source: error.into() })
}

/// Sends, waits for the daemon to settle, and gives two looks at it or why there are none.
fn measure(
    args: &BenchArgs,
    load: &Load,
    outgoing: Outgoing,
    witness: Witness,
    stop: &AtomicBool,
) -> (Sent, Result<Looks, String>) {
    let mut progress = Progress::new(load.batch, args.amount());
    let sent = sender::run(outgoing, args.amount(), args.payload_rate(), stop, |sent| {
        progress.sending(sent);
    });
    let messages = sent.payloads * u64::from(load.batch);
    let looks = match witness {
        Witness::Daemon(watched) => {
            watched.look_again(messages, load, |missing| progress.waiting(missing))
        }
        Witness::NotAsked => Err("no daemon was asked (--no-admin)".to_owned()),
        Witness::Silent(why) => Err(why),
    };
    progress.clear();
    (sent, looks)
}

/// Prints the report.
fn show(report: &Report, unknown: Option<&str>, as_json: bool) -> io::Result<()> {
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
