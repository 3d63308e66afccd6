//! `tallyd reload --watch`: reloads after each change of the configuration file.
//!
//! The file is read again and again: the kernel announces no change of a Kubernetes ConfigMap, which is
//! a link to another folder, in the way in which it announces a written file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Pause between two looks at the file.
const PAUSE: Duration = Duration::from_secs(1);
/// Maximum number of bytes of the file that are compared: more than a daemon accepts.
const COMPARED_BYTES_MAX: u64 = 16 << 20;

/// Calls `reload` at the start and after each change of the file, until SIGTERM or SIGINT. After a
/// call that returns `false` it tries again with the same content.
///
/// # Errors
/// When the system refuses a handler of signals.
pub(super) fn watch(file: &Path, mut reload: impl FnMut() -> bool) -> io::Result<()> {
    let mut stop = Stop::new()?;
    let (mut current, mut seen) = (None, None);
    loop {
        // While the file is missing, empty, unreadable or still being written, nothing has changed: the
        // beginning of a configuration is another valid one.
        let content = read(file).ok().filter(|content| !content.trim_ascii().is_empty());
        let is_settled = content.is_some() && content == seen;
        if is_settled && content != current && reload() {
            current.clone_from(&content);
        }
        seen = content;
        if stop.within(PAUSE) {
            return Ok(());
        }
    }
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(file)?.take(COMPARED_BYTES_MAX).read_to_end(&mut content)?;
    Ok(content)
}

/// The signals that end the command. As the first process of a container it needs handlers: the kernel
/// ignores a signal without one there.
struct Stop {
    runtime: Runtime,
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let context = runtime.enter();
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        drop(context);
        Ok(Self { runtime, interrupt, terminate })
    }

    /// Whether a signal has arrived since the last call, or arrives within this time.
    fn within(&mut self, pause: Duration) -> bool {
        self.runtime.block_on(async {
            tokio::select! {
                _ = self.interrupt.recv() => true,
                _ = self.terminate.recv() => true,
                () = tokio::time::sleep(pause) => false,
            }
        })
    }
}
