//! tallyd: a metrics daemon for one host.
//!
//! This package contains the daemon and its commands, and assembles them from other crates: `engine`
//! aggregates samples into snapshots, `forwarders` delivers these, and `kamailio` polls Kamailio
//! servers.
//!
//! `ARCHITECTURE.md` explains how the crates and folders depend on each other.

pub mod admin;
pub mod cli;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod process;
pub mod runtime;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
