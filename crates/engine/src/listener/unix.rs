//! Binds Unix sockets.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, SockAddr, Socket, Type};
use tracing::info;

use super::bind_error::BindError;
use super::config::{ListenerEndpoint, UnixConfig, UnixDatagramConfig};
use super::datagram::BoundDatagrams;
use super::passed::{BindTarget, PassedSockets};
use super::socket_file::SocketFile;
use super::stats::ListenerStats;
use super::stream::{BACKLOG, BoundStream, StreamTransport};
use super::{Protocol, Transport};

/// Maximum size of a datagram. Datagrams are limited by the sender's buffer, which has 208 KiB
/// unless the sender or the administrator of the host has changed it.
const DATAGRAM_MAX: usize = 256 << 10;

/// Binds the socket of a `unix` listener, unless the service manager passed it.
pub(super) fn bind_stream(
    protocol: Protocol,
    config: &UnixConfig,
    passed: &mut PassedSockets,
) -> Result<BoundStream, BindError> {
    let listening = match passed.take(&BindTarget::path(Transport::Unix, &config.path)) {
        Some(socket) => Ok((socket, SocketFile::of_another(&config.path))),
        None => bind(&config.path, config.mode, Type::STREAM).and_then(|(socket, file)| {
            socket.listen(BACKLOG)?;
            Ok((socket, file))
        }),
    };
    listening
        .and_then(|(socket, file)| {
            let label = ListenerEndpoint::Unix(config.clone()).label(protocol);
            BoundStream::new(socket, protocol, label, StreamTransport::Unix(file), config.stream)
        })
        .map_err(|source| bind_error(&config.path, source))
}

/// Binds the socket of a `unix_datagram` listener, unless the service manager passed it.
pub(super) fn bind_datagrams(
    protocol: Protocol,
    config: &UnixDatagramConfig,
    passed: &mut PassedSockets,
) -> Result<BoundDatagrams, BindError> {
    let target = BindTarget::path(Transport::UnixDatagram, &config.path);
    let (socket, file) = match passed.take(&target) {
        Some(socket) => (socket, SocketFile::of_another(&config.path)),
        None => bind(&config.path, config.mode, Type::DGRAM)
            .map_err(|source| bind_error(&config.path, source))?,
    };
    let label = ListenerEndpoint::UnixDatagram(config.clone()).label(protocol);
    Ok(BoundDatagrams {
        socket: socket.into(),
        protocol,
        // When the buffer is full, the kernel makes senders wait instead of dropping datagrams.
        stats: Arc::new(ListenerStats::without_drops(label)),
        allow: super::allow::AllowList::default(),
        mirror: config.mirror.clone(),
        secret: config.secret.clone(),
        datagram_max: DATAGRAM_MAX,
        is_merging: false,
        origin: file.to_string(),
        file: Some(file),
    })
}

pub(super) fn bind_error(path: &Path, source: io::Error) -> BindError {
    let hint = match source.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program listens there: stop it or change the listener's `path`"
        }
        io::ErrorKind::AlreadyExists => "; remove it or change the listener's `path`",
        io::ErrorKind::NotADirectory => {
            "; a part of the path is no folder: change the listener's `path`"
        }
        io::ErrorKind::NotFound => {
            "; its folder does not exist: create it, or change the listener's `path`"
        }
        io::ErrorKind::PermissionDenied => {
            "; this user may not create a socket in that folder: change its owner, or the \
             listener's `path`"
        }
        _ => "",
    };
    BindError { address: path.display().to_string(), source, hint }
}

/// Binds a stream socket to `path`, for another part of the daemon. It does not listen yet.
///
/// # Errors
/// When another program listens there, or the file cannot be created.
pub fn bind_stream_socket(path: &Path, mode: u32) -> io::Result<(Socket, SocketFile)> {
    bind(path, mode, Type::STREAM)
}

/// Binds to `path`. At no instant does the file have more permissions than `mode`.
fn bind(path: &Path, mode: u32, kind: Type) -> io::Result<(Socket, SocketFile)> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    let permissions = Permissions::from_mode(mode);
    // The file gets the permissions of the socket minus the umask. The rest is added below.
    // Changing the umask instead would affect other threads.
    File::from(socket.as_fd().try_clone_to_owned()?).set_permissions(permissions.clone())?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::new(path)?;
    fs::set_permissions(path, permissions)?;
    Ok((socket, file))
}

/// The file at the path at which a socket will be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OldSocket {
    Absent,
    /// No program listens on it.
    Stale,
}

/// Removes the socket file at `path` if no program listens on it.
fn remove_stale(path: &Path) -> io::Result<()> {
    match old_socket(path)? {
        OldSocket::Absent => Ok(()),
        OldSocket::Stale => {
            info!(path = %path.display(), "removing a stale socket file");
            fs::remove_file(path)
        }
    }
}

/// Looks for a socket file at `path`.
///
/// # Errors
/// When a program listens on it, or there is something else.
pub(super) fn old_socket(path: &Path) -> io::Result<OldSocket> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(OldSocket::Absent),
        there => there?,
    };
    if !there.file_type().is_socket() {
        let words = "path exists and is not a socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, words));
    }
    // Connecting a datagram socket has no effect on a program that listens there. It also works for
    // stream sockets: if a program has one open, the error is a mismatch of types, not a refusal.
    let answer = UnixDatagram::unbound()?.connect(path).map_err(|error| error.kind());
    match answer {
        Err(io::ErrorKind::ConnectionRefused) => Ok(OldSocket::Stale),
        Err(io::ErrorKind::NotFound) => Ok(OldSocket::Absent),
        Err(kind @ io::ErrorKind::PermissionDenied) => Err(kind.into()),
        Ok(()) | Err(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}
