//! From a pushed snapshot to a settled one: the queue of each destination and the task that works it
//! off.

pub(crate) mod backlog;
pub mod backoff;
pub(crate) mod delivery_loop;
pub mod destination;
pub(crate) mod forwarder;
pub mod payload;
pub(crate) mod replay;
pub mod section;
pub mod settings;
pub mod stats;
