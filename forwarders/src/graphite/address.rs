//! Finding carbon: a name becomes addresses, one of them a connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::timeout;

use super::config::{Address, Protocol};
use crate::forwarder::SendError;

const NO_ADDRESS: &str = "the name has no address";

/// Where to send, and how to say so.
#[derive(Clone, Debug)]
pub(super) struct Target {
    host: String,
    port: u16,
}

impl Target {
    pub(super) fn new(address: &Address, protocol: Protocol) -> Self {
        Self { host: address.host().to_owned(), port: address.port(protocol) }
    }

    /// Connects to the first address that answers; each gets its share of the time.
    pub(super) async fn connect(&self, within: Duration) -> Result<TcpStream, String> {
        let addresses = self.look_up().await?;
        let share = within / addresses.len().max(1) as u32;
        let mut last = None;
        for address in addresses {
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = Some(error.to_string()),
                Err(_) => last = Some(format!("no answer within {share:?}")),
            }
        }
        Err(last.unwrap_or_else(|| NO_ADDRESS.to_owned()))
    }

    /// A socket that sends there, and hears when nobody listens.
    pub(super) async fn udp(&self) -> Result<UdpSocket, String> {
        let addresses = self.look_up().await?;
        let address = addresses.first().ok_or(NO_ADDRESS)?;
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let socket = async {
            let socket = UdpSocket::bind(any).await?;
            socket.connect(address).await?;
            Ok::<_, io::Error>(socket)
        };
        socket.await.map_err(|error| error.to_string())
    }

    /// An error that names the address.
    pub(super) fn error(&self, words: impl fmt::Display) -> SendError {
        SendError::transient(format!("{self}: {words}"))
    }

    async fn look_up(&self) -> Result<Vec<SocketAddr>, String> {
        let found = lookup_host((self.host.as_str(), self.port)).await;
        Ok(found.map_err(|error| error.to_string())?.collect())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(formatter, "[{host}]:{port}")
        } else {
            write!(formatter, "{host}:{port}")
        }
    }
}
