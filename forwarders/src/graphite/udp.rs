//! Sends datagrams to carbon, each with as many whole lines as fit.

use std::io;
use std::sync::Arc;

use memchr::memrchr;
use tokio::net::UdpSocket;

use crate::delivery::forwarder::SendError;
use crate::network::host::Host;
use crate::network::udp::{ask, open_udp};

/// Sends batches as datagrams. Their arrival cannot be confirmed; the only failure that becomes
/// known is a host's report that no program listens.
#[derive(Debug)]
pub(super) struct Udp {
    host: Arc<Host>,
    packet_bytes_max: usize,
    socket: Option<UdpSocket>,
    /// Number of bytes of the batch that have been sent.
    sent: usize,
}

impl Udp {
    pub(super) fn new(host: Arc<Host>, packet_bytes_max: usize) -> Self {
        Self { host, packet_bytes_max, socket: None, sent: 0 }
    }

    /// Sends a batch of lines, or the rest of it after an earlier attempt.
    ///
    /// May be dropped at any await; the next call continues from there.
    pub(super) async fn send(&mut self, batch: &[u8], is_new: bool) -> Result<(), SendError> {
        if is_new {
            self.sent = 0;
        }
        if let Err(error) = self.send_rest(batch).await {
            // The retry sends the whole batch, looks the name up again, and moves to an address that
            // does not refuse datagrams.
            (self.socket, self.sent) = (None, 0);
            self.host.distrust();
            return Err(self.error(&error));
        }
        self.sent = 0;
        Ok(())
    }

    async fn send_rest(&mut self, batch: &[u8]) -> io::Result<()> {
        let addresses = self.host.addresses().await?;
        let is_current =
            |socket: &UdpSocket| socket.peer_addr().is_ok_and(|peer| addresses.contains(&peer));
        let socket = match &mut self.socket {
            Some(socket) if is_current(socket) => socket,
            other => other.insert(open_udp(&addresses, false).await?),
        };
        send_all(socket, batch, self.packet_bytes_max, &mut self.sent).await
    }

    /// Sends an empty datagram and waits for a report that no program listens.
    pub(super) async fn probe(&mut self) -> Result<(), SendError> {
        let asked = async {
            let socket = open_udp(&self.host.addresses().await?, false).await?;
            ask(&socket).await
        };
        asked.await.map_err(|error| self.error(&error))
    }

    fn error(&self, error: &io::Error) -> SendError {
        SendError::transient(format!("{}: {}", self.host, words(error)))
    }
}

async fn send_all(
    socket: &UdpSocket,
    batch: &[u8],
    packet_bytes_max: usize,
    sent: &mut usize,
) -> io::Result<()> {
    while let Some(packet) = next_packet(&batch[*sent..], packet_bytes_max) {
        socket.send(packet).await?;
        *sent += packet.len();
    }
    // If carbon's host is this host, the report about the last datagram has already arrived.
    socket.take_error()?.map_or(Ok(()), Err)
}

/// Returns the whole lines that fit into a datagram. The encoder refuses longer lines.
fn next_packet(lines: &[u8], bytes_max: usize) -> Option<&[u8]> {
    if lines.is_empty() {
        return None;
    }
    let fits = &lines[..lines.len().min(bytes_max)];
    Some(memrchr(b'\n', fits).map_or(fits, |end| &fits[..=end]))
}

fn words(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        "no program receives datagrams there; is carbon's UDP listener on (ENABLE_UDP_LISTENER)?"
            .to_owned()
    } else {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn datagrams_are_whole_lines_up_to_their_size(lines in prop::collection::vec("[a-z]{1,499}", 1..50)) {
            let whole: Vec<u8> = lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect();
            let mut rest = whole.as_slice();
            let mut packets = 0;
            while let Some(packet) = next_packet(rest, 500) {
                prop_assert!(packet.len() <= 500 && packet.ends_with(b"\n"));
                rest = &rest[packet.len()..];
                packets += 1;
            }
            prop_assert!(rest.is_empty() && packets <= lines.len());
            prop_assert!(packets <= 1 + 2 * whole.len() / 500, "they are filled");
        }
    }
}
