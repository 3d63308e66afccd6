//! From a pushed snapshot to a delivered one.
//!
//! ```text
//! QueueHandle ──push──▶ Backlog ──▶ DeliveryLoop ──▶ Forwarder
//!                          ⇅
//!                      SpoolLoop ──▶ SpoolWriter
//! ```
//!
//! `forwarder`, `payload` and `section` are the contract with a destination's folder.
//! `destination`, `launch`, `handle` and `task` are the life of a destination. Where its
//! windows and points are is decided in `backlog` and counted in `ledger`.

mod backlog;
pub mod backoff;
mod delivery_log;
mod delivery_loop;
pub mod destination;
pub(crate) mod forwarder;
pub mod handle;
mod launch;
mod ledger;
pub mod payload;
pub mod reason;
mod replay;
pub mod section;
pub mod settings;
mod shared_backlog;
mod spool_loop;
pub mod stats;
pub mod task;
#[cfg(test)]
mod tests;
mod window_parts;
