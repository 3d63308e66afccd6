//! Encodes a snapshot as lines or pickle items, with one payload per path.

use basics::escape::escaped;

use super::config::{GraphiteConfig, Naming, Protocol, Transport};
use super::etsy::Etsy;
use super::limits::{LINE_BYTES_MAX, PART_BYTES_MAX, SERIES_BYTES_MAX};
use super::path::Shape;
use super::pickle;
use crate::delivery::payload::Batch;
use crate::delivery::stats::reason;
use crate::format::number;
use crate::groups::Groups;
use model::{MetricKind, Snapshot, Value, finite};

/// Maximum number of bytes of a refused path in its explanation.
const SHOWN_BYTES_MAX: usize = 100;

/// Encodes windows; its memory is reused from window to window.
#[derive(Debug)]
pub(super) struct GraphiteEncoder {
    shape: Shape,
    names: Names,
    form: Form,
    groups: Groups,
}

/// The names and the arithmetic of fields.
#[derive(Debug)]
enum Names {
    Tallyd,
    Etsy(Box<Etsy>),
}

/// The encoding of a number with its path.
#[derive(Debug)]
struct Form {
    protocol: Protocol,
    /// The last part of each path, with its dot.
    suffix: Vec<u8>,
    line_bytes_max: usize,
}

impl GraphiteEncoder {
    pub(super) fn new(config: &GraphiteConfig) -> Self {
        let suffix = config.etsy.global_suffix.as_str();
        let (names, suffix) = match config.naming {
            Naming::Tallyd => (Names::Tallyd, ""),
            Naming::Etsy => (Names::Etsy(Box::new(Etsy::new(&config.etsy))), suffix),
        };
        let dot = if suffix.is_empty() { "" } else { "." };
        let line_bytes_max = match config.transport {
            Transport::Tcp => LINE_BYTES_MAX,
            Transport::Udp => LINE_BYTES_MAX.min(config.max_packet.get()),
        };
        Self {
            shape: Shape::new(config),
            names,
            form: Form {
                protocol: config.protocol,
                suffix: [dot, suffix].concat().into_bytes(),
                line_bytes_max,
            },
            groups: Groups::default(),
        }
    }

    /// Appends a payload for each path, in the order of the paths' first points. Refuses a path or
    /// line that is too long for carbon.
    pub(super) fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        self.groups.fill(snapshot, |out, series| self.shape.write(out, series));
        let seconds = snapshot.window.end_ms / 1000;
        let mut digits = itoa::Buffer::new();
        let end = [" ", digits.format(seconds), "\n"].concat();
        let time = Time { seconds, end: end.as_bytes() };
        for (id, group) in self.groups.iter(snapshot).enumerate() {
            let path = Path { base: group.front, tags: group.back };
            let mut trouble = path.trouble();
            batch.push(
                group.points,
                |_| (),
                |out| {
                    // The payload has to be pushed even if it is too long: its points must be
                    // counted as refused.
                    let start = out.len();
                    if trouble.is_none() {
                        let longest = self.form.write(
                            out,
                            &mut self.names,
                            path,
                            group.value,
                            snapshot,
                            time,
                        );
                        // Known only after writing, as the longest of the value's lines.
                        trouble = (longest > self.form.line_bytes_max).then_some(PathProblem::Line);
                    }
                    if trouble.is_some() {
                        out.truncate(start);
                    }
                },
            );
            let Some(trouble) = trouble else { continue };
            batch.refused(id, reason::TOO_LARGE, trouble.words(&self.form, path));
        }
        // Points that share a path are not adjacent in the snapshot: the delivery loop needs their
        // positions.
        if let Some(places) = self.groups.places() {
            batch.set_places(places);
        }
    }
}

/// The timestamp of all points of a window.
#[derive(Clone, Copy)]
struct Time<'a> {
    seconds: u64,
    /// The end of a line: blank, timestamp, line feed.
    end: &'a [u8],
}

/// The path of a series without namespace and field, and its tags.
#[derive(Clone, Copy)]
struct Path<'a> {
    base: &'a [u8],
    tags: &'a [u8],
}

/// The reason why a path cannot be sent.
#[derive(Clone, Copy)]
enum PathProblem {
    Part,
    Series,
    Line,
}

impl Path<'_> {
    fn trouble(self) -> Option<PathProblem> {
        if self.base.len() + self.tags.len() > SERIES_BYTES_MAX {
            return Some(PathProblem::Series);
        }
        let long = |part: &[u8]| part.len() > PART_BYTES_MAX;
        // A text within the limit cannot have a part above it: most need no split.
        let in_base = long(self.base) && self.base.split(|byte| *byte == b'.').any(long);
        let of_tag = |tag: &[u8]| {
            let key = tag.iter().position(|byte| *byte == b'=').unwrap_or(tag.len());
            long(&tag[..key]) || tag.get(key + 1..).is_some_and(long)
        };
        let in_tags = long(self.tags) && self.tags.split(|byte| *byte == b';').any(of_tag);
        (in_base || in_tags).then_some(PathProblem::Part)
    }
}

impl PathProblem {
    fn words(self, form: &Form, path: Path<'_>) -> String {
        let whole = [path.base, path.tags].concat();
        let shown = escaped(&whole[..whole.len().min(SHOWN_BYTES_MAX)]);
        let (what, most) = match self {
            Self::Part => ("a part of the path or a tag", PART_BYTES_MAX),
            Self::Series => ("the path with its tags", SERIES_BYTES_MAX),
            Self::Line => ("a line", form.line_bytes_max),
        };
        format!("{what} is longer than {most} bytes: {shown}…")
    }
}

impl Form {
    /// Appends all numbers of a value. Returns the length of the longest line, in bytes.
    fn write(
        &self,
        out: &mut Vec<u8>,
        names: &mut Names,
        path: Path<'_>,
        value: &Value,
        snapshot: &Snapshot,
        time: Time<'_>,
    ) -> usize {
        let mut longest = 0;
        let mut write = |namespace: &[u8], field: &str, number: f64| {
            let start = out.len();
            // Carbon cannot store infinite values or NaN.
            let number = finite(number);
            let write_path = |out: &mut Vec<u8>| {
                append(out, namespace);
                append(out, path.base);
                if !field.is_empty() {
                    out.push(b'.');
                    append(out, field.as_bytes());
                }
                append(out, &self.suffix);
                append(out, path.tags);
            };
            match self.protocol {
                Protocol::Plaintext => {
                    write_path(out);
                    out.push(b' ');
                    number::write(out, number);
                    append(out, time.end);
                }
                Protocol::Pickle => pickle::write_item(out, write_path, time.seconds, number),
            }
            longest = longest.max(out.len() - start);
        };
        match names {
            Names::Etsy(etsy) => {
                etsy.for_each_field([path.base, path.tags], value, snapshot, write);
            }
            Names::Tallyd => value.for_each_field(snapshot, |field, number| {
                write(b"", shown_field(value.kind(), field), number);
            }),
        }
        longest
    }
}

/// Returns the shown field. The only number of a value has no field: it stands under the metric's
/// name.
fn shown_field(kind: MetricKind, field: &str) -> &str {
    match (kind, field) {
        (MetricKind::Timer, _) | (_, "rate") => field,
        _ => "",
    }
}

/// Appends a piece. Most pieces of most paths are empty, and copying an empty one costs as much as
/// a short one.
fn append(out: &mut Vec<u8>, piece: &[u8]) {
    if !piece.is_empty() {
        out.extend_from_slice(piece);
    }
}
