//! A disk in memory, with faults and crashes. Everything that it does follows from its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Disk, DiskEntry, EntryKind, FileStatus};

/// An operation that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// [`Disk::list`].
    List,
    /// [`Disk::status`].
    Status,
    /// [`Disk::read`].
    Read,
    /// [`Disk::create`].
    Create,
    /// [`Disk::create_unsynced`].
    CreateUnsynced,
    /// [`Disk::sync_file`].
    SyncFile,
    /// [`Disk::append_unsynced`].
    Append,
    /// [`Disk::rename`].
    Rename,
    /// [`Disk::sync_folder`].
    SyncFolder,
    /// [`Disk::sync_all`].
    SyncAll,
    /// [`Disk::remove`].
    Remove,
}

/// How a simulated machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// `kill -9`: the disk has everything that was written.
    Kill,
    /// A power failure: any part of the data and names that were not synced is lost.
    PowerFailure,
}

type FaultPlan = Box<dyn FnMut(Operation, &Path) -> Option<io::ErrorKind> + Send>;

/// A disk in memory. Clones share it, as runs of a daemon share a disk.
#[derive(Clone)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

struct State {
    random: StdRng,
    files: BTreeMap<u64, SimulatedFile>,
    folders: BTreeMap<PathBuf, SimulatedFolder>,
    next_inode: u64,
    reuses_inodes: bool,
    /// The time of the latest change of a file.
    time: u64,
    free_bytes: u64,
    faults: FaultPlan,
    /// Operations until the machine crashes; `None` if it does not.
    until_crash: Option<u64>,
}

#[derive(Clone, Default)]
struct SimulatedFile {
    data: Vec<u8>,
    /// The number of bytes that the system has no reason to write again.
    synced: usize,
    /// Those of them that a failed sync did not write: the system has dropped the changes from its
    /// memory, so a later sync succeeds without them.
    lost: Vec<Range<usize>>,
    modified: u64,
}

/// The inodes in a folder by name: now, and after a power failure.
#[derive(Clone, Default)]
struct SimulatedFolder {
    now: BTreeMap<OsString, u64>,
    synced: BTreeMap<OsString, u64>,
}

impl SimulatedDisk {
    /// An empty disk without faults.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: StdRng::seed_from_u64(seed),
            files: BTreeMap::new(),
            folders: BTreeMap::new(),
            next_inode: 1,
            reuses_inodes: false,
            time: 0,
            free_bytes: 1 << 40,
            faults: Box::new(|_, _| None),
            until_crash: None,
        })))
    }

    /// Sets the faults: for each operation on a path, the error that it returns.
    pub fn fail(
        &self,
        faults: impl FnMut(Operation, &Path) -> Option<io::ErrorKind> + Send + 'static,
    ) {
        self.0.lock().faults = Box::new(faults);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.fail(|_, _| None);
    }

    /// Has new files get the inodes of removed ones, as some file systems do.
    pub fn reuse_inodes(&self) {
        self.0.lock().reuses_inodes = true;
    }

    /// Sets the free space. Writes that need more fail after they have used it up.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.0.lock().free_bytes = bytes;
    }

    /// Crashes in the middle of the operation after the next `operations`. Later operations fail
    /// until [`SimulatedDisk::restart`].
    pub fn crash_after(&self, operations: u64) {
        self.0.lock().until_crash = Some(operations);
    }

    /// Whether the machine has crashed.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.0.lock().until_crash == Some(0)
    }

    /// Starts the machine after a crash, with the data that survived it.
    pub fn restart(&self, crash: Crash) {
        let mut state = self.0.lock();
        state.until_crash = None;
        if crash == Crash::PowerFailure {
            state.lose_unsynced();
        }
    }

    /// The names of the files in a folder.
    #[must_use]
    pub fn names(&self, folder: &Path) -> Vec<String> {
        let state = self.0.lock();
        let names = state.folders.get(folder).into_iter().flat_map(|folder| folder.now.keys());
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    }

    /// The names of the files in a folder that a power failure cannot remove.
    #[must_use]
    pub fn synced_names(&self, folder: &Path) -> Vec<String> {
        let state = self.0.lock();
        let names = state.folders.get(folder).into_iter().flat_map(|folder| folder.synced.keys());
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    }

    /// The names and inodes of the files in a folder.
    #[must_use]
    pub fn inodes(&self, folder: &Path) -> Vec<(String, u64)> {
        let state = self.0.lock();
        let files = state.folders.get(folder).into_iter().flat_map(|folder| &folder.now);
        files.map(|(name, inode)| (name.to_string_lossy().into_owned(), *inode)).collect()
    }

    /// The content of a file, without a fault; `None` if there is no file.
    #[must_use]
    pub fn peek(&self, path: &Path) -> Option<Vec<u8>> {
        let mut state = self.0.lock();
        let inode = state.inode(path).ok()?;
        Some(state.files[&inode].data.clone())
    }

    /// Whether the content of a file survives a power failure.
    #[must_use]
    pub fn is_synced(&self, path: &Path) -> bool {
        let mut state = self.0.lock();
        let inode = state.inode(path).ok();
        inode.is_none_or(|inode| state.files[&inode].is_synced())
    }

    /// Whether a failed sync has lost changes of a file, which no later sync brings to the disk.
    #[must_use]
    pub fn has_lost(&self, path: &Path) -> bool {
        let mut state = self.0.lock();
        let inode = state.inode(path).ok();
        inode.is_some_and(|inode| !state.files[&inode].lost.is_empty())
    }

    /// The bytes at the beginning of a file that it has after any power failure: of the file that has
    /// the name now, and of the one that has it if the name is lost.
    #[must_use]
    pub fn safe(&self, path: &Path) -> Vec<u8> {
        let mut state = self.0.lock();
        let (folder, name) = split(path);
        let Ok(folder) = state.folder(folder) else { return Vec::new() };
        let (now, synced) = (folder.now.get(name).copied(), folder.synced.get(name).copied());
        let (Some(now), Some(synced)) = (now, synced) else { return Vec::new() };
        let (now, synced) = (state.files[&now].safe(), state.files[&synced].safe());
        let same = now.iter().zip(synced).take_while(|(now, synced)| now == synced).count();
        now[..same].to_vec()
    }

    /// Changes the content of a file, as a failing disk does.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock();
        let inode = state.inode(path).ok();
        if let Some(file) = inode.and_then(|inode| state.files.get_mut(&inode)) {
            change(&mut file.data);
            file.synced = file.data.len();
            file.lost.clear();
        }
    }

    /// Removes a file, as an operator does.
    pub fn take_away(&self, path: &Path) {
        let (folder, name) = split(path);
        if let Ok(folder) = self.0.lock().folder(folder) {
            folder.now.remove(name);
            folder.synced.remove(name);
        }
    }
}

impl SimulatedFile {
    fn is_synced(&self) -> bool {
        self.lost.is_empty() && self.synced == self.data.len()
    }

    /// The bytes at the beginning that survive any power failure.
    fn safe(&self) -> &[u8] {
        let first_lost = self.lost.iter().map(|lost| lost.start).min();
        &self.data[..first_lost.unwrap_or(self.synced)]
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SimulatedDisk")
    }
}

impl State {
    /// Counts an operation. Returns its error; `Ok(false)` if the machine crashes in the middle of
    /// it.
    fn begin(&mut self, operation: Operation, path: &Path) -> io::Result<bool> {
        match &mut self.until_crash {
            Some(0) => return Err(io::Error::other("crashed")),
            Some(left) => {
                *left -= 1;
                if *left == 0 {
                    return Ok(false);
                }
            }
            None => {}
        }
        (self.faults)(operation, path).map_or(Ok(true), |kind| Err(kind.into()))
    }

    /// Like [`State::begin`], for an operation that either happens or does not.
    fn begin_atomic(&mut self, operation: Operation, path: &Path) -> io::Result<()> {
        match self.begin(operation, path)? {
            true => Ok(()),
            false if self.random.random() => Ok(()),
            false => Err(io::Error::other("crashed")),
        }
    }

    fn folder(&mut self, path: &Path) -> io::Result<&mut SimulatedFolder> {
        self.folders.get_mut(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn inode(&mut self, path: &Path) -> io::Result<u64> {
        let (folder, name) = split(path);
        let inode = self.folder(folder)?.now.get(name).copied();
        inode.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn new_file(&mut self, path: &Path) -> io::Result<u64> {
        if self.inode(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (folder, name) = split(path);
        // First, so that a failure uses up no inode.
        self.folder(folder)?;
        let inode = self.new_inode();
        self.folder(folder)?.now.insert(name.to_owned(), inode);
        self.time += 1;
        let file = SimulatedFile { modified: self.time, ..SimulatedFile::default() };
        self.files.insert(inode, file);
        Ok(inode)
    }

    fn new_inode(&mut self) -> u64 {
        if self.reuses_inodes {
            let folders = self.folders.values();
            let used: BTreeSet<u64> = folders
                .flat_map(|folder| folder.now.values().chain(folder.synced.values()).copied())
                .collect();
            let free = self.files.keys().find(|inode| !used.contains(inode));
            if let Some(inode) = free {
                return *inode;
            }
        }
        let inode = self.next_inode;
        self.next_inode += 1;
        inode
    }

    /// Writes data; a part of it if the disk is full or the machine `is_crashing`.
    fn write(&mut self, inode: u64, bytes: &[u8], is_crashing: bool) -> io::Result<()> {
        let room = bytes.len().min(usize::try_from(self.free_bytes).unwrap_or(usize::MAX));
        let length = if is_crashing { self.random.random_range(0..=room) } else { room };
        self.free_bytes -= length as u64;
        let Some(file) = self.files.get_mut(&inode) else { unreachable!("{inode}") };
        file.data.extend_from_slice(&bytes[..length]);
        if is_crashing {
            return Err(io::Error::other("crashed"));
        }
        if length < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self, inode: u64) {
        if let Some(file) = self.files.get_mut(&inode) {
            file.synced = file.data.len();
        }
    }

    /// Ends a sync of a file. After an error of the disk the changes are lost; the end of the process
    /// in the middle of a sync loses nothing.
    fn end_sync(&mut self, inode: u64, outcome: &io::Result<()>) {
        match outcome {
            Ok(()) => self.sync(inode),
            Err(_) if self.until_crash == Some(0) => {}
            Err(_) => self.fail_to_sync(inode),
        }
    }

    fn fail_to_sync(&mut self, inode: u64) {
        if let Some(file) = self.files.get_mut(&inode)
            && file.synced < file.data.len()
        {
            file.lost.push(file.synced..file.data.len());
            file.synced = file.data.len();
        }
    }

    fn lose_unsynced(&mut self) {
        let Self { random, files, folders, .. } = self;
        for folder in folders.values_mut() {
            let names: Vec<_> = folder.now.keys().chain(folder.synced.keys()).cloned().collect();
            for name in names {
                let (now, synced) = (folder.now.get(&name), folder.synced.get(&name));
                let kept = if random.random() { now } else { synced }.copied();
                match kept {
                    Some(inode) => folder.now.insert(name, inode),
                    None => folder.now.remove(&name),
                };
            }
            folder.synced = folder.now.clone();
        }
        for file in files.values_mut() {
            for lost in std::mem::take(&mut file.lost) {
                if random.random() {
                    file.data[lost].fill(0);
                }
            }
            let kept = random.random_range(file.synced..=file.data.len());
            // The system may have reserved the space without having written the data.
            file.data[kept..].fill(0);
            file.data.truncate(random.random_range(kept..=file.data.len()));
            file.synced = file.data.len();
        }
    }
}

fn split(path: &Path) -> (&Path, &OsStr) {
    (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default())
}

impl Disk for SimulatedDisk {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        for folder in folder.ancestors() {
            state.folders.entry(folder.to_owned()).or_default();
        }
        Ok(())
    }

    fn list(&self, folder: &Path, visit: &mut dyn FnMut(DiskEntry)) -> io::Result<()> {
        let mut state = self.0.lock();
        state.begin_atomic(Operation::List, folder)?;
        let names: Vec<_> = state.folder(folder)?.now.keys().cloned().collect();
        drop(state);
        names.into_iter().for_each(|name| visit(DiskEntry { name, kind: EntryKind::File }));
        Ok(())
    }

    fn status(&self, path: &Path) -> io::Result<FileStatus> {
        let mut state = self.0.lock();
        state.begin_atomic(Operation::Status, path)?;
        if state.folders.contains_key(path) {
            let modified = SystemTime::UNIX_EPOCH;
            return Ok(FileStatus { kind: EntryKind::Folder, bytes: 0, inode: 0, modified });
        }
        let inode = state.inode(path)?;
        let file = &state.files[&inode];
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(file.modified);
        Ok(FileStatus { kind: EntryKind::File, bytes: file.data.len() as u64, inode, modified })
    }

    fn read(&self, file: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut state = self.0.lock();
        state.begin_atomic(Operation::Read, file)?;
        let inode = state.inode(file)?;
        let mut bytes = state.files[&inode].data.clone();
        bytes.truncate(usize::try_from(bytes_max).unwrap_or(usize::MAX));
        Ok(bytes)
    }

    fn create(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        let is_crashing = !state.begin(Operation::Create, file)?;
        let inode = state.new_file(file)?;
        state.write(inode, bytes, is_crashing)?;
        state.sync(inode);
        Ok(())
    }

    fn create_unsynced(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        let is_crashing = !state.begin(Operation::CreateUnsynced, file)?;
        let inode = state.new_file(file)?;
        state.write(inode, bytes, is_crashing)
    }

    fn sync_file(&self, file: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        let begun = state.begin_atomic(Operation::SyncFile, file);
        let found = state.inode(file);
        if let Ok(inode) = found {
            state.end_sync(inode, &begun);
        }
        begun.and(found.map(drop))
    }

    fn append_unsynced(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock();
        let is_crashing = !state.begin(Operation::Append, file)?;
        let inode = match state.inode(file) {
            Ok(inode) => inode,
            Err(_) => state.new_file(file)?,
        };
        state.write(inode, bytes, is_crashing)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.begin_atomic(Operation::Rename, from)?;
        let inode = state.inode(from)?;
        let (folder, name) = split(to);
        state.folder(folder)?.now.insert(name.to_owned(), inode);
        let (folder, name) = split(from);
        state.folder(folder)?.now.remove(name);
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.begin_atomic(Operation::SyncFolder, folder)?;
        let folder = state.folder(folder)?;
        folder.synced = folder.now.clone();
        Ok(())
    }

    fn sync_all(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        let begun = state.begin_atomic(Operation::SyncAll, folder);
        let inodes: Vec<u64> = state.files.keys().copied().collect();
        inodes.into_iter().for_each(|inode| state.end_sync(inode, &begun));
        if begun.is_ok() {
            for folder in state.folders.values_mut() {
                folder.synced = folder.now.clone();
            }
        }
        begun
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.begin_atomic(Operation::Remove, file)?;
        let inode = state.inode(file)?;
        let (folder, name) = split(file);
        state.folder(folder)?.now.remove(name);
        // A removal that is not synced can bring the file back, so its data stays.
        state.free_bytes += state.files[&inode].data.len() as u64;
        Ok(())
    }

    fn free_bytes(&self, _folder: &Path) -> io::Result<u64> {
        Ok(self.0.lock().free_bytes)
    }
}
