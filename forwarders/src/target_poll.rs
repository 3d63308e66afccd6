//! Polls of one target on request, such as a Kamailio.
//!
//! This crate knows only the interface. The daemon provides the polls, so that nothing here depends on
//! the protocol of a target.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use model::Point;

/// The result of a poll.
#[derive(Debug)]
pub struct PolledTarget {
    /// The points, at most one for each series.
    pub points: Vec<Point>,
    /// Why the poll failed; the points are then those received before.
    pub failure: Option<String>,
}

/// A running poll. Fails with a sentence if the text is no address of a target.
pub type TargetPoll = Pin<Box<dyn Future<Output = Result<PolledTarget, String>> + Send>>;

/// Polls the target with this address once, within a time limit.
pub type TargetPoller = fn(String, Duration) -> TargetPoll;
