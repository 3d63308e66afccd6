//! Does what a document tells its reader to do: writes the files, runs the commands in a shell, and
//! holds what they print against what the document shows.
//!
//! Blocks are marked behind their language:
//!
//! | block | is |
//! | --- | --- |
//! | `sh run` | a command that ends, with status 0 or that of `exit=N` |
//! | `sh run again` | the same, repeated until it prints what is shown |
//! | `sh run=1` | a command that goes on, in terminal 1, once what ran there has ended |
//! | `text shows` | what the last command printed, all of it |
//! | `text shows=1` | what terminal 1 prints next; with `after=ctrl-c`, once it was interrupted |
//! | `yaml file=NAME` | a file |
//!
//! In what is shown, `…` stands for any text of a line, and a line of `…` alone for any lines. Times
//! are any times.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use common::markdown::Block;

/// Nothing that is shown takes this long to appear, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// The reader's folder, and the terminals in which something runs.
pub(crate) struct Session {
    folder: TempDir,
    /// Where the programs are that the document names.
    path: String,
    terminals: BTreeMap<String, Terminal>,
    /// The last command that ends.
    last: Option<Last>,
}

/// A command that ends.
enum Last {
    /// It has, and has printed this.
    Printed(String),
    /// It is to be run until it prints what is shown.
    Again(String),
}

/// A command that goes on. Ended with all that it started when dropped.
struct Terminal {
    child: Child,
    lines: Receiver<String>,
    /// What it has printed and the document has not shown yet.
    unseen: String,
}

impl Session {
    /// In an empty folder, with the programs of `programs` before those of the system.
    pub(crate) fn new(programs: &Path) -> Self {
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let folder = tempfile::tempdir().unwrap();
        Self { folder, path, terminals: BTreeMap::new(), last: None }
    }

    /// Does what a block says. Whether it is one that says something.
    pub(crate) fn follow(&mut self, block: &Block) -> bool {
        if let Some(name) = block.option("file") {
            fs::write(self.folder.path().join(name), &block.text).unwrap();
        } else if let Some(terminal) = block.option("run") {
            // Nobody types there before the prompt is back.
            if let Some(before) = self.terminals.remove(terminal) {
                before.end();
            }
            let running = Terminal::open(&mut self.shell(&block.text));
            self.terminals.insert(terminal.to_owned(), running);
        } else if block.is("sh", "run") {
            let again = block.marks.iter().any(|mark| mark == "again");
            self.last = Some(if again {
                Last::Again(block.text.clone())
            } else {
                Last::Printed(self.run(block))
            });
        } else if let Some(terminal) = block.option("shows") {
            let running = self.terminals.get_mut(terminal).unwrap();
            if block.option("after") == Some("ctrl-c") {
                running.interrupt();
                running.wait_for(&block.text, &block.to_string());
                self.terminals.remove(terminal).unwrap().end();
            } else {
                running.wait_for(&block.text, &block.to_string());
            }
        } else if block.is("text", "shows") {
            match self.last.take().unwrap_or_else(|| panic!("{block}: of what?")) {
                Last::Printed(printed) => assert_shown(block, &printed),
                Last::Again(command) => self.repeat(&command, block),
            }
        } else {
            return false;
        }
        true
    }

    /// Runs a command to its end, and tells what it printed.
    fn run(&self, block: &Block) -> String {
        let mut child = self.shell(&block.text).spawn().unwrap();
        let mut printed = String::new();
        child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        let status = child.wait().unwrap().code().unwrap();
        let expected = block.option("exit").map_or(0, |status| status.parse().unwrap());
        assert_eq!(status, expected, "{block}: {printed}");
        without_blank_end(&printed)
    }

    /// Runs a command until it prints what is shown.
    fn repeat(&self, command: &str, shown: &Block) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.shell(command).output().unwrap();
            let printed = without_blank_end(&String::from_utf8(output.stdout).unwrap());
            if behind(&shown.text, &printed) == Some("") {
                return;
            }
            if Instant::now() > deadline {
                assert_shown(shown, &printed);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A shell with a command to run; what it says on standard error is printed too, as in a
    /// terminal. It leads a process group of its own, as there.
    fn shell(&self, text: &str) -> Command {
        let mut shell = Command::new("bash");
        shell
            .args(["-c", &format!("exec 2>&1\n{text}")])
            .current_dir(self.folder.path())
            .env("PATH", &self.path)
            .env("HOME", self.folder.path())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        shell
    }
}

impl Terminal {
    fn open(shell: &mut Command) -> Self {
        let mut child = shell.spawn().unwrap();
        let (sender, lines) = channel();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut line = String::new();
            while output.read_line(&mut line).is_ok_and(|length| length > 0) {
                let _nobody_waits_any_more = sender.send(std::mem::take(&mut line));
            }
        });
        Self { child, lines, unseen: String::new() }
    }

    /// Waits until it has printed what is shown.
    fn wait_for(&mut self, shown: &str, place: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(rest) = behind(shown, &self.unseen) {
                self.unseen = rest.to_owned();
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.unseen.push_str(&line),
                Err(_) => panic!("{place} shows\n{shown}and this came:\n{}", self.unseen),
            }
        }
    }

    /// What Ctrl-C in a terminal does.
    fn interrupt(&self) {
        self.signal("INT");
    }

    fn signal(&self, name: &str) {
        let group = format!("-{}", self.child.id());
        let _gone_already = Command::new("kill").args(["-s", name, "--", &group]).status();
    }

    /// Waits for its end.
    fn end(mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "what runs in the terminal does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.signal("KILL");
            self.child.wait().unwrap();
        }
    }
}

/// A document shows no empty lines at the end.
fn without_blank_end(printed: &str) -> String {
    if printed.is_empty() { String::new() } else { format!("{}\n", printed.trim_end()) }
}

fn assert_shown(block: &Block, printed: &str) {
    let all = behind(&block.text, printed) == Some("");
    assert!(all, "{block} shows\n{}and this is printed:\n{printed}", block.text);
}

/// What stands behind the shown lines in what was printed; `None` if these are not at its beginning.
/// A line of `…` takes as few lines as it can, and all that is left at the end.
fn behind<'a>(shown: &str, printed: &'a str) -> Option<&'a str> {
    let Some((line, more)) = shown.split_once('\n') else { return Some(printed) };
    if line == "…" {
        if more.is_empty() {
            return Some("");
        }
        let starts = std::iter::once(0).chain(printed.match_indices('\n').map(|(at, _)| at + 1));
        return starts.into_iter().find_map(|start| behind(more, &printed[start..]));
    }
    let (first, rest) = printed.split_once('\n')?;
    is_shown(line, first).then(|| behind(more, rest))?
}

/// Whether a line is as it is shown.
fn is_shown(shown: &str, line: &str) -> bool {
    let (shown, line) = (crate::times::without_times(shown), crate::times::without_times(line));
    let mut parts = shown.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

#[test]
fn a_line_is_compared_but_for_times_and_what_is_left_out() {
    let line = "2026-01-31T12:00:10.000Z counter a count=1";
    assert!(is_shown("2027-02-28T00:00:00.000Z counter a count=1", line));
    assert!(is_shown("… counter … count=…", line));
    for other in ["", "…x", "2026-01-31T12:00:10.000Z counter a", "… gauge …", "counter a count=1"]
    {
        assert!(!is_shown(other, line), "{other}");
    }
}

#[test]
fn lines_are_compared_in_order() {
    assert_eq!(behind("a\nb\n", "a\nb\nc\n"), Some("c\n"));
    assert_eq!(behind("a\n…\nc\n", "a\nb\nb\nc\n"), Some(""));
    assert_eq!(behind("a\n…\n", "a\nb\n"), Some(""));
    assert_eq!(behind("…\nb\n", "b\nc\n"), Some("c\n"));
    assert_eq!(behind("a\nc\n", "a\nb\nc\n"), None);
    assert_eq!(behind("a\n", ""), None);
    assert_eq!(behind("a\n", "a"), None, "the line is not complete yet");
}
