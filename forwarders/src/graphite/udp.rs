//! Sends datagrams to carbon, each with as many whole lines as fit.

use std::io;
use std::time::Duration;

use memchr::memrchr;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::address::Target;
use crate::delivery::forwarder::SendError;

/// Maximum time to wait for the host's report that no program listens.
const REFUSAL_PAUSE: Duration = Duration::from_millis(100);

/// Sends batches as datagrams. Their arrival cannot be confirmed; the only failure that becomes
/// known is a host's report that no program listens.
#[derive(Debug)]
pub(super) struct Udp {
    target: Target,
    packet_bytes_max: usize,
    socket: Option<UdpSocket>,
    /// Number of bytes of the batch that have been sent.
    sent: usize,
}

impl Udp {
    pub(super) fn new(target: Target, packet_bytes_max: usize) -> Self {
        Self { target, packet_bytes_max, socket: None, sent: 0 }
    }

    /// Sends a batch of lines, or the rest of it after an earlier attempt.
    ///
    /// May be dropped at any await; the next call continues from there.
    pub(super) async fn send(&mut self, batch: &[u8], is_new: bool) -> Result<(), SendError> {
        if is_new {
            self.sent = 0;
        }
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(self.target.udp().await.map_err(|words| self.target.error(words))?),
        };
        let outcome = send_all(socket, batch, self.packet_bytes_max, &mut self.sent).await;
        if let Err(error) = outcome {
            // The retry sends the whole batch, and resolves the name again.
            (self.socket, self.sent) = (None, 0);
            return Err(self.target.error(words(&error)));
        }
        self.sent = 0;
        Ok(())
    }

    /// Sends an empty datagram and waits for a report that no program listens.
    pub(super) async fn probe(&mut self) -> Result<(), SendError> {
        let socket = self.target.udp().await.map_err(|words| self.target.error(words))?;
        let refused = async {
            socket.send(&[]).await?;
            socket.recv(&mut [0; 1]).await
        };
        match timeout(REFUSAL_PAUSE, refused).await {
            Ok(Err(error)) => Err(self.target.error(words(&error))),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
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
