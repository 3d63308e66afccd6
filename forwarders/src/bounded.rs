//! Calls of the system that may never return.

use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

/// How long a check of the configuration waits for the file system. If it hangs, the daemon starts all
/// the same, for its other destinations.
pub(crate) const LOOK_MAX: Duration = Duration::from_secs(1);

/// Runs `work` on a thread that nothing waits for. The receiver gets the result; an error if the
/// system refuses a thread.
pub(crate) fn detached<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> oneshot::Receiver<T> {
    let (sender, receiver) = oneshot::channel();
    let run = move || {
        let _is_abandoned = sender.send(work());
    };
    // If it fails, the sender is dropped with the closure, and the receiver reports it.
    let _is_refused = thread::Builder::new().name("output".to_owned()).spawn(run);
    receiver
}

/// The result of `work`; `None` if it takes longer than `max`.
pub(crate) fn within<T: Send + 'static>(
    max: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let _not_awaited = detached(move || sender.send(work()));
    receiver.recv_timeout(max).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::mpsc::channel;

    #[test]
    fn a_call_that_hangs_is_not_awaited() {
        let (sender, receiver) = channel::<()>();
        assert_eq!(within(Duration::from_millis(1), move || receiver.recv()), None);
        drop(sender);
        assert_eq!(within(Duration::from_secs(60), || 7), Some(7));
    }
}
