//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
}

/// Which configuration file.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Configuration file [default: /etc/tallyd/tallyd.yaml if it exists, else built-in defaults]
    #[arg(short, long, value_name = "FILE")]
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
