//! Delivers snapshots to destinations: queues, retries, spools to disk and accounts for each point.
//!
//! ```text
//! QueueHandle ──push──▶ Backlog ──▶ DeliveryLoop ──▶ Forwarder
//!                          ⇅
//!                      SpoolLoop ──▶ SpoolWriter
//! ```
//!
//! `forwarder`, `payload` and `section` are the interface that each kind of destination implements.
//! `destination`, `launch`, `handle` and `task` start, change and end a destination. `backlog`
//! decides where its windows are, and `ledger` counts where its points are.

mod backlog;
pub mod backoff;
mod delivery_log;
mod delivery_loop;
pub mod destination;
pub mod explained;
mod failure_reasons;
pub(crate) mod forwarder;
pub mod handle;
mod launch;
mod ledger;
pub mod output_watch;
pub mod payload;
pub mod reason;
mod replay;
pub mod section;
pub mod settings;
mod shared_backlog;
mod spool_clock;
mod spool_loop;
pub mod stats;
pub mod task;
#[cfg(test)]
mod tests;
mod window_parts;
mod write_ahead;

#[cfg(any(feature = "otlp", feature = "influxdb"))]
pub(crate) use window_parts::PART_POINTS;
