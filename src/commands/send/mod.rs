//! `tallyd send`: checks messages and sends them to a daemon.
//!
//! UDP gives no reply, so the daemon's own decoder checks each message before it is sent, and with
//! `--verify` the daemon's ledger is compared afterwards.

use std::process::ExitCode;

use self::error::SendCommandError;
use self::options::SendArgs;
use self::sending::Sending;
use self::words::SendInput;

mod error;
pub mod options;
mod sending;
mod socket;
mod target;
mod tls;
mod verify;
mod words;

/// Wrong usage.
const STATUS_USAGE: u8 = 2;

/// Runs the command: status 0 if all was sent and, if asked, accepted; 1 if not; 2 for wrong usage.
#[must_use]
#[allow(clippy::print_stderr)]
pub fn command(args: &SendArgs) -> ExitCode {
    match run(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            let is_usage = matches!(error, SendCommandError::Usage(_));
            if is_usage { ExitCode::from(STATUS_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn run(args: &SendArgs) -> Result<bool, SendCommandError> {
    let input = words::read(args).map_err(SendCommandError::Usage)?;
    let to = target::find(args)?;
    let mut sending = Sending::new(args, to);
    match input {
        SendInput::Messages(messages) => {
            // The mistake in a message shows even if no daemon runs.
            if messages.iter().any(|message| sending.accepts(message)) {
                sending.connect()?;
            }
            for message in messages {
                sending.take(&message, None)?;
            }
        }
        SendInput::Lines => {
            sending.connect()?;
            sending.take_lines()?;
        }
    }
    sending.finish()
}
