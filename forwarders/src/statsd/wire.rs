//! What brings packets there: datagrams or a stream.

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

/// How long the host may take to say that nobody listens there.
const REFUSAL_PAUSE: Duration = Duration::from_millis(100);

/// An open way to statsd.
#[derive(Debug)]
pub(super) enum StatsdWire {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Datagrams(UnixDatagram),
    Stream(UnixStream),
}

/// What became of a packet.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is with the kernel, or on its way.
    Sent,
    /// Nothing of it has left.
    Kept(io::Error),
    /// No packet of this size leaves this host.
    TooLarge,
    /// It left, or a part of it, and did not arrive or nobody knows.
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
                    // A socket of streams listens there.
                    Err(error) if error.raw_os_error() == Some(Errno::PROTOTYPE.raw_os_error()) => {
                        UnixStream::connect(path).await.map(Self::Stream)
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Whether packets end by themselves.
    pub(super) fn is_datagrams(&self) -> bool {
        matches!(self, Self::Udp(_) | Self::Datagrams(_))
    }

    /// Asks whether somebody listens, as far as that can be known: an empty datagram, which counts
    /// for nothing, or whether the other side has closed.
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

    /// Sends a datagram whole or not at all, or one packet of a stream.
    ///
    /// May be dropped at any await: `begun` then tells whether a part of it has left.
    pub(super) async fn send(&self, packet: &[u8], begun: &mut bool) -> Outcome {
        match self {
            Self::Udp(socket) => match socket.send(packet).await {
                // A refusal has come by now, if the host is this one.
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

/// Either kind of stream.
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

/// Nothing is to be read there but the end. The kernel is asked, and not the runtime, which may not
/// have heard of it yet.
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
