//! Sockets that the service manager bound before the daemon ran, and keeps when it stops: what is
//! sent to them over a restart waits in the kernel.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::net::{SocketType, sockopt};
use socket2::Socket;
use thiserror::Error;
use tracing::info;

use super::Transport;
use crate::sys;

/// Why what the service manager passed is of no use.
#[derive(Debug, Error)]
pub enum PassedError {
    /// The environment names descriptors that are not there.
    #[error("the service manager's sockets cannot be taken (LISTEN_FDS): {0}")]
    Missing(#[source] io::Error),
    /// One is nothing that a listener reads from.
    #[error(
        "descriptor {0} from the service manager is no socket that a listener can have: UDP, TCP, \
         or Unix with a path, and with `Accept=no` in the socket unit"
    )]
    Unusable(usize),
    /// One is what no listener asks for: what is sent there would be read by nobody.
    #[error(
        "the service manager passed the socket `{0}`, but no listener is configured there: add it \
         to `listeners`, or take it out of the socket unit"
    )]
    Unwanted(Place),
}

/// What a socket is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    transport: Transport,
    name: Name,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Address(SocketAddr),
    Path(PathBuf),
}

impl Place {
    /// A place with an IP address.
    #[must_use]
    pub fn address(transport: Transport, address: SocketAddr) -> Self {
        // Flow and scope are not what tells two sockets apart here.
        let address = SocketAddr::new(address.ip(), address.port());
        Self { transport, name: Name::Address(address) }
    }

    /// A place with a path.
    #[must_use]
    pub fn path(transport: Transport, path: &Path) -> Self {
        Self { transport, name: Name::Path(path.to_owned()) }
    }

    /// Where a socket that was passed is bound, if it can be read by a listener.
    fn of(socket: &Socket) -> Option<Self> {
        let is_stream = match sockopt::socket_type(socket).ok()? {
            SocketType::STREAM if sockopt::socket_acceptconn(socket).ok()? => true,
            SocketType::DGRAM => false,
            _ => return None,
        };
        let bound = socket.local_addr().ok()?;
        if let Some(address) = bound.as_socket() {
            let transport = if is_stream { Transport::Tcp } else { Transport::Udp };
            return Some(Self::address(transport, address));
        }
        let transport = if is_stream { Transport::Unix } else { Transport::UnixDatagram };
        bound.as_pathname().map(|path| Self::path(transport, path))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ", self.transport.as_str())?;
        match &self.name {
            Name::Address(address) => address.fmt(formatter),
            Name::Path(path) => path.display().fmt(formatter),
        }
    }
}

/// Those that no listener has taken yet.
#[derive(Debug, Default)]
pub struct PassedSockets(Vec<(Place, Socket)>);

impl PassedSockets {
    /// Takes what the environment says was passed; nothing without a service manager.
    ///
    /// # Errors
    /// When something is missing, or is no socket for a listener.
    pub fn from_environment() -> Result<Self, PassedError> {
        Self::new(sys::passed_descriptors().map_err(PassedError::Missing)?)
    }

    fn new(descriptors: Vec<OwnedFd>) -> Result<Self, PassedError> {
        /// The first that is passed.
        const FIRST: usize = 3;
        let sockets = descriptors.into_iter().enumerate().map(|(number, descriptor)| {
            let socket = Socket::from(descriptor);
            let place = Place::of(&socket).ok_or(PassedError::Unusable(FIRST + number))?;
            Ok((place, socket))
        });
        sockets.collect::<Result<_, _>>().map(Self)
    }

    /// The socket for a listener at this place, if one was passed.
    pub fn take(&mut self, place: &Place) -> Option<Socket> {
        let found = self.0.iter().position(|(passed, _)| passed == place)?;
        info!(socket = %place, "taking the socket that the service manager passed");
        Some(self.0.swap_remove(found).1)
    }

    /// Makes sure that each has its listener.
    ///
    /// # Errors
    /// When one has none.
    pub fn finish(mut self) -> Result<(), PassedError> {
        match self.0.pop() {
            Some((place, _)) => Err(PassedError::Unwanted(place)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    #[test]
    fn sockets_are_known_by_transport_and_address() {
        let folder = tempfile::tempdir().unwrap();
        let (stream, datagram) = (folder.path().join("stream"), folder.path().join("datagram"));
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = TcpListener::bind("[::1]:0").unwrap();
        let places = [
            Place::address(Transport::Udp, udp.local_addr().unwrap()),
            Place::address(Transport::Tcp, tcp.local_addr().unwrap()),
            Place::path(Transport::Unix, &stream),
            Place::path(Transport::UnixDatagram, &datagram),
        ];
        let mut passed = PassedSockets::new(vec![
            UnixDatagram::bind(&datagram).unwrap().into(),
            UnixListener::bind(&stream).unwrap().into(),
            tcp.into(),
            udp.into(),
        ])
        .unwrap();
        for place in &places {
            let socket = passed.take(place).unwrap();
            assert_eq!(Place::of(&socket).as_ref(), Some(place));
            assert!(passed.take(place).is_none(), "each is taken once");
        }
        passed.finish().unwrap();
    }

    #[test]
    fn a_socket_that_no_listener_wants_is_an_error() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = udp.local_addr().unwrap();
        let mut passed = PassedSockets::new(vec![udp.into()]).unwrap();
        assert!(passed.take(&Place::address(Transport::Tcp, address)).is_none());
        let error = passed.finish().unwrap_err().to_string();
        assert!(error.contains(&format!("`udp {address}`")), "{error}");
    }

    #[test]
    fn what_cannot_be_listened_on_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let nameless = UnixDatagram::unbound().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        for useless in [OwnedFd::from(connection), nameless.into(), file.into()] {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            let error = PassedSockets::new(vec![udp.into(), useless]).unwrap_err().to_string();
            assert!(error.contains("descriptor 4 "), "{error}");
        }
    }
}
