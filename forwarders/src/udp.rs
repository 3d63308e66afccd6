//! UDP sockets for destinations that receive datagrams.

use std::io;
use std::net::SocketAddr;

use tokio::net::{UdpSocket, lookup_host};

/// The error for a name that exists but has no address.
pub(crate) const NO_ADDRESS: &str = "the name has no address";

/// Opens a socket that sends to the first address of a host, and reports an error after a datagram to
/// which no program listened.
pub(crate) async fn open_udp(host: &str, port: u16) -> io::Result<UdpSocket> {
    let address = lookup_host((host, port)).await?.next();
    let address = address.ok_or_else(|| io::Error::other(NO_ADDRESS))?;
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // The kernel reports refused datagrams to connected sockets only.
    socket.connect(address).await?;
    Ok(socket)
}
