//! The HTTP server of the admin endpoint and of the Prometheus page.
//!
//! It bounds the resources of a client, and the time for which the client holds them. When all
//! connections are taken, a new connection replaces the connection that has made no progress for
//! longest. Clients that send nothing, or that do not read, therefore delay no other client. It
//! refuses requests under foreign host names, and, where the configuration says so, of clients that do
//! not prove who they are.

mod accept;
mod access;
mod activity;
mod connection;
mod connections;
mod guard;
mod handshake;
mod hosts;
mod long_replies;
mod reply;
mod server;
mod shared;
mod site;
mod stats;
#[cfg(test)]
mod tests;
mod tls;

pub use self::accept::PeerUser;
pub use self::access::{
    Access, AccessConfig, AccessError, AccessLimits, AccessToken, AccessVersion, Identity,
    PasswordHash, UserName,
};
pub use self::guard::PathAccess;
pub use self::hosts::AllowedHosts;
pub use self::reply::{LongReply, ReplyBody};
pub use self::server::HttpServer;
pub use self::shared::HttpLimits;
pub use self::site::SiteService;
pub use self::stats::{HttpServerCounts, HttpServerStats};
pub use self::tls::ServerTls;
