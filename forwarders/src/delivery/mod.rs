//! From a pushed snapshot to a settled one: the queue of each destination and the task that works it
//! off.

pub(crate) mod backlog;
pub mod backoff;
pub(crate) mod courier;
pub mod driver;
pub(crate) mod replay;
