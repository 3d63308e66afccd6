//! The primitives through which listeners, registry and aggregator share data.
//!
//! With `--cfg loom`, they are those of a model checker, which runs the tests in
//! `aggregator/thread/interleavings.rs`: see `scripts/loom.sh`. Otherwise these names cost nothing.

// The model checker is only a dependency of tests.
#[cfg(loom)]
#[cfg(test)]
mod modelled;

#[cfg(not(loom))]
mod event;

#[cfg(not(loom))]
pub use {
    event::Event,
    flume::{Receiver, RecvTimeoutError, Sender, bounded, unbounded},
    parking_lot::{Mutex, MutexGuard},
    std::sync::atomic::{AtomicBool, AtomicU64},
};

#[cfg(loom)]
pub use modelled::{
    AtomicBool, AtomicU64, Event, Mutex, MutexGuard, Receiver, RecvTimeoutError, Sender, bounded,
    unbounded,
};
