//! The daemon under a service manager: readiness, the watchdog, passed sockets that outlive it, and the
//! units. The tests or systemd's own tools act as the service manager.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::pki::Pki;
use common::{Daemon, PATIENCE, points, tallyd, total, write_config};
use engine::sys::SendRing;
use nix::sys::ptrace;
use nix::unistd::Pid;
use socket2::{Domain, SockRef, Socket, Type};
use tempfile::TempDir;

/// A single window, which the stop closes.
const TO_FILE: &str = "interval: 1h\nforwarders: { file: { path: DIR/out, format: json } }\n";
const COUNTER: &str = "{\"metric_name\":\"m\",\"metric_type\":\"counter\"}";

// --- notifications -----------------------------------------------------------------------------

/// The service manager's end of sd_notify(3).
struct Manager(UnixDatagram);

impl Manager {
    fn new(folder: &TempDir) -> Self {
        Self(UnixDatagram::bind(folder.path().join("notify")).unwrap())
    }

    /// The assignments of the next message, or `None` if none arrives in this time.
    fn receive(&self, timeout: Duration) -> Option<HashMap<String, String>> {
        let mut message = [0; 4096];
        self.0.set_read_timeout(Some(timeout)).unwrap();
        match self.0.recv(&mut message) {
            Ok(length) => {
                let text = std::str::from_utf8(&message[..length]).unwrap();
                let split = |line: &str| {
                    let (key, value) = line.split_once('=').unwrap();
                    (key.to_owned(), value.to_owned())
                };
                Some(text.lines().map(split).collect())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The next message that assigns this key.
    fn wait_for(&self, key: &str) -> HashMap<String, String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(message) =
                self.receive(PATIENCE).filter(|message| message.contains_key(key))
            {
                return message;
            }
        }
        panic!("{key} did not come");
    }
}

/// A daemon that notifies the service manager in its folder.
fn start_managed(folder: TempDir, config: &str, environment: &[(&str, &str)]) -> Daemon {
    let config = write_config(&folder, config);
    let mut command = tallyd();
    command.args(["run", "--config", config.to_str().unwrap()]).stdin(Stdio::null());
    command.env("NOTIFY_SOCKET", folder.path().join("notify"));
    command.envs(environment.iter().copied());
    Daemon::start_command(folder, &mut command)
}

#[test]
fn the_start_and_the_end_of_a_reload_are_notified() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::new(&folder);
    let daemon = start_managed(folder, TO_FILE, &[]);
    manager.wait_for("READY");
    for config in [TO_FILE.to_owned(), format!("{TO_FILE}no_such_key: 1\n")] {
        daemon.reload(&config);
        let began = manager.wait_for("RELOADING");
        assert_eq!(began["RELOADING"], "1");
        assert!(began["MONOTONIC_USEC"].parse::<u64>().unwrap() > 0);
        manager.wait_for("READY");
    }
}

#[test]
fn readiness_is_notified_once_sockets_are_bound_and_so_is_the_stop() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::new(&folder);
    let path = folder.path().join("stream");
    let waiting = thread::spawn(move || {
        assert_eq!(manager.wait_for("READY")["READY"], "1");
        // A sender that waited for readiness can connect and send.
        UnixStream::connect(path).unwrap().write_all(COUNTER.as_bytes()).unwrap();
        manager
    });
    let config = "bind_port: 0\nlisteners: [{ transport: unix, path: DIR/stream }]\n\
                  shutdown_timeout: 7s\n";
    let daemon = start_managed(folder, &format!("{config}{TO_FILE}"), &[]);
    let manager = waiting.join().unwrap();
    daemon.wait_received(1);
    let status = &manager.wait_for("STATUS")["STATUS"];
    assert!(status.starts_with("received ") && status.contains("; file: delivered "), "{status}");
    let stopped = daemon.stop();
    assert!(stopped.status.success());
    let said = manager.wait_for("STOPPING");
    assert_eq!(said["EXTEND_TIMEOUT_USEC"], "17000000", "shutdown_timeout and a margin");
}

#[test]
fn readiness_is_not_notified_if_a_socket_cannot_be_bound() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::new(&folder);
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = format!("bind_port: {}\n", taken.local_addr().unwrap().port());
    let config = write_config(&folder, &format!("{port}{TO_FILE}"));
    let output = tallyd()
        .args(["run", "--config", config.to_str().unwrap()])
        .env("NOTIFY_SOCKET", folder.path().join("notify"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(manager.receive(Duration::from_millis(1)), None);
}

// --- the watchdog ------------------------------------------------------------------------------

const WATCHDOG: Duration = Duration::from_millis(800);
/// A thread may have answered just before it hangs, so up to two more beats follow.
const LAST_BEATS: usize = 2;

/// Stops a single thread of a daemon, as a debugger does.
struct Hang(Vec<Pid>);

impl Hang {
    fn of(daemon: &Daemon, name: &str) -> Self {
        let threads = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
        let named = threads.map(|entry| entry.unwrap().path()).filter(|thread| {
            fs::read_to_string(thread.join("comm")).unwrap_or_default().trim_end() == name
        });
        let number = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let hung: Vec<_> = named.map(|thread| Pid::from_raw(number(thread))).collect();
        assert!(!hung.is_empty(), "no thread is called {name}");
        for thread in &hung {
            ptrace::seize(*thread, ptrace::Options::empty()).unwrap();
            ptrace::interrupt(*thread).unwrap();
            let stat = format!("/proc/{}/task/{thread}/stat", daemon.pid());
            let deadline = Instant::now() + PATIENCE;
            while !fs::read_to_string(&stat).unwrap().contains(") t ") {
                assert!(Instant::now() < deadline, "{name} does not stop");
                thread::yield_now();
            }
        }
        Self(hung)
    }

    fn end(self) {
        self.0.into_iter().for_each(|thread| ptrace::detach(thread, None).unwrap());
    }
}

/// Number of beats before a pause that is longer than the watchdog timeout.
fn beats_until_silence(manager: &Manager) -> usize {
    let mut beats = 0;
    while let Some(message) = manager.receive(WATCHDOG) {
        beats += usize::from(message.contains_key("WATCHDOG"));
        assert!(beats < 100, "the beats go on");
    }
    beats
}

#[test]
fn the_watchdog_is_fed_between_windows_but_not_while_a_thread_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::new(&folder);
    let config = format!(
        "bind_port: 0\nlisteners: [{{ transport: tcp, address: \"127.0.0.1:0\" }}]\n{TO_FILE}"
    );
    let timeout = WATCHDOG.as_micros().to_string();
    let daemon = start_managed(folder, &config, &[("WATCHDOG_USEC", &timeout)]);
    for _ in 0..8 {
        manager.wait_for("WATCHDOG");
    }
    for name in ["listen-0", "listen-1", "aggregate", "forward"] {
        let hang = Hang::of(&daemon, name);
        // Skips the beats that were sent before the thread hung.
        while manager.receive(Duration::from_millis(1)).is_some() {}
        let beats = beats_until_silence(&manager);
        assert!(beats <= LAST_BEATS, "{beats} beats while {name} hung");
        hang.end();
        manager.wait_for("WATCHDOG");
    }
    let stopped = daemon.stop();
    let warnings = stopped.warnings();
    for name in ["listen-0", "listen-1", "forward"] {
        assert!(warnings.iter().any(|line| line.contains(name)), "{name}: {warnings:#?}");
    }
}

// --- passed sockets ----------------------------------------------------------------------------

/// A shell script that becomes the daemon, with its standard input as descriptor 3, the first passed
/// one.
const WITH_SOCKET: &str =
    "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" run --config \"$1\"";

fn with_socket(config: &Path, socket: impl Into<OwnedFd>) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", WITH_SOCKET, common::tallyd_path(), config.to_str().unwrap()]);
    command.stdin(Stdio::from(socket.into()));
    command
}

/// Sends a counter per millisecond, whether or not a daemon reads: as many as fit into the smallest
/// buffer of a socket.
fn send_on(to: SocketAddr, datagrams: usize) -> JoinHandle<()> {
    thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..datagrams {
            socket.send_to(COUNTER.as_bytes(), to).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
    })
}

#[test]
fn a_restart_with_a_passed_socket_loses_no_datagram() {
    const A_RESTART: usize = 150;
    let held = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let mut folder = tempfile::tempdir().unwrap();
    let config = write_config(&folder, &format!("bind_port: {}\n{TO_FILE}", address.port()));
    for _ in 0..3 {
        let command = &mut with_socket(&config, held.try_clone().unwrap());
        let daemon = Daemon::start_command(folder, command);
        assert_eq!(daemon.udp, address);
        // Some datagrams are read, some arrive during the stop, and some while no daemon runs.
        let sending = send_on(address, A_RESTART);
        daemon.wait_received(1);
        let stopped = daemon.stop();
        assert!(stopped.status.success() && stopped.warnings().is_empty(), "{:?}", stopped.log);
        sending.join().unwrap();
        folder = stopped.folder;
    }
    // The datagrams that arrived while no daemon ran belong to the next run.
    let left = A_RESTART * 3 - total(&points(&folder.path().join("out")), "m", "count") as usize;
    let command = &mut with_socket(&config, held.try_clone().unwrap());
    let daemon = Daemon::start_command(folder, command);
    let status = daemon.wait_received(left as u64);
    assert_eq!(status["ledger"]["kernel_drops"], 0);
    assert_eq!(total(&daemon.stop().points("out"), "m", "count"), (A_RESTART * 3) as f64);
}

#[test]
fn a_passed_socket_keeps_a_buffer_larger_than_the_daemon_may_request() {
    let held = UdpSocket::bind("127.0.0.1:0").unwrap();
    let options = SockRef::from(&held);
    options.set_recv_buffer_size(256 << 10).unwrap();
    let has = options.recv_buffer_size().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let port = held.local_addr().unwrap().port();
    let config =
        write_config(&folder, &format!("receive_buffer: 16KiB\nbind_port: {port}\n{TO_FILE}"));
    let daemon =
        Daemon::start_command(folder, &mut with_socket(&config, held.try_clone().unwrap()));
    assert_eq!(daemon.status()["listeners"][0]["receive_buffer"].as_u64(), Some(has as u64 / 2));
    daemon.stop();
    assert_eq!(options.recv_buffer_size().unwrap(), has);
}

#[test]
fn datagrams_that_the_kernel_merged_for_an_earlier_run_are_separate() {
    let held = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let start = |gro: bool| {
        let folder = tempfile::tempdir().unwrap();
        let listener = format!("listeners: [{{ address: \"{address}\", gro: {gro} }}]\n");
        let config = write_config(&folder, &format!("{listener}# bind_port: none\n{TO_FILE}"));
        Daemon::start_command(folder, &mut with_socket(&config, held.try_clone().unwrap()))
    };
    assert_eq!(start(true).stop().status.code(), Some(0));
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.connect(address).unwrap();
    let ends: Vec<_> = (1..=50).map(|number| number * COUNTER.len()).collect();
    let mut ring = SendRing::new(COUNTER.repeat(50).into_bytes(), &ends).merging(sender.as_fd());
    assert_eq!(ring.send(sender.as_fd(), 0..50).unwrap(), 50);

    let daemon = start(false);
    let status = daemon.wait_received(50);
    assert_eq!(status["ledger"]["datagrams"], 50);
    assert_eq!(status["listeners"][0]["gro"], true, "it stays on");
    let log = daemon.stop().log;
    let told = |line: &serde_json::Value| line["message"].as_str().unwrap().contains("stays on");
    assert!(log.iter().any(told), "{log:#?}");
}

#[test]
fn drops_of_earlier_runs_are_not_counted() {
    let held = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    held.set_recv_buffer_size(4096).unwrap();
    held.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let address = held.local_addr().unwrap().as_socket().unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..500 {
        sender.send_to(COUNTER.as_bytes(), address).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(&folder, &format!("bind_port: {}\n{TO_FILE}", address.port()));
    let daemon =
        Daemon::start_command(folder, &mut with_socket(&config, held.try_clone().unwrap()));
    let status = daemon.wait_received(1);
    assert_eq!(status["ledger"]["kernel_drops"], 0);
    let log = daemon.stop().log;
    assert!(log.iter().any(|line| line["dropped"].as_u64() > Some(100)), "logged once: {log:#?}");
}

#[test]
fn a_client_shakes_hands_over_a_passed_socket_as_soon_as_the_daemon_runs() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    // Connections have this buffer too, so the daemon must wait to send its long certificate.
    SockRef::from(&held).set_send_buffer_size(4096).unwrap();
    let address = held.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path(), "ca");
    pki.issue_long("server");
    let listener = format!(
        "bind_port: 0\nlisteners: [{{ transport: tcp, address: \"{address}\", \
         tls: {{ cert_file: DIR/server.pem, key_file: DIR/server.key }} }}]\n"
    );
    let config = write_config(&folder, &format!("{listener}{TO_FILE}"));
    let mut client = pki.connect(address, None);
    let client = thread::spawn(move || {
        client.write_all(format!("{COUNTER}\n").as_bytes()).unwrap();
        client.flush().unwrap();
        client
    });
    let daemon =
        Daemon::start_command(folder, &mut with_socket(&config, held.try_clone().unwrap()));
    drop(client.join().unwrap());
    daemon.wait_received(1);
    assert_eq!(total(&daemon.stop().points("out"), "m", "count"), 1.0);
}

#[test]
fn a_passed_socket_without_a_listener_fails_the_start() {
    let held = UdpSocket::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = write_config(&folder, TO_FILE);
    let output = with_socket(&config, held.try_clone().unwrap()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let expected = format!("the socket `udp {}`", held.local_addr().unwrap());
    assert!(said.contains(&expected) && said.contains("socket unit"), "{said}");
}

#[test]
fn a_listener_with_more_threads_than_passed_sockets_has_advice() {
    let held = UdpSocket::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let listener = format!("{{ address: \"{}\", threads: 2 }}", held.local_addr().unwrap());
    let config =
        write_config(&folder, &format!("# bind_port:\nlisteners: [{listener}]\n{TO_FILE}"));
    let output = with_socket(&config, held).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("ReusePort=yes"), "{said}");
}

/// Whether a tool of systemd is installed. A machine that must have all of them sets a variable, and
/// then a missing tool fails the test.
fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    assert!(
        found || std::env::var_os("TALLYD_REQUIRE_SERVERS").is_none(),
        "{tool} is missing; scripts/setup.sh installs it"
    );
    if !found {
        let words = format!("SKIPPED: needs {tool}, which scripts/setup.sh installs");
        let _written = writeln!(std::io::stderr(), "{words}");
    }
    found
}

/// Starts systemd's tool for socket activation, which waits at these addresses and becomes the daemon
/// when data arrives.
fn activated(folder: TempDir, config: &Path, options: &[&str], addresses: &[&str]) -> Daemon {
    let mut command = Command::new("systemd-socket-activate");
    command.args(options).args(addresses.iter().flat_map(|address| ["--listen", address]));
    command.args([common::tallyd_path(), "run", "--config", config.to_str().unwrap()]);
    Daemon::start_command(folder, command.stdin(Stdio::null()))
}

/// An address of this host that no other program is likely to use: the tool does not accept port 0.
fn quiet_address() -> SocketAddr {
    let number = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 1 + number[1] % 254, number[2], 1 + number[3] % 254);
    UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap()
}

/// Retries until the tool is listening.
fn when_there<T: Send + 'static>(
    attempt: impl Fn() -> std::io::Result<T> + Send + 'static,
) -> JoinHandle<T> {
    thread::spawn(move || {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match attempt() {
                Ok(done) => return done,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            thread::sleep(Duration::from_millis(1));
        }
    })
}

#[test]
fn the_activating_datagram_is_received() {
    if !has("systemd-socket-activate") {
        return;
    }
    let (folder, address) = (tempfile::tempdir().unwrap(), quiet_address());
    let path = folder.path().join("datagrams");
    let config = format!(
        "# no bind_port: there is nothing but these\nlisteners: [{{ address: \"{address}\" }}, \
         {{ transport: unix_datagram, path: {} }}]\n{TO_FILE}",
        path.display()
    );
    let config = write_config(&folder, &config);
    let first = path.clone();
    let sent = when_there(move || UnixDatagram::unbound()?.send_to(COUNTER.as_bytes(), &first));
    let (udp, unix) = (address.to_string(), path.display().to_string());
    let daemon = activated(folder, &config, &["--datagram"], &[&udp, &unix]);
    sent.join().unwrap();
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(COUNTER.as_bytes(), address).unwrap();
    daemon.wait_received(2);
    let stopped = daemon.stop();
    assert_eq!(total(&stopped.points("out"), "m", "count"), 2.0);
    assert!(path.exists(), "the file is the manager's");
}

#[test]
fn the_activating_connection_is_received() {
    if !has("systemd-socket-activate") {
        return;
    }
    let (folder, address) = (tempfile::tempdir().unwrap(), quiet_address());
    let path = folder.path().join("stream");
    let config = format!(
        "bind_port: 0\nlisteners: [{{ transport: tcp, address: \"{address}\" }}, \
         {{ transport: unix, path: {} }}]\n{TO_FILE}",
        path.display()
    );
    let config = write_config(&folder, &config);
    let connected = when_there(move || {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(COUNTER.as_bytes())?;
        Ok(stream)
    });
    let (tcp, unix) = (address.to_string(), path.display().to_string());
    let daemon = activated(folder, &config, &[], &[&tcp, &unix]);
    drop(connected.join().unwrap());
    UnixStream::connect(&path).unwrap().write_all(COUNTER.as_bytes()).unwrap();
    daemon.wait_received(2);
    let stopped = daemon.stop();
    assert_eq!(total(&stopped.points("out"), "m", "count"), 2.0);
    assert!(path.exists(), "the file is the manager's");
}

// --- the units ---------------------------------------------------------------------------------

#[test]
fn the_unit_restarts_the_daemon_without_a_limit_and_writes_no_memory_image() {
    let unit = fs::read_to_string(common::root().join("systemd/tallyd.service")).unwrap();
    let (head, service) = unit.split_once("[Service]\n").unwrap();
    assert!(head.contains("\nStartLimitIntervalSec=0\n"), "{head}");
    for line in ["Restart=always", "RestartSec=2", "LimitCORE=0"] {
        assert!(service.contains(&format!("\n{line}\n")), "{line}");
    }
}

/// Maximum exposure of the unit in `systemd-analyze security`, in tenths.
const EXPOSURE_MAX: &str = "15";

#[test]
fn the_unit_passes_the_security_audit() {
    if !has("systemd-analyze") {
        return;
    }
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let output = Command::new("systemd-analyze")
        .args([
            "security",
            "--no-pager",
            "--offline=true",
            &threshold,
            common::root().join("systemd/tallyd.service").to_str().unwrap(),
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn systemd_verifies_the_units() {
    if !has("systemd-analyze") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for name in ["tallyd.service", "tallyd.socket"] {
        let unit = fs::read_to_string(common::root().join("systemd").join(name)).unwrap();
        assert_eq!(unit.contains("/usr/bin/tallyd "), name == "tallyd.service");
        let here = unit.replace("/usr/bin/tallyd", common::tallyd_path());
        paths.push(folder.path().join(name));
        fs::write(paths.last().unwrap(), here).unwrap();
    }
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .args(&paths)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    // The output may contain warnings about other units that this host lacks.
    let about_ours: Vec<_> = said.lines().filter(|line| line.contains("tallyd")).collect();
    assert!(output.status.success() && about_ours.is_empty(), "{said}");
}
