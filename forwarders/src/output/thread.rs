//! The thread that writes to one output.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::lines::Lines;
use crate::delivery::forwarder::SendError;

/// The running threads. A forwarder that a reload creates finds the thread of its predecessor here,
/// if that one is still in a write.
static RUNNING: Mutex<BTreeMap<OutputName, Weak<OutputThread>>> = Mutex::new(BTreeMap::new());

/// An output of this host that at most one thread writes to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum OutputName {
    /// Standard output.
    #[cfg_attr(not(feature = "console"), allow(dead_code, reason = "the console's"))]
    Stdout,
    /// The file at this path.
    #[cfg_attr(not(feature = "file"), allow(dead_code, reason = "the file forwarder's"))]
    File(PathBuf),
}

impl fmt::Display for OutputName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => formatter.write_str("standard output"),
            Self::File(path) => path.display().fmt(formatter),
        }
    }
}

/// Writes lines to an output, on the output's thread. Dropped on that thread too.
pub(crate) trait Output: Send + 'static {
    /// Writes the rest of the lines. May take any time.
    ///
    /// # Errors
    /// When lines are left; a retry continues with them.
    fn write(&mut self, lines: &mut Lines) -> Result<(), WriteError>;
}

/// Why lines could not be written.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// They can never be written, for the reason in these words.
    #[cfg_attr(not(feature = "console"), allow(dead_code, reason = "the console's"))]
    Refused(&'static str),
    /// They may be written later.
    Failed(SendError),
}

impl WriteError {
    /// A failure that may pass.
    pub(crate) fn transient(output: &OutputName, error: &io::Error) -> Self {
        Self::Failed(SendError::transient(format!("{output}: {error}")))
    }
}

/// The outcome of a write, and the lines, of which a part may be left.
pub(crate) type WriteOutcome = (Lines, Result<(), WriteError>);

/// The thread of an output. It ends after its last write when nothing refers to it.
#[derive(Debug)]
pub(crate) struct OutputThread {
    jobs: Sender<OutputJob>,
    /// One permit: a write starts only after the previous one has returned.
    turn: Arc<Semaphore>,
}

/// A write for the thread.
#[derive(Debug)]
struct OutputJob {
    lines: Lines,
    done: oneshot::Sender<WriteOutcome>,
    _turn: WriteTurn,
}

/// The right to start a write. It keeps the thread, so that no caller starts a second one for the
/// output during the write.
#[derive(Debug)]
pub(crate) struct WriteTurn {
    thread: Arc<OutputThread>,
    _permit: OwnedSemaphorePermit,
}

impl OutputThread {
    /// The thread that writes to the output `name`; started if there is none, to write with `output`.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(crate) fn of(
        name: &OutputName,
        output: impl FnOnce() -> Box<dyn Output>,
    ) -> io::Result<Arc<Self>> {
        let mut running = RUNNING.lock();
        if let Some(thread) = running.get(name).and_then(Weak::upgrade) {
            return Ok(thread);
        }
        let thread = Self::start(output())?;
        running.retain(|_, thread| thread.strong_count() > 0);
        running.insert(name.clone(), Arc::downgrade(&thread));
        Ok(thread)
    }

    fn start(mut output: Box<dyn Output>) -> io::Result<Arc<Self>> {
        let (jobs, received) = channel();
        thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || write_all(&received, &mut *output))?;
        Ok(Arc::new(Self { jobs, turn: Arc::new(Semaphore::new(1)) }))
    }

    /// Waits until no write is under way. May be dropped at any await.
    pub(crate) async fn turn(self: &Arc<Self>) -> Option<WriteTurn> {
        let permit = Arc::clone(&self.turn).acquire_owned().await.ok()?;
        Some(WriteTurn { thread: Arc::clone(self), _permit: permit })
    }
}

impl WriteTurn {
    /// Starts a write. The receiver gets its outcome.
    pub(crate) fn write(self, lines: Lines) -> oneshot::Receiver<WriteOutcome> {
        let (done, outcome) = oneshot::channel();
        let jobs = self.thread.jobs.clone();
        // Fails only if the thread has panicked; the receiver then reports that the job is gone.
        let _has_ended = jobs.send(OutputJob { lines, done, _turn: self });
        outcome
    }
}

fn write_all(jobs: &Receiver<OutputJob>, output: &mut dyn Output) {
    while let Ok(OutputJob { mut lines, done, _turn }) = jobs.recv() {
        let outcome = output.write(&mut lines);
        // The forwarder may be gone. Its points are counted as dropped by then.
        let _is_abandoned = done.send((lines, outcome));
    }
}
