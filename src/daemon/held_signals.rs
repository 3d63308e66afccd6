//! Holds signals that arrive before the daemon can handle them.

use nix::sys::signal::{SigSet, Signal};

/// The signals that the daemon handles. Without a handler, each of them ends the process.
fn handled() -> SigSet {
    [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGXFSZ,
    ]
    .into_iter()
    .collect()
}

/// Makes the kernel keep these signals pending. It is the first statement of the program: until
/// then, a signal ends the process. Threads that are started in this state never receive them.
pub fn hold() {
    // Fails only for an invalid request, which this is not.
    let _cannot_fail = handled().thread_block();
}

/// Delivers the pending signals and all later ones to the calling thread.
pub fn release() {
    let _cannot_fail = handled().thread_unblock();
}
