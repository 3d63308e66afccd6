//! Whether a socket could be bound, without touching the socket of another program.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use rustix::fs::{Access, access};
use socket2::{Domain, Socket, Type};

use super::bind_error::{BindError, hint};
use super::tcp::bound_address;
use super::unix::{self, OldSocket};

/// Checks that a TCP socket could be bound.
///
/// # Errors
/// The error with which the daemon would not start.
pub fn of_tcp(address: SocketAddr) -> Result<(), BindError> {
    of_address(address, Type::STREAM)
}

/// Checks that a UDP socket could be bound.
///
/// # Errors
/// The error with which the daemon would not start.
pub fn of_udp(address: SocketAddr) -> Result<(), BindError> {
    of_address(address, Type::DGRAM)
}

/// Checks that a Unix socket could be bound.
///
/// # Errors
/// The error with which the daemon would not start.
pub fn of_path(path: &Path) -> Result<(), BindError> {
    let could_bind = || match unix::old_socket(path)? {
        OldSocket::Absent | OldSocket::Stale => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            Ok(access(folder.unwrap_or(Path::new(".")), Access::WRITE_OK | Access::EXEC_OK)?)
        }
    };
    could_bind().map_err(|source| unix::bind_error(path, source))
}

/// Binds a free address for an instant. The socket does not listen, so no client can connect. It
/// does not share its address, so it takes no datagram from a program that shares the address.
fn of_address(address: SocketAddr, kind: Type) -> Result<(), BindError> {
    let bind = || {
        let socket = Socket::new(Domain::for_address(address), kind, None)?;
        socket.set_reuse_address(kind == Type::STREAM)?;
        bound_address(&socket, address)
    };
    match bind() {
        Ok(_) => Ok(()),
        Err(source) => {
            Err(BindError { address: address.to_string(), hint: advice(&source), source })
        }
    }
}

/// Advice for an address of any section, whose key the caller names.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program listens there: stop it or change the address"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; no interface of this host has that address: change the address"
        }
        _ => hint(error),
    }
}

impl BindError {
    /// The kind of the system's error.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    fn kind(outcome: Result<(), BindError>) -> Option<io::ErrorKind> {
        outcome.err().map(|error| error.kind())
    }

    #[test]
    fn a_path_that_cannot_be_bound_is_found_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "precious").unwrap();
        drop(UnixListener::bind(at("stale")).unwrap());
        let _stream = UnixListener::bind(at("stream")).unwrap();
        let _datagrams = UnixDatagram::bind(at("datagrams")).unwrap();
        for (name, expected) in [
            ("free", None),
            ("stale", None),
            ("stream", Some(io::ErrorKind::AddrInUse)),
            ("datagrams", Some(io::ErrorKind::AddrInUse)),
            ("file", Some(io::ErrorKind::AlreadyExists)),
            (".", Some(io::ErrorKind::AlreadyExists)),
            ("missing/socket", Some(io::ErrorKind::NotFound)),
            ("file/socket", Some(io::ErrorKind::NotADirectory)),
        ] {
            assert_eq!(kind(of_path(&at(name))), expected, "{name}");
        }
        assert!(at("stale").exists() && !at("free").exists());
        assert_eq!(fs::read_to_string(at("file")).unwrap(), "precious");
    }

    #[test]
    fn an_address_in_use_is_found_and_a_free_one_stays_free() {
        let (tcp, udp) = (TcpListener::bind("[::1]:0"), UdpSocket::bind("127.0.0.1:0"));
        let (tcp, udp) = (tcp.unwrap(), udp.unwrap());
        let (stream, datagram) = (tcp.local_addr().unwrap(), udp.local_addr().unwrap());
        assert_eq!(kind(of_tcp(stream)), Some(io::ErrorKind::AddrInUse));
        assert_eq!(kind(of_udp(datagram)), Some(io::ErrorKind::AddrInUse));
        drop((tcp, udp));
        for _ in 0..2 {
            assert_eq!((kind(of_tcp(stream)), kind(of_udp(datagram))), (None, None));
        }
        // 203.0.113.0/24 is reserved for documentation.
        let absent = of_udp("203.0.113.7:0".parse().unwrap()).unwrap_err();
        assert!(absent.is_missing_here(), "{absent}");
    }
}
