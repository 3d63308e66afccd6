//! SIGINT and SIGTERM: the first ends the sending, before the report; the second ends the process.

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// The status that a shell reports for a program that SIGINT ended.
const STATUS_INTERRUPTED: i32 = 130;

/// Returns a flag that the first signal sets.
///
/// # Errors
/// When the system refuses a thread or a handler.
pub(super) fn watch() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let watched = Arc::clone(&stop);
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _context = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if watched.swap(true, Ordering::Relaxed) {
                    process::exit(STATUS_INTERRUPTED);
                }
            }
        });
    })?;
    Ok(stop)
}
