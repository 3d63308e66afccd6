//! From sockets to snapshots.
//!
//! ```text
//! listener::datagram → listener::recorder → protocol → aggregator::table    (a thread a socket)
//!     → aggregator::handover → aggregator::store → Snapshot                 (one thread)
//! ```
//!
//! The engine knows no destination, no command and no configuration file: the daemon gives it its
//! settings and a function that takes each snapshot.

pub mod aggregator;
pub mod listener;
pub mod protocol;
pub mod sys;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
pub mod wake;
