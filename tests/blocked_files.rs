//! Files whose file system hangs, and paths that are no regular files: they cost the other
//! destinations nothing, and no point is lost or written twice.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Daemon, assert_balanced, root, tallyd, write_config};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;
use tempfile::TempDir;

/// Two files on a file system that may hang, and one on another.
const FILES: &str = "\
interval: 100ms
shutdown_timeout: 1s
forwarders:
  file:
    - { name: one, path: DIR/hung/one, format: json, delivery: { timeout: 300ms, retry: { max: 100ms } } }
    - { name: two, path: DIR/hung/two, format: json, delivery: { timeout: 300ms, retry: { max: 100ms } } }
    - { name: well, path: DIR/well, format: json }
";
const COUNTER: &str = "{\"metric_name\":\"m\",\"metric_type\":\"counter\"}";

/// A daemon for which calls of the system can hang.
struct Hanging {
    daemon: Daemon,
}

impl Hanging {
    /// Starts a daemon in a folder; `calls` hang from its start.
    fn start(folder: TempDir, calls: &str) -> Self {
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("hung")).unwrap();
        fs::write(at("calls"), calls).unwrap();
        let config = write_config(&folder, FILES);
        let mut command = tallyd();
        command
            .args(["run", "--config", config.to_str().unwrap()])
            .stdin(Stdio::null())
            .env("LD_PRELOAD", library(&folder))
            .env("HANG_PREFIX", at("hung"))
            .env("HANG_SWITCH", at("calls"));
        Self { daemon: Daemon::start_command(folder, &mut command) }
    }

    /// Lets these calls hang from now on, and no others.
    fn hang(&self, calls: &str) {
        let new = self.daemon.path("calls.new");
        fs::write(&new, calls).unwrap();
        fs::rename(new, self.daemon.path("calls")).unwrap();
    }

    fn number(status: &Value, name: &str, count: &str) -> u64 {
        status["forwarders"][name][count].as_u64().unwrap()
    }

    /// Sends samples, in several windows, until the destination has delivered this many points more.
    fn send_until_delivered(&self, names: &[&str], points: u64) {
        let before = self.daemon.status();
        self.daemon.wait_for("points are delivered", |status| {
            self.daemon.send(COUNTER);
            names.iter().all(|name| {
                let delivered = |status| Self::number(status, name, "delivered");
                delivered(status) >= delivered(&before) + points
            })
        });
    }

    /// Checks that the admin endpoint answers at once. The fastest of some, because the machine of the
    /// test may be busy.
    fn assert_prompt(&self) {
        let ask = || {
            let began = Instant::now();
            assert_eq!(self.daemon.get("/healthz").0, 200);
            began.elapsed()
        };
        let fastest = (0..5).map(|_| ask()).min().unwrap();
        assert!(fastest < Duration::from_millis(100), "/healthz took {fastest:?}");
    }
}

/// Compiles the library that lets calls hang. A C compiler is there: Rust links with it.
fn library(folder: &TempDir) -> PathBuf {
    let library = folder.path().join("hang.so");
    if !library.exists() {
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(&library);
        assert!(compiler.arg(root().join("tests/fixtures/hang.c")).status().unwrap().success());
    }
    library
}

/// The number of samples in the points of a file, each of which must be a whole line.
fn samples(path: &Path) -> u64 {
    common::total(&common::points(path), "m", "count") as u64
}

#[test]
fn a_file_system_that_hangs_delays_no_other_destination() {
    for calls in ["write", "open", "statx", "write open statx"] {
        let hanging = Hanging::start(tempfile::tempdir().unwrap(), "");
        let daemon = &hanging.daemon;
        hanging.send_until_delivered(&["one", "two", "well"], 1);
        fs::rename(daemon.path("hung/one"), daemon.path("hung/one.1")).unwrap();
        fs::rename(daemon.path("hung/two"), daemon.path("hung/two.1")).unwrap();
        hanging.hang(calls);
        hanging.send_until_delivered(&["well"], 5);
        hanging.assert_prompt();
        let status = daemon.wait_for("attempts fail", |status| {
            Hanging::number(status, "one", "failures") > 1
                && Hanging::number(status, "two", "failures") > 1
        });
        assert_balanced(&status);
        let error = status["forwarders"]["one"]["last_error"].to_string();
        assert!(
            error.contains("hung/one: a write has not returned within 300ms (delivery.timeout)"),
            "{error}"
        );
        assert!(Hanging::number(&status, "one", "queued") > 0);

        hanging.hang("");
        hanging.send_until_delivered(&["one", "two"], 1);
        let stopped = hanging.daemon.stop();
        assert!(stopped.status.success());
        let at = |name: &str| samples(&stopped.folder.path().join(name));
        let all = at("well");
        assert_eq!(at("hung/one") + at("hung/one.1"), all, "{calls}");
        assert_eq!(at("hung/two") + at("hung/two.1"), all, "{calls}");
    }
}

#[test]
fn a_file_system_that_hangs_does_not_delay_the_stop() {
    for calls in ["write", "open statx"] {
        let hanging = Hanging::start(tempfile::tempdir().unwrap(), "");
        hanging.send_until_delivered(&["one", "two", "well"], 1);
        fs::rename(hanging.daemon.path("hung/one"), hanging.daemon.path("hung/one.1")).unwrap();
        hanging.hang(calls);
        hanging.send_until_delivered(&["well"], 3);
        let began = Instant::now();
        let stopped = hanging.daemon.stop();
        // `shutdown_timeout` is a second.
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        assert!(stopped.status.success());
        let is_drop = |entry: &Value| {
            entry["forwarder"] == "one" && entry.to_string().contains("could not be delivered")
        };
        assert!(stopped.log.iter().any(is_drop), "{:#?}", stopped.log);
        let ledger = |name: &str| {
            let is_ledger =
                |entry: &&Value| entry["forwarder"] == name && entry["flushed"].is_u64();
            stopped.log.iter().find(is_ledger).unwrap().clone()
        };
        let (one, well) = (ledger("one"), ledger("well"));
        let number = |entry: &Value, count: &str| entry[count].as_u64().unwrap_or_default();
        assert_eq!(number(&well, "flushed"), number(&well, "delivered"), "{well}");
        assert_eq!(number(&one, "flushed"), number(&well, "flushed"), "{one}");
        assert!(number(&one, "delivered") < number(&one, "flushed"), "{one}");
        assert!(one.to_string().contains("shutdown"), "{one}");
    }
}

#[test]
fn the_daemon_starts_although_the_file_system_hangs() {
    let hanging = Hanging::start(tempfile::tempdir().unwrap(), "write open statx");
    hanging.send_until_delivered(&["well"], 3);
    hanging.assert_prompt();
    hanging.hang("");
    hanging.send_until_delivered(&["one", "two"], 1);
    assert!(hanging.daemon.stop().status.success());
}

#[test]
fn a_reload_during_a_write_that_hangs_writes_nothing_twice() {
    let hanging = Hanging::start(tempfile::tempdir().unwrap(), "");
    let daemon = &hanging.daemon;
    hanging.send_until_delivered(&["one", "two", "well"], 1);
    hanging.hang("write");
    hanging.send_until_delivered(&["well"], 3);
    // Another timeout means another forwarder.
    let status = daemon.reload(&FILES.replace("300ms", "200ms"));
    assert_eq!(status["reload"]["applied"], 1, "{status:#}");
    let status = daemon.wait_for("the window in flight is given up", |status| {
        status["forwarders"]["one"]["dropped"]["replaced"].as_u64().is_some()
    });
    assert_balanced(&status);
    hanging.hang("");
    hanging.send_until_delivered(&["one", "two"], 1);
    assert_balanced(&daemon.status());
    let stopped = hanging.daemon.stop();
    let at = |name: &str| samples(&stopped.folder.path().join(name));
    // The write that hung was finished after its points were counted as dropped.
    assert_eq!(at("hung/one"), at("well"));
}

#[test]
fn a_kill_within_a_line_costs_only_this_line() {
    let hanging = Hanging::start(tempfile::tempdir().unwrap(), "");
    hanging.send_until_delivered(&["one"], 1);
    let before = fs::read_to_string(hanging.daemon.path("hung/one")).unwrap();
    hanging.hang("write");
    let path = hanging.daemon.path("hung/one");
    hanging.daemon.wait_for("half a line is written", |_| {
        hanging.daemon.send(COUNTER);
        fs::metadata(&path).unwrap().len() > before.len() as u64
    });
    let (daemon, folder) = (hanging.daemon, tempfile::tempdir().unwrap());
    fs::create_dir(folder.path().join("hung")).unwrap();
    daemon.signal("KILL");
    let killed = daemon.wait();
    let cut = killed.read("hung/one");
    assert!(cut.starts_with(&before) && !cut.ends_with('\n'), "{cut}");

    fs::write(folder.path().join("hung/one"), &cut).unwrap();
    let next = Hanging::start(folder, "");
    next.send_until_delivered(&["one"], 1);
    let text = next.daemon.stop().read("hung/one");
    let rest = text.strip_prefix(&format!("{cut}\n")).unwrap();
    assert!(rest.ends_with('\n'), "{text}");
    for line in rest.lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
}

fn make_pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

#[test]
fn a_check_accepts_only_regular_files_and_harmless_devices() {
    let folder = tempfile::tempdir().unwrap();
    make_pipe(&folder.path().join("pipe"));
    std::os::unix::fs::symlink("pipe", folder.path().join("link")).unwrap();
    let check = |path: &str| {
        let text = format!("forwarders:\n  file: {{ path: {path} }}\n");
        let config = write_config(&folder, &text);
        let mut check = tallyd();
        check.args(["check", "--config", config.to_str().unwrap()]);
        let output = check.stdout(Stdio::piped()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (path, words) in [
        ("DIR/pipe", "is a pipe, which can block: name a regular file"),
        ("DIR/link", "is a pipe, which can block: name a regular file"),
        ("/dev/stdout", "use the forwarder `console`"),
        ("/dev/random", "is a device, which can block"),
        ("DIR", "is a directory: name a file in it"),
    ] {
        let (status, said) = check(path);
        assert_eq!(status, Some(1), "{path}: {said}");
        assert!(said.contains("tallyd.yaml:"), "{path}: {said}");
        assert!(said.contains(words), "{path}: {said}");
    }
    for path in ["/dev/null", "/dev/full", "DIR/new"] {
        assert_eq!(check(path).0, Some(0), "{path}");
    }
}

#[test]
fn pipes_in_place_of_files_at_the_start_cost_the_other_destinations_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        make_pipe(&folder.path().join(name));
    }
    let files = ["one", "two", "well"]
        .map(|name| format!("{{ name: {name}, path: DIR/{name}, format: json }}"));
    let daemon = Daemon::start_in(
        folder,
        &format!(
            "interval: 100ms\nshutdown_timeout: 1s\nforwarders: {{ file: [{}] }}\n",
            files.join(", ")
        ),
    );
    let status = daemon.wait_for("windows are delivered", |status| {
        daemon.send(COUNTER);
        Hanging::number(status, "well", "delivered") > 3
            && ["one", "two"].iter().all(|name| Hanging::number(status, name, "failures") > 0)
    });
    let error = status["forwarders"]["one"]["last_error"].to_string();
    assert!(error.contains("/one is a pipe, which can block"), "{error}");
    assert_eq!(Hanging::number(&status, "one", "delivered"), 0);
    assert_balanced(&status);
    let began = Instant::now();
    let stopped = daemon.stop();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(stopped.status.success());
    // Also before the first window.
    let is_warning = |entry: &Value| {
        entry["line"].is_u64() && entry.to_string().contains("/two is a pipe, which can block")
    };
    assert!(stopped.log.iter().any(is_warning), "{:#?}", stopped.log);
    let all = samples(&stopped.folder.path().join("well"));
    let received = stopped.log.iter().find_map(|entry| entry["aggregated"].as_u64());
    assert_eq!(Some(all), received);
}

#[test]
fn a_pipe_in_place_of_the_file_is_refused_until_it_is_a_file_again() {
    const FILE: &str = "interval: 100ms\nforwarders: { file: [{ name: a, path: DIR/a }, \
                        { name: b, path: DIR/b, delivery: { retry: { max: 100ms } } }] }\n";
    let daemon = Daemon::start(FILE);
    let delivered = |status: &Value, name: &str| Hanging::number(status, name, "delivered");
    daemon.send(COUNTER);
    daemon.wait_for("a first point", |status| delivered(status, "b") == 1);
    fs::remove_file(daemon.path("b")).unwrap();
    make_pipe(&daemon.path("b"));
    let status = daemon.wait_for("an attempt fails", |status| {
        daemon.send(COUNTER);
        Hanging::number(status, "b", "failures") > 0 && delivered(status, "a") > 3
    });
    let error = status["forwarders"]["b"]["last_error"].to_string();
    assert!(error.contains("/b is a pipe, which can block"), "{error}");
    // A reload keeps the other destinations too.
    let status = daemon.reload(&FILE.replace("100ms\n", "200ms\n"));
    assert_eq!(status["reload"]["applied"], 1, "{status:#}");
    assert_balanced(&status);
}

#[test]
fn a_full_disk_costs_the_other_destinations_nothing() {
    let daemon = Daemon::start(
        "interval: 100ms\nshutdown_timeout: 1s\nforwarders: { file: [{ name: full, path: /dev/full }, \
         { name: well, path: DIR/well }] }\n",
    );
    let status = daemon.wait_for("windows are delivered", |status| {
        daemon.send(COUNTER);
        Hanging::number(status, "well", "delivered") > 3
            && Hanging::number(status, "full", "failures") > 0
    });
    assert_eq!(Hanging::number(&status, "full", "delivered"), 0);
    assert!(status["forwarders"]["full"]["last_error"].to_string().contains("No space left"));
    assert_balanced(&status);
    let stopped = daemon.stop();
    assert!(stopped.status.success());
    assert!(stopped.read("well").ends_with('\n'));
}
