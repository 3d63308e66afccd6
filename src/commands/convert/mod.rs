//! `tallyd convert`: prints a configuration for tallyd that replaces that of another program.
//!
//! ```text
//! source, setting     reads a file into a tree, and names every setting that nothing has taken
//! statsd, telegraf, … one module for each kind: fills a plan
//! plan, notes         the plan, in tallyd's terms, and the notes about everything else
//! document            the text of the file
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use self::plan::Plan;
use self::setting::ConvertError;
use self::source::SourceText;
use crate::commands::client::stdout;

mod address;
#[cfg(test)]
mod applied;
mod document;
mod flags;
mod kamailio_exporter;
mod notes;
mod plan;
mod pystatsd;
mod setting;
mod source;
mod span;
mod statsd;
mod statsd_exporter;
mod telegraf;

/// `tallyd convert`.
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// The program to replace
    #[arg(value_enum)]
    pub kind: ConvertKind,
    /// Its configuration; `-` is standard input. Several files, or a folder with *.conf, for telegraf
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write a reference to an environment variable instead of each password, token and API key
    #[arg(long)]
    pub omit_secrets: bool,
    /// Flags of the program, for statsd-exporter and kamailio-exporter
    #[arg(last = true, value_name = "FLAG")]
    pub flags: Vec<String>,
}

/// A program whose configuration can be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ConvertKind {
    /// Etsy's statsd: config.js
    Statsd,
    /// Telegraf with inputs.statsd: telegraf.conf
    Telegraf,
    /// Prometheus' statsd_exporter: its mapping file, and flags
    StatsdExporter,
    /// pystatsd: pystatsd.conf
    Pystatsd,
    /// The Prometheus exporters for Kamailio: flags, or a file with them such as a systemd unit
    KamailioExporter,
}

/// Wrong usage, which clap cannot find.
const USAGE: u8 = 2;

/// Runs the command: status 0 if the configuration was printed, 1 if the source cannot be converted, 2 for
/// wrong usage.
#[must_use]
#[allow(clippy::print_stderr)]
pub fn command(args: &ConvertArgs) -> ExitCode {
    if let Err(words) = usage(args) {
        eprintln!("{words}");
        return ExitCode::from(USAGE);
    }
    let plan = match convert(args) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    for secret in plan.notes.secrets() {
        eprintln!("secret not copied: {secret}");
    }
    if plan.has_copied_secrets {
        eprintln!(
            "the output contains secrets: restrict the permissions of its file, or use --omit-secrets"
        );
    }
    let (lost, differs) = plan.notes.counts();
    eprintln!(
        "settings without an equivalent: {lost}, notes on differences: {differs}; see the comments at the top"
    );
    let text = plan.write(&origin(args));
    if stdout::print(text.as_bytes()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Checks which arguments the kind takes.
fn usage(args: &ConvertArgs) -> Result<(), String> {
    use ConvertKind as Kind;
    let has_flags = matches!(args.kind, Kind::StatsdExporter | Kind::KamailioExporter);
    if !args.flags.is_empty() && !has_flags {
        return Err("only statsd-exporter and kamailio-exporter take flags after `--`".to_owned());
    }
    match args.files.len() {
        0 if has_flags && !args.flags.is_empty() => Ok(()),
        0 => Err("name the file to convert, or `-` for standard input".to_owned()),
        1 => Ok(()),
        _ if args.kind == Kind::Telegraf => Ok(()),
        _ => Err("only telegraf has several files".to_owned()),
    }
}

fn convert(args: &ConvertArgs) -> Result<Plan, ConvertError> {
    use ConvertKind as Kind;
    let sources = match args.files.is_empty() {
        true => vec![SourceText { name: "flags".to_owned(), text: String::new() }],
        false if args.kind == Kind::Telegraf => SourceText::read_all(&args.files, "conf")?,
        false => args.files.iter().map(|file| SourceText::read(file)).collect::<Result<_, _>>()?,
    };
    let source = &sources[0];
    let keeps_secrets = !args.omit_secrets;
    let plan = match args.kind {
        Kind::Statsd => statsd::convert(source, keeps_secrets),
        Kind::Telegraf => telegraf::convert(&sources, keeps_secrets),
        Kind::StatsdExporter => statsd_exporter::convert(source, &args.flags),
        Kind::Pystatsd => pystatsd::convert(source, keeps_secrets),
        Kind::KamailioExporter => kamailio_exporter::convert(source, &args.flags),
    };
    // Errors of the parsers name the file themselves.
    plan.map_err(|error| match sources.iter().any(|source| error.0.starts_with(&source.name)) {
        true => error,
        false => ConvertError(format!("{}: {error}", source.name)),
    })
}

/// The first line of the file.
fn origin(args: &ConvertArgs) -> String {
    let kind =
        args.kind.to_possible_value().map(|kind| kind.get_name().to_owned()).unwrap_or_default();
    format!(
        "Made by `tallyd convert {kind}`. Read the notes, then run `tallyd check --config` with this file."
    )
}
