//! The signals that end a comparison early.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The file in which Linux lists the signals that this process ignores.
const STATUS: &str = "/proc/self/status";

/// Handlers of SIGTERM, and of SIGINT unless the process was started with SIGINT ignored. A shell script
/// does so with `&`, so that a Ctrl-C for another program of the script does not end this one.
pub(super) struct Interrupts {
    interrupt: Option<Signal>,
    terminate: Signal,
}

impl Interrupts {
    /// Installs the handlers.
    ///
    /// # Errors
    /// When the system refuses one.
    pub(super) fn new() -> io::Result<Self> {
        let kind = SignalKind::interrupt();
        let status = std::fs::read_to_string(STATUS).unwrap_or_default();
        let interrupt = match is_ignored(&status, kind.as_raw_value()) {
            true => None,
            false => Some(signal(kind)?),
        };
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for a signal. Returns its name.
    pub(super) async fn next(&mut self) -> &'static str {
        let interrupted = async {
            match &mut self.interrupt {
                Some(interrupt) => interrupt.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupted => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// Whether the content of [`STATUS`] says that a signal is ignored.
fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_has_a_bit_for_each_ignored_signal() {
        for (status, ignored) in [
            ("Name:\tx\nSigIgn:\t0000000000000002\n", true),
            ("SigIgn:\t0000000000001000\n", false),
            ("SigCgt:\t0000000000000002\n", false),
            ("SigIgn:\tx\n", false),
        ] {
            assert_eq!(is_ignored(status, 2), ignored, "{status}");
        }
    }
}
