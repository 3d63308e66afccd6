//! The number of written bytes that the other side has not received.

#![allow(unsafe_code, reason = "no safe library has this call")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use libc::c_int;
use rustix::io::Errno;
use rustix::net::sockopt::socket_error;
use rustix::net::{RecvFlags, recv};
use tokio::time::sleep;

/// First and longest pause between two checks for unacknowledged bytes, which no event announces.
const ACK_PAUSE: Duration = Duration::from_millis(1);
const ACK_PAUSE_MAX: Duration = Duration::from_millis(50);

/// Returns the bytes in the socket's send queue, `SIOCOUTQ`: for TCP those that the peer's host has
/// not acknowledged, including bytes that have not been sent yet; for a Unix socket the memory of
/// those that the peer has not read.
fn unacked_bytes(socket: &impl AsFd) -> io::Result<u64> {
    let mut bytes: c_int = 0;
    // SAFETY: the descriptor is open as long as it is borrowed, and `TIOCOUTQ`, Linux' other name
    // for `SIOCOUTQ`, writes one int to the address in its argument.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(bytes.unsigned_abs().into()) }
}

/// Waits until the other side has received all bytes that were written to a stream: over TCP until
/// its host has acknowledged them, over a Unix stream until the program has read them. Calls
/// `progress` with each number of unacknowledged bytes; only over TCP is it a number of bytes.
///
/// # Errors
/// When the connection breaks before. `Error::kind` is `ConnectionReset` if the other side closed it.
pub(crate) async fn acknowledged(
    stream: &impl AsFd,
    mut progress: impl FnMut(u64),
) -> io::Result<()> {
    let mut pause = ACK_PAUSE;
    loop {
        // Checked first: if the other side closes the connection right after its last
        // acknowledgement, the bytes were still received.
        let is_closed = has_ended(stream)?;
        let unacked = unacked_bytes(stream)?;
        // Zero bytes alone do not prove an acknowledgement: the connection may have been reset.
        if let Err(error) = socket_error(stream)? {
            return Err(error.into());
        }
        progress(unacked);
        if unacked == 0 {
            return Ok(());
        }
        if is_closed {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        sleep(pause).await;
        pause = (pause * 2).min(ACK_PAUSE_MAX);
    }
}

/// Returns whether the other side has closed the stream, or it is broken. Discards received bytes.
pub(crate) fn is_closed(stream: &impl AsFd) -> bool {
    has_ended(stream).unwrap_or(true)
}

/// Returns whether the other side has closed the stream. Discards received bytes.
///
/// Asks the kernel, because the runtime may not have seen the event yet. An error is reported once:
/// a Unix stream has no unread bytes afterwards, as if the other side had read them.
fn has_ended(stream: &impl AsFd) -> io::Result<bool> {
    loop {
        match recv(stream, &mut [0_u8; 4096], RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Ok(true),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);
    const BYTES: &[u8] = b"some bytes";

    fn tcp() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (stream, listener.accept().unwrap().0)
    }

    #[tokio::test]
    async fn bytes_over_tcp_are_received_when_the_host_has_acknowledged_them() {
        let (mut stream, peer) = tcp();
        stream.write_all(BYTES).unwrap();
        timeout(PATIENCE, acknowledged(&stream, |_| ())).await.unwrap().unwrap();
        assert!(!is_closed(&stream));
        drop(peer);
        assert!(is_closed(&stream));
    }

    #[tokio::test]
    async fn bytes_to_a_unix_stream_are_received_when_the_program_has_read_them() {
        let (mut stream, mut peer) = UnixStream::pair().unwrap();
        stream.write_all(BYTES).unwrap();
        let early = timeout(Duration::from_millis(20), acknowledged(&stream, |_| ())).await;
        assert!(early.is_err(), "nothing was read");
        peer.read_exact(&mut [0; BYTES.len()]).unwrap();
        timeout(PATIENCE, acknowledged(&stream, |_| ())).await.unwrap().unwrap();
        drop(peer);
        acknowledged(&stream, |_| ()).await.expect("it was closed after everything was read");
    }

    #[tokio::test]
    async fn unread_bytes_of_a_closed_unix_stream_are_not_received() {
        for looks_before in [false, true] {
            let (mut stream, peer) = UnixStream::pair().unwrap();
            stream.write_all(BYTES).unwrap();
            let waiting = async {
                let waiting = acknowledged(&stream, |_| ());
                timeout(PATIENCE, waiting).await.unwrap()
            };
            let close = async move {
                if looks_before {
                    sleep(ACK_PAUSE).await;
                }
                drop(peer);
            };
            let (outcome, ()) = tokio::join!(waiting, close);
            assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        }
    }
}
