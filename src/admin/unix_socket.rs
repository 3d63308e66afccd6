//! The Unix socket of the endpoint.

use std::io;
use std::path::{Path, PathBuf};

use engine::listener::socket_file::SocketFile;
use engine::listener::unix::bind_stream_socket;
use thiserror::Error;
use tokio::net::UnixListener;

use crate::config::admin::AdminConfig;

/// Connections that the kernel accepts before the daemon does.
const BACKLOG: i32 = 64;

/// Why the socket cannot be bound.
#[derive(Debug, Error)]
#[error("cannot listen on {} for the admin endpoint: {source}; change `admin: {{socket}}`, or the owner of its folder", path.display())]
pub struct AdminSocketError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A bound socket that is not served yet. Its file is removed with it.
#[derive(Debug)]
pub(super) struct AdminUnixSocket {
    pub(super) listener: UnixListener,
    pub(super) file: SocketFile,
}

impl AdminUnixSocket {
    /// Binds the configured path; `None` if none is configured.
    ///
    /// # Errors
    /// When another program listens there, or this user may not create the file.
    pub(super) fn bind(config: &AdminConfig) -> Result<Option<Self>, AdminSocketError> {
        let Some(path) = &config.socket else { return Ok(None) };
        let bound = bind(&path.0, config.socket_mode.0);
        bound.map(Some).map_err(|source| AdminSocketError { path: path.0.clone(), source })
    }
}

fn bind(path: &Path, mode: u32) -> io::Result<AdminUnixSocket> {
    let (socket, file) = bind_stream_socket(path, mode)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = UnixListener::from_std(socket.into())?;
    Ok(AdminUnixSocket { listener, file })
}
