//! tallyd: a metrics daemon for one host.
//!
//! Programs throw small JSON messages at it; it adds the host's tags, aggregates per window and
//! forwards the result. This library is how a snapshot is made; the `forwarders` crate is what a
//! snapshot is and how it leaves the process.
//!
//! # The way of a datagram
//!
//! ```text
//! listener::datagram → listener::recorder → protocol → aggregator::table    (a thread a socket)
//!     → aggregator::handover → aggregator::store → Snapshot                 (one thread)
//!     → forwarders::driver                                                  (a task each)
//! ```
//!
//! `ARCHITECTURE.md` tells more, and what must stay absent where.

pub mod admin;
pub mod aggregator;
pub mod bench;
pub mod check;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
mod diagnosis;
pub mod explain;
pub mod kamailio;
pub mod listener;
mod lock;
pub mod logging;
pub mod observed;
pub mod own;
pub mod process;
pub mod protocol;
pub mod reload;
pub mod send;
pub mod service;
pub mod spool;
mod sys;
pub mod tap;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
pub mod top;
