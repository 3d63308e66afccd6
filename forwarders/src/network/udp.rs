//! UDP sockets for destinations that receive datagrams.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

/// How long a host may take to report that no program listens.
const REFUSAL_WAIT: Duration = Duration::from_millis(100);

/// Opens a socket to the first of the addresses that does not refuse datagrams. A single address is
/// asked only if `asks`: there is no other one to choose.
pub(crate) async fn open_udp(addresses: &[SocketAddr], asks: bool) -> io::Result<UdpSocket> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        let socket = open_one(*address).await;
        let asked = match &socket {
            Ok(socket) if asks || addresses.len() > 1 => ask(socket).await,
            _ => Ok(()),
        };
        match asked.and(socket) {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn open_one(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // The kernel reports refused datagrams to connected sockets only.
    socket.connect(address).await?;
    Ok(socket)
}

/// Asks for a refusal with an empty datagram, which receivers ignore.
pub(crate) async fn ask(socket: &UdpSocket) -> io::Result<()> {
    let refused = async {
        socket.send(&[]).await?;
        socket.recv(&mut [0; 1]).await
    };
    match timeout(REFUSAL_WAIT, refused).await {
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_address_that_does_not_refuse_datagrams_is_used() {
        let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let accepting = receiver.local_addr().unwrap();
        let refusing = SocketAddr::from(([127, 0, 0, 2], accepting.port()));
        for addresses in [[refusing, accepting], [accepting, refusing]] {
            let socket = open_udp(&addresses, false).await.unwrap();
            assert_eq!(socket.peer_addr().unwrap(), accepting);
        }
        let error = open_udp(&[refusing, refusing], false).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(open_udp(&[refusing], false).await.is_ok(), "it was not asked");
        assert!(open_udp(&[refusing], true).await.is_err());
    }
}
