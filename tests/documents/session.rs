//! Follows the instructions of a document: writes its files, runs its commands in a shell, and compares
//! their output with the output that the document shows.
//!
//! Marks after the language of a block select the step:
//!
//! | block | step |
//! | --- | --- |
//! | `sh run` | run a command to its end, with exit status 0 or that of `exit=N` |
//! | `sh run again` | repeat a command until it prints the shown output |
//! | `sh run=1` | start a command in terminal 1, after the previous one there has ended |
//! | `text shows` | compare with the complete output of the last command |
//! | `text shows=1` | compare with the next output of terminal 1; with `after=ctrl-c`, interrupt it first |
//! | `yaml file=NAME` | write a file |
//!
//! In shown output, `…` stands for any text within a line, a line of only `…` for any number of lines,
//! a time for any time, and a rate for any rate: the first window begins whenever the reader starts tallyd.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

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

/// Timeout of every wait for shown output, long enough for a busy machine.
const SHOWN_TIMEOUT: Duration = Duration::from_secs(60);

/// The folder of a reader who follows a document, and the terminals with running commands.
pub(crate) struct Session {
    folder: TempDir,
    /// The search path for the programs that the document names.
    path: String,
    terminals: BTreeMap<String, Terminal>,
    /// The last command that was not started in a terminal.
    last: Option<LastCommand>,
}

/// A command that runs to its end.
enum LastCommand {
    /// It has ended with this output.
    Printed(String),
    /// This command must be repeated until it prints the shown output.
    Repeat(String),
}

/// A running command. It is killed with all its processes when dropped.
struct Terminal {
    child: Child,
    lines: Receiver<String>,
    /// The output that the document has not shown yet.
    unseen: String,
}

impl Session {
    /// Creates a session in an empty folder; `programs` takes precedence in the search path.
    pub(crate) fn new(programs: &Path) -> Self {
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let folder = tempfile::tempdir().unwrap();
        Self { folder, path, terminals: BTreeMap::new(), last: None }
    }

    /// Performs the step of a block; returns whether the block is a step.
    pub(crate) fn follow(&mut self, block: &Block) -> bool {
        if let Some(name) = block.option("file") {
            fs::write(self.folder.path().join(name), &block.text).unwrap();
        } else if let Some(terminal) = block.option("run") {
            // A reader types the next command when the prompt is back.
            if let Some(before) = self.terminals.remove(terminal) {
                before.end();
            }
            let running = Terminal::open(&mut self.shell(&block.text));
            self.terminals.insert(terminal.to_owned(), running);
        } else if block.is("sh", "run") {
            let again = block.marks.iter().any(|mark| mark == "again");
            self.last = Some(if again {
                LastCommand::Repeat(block.text.clone())
            } else {
                LastCommand::Printed(self.run(block))
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
            match self.last.take().unwrap_or_else(|| panic!("{block}: no command precedes it")) {
                LastCommand::Printed(printed) => assert_shown(block, &printed),
                LastCommand::Repeat(command) => self.repeat(&command, block),
            }
        } else {
            return false;
        }
        true
    }

    /// Runs a command to its end and returns its output.
    fn run(&self, block: &Block) -> String {
        let mut child = self.shell(&block.text).spawn().unwrap();
        let mut printed = String::new();
        child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        let status = child.wait().unwrap().code().unwrap();
        let expected = block.option("exit").map_or(0, |status| status.parse().unwrap());
        assert_eq!(status, expected, "{block}: {printed}");
        without_blank_end(&printed)
    }

    /// Repeats a command until it prints the shown output.
    fn repeat(&self, command: &str, shown: &Block) {
        let deadline = Instant::now() + SHOWN_TIMEOUT;
        loop {
            let output = self.shell(command).output().unwrap();
            let printed = without_blank_end(&String::from_utf8(output.stdout).unwrap());
            if after_shown(&shown.text, &printed) == Some("") {
                return;
            }
            if Instant::now() > deadline {
                assert_shown(shown, &printed);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A shell that runs a command. As in a terminal, standard error is part of the output, and the
    /// command has its own process group.
    fn shell(&self, text: &str) -> Command {
        let mut shell = Command::new("bash");
        shell
            .args(["-c", &format!("exec 2>&1\n{text}")])
            .current_dir(self.folder.path())
            .env("PATH", &self.path)
            .env("HOME", self.folder.path())
            // The default of `state_dir`: a daemon must not continue where that of another test stopped.
            .env("STATE_DIRECTORY", self.folder.path().join("state"))
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
                let _is_received = sender.send(std::mem::take(&mut line));
            }
        });
        Self { child, lines, unseen: String::new() }
    }

    /// Waits until the command has printed the shown output.
    fn wait_for(&mut self, shown: &str, place: &str) {
        let deadline = Instant::now() + SHOWN_TIMEOUT;
        loop {
            if let Some(rest) = after_shown(shown, &self.unseen) {
                self.unseen = rest.to_owned();
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.unseen.push_str(&line),
                Err(_) => panic!("{place} shows\n{shown}but the output is:\n{}", self.unseen),
            }
        }
    }

    /// Interrupts the command as Ctrl-C does.
    fn interrupt(&self) {
        self.signal("INT");
    }

    fn signal(&self, name: &str) {
        let group = format!("-{}", self.child.id());
        let _is_sent = Command::new("kill").args(["-s", name, "--", &group]).status();
    }

    /// Waits for the end of the command.
    fn end(mut self) {
        let deadline = Instant::now() + SHOWN_TIMEOUT;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "timeout waiting for the end of the command");
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

/// Removes empty lines at the end, which documents do not show.
fn without_blank_end(printed: &str) -> String {
    if printed.is_empty() { String::new() } else { format!("{}\n", printed.trim_end()) }
}

fn assert_shown(block: &Block, printed: &str) {
    let all = after_shown(&block.text, printed) == Some("");
    assert!(all, "{block} shows\n{}but the output is:\n{printed}", block.text);
}

/// The output after the shown lines; `None` if it does not begin with them. A line of `…` matches as few
/// lines as possible, and at the end all remaining ones.
fn after_shown<'a>(shown: &str, printed: &'a str) -> Option<&'a str> {
    let Some((line, more)) = shown.split_once('\n') else { return Some(printed) };
    if line == "…" {
        if more.is_empty() {
            return Some("");
        }
        let starts = std::iter::once(0).chain(printed.match_indices('\n').map(|(at, _)| at + 1));
        return starts.into_iter().find_map(|start| after_shown(more, &printed[start..]));
    }
    let (first, rest) = printed.split_once('\n')?;
    is_shown(line, first).then(|| after_shown(more, rest))?
}

/// Whether a line matches the shown one.
fn is_shown(shown: &str, line: &str) -> bool {
    let masked = |text| without_rate(&crate::times::without_times(text));
    let (shown, line) = (masked(shown), masked(line));
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

/// Replaces the rate in a line of text, or for Graphite, by `RATE`.
fn without_rate(line: &str) -> String {
    let graphite = || line.split_once(".rate").and_then(|(_, rest)| rest.split_once(' '));
    let rest = line.split_once(" rate=").map(|(_, rest)| rest);
    let Some(rest) = rest.or_else(|| graphite().map(|(_, rest)| rest)) else {
        return line.to_owned();
    };
    let number = rest.split(' ').next().unwrap();
    let start = line.len() - rest.len();
    format!("{}RATE{}", &line[..start], &rest[number.len()..])
}

#[test]
fn rates_are_not_compared() {
    for (shown, line) in [
        ("counter a count=1 rate=0.1", "counter a count=1 rate=0.15832805573147563"),
        ("timer a count=1 rate=1 sum=2", "timer a count=1 rate=1.5 sum=2"),
        ("a.rate;b=c 0.5 1769860862", "a.rate;b=c 0.7 1769860863"),
    ] {
        assert!(is_shown(shown, line), "{shown}");
    }
    assert!(!is_shown("timer a count=1 rate=1 sum=2", "timer a count=1 rate=1 sum=3"));
}

#[test]
fn lines_are_compared_except_for_times_and_ellipses() {
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
    assert_eq!(after_shown("a\nb\n", "a\nb\nc\n"), Some("c\n"));
    assert_eq!(after_shown("a\n…\nc\n", "a\nb\nb\nc\n"), Some(""));
    assert_eq!(after_shown("a\n…\n", "a\nb\n"), Some(""));
    assert_eq!(after_shown("…\nb\n", "b\nc\n"), Some("c\n"));
    assert_eq!(after_shown("a\nc\n", "a\nb\nc\n"), None);
    assert_eq!(after_shown("a\n", ""), None);
    assert_eq!(after_shown("a\n", "a"), None, "the line is not complete yet");
}
