//! Everything about Kamailio, a SIP server: polls its statistics over BINRPC, maps the replies to
//! samples, and knows the names that older exporters gave them.
//!
//! ```text
//! poller (a task for each server) → mapping → totals → intake (one thread) → engine's table
//! ```
//!
//! A poll waits for Kamailio, so polls run as tasks and send their readings through a channel to the
//! intake, which is a listener to the aggregator.
//!
//! # Adding a method
//!
//! [`methods::METHODS`] is the only list of methods. A method that answers with numbers in structs
//! needs no entry: `methods` in the configuration accepts it, and the generic mapping names its
//! readings. An entry gives it default arguments, a specific mapping function, or a place among the default
//! methods.

pub mod call;
pub mod config;
pub mod intake;
mod mapping;
mod method_state;
pub mod methods;
pub mod naming;
mod poll_metrics;
pub mod poller;
pub mod reading;
pub mod scrape;
pub mod stats;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
mod totals;

pub use config::KamailioSection;
