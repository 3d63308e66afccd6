//! Delivers snapshots to destinations.
//!
//! This crate contains the trait [`Forwarder`], the delivery of each [`Snapshot`](model::Snapshot), and
//! every destination. It knows nothing of datagrams, JSON messages, YAML or signals: the daemon
//! decides how a snapshot is made.
//!
//! # The path of a snapshot
//!
//! ```text
//! QueueHandle::push → SelectConfig::apply → Backlog → DeliveryLoop → Forwarder::encode → send
//!                                        ⇅ SpoolWriter: the spool
//! ```
//!
//! Each destination has its own backlog and its own task, so that a slow or unavailable destination
//! delays no other. [`ForwarderStats`](stats::ForwarderStats) is its ledger.
//!
//! CONTRIBUTING.md describes how to add a forwarder.

pub mod advice;
mod bounded;
pub mod config;
pub mod delivery;
pub mod format;
pub mod naming;
pub mod restart;
pub mod select;
pub mod spool;
pub mod target_poll;

#[cfg(feature = "console")]
pub mod console;
pub mod debug;
#[cfg(feature = "file")]
pub mod file;
#[cfg(feature = "graphite")]
pub mod graphite;
#[cfg_attr(
    not(all(feature = "graphite", feature = "statsd", feature = "influxdb")),
    allow(dead_code, reason = "each destination uses another part")
)]
mod groups;
mod host_resource;
#[cfg(feature = "http")]
pub mod http;
pub mod idle;
#[cfg(feature = "influxdb")]
pub mod influxdb;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(any(feature = "graphite", feature = "http", feature = "statsd"))]
mod network;
#[cfg(feature = "otlp")]
pub mod otlp;
#[cfg(any(feature = "console", feature = "file"))]
mod output;
#[cfg(feature = "prometheus")]
pub mod prometheus;
mod registry;
#[cfg(feature = "statsd")]
pub mod statsd;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;

pub use delivery::forwarder::{
    ErrorClass, Forwarder, InvalidState, ReleasedSockets, SavedState, SendError,
};
pub use delivery::section::BuildContext;
pub use delivery::{payload, stats};
pub use host_resource::HostResource;
pub use registry::{BuildError, ForwardersConfig, KeyError, SectionIdle, SectionResource};
