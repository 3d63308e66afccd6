//! The servers that the tests of Graphite talk to.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use forwarders::testing::real_server;
use tempfile::TempDir;

use crate::PATIENCE;

/// Runs a script of tests/servers, which prints lines of VARIABLE=VALUE.
fn script(script: &Path, args: &[&str]) -> BTreeMap<String, String> {
    let output = Command::new(script).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {args:?}: {said}", script.display());
    let printed = String::from_utf8(output.stdout).unwrap();
    let variables = printed.lines().filter_map(|line| line.split_once('='));
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A real carbon-cache of this test's own. Stopped when dropped.
pub struct Carbon {
    script: PathBuf,
    folder: TempDir,
    pub line: String,
    pub pickle: String,
    pid: Mutex<String>,
}

/// What carbon has stored: times and values by their paths.
pub type Stored = BTreeMap<String, Vec<(u64, f64)>>;

impl Carbon {
    /// `None` when the test is to be skipped.
    pub fn start() -> Option<Self> {
        let program = PathBuf::from(real_server("TALLYD_TEST_CARBON")?);
        let folder = tempfile::tempdir().unwrap();
        let mut printed = script(&program, &["start", folder.path().to_str().unwrap()]);
        let mut take = |name: &str| printed.remove(name).unwrap();
        let (line, pickle) = (take("CARBON"), take("CARBON_PICKLE"));
        let pid = Mutex::new(take("CARBON_PID"));
        Some(Self { script: program, folder, line, pickle, pid })
    }

    /// Starts it where it was, after it was killed.
    pub fn start_again(&self) {
        let printed = script(&self.script, &["start", self.path()]);
        assert_eq!(printed["CARBON"], self.line);
        self.pid.lock().unwrap().clone_from(&printed["CARBON_PID"]);
    }

    pub fn signal(&self, name: &str) {
        let pid = self.pid.lock().unwrap().clone();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits until what is stored is as it should be, and gives it.
    pub fn wait_for(&self, what: &str, is_there: impl Fn(&Stored) -> bool) -> Stored {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = Command::new(&self.script).args(["dump", self.path()]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let stored: Stored = serde_json::from_slice(&output.stdout).unwrap();
            if is_there(&stored) {
                return stored;
            }
            assert!(Instant::now() < deadline, "{what} did not come: {stored:?}");
        }
    }

    /// What Graphite's web application renders of what is stored, for each query.
    pub fn render(&self, queries: &[String]) -> Vec<serde_json::Value> {
        let mut command = Command::new(&self.script);
        let output = command.args(["render", self.path()]).args(queries).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What its log says of trouble.
    pub fn complaints(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        let words = ["invalid", "rror", "Traceback", "xception", "lost", "too long", "ignoring"];
        let bad = |line: &&str| words.iter().any(|word| line.contains(word));
        log.lines().filter(bad).map(str::to_owned).collect()
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

/// A real statsd of this test's own. Stopped when dropped.
pub struct Statsd {
    script: PathBuf,
    folder: TempDir,
    pub address: String,
}

impl Statsd {
    /// Starts it with a configuration as statsd takes it; `None` when the test is to be skipped.
    pub fn start(config: &str) -> Option<Self> {
        let program = PathBuf::from(real_server("TALLYD_TEST_STATSD")?);
        let folder = tempfile::tempdir().unwrap();
        let mut printed = script(&program, &["start", folder.path().to_str().unwrap(), config]);
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

/// Takes connections and keeps what comes, connection by connection.
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
                        // All that is sent here is ASCII.
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

    /// Waits until a whole line has come with this in it.
    pub fn wait_for(&self, marker: &str) {
        let has = |caught: &Caught| {
            let whole = caught.text.rfind('\n').map_or("", |end| &caught.text[..=end]);
            whole.contains(marker)
        };
        self.wait_until(|caught| caught.iter().any(has), marker);
    }

    /// All that came, connection by connection, when all of them have ended.
    pub fn connections(&self) -> Vec<String> {
        let caught = self.wait_until(|caught| caught.iter().all(|caught| caught.ended), "the end");
        caught.into_iter().filter(|text| !text.is_empty()).collect()
    }

    fn wait_until(&self, is_there: impl Fn(&[Caught]) -> bool, what: &str) -> Vec<String> {
        let (caught, changed) = &*self.caught;
        let waiting = caught.lock().unwrap();
        let (caught, waited) =
            changed.wait_timeout_while(waiting, PATIENCE, |caught| !is_there(caught)).unwrap();
        assert!(!waited.timed_out(), "{what} did not come");
        caught.iter().map(|caught| caught.text.clone()).collect()
    }
}
