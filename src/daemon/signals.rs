//! The signals that the daemon handles: stop, reload, and those that it ignores.

use std::io;

use nix::sys::signal::Signal::SIGXFSZ;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use super::held_signals;

/// The signals that the daemon handles.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    /// Installs the handlers, and then delivers the signals that were held until now.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub(super) fn new() -> io::Result<Self> {
        // A write beyond the limit on the size of a file then fails with an error. The handler stays
        // when its receiver is dropped.
        drop(signal(SignalKind::from_raw(SIGXFSZ as i32))?);
        let signals = Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        };
        held_signals::release();
        Ok(signals)
    }

    /// Waits for the next signal with a meaning.
    pub(super) async fn next(&mut self) -> SignalRequest {
        loop {
            let ignored = tokio::select! {
                _ = self.terminate.recv() => return SignalRequest::Stop("SIGTERM"),
                _ = self.interrupt.recv() => return SignalRequest::Stop("SIGINT"),
                _ = self.hangup.recv() => return SignalRequest::Reload,
                _ = self.user1.recv() => "SIGUSR1",
                _ = self.user2.recv() => "SIGUSR2",
            };
            info!(signal = ignored, "signal ignored; SIGHUP reloads, SIGTERM stops");
        }
    }

    /// Waits for a signal that stops the daemon and returns its name. A SIGHUP in the meantime stays
    /// pending for [`Signals::next`].
    pub(super) async fn stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The request of a signal.
pub(super) enum SignalRequest {
    /// Stop the daemon; with the name of the signal.
    Stop(&'static str),
    /// Reload the configuration.
    Reload,
}
