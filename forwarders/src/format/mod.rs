//! Encodings that more than one destination writes. All are pure functions that append to a buffer.

use serde::Deserialize;

use crate::delivery::payload::Batch;
use influx::LineNaming;
use json::JsonLines;
use model::{Point, Snapshot};
use text::TextLines;

pub mod ddsketch;
pub mod influx;
pub mod json;
pub mod number;
#[cfg(any(feature = "kafka", feature = "otlp"))]
pub(crate) mod otlp;
pub mod pystatsd;
pub mod sketch;
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
        self.write_points(out, snapshot, std::slice::from_ref(point));
    }

    /// Appends points of a window, each with a newline.
    pub fn write_points(self, out: &mut Vec<u8>, snapshot: &Snapshot, points: &[Point]) {
        match self {
            Self::Text => {
                let lines = TextLines::new(snapshot);
                write_each(out, points, |out, point| lines.write_point(out, point));
            }
            Self::Json => {
                let lines = JsonLines::new(snapshot);
                write_each(out, points, |out, point| lines.write_point(out, point));
            }
            Self::Influx => {
                let naming = &LineNaming::Tallyd;
                write_each(out, points, |out, point| {
                    influx::write_point(out, snapshot, point, naming);
                });
            }
        }
    }
}

/// A line format with the names that its lines have.
#[cfg_attr(
    not(any(feature = "console", feature = "file")),
    allow(dead_code, reason = "only these destinations have line formats")
)]
#[derive(Clone, Debug)]
pub(crate) struct LineEncoding {
    format: LineFormat,
    /// Has an effect on [`LineFormat::Influx`] only.
    naming: LineNaming,
}

impl LineEncoding {
    pub(crate) fn new(format: LineFormat, naming: LineNaming) -> Self {
        Self { format, naming }
    }

    /// Adds one payload with all lines; none if the snapshot has no points.
    pub(crate) fn encode_lines(&self, snapshot: &Snapshot, batch: &mut Batch) {
        if snapshot.points.is_empty() {
            return;
        }
        batch.push(
            snapshot.points.len() as u64,
            |_| (),
            |out| match self.format {
                LineFormat::Influx => influx::write_all(out, snapshot, &self.naming),
                format @ (LineFormat::Text | LineFormat::Json) => {
                    format.write_points(out, snapshot, &snapshot.points);
                }
            },
        );
    }

    /// Returns whether lines of a window may be merged, so that it must be encoded as a whole.
    pub(crate) fn may_merge(&self, snapshot: &Snapshot) -> bool {
        self.format == LineFormat::Influx && influx::may_merge(snapshot, &self.naming)
    }
}

impl From<LineFormat> for LineEncoding {
    fn from(format: LineFormat) -> Self {
        Self::new(format, LineNaming::default())
    }
}

fn write_each(out: &mut Vec<u8>, points: &[Point], write: impl Fn(&mut Vec<u8>, &Point)) {
    for point in points {
        write(out, point);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod testing {
    /// A name, key or value, with the characters that a format may quote or escape.
    pub(super) const PART: &str =
        "[a-z.]{0,3}|[a-z.]{60,66}|[a=, \"\\\\#é\u{1}\n\u{202e}]{0,3}|time";
}
