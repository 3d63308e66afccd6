//! When a connection last made progress.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The progress of one connection, shared between its task and the server.
///
/// Received bytes are no progress: a client that sends the head of a request byte by byte would
/// otherwise look busy. A complete request is, and so is each part of a reply that leaves.
#[derive(Debug)]
pub(crate) struct Activity {
    accepted: Instant,
    /// The time of the latest progress, in milliseconds since `accepted`.
    progress_ms: AtomicU64,
    /// Whether a request is being handled, so that the client waits for the server.
    is_handling: AtomicBool,
    /// The time spent on handling requests so far, in milliseconds.
    handled_ms: AtomicU64,
    /// Whether the kernel has no room for a reply, so that the server waits for the client.
    is_blocked: AtomicBool,
    /// Whether the current reply may take as long as its client reads.
    is_long: AtomicBool,
    /// Whether the current reply has to end before its content does.
    must_end: AtomicBool,
    /// Whether the TLS handshake is not complete yet.
    is_handshaking: AtomicBool,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self {
            accepted: Instant::now(),
            progress_ms: AtomicU64::new(0),
            is_handling: AtomicBool::new(false),
            handled_ms: AtomicU64::new(0),
            is_blocked: AtomicBool::new(false),
            is_long: AtomicBool::new(false),
            must_end: AtomicBool::new(false),
            is_handshaking: AtomicBool::new(false),
        }
    }

    pub(crate) fn age(&self) -> Duration {
        self.accepted.elapsed()
    }

    /// The age without the time for which the client waited for the server.
    pub(crate) fn age_of_client(&self) -> Duration {
        let handled = Duration::from_millis(self.handled_ms.load(Ordering::Relaxed));
        let now = if self.is_handling.load(Ordering::Relaxed) {
            // The request was the latest progress.
            Duration::from_millis(self.progress_ms.load(Ordering::Relaxed))
        } else {
            self.age()
        };
        now.saturating_sub(handled)
    }

    /// How long the client has done nothing, while it was its turn.
    pub(crate) fn silence(&self) -> Duration {
        if self.is_handling.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        let progress = Duration::from_millis(self.progress_ms.load(Ordering::Relaxed));
        self.age().saturating_sub(progress)
    }

    /// Whether the client has read nothing of a reply for this long.
    pub(crate) fn has_stalled_for(&self, limit: Duration) -> bool {
        self.is_blocked.load(Ordering::Relaxed) && self.silence() > limit
    }

    pub(crate) fn is_long(&self) -> bool {
        self.is_long.load(Ordering::Relaxed)
    }

    pub(crate) fn must_end(&self) -> bool {
        self.must_end.load(Ordering::Relaxed)
    }

    /// Ends the current reply. Returns whether no earlier call has ended it.
    pub(crate) fn end_reply(&self) -> bool {
        !self.must_end.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.is_handshaking.load(Ordering::Relaxed)
    }

    pub(crate) fn set_handshaking(&self, is_handshaking: bool) {
        self.is_handshaking.store(is_handshaking, Ordering::Relaxed);
    }

    pub(crate) fn set_long(&self) {
        self.is_long.store(true, Ordering::Relaxed);
    }

    pub(crate) fn set_handling(&self, is_handling: bool) {
        let since_ms = self.progress_ms.load(Ordering::Relaxed);
        self.progress();
        if self.is_handling.load(Ordering::Relaxed) {
            let handled_ms = self.progress_ms.load(Ordering::Relaxed) - since_ms;
            self.handled_ms.fetch_add(handled_ms, Ordering::Relaxed);
        }
        self.is_handling.store(is_handling, Ordering::Relaxed);
    }

    pub(crate) fn progress(&self) {
        self.progress_ms.store(self.age().as_millis() as u64, Ordering::Relaxed);
    }

    /// Notes that the server asks for the next part of a reply.
    pub(crate) fn note_poll(&self) {
        if !self.is_blocked.load(Ordering::Relaxed) {
            self.progress();
        }
    }

    fn note_write(&self, outcome: &Poll<io::Result<usize>>) {
        self.is_blocked.store(outcome.is_pending(), Ordering::Relaxed);
        if outcome.is_ready() {
            self.progress();
        }
    }
}

/// The socket of a connection, which notes when its client reads. TLS is above it: a TLS session takes up to
/// 64 KiB of a reply before the client has read any of it.
#[derive(Debug)]
pub(crate) struct WatchedStream<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> WatchedStream<S> {
    pub(crate) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.activity.note_write(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.activity.note_write(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_does_not_grow_old_while_its_request_is_handled() {
        let activity = Activity::new();
        let accepted = Instant::now();
        activity.set_handling(true);
        std::thread::sleep(Duration::from_millis(200));
        let before = activity.age_of_client();
        activity.set_handling(false);
        let others = accepted.elapsed().saturating_sub(Duration::from_millis(200));
        let limit = others + Duration::from_millis(20);
        assert!(before <= limit && activity.age_of_client() <= limit, "{before:?}");
        assert!(activity.age() >= Duration::from_millis(200));
    }
}
