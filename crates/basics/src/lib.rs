//! Leaf types that every other crate shares.
//!
//! This crate depends on nothing of tallyd and knows nothing of metrics: durations and sizes as
//! operators write them, addresses, globs, secrets, times, escaped text.

pub mod address;
pub mod escape;
pub mod globs;
pub mod largest;
pub mod log_throttle;
pub mod text;
pub mod time;
pub mod units;
