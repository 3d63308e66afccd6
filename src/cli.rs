//! What can be said on the command line.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};
use forwarders::units::Span;

use crate::bench::options::BenchArgs;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "tallyd", version, about = "A metrics daemon for one host", max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What tallyd can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground
    Run(RunArgs),
    /// Say whether the configuration is good
    Check(CheckArgs),
    /// Put a load on a daemon and tell what became of it and what it cost
    #[command(after_help = BENCH_HELP)]
    Bench(BenchArgs),
    /// Look into the spools, where windows wait on disk for destinations that are away
    Spool(SpoolArgs),
}

const BENCH_HELP: &str = "\
Examples:
  tallyd bench --spawn                            what a message costs on this host
  tallyd bench --spawn --rate max --batch 10      as fast as one core sends, 10 a datagram
  tallyd bench --rate 50k --duration 1m           a running daemon, at the default addresses
  tallyd bench tcp://10.0.0.7:8125 --protocol statsd --admin http://10.0.0.7:9495

The metrics are called bench.TYPE.NUMBER; a running daemon forwards them like any others.
Exit status: 0 if every message is accounted for, 1 if not, 2 for wrong usage.";

/// Which configuration file.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Configuration file [default: /etc/tallyd/tallyd.yaml if it exists, else built-in defaults]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `tallyd run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Which configuration file.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `tallyd check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Which configuration file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Also ask each destination whether it answers
    #[arg(long)]
    pub connect: bool,
}

/// `tallyd spool`.
#[derive(Debug, Args)]
pub struct SpoolArgs {
    /// Which configuration file: it says where the spools are.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do; without it, list.
    #[command(subcommand)]
    pub action: Option<SpoolAction>,
}

/// What can be done with spools. All of it is safe while the daemon runs.
#[derive(Debug, Subcommand)]
pub enum SpoolAction {
    /// List the windows that wait, and what is in quarantine
    List {
        /// Only this destination's
        #[arg(long, value_name = "NAME")]
        forwarder: Option<String>,
    },
    /// Show the points in a window
    Show {
        /// The window, by its name in the list or by its path
        file: String,
    },
    /// Remove windows; a daemon that runs counts them as dropped, reason `removed`
    Remove(SpoolRemoveArgs),
}

/// `tallyd spool remove`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(false))]
pub struct SpoolRemoveArgs {
    /// These windows, by their names in the list or by their paths
    #[arg(group = "what")]
    pub files: Vec<String>,
    /// Windows that began longer ago than this, such as 2h
    #[arg(long, group = "what", value_name = "TIME", value_parser = Span::parse)]
    pub older_than: Option<Span>,
    /// All windows, and what is in quarantine
    #[arg(long, group = "what")]
    pub all: bool,
    /// Only this destination's
    #[arg(long, value_name = "NAME")]
    pub forwarder: Option<String>,
}
