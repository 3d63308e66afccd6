//! Helpers of the black-box tests: they start the real binary, send it real datagrams and read its
//! log, status and files.

#![allow(missing_docs, reason = "the names of test helpers are self-explanatory")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::missing_errors_doc, clippy::must_use_candidate, reason = "only tests call these")]

pub mod carbon;
pub mod etsy;
pub mod hosts;
pub mod http_request;
pub mod keys;
pub mod line_protocol;
pub mod markdown;
pub mod otelcol;
pub mod pki;
pub mod prometheus;
pub mod promtool;
pub mod pty;
pub mod rates;
pub mod replay;
mod server_script;
pub mod telegraf;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;

/// Timeout of every wait of a test, long enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running daemon. Killed when dropped.
pub struct Daemon {
    child: Child,
    pub udp: SocketAddr,
    pub admin: SocketAddr,
    /// The page for Prometheus, if there is one.
    pub page: Option<SocketAddr>,
    socket: UdpSocket,
    http: reqwest::blocking::Client,
    /// Datagrams sent so far.
    sent: AtomicU64,
    /// Taken when the daemon has stopped.
    parts: Option<Parts>,
}

struct Parts {
    folder: TempDir,
    log: JoinHandle<Vec<Value>>,
    stdout: JoinHandle<String>,
}

/// The exit status and the output of a daemon that has stopped.
pub struct Stopped {
    pub status: ExitStatus,
    /// The log, one JSON object per line.
    pub log: Vec<Value>,
    pub stdout: String,
    pub folder: TempDir,
}

/// An HTTP client with the settings of tallyd's commands.
pub fn http() -> reqwest::blocking::ClientBuilder {
    httpclient::plain().unwrap().into()
}

/// Gets a page with a new client.
pub fn get(url: impl reqwest::IntoUrl) -> reqwest::Result<reqwest::blocking::Response> {
    http().build()?.get(url).send()
}

/// The root folder of the repository.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The program under test, by default the one that `cargo test --workspace` builds, because the package
/// `tallyd` has an integration test, before it runs any test. `TALLYD_TEST_PROGRAM` names another, such
/// as one that runs a binary for another processor in an emulator.
///
/// # Panics
/// If it is missing.
#[must_use]
pub fn tallyd_path() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| {
        if let Ok(path) = std::env::var("TALLYD_TEST_PROGRAM") {
            assert!(Path::new(&path).is_file(), "TALLYD_TEST_PROGRAM: {path} does not exist");
            return path;
        }
        let test = std::env::current_exe().unwrap();
        // target/debug/deps/NAME, or target/debug/NAME.
        let folder = test.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).unwrap();
        let path = folder.join("tallyd");
        assert!(path.is_file(), "{} is missing: run `cargo build`", path.display());
        path.into_os_string().into_string().unwrap()
    });
    &PATH
}

/// The binary under test, as a command without arguments.
pub fn tallyd() -> Command {
    Command::new(tallyd_path())
}

impl Daemon {
    /// Starts a daemon with a configuration. The system chooses the ports that the text does not, and
    /// `DIR` in the text becomes the daemon's folder.
    pub fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_in(folder, config)
    }

    /// Starts a daemon in an existing folder, such as that of a stopped daemon.
    pub fn start_in(folder: TempDir, config: &str) -> Self {
        let path = write_config(&folder, config);
        Self::start_with(folder, &["run", "--config", path.to_str().unwrap()])
    }

    /// Starts a daemon with these arguments; its log must be JSON.
    pub fn start_with(folder: TempDir, args: &[&str]) -> Self {
        Self::start_command(folder, tallyd().args(args).stdin(Stdio::null()))
    }

    /// Starts a daemon with a command that becomes it; its log must be JSON.
    pub fn start_command(folder: TempDir, command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (line_sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = std::thread::spawn(move || {
            let mut log = Vec::new();
            for line in stderr.lines().map_while(Result::ok) {
                let entry: Value = serde_json::from_str(&line)
                    .unwrap_or_else(|_| serde_json::json!({ "message": line }));
                let _is_received = line_sender.send(entry.clone());
                log.push(entry);
            }
            log
        });
        let mut stdout = child.stdout.take().unwrap();
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            text
        });
        let (udp, admin, page) = addresses(&lines);
        let socket = UdpSocket::bind(if udp.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" });
        let socket = socket.unwrap();
        socket.connect(udp).unwrap();
        let http = http().build().unwrap();
        Self {
            child,
            udp,
            admin,
            page,
            socket,
            http,
            sent: AtomicU64::new(0),
            parts: Some(Parts { folder, log, stdout }),
        }
    }

    /// The path of a file in the daemon's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.parts.as_ref().unwrap().folder.path().join(name)
    }

    /// The process ID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends one datagram.
    pub fn send(&self, datagram: impl AsRef<[u8]>) {
        self.socket.send(datagram.as_ref()).unwrap();
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests a path of the admin endpoint: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let reply = self.http.get(format!("http://{}{path}", self.admin)).send().unwrap();
        (reply.status().as_u16(), reply.text().unwrap())
    }

    /// The daemon's status.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.get("/api/v1/status").1).unwrap()
    }

    /// The address of the first listener whose label begins with `label`, such as `statsd/tcp `.
    pub fn address(&self, label: &str) -> SocketAddr {
        let status = self.status();
        let mut labels = status["listeners"].as_array().unwrap().iter();
        let found = labels.find_map(|one| {
            let shown = one["listener"].as_str().unwrap();
            shown.starts_with(label).then(|| shown.rsplit(' ').next().unwrap().parse().unwrap())
        });
        found.unwrap_or_else(|| panic!("no {label} in {status:#}"))
    }

    /// Waits until the status meets a condition, and returns it.
    pub fn wait_for(&self, what: &str, is_met: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if is_met(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "timeout waiting for {what}: {status:#}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until this number of samples was received.
    pub fn wait_received(&self, samples: u64) -> Value {
        self.wait_for(&format!("{samples} samples"), |status| {
            status["ledger"]["received"].as_u64() >= Some(samples)
        })
    }

    /// Number of small datagrams that surely fit into the socket's buffer.
    pub fn burst(&self) -> u64 {
        let buffer = self.status()["listeners"][0]["receive_buffer"].as_u64().unwrap();
        // The kernel accounts about 800 bytes for a small datagram.
        (buffer / 1024).min(4096)
    }

    /// Sends datagrams as fast as the daemon reads them, so that the kernel drops none. Two threads may
    /// do so at the same time.
    pub fn send_paced(&self, datagrams: impl Iterator<Item = String>) {
        let burst = (self.burst() / 4) as usize;
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.udp).unwrap();
        let mut datagrams = datagrams.peekable();
        while datagrams.peek().is_some() {
            let mut sent = 0;
            for datagram in datagrams.by_ref().take(burst) {
                socket.send(datagram.as_bytes()).unwrap();
                sent += 1;
            }
            let sent = self.sent.fetch_add(sent, Ordering::Relaxed) + sent;
            self.wait_for("the burst", |status| {
                status["ledger"]["datagrams"].as_u64() >= Some(sent)
            });
        }
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
        if name == "STOP" {
            self.wait_stopped();
        }
    }

    /// Waits until all threads are stopped: on a busy machine one may keep running for a moment.
    fn wait_stopped(&self) {
        let is_stopped = |task: std::io::Result<fs::DirEntry>| {
            let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
            // The state follows the name, which is in parentheses.
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        };
        let tasks = format!("/proc/{}/task", self.pid());
        let deadline = Instant::now() + PATIENCE;
        while !fs::read_dir(&tasks).unwrap().all(is_stopped) {
            assert!(Instant::now() < deadline, "timeout waiting for the threads to stop");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Replaces the configuration file; the text is completed as in [`Daemon::start`].
    pub fn write_config(&self, config: &str) {
        write_config(&self.parts.as_ref().unwrap().folder, config);
    }

    /// Reloads the daemon with this configuration and returns the status afterwards.
    pub fn reload(&self, config: &str) -> Value {
        let count = |status: &Value| {
            let reload = &status["reload"];
            reload["applied"].as_u64().unwrap() + reload["refused"].as_u64().unwrap()
        };
        let before = count(&self.status());
        self.write_config(config);
        self.signal("HUP");
        self.wait_for("the reload", |status| count(status) > before)
    }

    /// Stops the daemon as a service manager does and collects its output.
    pub fn stop(self) -> Stopped {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for the end of the daemon and collects its output.
    pub fn wait(mut self) -> Stopped {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the daemon does not stop");
            std::thread::sleep(Duration::from_millis(5));
        };
        let parts = self.parts.take().unwrap();
        Stopped {
            status,
            log: parts.log.join().unwrap(),
            stdout: parts.stdout.join().unwrap(),
            folder: parts.folder,
        }
    }
}

/// Writes the configuration file of [`Daemon::start`] and returns its path.
pub fn write_config(folder: &TempDir, config: &str) -> PathBuf {
    let mut text = config.replace("DIR", folder.path().to_str().unwrap());
    let state_dir = format!("state_dir: {}/state\n", folder.path().display());
    for (key, default) in [
        ("state_dir:", state_dir.as_str()),
        ("bind_port:", "bind_port: 0\n"),
        ("admin:", "admin: { listen: \"127.0.0.1:0\" }\n"),
        ("log:", "log: { format: json }\n"),
    ] {
        if !text.contains(key) {
            let after_the_mark = if text.starts_with("---\n") { 4 } else { 0 };
            text.insert_str(after_the_mark, default);
        }
    }
    let path = folder.path().join("tallyd.yaml");
    fs::write(&path, text).unwrap();
    path
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.parts.is_some() {
            // Fails if it has already ended.
            let _is_killed = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}

impl Stopped {
    /// The log's warnings and errors, as text.
    pub fn warnings(&self) -> Vec<String> {
        self.log
            .iter()
            .filter(|entry| entry["level"] == "WARN" || entry["level"] == "ERROR")
            .map(ToString::to_string)
            .collect()
    }

    /// The content of a file in the daemon's folder; empty if it is missing.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// The points that the file forwarder wrote as JSON.
    pub fn points(&self, name: &str) -> Vec<Value> {
        points(&self.folder.path().join(name))
    }
}

/// An interval in seconds with which the current window ends in at least five minutes.
pub fn interval_without_an_edge() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    (600..=3600).find(|interval| now % interval < interval - 300).unwrap()
}

/// Checks the ledger's equation of every forwarder.
pub fn assert_balanced(status: &Value) {
    let number = |value: &Value| value.as_u64().unwrap();
    for (name, forwarder) in status["forwarders"].as_object().unwrap() {
        let dropped: u64 = forwarder["dropped"].as_object().unwrap().values().map(number).sum();
        let [flushed, recovered, delivered, queued, spooled] =
            ["flushed", "recovered", "delivered", "queued", "spooled"]
                .map(|key| number(&forwarder[key]));
        assert_eq!(
            flushed + recovered,
            delivered + queued + spooled + dropped,
            "{name}: {forwarder:#}"
        );
    }
}

/// The points in a file of JSON lines.
pub fn points(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The sum of a field over all points of a metric.
pub fn total(points: &[Value], name: &str, field: &str) -> f64 {
    let of_metric = points.iter().filter(|point| point["name"] == name);
    of_metric.map(|point| point["fields"][field].as_f64().unwrap()).sum()
}

/// The points without their times and rates, as sorted text. Checks that each rate is the count divided by
/// the length of the window.
pub fn shown(points: &[Value]) -> Vec<String> {
    let mut shown: Vec<String> = points
        .iter()
        .map(|point| {
            let mut fields = point["fields"].as_object().unwrap().clone();
            if let Some(rate) = fields.remove("rate") {
                let [count, length] = [&fields["count"], &point["interval"]].map(Value::as_f64);
                let count = count.unwrap();
                let of_rate = rate.as_f64().unwrap() * length.unwrap();
                assert!((of_rate - count).abs() <= 1e-9 * count.abs(), "{point}");
            }
            let fields = Value::Object(fields);
            format!("{} {} {} {fields}", point["type"], point["name"], point["tags"])
                .replace('"', "")
        })
        .collect();
    shown.sort();
    shown
}

/// Reads the log until it has shown the addresses of the first listener and of the admin endpoint.
/// The address of a Prometheus page precedes them.
fn addresses(lines: &Receiver<Value>) -> (SocketAddr, SocketAddr, Option<SocketAddr>) {
    let (mut udp, mut admin, mut page) = (None, None, None);
    let deadline = Instant::now() + PATIENCE;
    while udp.is_none() || admin.is_none() {
        let left = deadline.saturating_duration_since(Instant::now());
        let entry = lines.recv_timeout(left).expect("the daemon logs its addresses");
        let message = entry["message"].as_str().unwrap_or_default();
        if message == "listening" {
            let listener = entry["listener"].as_str().unwrap();
            udp = udp.or_else(|| listener.rsplit(' ').next().unwrap().parse().ok());
        }
        if message == "Prometheus page" {
            page = entry["address"].as_str().unwrap().parse().ok();
        }
        if message.starts_with("admin endpoint") {
            admin = entry["address"].as_str().unwrap().parse().ok();
        }
    }
    (udp.unwrap(), admin.unwrap(), page)
}
