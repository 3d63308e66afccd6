//! Records the Graphite plaintext that a daemon sends.

use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use basics::address::ListenAddresses;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use super::recording::RecordedOutput;

/// Maximum length of a line; a longer one is read as several, none of which is readable.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Maximum size of a datagram.
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// A recording that grows while a daemon sends.
pub(super) type SharedOutput = Arc<Mutex<RecordedOutput>>;

/// Accepts connections at an address and records their lines until the future is dropped. The address
/// is bound when this returns.
///
/// # Errors
/// When the address is invalid, or cannot be bound.
pub(super) async fn tcp(
    address: &str,
    recording: SharedOutput,
) -> io::Result<impl Future<Output = ()> + use<>> {
    let listener = TcpListener::bind(&first(address)?[..]).await?;
    Ok(async move {
        let mut connections = JoinSet::new();
        loop {
            // An error concerns one connection, such as one that its client has closed already.
            let Ok((stream, _)) = listener.accept().await else { continue };
            connections.spawn(record_lines(stream, Arc::clone(&recording)));
            while connections.try_join_next().is_some() {}
        }
    })
}

/// Records the lines of datagrams at an address, like [`tcp`].
///
/// # Errors
/// When the address is invalid, or cannot be bound.
pub(super) async fn udp(
    address: &str,
    recording: SharedOutput,
) -> io::Result<impl Future<Output = ()> + use<>> {
    let socket = UdpSocket::bind(&first(address)?[..]).await?;
    Ok(async move {
        let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let Ok(length) = socket.recv(&mut bytes).await else { continue };
            let now_ms = now_ms();
            let mut recording = recording.lock();
            bytes[..length]
                .split(|byte| *byte == b'\n')
                .for_each(|line| recording.add_line(line, now_ms));
        }
    })
}

fn first(address: &str) -> io::Result<Vec<std::net::SocketAddr>> {
    let parsed = ListenAddresses::parse(address);
    Ok(parsed.map_err(|reason| io::Error::new(io::ErrorKind::InvalidInput, reason))?.all().to_vec())
}

async fn record_lines(stream: impl AsyncRead + Unpin, recording: SharedOutput) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await;
        match read {
            Ok(0) | Err(_) => return,
            Ok(_) => recording.lock().add_line(&line, now_ms()),
        }
    }
}

/// Unix milliseconds.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
