//! BINRPC, the protocol of Kamailio's `ctl` module: a codec and an async client.
//!
//! The codec is pure: bytes in, values out, and the other way round. Whatever the bytes are, it does
//! not panic, does not recurse, and holds no more than [`Limits`] allow. The client (feature `client`,
//! on by default) speaks it over Unix sockets, TCP and UDP, within [`Timeouts`].
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use binrpc::{Client, Options, Request};
//!
//! let endpoint = "unix:/var/run/kamailio/kamailio_ctl".parse()?;
//! let mut client = Client::new(endpoint, Options::default());
//! let reply = client.call(&Request::new("core.uptime")).await?;
//! println!("{:?}", reply.records.first().and_then(|uptime| uptime.member("uptime")));
//! # Ok(())
//! # }
//! ```
//!
//! # Missing
//!
//! Calls that overlap on one connection: Kamailio answers one after the other anyway.

#[cfg(feature = "client")]
pub mod client;
pub mod decode;
pub mod encode;
pub mod endpoint;
pub mod packet;
#[cfg(feature = "client")]
mod socket;
pub mod text;
pub mod value;

#[cfg(feature = "client")]
pub use client::{CallError, Client, Options, Reply, Timeouts};
pub use decode::{DecodeError, Limits, decode};
pub use encode::{Request, encode};
pub use endpoint::Endpoint;
pub use packet::{Fault, Header, Kind};
pub use value::{Member, Text, Thousandths, Value};
