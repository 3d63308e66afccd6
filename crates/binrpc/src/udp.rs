//! A UDP socket to a name that may have several addresses.

use std::io;
use std::net::SocketAddr;

use tokio::net::{UdpSocket, lookup_host};

/// A connected socket, and the addresses of the name that were not tried yet.
///
/// Connecting does not reveal whether a program listens at an address. A host reports that only
/// after a packet, which then goes to the next address.
#[derive(Debug)]
pub(crate) struct UdpPeers {
    socket: UdpSocket,
    /// In reverse order.
    rest: Vec<SocketAddr>,
    /// The packet that waits for a reply.
    packet: Vec<u8>,
}

impl UdpPeers {
    pub(crate) async fn connect(name: &str, port: u16) -> io::Result<Self> {
        let rest: Vec<_> = lookup_host((name, port)).await?.collect();
        Self::connect_first(rest).await
    }

    async fn connect_first(mut rest: Vec<SocketAddr>) -> io::Result<Self> {
        rest.reverse();
        let failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let socket = next(&mut rest, failure).await?;
        Ok(Self { socket, rest, packet: Vec::new() })
    }

    /// Sends a packet.
    pub(crate) async fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        self.packet.clear();
        self.packet.extend_from_slice(packet);
        while let Err(error) = self.socket.send(&self.packet).await {
            self.socket = next(&mut self.rest, error).await?;
        }
        Ok(())
    }

    /// Waits for a datagram and appends it. If the host refuses the packet, sends it to the next
    /// address.
    pub(crate) async fn receive(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            match self.socket.recv_buf(buffer).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    self.socket = next(&mut self.rest, error).await?;
                    let packet = std::mem::take(&mut self.packet);
                    self.send(&packet).await?;
                }
                received => return received,
            }
        }
    }
}

/// Connects to the next address that the kernel has a route to. Returns the last failure if there is
/// none.
async fn next(rest: &mut Vec<SocketAddr>, mut failure: io::Error) -> io::Result<UdpSocket> {
    while let Some(address) = rest.pop() {
        match connected(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn connected(address: SocketAddr) -> io::Result<UdpSocket> {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_packet_goes_to_the_next_address_after_a_refusal() {
        let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = peer.local_addr().unwrap();
        let closed = |ip: [u8; 4]| SocketAddr::from((ip, at.port()));
        let all = vec![closed([127, 0, 0, 2]), closed([127, 0, 0, 3]), at];
        let mut peers = UdpPeers::connect_first(all).await.unwrap();
        for round in 0..2 {
            peers.send(&[round, 7]).await.unwrap();
            let answer = async {
                let mut bytes = [0; 9];
                let (length, from) = peer.recv_from(&mut bytes).await.unwrap();
                peer.send_to(&bytes[..length], from).await.unwrap();
            };
            let mut buffer = Vec::with_capacity(100);
            let (received, ()) = tokio::join!(peers.receive(&mut buffer), answer);
            assert_eq!((received.unwrap(), buffer.as_slice()), (2, [round, 7].as_slice()));
        }
        drop(peer);
        peers.send(b"x").await.unwrap();
        let error = peers.receive(&mut Vec::with_capacity(100)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "there is no other address");
    }
}
