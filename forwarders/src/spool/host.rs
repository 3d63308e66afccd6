//! The clocks, the random numbers and the disk of the host, so that a simulated host can take their
//! place.

use std::path::Path;
#[cfg(any(test, feature = "test-util"))]
use std::{fmt::Debug, pin::Pin, sync::Arc};

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

use super::directory::{SpoolDirectory, SpoolOpenError};
#[cfg(any(test, feature = "test-util"))]
use super::disk::Disk;
use super::work::FoundWindows;
use basics::clocks::ClockReading;

/// Everything that delivery uses of its host, except the destinations.
#[derive(Clone, Debug, Default)]
pub enum Host {
    /// The host that the daemon runs on.
    #[default]
    Real,
    /// A host whose time, disk and random numbers a test determines.
    #[cfg(any(test, feature = "test-util"))]
    Simulated(Arc<dyn SimulatedHost>),
}

/// A host whose time, disk and random numbers a test determines. The monotonic clock is that of the
/// runtime.
#[cfg(any(test, feature = "test-util"))]
pub trait SimulatedHost: Debug + Send + Sync {
    /// The wall clock: the time since 1970.
    fn wall(&self) -> std::time::Duration;

    /// A random number.
    fn random(&self) -> u64;

    /// The disk.
    fn disk(&self) -> Box<dyn Disk>;

    /// Waits until a thread for blocking tasks begins a task.
    fn begin_blocking(&self) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Waits until this task ends, after its effects.
    fn end_blocking(&self) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

impl Host {
    /// Both clocks; the monotonic one is that of the runtime, which tests let run ahead.
    pub(crate) fn clocks(&self) -> ClockReading {
        let monotonic = Instant::now().into_std();
        match self {
            Self::Real => ClockReading { monotonic, ..ClockReading::now() },
            #[cfg(any(test, feature = "test-util"))]
            Self::Simulated(host) => ClockReading { monotonic, wall: host.wall() },
        }
    }

    /// A random number.
    pub(crate) fn random(&self) -> u64 {
        match self {
            Self::Real => rand::random(),
            #[cfg(any(test, feature = "test-util"))]
            Self::Simulated(host) => host.random(),
        }
    }

    /// A random number from 0 to 1.
    pub(crate) fn random_unit(&self) -> f64 {
        self.random() as f64 / u64::MAX as f64
    }

    /// Opens the folder of a spool.
    ///
    /// # Errors
    /// Like [`SpoolDirectory::open`].
    pub(super) fn open_spool(
        &self,
        root: &Path,
    ) -> Result<(SpoolDirectory, FoundWindows), SpoolOpenError> {
        match self {
            Self::Real => SpoolDirectory::open(root),
            #[cfg(any(test, feature = "test-util"))]
            Self::Simulated(host) => SpoolDirectory::open_on(host.disk(), root, None),
        }
    }

    /// Runs a task that may block on a thread for blocking tasks. It ends even if the handle is
    /// dropped.
    pub(super) fn spawn_blocking<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        match self {
            Self::Real => spawn_blocking(task),
            // On the thread of the runtime: with other threads, a seed would not reproduce a run.
            #[cfg(any(test, feature = "test-util"))]
            Self::Simulated(host) => {
                let host = Arc::clone(host);
                tokio::spawn(async move {
                    host.begin_blocking().await;
                    let outcome = task();
                    host.end_blocking().await;
                    outcome
                })
            }
        }
    }
}

#[cfg(test)]
mod tests;
