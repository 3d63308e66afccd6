//! Sends packets, as datagrams or over a stream.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};

use super::config::StatsdAddress;
use crate::network::host::Host;
use crate::network::udp::{ask, open_udp};
use crate::network::{tcp, unacked};

/// The address of statsd, with its name.
#[derive(Debug)]
pub(super) enum StatsdReceiver {
    Udp(Arc<Host>),
    Tcp(Arc<Host>),
    Unix(String),
}

impl StatsdReceiver {
    /// `forwarder` is the destination's name in the log, `age_max` the age from which a name is
    /// looked up again.
    pub(super) fn new(address: StatsdAddress, forwarder: &str, age_max: Duration) -> Self {
        let host = |name: String, port| Host::new(&name, port, forwarder, age_max);
        match address {
            StatsdAddress::Udp(name, port) => Self::Udp(host(name, port)),
            StatsdAddress::Tcp(name, port) => Self::Tcp(host(name, port)),
            StatsdAddress::Unix(path) => Self::Unix(path),
        }
    }

    /// Opens a socket. `asks` says whether a host is asked if a program listens, although its name
    /// has only one address.
    pub(super) async fn open(&self, attempt_max: Duration, asks: bool) -> io::Result<StatsdWire> {
        match self {
            Self::Udp(host) => open_udp(&host.addresses().await?, asks).await.map(StatsdWire::Udp),
            Self::Tcp(host) => {
                let stream = tcp::connect(&host.addresses().await?, attempt_max).await?;
                Ok(StatsdWire::Tcp(stream))
            }
            Self::Unix(path) => open_unix(path).await,
        }
    }

    /// Whether the name still has the address of this socket. Looks the name up if it is time.
    pub(super) async fn still_has(&self, wire: &StatsdWire) -> bool {
        let (host, peer) = match (self, wire) {
            (Self::Udp(host), StatsdWire::Udp(socket)) => (host, socket.peer_addr()),
            (Self::Tcp(host), StatsdWire::Tcp(stream)) => (host, stream.peer_addr()),
            _ => return true,
        };
        // Fails only if no look-up has succeeded, and this one was opened after one.
        let _looked_up = host.addresses().await;
        peer.is_ok_and(|peer| host.still_has(peer))
    }

    /// Makes the next call look the name up.
    pub(super) fn distrust(&self) {
        match self {
            Self::Udp(host) | Self::Tcp(host) => host.distrust(),
            Self::Unix(_) => {}
        }
    }
}

async fn open_unix(path: &str) -> io::Result<StatsdWire> {
    let socket = UnixDatagram::unbound()?;
    match socket.connect(path) {
        Ok(()) => Ok(StatsdWire::Datagrams(socket)),
        // The socket at this path is a stream socket.
        Err(error) if error.raw_os_error() == Some(Errno::PROTOTYPE.raw_os_error()) => {
            UnixStream::connect(path).await.map(StatsdWire::Stream)
        }
        Err(error) => Err(error),
    }
}

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
    /// Returns whether the transport keeps the boundaries of packets.
    pub(super) fn is_datagrams(&self) -> bool {
        matches!(self, Self::Udp(_) | Self::Datagrams(_))
    }

    /// Checks for a receiver, as far as the transport allows: over UDP by an empty datagram, which
    /// receivers ignore, and over a stream by whether the other side has closed it.
    pub(super) async fn ask(&self) -> io::Result<()> {
        match self {
            Self::Udp(socket) => ask(socket).await,
            Self::Datagrams(_) => Ok(()),
            Self::Tcp(_) | Self::Stream(_) if self.is_closed() => {
                Err(ErrorKind::ConnectionReset.into())
            }
            Self::Tcp(_) | Self::Stream(_) => Ok(()),
        }
    }

    /// Returns whether the other side has closed the stream.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Udp(_) | Self::Datagrams(_) => false,
            Self::Tcp(stream) => unacked::is_closed(stream),
            Self::Stream(stream) => unacked::is_closed(stream),
        }
    }

    /// Sends a datagram completely or not at all, or the rest of a packet over a stream.
    ///
    /// May be dropped at any await: `sent` then is the number of bytes of the packet that have left,
    /// and the next call sends the others.
    pub(super) async fn send(&self, packet: &[u8], sent: &mut usize) -> Outcome {
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
            Self::Tcp(stream) => write_all(stream, packet, sent).await,
            Self::Stream(stream) => write_all(stream, packet, sent).await,
        }
    }

    /// Waits until the other side has received everything that was written to the stream. Calls
    /// `progress` with the number of bytes that are left, if the transport knows it.
    pub(super) async fn acknowledged(&self, mut progress: impl FnMut(u64)) -> io::Result<()> {
        match self {
            Self::Udp(_) | Self::Datagrams(_) => Ok(()),
            Self::Tcp(stream) => unacked::acknowledged(stream, progress).await,
            Self::Stream(stream) => {
                // The kernel knows only whether anything is left.
                unacked::acknowledged(stream, |_| ()).await?;
                progress(0);
                Ok(())
            }
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

async fn write_all(stream: &impl Writable, packet: &[u8], sent: &mut usize) -> Outcome {
    while *sent < packet.len() {
        let written = match stream.writable().await {
            Ok(()) => stream.try_write(&packet[*sent..]),
            Err(error) => Err(error),
        };
        match written {
            Ok(bytes) => *sent += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // The receiver may have read the part that has left, so the packet must not be sent
            // again.
            Err(error) if *sent > 0 => return Outcome::Lost(error),
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

impl fmt::Display for StatsdReceiver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(host) | Self::Tcp(host) => host.fmt(formatter),
            Self::Unix(path) => formatter.write_str(path),
        }
    }
}
