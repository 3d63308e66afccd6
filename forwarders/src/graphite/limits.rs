//! How long things may be. Carbon closes the connection at a line over 16,384 bytes, and cannot
//! make a file of a name over 255; what stays below these bounds is far from both.

/// A part of a path, a tag's key, a tag's value: it becomes the name of a folder or file.
pub(super) const PART_BYTES_MAX: usize = 200;
/// The path of a series with its tags, before namespace and field are put around it.
pub(super) const SERIES_BYTES_MAX: usize = 3_000;
/// A line with its newline. A series of the longest allowed kind stays below it.
pub(super) const LINE_BYTES_MAX: usize = 4_096;
/// A pickled list; carbon refuses one over 1 MiB.
pub(super) const FRAME_BYTES_MAX: usize = 65_536;
