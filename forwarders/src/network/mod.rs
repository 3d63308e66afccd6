//! Connections of destinations: the addresses of a name, datagrams, streams.

pub(crate) mod host;
#[cfg(any(feature = "graphite", feature = "statsd"))]
pub(crate) mod tcp;
#[cfg(any(feature = "graphite", feature = "statsd"))]
pub(crate) mod udp;
#[cfg(any(feature = "graphite", feature = "statsd"))]
pub(crate) mod unacked;
