//! Wakes a listener thread that waits for its socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{read, write};

/// An event that ends [`Waker::wait`], and a flag that asks the listener to end.
#[derive(Debug)]
pub struct Waker {
    event: OwnedFd,
    stopping: AtomicBool,
}

impl Waker {
    /// Creates a waker.
    ///
    /// # Errors
    /// When the process has no file descriptors left.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { event, stopping: AtomicBool::new(false) })
    }

    /// Ends the current wait, or the next one.
    pub fn wake(&self) {
        // Fails only if the counter is at its maximum, and then the event is pending anyway.
        let _is_pending = write(&self.event, &1_u64.to_ne_bytes());
    }

    /// Asks the listener to read what its socket still holds, and to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether the listener was asked to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Waits until woken.
    pub fn wait_alone(&self) {
        let mut watched = [PollFd::from_borrowed_fd(self.event.as_fd(), PollFlags::IN)];
        // An interrupt ends the wait as well, which callers tolerate: they check why they were
        // woken.
        let _interrupted = poll(&mut watched, None);
        let _counter = read(&self.event, &mut [0; 8]);
    }

    /// Waits until the socket is readable, the thread is woken, or `until` has passed.
    ///
    /// # Errors
    /// The error of `poll(2)`. An interrupt by a signal is not an error.
    pub fn wait(&self, socket: BorrowedFd<'_>, until: Option<Instant>) -> io::Result<()> {
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut watched = [
            PollFd::from_borrowed_fd(socket, PollFlags::IN),
            PollFd::from_borrowed_fd(self.event.as_fd(), PollFlags::IN),
        ];
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if watched[1].revents().contains(PollFlags::IN) {
            // Resets the counter. No other thread reads it, so this cannot fail.
            let _counter = read(&self.event, &mut [0; 8]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_wake_before_the_wait_ends_it() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let waker = Waker::new().unwrap();
        waker.wake();
        waker.wake();
        waker.wait(socket.as_fd(), None).unwrap();
        assert!(!waker.is_stopping());
        waker.stop();
        waker.wait(socket.as_fd(), None).unwrap();
        assert!(waker.is_stopping());
    }

    #[test]
    fn a_wait_ends_on_time_even_if_the_time_is_past() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let waker = Waker::new().unwrap();
        let start = Instant::now();
        waker.wait(socket.as_fd(), Some(start + Duration::from_millis(5))).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(5));
        waker.wait(socket.as_fd(), Some(start)).unwrap();
    }
}
