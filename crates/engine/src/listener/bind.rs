//! From a listener's configuration to bound sockets.

use std::sync::Arc;

use super::bind_error::BindError;
use super::config::{Endpoint, ListenerConfig};
use super::datagram::BoundDatagrams;
use super::passed::PassedSockets;
use super::recorder::Recorder;
use super::stats::ListenerStats;
use super::stream::BoundStream;
use super::{Protocol, tcp, udp, unix};
use crate::wake::Waker;

/// A bound socket, not read yet. Until it is, the kernel holds what comes.
#[derive(Debug)]
pub enum BoundListener {
    /// Datagrams, over IP or on this host.
    Datagrams(BoundDatagrams),
    /// Connections, over IP or on this host.
    Stream(BoundStream),
}

/// Binds the sockets of a listener: a `udp` one has as many as threads, others have one. What was
/// passed for its place is bound already.
///
/// # Errors
/// When the place is taken, not of this host, or needs a privilege.
pub fn bind(
    config: &ListenerConfig,
    options: udp::UdpBindOptions,
    passed: &mut PassedSockets,
) -> Result<Vec<BoundListener>, BindError> {
    let protocol = config.protocol;
    Ok(match &config.endpoint {
        Endpoint::Udp(udp) => {
            let bound = udp::bind(protocol, udp, options, passed)?;
            bound.into_iter().map(BoundListener::Datagrams).collect()
        }
        Endpoint::Tcp(tcp) => vec![BoundListener::Stream(tcp::bind(protocol, tcp, passed)?)],
        Endpoint::Unix(unix) => {
            vec![BoundListener::Stream(unix::bind_stream(protocol, unix, passed)?)]
        }
        Endpoint::UnixDatagram(unix) => {
            vec![BoundListener::Datagrams(unix::bind_datagrams(protocol, unix, passed)?)]
        }
    })
}

impl BoundListener {
    /// What its clients speak.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Datagrams(bound) => bound.protocol(),
            Self::Stream(bound) => bound.protocol(),
        }
    }

    /// The counts of this socket.
    #[must_use]
    pub fn stats(&self) -> &Arc<ListenerStats> {
        match self {
            Self::Datagrams(bound) => bound.stats(),
            Self::Stream(bound) => bound.stats(),
        }
    }

    /// Reads until stopped, then what the kernel still holds.
    pub fn run(self, recorder: Recorder, waker: &Waker) {
        match self {
            Self::Datagrams(bound) => bound.run(recorder, waker),
            Self::Stream(bound) => bound.run(recorder, waker),
        }
    }
}
