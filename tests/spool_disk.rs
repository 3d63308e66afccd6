//! The spool on a disk that is slow or lacks file descriptors, from end to end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::http_request::HttpRequest;
use common::{Daemon, Stopped, assert_balanced, tallyd, write_config};
use serde_json::Value;
use tempfile::TempDir;

/// A server for InfluxDB's line protocol, which accepts points or is busy.
struct Influx {
    address: SocketAddr,
    is_busy: Arc<AtomicBool>,
    /// How often each line arrived.
    lines: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Influx {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (is_busy, lines) = (Arc::new(AtomicBool::new(true)), Arc::default());
        let influx = Self { address, is_busy: Arc::clone(&is_busy), lines: Arc::clone(&lines) };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (is_busy, lines) = (Arc::clone(&is_busy), Arc::clone(&lines));
                std::thread::spawn(move || serve(stream.unwrap(), &is_busy, &lines));
            }
        });
        influx
    }

    fn is_busy(&self, is_busy: bool) {
        self.is_busy.store(is_busy, Ordering::SeqCst);
    }

    /// The number of different lines and of all lines.
    fn counts(&self) -> (usize, u32) {
        let lines = self.lines.lock().unwrap();
        (lines.len(), lines.values().sum())
    }
}

/// Answers requests until the connection ends.
fn serve(stream: TcpStream, is_busy: &AtomicBool, lines: &Mutex<BTreeMap<String, u32>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Ok(Some(request)) = HttpRequest::read(&mut reader) {
        let reply = if is_busy.load(Ordering::SeqCst) {
            "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
        } else {
            let mut lines = lines.lock().unwrap();
            for line in request.text().lines() {
                *lines.entry(line.to_owned()).or_default() += 1;
            }
            "HTTP/1.1 204 No Content\r\n\r\n"
        };
        if writer.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

/// The library that makes a disk slow; `None`, and the test is skipped, without a C compiler.
fn library(folder: &Path) -> Option<PathBuf> {
    let source = common::root().join("tests/servers/trouble.c");
    let library = folder.join("trouble.so");
    let compiled = Command::new("gcc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .output();
    match compiled {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(library)
        }
        Err(error) => {
            let _nobody_listens = writeln!(std::io::stderr(), "SKIPPED: gcc: {error}");
            None
        }
    }
}

/// A destination that is busy, a disk whose trouble can be switched on, and the folder of a daemon.
struct Scene {
    influx: Influx,
    trouble: TempDir,
    library: PathBuf,
}

impl Scene {
    fn new() -> Option<Self> {
        let trouble = tempfile::tempdir().unwrap();
        let library = library(trouble.path())?;
        Some(Self { influx: Influx::start(), trouble, library })
    }

    fn set(&self, trouble: &str, value: &str) {
        fs::write(self.trouble.path().join(trouble), value).unwrap();
    }

    fn end(&self, trouble: &str) {
        fs::remove_file(self.trouble.path().join(trouble)).unwrap();
    }

    fn start(&self, folder: TempDir) -> Daemon {
        let config = format!(
            "interval: 100ms
shutdown_timeout: 4s
forwarders:
  influxdb:
    url: http://{}
    database: m
    gzip: false
    delivery:
      retry: {{ initial: 50ms, max: 200ms }}
      spool: {{ min_free: 1MiB, order: oldest }}
",
            self.influx.address
        );
        let path = write_config(&folder, &config);
        let mut command = tallyd();
        command.args(["run", "--config", path.to_str().unwrap()]).stdin(Stdio::null());
        command.env("LD_PRELOAD", &self.library).env("TROUBLE", self.trouble.path());
        Daemon::start_command(folder, &mut command)
    }

    /// Leaves at least this number of windows on disk.
    fn leave_windows(&self, windows: u64) -> TempDir {
        let daemon = self.start(tempfile::tempdir().unwrap());
        for window in 1..=windows {
            for series in 0..5 {
                daemon.send(format!(
                    r#"{{"metric_name":"m","metric_type":"counter","s":"{series}"}}"#
                ));
            }
            daemon.wait_for("a window on disk", |status| {
                influxdb(status)["spool"]["files"].as_u64() >= Some(window)
            });
        }
        daemon.stop().folder
    }
}

fn influxdb(status: &Value) -> &Value {
    &status["forwarders"]["influxdb"]
}

/// The ledger of the only destination, from the log of a stop.
fn ledger(stopped: &Stopped) -> Value {
    let is_ledger = |entry: &&Value| entry["message"] == "ledger of a forwarder";
    stopped.log.iter().find(is_ledger).unwrap().clone()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder.join("state/spool/influxdb/new")).unwrap().count()
}

#[test]
fn a_stop_on_a_disk_that_removes_files_slowly_repeats_nothing() {
    let Some(scene) = Scene::new() else { return };
    let folder = scene.leave_windows(12);
    scene.influx.is_busy(false);
    let mut folder = Some(folder);
    // Slow, and so slow that files have to be recorded instead.
    for unlink_ms in ["300", "2500"] {
        scene.set("unlink_ms", unlink_ms);
        let daemon = scene.start(folder.take().unwrap());
        let status = daemon.wait_for("some windows delivered", |status| {
            number(&influxdb(status)["delivered"]) >= 10
        });
        assert_balanced(&status);
        let started = Instant::now();
        let stopped = daemon.stop();
        assert!(stopped.status.success());
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        assert!(files(stopped.folder.path()) > 0, "it stops in the middle of the backlog");
        folder = Some(stopped.folder);
    }
    scene.end("unlink_ms");
    let folder = folder.take().unwrap();
    let path = folder.path().to_owned();
    let daemon = scene.start(folder);
    // A status from before the spool is read has no files either.
    daemon.wait_for("an empty spool", |status| {
        let spool = &influxdb(status)["spool"];
        spool["files"] == 0 && spool["unremoved"] == 0 && files(&path) == 0
    });
    let stopped = daemon.stop();
    assert_eq!(files(stopped.folder.path()), 0);
    let (different, all) = scene.influx.counts();
    assert!(different >= 60, "{different}");
    assert_eq!(all as usize, different, "each point once");
}

#[test]
fn a_stop_on_a_disk_that_syncs_slowly_keeps_every_window_and_repeats_nothing() {
    let Some(scene) = Scene::new() else { return };
    let mut folder = Some(tempfile::tempdir().unwrap());
    let mut flushed = 0;
    // More than one sync, and not even one, within the time that a stop has.
    for sync_ms in ["300", "5000"] {
        scene.influx.is_busy(true);
        let daemon = scene.start(folder.take().unwrap());
        scene.set("sync_ms", sync_ms);
        daemon.wait_for("windows in memory", |status| {
            daemon.send(r#"{"metric_name":"m","metric_type":"counter"}"#);
            number(&influxdb(status)["queued"]) >= 30
        });
        let started = Instant::now();
        let stopped = daemon.stop();
        assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
        let left = ledger(&stopped);
        assert_eq!(left["dropped"], "{}", "{left}");
        flushed += number(&left["flushed"]);
        assert!(number(&left["spooled"]) >= 30, "{left}");
        scene.end("sync_ms");
        scene.influx.is_busy(false);
        let daemon = scene.start(stopped.folder);
        let status = daemon.wait_for("an empty spool", |status| {
            let influxdb = influxdb(status);
            influxdb["recovered"] != 0 && influxdb["spooled"] == 0 && influxdb["queued"] == 0
        });
        assert_eq!(influxdb(&status)["recovered"], left["spooled"]);
        assert_balanced(&status);
        let stopped = daemon.stop();
        flushed += number(&ledger(&stopped)["flushed"]);
        folder = Some(stopped.folder);
    }
    let (different, all) = scene.influx.counts();
    assert_eq!((different as u64, u64::from(all)), (flushed, flushed), "each point once");
}

#[test]
fn a_stop_on_a_disk_that_syncs_and_removes_slowly_keeps_every_window_and_repeats_nothing() {
    let Some(scene) = Scene::new() else { return };
    let mut folder = Some(scene.leave_windows(8));
    let (mut points, mut flushed) = (0, 0);
    for (sync_ms, unlink_ms) in [("8", "8"), ("300", "300"), ("5000", "2500")] {
        scene.set("unlink_ms", unlink_ms);
        scene.influx.is_busy(false);
        let daemon = scene.start(folder.take().unwrap());
        let status = daemon
            .wait_for("a delivered window", |status| number(&influxdb(status)["delivered"]) > 0);
        if points == 0 {
            points = number(&influxdb(&status)["recovered"]);
        }
        // The next removal is recorded while the stop begins.
        scene.set("sync_ms", sync_ms);
        scene.influx.is_busy(true);
        daemon.wait_for("windows in memory", |status| {
            daemon.send(r#"{"metric_name":"m","metric_type":"counter"}"#);
            number(&influxdb(status)["flushed"]) >= 20
        });
        let started = Instant::now();
        let stopped = daemon.stop();
        assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
        let left = ledger(&stopped);
        assert_eq!(left["dropped"], "{}", "{left}");
        flushed += number(&left["flushed"]);
        scene.end("sync_ms");
        scene.end("unlink_ms");
        folder = Some(stopped.folder);
    }
    scene.influx.is_busy(false);
    let daemon = scene.start(folder.take().unwrap());
    let status = daemon.wait_for("an empty spool", |status| {
        let influxdb = influxdb(status);
        influxdb["recovered"] != 0 && influxdb["spooled"] == 0 && influxdb["queued"] == 0
    });
    assert_balanced(&status);
    flushed += number(&ledger(&daemon.stop())["flushed"]);
    let (different, all) = scene.influx.counts();
    let points = points + flushed;
    assert_eq!((different as u64, u64::from(all)), (points, points), "each point once");
}

#[test]
fn the_removal_of_windows_of_an_earlier_run_delays_no_write() {
    let Some(scene) = Scene::new() else { return };
    let folder = scene.leave_windows(12);
    scene.influx.is_busy(false);
    scene.set("unlink_ms", "2500");
    let daemon = scene.start(folder);
    daemon.wait_for("recorded windows", |status| {
        influxdb(status)["spool"]["unremoved"].as_u64() >= Some(4)
    });
    scene.influx.is_busy(true);
    let folder = daemon.stop().folder;
    let path = folder.path().to_owned();
    scene.set("unlink_ms", "3000");
    let daemon = scene.start(folder);
    let status = daemon.wait_for("windows to remove", |status| {
        influxdb(status)["spool"]["unremoved"].as_u64() >= Some(3)
    });
    let (left, spooled) = (files(&path), number(&influxdb(&status)["spool"]["files"]));
    while files(&path) == left {
        std::thread::sleep(Duration::from_millis(10));
    }
    // At least two more files are being removed, 3 s each.
    let removing = Instant::now();
    daemon.send(r#"{"metric_name":"m","metric_type":"counter"}"#);
    daemon.wait_for("another window on disk", |status| {
        influxdb(status)["spool"]["files"].as_u64() > Some(spooled)
    });
    assert!(removing.elapsed() < Duration::from_secs(4), "{:?}", removing.elapsed());
    scene.end("unlink_ms");
    daemon.stop();
}

#[test]
fn a_lack_of_descriptors_drops_no_window() {
    let Some(scene) = Scene::new() else { return };
    let folder = scene.leave_windows(5);
    scene.set("emfile", "");
    scene.influx.is_busy(false);
    let daemon = scene.start(folder);
    let status = daemon.wait_for("trouble", |status| {
        let words = influxdb(status)["spool"]["degraded"].as_str().unwrap_or_default();
        words.contains("Too many open files")
    });
    let recovered = number(&influxdb(&status)["recovered"]);
    assert!(recovered >= 25);
    assert_eq!(
        (&influxdb(&status)["dropped"], number(&influxdb(&status)["spooled"])),
        (&serde_json::json!({}), recovered)
    );
    scene.end("emfile");
    let status = daemon.wait_for("an empty spool", |status| influxdb(status)["spooled"] == 0);
    assert_balanced(&status);
    assert_eq!(influxdb(&status)["dropped"], serde_json::json!({}));
    assert_eq!(influxdb(&status)["spool"]["degraded"], Value::Null);
    let stopped = daemon.stop();
    let told = |words: &str| {
        stopped.log.iter().filter(|line| line["message"].as_str().unwrap().contains(words)).count()
    };
    assert_eq!((told("cannot read the spool"), told("the spool can be read again")), (1, 1));
    assert_eq!(scene.influx.counts().0 as u64, recovered);
}
