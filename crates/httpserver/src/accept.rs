//! The sockets at which a server accepts connections.

use std::io;
use std::net::SocketAddr;

use basics::tcp_listeners::TcpListeners;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixListener, UnixStream};

/// The user at the other end of a Unix socket, as the kernel noted it when the client connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerUser {
    /// The effective user ID.
    pub uid: u32,
    /// The effective group ID.
    pub gid: u32,
}

/// A connection, its client for the log, and its user where the kernel knows it.
pub(crate) type Accepted<S> = (S, SocketPeer, Option<PeerUser>);

/// A source of connections.
pub(crate) trait Accept {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next connection.
    fn next(&self) -> impl Future<Output = io::Result<Accepted<Self::Stream>>> + Send;
}

/// The client of a connection, for the log.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SocketPeer {
    Address(SocketAddr),
    User(PeerUser),
}

impl std::fmt::Display for SocketPeer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(formatter),
            Self::User(user) => write!(formatter, "uid {}", user.uid),
        }
    }
}

impl Accept for TcpListeners {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<Accepted<TcpStream>> {
        let (stream, peer) = self.accept().await?;
        Ok((stream, SocketPeer::Address(peer), None))
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<Accepted<UnixStream>> {
        let (stream, _unnamed) = self.accept().await?;
        let credentials = stream.peer_cred()?;
        let user = PeerUser { uid: credentials.uid(), gid: credentials.gid() };
        Ok((stream, SocketPeer::User(user), Some(user)))
    }
}
