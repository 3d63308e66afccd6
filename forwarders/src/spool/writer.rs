//! Brings windows to disk and removes them, beside the delivery: it never holds up an attempt, nor
//! does a slow disk.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::directory::Directory;
use super::file;
use super::quarantine::{Allowance, fitting};
use crate::delivery::backlog::{Backlog, Chore, Refused, Tidy};
use basics::log_throttle::LogThrottle;
use model::PointRanges;
use model::Snapshot;

/// Pause after trouble with the disk, and how often it is looked whether windows got too old or
/// were removed.
const PAUSE: Duration = Duration::from_secs(10);

/// What a spool needs to know.
#[derive(Clone, Debug)]
pub struct SpoolPlace {
    /// The folder in which each destination has its own.
    pub folder: PathBuf,
    /// The run of the daemon, which what it flushed is known by.
    pub instance: String,
}

/// Works for one destination.
pub(crate) struct SpoolWriter {
    name: String,
    root: PathBuf,
    instance: Arc<str>,
    backlog: Arc<Backlog>,
    may_write_at: Instant,
    look_at: Instant,
    is_in_trouble: bool,
    drops: LogThrottle,
    allowance: Allowance,
    quarantine_failures: LogThrottle,
}

impl SpoolWriter {
    /// Works on the spool of the destination `name`.
    pub(crate) fn new(name: String, place: &SpoolPlace, backlog: Arc<Backlog>) -> Self {
        let root = place.folder.join(super::folder_of(&name));
        Self {
            name,
            root,
            instance: place.instance.as_str().into(),
            backlog,
            may_write_at: Instant::now(),
            look_at: Instant::now() + PAUSE,
            is_in_trouble: false,
            drops: LogThrottle::default(),
            allowance: Allowance::new(Instant::now()),
            quarantine_failures: LogThrottle::default(),
        }
    }

    /// The destination's folder.
    pub(crate) fn root(&self) -> &PathBuf {
        &self.root
    }

    /// Runs until the courier has ended and all that can be on disk is.
    pub(crate) async fn run(mut self) {
        loop {
            match self.backlog.chore(Instant::now() >= self.may_write_at) {
                Chore::Open => self.open().await,
                Chore::Tidy(directory, files) => self.tidy(directory, files).await,
                Chore::Write { directory, seq, snapshot, points } => {
                    self.write(directory, seq, snapshot, points).await;
                }
                Chore::Quarantine(directory, refused) => self.quarantine(directory, refused).await,
                Chore::Rest => self.rest().await,
                // So that the last word on what is on disk is true.
                Chore::End => return self.look_for_missing().await,
            }
            if Instant::now() >= self.look_at {
                self.look().await;
            }
        }
    }

    async fn rest(&self) {
        let until = if self.may_write_at > Instant::now() {
            self.may_write_at.min(self.look_at)
        } else {
            self.look_at
        };
        tokio::select! {
            () = self.backlog.new_chore() => {}
            () = sleep_until(until) => {}
        }
    }

    async fn open(&mut self) {
        let root = self.root.clone();
        match spawn_blocking(move || Directory::open(&root)).await {
            Ok(Ok((directory, found))) => {
                let (windows, folder) = (found.names.len(), self.root.display());
                let points: u64 = found.names.iter().map(|name| name.points).sum();
                if windows > 0 {
                    info!(forwarder = self.name, windows, points, %folder, "found in the spool");
                }
                if found.strangers > 0 {
                    let files = found.strangers;
                    warn!(forwarder = self.name, files, %folder, "the spool held files that are no \
                        windows; they are in its quarantine now");
                }
                self.backlog.opened(directory, &found);
                self.out_of_trouble();
            }
            Ok(Err(error)) => self.trouble(error.to_string()),
            Err(error) => self.trouble(error.to_string()),
        }
    }

    async fn tidy(&mut self, directory: Arc<Directory>, files: Tidy) {
        let tidied = spawn_blocking(move || {
            let mut trouble = None;
            for name in files.remove {
                trouble = directory.remove(name).err().or(trouble);
            }
            for (name, why) in files.set_aside {
                trouble = directory.set_aside(name, why).err().or(trouble);
            }
            trouble
        });
        // A file that stays is delivered again after a restart; there is nothing else to try.
        match tidied.await {
            Ok(None) => {}
            Ok(Some(error)) => {
                warn!(forwarder = self.name, %error, "cannot remove a spooled window");
            }
            Err(error) => debug!(forwarder = self.name, %error, "removing did not end"),
        }
    }

    async fn write(
        &mut self,
        directory: Arc<Directory>,
        seq: u64,
        snapshot: Arc<Snapshot>,
        points: PointRanges,
    ) {
        let Some(spool) = self.backlog.spool() else { return };
        let (bytes_max, min_free) = (spool.max_bytes, spool.min_free.get());
        let instance = Arc::clone(&self.instance);
        let made = spawn_blocking(move || file::write(seq, &snapshot, &points, &instance)).await;
        let Ok((name, bytes)) = made else { return };
        if name.bytes > bytes_max.get() {
            return self.trouble(format!(
                "a window takes {} bytes on disk, and delivery.spool.max_bytes is {bytes_max}",
                name.bytes
            ));
        }
        let dropped = self.backlog.make_room(name.bytes);
        self.dropped(dropped, "the spool is full, the oldest windows were dropped");
        if let Some((directory, files)) = self.backlog.to_tidy() {
            self.tidy(directory, files).await;
        }
        let written = spawn_blocking(move || directory.write(name, &bytes, min_free)).await;
        match written {
            Ok(Ok(())) => {
                self.backlog.written(seq, name);
                self.out_of_trouble();
            }
            Ok(Err(error)) => self.trouble(format!("{}: {error}", self.root.display())),
            Err(error) => self.trouble(error.to_string()),
        }
    }

    /// Puts into the quarantine what a destination has refused of a window.
    async fn quarantine(&mut self, directory: Arc<Directory>, refused: Refused) {
        for (reason, points) in &refused.points {
            let kept = self.put_aside(&directory, &refused, reason, points.clone()).await;
            self.backlog.quarantined(kept, points.count() - kept);
        }
    }

    /// Puts points into the quarantine, as many as have room; returns how many these are.
    async fn put_aside(
        &mut self,
        directory: &Arc<Directory>,
        refused: &Refused,
        reason: &'static str,
        points: PointRanges,
    ) -> u64 {
        let Some(spool) = self.backlog.spool() else { return 0 };
        let (room, min_free) = (self.allowance.room(Instant::now()), spool.min_free.get());
        let (seq, snapshot) = (refused.seq, Arc::clone(&refused.snapshot));
        let (instance, directory) = (Arc::clone(&self.instance), Arc::clone(directory));
        let put = spawn_blocking(move || {
            let file = fitting(seq, &snapshot, points, &instance, room);
            let Some((name, bytes)) = file else { return Ok(None) };
            directory.put_aside(name, reason, &bytes, min_free).map(|()| Some(name))
        });
        match put.await.unwrap_or_else(|error| Err(error.into())) {
            Ok(Some(name)) => {
                self.allowance.used(name);
                name.points
            }
            Ok(None) => 0,
            Err(error) => {
                if let Some(times) = self.quarantine_failures.count(1) {
                    warn!(forwarder = self.name, %error, times, "refused points could not be put \
                        into the quarantine");
                }
                0
            }
        }
    }

    /// Looks what got too old and what was removed.
    async fn look(&mut self) {
        self.look_at = Instant::now() + PAUSE;
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let expired = self.backlog.expire(now_ms as u64);
        self.dropped(expired, "windows were in the spool for longer than max_age and were dropped");
        self.look_for_missing().await;
    }

    async fn look_for_missing(&mut self) {
        let Some(directory) = self.backlog.directory() else { return };
        if let Ok(Ok(names)) = spawn_blocking(move || directory.names()).await {
            let there: HashSet<_> = names.into_iter().collect();
            let removed = self.backlog.missing(&there);
            self.dropped(removed, "windows were removed from the spool");
        }
    }

    /// Windows wait in memory until the next attempt.
    fn trouble(&mut self, words: String) {
        self.may_write_at = Instant::now() + PAUSE;
        if !std::mem::replace(&mut self.is_in_trouble, true) {
            warn!(
                forwarder = self.name,
                error = words,
                "no spool at the moment: what cannot be delivered waits in memory only"
            );
        }
        self.backlog.degraded(words);
    }

    fn out_of_trouble(&mut self) {
        if std::mem::take(&mut self.is_in_trouble) {
            info!(forwarder = self.name, "the spool works again");
        }
    }

    fn dropped(&mut self, points: u64, why: &str) {
        if let Some(points) = self.drops.count(points) {
            warn!(forwarder = self.name, points, "{why}");
        }
    }
}
