//! Polls Kamailio, a SIP server, for its statistics over BINRPC.
//!
//! ```text
//! poller (a task an instance) → mapping → totals → intake (one thread) → engine::aggregator::table
//! ```
//!
//! A poll waits for Kamailio and nobody waits for a poll: its readings go through a channel to the
//! intake, which is to the aggregator what a listener is.

pub mod config;
pub mod intake;
pub mod mapping;
pub mod poller;
pub mod reading;
pub mod stats;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
mod totals;

pub use config::KamailioSection;
