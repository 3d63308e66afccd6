//! Binds the sockets of a listener.

use std::sync::Arc;

use super::bind_error::BindError;
use super::config::{ListenerConfig, ListenerEndpoint};
use super::datagram::BoundDatagrams;
use super::passed::PassedSockets;
use super::recorder::Recorder;
use super::stats::ListenerStats;
use super::stream::BoundStream;
use super::{Protocol, tcp, udp, unix};
use crate::wake::Waker;

/// A bound socket. Until it is read, the kernel buffers incoming data.
#[derive(Debug)]
pub enum BoundListener {
    /// A datagram socket, UDP or Unix.
    Datagrams(BoundDatagrams),
    /// A listening socket, TCP or Unix.
    Stream(BoundStream),
}

/// Binds the sockets of a listener: one per thread for `udp`, otherwise one. Uses sockets passed by
/// the service manager for the same address first.
///
/// # Errors
/// When the address is in use, does not belong to this host, or requires a privilege.
pub fn bind(
    config: &ListenerConfig,
    options: udp::UdpBindOptions,
    passed: &mut PassedSockets,
) -> Result<Vec<BoundListener>, BindError> {
    let protocol = config.protocol;
    Ok(match &config.endpoint {
        ListenerEndpoint::Udp(udp) => {
            let bound = udp::bind(protocol, udp, options, passed)?;
            bound.into_iter().map(BoundListener::Datagrams).collect()
        }
        ListenerEndpoint::Tcp(tcp) => {
            vec![BoundListener::Stream(tcp::bind(protocol, tcp, passed)?)]
        }
        ListenerEndpoint::Unix(unix) => {
            vec![BoundListener::Stream(unix::bind_stream(protocol, unix, passed)?)]
        }
        ListenerEndpoint::UnixDatagram(unix) => {
            vec![BoundListener::Datagrams(unix::bind_datagrams(protocol, unix, passed)?)]
        }
    })
}

impl BoundListener {
    /// The protocol of its clients.
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

    /// Reads until stopped, then drains the data that the kernel has buffered.
    pub fn run(self, recorder: Recorder, waker: &Waker) {
        match self {
            Self::Datagrams(bound) => bound.run(recorder, waker),
            Self::Stream(bound) => bound.run(recorder, waker),
        }
    }
}
