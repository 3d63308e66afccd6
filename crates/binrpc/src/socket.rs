//! A client socket of any of the four transports.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdUnixDatagram};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixDatagram, UnixStream};

use crate::endpoint::{BinrpcEndpoint, HostPort};
use crate::random::random;
use crate::udp::UdpPeers;

/// Bytes reserved for a read from a stream.
const CHUNK: usize = 64 << 10;
/// Longest datagram over UDP.
const UDP_MAX: usize = 65_535;
/// Longest datagram that fits into the default buffer of a Unix socket on Linux.
const UNIX_DATAGRAM_MAX: usize = 256 << 10;

/// A connected socket.
#[derive(Debug)]
pub(crate) enum ClientSocket {
    Unix(UnixStream),
    Tcp(TcpStream),
    UnixDatagram(UnixDatagram),
    Udp(UdpPeers),
}

impl ClientSocket {
    pub(crate) async fn connect(endpoint: &BinrpcEndpoint) -> io::Result<Self> {
        match endpoint {
            BinrpcEndpoint::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
            BinrpcEndpoint::UnixDatagram(path) => unix_datagram(path).map(Self::UnixDatagram),
            BinrpcEndpoint::Tcp(HostPort { name, port }) => {
                let stream = TcpStream::connect((name.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            BinrpcEndpoint::Udp(HostPort { name, port }) => {
                UdpPeers::connect(name, *port).await.map(Self::Udp)
            }
        }
    }

    /// Sends a whole packet.
    pub(crate) async fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.write_all(packet).await,
            Self::Tcp(stream) => stream.write_all(packet).await,
            Self::UnixDatagram(socket) => socket.send(packet).await.map(drop),
            Self::Udp(peers) => peers.send(packet).await,
        }
    }

    /// Waits for bytes and appends them. 0 bytes mean the end of a stream.
    pub(crate) async fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => {
                buffer.reserve(CHUNK);
                stream.read_buf(buffer).await
            }
            Self::Tcp(stream) => {
                buffer.reserve(CHUNK);
                stream.read_buf(buffer).await
            }
            Self::UnixDatagram(socket) => {
                buffer.reserve(UNIX_DATAGRAM_MAX);
                socket.recv_buf(buffer).await
            }
            Self::Udp(peers) => {
                buffer.reserve(UDP_MAX);
                peers.receive(buffer).await
            }
        }
    }

    /// Whether the transport is a byte stream, which has no datagram boundaries.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self, Self::Unix(_) | Self::Tcp(_))
    }

    /// Whether a packet may continue in another datagram. Over UDP it may not: datagrams can be lost or
    /// reordered, and a packet does not number them.
    pub(crate) fn can_continue_packet(&self) -> bool {
        !matches!(self, Self::Udp(_))
    }
}

/// Connects a datagram socket that is bound to an address for replies. The address is in the abstract
/// namespace, so it needs no file that Kamailio's user can access.
fn unix_datagram(path: &Path) -> io::Result<UnixDatagram> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("binrpc-{}-{number}-{:08x}", std::process::id(), random());
    let socket = StdUnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    socket.connect(path)?;
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}
