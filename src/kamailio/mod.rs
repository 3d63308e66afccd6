//! Kamailio, a SIP server: asked for its statistics over BINRPC.
//!
//! ```text
//! poller (a task an instance) → mapping → totals → intake (one thread) → aggregator::table
//! ```
//!
//! A poll waits for Kamailio and nobody waits for a poll: what it read goes through a channel to the
//! intake, which is to the aggregator what a listener is.

pub mod command;
pub mod config;
pub mod intake;
mod json;
pub mod mapping;
pub mod poller;
pub mod reading;
pub mod stats;
mod totals;

pub use config::KamailioSection;
