//! The daemon's process and its log, which is a small pipe that is not always read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, PipeReader, Read, Write, pipe};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::tallyd;
use nix::fcntl::{FcntlArg, fcntl};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;

use crate::config::Site;
use crate::host::Host;

/// Dropped points by reason.
pub(crate) type Drops = BTreeMap<String, u64>;

/// A process of the daemon. Killed when dropped.
pub(crate) struct Process {
    child: Child,
    log: Option<JoinHandle<Log>>,
}

/// The content of a log that counts.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The points that each destination had dropped at the stop.
    pub(crate) dropped: BTreeMap<String, Drops>,
    /// The latest lines.
    pub(crate) tail: Vec<String>,
    pub(crate) panics: Vec<String>,
}

impl Process {
    /// Starts the daemon. Its log goes to the file `log` while `is_read` is set.
    pub(crate) fn start(site: &Site, host: Option<&Host>, is_read: &Arc<AtomicBool>) -> Self {
        let (reader, writer) = pipe().unwrap();
        fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        let mut command: Command = tallyd();
        command.arg("run").arg("--config").arg(site.folder.join("tallyd.yaml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer);
        if let Some(host) = host {
            host.apply(&mut command);
        }
        let child = command.spawn().unwrap();
        let file = File::options().create(true).append(true).open(site.folder.join("log")).unwrap();
        let is_read = Arc::clone(is_read);
        let log = thread::spawn(move || read_log(reader, file, &is_read));
        Self { child, log: Some(log) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // Fails if it has ended by itself, which is noticed elsewhere.
        let _is_sent = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Stops all threads of the process and waits until they are stopped.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        let is_stopped = |task: std::io::Result<fs::DirEntry>| {
            let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 'Z']))
        };
        let tasks = format!("/proc/{}/task", self.pid());
        while !fs::read_dir(&tasks).is_ok_and(|mut tasks| tasks.all(is_stopped)) {
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for the end; `None` if it does not come in time.
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.has_ended() {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The log, after the end.
    pub(crate) fn log(&mut self) -> Log {
        self.log.take().map(|log| log.join().unwrap()).unwrap_or_default()
    }

    /// The number of open descriptors.
    pub(crate) fn descriptors(&self) -> u64 {
        let folder = fs::read_dir(format!("/proc/{}/fd", self.pid()));
        folder.map_or(0, |files| files.count() as u64)
    }

    /// The limit on descriptors.
    pub(crate) fn descriptor_limit(&self) -> Rlimit {
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.pid())).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        let mut numbers = line.split_whitespace().map(|word| word.parse().ok());
        Rlimit { current: numbers.next().flatten(), maximum: numbers.next().flatten() }
    }

    pub(crate) fn limit_descriptors(&self, limit: Rlimit) {
        // Fails if the daemon has ended by itself.
        let _is_set = prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit);
    }

    /// The resident memory in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _has_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn read_log(reader: PipeReader, mut file: File, is_read: &AtomicBool) -> Log {
    let mut log = Log::default();
    for line in BufReader::new(Gate { reader, is_read }).lines().map_while(Result::ok) {
        let _is_written = writeln!(file, "{line}");
        log.take(line);
    }
    log
}

/// A pipe that is read only while `is_read` is set.
struct Gate<'a> {
    reader: PipeReader,
    is_read: &'a AtomicBool,
}

impl Read for Gate<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        while !self.is_read.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        self.reader.read(bytes)
    }
}

impl Log {
    fn take(&mut self, line: String) {
        if line.contains("panicked") {
            self.panics.push(line.clone());
        }
        if let Ok(entry) = serde_json::from_str::<Value>(&line)
            && entry["message"] == "ledger of a forwarder"
        {
            let name = entry["forwarder"].as_str().unwrap().to_owned();
            let dropped = serde_json::from_str(entry["dropped"].as_str().unwrap()).unwrap();
            self.dropped.insert(name, dropped);
        }
        if self.tail.len() >= 30 {
            self.tail.remove(0);
        }
        self.tail.push(line);
    }
}
