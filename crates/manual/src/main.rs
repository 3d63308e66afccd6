//! Writes the manual pages and the shells' completions, for packages: `tallyd-manual FOLDER`.
//!
//! They are made from what `--help` is made from, and from docs/configuration.md. A program of its
//! own, so that what it needs is not in the daemon.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use tallyd::cli::Cli;

mod commands;
mod markdown;

/// Writes the manual pages and the shells' completions of tallyd
#[derive(Debug, Parser)]
struct Args {
    /// Folder to write into; made if it is missing
    folder: PathBuf,
}

#[allow(clippy::print_stderr)]
fn main() -> ExitCode {
    let folder = Args::parse().folder;
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: cannot be written: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let command = Cli::command().disable_help_subcommand(true);
    for (name, page) in commands::pages(&command) {
        fs::write(folder.join(name), page)?;
    }
    let version = command.get_version().unwrap_or_default();
    fs::write(folder.join("tallyd.yaml.5"), markdown::configuration_page(version))?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "tallyd", folder)?;
    }
    Ok(())
}
