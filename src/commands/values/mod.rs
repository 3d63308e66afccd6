//! `tallyd values`: prints the current values of the series of a running daemon.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use api::path::AdminPath;
use api::series::{LIMIT_MAX, SeriesList, SeriesSort};
use crossterm::terminal;
use engine::series_filter::SeriesFilter;
use thiserror::Error;

use self::options::ValuesArgs;
use self::table::{Table, caption};
use crate::commands::client::ledger::{AdminClient, LedgerError};
use crate::commands::reload::admin_of;

pub mod options;
mod table;

/// Wrong usage.
const STATUS_USAGE: u8 = 2;
/// Shortest pause between two requests with `--watch`.
const WATCH_PAUSE_MIN: Duration = Duration::from_secs(1);
/// Time for the removal of series, in addition to the open window.
const REMOVAL_MAX: Duration = Duration::from_secs(15);
/// Clears the screen and moves the cursor to its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// An error that ends the command.
#[derive(Debug, Error)]
enum ValuesError {
    #[error("{0}\n\nFor more information, try '--help'.")]
    Usage(String),
    #[error(transparent)]
    Daemon(#[from] LedgerError),
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    #[error("{0}")]
    NoSocket(&'static str),
    #[error("cannot write: {0}")]
    Json(#[from] serde_json::Error),
}

/// Runs the command: status 0 if the daemon answered, 1 if not, 2 for wrong usage.
#[must_use]
#[allow(clippy::print_stderr)]
pub fn command(args: &ValuesArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has closed the pipe.
        Err(ValuesError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            let is_usage = matches!(error, ValuesError::Usage(_));
            if is_usage { ExitCode::from(STATUS_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn run(args: &ValuesArgs) -> Result<(), ValuesError> {
    check(args).map_err(ValuesError::Usage)?;
    let admin = admin_of(args.admin.as_deref(), &args.access, &args.config)?;
    if args.delete {
        return delete(args, &admin);
    }
    loop {
        let size = if io::stdout().is_terminal() { terminal::size().ok() } else { None };
        let lines = size.filter(|_| args.watch && !args.json).map(|(_, lines)| usize::from(lines));
        // A screen has room for this many series, below the head of the table and above the caption.
        let limit =
            lines.map_or(args.limit, |lines| args.limit.min(lines.saturating_sub(3).max(1)));
        let list = fetch(args, &admin, limit)?;
        let text = if args.json { json(&list)? } else { text(args, &list, size) };
        let mut out = io::stdout().lock();
        if lines.is_some() {
            out.write_all(CLEAR.as_bytes())?;
        }
        out.write_all(text.as_bytes())?;
        out.flush()?;
        if !args.watch {
            return Ok(());
        }
        thread::sleep(Duration::from_secs_f64(list.interval_s).max(WATCH_PAUSE_MIN));
    }
}

/// Removes the selected series.
fn delete(args: &ValuesArgs, admin: &AdminClient) -> Result<(), ValuesError> {
    if !admin.may_change() {
        let words = "series are removed only through the daemon's Unix socket or with authentication: \
                     set `admin: {socket}` in its configuration, and use --admin unix:PATH; or use \
                     --token-file, or --user with --password-file";
        return Err(ValuesError::NoSocket(words));
    }
    // The removal waits for the end of the open window.
    let interval = admin.status()?.windows.interval_s;
    let within = REMOVAL_MAX + Duration::from_secs_f64(interval);
    let removed = admin.remove(&args.selection().finish(), within)?.removed;
    let mut out = io::stdout().lock();
    writeln!(out, "{removed} series removed")?;
    Ok(())
}

/// Checks the options, as the daemon does, which need not run for an error in them.
fn check(args: &ValuesArgs) -> Result<(), String> {
    if SeriesSort::from_word(&args.sort).is_none() {
        let words = SeriesSort::ALL.map(SeriesSort::as_str).join(", ");
        return Err(format!("--sort must be one of {words}, with a - in front for the reverse"));
    }
    if args.limit == 0 {
        return Err("--limit must be at least 1".to_owned());
    }
    let names: Vec<String> = args.name.iter().cloned().collect();
    SeriesFilter::new(&names, &args.tags, &args.types).map(|_| ())
}

/// The first `limit` series, in as many requests as the daemon needs.
fn fetch(args: &ValuesArgs, admin: &AdminClient, limit: usize) -> Result<SeriesList, LedgerError> {
    let part = |limit: usize, offset| -> Result<SeriesList, LedgerError> {
        let query = args.query(limit.min(LIMIT_MAX), offset);
        admin.get(&format!("{}?{query}", AdminPath::Series))
    };
    let mut list = part(limit, 0)?;
    while let Some(offset) = list.next_offset.filter(|_| list.series.len() < limit) {
        let more = part(limit - list.series.len(), offset)?;
        list.next_offset = more.next_offset;
        if more.series.is_empty() {
            break;
        }
        list.series.extend(more.series);
    }
    Ok(list)
}

fn json(list: &SeriesList) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    for series in &list.series {
        text += &basics::escape::visible(&serde_json::to_string(series)?);
        text.push('\n');
    }
    Ok(text)
}

fn text(args: &ValuesArgs, list: &SeriesList, size: Option<(u16, u16)>) -> String {
    let columns = size.map(|(columns, _)| usize::from(columns));
    let mut text = Table::new(list).write(columns);
    text += &caption(list, args.watch);
    text.push('\n');
    text
}
