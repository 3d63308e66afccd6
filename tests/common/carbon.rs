//! The servers for the tests of Graphite: a real carbon, a real statsd, and a TCP server that records.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use forwarders::testing::real_server;
use tempfile::TempDir;

use crate::PATIENCE;
use crate::server_script::run_script;

/// A real carbon-cache for one test. Stopped when dropped.
pub struct Carbon {
    script: PathBuf,
    folder: TempDir,
    pub line: String,
    pub pickle: String,
    pid: Mutex<String>,
}

/// The stored data of carbon: times and values by path.
pub type Stored = BTreeMap<String, Vec<(u64, f64)>>;

impl Carbon {
    /// Starts carbon; `None` if the test must be skipped.
    pub fn start() -> Option<Self> {
        let program = PathBuf::from(real_server("TALLYD_TEST_CARBON")?);
        let folder = tempfile::tempdir().unwrap();
        let mut printed = run_script(&program, &["start", folder.path().to_str().unwrap()]);
        let mut take = |name: &str| printed.remove(name).unwrap();
        let (line, pickle) = (take("CARBON"), take("CARBON_PICKLE"));
        let pid = Mutex::new(take("CARBON_PID"));
        Some(Self { script: program, folder, line, pickle, pid })
    }

    /// Starts carbon at the same address, after it was killed.
    pub fn restart(&self) {
        let printed = run_script(&self.script, &["start", self.path()]);
        assert_eq!(printed["CARBON"], self.line);
        self.pid.lock().unwrap().clone_from(&printed["CARBON_PID"]);
    }

    pub fn signal(&self, name: &str) {
        let pid = self.pid.lock().unwrap().clone();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits until the stored data meets a condition, and returns it.
    pub fn wait_for(&self, what: &str, is_met: impl Fn(&Stored) -> bool) -> Stored {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = Command::new(&self.script).args(["dump", self.path()]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let stored: Stored = serde_json::from_slice(&output.stdout).unwrap();
            if is_met(&stored) {
                return stored;
            }
            assert!(Instant::now() < deadline, "timeout waiting for {what}: {stored:?}");
        }
    }

    /// The output of Graphite's web application for each query.
    pub fn render(&self, queries: &[String]) -> Vec<serde_json::Value> {
        let mut command = Command::new(&self.script);
        let output = command.args(["render", self.path()]).args(queries).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The lines of carbon's log that report problems.
    pub fn complaints(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        let words = ["invalid", "rror", "Traceback", "xception", "lost", "too long", "ignoring"];
        let is_problem = |line: &&str| words.iter().any(|word| line.contains(word));
        log.lines().filter(is_problem).map(str::to_owned).collect()
    }

    fn path(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }
}

impl Drop for Carbon {
    fn drop(&mut self) {
        let stop = Command::new(&self.script).args(["stop", self.path()]).status();
        drop(stop);
    }
}

/// A real statsd for one test. Stopped when dropped.
pub struct Statsd {
    script: PathBuf,
    folder: TempDir,
    pub address: String,
}

impl Statsd {
    /// Starts statsd with a configuration in its format; `None` if the test must be skipped.
    pub fn start(config: &str) -> Option<Self> {
        let program = PathBuf::from(real_server("TALLYD_TEST_STATSD")?);
        let folder = tempfile::tempdir().unwrap();
        let mut printed = run_script(&program, &["start", folder.path().to_str().unwrap(), config]);
        let address = printed.remove("STATSD").unwrap();
        Some(Self { script: program, folder, address })
    }
}

impl Drop for Statsd {
    fn drop(&mut self) {
        let folder = self.folder.path().to_str().unwrap();
        let stop = Command::new(&self.script).args(["stop", folder]).status();
        drop(stop);
    }
}

/// Accepts connections and records the data of each.
pub struct Catcher {
    pub address: String,
    caught: Arc<(Mutex<Vec<Caught>>, Condvar)>,
}

#[derive(Default)]
struct Caught {
    text: String,
    ended: bool,
}

impl Catcher {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let caught: Arc<(Mutex<Vec<Caught>>, Condvar)> = Arc::default();
        let shared = Arc::clone(&caught);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, shared) = (stream.unwrap(), Arc::clone(&shared));
                let place = {
                    let mut caught = shared.0.lock().unwrap();
                    caught.push(Caught::default());
                    caught.len() - 1
                };
                std::thread::spawn(move || {
                    let mut bytes = [0; 65536];
                    loop {
                        let count = stream.read(&mut bytes).unwrap_or(0);
                        let mut caught = shared.0.lock().unwrap();
                        // The tests send only ASCII.
                        caught[place].text += std::str::from_utf8(&bytes[..count]).unwrap();
                        caught[place].ended = count == 0;
                        shared.1.notify_all();
                        if count == 0 {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, caught }
    }

    /// Waits until a complete line that contains `marker` was received.
    pub fn wait_for(&self, marker: &str) {
        let has = |caught: &Caught| {
            let whole = caught.text.rfind('\n').map_or("", |end| &caught.text[..=end]);
            whole.contains(marker)
        };
        self.wait_until(|caught| caught.iter().any(has), marker);
    }

    /// Waits until all connections have ended, and returns the data of each.
    pub fn connections(&self) -> Vec<String> {
        let caught = self.wait_until(|caught| caught.iter().all(|caught| caught.ended), "the end");
        caught.into_iter().filter(|text| !text.is_empty()).collect()
    }

    fn wait_until(&self, is_met: impl Fn(&[Caught]) -> bool, what: &str) -> Vec<String> {
        let (caught, changed) = &*self.caught;
        let waiting = caught.lock().unwrap();
        let (caught, waited) =
            changed.wait_timeout_while(waiting, PATIENCE, |caught| !is_met(caught)).unwrap();
        assert!(!waited.timed_out(), "timeout waiting for {what}");
        caught.iter().map(|caught| caught.text.clone()).collect()
    }
}
