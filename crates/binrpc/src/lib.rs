//! BINRPC, the protocol of Kamailio's `ctl` module: a codec and an async client.
//!
//! The codec is pure: bytes in, values out, and vice versa. The decoder accepts arbitrary bytes without
//! panicking or recursing, and uses no more memory than [`DecodeLimits`] allow. The client (feature
//! `client`, on by default) uses Unix sockets, TCP or UDP, within [`CallTimeouts`].
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use binrpc::{BinrpcClient, CallRequest, ClientOptions};
//!
//! let endpoint = "unix:/var/run/kamailio/kamailio_ctl".parse()?;
//! let mut client = BinrpcClient::new(endpoint, ClientOptions::default());
//! let reply = client.call(&CallRequest::new("core.uptime")).await?;
//! println!("{:?}", reply.records.first().and_then(|uptime| uptime.member("uptime")));
//! # Ok(())
//! # }
//! ```
//!
//! # Not supported
//!
//! Concurrent calls on one connection: Kamailio would execute them one after the other anyway.

#[cfg(feature = "client")]
pub mod client;
pub mod decode;
pub mod encode;
pub mod endpoint;
mod error;
pub mod packet;
#[cfg(feature = "client")]
mod random;
#[cfg(feature = "client")]
mod socket;
pub mod text;
#[cfg(feature = "client")]
mod udp;
pub mod value;
mod wire;

#[cfg(feature = "client")]
pub use client::{BinrpcClient, CallError, CallReply, CallStep, CallTimeouts, ClientOptions};
pub use decode::{DecodeLimits, decode};
pub use encode::{CallRequest, encode};
pub use endpoint::BinrpcEndpoint;
pub use error::{DecodeError, DecodeErrorKind};
pub use packet::{Fault, PacketHeader, PacketKind};
pub use value::{BinrpcText, BinrpcValue, Member, Thousandths};
