//! How a snapshot leaves the process.
//!
//! This crate defines what a [`Snapshot`](model::Snapshot) is, what a [`Forwarder`] has to do, and
//! every destination. It knows nothing of datagrams, JSON messages, YAML or signals: the daemon
//! decides how a snapshot is made.
//!
//! # The way of a snapshot
//!
//! ```text
//! QueueHandle::push → SelectConfig::apply → Backlog → DeliveryLoop → Forwarder::encode → send
//!                                        ⇅ SpoolWriter: the spool
//! ```
//!
//! Each destination has its own backlog and its own task, so that one that is slow or down holds up
//! nothing but itself. [`ForwarderStats`](stats::ForwarderStats) is its ledger.
//!
//! # Adding a forwarder
//!
//! 1. A folder or file in `src/` with its configuration, its encoder and an `impl Forwarder`;
//!    bytes that others write too come from [`mod@format`].
//! 2. A cargo feature of its name in `Cargo.toml`, with the dependencies that only it needs.
//! 3. In `registry.rs` a field of [`ForwardersConfig`] and a line in `build`, which does not
//!    compile as long as a section is declared and not built.
//! 4. Its section in `etc/tallyd.yaml`, a page in `docs/forwarders/`, tests beside the code.

pub mod advice;
pub mod config;
pub mod delivery;
pub mod format;
pub mod naming;
pub mod select;
pub mod spool;

#[cfg(feature = "console")]
pub mod console;
pub mod debug;
#[cfg(feature = "file")]
pub mod file;
#[cfg(feature = "graphite")]
pub mod graphite;
#[cfg(any(feature = "graphite", feature = "statsd"))]
mod groups;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "influxdb")]
pub mod influxdb;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "prometheus")]
pub mod prometheus;
mod registry;
#[cfg(feature = "statsd")]
pub mod statsd;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
#[cfg(any(feature = "graphite", feature = "statsd"))]
mod udp;

pub use delivery::forwarder::{ErrorClass, Forwarder, SendError};
pub use delivery::section::BuildContext;
pub use delivery::{payload, stats};
pub use registry::{BuildError, ForwardersConfig, KeyError};
