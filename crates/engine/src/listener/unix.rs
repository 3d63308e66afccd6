//! Binding sockets that have a file instead of an address.

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
use super::config::{Endpoint, ListenerConfig, UnixConfig, UnixDatagramConfig};
use super::datagram::BoundDatagrams;
use super::passed::{self, PassedSockets};
use super::socket_file::SocketFile;
use super::stats::ListenerStats;
use super::stream::{BACKLOG, BoundStream, Place};
use super::{Protocol, Transport};

/// Room for a datagram. How large one may be is up to the sender's buffer, 208 KiB unless it or
/// the host's administrator says otherwise.
const DATAGRAM_MAX: usize = 256 << 10;

/// Binds the socket of a `unix` listener, unless it was passed.
pub(super) fn bind_stream(
    protocol: Protocol,
    config: &UnixConfig,
    passed: &mut PassedSockets,
) -> Result<BoundStream, BindError> {
    let listening = match passed.take(&passed::Place::path(Transport::Unix, &config.path)) {
        Some(socket) => Ok((socket, SocketFile::of_another(&config.path))),
        None => bind(&config.path, config.mode, Type::STREAM).and_then(|(socket, file)| {
            socket.listen(BACKLOG)?;
            Ok((socket, file))
        }),
    };
    listening
        .and_then(|(socket, file)| {
            let label =
                ListenerConfig { protocol, endpoint: Endpoint::Unix(config.clone()) }.to_string();
            BoundStream::new(socket, protocol, label, Place::File(file), config.stream)
        })
        .map_err(|source| bind_error(&config.path, source))
}

/// Binds the socket of a `unix_datagram` listener, unless it was passed.
pub(super) fn bind_datagrams(
    protocol: Protocol,
    config: &UnixDatagramConfig,
    passed: &mut PassedSockets,
) -> Result<BoundDatagrams, BindError> {
    let place = passed::Place::path(Transport::UnixDatagram, &config.path);
    let (socket, file) = match passed.take(&place) {
        Some(socket) => (socket, SocketFile::of_another(&config.path)),
        None => bind(&config.path, config.mode, Type::DGRAM)
            .map_err(|source| bind_error(&config.path, source))?,
    };
    let label =
        ListenerConfig { protocol, endpoint: Endpoint::UnixDatagram(config.clone()) }.to_string();
    Ok(BoundDatagrams {
        socket: socket.into(),
        protocol,
        // The kernel lets senders wait where it would drop a UDP datagram.
        stats: Arc::new(ListenerStats::without_drops(label)),
        allow: super::allow::AllowList::default(),
        datagram_max: DATAGRAM_MAX,
        origin: file.to_string(),
        file: Some(file),
    })
}

fn bind_error(path: &Path, source: io::Error) -> BindError {
    let hint = match source.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program answers there: stop it or change the listener's `path`"
        }
        io::ErrorKind::AlreadyExists => "; remove it or change the listener's `path`",
        io::ErrorKind::NotFound => {
            "; its folder does not exist: make it, or change the listener's `path`"
        }
        io::ErrorKind::PermissionDenied => {
            "; this user may not make a socket in that folder: change its owner, or the listener's `path`"
        }
        _ => "",
    };
    BindError { place: path.display().to_string(), source, hint }
}

/// Binds to `path`. At no time has the file more permissions than `mode` says.
fn bind(path: &Path, mode: u32, kind: Type) -> io::Result<(Socket, SocketFile)> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    let permissions = Permissions::from_mode(mode);
    // The file takes after the socket, less what the umask takes away, which is then given back.
    // To change the umask itself would be felt by other threads.
    File::from(socket.as_fd().try_clone_to_owned()?).set_permissions(permissions.clone())?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::new(path)?;
    fs::set_permissions(path, permissions)?;
    Ok((socket, file))
}

/// Makes way if the socket at `path` is left over from a program that is gone.
fn remove_stale(path: &Path) -> io::Result<()> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        there => there?,
    };
    if !there.file_type().is_socket() {
        let words = "a file is there that is no socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, words));
    }
    // To connect a datagram socket disturbs nobody, and says of other kinds too whether somebody
    // has them open: then the kinds do not match.
    let answer = UnixDatagram::unbound()?.connect(path).map_err(|error| error.kind());
    match answer {
        Err(io::ErrorKind::ConnectionRefused) => {
            info!(path = %path.display(), "removing a socket's file that nobody listens on");
            fs::remove_file(path)
        }
        Err(io::ErrorKind::NotFound) => Ok(()),
        Err(kind @ io::ErrorKind::PermissionDenied) => Err(kind.into()),
        Ok(()) | Err(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}
