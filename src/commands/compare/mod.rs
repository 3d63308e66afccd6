//! `tallyd compare`: compares the output of two daemons that get the same samples, such as a daemon to
//! replace and a `tallyd` that mirrors its traffic.

mod hint;
mod interleave;
mod interrupt;
mod judge;
mod kind;
mod listen;
pub mod options;
mod parse;
mod recording;
mod report;
mod text;
#[cfg(feature = "kafka")]
mod topic;
mod verdict;

use std::fs::File;
use std::future::Future;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use basics::escape::visible;
use thiserror::Error;

use self::interrupt::Interrupts;
use self::listen::SharedOutput;
use self::options::{CompareArgs, CompareSource};
use self::recording::RecordedOutput;
use self::report::Comparison;
use crate::commands::client::terminal::ProgressLine;

/// Wrong usage.
const STATUS_USAGE: u8 = 2;

/// Why nothing can be compared.
#[derive(Debug, Error)]
enum CompareError {
    /// A file cannot be read.
    #[error("{path}: cannot be read: {source}")]
    File { path: String, source: io::Error },
    /// An address cannot be bound.
    #[error("cannot listen at {address}: {source}")]
    Listen { address: String, source: io::Error },
    /// A topic cannot be read.
    #[error("{0}")]
    Topic(String),
    /// Both sources are the same address.
    #[error("--old and --new are the same source: give each daemon a port of its own")]
    Same,
    /// One source is read at once, the other in the future.
    #[error("one source is an address and the other is not: they would have no time in common")]
    Mixed,
    /// The system refuses a thread or a signal handler.
    #[error("cannot start: {0}")]
    Start(#[source] io::Error),
    /// Standard output cannot be written.
    #[error("cannot write: {0}")]
    Output(#[source] io::Error),
}

/// Runs the command: status 0 without unexplained differences, 1 with some or if nothing could be
/// compared, 2 for wrong usage.
#[must_use]
#[allow(clippy::print_stderr)]
pub fn command(args: &CompareArgs) -> ExitCode {
    match run(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // The reader has closed the pipe.
        Err(CompareError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            let is_usage = matches!(error, CompareError::Same | CompareError::Mixed);
            if is_usage { ExitCode::from(STATUS_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn run(args: &CompareArgs) -> Result<bool, CompareError> {
    if args.old == args.new && !matches!(args.old, CompareSource::File(_)) {
        return Err(CompareError::Same);
    }
    if args.old.is_live() != args.new.is_live() {
        return Err(CompareError::Mixed);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (old, new) = runtime.map_err(CompareError::Start)?.block_on(record(args))?;
    let mut comparison = Comparison::of(&old, &new, args.tolerance);
    comparison.hints = hint::hints(&comparison);
    let printed = if args.json {
        let json =
            serde_json::to_string(&comparison).map_err(|e| CompareError::Output(e.into()))?;
        format!("{}\n", visible(&json))
    } else {
        text::write(&comparison, args.limit)
    };
    io::stdout().write_all(printed.as_bytes()).map_err(CompareError::Output)?;
    Ok(comparison.is_good())
}

/// Reads both sources.
#[allow(clippy::print_stderr)]
async fn record(args: &CompareArgs) -> Result<(RecordedOutput, RecordedOutput), CompareError> {
    // Not while files or topics are read, which a signal ends at once.
    let interrupts = args.old.is_live().then(Interrupts::new).transpose();
    let interrupts = interrupts.map_err(CompareError::Start)?;
    let old = OpenSource::open(&args.old, args.length.get()).await?;
    let new = OpenSource::open(&args.new, args.length.get()).await?;
    if let Some(interrupts) = interrupts {
        eprintln!("comparing for {}; Ctrl-C ends it earlier", args.length);
        listen(args.length.get(), interrupts, &old, &new).await;
    }
    Ok((old.take(), new.take()))
}

/// Waits while daemons send, until the time is over or the user ends it.
#[allow(clippy::print_stderr)]
async fn listen(length: Duration, mut interrupts: Interrupts, old: &OpenSource, new: &OpenSource) {
    let start = Instant::now();
    let mut progress = ProgressLine::new();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            signal = interrupts.next() => {
                progress.clear();
                eprintln!("{signal} ended it after {} s", start.elapsed().as_secs());
                break;
            }
            _ = second.tick() => {
                if start.elapsed() >= length {
                    break;
                }
                progress.show(|| format!(
                    "{} s left: {} values of old, {} of new",
                    (length - start.elapsed()).as_secs(),
                    old.recording.lock().values(),
                    new.recording.lock().values()
                ));
            }
        }
    }
    progress.clear();
}

/// A source that was read, or that is being read in a task.
struct OpenSource {
    recording: SharedOutput,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl OpenSource {
    async fn open(source: &CompareSource, age: Duration) -> Result<Self, CompareError> {
        let recording = SharedOutput::default();
        let shared = Arc::clone(&recording);
        let failed =
            |address: &str, source| CompareError::Listen { address: address.to_owned(), source };
        let task: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = match source {
            CompareSource::Tcp(address) => {
                Some(Box::pin(listen::tcp(address, shared).await.map_err(|e| failed(address, e))?))
            }
            CompareSource::Udp(address) => {
                Some(Box::pin(listen::udp(address, shared).await.map_err(|e| failed(address, e))?))
            }
            CompareSource::File(path) => {
                *recording.lock() = read_file(path)?;
                None
            }
            CompareSource::Kafka { brokers, topic } => {
                *recording.lock() = read_topic(brokers, topic, age).map_err(CompareError::Topic)?;
                None
            }
        };
        Ok(Self { recording, task: task.map(tokio::spawn) })
    }

    fn take(&self) -> RecordedOutput {
        if let Some(task) = &self.task {
            task.abort();
        }
        std::mem::take(&mut self.recording.lock())
    }
}

fn read_file(path: &Path) -> Result<RecordedOutput, CompareError> {
    let failed = |source| CompareError::File { path: path.display().to_string(), source };
    let mut recording = RecordedOutput::default();
    for line in BufReader::new(File::open(path).map_err(failed)?).split(b'\n') {
        recording.add_line(&line.map_err(failed)?, listen::now_ms());
    }
    Ok(recording)
}

#[cfg(feature = "kafka")]
fn read_topic(brokers: &str, topic: &str, age: Duration) -> Result<RecordedOutput, String> {
    topic::read(brokers, topic, age)
}

#[cfg(not(feature = "kafka"))]
fn read_topic(_: &str, _: &str, _: Duration) -> Result<RecordedOutput, String> {
    Err("this build cannot read Kafka: it lacks the feature `kafka`".to_owned())
}
