//! The process and its surroundings: signals at any time, and a standard error or output that is
//! blocked, closed or full.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, OpenOptions};
use std::io::{PipeReader, Read, Write, pipe};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{PATIENCE, get, tallyd, tallyd_path, write_config};
use nix::fcntl::{FcntlArg, fcntl};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Windows of 100 ms in a file.
const TO_FILE: &str = "interval: 100ms\nforwarders: { file: { path: DIR/out } }\n";
const COUNTER: &str = "{\"metric_name\":\"m\",\"metric_type\":\"counter\"}";

/// A daemon at chosen ports, because its log may be unreadable. Killed when dropped.
struct Process {
    child: Child,
    udp: SocketAddr,
    admin: SocketAddr,
    folder: TempDir,
}

impl Process {
    fn start(config: &str, redirect: impl FnOnce(&mut Command)) -> Self {
        Self::start_by("exec \"$0\" \"$@\"", config, redirect)
    }

    /// Starts a daemon by a shell command that becomes it.
    fn start_by(script: &str, config: &str, redirect: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let ports = format!("bind_port: {}\nadmin: {{ listen: \"{admin}\" }}\n", udp.port());
        let path = write_config(&folder, &format!("{ports}{config}"));
        let mut command = Command::new("sh");
        command.args(["-c", script, tallyd_path(), "run", "--config"]).arg(path);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        redirect(&mut command);
        Self { child: command.spawn().unwrap(), udp, admin, folder }
    }

    fn started(config: &str, redirect: impl FnOnce(&mut Command)) -> Self {
        let process = Self::start(config, redirect);
        process.wait_until("it is ready", || process.answers("/readyz"));
        process
    }

    fn answers(&self, path: &str) -> bool {
        get(format!("http://{}{path}", self.admin)).is_ok_and(|reply| reply.status() == 200)
    }

    fn status(&self) -> Value {
        get(format!("http://{}/api/v1/status", self.admin)).unwrap().json().unwrap()
    }

    fn lines_dropped(&self) -> u64 {
        self.status()["log"]["dropped"].as_u64().unwrap()
    }

    fn send(&self, text: &str) {
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(text.as_bytes(), self.udp).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn wait_until(&self, what: &str, is_met: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_met() {
            assert!(Instant::now() < deadline, "not in time: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends samples until a window with them is in the file.
    fn assert_windows_close(&self) {
        let length = || fs::metadata(self.path("out")).map_or(0, |file| file.len());
        let before = length();
        self.wait_until("another window is in the file", || {
            self.send(COUNTER);
            length() > before
        });
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Whether the kernel holds SIGTERM for the process, or the process handles it.
    fn handles_signals(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let mask = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        status.starts_with("Name:\ttallyd\n")
            && (mask("SigBlk:") | mask("SigCgt:")) & (1 << 14) != 0
    }

    /// Waits for the end and returns the exit status and the time that it took.
    fn wait(&mut self) -> (Option<i32>, Duration) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), began.elapsed());
            }
            assert!(began.elapsed() < PATIENCE, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn stop(&mut self) -> (Option<i32>, Duration) {
        self.signal(Signal::TERM);
        self.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _has_ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A pipe of 4 KiB for standard error.
fn small_pipe() -> (PipeReader, Stdio) {
    let (reader, writer) = pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    (reader, writer.into())
}

/// The same, without room.
fn full_pipe() -> (PipeReader, Stdio) {
    let (reader, mut writer) = pipe().unwrap();
    let size = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    writer.write_all(&vec![b'x'; usize::try_from(size).unwrap()]).unwrap();
    (reader, writer.into())
}

/// Makes the daemon log until lines are dropped: a line for each reload, and in `debug_mode` one for
/// each point.
fn fill_log(process: &Process) {
    process.wait_until("lines of the log are dropped", || {
        process.send("junk");
        process.signal(Signal::HUP);
        for number in 0..200 {
            process.send(&COUNTER.replace("\"m\"", &format!("\"m{number}\"")));
        }
        process.lines_dropped() > 0
    });
}

#[test]
fn a_log_that_is_not_read_stops_nothing() {
    for config in [
        "log: { level: trace, queue: 64KiB }\n",
        "log: { level: info, queue: 64KiB }\ndebug_mode: true\n",
    ] {
        let (reader, stderr) = small_pipe();
        let mut process = Process::started(&format!("{config}{TO_FILE}"), |command| {
            command.stderr(stderr);
        });
        fill_log(&process);
        if config.contains("debug_mode") {
            let closed = process.status()["windows"]["closed"].as_u64().unwrap();
            process.wait_until("windows close", || {
                process.status()["windows"]["closed"].as_u64().unwrap() > closed + 2
            });
        } else {
            process.assert_windows_close();
        }
        assert!(process.answers("/healthz"));
        let page = get(format!("http://{}/metrics", process.admin)).unwrap().text().unwrap();
        let counted = page.lines().find_map(|l| l.strip_prefix("tallyd_log_lines_dropped_total "));
        assert!(counted.unwrap().parse::<u64>().unwrap() > 0);
        let (status, took) = process.stop();
        assert_eq!(status, Some(0));
        assert!(took < Duration::from_secs(8), "the stop took {took:?}");
        drop(reader);
    }
}

#[test]
fn dropped_lines_are_reported_when_the_log_is_read_again() {
    let (mut reader, stderr) = small_pipe();
    let log = "log: { level: trace, format: json, queue: 64KiB }\ndebug_mode: true\n";
    let config = format!("{log}{TO_FILE}");
    let mut process = Process::started(&config, |command| {
        command.stderr(stderr);
    });
    fill_log(&process);
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    process.wait_until("all lines are written", || {
        let dropped = process.lines_dropped();
        std::thread::sleep(Duration::from_millis(200));
        dropped == process.lines_dropped()
    });
    let dropped = process.lines_dropped();
    let (status, _) = process.stop();
    assert_eq!(status, Some(0));
    let log = reading.join().unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let reported = lines.iter().filter_map(|line| line["lines"].as_u64()).sum::<u64>();
    assert_eq!(reported, dropped, "{:#?}", lines.last());
    let times: Vec<_> = lines.iter().map(|line| line["timestamp"].as_str().unwrap()).collect();
    assert!(times.len() > 100 && times.first() < times.last());
    assert!(log.contains("ledger of the listeners"), "the last line is written too");
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let (reader, closed) = pipe().unwrap();
    drop(reader);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    for stderr in [Stdio::from(closed), Stdio::from(full)] {
        let mut process = Process::started(TO_FILE, |command| {
            command.stderr(stderr);
        });
        process.send("junk");
        process.signal(Signal::HUP);
        process.assert_windows_close();
        assert!(process.lines_dropped() > 0);
        assert_eq!(process.stop().0, Some(0));
    }
}

#[test]
fn a_closed_standard_error_stops_nothing() {
    let mut process = Process::start_by("exec \"$0\" \"$@\" 2>&-", TO_FILE, |_| {});
    process.wait_until("it is ready", || process.answers("/readyz"));
    process.send("junk");
    process.signal(Signal::HUP);
    process.assert_windows_close();
    assert_eq!(process.stop().0, Some(0));
}

#[test]
fn a_start_that_fails_ends_with_status_1_whatever_becomes_of_its_message() {
    let (reader, blocked) = full_pipe();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    for (config, stderr) in [
        ("interval: nonsense\n", Stdio::from(full.try_clone().unwrap())),
        ("admin: { listen: \"192.0.2.1:1\" }\n", Stdio::from(full)),
        ("interval: nonsense\n", blocked),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = write_config(&folder, config);
        let mut command = tallyd();
        let began = Instant::now();
        let status = command.args(["run", "--config"]).arg(path).stderr(stderr).status().unwrap();
        assert_eq!(status.code(), Some(1), "{config}");
        assert!(began.elapsed() < Duration::from_secs(10), "{config}: {:?}", began.elapsed());
    }
    drop(reader);
}

#[test]
fn a_start_that_fails_prints_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(&folder, "interval: nonsense\n");
    let output = tallyd().args(["run", "--config"]).arg(&path).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with(&format!("{}:", path.display())), "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_standard_output_that_is_not_read_delays_no_other_destination() {
    let config = "interval: 100ms\nshutdown_timeout: 1s\n\
                  forwarders: { console: {}, file: { path: DIR/out } }\n";
    let (reader, stdout) = small_pipe();
    let mut process = Process::started(config, |command| {
        command.stdout(stdout).stderr(Stdio::null());
    });
    let long = format!(
        "{{\"metric_name\":\"m\",\"metric_type\":\"counter\",\"t\":\"{}\"}}",
        "x".repeat(8000)
    );
    process.wait_until("windows wait for standard output", || {
        process.send(&long);
        process.status()["forwarders"]["console"]["queued"].as_u64().unwrap() > 2
    });
    process.assert_windows_close();
    assert!(process.answers("/healthz"));
    let (status, took) = process.stop();
    assert_eq!(status, Some(0));
    assert!(took < Duration::from_secs(10), "the stop took {took:?}");
    drop(reader);
}

#[test]
fn a_reload_that_is_requested_during_the_start_follows_it() {
    let process = Process::start(TO_FILE, |command| {
        command.stderr(Stdio::null());
    });
    process.wait_until("it handles signals", || process.handles_signals());
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2, Signal::PIPE] {
        process.signal(signal);
    }
    process.wait_until("it is ready", || process.answers("/readyz"));
    process.wait_until("it has reloaded", || process.status()["reload"]["applied"] == 1);
}

#[test]
fn a_signal_to_stop_during_the_start_stops_the_daemon_with_status_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut process = Process::start(TO_FILE, |command| {
            command.stderr(Stdio::null());
        });
        process.wait_until("it handles signals", || process.handles_signals());
        process.signal(signal);
        assert_eq!(process.wait().0, Some(0));
    }
}

#[test]
fn a_signal_to_stop_does_not_wait_for_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    // A pipe that never ends, as a command that hangs would leave it.
    let (reader, writer) = pipe().unwrap();
    let mut child = tallyd()
        .args(["run", "--config", "/dev/stdin"])
        .stdin(reader)
        .stderr(Stdio::piped())
        .current_dir(&folder)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let file = format!("/proc/{}/status", child.id());
    // The thread that reads the configuration runs.
    while !fs::read_to_string(&file).unwrap().contains("Threads:\t5") {
        assert!(Instant::now() < deadline, "{}", fs::read_to_string(&file).unwrap());
        std::thread::sleep(Duration::from_millis(5));
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "SIGTERM while the configuration was read: stopped\n");
    drop(writer);
}

#[test]
fn a_limit_on_the_size_of_files_fails_a_write_and_does_not_end_the_daemon() {
    let mut process = Process::start_by("ulimit -f 8; exec \"$0\" \"$@\"", TO_FILE, |command| {
        command.stderr(Stdio::null());
    });
    process.wait_until("it is ready", || process.answers("/readyz"));
    process.wait_until("a write fails", || {
        process.send(COUNTER);
        process.status()["forwarders"]["file"]["failures"].as_u64().unwrap() > 0
    });
    assert_eq!(process.stop().0, Some(0));
}
