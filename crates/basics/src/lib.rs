//! Small types that all other crates share: durations and sizes, addresses, globs, secrets, times, clocks,
//! escaped text.
//!
//! This crate depends on no other crate of tallyd, and has no notion of metrics.

pub mod address;
pub mod bounded_read;
pub mod bounds;
pub mod clocks;
pub mod escape;
pub mod exposure;
pub mod globs;
pub mod host_name;
pub mod largest;
#[cfg(feature = "test-util")]
pub mod log_capture;
pub mod log_throttle;
pub mod scalar_text;
pub mod tcp_listeners;
pub mod text;
pub mod time;
pub mod units;
