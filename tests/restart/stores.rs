//! Stores that keep the last write of each series and timestamp, and one that adds up.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::PATIENCE;
use common::http_request::HttpRequest;

/// Values by timestamp, by series.
pub(crate) type Stored = BTreeMap<String, BTreeMap<u64, f64>>;

/// The sum of a series over all timestamps.
pub(crate) fn sum_of(stored: &Stored, series: &str) -> f64 {
    stored.get(series).into_iter().flat_map(BTreeMap::values).sum()
}

/// What carbon keeps of lines of text.
pub(crate) fn last_writes(connections: &[String]) -> Stored {
    let mut stored = Stored::new();
    for line in connections.iter().flat_map(|text| text.lines()) {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap();
        let (path, value, time) = (word(), word(), word());
        let series = stored.entry(path.to_owned()).or_default();
        series.insert(time.parse().unwrap(), value.parse().unwrap());
    }
    stored
}

/// A server that takes writes like InfluxDB 1.
pub(crate) struct FakeInflux {
    pub(crate) url: String,
    stored: Arc<Mutex<Stored>>,
}

impl FakeInflux {
    pub(crate) fn start() -> Self {
        Self::at("127.0.0.1:0")
    }

    pub(crate) fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stored: Arc<Mutex<Stored>> = Arc::default();
        let shared = Arc::clone(&stored);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, shared) = (stream.unwrap(), Arc::clone(&shared));
                thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { url, stored }
    }

    /// By name of the metric and field, such as `c count`; times in milliseconds.
    pub(crate) fn stored(&self) -> Stored {
        self.stored.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, stored: &Mutex<Stored>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Ok(Some(request)) = HttpRequest::read(&mut reader) {
        request.text().lines().for_each(|line| store(line, &mut stored.lock().unwrap()));
        if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err() {
            return;
        }
    }
}

/// A line without escapes: `name fields time`.
fn store(line: &str, stored: &mut Stored) {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap();
    let (name, fields, time) = (word(), word(), word());
    let time: u64 = time.parse().unwrap();
    // In whatever precision: milliseconds have 13 digits.
    let digits = time.to_string().len() as u32;
    let time_ms =
        if digits > 13 { time / 10_u64.pow(digits - 13) } else { time * 10_u64.pow(13 - digits) };
    for field in fields.split(',') {
        let (key, value) = field.split_once('=').unwrap();
        let series = stored.entry(format!("{name} {key}")).or_default();
        series.insert(time_ms, value.trim_end_matches('i').parse().unwrap());
    }
}

/// A statsd server that adds up counters.
pub(crate) struct FakeStatsd {
    pub(crate) address: String,
    sums: Arc<Mutex<BTreeMap<String, f64>>>,
}

impl FakeStatsd {
    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let sums: Arc<Mutex<BTreeMap<String, f64>>> = Arc::default();
        let shared = Arc::clone(&sums);
        thread::spawn(move || {
            let mut bytes = [0; 65_536];
            while let Ok(length) = socket.recv(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                for line in text.lines() {
                    let Some((name, rest)) = line.split_once(':') else { continue };
                    let Some((value, "c")) = rest.split_once('|') else { continue };
                    let mut sums = shared.lock().unwrap();
                    *sums.entry(name.to_owned()).or_default() += value.parse::<f64>().unwrap();
                }
            }
        });
        Self { address, sums }
    }

    /// Waits until the sum of a counter has arrived, and returns the points that have arrived.
    pub(crate) fn wait_for_sum(&self, name: &str, sum: f64) -> f64 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.sums.lock().unwrap().get(name).copied().unwrap_or_default();
            if now >= sum || Instant::now() > deadline {
                return now;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}
