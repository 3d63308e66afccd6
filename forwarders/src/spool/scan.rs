//! Finds the windows in a spool folder when it is opened.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;

use super::directory::{SpoolDirectory, SpoolReadError};
use super::disk::{DiskEntry, EntryKind};
use super::name::FileName;
use super::settled::SettledFile;
use super::work::FoundWindows;
use model::Snapshot;

/// Maximum number of windows with the same number and start that are compared with each other.
/// There are two after a crash; more can only have been copied.
const SAME_NUMBER_MAX: usize = 8;

impl SpoolDirectory {
    /// Lists the windows. Changes nothing in `new`, so that it takes no longer than listing the
    /// folder. Does not set `first_seq`.
    pub(super) fn look(&self) -> io::Result<FoundWindows> {
        let (mut names, mut strangers) = (Vec::new(), 0);
        let mut visit = |entry: DiskEntry| {
            let name = entry.name.to_str().and_then(|name| name.parse::<FileName>().ok());
            match (name, entry.kind) {
                (Some(name), EntryKind::File) => names.push(name),
                // Folders stay, because the limits of the quarantine count files only.
                (_, EntryKind::Folder) => {}
                _ => strangers += 1,
            }
        };
        self.disk.list(&self.root.join("new"), &mut visit)?;
        let mut found = FoundWindows { strangers, ..FoundWindows::default() };
        self.sort_out(names, &mut found)?;
        self.find_replaced(&mut found)?;
        Ok(found)
    }

    /// Divides the files into windows, damaged windows and settled windows.
    fn sort_out(&self, names: Vec<FileName>, found: &mut FoundWindows) -> io::Result<()> {
        let settled: HashMap<FileName, SettledFile> =
            self.settled.files().into_iter().map(|file| (file.name, file)).collect();
        let mut present = VecDeque::new();
        for name in names {
            let status = match self.disk.status(&self.path_of(name)) {
                // Removed since the folder was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                status => status?,
            };
            match settled.get(&name).filter(|file| file.inode == status.inode) {
                Some(file) => present.push_back(*file),
                // Found here, they cost no attempt to read them.
                None if status.bytes != name.bytes => found.damaged.push(name),
                None => found.windows.push(name),
            }
        }
        found.windows.sort_unstable();
        found.has_old_records = self.keep_settled(present);
        Ok(())
    }

    /// Finds files that another file replaces: the rest of a partly delivered window is written
    /// before its file is removed, and a crash in between leaves both.
    ///
    /// Number and start do not suffice to recognize them. A file can come from another host, or be
    /// a part of the same window that was moved back from the quarantine. The rest has fewer points
    /// than the replaced file, all of which are in it, and is of the same run of the daemon.
    fn find_replaced(&self, found: &mut FoundWindows) -> io::Result<()> {
        let windows = std::mem::take(&mut found.windows);
        for same in windows.chunk_by(|a, b| (a.seq, a.start_ms) == (b.seq, b.start_ms)) {
            match same {
                [single] => found.windows.push(*single),
                _ => self.compare(same, found)?,
            }
        }
        Ok(())
    }

    fn compare(&self, same: &[FileName], found: &mut FoundWindows) -> io::Result<()> {
        // In the order of their names, so a rest comes before the file that it replaces.
        let mut kept: Vec<Snapshot> = Vec::new();
        for name in same {
            match self.read(*name) {
                Ok(window) if kept.iter().any(|kept| is_rest_of(kept, &window)) => {
                    found.replaced.push(*name);
                }
                Ok(window) => {
                    found.windows.push(*name);
                    if kept.len() < SAME_NUMBER_MAX {
                        kept.push(window);
                    }
                }
                // The delivery will find and count it.
                Err(SpoolReadError::Content(_)) => found.windows.push(*name),
                Err(SpoolReadError::Gone) => {}
                Err(SpoolReadError::System(error)) => return Err(error),
            }
        }
        Ok(())
    }
}

fn is_rest_of(rest: &Snapshot, window: &Snapshot) -> bool {
    let is_same = rest.instance == window.instance && rest.window == window.window;
    if !is_same || rest.points.len() >= window.points.len() {
        return false;
    }
    let series: HashSet<_> = window.points.iter().map(|point| &*point.series).collect();
    rest.points.iter().all(|point| series.contains(&*point.series))
}
