//! Parses the command line, runs the command and returns its exit status.

use std::process::ExitCode;

use clap::Parser;
use tallyd::cli::{Cli, Command};
use tallyd::commands::{
    bench, check, compare, convert, explain, health, kamailio, reload, send, spool, tap, top,
    values,
};
use tallyd::daemon::{self, held_signals};

fn main() -> ExitCode {
    held_signals::hold();
    let command = Cli::parse().command;
    if !matches!(command, Command::Run(_)) {
        held_signals::release();
    }
    match command {
        Command::Run(args) => daemon::command(args.config.config, args.once),
        Command::Check(args) => check::command(&args),
        Command::Reload(args) => reload::command(&args),
        Command::Health(args) => health::command(&args),
        Command::Send(args) => send::command(&args),
        Command::Tap(args) => tap::command(&args),
        Command::Explain(args) => explain::command(&args),
        Command::Compare(args) => compare::command(&args),
        Command::Convert(args) => convert::command(&args),
        Command::Bench(args) => bench::command(&args),
        Command::Kamailio(args) => kamailio::command(&args),
        Command::Spool(args) => spool::command(&args),
        Command::Top(args) => top::command(&args),
        Command::Values(args) => values::command(&args),
    }
}
