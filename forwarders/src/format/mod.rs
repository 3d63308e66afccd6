//! Encodings that more than one destination writes. All are pure functions that append to a buffer.

use serde::Deserialize;

use crate::delivery::payload::Batch;
use model::{Point, Snapshot};

pub mod influx;
pub mod json;
pub mod number;
pub mod pystatsd;
pub(crate) mod tag_keys;
pub mod text;

/// The line formats of the console and file destinations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineFormat {
    /// For people: time, kind, name, tags, fields.
    #[default]
    Text,
    /// One JSON object per line, see [`json`].
    Json,
    /// InfluxDB line protocol with timestamps in nanoseconds, see [`influx`].
    Influx,
}

impl LineFormat {
    /// Appends a point and a newline.
    pub fn write_line(self, out: &mut Vec<u8>, snapshot: &Snapshot, point: &Point) {
        match self {
            Self::Text => text::write_point(out, snapshot, point),
            Self::Json => json::write_point(out, snapshot, point),
            Self::Influx => influx::write_point(out, snapshot, point),
        }
        out.push(b'\n');
    }

    /// Adds one payload with all lines; none if the snapshot has no points.
    pub fn encode_lines(self, snapshot: &Snapshot, batch: &mut Batch) {
        if snapshot.points.is_empty() {
            return;
        }
        batch.push(
            snapshot.points.len() as u64,
            |_| (),
            |out| match self {
                Self::Influx => influx::write_all(out, snapshot),
                Self::Text | Self::Json => {
                    snapshot.points.iter().for_each(|point| self.write_line(out, snapshot, point));
                }
            },
        );
    }

    /// Returns whether lines of a window may be merged, so that it must be encoded as a whole.
    #[cfg(any(feature = "console", feature = "file"))]
    pub(crate) fn may_merge(self, snapshot: &Snapshot) -> bool {
        self == Self::Influx && influx::may_merge(snapshot)
    }
}
