//! Maximum lengths. Carbon closes the connection after a line over 16,384 bytes and cannot create a
//! file with a name over 255; these limits are well below both.

/// A part of a path, a tag's key or a tag's value, in bytes: each becomes the name of a folder or
/// file.
pub(super) const PART_BYTES_MAX: usize = 200;
/// The path of a series with its tags, without namespace and field, in bytes.
pub(super) const SERIES_BYTES_MAX: usize = 3_000;
/// A line with its line feed, in bytes. A series of the maximum length stays below it.
pub(super) const LINE_BYTES_MAX: usize = 4_096;
/// A pickled list, in bytes; carbon rejects a list over 1 MiB.
pub(super) const FRAME_BYTES_MAX: usize = 65_536;
