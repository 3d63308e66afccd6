//! Windows of a daemon whose wall clock is set while it runs. libfaketime sets it for this process
//! alone, and leaves its monotonic clock as it is.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{Daemon, Stopped, points, tallyd, total, write_config};
use forwarders::testing::libfaketime;
use serde_json::Value;

/// A daemon with its own wall clock. Counters go to it all the time.
struct Host {
    daemon: Daemon,
    /// libfaketime reads the offset of the clock from it.
    offset_file: PathBuf,
    offset_ms: i64,
    interval_ms: u64,
    sent: u64,
}

/// A window in the daemon's file.
#[derive(Clone, Copy, Debug)]
struct Written {
    end_ms: u64,
    length_s: f64,
}

impl Host {
    /// `None`, and a message on standard error, if libfaketime is not installed.
    fn start(interval_ms: u64) -> Option<Self> {
        let library = libfaketime()?;
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "interval: {interval_ms}ms\nforwarders: {{ file: {{ path: DIR/out, format: json }} }}\n"
        );
        let config = write_config(&folder, &config);
        let offset_file = folder.path().join("offset");
        fs::write(&offset_file, "+0").unwrap();
        let mut command = tallyd();
        command
            .args(["run", "--config", config.to_str().unwrap()])
            .stdin(Stdio::null())
            .env("LD_PRELOAD", library)
            .env("FAKETIME_TIMESTAMP_FILE", &offset_file)
            // The library reads its file without a lock: with a read for each call, a thread would
            // sometimes see the offset that another one is just reading as zero.
            .env("FAKETIME_CACHE_DURATION", "1")
            // The second name is that of older versions.
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
        let daemon = Daemon::start_command(folder, &mut command);
        Some(Self { daemon, offset_file, offset_ms: 0, interval_ms, sent: 0 })
    }

    fn clock_steps(&self) -> u64 {
        self.daemon.status()["windows"]["clock_steps"].as_u64().unwrap()
    }

    /// Sets the daemon's wall clock, and waits until the daemon notices.
    fn set(&mut self, by_ms: i64) {
        let steps = self.clock_steps();
        self.offset_ms += by_ms;
        let offset = format!("{:+.3}", self.offset_ms as f64 / 1e3);
        // At once, because the daemon may read the file at any time.
        let new = self.offset_file.with_extension("new");
        fs::write(&new, offset).unwrap();
        fs::rename(new, &self.offset_file).unwrap();
        self.send_until("a step", |status| status["windows"]["clock_steps"].as_u64() > Some(steps));
    }

    /// The daemon's wall clock.
    fn now_ms(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        now.checked_add_signed(self.offset_ms).unwrap()
    }

    fn closed(&self) -> u64 {
        self.daemon.status()["windows"]["closed"].as_u64().unwrap()
    }

    /// Sends until this many more windows are closed.
    fn send_for(&mut self, windows: u64) {
        let until = self.closed() + windows;
        self.send_until("the windows", |status| {
            status["windows"]["closed"].as_u64() >= Some(until)
        });
    }

    fn send_until(&mut self, what: &str, is_done: impl Fn(&Value) -> bool) {
        let sent = std::cell::Cell::new(self.sent);
        self.daemon.wait_for(what, |status| {
            self.daemon.send(r#"{"metric_name":"m","metric_type":"counter"}"#);
            sent.set(sent.get() + 1);
            is_done(status)
        });
        self.sent = sent.get();
        self.daemon.wait_received(self.sent);
    }

    fn windows(&self) -> Vec<Written> {
        written(&points(&self.daemon.path("out")))
    }

    /// Checks that windows end on multiples of the interval on the clock as it is now.
    fn assert_in_step(&mut self) {
        self.send_for(2);
        let now_ms = self.now_ms();
        let last_ms = self.windows().last().unwrap().end_ms;
        // A busy machine writes a window late.
        assert!(last_ms <= now_ms && now_ms - last_ms < 5_000, "{last_ms} at {now_ms}");
        assert!(last_ms % self.interval_ms < 10, "{last_ms}");
        let lag_s = self.daemon.status()["windows"]["lag_s"].as_f64().unwrap();
        assert!((0.0..2.0).contains(&lag_s), "{lag_s}");
    }

    /// Stops the daemon and checks its windows.
    fn stop(self, steps: u64) -> (Stopped, Vec<Written>) {
        assert_eq!(self.clock_steps(), steps);
        let sent = self.sent;
        let stopped = self.daemon.stop();
        let points = stopped.points("out");
        assert_eq!(total(&points, "m", "count"), sent as f64, "no sample is lost or counted twice");
        let about_steps =
            stopped.warnings().iter().filter(|line| line.contains("wall clock set")).count();
        assert_eq!(about_steps as u64, steps, "{:#?}", stopped.warnings());
        let windows = written(&points);
        let ends: BTreeMap<u64, ()> = windows.iter().map(|window| (window.end_ms, ())).collect();
        assert_eq!(ends.len(), windows.len(), "no timestamp is used twice: {windows:?}");
        (stopped, windows)
    }
}

fn written(points: &[Value]) -> Vec<Written> {
    let window = |point: &Value| Written {
        end_ms: point["timestamp"].as_u64().unwrap(),
        length_s: point["interval"].as_f64().unwrap(),
    };
    points.iter().filter(|point| point["name"] == "m").map(window).collect()
}

/// The windows whose length is not one interval, the first and the last one apart. A busy machine ends
/// windows late.
fn unusual(windows: &[Written], interval_s: f64) -> Vec<Written> {
    let inner = &windows[1..windows.len() - 1];
    inner.iter().copied().filter(|window| (window.length_s - interval_s).abs() > 0.3).collect()
}

#[test]
fn a_clock_that_is_set_back_a_little_makes_one_window_longer() {
    let Some(mut host) = Host::start(1_000) else { return };
    host.send_for(3);
    host.set(-700);
    host.assert_in_step();
    let (_, windows) = host.stop(1);
    let unusual = unusual(&windows, 1.0);
    assert!(unusual.len() == 1 && (1.4..2.0).contains(&unusual[0].length_s), "{windows:?}");
    let is_next = |pair: &[Written]| pair[1].end_ms == pair[0].end_ms + 1_000;
    assert!(windows[..windows.len() - 1].windows(2).all(is_next), "{windows:?}");
}

#[test]
fn a_clock_that_is_set_back_an_hour_is_followed() {
    let Some(mut host) = Host::start(1_000) else { return };
    host.send_for(2);
    host.set(-3_600_000);
    host.assert_in_step();
    let (_, windows) = host.stop(1);
    assert!(unusual(&windows, 1.0).len() <= 1, "{windows:?}");
}

#[test]
fn a_time_that_the_clock_repeats_has_other_timestamps() {
    let Some(mut host) = Host::start(200) else { return };
    // Longer than the 5 s by which a window may be stretched.
    host.send_for(40);
    host.set(-7_000);
    host.assert_in_step();
    assert_eq!(host.windows().last().unwrap().end_ms % 200, 1);
    host.send_for(40);
    let (_, windows) = host.stop(1);
    let back = windows.windows(2).position(|pair| pair[1].end_ms < pair[0].end_ms).unwrap() + 1;
    let (before, after) = windows.split_at(back);
    let latest_ms = before.last().unwrap().end_ms;
    // The last one ends with the stop.
    for window in &after[..after.len() - 1] {
        let is_repeated = window.end_ms - window.end_ms % 200 <= latest_ms;
        assert_eq!(window.end_ms % 200, u64::from(is_repeated), "{windows:?}");
    }
    assert!(after.last().unwrap().end_ms > latest_ms, "{windows:?}");
}

#[test]
fn a_clock_that_leaps_ahead_and_returns_is_followed_both_times() {
    let Some(mut host) = Host::start(1_000) else { return };
    host.send_for(2);
    host.set(3_600_000);
    host.assert_in_step();
    host.set(-3_600_000);
    host.assert_in_step();
    let (_, windows) = host.stop(2);
    assert!(unusual(&windows, 1.0).len() <= 2, "{windows:?}");
}

#[test]
fn a_paused_process_ends_its_window_late_and_sees_no_step() {
    let Some(mut host) = Host::start(500) else { return };
    host.send_for(3);
    host.daemon.signal("STOP");
    std::thread::sleep(Duration::from_millis(2_600));
    host.daemon.signal("CONT");
    host.assert_in_step();
    let (stopped, windows) = host.stop(0);
    let warnings = stopped.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("window ended late"), "{warnings:?}");
    assert!(windows.iter().any(|window| window.length_s > 2.0), "{windows:?}");
}
