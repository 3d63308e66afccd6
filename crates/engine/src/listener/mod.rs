//! Listeners: from the kernel's datagrams and streams to samples in a table.
//!
//! [`config`] has the settings of a socket, and [`bind`] opens it. Each bound socket has its own
//! thread, which runs [`datagram`] or [`stream`] with a [`Recorder`](recorder::Recorder). The
//! recorder decodes, adds the agent's tags, records into its table and counts. Nothing downstream
//! can block it.

use std::fmt;
use std::net::IpAddr;

pub mod allow;
pub mod bind;
pub mod bind_error;
pub mod config;
mod connections;
mod counts_by_word;
pub mod datagram;
pub mod diagnosis;
mod handshakes;
mod keepalive;
pub(crate) mod lines;
pub mod mirror;
pub mod obstacle;
mod opener;
pub(crate) mod packets;
pub mod passed;
mod pending_lines;
mod receive_buffer;
pub mod recorder;
mod recorder_context;
pub mod rejected;
mod rejected_line;
mod reordered;
mod sender_lookup;
pub mod senders;
mod shown;
pub mod signature;
pub mod socket_file;
pub mod stats;
mod statsd_recorder;
pub mod stream;
pub mod stream_config;
mod stream_input;
pub mod tap;
mod tcp;
pub mod tls_config;
mod tls_session;
pub mod tls_stats;
mod transport;
pub mod udp;
pub mod unix;

pub use self::config::{ListenerConfig, ListenerSection};
pub use self::transport::Transport;
pub use crate::protocol::dispatch::Protocol;

/// The sender of a message, converted to text only where it is shown.
pub trait Origin: fmt::Display {
    /// The canonical IP address; `None` if the sender has none, or if it was not looked up.
    fn ip(&self) -> Option<IpAddr>;
}

/// A name without an address.
impl Origin for str {
    fn ip(&self) -> Option<IpAddr> {
        None
    }
}

impl<O: Origin + ?Sized> Origin for &O {
    fn ip(&self) -> Option<IpAddr> {
        (**self).ip()
    }
}
