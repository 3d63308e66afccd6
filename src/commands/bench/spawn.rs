//! A daemon for the measurement, started from the same binary with a temporary configuration.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use thiserror::Error;

use super::options::Load;
use engine::listener::Transport;
use engine::sys;

/// How long a start may take on a busy host.
const START_MAX: Duration = Duration::from_secs(30);
/// How long a stop may take before the daemon is killed.
const STOP_MAX: Duration = Duration::from_secs(15);
/// Pause between two checks whether it has ended.
const LOOK: Duration = Duration::from_millis(5);

/// Why there is no daemon.
#[derive(Debug, Error)]
pub(super) enum SpawnError {
    /// The system refuses a process, a thread or a folder.
    #[error("cannot start a daemon: {0}")]
    System(#[from] io::Error),
    /// The daemon did not become ready.
    #[error("the daemon did not start; its last line: {0}")]
    Silent(String),
}

/// A daemon. Dropping it stops the daemon and removes its folder.
#[derive(Debug)]
pub(super) struct SpawnedDaemon {
    child: Child,
    /// `host:port` of its admin endpoint.
    admin: String,
    _folder: TempDir,
}

impl SpawnedDaemon {
    /// Starts a daemon with a listener for the load. It writes its points to /dev/null, so the cost is
    /// that of aggregating and formatting.
    ///
    /// # Errors
    /// When it does not report its admin endpoint.
    pub(super) fn start(transport: Transport, load: &Load) -> Result<Self, SpawnError> {
        let folder = tempfile::Builder::new().prefix("tallyd-bench-").tempdir()?;
        let path = folder.path().join("tallyd.yaml");
        fs::write(&path, configuration(transport, load, &folder))?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["run", "--config"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        sys::end_with_parent(&mut command);
        // Ctrl-C in a terminal is for the load generator: the daemon has to report its ledger first.
        command.process_group(0);
        let mut child = command.spawn()?;
        let log = follow_log(&mut child)?;
        // Built before the wait, so that an error stops the daemon.
        let mut daemon = Self { child, admin: String::new(), _folder: folder };
        daemon.admin = wait_for_admin(&log)?;
        Ok(daemon)
    }

    /// `host:port` of its admin endpoint.
    pub(super) fn admin(&self) -> &str {
        &self.admin
    }
}

impl Drop for SpawnedDaemon {
    fn drop(&mut self) {
        let _ended_already = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let until = Instant::now() + STOP_MAX;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            thread::sleep(LOOK);
        }
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The defaults, except for the addresses, limits that the load does not reach, and a destination that
/// keeps nothing.
fn configuration(transport: Transport, load: &Load, folder: &TempDir) -> String {
    let place = if transport.has_address() {
        "address: \"127.0.0.1:0\"".to_owned()
    } else {
        // A JSON string is a YAML string, so characters of the folder's name need no other escapes.
        format!("path: {}", Value::from(folder.path().join("socket").display().to_string()))
    };
    // Without the forwarder `file`, the console writes to /dev/null.
    let forwarders =
        if cfg!(feature = "file") { "forwarders: { file: { path: /dev/null } }\n" } else { "" };
    let gro = if load.gso { ", gro: true" } else { "" };
    format!(
        "listeners: [{{ protocol: {}, transport: {}, {place}{gro} }}]\n\
         admin: {{ listen: \"127.0.0.1:0\" }}\n\
         aggregation: {{ max_series: 2000000, max_series_per_metric: 2000000, \
         max_series_bytes: 4GiB }}\n\
         log: {{ format: json }}\n{forwarders}",
        load.protocol.as_str(),
        transport.as_str(),
    )
}

/// Reads the daemon's log while it runs: a full pipe would block it.
fn follow_log(child: &mut Child) -> io::Result<Receiver<String>> {
    let (sender, lines): (Sender<String>, _) = mpsc::channel();
    if let Some(stderr) = child.stderr.take() {
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _nobody_waits_any_more = sender.send(line);
            }
        })?;
    }
    Ok(lines)
}

/// Reads the log up to the line with the address of the admin endpoint, which is bound last.
fn wait_for_admin(lines: &Receiver<String>) -> Result<String, SpawnError> {
    let deadline = Instant::now() + START_MAX;
    let mut last = "nothing".to_owned();
    loop {
        let line = match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                return Err(SpawnError::Silent(last));
            }
        };
        let entry: Value = serde_json::from_str(&line).unwrap_or_default();
        let message = entry["message"].as_str().unwrap_or_default();
        if message.starts_with("admin endpoint")
            && let Some(address) = entry["address"].as_str()
        {
            return Ok(address.to_owned());
        }
        last = line;
    }
}
