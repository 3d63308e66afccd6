//! The HTTP server of the admin endpoint and of the Prometheus page.
//!
//! It bounds what a client can hold, and for how long. When all connections are taken, a new one
//! replaces the one that has made no progress for longest: clients that say nothing, or that do not
//! read, delay nobody else. It answers no request by the name of another site.

mod activity;
mod connections;
mod guard;
mod hosts;
mod reply;
mod server;
mod stats;
#[cfg(test)]
mod tests;

pub use self::guard::PathAccess;
pub use self::hosts::AllowedHosts;
pub use self::reply::{LongReply, ReplyBody};
pub use self::server::{HttpLimits, HttpServer, SiteService};
pub use self::stats::{HttpServerCounts, HttpServerStats};
