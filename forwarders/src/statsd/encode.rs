//! From a snapshot to lines: one payload for each series as the dialect shows it.

use std::hash::BuildHasher;
use std::io::Write;
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use memchr::memchr2;

use super::config::{Dialect, StatsdConfig};
use super::name;
use super::samples::Samples;
use crate::format::number;
use crate::model::{MetricKind, SetValue, Snapshot, Value, finite};
use crate::payload::Batch;
use crate::stats::reason;

/// How much of a name that is refused is shown.
const SHOWN_BYTES_MAX: usize = 100;

/// Encodes windows; its memory is reused from one to the next.
#[derive(Debug)]
pub(super) struct Encoder {
    dialect: Dialect,
    timer_samples: usize,
    packet_bytes_max: usize,
    groups: Groups,
    samples: Samples,
    /// What stands behind the values of a timer.
    kind: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(config: &StatsdConfig) -> Self {
        Self {
            dialect: config.dialect,
            timer_samples: config.timer_samples.get() as usize,
            packet_bytes_max: config.max_packet.get() as usize,
            groups: Groups::default(),
            samples: Samples::default(),
            kind: Vec::new(),
        }
    }

    /// Appends a payload for each series, in the order in which the snapshot has them first. One
    /// with a line that no packet holds is refused at once.
    pub(super) fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        self.groups.fill(snapshot, self.dialect);
        for (id, group) in self.groups.list.iter().enumerate() {
            let value = group.merged.as_ref().unwrap_or(&snapshot.points[group.first].value);
            let mut fits = true;
            batch.push(
                group.points,
                |_| (),
                |out| {
                    let mut lines = Lines {
                        start: out.len(),
                        out,
                        before: &self.groups.text[group.before.clone()],
                        behind: &self.groups.text[group.behind.clone()],
                        packet_bytes_max: self.packet_bytes_max,
                        fits: true,
                    };
                    match value {
                        Value::Timer(timer) => {
                            let percentiles = &snapshot.percentiles;
                            let weight = self.samples.fill(timer, percentiles, self.timer_samples);
                            lines.timer(self.samples.values(), weight, &mut self.kind);
                        }
                        other => lines.value(other),
                    }
                    fits = lines.finish();
                },
            );
            if !fits {
                batch.refused(id, reason::TOO_LARGE, self.words(group));
            }
        }
    }

    fn words(&self, group: &Group) -> String {
        let name = &self.groups.text[group.before.start..group.behind.end];
        let shown = String::from_utf8_lossy(&name[..name.len().min(SHOWN_BYTES_MAX)]);
        let most = self.packet_bytes_max;
        format!("a line is longer than a packet may be, {most} bytes (max_packet): {shown}…")
    }
}

/// Writes the lines of a series.
struct Lines<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    before: &'a [u8],
    behind: &'a [u8],
    packet_bytes_max: usize,
    fits: bool,
}

impl Lines<'_> {
    fn value(&mut self, value: &Value) {
        match value {
            Value::Counter(sum) | Value::Trace(sum) => self.number(sum.value(), b"|c"),
            Value::Gauge { value, .. } => self.gauge(*value),
            Value::Set(set) => self.set(set),
            Value::Timer(_) => {}
        }
    }

    /// A sign means a change, so a level below 0 is reached through 0. The two lines stay in one
    /// packet: between two others may come.
    fn gauge(&mut self, value: f64) {
        if value < 0.0 {
            self.number(0.0, b"|g");
        }
        self.number(value, b"|g");
        self.fits &= self.out.len() - self.start - 1 <= self.packet_bytes_max;
    }

    /// The members by their hashes, which are the same on every host; without them, how many.
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

    fn timer(&mut self, values: &[f64], weight: f64, kind: &mut Vec<u8>) {
        kind.clear();
        kind.extend_from_slice(b"|ms");
        if weight > 1.0 {
            // Never with an exponent, which statsd reads but some others do not.
            let rate = 1.0 / weight;
            let _a_vec_takes_all = write!(kind, "|@{rate}");
        }
        for value in values {
            self.number(*value, kind);
        }
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
            // It belongs to the name, which ends where tags begin.
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

    /// Whether each line fits into a packet; nothing is written if one does not.
    fn finish(self) -> bool {
        if !self.fits {
            self.out.truncate(self.start);
        }
        self.fits
    }
}

/// The points of a window by what the dialect shows of their series. Points that look the same are
/// merged: of gauges the later one counts, and the samples of timers get one weight.
#[derive(Debug, Default)]
struct Groups {
    /// What stands before and behind the values, one series behind the other.
    text: Vec<u8>,
    list: Vec<Group>,
    /// Places in `list`, by text and kind.
    index: HashTable<usize>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Group {
    kind: MetricKind,
    before: Range<usize>,
    behind: Range<usize>,
    /// The first point of the snapshot in it.
    first: usize,
    points: u64,
    /// The value of all of them, where there are several.
    merged: Option<Value>,
}

impl Groups {
    fn fill(&mut self, snapshot: &Snapshot, dialect: Dialect) {
        self.text.clear();
        self.list.clear();
        self.index.clear();
        for (first, point) in snapshot.points.iter().enumerate() {
            let start = self.text.len();
            let behind = name::write(&mut self.text, &point.series, dialect);
            let kind = point.value.kind();
            let (before, behind) = (start..behind, behind..self.text.len());
            let Some(place) = self.place(kind, start) else {
                self.list.push(Group { kind, before, behind, first, points: 1, merged: None });
                continue;
            };
            self.text.truncate(start);
            let group = &mut self.list[place];
            let of_first = &snapshot.points[group.first].value;
            let merged = group.merged.get_or_insert_with(|| of_first.clone());
            merged.merge(point.value.clone(), snapshot);
            group.points += 1;
        }
    }

    /// The group that has the text at the end of `text`; where there is none, the next one that is
    /// pushed gets it.
    fn place(&mut self, kind: MetricKind, start: usize) -> Option<usize> {
        let Self { text, list, index, hasher } = self;
        let hash_of = |kind: MetricKind, text: &[u8]| hasher.hash_one((kind, text));
        let of = |group: &Group| &text[group.before.start..group.behind.end];
        let wanted = &text[start..];
        let entry = index.entry(
            hash_of(kind, wanted),
            |place| list[*place].kind == kind && of(&list[*place]) == wanted,
            |place| hash_of(list[*place].kind, of(&list[*place])),
        );
        match entry {
            Entry::Occupied(place) => Some(*place.get()),
            Entry::Vacant(vacant) => {
                vacant.insert(list.len());
                None
            }
        }
    }
}
