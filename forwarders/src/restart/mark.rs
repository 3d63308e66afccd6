//! The file of the high-water mark of signed datagrams.
//!
//! ```text
//! the second, 20 digits · blank · the window in seconds, 20 digits · line feed
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// The name of the file.
pub(super) const FILE_NAME: &str = "signed-until";
/// Bytes of the file.
const FILE_BYTES: usize = 42;

/// The latest second of accepted signed datagrams, as a run has recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedUntil {
    /// No accepted datagram was signed after this Unix second.
    pub second: u64,
    /// No accepted datagram was signed by more than this number of seconds ahead of the clock.
    pub window: u64,
}

/// The record that an earlier run has left of the datagrams that it accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkState {
    /// There was no earlier run: the folder was created just now.
    New,
    /// The mark.
    Known(SignedUntil),
    /// There is no mark, or it cannot be read.
    Unknown,
}

impl MarkState {
    /// The second up to which a datagram may have been signed that an earlier run accepted, and the seconds
    /// by which that run accepted datagrams ahead of its clock. The first run refuses datagrams that were
    /// signed before it: the folder may have been lost. `now` and `booted` are the Unix times of the clock
    /// and of the boot, and `window` is the greatest difference between clocks that this run permits, all in
    /// seconds.
    #[must_use]
    pub fn unknown_until(self, now: u64, booted: u64, window: u64) -> (u64, u64) {
        match self {
            Self::New => (now.saturating_sub(1), window),
            Self::Unknown => (now.saturating_add(window), window),
            // The stand-in for a mark that cannot be read.
            Self::Known(SignedUntil { second: u64::MAX, .. }) => {
                Self::Unknown.unknown_until(now, booted, window)
            }
            Self::Known(SignedUntil { second, window: recorded }) => {
                // A power failure may have kept the latest marks from the disk, but ended the run before
                // the boot. A mark far ahead of the clock stays: the clock may be wrong for a moment.
                (second.max(booted.saturating_add(window)), recorded.max(window))
            }
        }
    }
}

/// The file, open for writing.
#[derive(Debug)]
pub struct MarkFile(File);

impl MarkFile {
    /// Creates or replaces the file in a folder.
    pub(super) fn create(folder: &Path, mark: SignedUntil) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        // A link could lead anywhere.
        let file =
            options.custom_flags(OFlags::NOFOLLOW.bits() as i32).open(folder.join(FILE_NAME));
        let file = Self(file?);
        file.write(mark)?;
        Ok(file)
    }

    /// Whether the file still has a name, so that the next run can find it.
    ///
    /// # Errors
    /// When the system returns an error.
    pub fn is_in_place(&self) -> io::Result<bool> {
        Ok(self.0.metadata()?.nlink() > 0)
    }

    /// Replaces the mark. Not synced: it survives the end of the process.
    ///
    /// # Errors
    /// When the system returns an error.
    pub fn write(&self, mark: SignedUntil) -> io::Result<()> {
        let SignedUntil { second, window } = mark;
        self.0.write_all_at(format!("{second:020} {window:020}\n").as_bytes(), 0)
    }
}

/// Reads the mark in a folder; `None` without a file.
///
/// # Errors
/// When the file cannot be read, or is damaged.
pub(super) fn read(folder: &Path) -> io::Result<Option<SignedUntil>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let path = folder.join(FILE_NAME);
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    parse(&bytes).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse(bytes: &[u8]) -> Option<SignedUntil> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() == FILE_BYTES)?;
    let (second, window) = text.strip_suffix('\n')?.split_once(' ')?;
    let number = |digits: &str| {
        let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten()
    };
    Some(SignedUntil { second: number(second)?, window: number(window)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: SignedUntil = SignedUntil { second: 1_490_114_074, window: 30 };

    #[test]
    fn the_latest_mark_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
        let file = MarkFile::create(folder.path(), MARK).unwrap();
        assert_eq!(read(folder.path()).unwrap(), Some(MARK));
        for second in [u64::MAX, 0, 7] {
            file.write(SignedUntil { second, ..MARK }).unwrap();
            assert_eq!(read(folder.path()).unwrap(), Some(SignedUntil { second, ..MARK }));
        }
        MarkFile::create(folder.path(), MARK).unwrap();
        assert_eq!(read(folder.path()).unwrap(), Some(MARK));
        assert!(file.is_in_place().unwrap());
        std::fs::remove_file(folder.path().join(FILE_NAME)).unwrap();
        assert!(!file.is_in_place().unwrap());
    }

    #[test]
    fn a_damaged_mark_is_none() {
        let text = format!("{:020} {:020}\n", 7, 30);
        assert!(parse(text.as_bytes()).is_some());
        for damaged in [
            "",
            &text[..41],
            &format!("{text} "),
            &text.replace('\n', "0"),
            &text.replacen('0', "+", 1),
            &text.replace('0', "9"),
            &"\0".repeat(FILE_BYTES),
        ] {
            assert_eq!(parse(damaged.as_bytes()), None, "{damaged:?}");
        }
    }

    #[test]
    fn a_run_refuses_what_an_earlier_one_may_have_accepted_and_no_more() {
        let known = MarkState::Known(MARK);
        let unreadable = MarkState::Known(SignedUntil { second: u64::MAX, ..MARK });
        let (second, now) = (MARK.second, MARK.second + 2);
        for (state, now, booted, until) in [
            (MarkState::New, now, now - 5, now - 1),
            (MarkState::Unknown, now, 0, now + 60),
            (known, now, 0, second),
            (known, now + 10_000, 0, second),
            // The mark of this second may have been lost by a power failure.
            (known, now + 10_000, now + 9_000, now + 9_060),
            (known, now, now - 1, now + 59),
            // The clock is behind, perhaps only for a moment.
            (known, 1_000, 0, second),
            (unreadable, now, now - 5, now + 60),
        ] {
            assert_eq!(
                state.unknown_until(now, booted, 60),
                (until, 60),
                "{state:?} {now} {booted}"
            );
        }
    }
}
