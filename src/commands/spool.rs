//! `tallyd spool`: the windows that wait on disk. It needs no daemon and does not disturb one: files
//! appear and disappear whole, and the daemon notices when one is missing.

use crate::commands::client::configured::ConfigArgs;
use crate::commands::client::numbers::bytes as units;
use crate::commands::client::stdout;
use clap::{ArgGroup, Args, Subcommand};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use basics::time::write_rfc3339;
use basics::units::Span;
use forwarders::format::LineFormat;
use forwarders::spool::{FileName, folder_of, read};
use serde::Serialize;

use crate::config;
use basics::time::unix_ms;

/// `tallyd spool`.
#[derive(Debug, Args)]
pub struct SpoolArgs {
    /// Which configuration file: it says where the spools are.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// The command; `list` if absent.
    #[command(subcommand)]
    pub action: Option<SpoolAction>,
}

/// The actions on spools. All are safe while the daemon runs.
#[derive(Debug, Subcommand)]
pub enum SpoolAction {
    /// List the windows that wait, and the contents of the quarantine
    List {
        /// Only the files of this destination
        #[arg(long, value_name = "NAME")]
        forwarder: Option<String>,
    },
    /// Show the points in a window
    Show {
        /// The window: its name in the list, or its path
        file: String,
    },
    /// Remove windows; a running daemon counts them as dropped, with the reason `removed`
    Remove(SpoolRemoveArgs),
}

/// `tallyd spool remove`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(false))]
pub struct SpoolRemoveArgs {
    /// Windows to remove: their names in the list, or their paths
    #[arg(group = "what")]
    pub files: Vec<String>,
    /// Windows that began longer ago than this, such as 2h
    #[arg(long, group = "what", value_name = "TIME", value_parser = Span::parse)]
    pub older_than: Option<Span>,
    /// All windows, and the contents of the quarantine
    #[arg(long, group = "what")]
    pub all: bool,
    /// Only the files of this destination
    #[arg(long, value_name = "NAME")]
    pub forwarder: Option<String>,
}

/// A file in a spool.
#[derive(Debug, Serialize)]
struct SpoolEntry {
    /// The folder of the destination: its name unless that has unusual characters.
    forwarder: String,
    file: String,
    /// The start of the window.
    start: Option<String>,
    age_s: Option<u64>,
    points: Option<u64>,
    bytes: u64,
    /// Why it is in quarantine; `None` for a file that waits.
    quarantine: Option<String>,
    #[serde(skip)]
    path: PathBuf,
}

/// Files, points and bytes, added up.
#[derive(Debug, Default, Serialize)]
struct SpoolSum {
    files: u64,
    points: u64,
    bytes: u64,
}

/// Runs the command: status 0 on success, 1 on failure.
#[must_use]
#[allow(clippy::print_stderr)]
pub fn command(args: &SpoolArgs) -> ExitCode {
    let loaded = match config::load(args.config.path()) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let folder = loaded.config.spool_folder();
    let mut out = Vec::new();
    let outcome = match &args.action {
        None => list(&folder, None, args.json, &mut out),
        Some(SpoolAction::List { forwarder }) => {
            list(&folder, forwarder.as_deref(), args.json, &mut out)
        }
        Some(SpoolAction::Show { file }) => show(&folder, file, args.json, &mut out),
        Some(SpoolAction::Remove(what)) => remove(&folder, what, args.json, &mut out),
    };
    let is_printed = stdout::print(&out);
    match outcome {
        Ok(()) if is_printed => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(words) => {
            eprintln!("{words}");
            ExitCode::FAILURE
        }
    }
}

fn list(
    folder: &Path,
    forwarder: Option<&str>,
    json: bool,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let entries = entries(folder, forwarder)?;
    if json {
        return put_json(&entries, out);
    }
    if entries.is_empty() {
        out.extend_from_slice(format!("{}: nothing waits\n", folder.display()).as_bytes());
        return Ok(());
    }
    let width = entries.iter().map(|entry| entry.forwarder.len()).max().unwrap_or(0).max(9);
    let mut lines = format!(
        "{:width$}  {:24}  {:>9}  {:>10}  {:>8}  FILE\n",
        "FORWARDER", "START", "POINTS", "SIZE", "AGE"
    );
    for entry in &entries {
        let SpoolEntry { forwarder, file, start, age_s, points, bytes, quarantine, .. } = entry;
        let start = start.as_deref().unwrap_or("-");
        let points = points.map_or("-".to_owned(), |points| points.to_string());
        let age = age_s.map_or("-".to_owned(), age);
        let size = units(*bytes as f64);
        let note =
            quarantine.as_ref().map_or(String::new(), |why| format!("  in quarantine: {why}"));
        lines.push_str(&format!(
            "{forwarder:width$}  {start:24}  {points:>9}  {size:>10}  {age:>8}  {file}{note}\n"
        ));
    }
    lines.push_str(&totals(&entries));
    out.extend_from_slice(lines.as_bytes());
    Ok(())
}

/// A number with its noun.
fn count(number: u64, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// A line for each destination and for the quarantine.
fn totals(entries: &[SpoolEntry]) -> String {
    let mut totals = BTreeMap::<(&str, bool), SpoolSum>::new();
    for entry in entries {
        let total = totals.entry((&entry.forwarder, entry.quarantine.is_some())).or_default();
        total.files += 1;
        total.points += entry.points.unwrap_or(0);
        total.bytes += entry.bytes;
    }
    let line = |((forwarder, quarantine), SpoolSum { files, points, bytes }): (_, SpoolSum)| {
        let place = if quarantine { "in quarantine" } else { "waiting" };
        let (files, points) = (count(files, "window"), count(points, "point"));
        format!("{forwarder}: {files} with {points}, {}, {place}\n", units(bytes as f64))
    };
    totals.into_iter().map(line).collect()
}

fn show(folder: &Path, file: &str, json: bool, out: &mut Vec<u8>) -> Result<(), String> {
    let entry = find(folder, file)?;
    let name =
        window_of(&entry).ok_or_else(|| format!("{}: not a window", entry.path.display()))?;
    let snapshot =
        read(&entry.path, name).map_err(|error| format!("{}: {error}", entry.path.display()))?;
    let format = if json { LineFormat::Json } else { LineFormat::Text };
    format.write_points(out, &snapshot, &snapshot.points);
    Ok(())
}

fn remove(
    folder: &Path,
    what: &SpoolRemoveArgs,
    json: bool,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let chosen = if what.files.is_empty() {
        let entries = entries(folder, what.forwarder.as_deref())?;
        let is_old = |entry: &SpoolEntry| {
            let age_s = entry.age_s.unwrap_or(0);
            what.older_than.is_none_or(|than: Span| age_s > than.get().as_secs())
        };
        entries.into_iter().filter(is_old).collect()
    } else {
        let found: Result<Vec<SpoolEntry>, String> =
            what.files.iter().map(|file| find(folder, file)).collect();
        found?
    };
    let mut removed = SpoolSum::default();
    for entry in chosen {
        match fs::remove_file(&entry.path) {
            Ok(()) => {
                removed.files += 1;
                removed.points += entry.points.unwrap_or(0);
                removed.bytes += entry.bytes;
            }
            // Delivered a moment ago.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", entry.path.display())),
        }
    }
    if json {
        return put_json(&removed, out);
    }
    let SpoolSum { files, points, bytes } = removed;
    let (files, points) = (count(files, "window"), count(points, "point"));
    let words = format!("removed {files} with {points}, {}\n", units(bytes as f64));
    out.extend_from_slice(words.as_bytes());
    Ok(())
}

/// All files of all spools, or of one, in the order of delivery.
fn entries(folder: &Path, forwarder: Option<&str>) -> Result<Vec<SpoolEntry>, String> {
    let at = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| format!("{path}: {error}")
    };
    let mut entries = Vec::new();
    let spools = match fs::read_dir(folder) {
        Ok(spools) => spools,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(entries),
        Err(error) => return Err(at(folder)(error)),
    };
    let wanted = forwarder.map(folder_of);
    let now_ms = unix_ms(SystemTime::now());
    for spool in spools {
        let spool = spool.map_err(at(folder))?;
        let name = spool.file_name().to_string_lossy().into_owned();
        if wanted.as_ref().is_some_and(|wanted| *wanted != name) {
            continue;
        }
        for part in ["new", "quarantine"] {
            let part = spool.path().join(part);
            let Ok(files) = fs::read_dir(&part) else { continue };
            for file in files {
                let file = file.map_err(at(&part))?;
                // A file that has disappeared was delivered.
                if let Ok(metadata) = file.metadata()
                    && !metadata.is_dir()
                {
                    entries.push(SpoolEntry::of(&name, &file.path(), metadata.len(), now_ms));
                }
            }
        }
    }
    entries.sort_by(|a, b| {
        let key = |entry: &SpoolEntry| {
            (entry.forwarder.clone(), entry.quarantine.is_some(), entry.file.clone())
        };
        key(a).cmp(&key(b))
    });
    Ok(entries)
}

impl SpoolEntry {
    fn of(forwarder: &str, path: &Path, bytes: u64, now_ms: u64) -> Self {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_aside = path.parent().is_some_and(|folder| folder.ends_with("quarantine"));
        let quarantine = is_aside
            .then(|| file.rsplit_once('.').map_or("unknown", |(_, reason)| reason).to_owned());
        let mut entry = Self {
            forwarder: forwarder.to_owned(),
            file,
            start: None,
            age_s: None,
            points: None,
            bytes,
            quarantine,
            path: path.to_owned(),
        };
        if let Some(name) = window_of(&entry) {
            let mut start = Vec::new();
            write_rfc3339(&mut start, name.start_ms);
            entry.start = Some(String::from_utf8_lossy(&start).into_owned());
            entry.age_s = Some(now_ms.saturating_sub(name.start_ms) / 1000);
            entry.points = Some(name.points);
        }
        entry
    }
}

/// The parsed name of a file, without the reason that a name in quarantine ends with.
fn window_of(entry: &SpoolEntry) -> Option<FileName> {
    let name = match &entry.quarantine {
        Some(reason) => entry.file.strip_suffix(reason.as_str())?.strip_suffix('.')?,
        None => &entry.file,
    };
    name.parse().ok()
}

/// The file of a path, or of a name in one of the spools.
fn find(folder: &Path, file: &str) -> Result<SpoolEntry, String> {
    let path = Path::new(file);
    let mut found: Vec<SpoolEntry> = entries(folder, None)?;
    found.retain(|entry| {
        let short = Path::new(&entry.forwarder).join(&entry.file);
        entry.path == path || short == path || Path::new(&entry.file) == path
    });
    match (found.pop(), found.len()) {
        (None, _) => Err(format!(
            "{file}: no such file in the spools of {}; `tallyd spool list` shows their names",
            folder.display()
        )),
        (Some(entry), 0) => Ok(entry),
        (Some(entry), _) => Err(format!(
            "{file}: several destinations have a file of this name; name one of them, such as {}/{file}",
            entry.forwarder
        )),
    }
}

fn put_json(value: &impl Serialize, out: &mut Vec<u8>) -> Result<(), String> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(|error| error.to_string())?;
    out.push(b'\n');
    Ok(())
}

/// An age in its largest unit.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
