//! An event that a thread can wait for together with a socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{read, write};

/// An event that stays raised until a wait has seen it.
#[derive(Debug)]
pub struct Event(OwnedFd);

impl Event {
    /// Creates an event that is not raised.
    ///
    /// # Errors
    /// When the process has no file descriptors left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
    }

    /// Ends the current wait, or the next one.
    pub fn raise(&self) {
        // Fails only if the counter is at its maximum, and then the event is pending anyway.
        let _is_pending = write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Waits until raised.
    pub fn wait(&self) {
        let mut watched = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
        // An interrupt ends the wait as well, which callers tolerate: they check why they were
        // woken.
        let _interrupted = poll(&mut watched, None);
        self.reset();
    }

    /// Waits until the socket is readable, the event is raised, or `until` has passed.
    ///
    /// # Errors
    /// The error of `poll(2)`. An interrupt by a signal is not an error.
    pub fn wait_with(&self, socket: BorrowedFd<'_>, until: Option<Instant>) -> io::Result<()> {
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut watched = [
            PollFd::from_borrowed_fd(socket, PollFlags::IN),
            PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN),
        ];
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if watched[1].revents().contains(PollFlags::IN) {
            self.reset();
        }
        Ok(())
    }

    fn reset(&self) {
        // Fails only if the event is not raised: no other thread reads the counter.
        let _counter = read(&self.0, &mut [0; 8]);
    }
}
