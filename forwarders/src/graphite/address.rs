//! Resolves carbon's name and connects to one of its addresses.

use std::fmt;
use std::time::Duration;

use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::timeout;

use super::config::{Address, Protocol};
use crate::delivery::forwarder::SendError;
use crate::udp::{NO_ADDRESS, open_udp};
use basics::address::write_host_and_port;

/// The host and port of carbon, for connections and for error messages.
#[derive(Clone, Debug)]
pub(super) struct Target {
    host: String,
    port: u16,
}

impl Target {
    pub(super) fn new(address: &Address, protocol: Protocol) -> Self {
        Self { host: address.host().to_owned(), port: address.port(protocol) }
    }

    /// Connects to the first address that answers within its share of the time.
    pub(super) async fn connect(&self, within: Duration) -> Result<TcpStream, String> {
        let found = lookup_host((self.host.as_str(), self.port)).await;
        let addresses: Vec<_> = found.map_err(|error| error.to_string())?.collect();
        // Without shares, one address that drops packets would use up the time of all others.
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

    /// Opens a socket that sends to carbon and reports an error if no program listens there.
    pub(super) async fn udp(&self) -> Result<UdpSocket, String> {
        open_udp(&self.host, self.port).await.map_err(|error| error.to_string())
    }

    /// Returns an error that names the address.
    pub(super) fn error(&self, words: impl fmt::Display) -> SendError {
        SendError::transient(format!("{self}: {words}"))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_host_and_port(formatter, &self.host, self.port)
    }
}
