//! TCP connections of destinations.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The number of attempts without any acknowledgement after which the kernel aborts the connection.
/// Fewer would reconnect to a destination that is only slow.
const ATTEMPTS_UNTIL_ABORT: u32 = 3;

/// Connects to the first address that accepts within its share of `attempt_max`, the time of an
/// attempt. The kernel aborts the connection when no byte is acknowledged for several attempts.
pub(crate) async fn connect(
    addresses: &[SocketAddr],
    attempt_max: Duration,
) -> io::Result<TcpStream> {
    // Without shares, one address that drops packets would use up the time of all others.
    let share = attempt_max / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                prepare(&stream, attempt_max * ATTEMPTS_UNTIL_ABORT)?;
                return Ok(stream);
            }
            Ok(Err(error)) => failure = error,
            Err(_) => failure = io::Error::other(format!("no answer within {share:?}")),
        }
    }
    Err(failure)
}

fn prepare(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    // The last segment of a batch must not wait for the acknowledgement of its predecessor.
    stream.set_nodelay(true)?;
    // Without a limit, the kernel would retransmit into a dead network for about 15 minutes.
    let patience_ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
    Ok(set_tcp_user_timeout(stream, patience_ms)?)
}
