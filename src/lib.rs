//! tallyd: a metrics daemon for one host.
//!
//! This package is the daemon and its commands. What they consist of is in other crates: `engine`
//! makes a snapshot of what clients send, `forwarders` delivers it, `kamailio` polls.
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
