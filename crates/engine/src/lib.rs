//! The engine: receives samples on sockets and aggregates them into snapshots.
//!
//! ```text
//! listener::datagram → listener::recorder → protocol → aggregator::table    (a thread per socket)
//!     → aggregator::handover → aggregator::store → Snapshot                 (one thread)
//! ```
//!
//! The engine does not know destinations, commands or the configuration file: the daemon passes it
//! settings, and a function that receives each snapshot.

pub mod aggregator;
pub mod listener;
pub mod protocol;
pub mod rules;
pub mod series_filter;
pub mod sync;
pub mod sys;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
pub mod wake;
