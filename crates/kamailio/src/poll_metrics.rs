//! The names of the metrics about the polls themselves.

/// Whether the latest poll got a reply or a fault for every call: 1 or 0.
pub(crate) const UP: &str = "kamailio.up";
/// The duration of the latest poll.
pub(crate) const DURATION: &str = "kamailio.poll.duration_seconds";
/// The number of polls. A series of it in a window means that the server with its tags was polled.
pub(crate) const COUNT: &str = "kamailio.poll.count";
/// The number of polls that failed.
pub(crate) const FAILURES: &str = "kamailio.poll.failures";
/// Whether the latest poll succeeded and Kamailio refused no listed method: 1 or 0.
pub(crate) const COMPLETE: &str = "kamailio.poll.complete";
/// The number of polls that were not complete.
pub(crate) const INCOMPLETE: &str = "kamailio.poll.incomplete";
/// The number of times that Kamailio refused a method.
pub(crate) const FAULTS: &str = "kamailio.method.faults";

/// All of them.
pub(crate) const ALL: [&str; 7] = [UP, DURATION, COUNT, FAILURES, COMPLETE, INCOMPLETE, FAULTS];
