//! Encodes a snapshot as lines, with one payload for each series that the dialect distinguishes.

use std::io::Write;

use basics::escape::escaped;
use memchr::memchr2;

use super::config::{Dialect, StatsdConfig};
use super::name;
use super::samples::Samples;
use crate::delivery::payload::Batch;
use crate::delivery::stats::reason;
use crate::format::number;
use crate::groups::{Groups, MergedPoints};
use model::{SetValue, Snapshot, Value, finite};

/// Maximum number of bytes of a refused name in its explanation.
const SHOWN_BYTES_MAX: usize = 100;

/// Encodes windows; its memory is reused from window to window.
#[derive(Debug)]
pub(super) struct StatsdEncoder {
    dialect: Dialect,
    timer_samples: usize,
    packet_bytes_max: usize,
    groups: Groups,
    samples: Samples,
    /// The bytes between two values of a timer.
    between: Vec<u8>,
}

impl StatsdEncoder {
    pub(super) fn new(config: &StatsdConfig) -> Self {
        Self {
            dialect: config.dialect,
            timer_samples: config.timer_samples.get() as usize,
            packet_bytes_max: config.max_packet.get() as usize,
            groups: Groups::default(),
            samples: Samples::default(),
            between: Vec::new(),
        }
    }

    /// Appends a payload for each series, in the order of the series' first points. Refuses a
    /// series with a line that is larger than a packet.
    pub(super) fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        self.groups.fill(snapshot, |out, series| name::write(out, series, self.dialect));
        for (id, group) in self.groups.iter(snapshot).enumerate() {
            let mut fits = true;
            batch.push(
                group.points,
                |_| (),
                |out| {
                    let mut lines = StatsdLines {
                        start: out.len(),
                        out,
                        before: group.front,
                        behind: group.back,
                        packet_bytes_max: self.packet_bytes_max,
                        fits: true,
                    };
                    match group.value {
                        // The protocol has no line for it.
                        Value::Timer(timer) if timer.is_idle() => {}
                        Value::Timer(timer) => {
                            let percentiles = &snapshot.percentiles;
                            let weight = self.samples.fill(timer, percentiles, self.timer_samples);
                            lines.timer(self.samples.values(), weight, &mut self.between);
                        }
                        other => lines.value(other),
                    }
                    fits = lines.finish();
                },
            );
            if !fits {
                batch.refused(id, reason::TOO_LARGE, self.words(&group));
            }
        }
    }

    fn words(&self, group: &MergedPoints<'_>) -> String {
        let name = [group.front, group.back].concat();
        let shown = escaped(&name[..name.len().min(SHOWN_BYTES_MAX)]);
        let most = self.packet_bytes_max;
        format!("a line is longer than a packet may be, {most} bytes (max_packet): {shown}…")
    }
}

/// Writes the lines of a series.
struct StatsdLines<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    before: &'a [u8],
    behind: &'a [u8],
    packet_bytes_max: usize,
    fits: bool,
}

impl StatsdLines<'_> {
    fn value(&mut self, value: &Value) {
        match value {
            Value::Counter(_) | Value::Total(_) | Value::Trace(_) => {
                self.number(value.headline(), b"|c");
            }
            Value::Gauge { value, .. } => self.gauge(*value),
            Value::Set(set) => self.set(set),
            Value::Timer(_) => {}
        }
    }

    /// Writes a gauge. A leading sign would mean a change, so a negative value is preceded by a
    /// line with 0. Both lines must be in one packet, because packets of other senders could arrive
    /// in between.
    fn gauge(&mut self, value: f64) {
        if value < 0.0 {
            self.number(0.0, b"|g");
        }
        self.number(value, b"|g");
        self.fits &= self.out.len() - self.start - 1 <= self.packet_bytes_max;
    }

    /// Writes the members of a set as their hashes, which are the same on every host; if they are
    /// not known, the number of members.
    fn set(&mut self, set: &SetValue) {
        match set.set.member_hashes() {
            Some(hashes) => {
                for hash in hashes {
                    self.line(b"", |out| write!(out, "{hash:016x}"), b"|s");
                }
            }
            None => self.line(b".count", |out| write!(out, "{}", set.count), b"|g"),
        }
    }

    /// Writes a timer, which may have a thousand lines that differ only in their values. `between`
    /// holds the bytes from one value to the next: the end of a line and the beginning of the next
    /// one.
    fn timer(&mut self, values: &[f64], weight: f64, between: &mut Vec<u8>) {
        between.clear();
        between.extend_from_slice(b"|ms");
        if weight > 1.0 {
            // Display writes no exponent, which statsd reads but some other receivers do not.
            let rate = 1.0 / weight;
            let _a_vec_takes_all = write!(between, "|@{rate}");
        }
        between.extend_from_slice(self.behind);
        between.push(b'\n');
        let next_line = between.len();
        between.extend_from_slice(self.before);
        between.push(b':');
        let mut longest = 0;
        self.out.extend_from_slice(&between[next_line..]);
        for value in values {
            let start = self.out.len();
            number::write(self.out, finite(*value));
            longest = longest.max(self.out.len() - start);
            self.out.extend_from_slice(between);
        }
        // The last value is followed by the beginning of a line that does not exist.
        self.out.truncate(self.out.len() - (between.len() - next_line));
        let newline = 1;
        self.fits &= longest + between.len() - newline <= self.packet_bytes_max;
    }

    fn number(&mut self, value: f64, kind: &[u8]) {
        self.line(
            b"",
            |out| {
                number::write(out, finite(value));
                Ok(())
            },
            kind,
        );
    }

    fn line(
        &mut self,
        suffix: &[u8],
        value: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>,
        kind: &[u8],
    ) {
        let start = self.out.len();
        if suffix.is_empty() {
            self.out.extend_from_slice(self.before);
        } else {
            // The suffix belongs to the name, which ends where tags begin.
            let name = memchr2(b',', b'[', self.before).unwrap_or(self.before.len());
            let (name, tags) = self.before.split_at(name);
            [name, suffix, tags].iter().for_each(|part| self.out.extend_from_slice(part));
        }
        self.out.push(b':');
        self.fits &= value(self.out).is_ok();
        self.out.extend_from_slice(kind);
        self.out.extend_from_slice(self.behind);
        self.fits &= self.out.len() - start <= self.packet_bytes_max;
        self.out.push(b'\n');
    }

    /// Returns whether each line fits into a packet. If one does not, removes all lines.
    fn finish(self) -> bool {
        if !self.fits {
            self.out.truncate(self.start);
        }
        self.fits
    }
}
