//! The lines of a window: one for each series that a reader can tell apart.

use model::{Series, Snapshot, Value};

use super::{nanoseconds, safe, write_key, write_plain_key, write_values};
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
}

/// Measurement and tags.
enum LineKey<'a> {
    /// To be written from the series, which needs only escapes.
    Plain,
    Written(&'a [u8]),
}

impl Line<'_> {
    /// Appends measurement and tags.
    pub(crate) fn write_key(&self, out: &mut Vec<u8>) {
        match self.key {
            LineKey::Plain => write_plain_key(out, self.series),
            LineKey::Written(key) => out.extend_from_slice(key),
        }
    }

    /// Appends fields and `timestamp`, in the unit that the reader expects.
    pub(crate) fn write_values(&self, out: &mut Vec<u8>, snapshot: &Snapshot, timestamp: u64) {
        write_values(out, snapshot, self.value, timestamp);
    }

    /// Appends the line without the newline, with its timestamp in nanoseconds.
    pub(crate) fn write(&self, out: &mut Vec<u8>, snapshot: &Snapshot) {
        self.write_key(out);
        self.write_values(out, snapshot, nanoseconds(snapshot));
    }
}

/// Returns whether series of a window may be written alike, so that it must be encoded as a whole.
pub(crate) fn may_merge(snapshot: &Snapshot) -> bool {
    // Escapes alone keep two series different.
    snapshot.points.iter().any(|point| safe::may_change(&point.series))
}

/// Encodes a window: calls `push` for each line. `push` must add one payload with the points of its
/// line.
///
/// Points whose series are written alike share a line: sent separately, the later line would replace
/// the earlier one.
pub(crate) fn encode(
    snapshot: &Snapshot,
    batch: &mut Batch,
    mut push: impl FnMut(&mut Batch, &Line<'_>),
) {
    if !may_merge(snapshot) {
        for point in &snapshot.points {
            let (series, value) = (&*point.series, &point.value);
            push(batch, &Line { series, points: 1, value, key: LineKey::Plain });
        }
        return;
    }
    let mut groups = groups_of(snapshot);
    for group in groups.iter(snapshot) {
        let (series, points, value) = (group.series, group.points, group.value);
        push(batch, &Line { series, points, value, key: LineKey::Written(group.front) });
    }
    if let Some(places) = groups.places() {
        batch.set_places(places);
    }
}

/// Appends all lines of a window, with their newlines.
pub(crate) fn write_all(out: &mut Vec<u8>, snapshot: &Snapshot) {
    if !may_merge(snapshot) {
        for point in &snapshot.points {
            write_plain_key(out, &point.series);
            write_values(out, snapshot, &point.value, nanoseconds(snapshot));
            out.push(b'\n');
        }
        return;
    }
    for group in groups_of(snapshot).iter(snapshot) {
        out.extend_from_slice(group.front);
        write_values(out, snapshot, group.value, nanoseconds(snapshot));
        out.push(b'\n');
    }
}

fn groups_of(snapshot: &Snapshot) -> Groups {
    let mut groups = Groups::default();
    groups.fill(snapshot, |out, series| {
        write_key(out, series);
        out.len()
    });
    groups
}
