//! `tallyd top`: a daemon's rates and ledger, its metrics, tag keys, senders and destinations, live.
//!
//! `asker` asks the daemon on a thread of its own. `model` is what is known and what was chosen with
//! keys; `tables` makes rows of it, and `draw` a screen or `text` plain text. `screen` has the
//! terminal.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use thiserror::Error;

use self::asker::Asker;
use self::model::Model;
use self::options::TopArgs;
use self::views::View;
use crate::commands::client::configured;
use crate::commands::client::ledger::{Admin, LedgerError};
use crate::commands::client::terminal::has_colours;
use crate::config::LoadError;

mod asker;
mod draw;
mod help;
mod keys;
mod looks;
mod model;
pub mod options;
mod replies;
mod screen;
mod shown;
mod tables;
#[cfg(test)]
mod tests;
mod text;
pub mod views;

/// Why there is nothing to see.
#[derive(Debug, Error)]
pub enum TopError {
    /// The configuration, which says where the endpoint is, is wrong.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// The configuration turns the endpoint off.
    #[error(
        "the configuration says `admin: {{listen: none}}`: top asks the daemon over that endpoint"
    )]
    NoAdmin,
    /// The daemon does not answer.
    #[error("{0}")]
    Daemon(String),
    /// The terminal cannot be used.
    #[error("cannot use the terminal: {0}; --once prints the same as text")]
    Terminal(#[source] io::Error),
    /// Nothing can be written.
    #[error("cannot write: {0}")]
    Output(#[source] io::Error),
}

impl From<LedgerError> for TopError {
    fn from(error: LedgerError) -> Self {
        Self::Daemon(error.to_string())
    }
}

/// Runs the command: status 0 when it was told to quit, 1 if there was nothing to see.
#[must_use]
#[allow(clippy::print_stderr)]
pub fn command(args: &TopArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &TopArgs) -> Result<(), TopError> {
    let loaded = match &args.admin {
        Some(_) => None,
        None => configured::load(&args.config)?,
    };
    let url = configured::admin(args.admin.as_deref(), loaded.as_ref()).ok_or(TopError::NoAdmin)?;
    let asker = Asker::new(Admin::new(&url)?);
    let model = Model::new(asker.url(), args.view.unwrap_or(View::Metrics), args.filter.clone());
    if args.once || !is_for_people() {
        return text::run(args, &asker, model);
    }
    screen::run(args, asker, model, has_colours(&io::stdout()))
}

/// Whether standard output is a terminal that can have a screen.
fn is_for_people() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
