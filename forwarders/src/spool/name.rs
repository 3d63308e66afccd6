//! The names of spool files and of their folders.

use std::fmt;
use std::str::FromStr;

/// The name of a spool file: `<seq>-<start_ms>-<points>-<bytes>.b`. It contains everything that the
/// ledger and the limits need, so a start opens no file. The order of names is the order of
/// delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName {
    /// The number of the window. Numbers of one destination increase, also across restarts.
    pub seq: u64,
    /// Start of the window in Unix milliseconds.
    pub start_ms: u64,
    /// The number of points in the file.
    pub points: u64,
    /// The size of the file in bytes.
    pub bytes: u64,
}

/// The highest valid number. New windows are numbered from the highest number in the folder, so a
/// forged name near `u64::MAX` would make the counter overflow.
const SEQ_MAX: u64 = 1 << 62;

impl fmt::Display for FileName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seq, start_ms, points, bytes } = self;
        // A fixed width, so that `ls` lists the files in the order of delivery.
        write!(formatter, "{seq:016x}-{start_ms}-{points}-{bytes}.b")
    }
}

/// The text is not the name of a spool file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidFileName;

impl FromStr for FileName {
    type Err = InvalidFileName;

    fn from_str(text: &str) -> Result<Self, InvalidFileName> {
        let stem = text.strip_suffix(".b").ok_or(InvalidFileName)?;
        let mut parts = stem.split('-');
        let seq = parts.next().filter(|part| part.len() == 16).ok_or(InvalidFileName)?;
        let seq = u64::from_str_radix(seq, 16).map_err(|_| InvalidFileName)?;
        if seq > SEQ_MAX {
            return Err(InvalidFileName);
        }
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (start_ms, points, bytes) = (number(), number(), number());
        match (start_ms, points, bytes, parts.next()) {
            (Some(start_ms), Some(points), Some(bytes), None) => {
                let name = Self { seq, start_ms, points, bytes };
                // `+1` and `007` parse as numbers too. A second spelling of a name would be removed
                // and listed under a path that does not exist.
                (name.to_string() == text).then_some(name).ok_or(InvalidFileName)
            }
            _ => Err(InvalidFileName),
        }
    }
}

/// The name of a destination's folder: the destination's name, with `%XX` for bytes that are
/// special to a file system or a shell. Two destinations never share a folder.
#[must_use]
pub fn folder_of(destination: &str) -> String {
    /// Longest name, below the 255 bytes that file systems allow. Longer names are cut and end in
    /// their hash.
    const LENGTH_MAX: usize = 200;
    let mut folder = String::new();
    for (place, byte) in destination.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => folder.push(char::from(byte)),
            // A leading dot would hide the folder, and `..` would leave the state folder.
            b'.' if place > 0 => folder.push('.'),
            other => folder.push_str(&format!("%{other:02X}")),
        }
    }
    if folder.len() > LENGTH_MAX {
        // Cannot split a character: the name is ASCII by now. The cut may remove the only
        // difference between two names, so the hash covers the whole name.
        folder.truncate(LENGTH_MAX - 17);
        let hash = xxhash_rust::xxh3::xxh3_64(destination.as_bytes());
        folder.push_str(&format!("%{hash:016x}"));
    }
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_contains_the_numbers_of_its_file_and_can_be_parsed() {
        let name = FileName { seq: 42, start_ms: 1_490_114_064_000, points: 10_000, bytes: 77 };
        let text = name.to_string();
        assert_eq!(text, "000000000000002a-1490114064000-10000-77.b");
        assert_eq!(text.parse(), Ok(name));
        let later = FileName { seq: 0x100, ..name };
        assert!(later.to_string() > text && later > name);
    }

    #[test]
    fn any_other_text_is_not_a_name() {
        for text in [
            "",
            "x",
            ".b",
            "2a-1-1-1.b",
            "000000000000002A-1-1-1.b",
            "000000000000002a-1-1.b",
            "000000000000002a-1-1-1-1.b",
            "000000000000002a-1-+1-1.b",
            "000000000000002a-1-01-1.b",
            "000000000000002a-1-1-1.b.tmp",
            "000000000000002a-1--1.b",
            "+00000000000002a-1-1-1.b",
        ] {
            assert_eq!(text.parse::<FileName>(), Err(InvalidFileName), "{text}");
        }
    }

    #[test]
    fn folders_are_safe_and_never_shared() {
        assert_eq!(folder_of("kafka"), "kafka");
        assert_eq!(folder_of("eu-west.1"), "eu-west.1");
        assert_eq!(folder_of(".."), "%2E.");
        assert_eq!(folder_of("a/b"), "a%2Fb");
        assert_eq!(folder_of("a%2Fb"), "a%252Fb");
        let (long, other) = ("ü".repeat(300), "ü".repeat(301));
        assert!(folder_of(&long).len() <= 200 && folder_of(&long) != folder_of(&other));
    }
}
