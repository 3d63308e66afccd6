//! Wakes a listener thread that waits for its socket.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::sync::{AtomicBool, Event};

/// An event that ends [`Waker::wait`], and a flag that asks the listener to end.
#[derive(Debug)]
pub struct Waker {
    event: Event,
    stopping: AtomicBool,
}

impl Waker {
    /// Creates a waker.
    ///
    /// # Errors
    /// When the process has no file descriptors left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { event: Event::new()?, stopping: AtomicBool::new(false) })
    }

    /// Ends the current wait, or the next one.
    pub fn wake(&self) {
        self.event.raise();
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
        self.event.wait();
    }

    /// Waits until the socket is readable, the thread is woken, or `until` has passed.
    ///
    /// # Errors
    /// The error of `poll(2)`. An interrupt by a signal is not an error.
    pub fn wait(&self, socket: BorrowedFd<'_>, until: Option<Instant>) -> io::Result<()> {
        self.event.wait_with(socket, until)
    }
}

#[cfg(not(loom))]
#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
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
