//! `tallyd health`: the health of a running daemon as an exit status, for containers and scripts.

use std::process::ExitCode;

use api::path::AdminPath;
use clap::Args;

use crate::commands::client::access::AccessArgs;
use crate::commands::client::configured::ConfigArgs;
use crate::commands::client::ledger::LedgerError;
use crate::commands::client::stdout;
use crate::commands::reload::admin_of;

/// `tallyd health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// The configuration file that contains the address of the daemon's admin endpoint
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The daemon's admin endpoint, or unix:PATH for its `admin.socket`
    /// [default: as configured, else http://127.0.0.1:9495]
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// Check whether every listener is bound and read, instead of whether windows are closed on time
    #[arg(long)]
    pub ready: bool,
    /// How to get access to it.
    #[command(flatten, next_help_heading = "Access to the daemon")]
    pub access: AccessArgs,
}

/// Runs the command: status 0 if the daemon answers that it is healthy or ready, 1 if not.
#[must_use]
#[allow(clippy::print_stderr)]
pub fn command(args: &HealthArgs) -> ExitCode {
    match health(args) {
        Ok(answer) if stdout::print_line(answer.trim_end()) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The answer of the daemon.
fn health(args: &HealthArgs) -> Result<String, LedgerError> {
    let path = if args.ready { AdminPath::Readyz } else { AdminPath::Healthz };
    admin_of(args.admin.as_deref(), &args.access, &args.config)?.text(path)
}
