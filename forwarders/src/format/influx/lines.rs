//! The lines of a window: one for each series that a reader can tell apart.

use model::{Series, Snapshot, Value};

use super::naming::LineNaming;
use super::{nanoseconds, safe, telegraf, write_key, write_values};
use crate::delivery::payload::Batch;
use crate::groups::Groups;

/// A line: a point, or several whose series are written alike.
pub(crate) struct Line<'a> {
    /// The series of the first point.
    pub(crate) series: &'a Series,
    /// The number of points.
    pub(crate) points: u64,
    value: &'a Value,
    key: LineKey<'a>,
    naming: &'a LineNaming,
}

/// Measurement and tags.
enum LineKey<'a> {
    /// To be written from the series.
    Unwritten,
    Written(&'a [u8]),
}

impl Line<'_> {
    /// Appends measurement and tags.
    pub(crate) fn write_key(&self, out: &mut Vec<u8>) {
        match self.key {
            LineKey::Unwritten => write_key(out, self.series, self.naming),
            LineKey::Written(key) => out.extend_from_slice(key),
        }
    }

    /// Appends fields and `timestamp`, in the unit that the reader expects.
    pub(crate) fn write_values(&self, out: &mut Vec<u8>, snapshot: &Snapshot, timestamp: u64) {
        write_values(out, snapshot, self.value, timestamp, self.naming);
    }

    /// Appends the line without the newline, with its timestamp in nanoseconds.
    pub(crate) fn write(&self, out: &mut Vec<u8>, snapshot: &Snapshot) {
        self.write_key(out);
        self.write_values(out, snapshot, nanoseconds(snapshot));
    }
}

/// Returns whether series of a window may be written alike, so that it must be encoded as a whole.
pub(crate) fn may_merge(snapshot: &Snapshot, naming: &LineNaming) -> bool {
    // Escapes alone keep two series different.
    snapshot.points.iter().any(|point| safe::may_change(&point.series))
        || match naming {
            LineNaming::Tallyd => false,
            LineNaming::Telegraf(config) => telegraf::may_merge(snapshot, config),
        }
}

/// Encodes a window: calls `push` for each line. `push` must add one payload with the points of its
/// line.
///
/// Points whose series are written alike share a line: sent separately, the later line would replace
/// the earlier one.
pub(crate) fn encode(
    snapshot: &Snapshot,
    naming: &LineNaming,
    batch: &mut Batch,
    mut push: impl FnMut(&mut Batch, &Line<'_>),
) {
    if !may_merge(snapshot, naming) {
        for point in &snapshot.points {
            let (series, value) = (&*point.series, &point.value);
            push(batch, &Line { series, points: 1, value, key: LineKey::Unwritten, naming });
        }
        return;
    }
    let mut groups = groups_of(snapshot, naming);
    for group in groups.iter(snapshot) {
        let (series, points, value) = (group.series, group.points, group.value);
        let key = LineKey::Written(group.front);
        push(batch, &Line { series, points, value, key, naming });
    }
    if let Some(places) = groups.places() {
        batch.set_places(places);
    }
}

/// Appends all lines of a window, with their newlines.
pub(crate) fn write_all(out: &mut Vec<u8>, snapshot: &Snapshot, naming: &LineNaming) {
    if !may_merge(snapshot, naming) {
        for point in &snapshot.points {
            write_key(out, &point.series, naming);
            write_values(out, snapshot, &point.value, nanoseconds(snapshot), naming);
            out.push(b'\n');
        }
        return;
    }
    for group in groups_of(snapshot, naming).iter(snapshot) {
        out.extend_from_slice(group.front);
        write_values(out, snapshot, group.value, nanoseconds(snapshot), naming);
        out.push(b'\n');
    }
}

fn groups_of(snapshot: &Snapshot, naming: &LineNaming) -> Groups {
    let mut groups = Groups::default();
    groups.fill(snapshot, |out, series| {
        write_key(out, series, naming);
        out.len()
    });
    groups
}
