//! The names of spool files and of their folders.

use std::fmt;
use std::str::FromStr;

/// The name of a spool file: `<seq>-<start_ms>-<points>-<bytes>.b`. It contains everything that the
/// ledger and the limits need, so a start opens no file. The order of names is the order of
/// delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName {
    /// The number of the window. Numbers of one destination increase, also across restarts; see
    /// `first_seq`.
    pub seq: u64,
    /// Start of the window in Unix milliseconds.
    pub start_ms: u64,
    /// The number of points in the file.
    pub points: u64,
    /// The size of the file in bytes.
    pub bytes: u64,
}

impl FileName {
    /// Whether both files are of the same window: one contains the points that were left of the other.
    pub(crate) fn is_of_same_window(&self, other: &Self) -> bool {
        (self.seq, self.start_ms) == (other.seq, other.start_ms)
    }
}

/// The highest valid number, so that a forged name near `u64::MAX` cannot make a counter overflow.
const SEQ_MAX: u64 = (1 << 63) - 1;
/// The highest number of a found file after which later windows are numbered. Their numbers have to
/// stay valid, which a forged name with a higher number would prevent.
const SEQ_FOUND_MAX: u64 = 1 << 62;
/// Windows start at the latest at the end of the year 9999, the last one that RFC 3339 can express.
const START_MS_MAX: u64 = 253_402_300_799_999;
/// Far more points and bytes than a window can have. Sums of a folder's files cannot overflow.
const POINTS_MAX: u64 = 1 << 32;
const BYTES_MAX: u64 = 1 << 40;
/// The lowest bits of a number, below the milliseconds: 2^20 numbers for each millisecond between
/// the starts of two runs.
const NUMBERS_PER_MS_BITS: u32 = 20;

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
        let mut number = |max| parts.next()?.parse::<u64>().ok().filter(|number| *number <= max);
        let (start_ms, points, bytes) =
            (number(START_MS_MAX), number(POINTS_MAX), number(BYTES_MAX));
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

/// The number of the first window of a run that starts at `now_ms` (Unix milliseconds). `found` is
/// the highest number in the folder, and `random` any number.
///
/// The number grows with the clock, so it continues across restarts although no file remembers the
/// numbers of delivered windows: a refused window that returns from the quarantine shares its
/// number with no later window. The random part gives two hosts different numbers, so that their
/// files can be copied into one folder. If the clock was set back, the windows in the folder still
/// come first.
pub(super) fn first_seq(now_ms: u64, random: u32, found: Option<u64>) -> u64 {
    let now_ms = now_ms.min(SEQ_FOUND_MAX >> NUMBERS_PER_MS_BITS);
    let random = u64::from(random) & ((1 << NUMBERS_PER_MS_BITS) - 1);
    let by_clock = ((now_ms << NUMBERS_PER_MS_BITS) | random).min(SEQ_FOUND_MAX);
    found.map_or(by_clock, |found| by_clock.max(found.min(SEQ_FOUND_MAX) + 1))
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

    fn name() -> FileName {
        FileName { seq: 42, start_ms: 1_490_114_064_000, points: 10_000, bytes: 77 }
    }

    #[test]
    fn a_name_contains_the_numbers_of_its_file_and_can_be_parsed() {
        let name = name();
        let text = name.to_string();
        assert_eq!(text, "000000000000002a-1490114064000-10000-77.b");
        assert_eq!(text.parse(), Ok(name));
        let later = FileName { seq: 0x100, ..name };
        assert!(later.to_string() > text && later > name);
    }

    #[test]
    fn the_largest_numbers_are_valid() {
        let text = "7fffffffffffffff-253402300799999-4294967296-1099511627776.b";
        assert_eq!(text.parse::<FileName>().unwrap().to_string(), text);
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
            "8000000000000000-1-1-1.b",
            "000000000000002a-18446744073709551615-1-1.b",
            "000000000000002a-1-18446744073709551615-1.b",
            "000000000000002a-1-1-18446744073709551615.b",
            "000000000000002a-1-4294967297-1.b",
            "000000000000002a-1-1-1099511627777.b",
        ] {
            assert_eq!(text.parse::<FileName>(), Err(InvalidFileName), "{text}");
        }
    }

    #[test]
    fn numbers_continue_after_a_restart_and_differ_between_hosts() {
        const NOW_MS: u64 = 1_764_400_000_000;
        let first = first_seq(NOW_MS, 5, None);
        assert_eq!(first, (NOW_MS << NUMBERS_PER_MS_BITS) + 5);
        let as_many = 1 << NUMBERS_PER_MS_BITS;
        assert_eq!(first_seq(NOW_MS, 5 + as_many, None), first, "only the lowest bits");
        assert_eq!(first_seq(NOW_MS, as_many - 1, None), first - 5 + u64::from(as_many) - 1);
        assert!(first_seq(NOW_MS + 1, 0, None) > first + 1_000);
        assert_ne!(first_seq(NOW_MS, 6, None), first);
        // The clock was set back by a day, or the files are of another host.
        assert_eq!(first_seq(NOW_MS - 86_400_000, 7, Some(first + 9)), first + 10);
        assert_eq!(first_seq(NOW_MS, 5, Some(41)), first);
        for (now_ms, found) in [(u64::MAX, None), (NOW_MS, Some(SEQ_MAX)), (u64::MAX, Some(7))] {
            let name = FileName { seq: first_seq(now_ms, u32::MAX, found), ..name() };
            assert_eq!(name.to_string().parse(), Ok(name));
            assert!(name.seq <= SEQ_FOUND_MAX + 1, "room for the windows of a run");
        }
    }

    #[test]
    fn folders_are_safe_and_never_shared() {
        assert_eq!(folder_of("kafka"), "kafka");
        assert_eq!(folder_of("eu-west.1"), "eu-west.1");
        assert_eq!(folder_of(".."), "%2E.");
        assert_eq!(folder_of("a/b"), "a%2Fb");
        assert_eq!(folder_of("a%2Fb"), "a%252Fb");
        let longest = "a".repeat(200);
        assert_eq!(folder_of(&longest), longest);
        let cut = folder_of(&"a".repeat(201));
        assert!(cut.len() == 200 && cut.starts_with(&longest[..183]), "{cut}");
        let (long, other) = ("ü".repeat(300), "ü".repeat(301));
        assert!(folder_of(&long).len() <= 200 && folder_of(&long) != folder_of(&other));
    }
}
