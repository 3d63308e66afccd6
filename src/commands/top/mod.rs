//! `tallyd top`: the rates and the ledger of a daemon, its metrics, tag keys, senders and
//! destinations, live.
//!
//! `poller` polls the daemon on a separate thread. `model` holds the polls and the choices made with
//! keys, `tables` makes rows of them, and `draw` (with `header` and `grid`) draws these or `text` prints them.
//! `screen` owns the terminal.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use self::error::TopError;
use self::model::Model;
use self::options::TopArgs;
use self::poller::TopPoller;
use self::views::View;
use crate::commands::client::configured;
use crate::commands::client::ledger::{AdminClient, LedgerError};
use crate::commands::client::terminal::has_colours;

mod canvas;
mod draw;
mod error;
mod grid;
mod header;
mod help;
mod keys;
mod model;
pub mod options;
mod poller;
mod polls;
mod reply;
mod screen;
mod tables;
#[cfg(test)]
mod tests;
mod text;
pub mod views;

/// Runs the command: status 0 after `q` or a signal, 1 if there is nothing to show.
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
    let endpoint = configured::admin(args.admin.as_deref(), &args.access, loaded.as_ref());
    let endpoint = endpoint.map_err(LedgerError::from)?.ok_or(TopError::NoAdmin)?;
    let poller = TopPoller::new(AdminClient::new(&endpoint)?);
    let model = Model::new(poller.url(), args.view.unwrap_or(View::Metrics), args.filter.clone());
    if args.once || !is_for_people() {
        return text::run(args, &poller, model);
    }
    screen::run(args, poller, model, has_colours(&io::stdout()))
}

/// Whether standard output is a terminal on which a screen can be drawn.
fn is_for_people() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
