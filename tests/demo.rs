//! The demo shows what its documentation promises, and cleans up after itself.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use common::{PATIENCE, assert_balanced};
use forwarders::testing::real_program;
use serde_json::Value;

/// A running demo, with all its processes in a separate process group. Killed when dropped.
struct Demo {
    child: Child,
    said: BufReader<ChildStdout>,
    url: String,
    folder: PathBuf,
}

impl Demo {
    /// Starts the demo and reads the address of its page and its folder; `None` without Python.
    fn start(options: &[&str]) -> Option<Self> {
        if !real_program("python3") {
            return None;
        }
        let script = common::root().join("examples/demo/run.sh");
        // A test run in the background ignores SIGINT, and a shell cannot undo that for its commands.
        let mut command = Command::new("env");
        command.arg("--default-signal=INT").arg(script);
        command.args(["--admin", "127.0.0.1:0"]).args(options);
        command.env("TALLYD", common::tallyd_path()).env("PYTHONDONTWRITEBYTECODE", "1");
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut demo = Self { child, said, url: String::new(), folder: PathBuf::new() };
        while demo.folder.as_os_str().is_empty() {
            let mut line = String::new();
            assert_ne!(demo.said.read_line(&mut line).unwrap(), 0, "it ended");
            if let Some(url) = line.trim().strip_prefix("status page") {
                url.trim().trim_end_matches('/').clone_into(&mut demo.url);
            }
            if let Some(folder) = line.trim().strip_prefix("log, points") {
                demo.folder = folder.trim().into();
            }
        }
        Some(demo)
    }

    fn status(&self) -> Value {
        common::get(format!("{}/api/v1/status", self.url)).unwrap().json().unwrap()
    }

    /// Sends a signal to all processes of the demo, as Ctrl-C does.
    fn signal(&self, name: &str) {
        let group = format!("-{}", self.child.id());
        assert!(Command::new("kill").args(["-s", name, "--", &group]).status().unwrap().success());
    }

    /// Waits for the end of the demo and returns its remaining output.
    fn wait(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        // The pipe stays open as long as any of its processes runs.
        self.said.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap(), rest)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        // Fails if all processes have already ended.
        let _killed =
            Command::new("kill").args(["-s", "KILL", "--", &group]).stderr(Stdio::null()).status();
        let _reaped = self.child.wait();
    }
}

#[test]
fn the_demo_shows_rejections_a_series_leak_and_a_down_destination_until_ctrl_c() {
    let Some(demo) = Demo::start(&[]) else { return };
    let deadline = Instant::now() + PATIENCE;
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    loop {
        let status = demo.status();
        assert_balanced(&status);
        let ledger = &status["ledger"];
        let rejected: u64 = ledger["rejected"].as_object().unwrap().values().map(number).sum();
        assert_eq!(number(&ledger["received"]), number(&ledger["aggregated"]) + rejected);
        let forwarders = &status["forwarders"];
        let down = &forwarders["graphite-down"];
        if rejected > 3
            && number(&status["series"]["overflowed_by_metric"]["session.pages"]) > 0
            && number(&down["spooled"]) > 0
            && down["up"] == false
            && down["last_error"].as_str().unwrap().contains("Connection refused")
            && number(&forwarders["influxdb-flaky"]["delivered"]) > 0
            && number(&forwarders["file"]["delivered"]) > 0
            && status["series"]["by_metric"].as_object().unwrap().len() > 12
        {
            assert_eq!(ledger["kernel_drops"], 0);
            break;
        }
        assert!(Instant::now() < deadline, "{status:#}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let page = common::get(format!("{}/", demo.url)).unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().unwrap().contains("<title>tallyd</title>"));

    let (url, folder) = (demo.url.clone(), demo.folder.clone());
    assert!(folder.join("points.jsonl").exists());
    demo.signal("INT");
    let (status, said) = demo.wait();
    assert!(status.success(), "{status}: {said}");
    assert!(said.contains("ledger of the listeners received="), "{said}");
    assert!(said.contains("forwarder=\"graphite-down\""), "{said}");
    assert!(!folder.exists(), "its folder is removed");
    assert!(common::get(url).is_err(), "the daemon has ended");
}

#[test]
fn the_demo_ends_after_the_requested_seconds() {
    let Some(demo) = Demo::start(&["--seconds", "1"]) else { return };
    let folder = demo.folder.clone();
    let (status, said) = demo.wait();
    assert!(status.success() && said.contains("ledger of the listeners received="), "{said}");
    assert!(!folder.exists(), "its folder is removed");
}

#[test]
fn the_demo_ends_and_reports_it_when_its_daemon_dies() {
    let Some(demo) = Demo::start(&[]) else { return };
    let folder = demo.folder.clone();
    let daemon = demo.status()["process"]["pid"].to_string();
    assert!(Command::new("kill").args(["-s", "KILL", &daemon]).status().unwrap().success());
    let (status, said) = demo.wait();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(!folder.exists(), "its folder is removed");
}

#[test]
fn the_demo_reports_an_address_in_use() {
    if !real_program("python3") {
        return;
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let script = common::root().join("examples/demo/run.sh");
    let mut command = Command::new(script);
    command.args(["--admin", &taken.local_addr().unwrap().to_string()]);
    let output = command.env("TALLYD", common::tallyd_path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("--admin 127.0.0.1:0"), "{said}");
}
