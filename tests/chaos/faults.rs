//! How each fault is injected that does not end the daemon.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Rlimit, Signal};

use crate::config::{REFUSED, Settings};
use crate::graphite::GraphiteMode;
use crate::influx::InfluxMode;
use crate::plan::{DiskFault, LookupFault, Name};
use crate::run::{Run, fails_state};
use crate::statsd::StatsdMode;
use crate::statsd_tcp::StatsdTcpMode;

impl Run {
    pub(crate) fn heal(&mut self) {
        self.set_disk(DiskFault::None);
        self.scene.influx.set(InfluxMode::Works);
        self.scene.graphite.set(GraphiteMode::Works);
        self.scene.statsd.set(StatsdMode::Works);
        self.scene.statsd_tcp.set(StatsdTcpMode::Works);
    }

    pub(crate) fn freeze(&self, length: Duration) {
        self.monitor.excuse();
        self.process.freeze();
        thread::sleep(length);
        self.process.signal(Signal::CONT);
        self.monitor.excuse();
    }

    pub(crate) fn write_config(&self, text: &str) {
        let path = self.scene.site.folder.join("tallyd.yaml");
        fs::write(path.with_extension("new"), text).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    }

    pub(crate) fn reload(&mut self, settings: &Settings) {
        self.settings = settings.clone();
        self.write_config(&self.scene.site.config(&self.settings));
        self.process.signal(Signal::HUP);
    }

    pub(crate) fn refused_reload(&self, text: &str) {
        let good = self.scene.site.config(&self.settings);
        self.write_config(&format!("{good}{text}"));
        self.process.signal(Signal::HUP);
        thread::sleep(Duration::from_millis(50));
        self.write_config(&good);
    }

    pub(crate) fn reload_storm(&self, count: u64) {
        let good = self.scene.site.config(&self.settings);
        for number in 0..count {
            let more = if number % 2 == 0 { "" } else { REFUSED[0] };
            self.write_config(&format!("{good}{more}"));
            self.process.signal(Signal::HUP);
            thread::sleep(Duration::from_millis(5));
        }
        self.write_config(&good);
        self.process.signal(Signal::HUP);
    }

    pub(crate) fn step_clock(&mut self, by_ms: i64) {
        if let Some(host) = &mut self.host {
            host.step_clock(by_ms);
            self.outcome.clock_went_back |= by_ms < 0;
        }
    }

    pub(crate) fn set_disk(&mut self, fault: DiskFault) {
        if let Some(host) = &self.host {
            host.set_disk(fault);
            if fails_state(self.disk) {
                self.disk_works_since = Instant::now();
            }
            self.disk = fault;
            self.disk_failed |= fails_state(fault);
        }
    }

    pub(crate) fn exhaust_descriptors(&self, spare: u64, length: Duration) {
        self.monitor.excuse();
        let before = self.process.descriptor_limit();
        self.process.limit_descriptors(Rlimit {
            current: Some(self.process.descriptors() + spare),
            maximum: before.maximum,
        });
        thread::sleep(length);
        self.process.limit_descriptors(before);
        self.monitor.excuse();
    }

    pub(crate) fn relocate(&self, name: Name) {
        let Some(host) = &self.host else { return };
        let last = match name {
            Name::Influx => self.scene.influx.relocate(),
            Name::Graphite => self.scene.graphite.relocate(),
        };
        host.set_address(name, last);
    }

    pub(crate) fn set_lookup(&self, name: Name, fault: LookupFault) {
        if let Some(host) = &self.host {
            host.set_lookup(name, fault);
        }
    }

    pub(crate) fn rotate(&mut self) {
        self.rotated += 1;
        let to = self.scene.site.folder.join(format!("rotated.{}", self.rotated));
        // Fails before the first window.
        let _is_moved = fs::rename(self.scene.site.folder.join("out"), to);
    }
}
