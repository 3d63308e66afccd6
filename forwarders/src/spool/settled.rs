//! The list of settled windows whose file could not be removed.
//!
//! A file that stays in `new` is delivered by the next run. If the daemon cannot remove or move the
//! file of a window that it has delivered or dropped, it therefore records the file here: a line
//! for each, in the file `settled` of the spool folder.
//!
//! ```text
//! <name of the window's file> <inode> <suffix for the quarantine, or -> <CRC-32 of the line so far>
//! ```
//!
//! The inode distinguishes the file from another one that later gets its name: an operator may move
//! the refused points of a window back from the quarantine. Each line has its own checksum, because
//! a crash can leave a part of a line, and a wrong line would suppress the delivery of a window.

use std::collections::VecDeque;

use super::name::FileName;

/// The suffix in a line for a file that is removed and not moved to the quarantine.
const REMOVE: &str = "-";
/// The suffixes of files that are moved to the quarantine.
const SUFFIXES: [&str; 3] = ["corrupt", "newer", "replaced"];

/// A settled window whose file is still in the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SettledFile {
    pub(super) name: FileName,
    pub(super) inode: u64,
    /// The suffix that the name gets in the quarantine; `None` for a file to remove.
    pub(super) suffix: Option<&'static str>,
}

impl SettledFile {
    fn line(&self) -> String {
        let Self { name, inode, suffix } = self;
        let text = format!("{name} {inode} {}", suffix.unwrap_or(REMOVE));
        format!("{text} {:08x}", crc32fast::hash(text.as_bytes()))
    }

    fn parse(line: &str) -> Option<Self> {
        let (text, crc) = line.rsplit_once(' ')?;
        if u32::from_str_radix(crc, 16).ok()? != crc32fast::hash(text.as_bytes()) {
            return None;
        }
        let mut words = text.split(' ');
        let name = words.next()?.parse().ok()?;
        let inode = words.next()?.parse().ok()?;
        let suffix = match words.next()? {
            REMOVE => None,
            word => Some(*SUFFIXES.iter().find(|suffix| **suffix == word)?),
        };
        Some(Self { name, inode, suffix })
    }
}

/// Encodes lines to append. They begin with a line feed, because a failed append may have left a
/// part of a line.
pub(super) fn encode(files: impl IntoIterator<Item = SettledFile>) -> Vec<u8> {
    files.into_iter().fold(b"\n".to_vec(), |mut lines, file| {
        lines.extend_from_slice(file.line().as_bytes());
        lines.push(b'\n');
        lines
    })
}

/// Decodes the list. Ignores lines that are damaged or incomplete: their windows are delivered
/// again, which is better than losing one.
pub(super) fn decode(bytes: &[u8]) -> VecDeque<SettledFile> {
    let lines = bytes.split(|byte| *byte == b'\n');
    lines.filter_map(|line| SettledFile::parse(std::str::from_utf8(line).ok()?)).collect()
}

/// Name and inode of each file in the list.
#[cfg(any(test, feature = "test-util"))]
pub(crate) fn inodes(bytes: &[u8]) -> Vec<(FileName, u64)> {
    decode(bytes).into_iter().map(|file| (file.name, file.inode)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> [SettledFile; 2] {
        let name = FileName { seq: 7, start_ms: 1_490_114_064_000, points: 3, bytes: 156 };
        let later = FileName { seq: 8, ..name };
        [
            SettledFile { name, inode: 12, suffix: None },
            SettledFile { name: later, inode: 13, suffix: Some("corrupt") },
        ]
    }

    #[test]
    fn the_list_survives_the_round_trip() {
        let mut bytes = encode([files()[0]]);
        bytes.extend(encode([files()[1]]));
        assert_eq!(decode(&bytes), files());
        assert_eq!(inodes(&bytes), files().map(|file| (file.name, file.inode)));
    }

    #[test]
    fn a_changed_or_incomplete_line_is_ignored_and_the_others_count() {
        let bytes = encode(files());
        // A line feed, the first line with its own, the second one.
        let second = 1 + files()[0].line().len() + 1;
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(decode(&changed).iter().all(|file| files().contains(file)), "{at}");
            // The last line feed is not needed.
            let whole = usize::from(at + 1 >= second) + usize::from(at + 1 == bytes.len());
            assert_eq!(decode(&bytes[..at]), &files()[..whole], "{at}");
            // The next append begins a line, so it is not glued to the incomplete one.
            let appended = [&bytes[..at], &encode([files()[1]])].concat();
            assert_eq!(decode(&appended).back(), Some(&files()[1]), "{at}");
        }
    }
}
