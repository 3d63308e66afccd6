//! `tallyd reload`: makes a daemon reload its configuration, and reports the outcome.

use crate::commands::client::configured::ConfigArgs;
use clap::Args;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use api::reload::LastReload;
use api::status::Status;
use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;

use crate::commands::client::access::{AccessArgs, AccessArgsError};
use crate::commands::client::configured::{self, AdminEndpoint};
use crate::commands::client::ledger::{AdminClient, LedgerError};
use crate::commands::client::stdout;
use crate::config::{self, LoadError};

mod watch;

/// `tallyd reload`.
#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// The configuration file that contains the address of the daemon's admin endpoint. The daemon
    /// itself reads the file that it was started with.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The daemon's admin endpoint, or unix:PATH for its `admin.socket` [default: as configured, else
    /// http://127.0.0.1:9495]
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// The process ID of the daemon, if it has no admin endpoint
    #[arg(long, value_name = "NUMBER")]
    pub pid: Option<u32>,
    /// Reload now and after each change of the file, until SIGTERM or SIGINT
    #[arg(long)]
    pub watch: bool,
    /// How to get access to it.
    #[command(flatten, next_help_heading = "Access to the daemon")]
    pub access: AccessArgs,
}

/// Maximum duration of a reload, which looks up names and drains the listeners that it removes.
const OUTCOME_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause between two requests for the status.
const PAUSE: Duration = Duration::from_millis(20);

/// The reason why a reload failed or its outcome is unknown.
#[derive(Debug, Error)]
enum ReloadCommandError {
    #[error(
        "{0}; use --admin if the daemon has another `admin: {{listen}}`, --pid if it has no admin endpoint"
    )]
    NoDaemon(#[source] LedgerError),
    #[error(
        "{0}\nthe daemon was not reloaded: until it has read this file, it accepts only its previous users \
         and tokens; use one of these with --token-file or --user, its `admin: {{socket}}`, --pid, or \
         `systemctl reload tallyd`"
    )]
    OtherAccess(#[source] LedgerError),
    #[error(
        "{0}\nno daemon was reloaded: this file does not give the address of the admin endpoint; use --admin"
    )]
    File(#[source] LoadError),
    #[error(
        "the daemon reports process ID {0}, which is not tallyd on this host: if it runs in a \
         container, reload it there"
    )]
    NotHere(u32),
    #[error("cannot signal process {pid}: {source}{}", hint(*.source))]
    Signal { pid: u32, source: rustix::io::Errno },
    #[error("the daemon ended or stopped answering after the request; see its log: {0}")]
    Ended(#[source] LedgerError),
    #[error(transparent)]
    Socket(LedgerError),
    #[error("the daemon did not report an outcome within {OUTCOME_TIMEOUT:?}; see its log")]
    Silent,
    #[error("cannot handle signals: {0}")]
    System(#[from] io::Error),
}

/// Runs the command: status 0 if the daemon runs with the configuration file as it is now, 1 if not.
/// With `--watch`: status 0 after a signal.
#[must_use]
pub fn command(args: &ReloadArgs) -> ExitCode {
    if args.watch { watch_file(args) } else { report(reload(args)) }
}

/// Reloads after each change of the file. An error that repeats is printed once.
#[allow(clippy::print_stderr)]
fn watch_file(args: &ReloadArgs) -> ExitCode {
    let file = args.config.path().unwrap_or(Path::new(config::DEFAULT_PATH));
    let mut last_error = String::new();
    let watched = watch::watch(file, || match reload(args) {
        Err(error) => {
            let error = error.to_string();
            if error != last_error {
                eprintln!("{error}; will retry");
                last_error = error;
            }
            false
        }
        outcome => {
            report(outcome);
            last_error.clear();
            true
        }
    });
    watched.map_or_else(|error| report(Err(error.into())), |()| ExitCode::SUCCESS)
}

/// The exit status after output that was written or not.
fn status(is_written: bool) -> ExitCode {
    if is_written { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[allow(clippy::print_stderr)]
fn report(outcome: Result<Option<LastReload>, ReloadCommandError>) -> ExitCode {
    match outcome {
        Ok(Some(LastReload { error: None, changes, .. })) => {
            status(stdout::print_line(&words("reloaded", &changes)))
        }
        Ok(Some(LastReload { error: Some(error), .. })) => {
            eprintln!("refused, nothing was changed:\n{error}");
            ExitCode::FAILURE
        }
        Ok(None) => status(stdout::print_line(
            "reload requested; without access to the admin endpoint, only the log of the daemon \
             reports the outcome",
        )),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The changes, a line each, below a title.
#[must_use]
pub fn words(what: &str, changes: &[String]) -> String {
    if changes.is_empty() {
        return format!("{what}: nothing is different");
    }
    let lines = changes.iter().map(|change| format!("\n  {change}"));
    format!("{what}:{}", lines.collect::<String>())
}

/// The admin endpoint of a daemon with this configuration; the default one if the file cannot be
/// loaded, as an error in it may be the reason for the reload. The default one gets no secret.
pub(crate) fn admin_of(
    named: Option<&str>,
    access: &AccessArgs,
    args: &ConfigArgs,
) -> Result<AdminClient, LedgerError> {
    let loaded = match (named, config::load(args.path())) {
        (None, Err(error)) => {
            return AdminClient::new(&AdminEndpoint::guessed(access, &error.to_string())?);
        }
        (_, loaded) => loaded.ok(),
    };
    match configured::admin(named, access, loaded.as_ref())? {
        Some(endpoint) => AdminClient::new(&endpoint),
        None => AdminClient::new(&AdminEndpoint::guessed(
            access,
            "the configuration disables the admin endpoint",
        )?),
    }
}

/// Requests a reload or signals the daemon, and waits for the outcome; `None` without access to its admin
/// endpoint.
fn reload(args: &ReloadArgs) -> Result<Option<LastReload>, ReloadCommandError> {
    let admin = match (admin_of(args.admin.as_deref(), &args.access, &args.config), args.pid) {
        (Ok(admin), _) => admin,
        // The signal needs no endpoint, and the reload may be about the file that hides it.
        (
            Err(LedgerError::Access(
                AccessArgsError::UnknownScheme { .. } | AccessArgsError::UnknownAddress { .. },
            )),
            Some(pid),
        ) => return signal_reload(pid).map(|()| None),
        (Err(error), _) => return Err(ReloadCommandError::NoDaemon(error)),
    };
    if admin.may_change() && args.pid.is_none() {
        match admin.reload(OUTCOME_TIMEOUT) {
            // The file may have the credentials that the daemon gets by this reload.
            Err(LedgerError::Refused { .. }) if args.admin.is_none() && !admin.is_socket() => {}
            outcome => return outcome.map(Some).map_err(ReloadCommandError::Socket),
        }
    }
    let before = match (admin.status(), args.pid) {
        (Ok(status), _) => status,
        (Err(_), Some(pid)) => return signal_reload(pid).map(|()| None),
        (Err(error), None) => {
            let wrong = config::load(args.config.path()).err().filter(|_| args.admin.is_none());
            return Err(match (wrong, error) {
                (Some(wrong), _) => ReloadCommandError::File(wrong),
                (None, error) if args.admin.is_none() && error.is_unauthorized() => {
                    ReloadCommandError::OtherAccess(error)
                }
                (None, error) => ReloadCommandError::NoDaemon(error),
            });
        }
    };
    let pid = args.pid.unwrap_or(before.process.pid);
    if args.pid.is_none() && !is_tallyd(pid) {
        return Err(ReloadCommandError::NotHere(pid));
    }
    signal_reload(pid)?;
    // The reload may move the endpoint.
    let moved = admin_of(None, &args.access, &args.config).ok();
    let until = Instant::now() + OUTCOME_TIMEOUT;
    while Instant::now() < until {
        thread::sleep(PAUSE);
        let status = match (admin.status(), &moved) {
            (Err(_), Some(moved)) => moved.status(),
            (status, _) => status,
        };
        let status = match status {
            // Since the reload, the endpoint asks for credentials that this command lacks.
            Err(LedgerError::Refused { .. }) => return Ok(None),
            status => status.map_err(ReloadCommandError::Ended)?,
        };
        if status.instance == before.instance && count(&status) > count(&before) {
            return Ok(status.reload.last);
        }
    }
    Err(ReloadCommandError::Silent)
}

fn count(status: &Status) -> u64 {
    status.reload.applied + status.reload.refused
}

fn signal_reload(pid: u32) -> Result<(), ReloadCommandError> {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let signalled =
        process.map_or(Err(rustix::io::Errno::SRCH), |process| kill_process(process, Signal::HUP));
    signalled.map_err(|source| ReloadCommandError::Signal { pid, source })
}

/// Whether a process is tallyd: the signal would end most other processes.
fn is_tallyd(pid: u32) -> bool {
    let name: io::Result<String> = fs::read_to_string(format!("/proc/{pid}/comm"));
    name.is_ok_and(|name| name.trim_end() == "tallyd")
}

fn hint(error: rustix::io::Errno) -> &'static str {
    match error {
        rustix::io::Errno::PERM => {
            "; run this as root or as the daemon's user, or use `systemctl reload tallyd`"
        }
        rustix::io::Errno::SRCH => "; it is not running",
        _ => "",
    }
}
