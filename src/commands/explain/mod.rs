//! `tallyd explain`: shows how messages are recorded, and what each destination would get. It needs no
//! daemon and sends nothing.

use crate::commands::client::configured::ConfigArgs;
use basics::escape::visible;
use clap::Args;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use forwarders::ForwardersConfig;
use serde::Serialize;
use thiserror::Error;

use self::pipeline::{ExplainPipeline, Message, RecordedMessage};
use self::report::{Explained, ExplainedWindow};
use crate::commands::client::terminal;
use crate::config::{self, LoadError};
use engine::listener::Protocol;
use engine::protocol::lines;
use yaml::Spanned;

/// `tallyd explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Files with one message per line; or messages themselves, which begin with `{` or `[` or, with
    /// --statsd, contain a `|`; or `-` for standard input, which is the default
    pub inputs: Vec<String>,
    /// The configuration file, which has the tags, limits and destinations.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The messages are statsd lines
    #[arg(long)]
    pub statsd: bool,
    /// Put all messages of an input into one window, instead of a window for each
    #[arg(long)]
    pub window: bool,
    /// Print JSON: one object per message, on one line, and one per window with --window
    #[arg(long)]
    pub json: bool,
    /// Show secrets that a destination writes into its payloads (kafka_apikey) instead of ***
    #[arg(long)]
    pub show_secrets: bool,
}

mod pipeline;
mod report;
mod text;

/// Wrong usage.
const STATUS_USAGE: u8 = 2;
/// Largest input: it is read as a whole, because it may be an array.
const INPUT_BYTES_MAX: u64 = 64 << 20;
/// The name of standard input.
const STDIN: &str = "-";

/// Why the command ends.
#[derive(Debug, Error)]
enum ExplainError {
    /// An argument is neither a file nor a message.
    #[error(
        "`{0}` is neither a file nor a message: messages begin with `{{` or `[` or, with --statsd, \
         contain a `|`"
    )]
    Usage(String),
    /// The configuration cannot be loaded.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// An input cannot be read.
    #[error("{name}: cannot be read: {source}")]
    Input { name: String, source: io::Error },
    /// An input is too large.
    #[error("{0}: larger than 64 MiB: pass a part of it, for example with head(1)")]
    TooLarge(String),
    /// Standard output cannot be written.
    #[error("cannot write: {0}")]
    Output(#[source] io::Error),
}

/// Runs the command: status 0 if every message is accepted, 1 if not, 2 for wrong usage.
#[must_use]
#[allow(clippy::print_stderr)]
pub fn command(args: &ExplainArgs) -> ExitCode {
    match run(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // The reader has closed the pipe.
        Err(ExplainError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            let is_usage = matches!(error, ExplainError::Usage(_));
            if is_usage { ExitCode::from(STATUS_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

#[allow(clippy::print_stderr)]
fn run(args: &ExplainArgs) -> Result<bool, ExplainError> {
    let protocol = if args.statsd { Protocol::Statsd } else { Protocol::Json };
    let mut loaded = config::load(args.config.path())?;
    let is_debug = std::mem::take(&mut loaded.config.debug_mode);
    let is_masked = !args.show_secrets && mask_secrets(&mut loaded.config.forwarders);
    let destinations =
        loaded.config.destinations(&loaded.source, "explain").map_err(LoadError::from)?;
    let pipeline = ExplainPipeline::new(protocol, &loaded, destinations);
    if is_debug {
        eprintln!("note: with `debug_mode` the daemon sends none of this");
    }
    if is_masked {
        eprintln!("note: *** stands for a secret of the configuration; --show-secrets shows it");
    }
    let stdin = [STDIN.to_owned()];
    let inputs = if args.inputs.is_empty() { &stdin[..] } else { &args.inputs };
    let open = Vec::new();
    let mut explainer = Explainer { args, protocol, pipeline, open, number: 0, is_good: true };
    for input in inputs {
        let (name, bytes) = read(input, protocol)?;
        explainer.explain(&name, &bytes).map_err(ExplainError::Output)?;
    }
    explainer.show_window().map_err(ExplainError::Output)?;
    if explainer.number == 0 {
        eprintln!(
            "the input contains no message: give one as an argument, in a file, or on standard input"
        );
    }
    Ok(explainer.is_good && explainer.number > 0)
}

/// Explains one input after the other.
struct Explainer<'a> {
    args: &'a ExplainArgs,
    protocol: Protocol,
    pipeline: ExplainPipeline,
    /// The messages of the open window, with `--window`.
    open: Vec<RecordedMessage>,
    /// Number of messages so far.
    number: u64,
    is_good: bool,
}

impl Explainer<'_> {
    fn explain(&mut self, source: &str, bytes: &[u8]) -> io::Result<()> {
        // Messages that are arguments have one source, and so share a window.
        if self.open.first().is_some_and(|message| message.explained.source != source) {
            self.show_window()?;
        }
        for (line, bytes) in messages(self.protocol, bytes) {
            self.number += 1;
            let message = Message { bytes, source, line, number: self.number };
            let mut message = self.pipeline.record(message);
            if self.args.window {
                self.open.push(message);
            } else {
                let window = self.pipeline.close_window(std::slice::from_mut(&mut message));
                self.show(&Explained { window, ..message.explained })?;
            }
        }
        Ok(())
    }

    /// Closes the open window, if it has messages, and shows them and the window.
    fn show_window(&mut self) -> io::Result<()> {
        let mut open = std::mem::take(&mut self.open);
        let Some(first) = open.first() else { return Ok(()) };
        let source = first.explained.source.clone();
        let window = self.pipeline.close_window(&mut open);
        open.iter().try_for_each(|message| self.show(&message.explained))?;
        let explained = ExplainedWindow { messages: open.len() as u64, source, window };
        print(self.args.json, &explained, |colours| text::write_window(&explained, colours))
    }

    fn show(&mut self, explained: &Explained) -> io::Result<()> {
        self.is_good &= explained.is_good();
        print(self.args.json, explained, |colours| text::write(explained, colours))
    }
}

/// Masks the secrets that destinations write into payloads; whether there were any.
fn mask_secrets(forwarders: &mut Spanned<ForwardersConfig>) -> bool {
    let mut masked = forwarders.get().clone();
    let is_masked = masked.mask_payload_secrets();
    *forwarders = Spanned::new(masked, forwarders.span());
    is_masked
}

/// The name and the bytes of an input.
#[allow(clippy::print_stderr)]
fn read(input: &str, protocol: Protocol) -> Result<(String, Vec<u8>), ExplainError> {
    let failed = |source| ExplainError::Input { name: input.to_owned(), source };
    let mut bytes = Vec::new();
    let limit = INPUT_BYTES_MAX + 1;
    if input == STDIN {
        if io::stdin().is_terminal() {
            eprintln!("reading messages from standard input, one per line; Ctrl-D ends the input");
        }
        io::stdin().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        let is_message = match protocol {
            Protocol::Json => input.trim_start().starts_with(['{', '[']),
            Protocol::Statsd => input.contains('|'),
        };
        match File::open(Path::new(input)) {
            Ok(file) => file.take(limit).read_to_end(&mut bytes).map_err(failed)?,
            Err(_) if is_message => return Ok(("argument".to_owned(), input.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(ExplainError::Usage(input.to_owned()));
            }
            Err(error) => return Err(failed(error)),
        };
    }
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(ExplainError::TooLarge(input.to_owned()));
    }
    Ok((input.to_owned(), bytes))
}

/// The messages of an input, each with its line number: one a line, or one array.
fn messages(protocol: Protocol, input: &[u8]) -> Vec<(u64, &[u8])> {
    if protocol.is_array(input) {
        return vec![(1, input.trim_ascii_end())];
    }
    let (mut number, mut counted) = (1, 0);
    let each = |place: std::ops::Range<usize>| {
        number += memchr::memchr_iter(b'\n', &input[counted..place.start]).count() as u64;
        counted = place.start;
        (number, &input[place])
    };
    lines(input).map(each).collect()
}

fn print(
    as_json: bool,
    facts: &impl Serialize,
    as_text: impl FnOnce(bool) -> String,
) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    if as_json {
        writeln!(stdout, "{}", visible(&serde_json::to_string(facts)?))?;
    } else {
        stdout.write_all(as_text(terminal::has_colours(&stdout)).as_bytes())?;
    }
    stdout.flush()
}
