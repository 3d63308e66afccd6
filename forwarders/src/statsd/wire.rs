//! Sends packets, as datagrams or over a stream.

use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};
use tokio::time::timeout;

use super::config::StatsdAddress;
use crate::udp::open_udp;
use basics::address::write_host_and_port;

/// How long the host may take to report that no program listens.
const REFUSAL_PAUSE: Duration = Duration::from_millis(100);

/// An open socket to statsd.
#[derive(Debug)]
pub(super) enum StatsdWire {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Datagrams(UnixDatagram),
    Stream(UnixStream),
}

/// The outcome of sending a packet.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The kernel has taken it.
    Sent,
    /// No byte of it has left.
    Kept(io::Error),
    /// This host cannot send packets of this size.
    TooLarge,
    /// It or a part of it has left, and did not arrive or may not have arrived.
    Lost(io::Error),
}

impl StatsdWire {
    pub(super) async fn open(address: &StatsdAddress) -> io::Result<Self> {
        match address {
            StatsdAddress::Udp(host, port) => open_udp(host, *port).await.map(Self::Udp),
            StatsdAddress::Tcp(host, port) => {
                TcpStream::connect((host.as_str(), *port)).await.map(Self::Tcp)
            }
            StatsdAddress::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                match socket.connect(path) {
                    Ok(()) => Ok(Self::Datagrams(socket)),
                    // The socket at this path is a stream socket.
                    Err(error) if error.raw_os_error() == Some(Errno::PROTOTYPE.raw_os_error()) => {
                        UnixStream::connect(path).await.map(Self::Stream)
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Returns whether the transport keeps the boundaries of packets.
    pub(super) fn is_datagrams(&self) -> bool {
        matches!(self, Self::Udp(_) | Self::Datagrams(_))
    }

    /// Checks for a receiver, as far as the transport allows: over UDP by an empty datagram, which
    /// receivers ignore, and over a stream by whether the other side has closed it.
    pub(super) async fn ask(&self) -> io::Result<()> {
        match self {
            Self::Udp(socket) => {
                let refused = async {
                    socket.send(&[]).await?;
                    socket.recv(&mut [0; 1]).await
                };
                match timeout(REFUSAL_PAUSE, refused).await {
                    Ok(Err(error)) => Err(error),
                    Ok(Ok(_)) | Err(_) => Ok(()),
                }
            }
            Self::Datagrams(_) => Ok(()),
            Self::Tcp(stream) => is_open(stream),
            Self::Stream(stream) => is_open(stream),
        }
    }

    /// Sends a datagram completely or not at all, or a packet over a stream.
    ///
    /// May be dropped at any await: `begun` then states whether a part of the packet has left.
    pub(super) async fn send(&self, packet: &[u8], begun: &mut bool) -> Outcome {
        match self {
            Self::Udp(socket) => match socket.send(packet).await {
                // If the host is this one, its refusal has already arrived.
                Ok(_) => match socket.take_error() {
                    Ok(None) => Outcome::Sent,
                    Ok(Some(error)) | Err(error) => Outcome::Lost(error),
                },
                Err(error) => unsent(error),
            },
            Self::Datagrams(socket) => match socket.send(packet).await {
                Ok(_) => Outcome::Sent,
                Err(error) => unsent(error),
            },
            Self::Tcp(stream) => write_all(stream, packet, begun).await,
            Self::Stream(stream) => write_all(stream, packet, begun).await,
        }
    }
}

/// A TCP or Unix stream.
trait Writable {
    async fn writable(&self) -> io::Result<()>;
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
}

impl Writable for TcpStream {
    async fn writable(&self) -> io::Result<()> {
        Self::writable(self).await
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Self::try_write(self, bytes)
    }
}

impl Writable for UnixStream {
    async fn writable(&self) -> io::Result<()> {
        Self::writable(self).await
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Self::try_write(self, bytes)
    }
}

async fn write_all(stream: &impl Writable, mut packet: &[u8], begun: &mut bool) -> Outcome {
    while !packet.is_empty() {
        let written = match stream.writable().await {
            Ok(()) => stream.try_write(packet),
            Err(error) => Err(error),
        };
        match written {
            Ok(bytes) => {
                *begun |= bytes > 0;
                packet = &packet[bytes..];
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // The receiver may have read the part that has left, so the packet must not be sent
            // again.
            Err(error) if *begun => return Outcome::Lost(error),
            Err(error) => return Outcome::Kept(error),
        }
    }
    Outcome::Sent
}

fn unsent(error: io::Error) -> Outcome {
    if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) {
        Outcome::TooLarge
    } else {
        Outcome::Kept(error)
    }
}

/// Returns an error if the other side has closed the stream; discards received bytes. Asks the
/// kernel, because the runtime may not have seen the event yet.
fn is_open(stream: &impl AsFd) -> io::Result<()> {
    loop {
        match recv(stream, &mut [0_u8; 4096], RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Err(ErrorKind::ConnectionReset.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

impl fmt::Display for StatsdAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(host, port) | Self::Tcp(host, port) => {
                write_host_and_port(formatter, host, *port)
            }
            Self::Unix(path) => formatter.write_str(path),
        }
    }
}
