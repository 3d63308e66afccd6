//! Sockets passed by the service manager, which binds them before the daemon starts and keeps them
//! when it stops. During a restart, the kernel buffers the data sent to them.

use std::fmt;
use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::net::{SocketType, sockopt};
use socket2::Socket;
use thiserror::Error;
use tracing::info;

use super::Transport;
use crate::sys;

/// The reason why the passed sockets cannot be used.
#[derive(Debug, Error)]
pub enum PassedError {
    /// The environment promises descriptors that do not exist.
    #[error("cannot use the sockets of the service manager (LISTEN_FDS): {0}")]
    Missing(#[source] io::Error),
    /// A descriptor is not a socket that a listener can read.
    #[error(
        "descriptor {0} from the service manager is not a socket that a listener can use: it must \
         be UDP, TCP, or Unix with a path, with `Accept=no` in the socket unit"
    )]
    Unusable(usize),
    /// No listener has the address of a socket, so data sent to it would never be read.
    #[error(
        "the service manager passed the socket `{0}`, but no listener has this address: add it to \
         `listeners`, or remove it from the socket unit"
    )]
    Unwanted(BindTarget),
}

/// The transport and address of a bound socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindTarget {
    transport: Transport,
    location: BindLocation,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum BindLocation {
    Address(SocketAddr),
    Path(PathBuf),
}

impl BindTarget {
    /// A socket with an IP address.
    #[must_use]
    pub fn address(transport: Transport, address: SocketAddr) -> Self {
        // Without the flow, which the configuration does not have.
        let address = match address {
            SocketAddr::V6(v6) => SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()).into(),
            SocketAddr::V4(_) => address,
        };
        Self { transport, location: BindLocation::Address(address) }
    }

    /// A socket with a path.
    #[must_use]
    pub fn path(transport: Transport, path: &Path) -> Self {
        Self { transport, location: BindLocation::Path(path.to_owned()) }
    }

    /// Asks the kernel for the address of a passed socket. `None` if a listener cannot read it.
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

impl fmt::Display for BindTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ", self.transport.as_str())?;
        match &self.location {
            BindLocation::Address(address) => address.fmt(formatter),
            BindLocation::Path(path) => path.display().fmt(formatter),
        }
    }
}

/// The passed sockets that no listener has taken yet.
#[derive(Debug, Default)]
pub struct PassedSockets(Vec<(BindTarget, Socket)>);

impl PassedSockets {
    /// Takes the descriptors that the environment announces; none without a service manager.
    ///
    /// # Errors
    /// When a descriptor does not exist, or is not a socket that a listener can read.
    pub fn from_environment() -> Result<Self, PassedError> {
        Self::new(sys::passed_descriptors().map_err(PassedError::Missing)?)
    }

    fn new(descriptors: Vec<OwnedFd>) -> Result<Self, PassedError> {
        /// The number of the first passed descriptor.
        const FIRST: usize = 3;
        let sockets = descriptors.into_iter().enumerate().map(|(number, descriptor)| {
            let socket = Socket::from(descriptor);
            let target = BindTarget::of(&socket).ok_or(PassedError::Unusable(FIRST + number))?;
            Ok((target, socket))
        });
        sockets.collect::<Result<_, _>>().map(Self)
    }

    /// Takes the socket with this address, if one was passed.
    pub fn take(&mut self, target: &BindTarget) -> Option<Socket> {
        let found = self.0.iter().position(|(passed, _)| passed == target)?;
        info!(socket = %target, "using the socket passed by the service manager");
        Some(self.0.swap_remove(found).1)
    }

    /// Checks that a listener has taken each socket.
    ///
    /// # Errors
    /// When a socket is left.
    pub fn finish(mut self) -> Result<(), PassedError> {
        match self.0.pop() {
            Some((target, _)) => Err(PassedError::Unwanted(target)),
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
    fn sockets_are_found_by_transport_and_address() {
        let folder = tempfile::tempdir().unwrap();
        let (stream, datagram) = (folder.path().join("stream"), folder.path().join("datagram"));
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = TcpListener::bind("[::1]:0").unwrap();
        let targets = [
            BindTarget::address(Transport::Udp, udp.local_addr().unwrap()),
            BindTarget::address(Transport::Tcp, tcp.local_addr().unwrap()),
            BindTarget::path(Transport::Unix, &stream),
            BindTarget::path(Transport::UnixDatagram, &datagram),
        ];
        let mut passed = PassedSockets::new(vec![
            UnixDatagram::bind(&datagram).unwrap().into(),
            UnixListener::bind(&stream).unwrap().into(),
            tcp.into(),
            udp.into(),
        ])
        .unwrap();
        for target in &targets {
            let socket = passed.take(target).unwrap();
            assert_eq!(BindTarget::of(&socket).as_ref(), Some(target));
            assert!(passed.take(target).is_none(), "each is taken once");
        }
        passed.finish().unwrap();
    }

    #[test]
    fn a_socket_that_no_listener_wants_is_an_error() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = udp.local_addr().unwrap();
        let mut passed = PassedSockets::new(vec![udp.into()]).unwrap();
        assert!(passed.take(&BindTarget::address(Transport::Tcp, address)).is_none());
        let error = passed.finish().unwrap_err().to_string();
        assert!(error.contains(&format!("`udp {address}`")), "{error}");
    }

    #[test]
    fn a_descriptor_that_no_listener_can_read_is_an_error() {
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
