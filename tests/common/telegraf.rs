//! A real Telegraf with its statsd input, which writes line protocol to a file.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use forwarders::testing::real_server;
use tempfile::TempDir;

use crate::PATIENCE;

/// A Telegraf for one test, with intervals of one second. Killed when dropped.
pub struct Telegraf {
    process: Child,
    folder: TempDir,
    /// The address of its statsd input.
    pub address: SocketAddr,
}

impl Telegraf {
    /// Starts Telegraf with these settings of its agent, with further tables after them, and these of its
    /// statsd input; `None` if the test must be skipped. Returns when Telegraf reads its socket.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(agent: &str, input: &str) -> Option<Self> {
        let program = real_server("TALLYD_TEST_TELEGRAF_PROGRAM")?;
        let folder = tempfile::tempdir().unwrap();
        // Telegraf does not say which port the system has chosen for it.
        let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (config, out) = (folder.path().join("telegraf.conf"), folder.path().join("out"));
        let text = format!(
            "[agent]\ninterval = \"1s\"\nflush_interval = \"100ms\"\nround_interval = true\n\
             precision = \"1ms\"\nquiet = true\n{agent}\n\
             [[outputs.file]]\nfiles = [\"{}\"]\ndata_format = \"influx\"\n\
             [[inputs.statsd]]\nservice_address = \"{address}\"\ndatadog_extensions = true\n{input}\n",
            out.display()
        );
        std::fs::write(&config, text).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new(program)
            .args(["--config", config.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let telegraf = Self { process, folder, address };
        telegraf.wait_until_ready();
        Some(telegraf)
    }

    /// The lines that it has written completely, without those of the counter `ready`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("out")).unwrap_or_default();
        let complete = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let wanted = complete.filter(|line| !line.starts_with("ready,"));
        wanted.map(|line| line.trim_end().to_owned()).collect()
    }

    fn wait_until_ready(&self) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let deadline = Instant::now() + PATIENCE;
        let out = self.folder.path().join("out");
        while !std::fs::read_to_string(&out).unwrap_or_default().contains("ready,") {
            assert!(Instant::now() < deadline, "Telegraf does not read its socket");
            let _may_be_refused = socket.send_to(b"ready:1|c", self.address);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Telegraf {
    fn drop(&mut self) {
        let _has_ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}
