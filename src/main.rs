//! Arguments in, exit status out.

use std::process::ExitCode;

use clap::Parser;
use tallyd::cli::{Cli, Command};
use tallyd::{bench, check, daemon, explain, kamailio, reload, send, spool, tap, top};

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => daemon::command(&args),
        Command::Check(args) => check::command(&args),
        Command::Reload(args) => reload::command(&args),
        Command::Send(args) => send::command(&args),
        Command::Tap(args) => tap::command::command(&args),
        Command::Explain(args) => explain::command(&args),
        Command::Bench(args) => bench::command(&args),
        Command::Kamailio(args) => kamailio::command::command(&args),
        Command::Spool(args) => spool::command(&args),
        Command::Top(args) => top::command(&args),
    }
}
