//! The primitives of the model checker, with the methods of those that they replace.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use flume::{RecvError, SendError, TryRecvError};
use loom::sync::Condvar;

pub use flume::RecvTimeoutError;
pub use loom::sync::MutexGuard;
pub use loom::sync::atomic::{AtomicBool, AtomicU64};

/// A lock that cannot be poisoned, because the model ends with the first panic.
#[derive(Debug)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// Creates an unlocked lock.
    pub fn new(data: T) -> Self {
        Self(loom::sync::Mutex::new(data))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }
}

/// An event that stays raised until a wait has seen it.
#[derive(Debug)]
pub struct Event {
    is_raised: Mutex<bool>,
    raised: Condvar,
}

impl Event {
    /// Creates an event that is not raised.
    ///
    /// # Errors
    /// None; the real event needs a file descriptor.
    pub fn new() -> io::Result<Self> {
        Ok(Self { is_raised: Mutex::new(false), raised: Condvar::new() })
    }

    /// Ends the current wait, or the next one.
    pub fn raise(&self) {
        *self.is_raised.lock() = true;
        self.raised.notify_one();
    }

    /// Waits until raised.
    pub fn wait(&self) {
        let mut is_raised = self.is_raised.lock();
        while !*is_raised {
            is_raised = self.raised.wait(is_raised).unwrap();
        }
        *is_raised = false;
    }

    /// Waits until raised: a model has no sockets and no time.
    ///
    /// # Errors
    /// None; waiting for a socket can fail.
    pub fn wait_with(&self, _socket: BorrowedFd<'_>, _until: Option<Instant>) -> io::Result<()> {
        self.wait();
        Ok(())
    }
}

#[derive(Debug)]
struct Channel<T> {
    state: Mutex<ChannelState<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct ChannelState<T> {
    messages: VecDeque<T>,
    senders: usize,
    has_receiver: bool,
}

/// The sending end of a channel.
#[derive(Debug)]
pub struct Sender<T>(Arc<Channel<T>>);

/// The receiving end of a channel.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Channel<T>>);

/// Creates a channel.
#[must_use]
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    let state = ChannelState { messages: VecDeque::new(), senders: 1, has_receiver: true };
    let channel = Arc::new(Channel { state: Mutex::new(state), changed: Condvar::new() });
    (Sender(Arc::clone(&channel)), Receiver(channel))
}

/// Creates a channel. Its capacity does not matter, because the engine never fills a channel.
#[must_use]
pub fn bounded<T>(_capacity: usize) -> (Sender<T>, Receiver<T>) {
    unbounded()
}

impl<T> Sender<T> {
    /// Sends a message, unless the receiver is gone.
    ///
    /// # Errors
    /// The message, if the receiver is gone.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        let mut state = self.0.state.lock();
        if !state.has_receiver {
            return Err(SendError(message));
        }
        state.messages.push_back(message);
        drop(state);
        self.0.changed.notify_one();
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.state.lock().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // After a panic, the model is no longer there.
        if !std::thread::panicking() {
            self.0.state.lock().senders -= 1;
            self.0.changed.notify_one();
        }
    }
}

impl<T> Receiver<T> {
    /// Takes the next message, if there is one.
    ///
    /// # Errors
    /// When there is none.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut state = self.0.state.lock();
        match state.messages.pop_front() {
            Some(message) => Ok(message),
            None if state.senders == 0 => Err(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// When all senders are gone.
    pub fn recv(&self) -> Result<T, RecvError> {
        let mut state = self.0.state.lock();
        loop {
            if let Some(message) = state.messages.pop_front() {
                return Ok(message);
            }
            if state.senders == 0 {
                return Err(RecvError::Disconnected);
            }
            state = self.0.changed.wait(state).unwrap();
        }
    }

    /// Waits for the next message. A deadline in the past allows no wait, and one in the future does
    /// not come: a model must not pass because a thread gives up waiting.
    ///
    /// # Errors
    /// When the deadline has passed, or all senders are gone.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        if deadline > Instant::now() {
            return self.recv().map_err(|_| RecvTimeoutError::Disconnected);
        }
        self.try_recv().map_err(|error| match error {
            TryRecvError::Empty => RecvTimeoutError::Timeout,
            TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
        })
    }

    /// The messages that have arrived.
    pub fn try_iter(&self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.try_recv().ok())
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let mut state = self.0.state.lock();
            state.has_receiver = false;
            let messages = std::mem::take(&mut state.messages);
            // Unlocked first: a message may be the end of another channel.
            drop(state);
            drop(messages);
        }
    }
}
