//! The admin endpoint: an HTTP server that shows the state of the daemon. Requests that change something
//! need a user whom the kernel names, at its Unix socket, or a client that has authenticated itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::path::AdminPath;
use basics::tcp_listeners::{BindFailure, TcpListeners};
use engine::listener::config::SocketPath;
use engine::listener::socket_file::SocketFile;
use httpserver::{Access, HttpServer};
use thiserror::Error;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::config::admin::{AdminConfig, AdminListen};
use crate::runtime::RuntimeState;
use engine::listener::config::FileMode;

use self::service::AdminService;
use self::state::AdminState;
use self::unix_socket::{AdminSocketError, AdminUnixSocket};

pub use self::service::http_server;

mod changes;
mod chart;
mod config;
mod health;
mod history;
mod json;
mod operators;
mod output_tap;
mod page;
mod rejected;
mod reload;
mod router;
mod series;
mod service;
mod state;
mod status;
mod tap;
mod top;
mod unix_socket;

/// How long a stop waits for clients that do not read the end of a long reply.
const LONG_REPLY_END_MAX: Duration = Duration::from_secs(1);

/// Why the endpoint cannot be bound.
#[derive(Debug, Error)]
pub enum AdminError {
    /// An address cannot be bound.
    #[error(
        "cannot listen on {address} for the admin endpoint: {source}; change `admin: {{listen}}`"
    )]
    Address {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The Unix socket cannot be bound.
    #[error(transparent)]
    Socket(#[from] AdminSocketError),
}

/// Bound sockets that are not served yet.
#[derive(Debug)]
pub struct AdminSockets {
    /// `None` if the running ones stay.
    listen: Option<AdminSocket>,
    /// The same.
    unix: Option<Option<AdminUnixSocket>>,
}

/// Bound sockets at addresses; `None` when the endpoint is disabled.
#[derive(Debug)]
struct AdminSocket(Option<TcpListeners>);

/// The endpoint. Dropping it stops serving.
#[derive(Debug)]
pub struct AdminServer {
    listen: AdminListen,
    /// The path of the Unix socket.
    socket: Option<SocketPath>,
    /// The mode of its file, which changes only with the configuration.
    socket_mode: FileMode,
    /// Its file, which is removed with this value.
    socket_file: Option<SocketFile>,
    http: HttpServer,
    state: AdminState,
    serving: Option<JoinHandle<()>>,
    serving_unix: Option<JoinHandle<()>>,
    history: JoinHandle<()>,
}

impl AdminSockets {
    /// Binds the configured addresses and the path.
    ///
    /// # Errors
    /// When an address is taken, or this host has none of them, or the path is taken.
    pub async fn bind(config: &AdminConfig) -> Result<Self, AdminError> {
        let unix = Some(AdminUnixSocket::bind(config)?);
        Ok(Self { listen: Some(AdminSocket::bind(&config.listen).await?), unix })
    }
}

impl AdminSocket {
    /// Binds the configured addresses.
    async fn bind(listen: &AdminListen) -> Result<Self, AdminError> {
        let AdminListen::At(addresses) = listen else { return Ok(Self(None)) };
        let sockets = TcpListeners::bind(addresses).await.map_err(|failure| {
            AdminError::Address { address: failure.address, source: failure.error }
        })?;
        for BindFailure { address, error } in sockets.missing() {
            warn!(%address, %error, "admin endpoint: left out an address that this host lacks");
        }
        Ok(Self(Some(sockets)))
    }
}

impl AdminServer {
    /// Serves the state of a daemon.
    #[must_use]
    pub fn start(
        config: &AdminConfig,
        http: HttpServer,
        sockets: AdminSockets,
        runtime: Arc<RuntimeState>,
    ) -> Self {
        let state = AdminState::new(Arc::clone(&runtime));
        let history = tokio::spawn(Arc::clone(&state.history).keep(runtime));
        let mut server = Self {
            listen: config.listen.clone(),
            socket: config.socket.clone(),
            socket_mode: config.socket_mode,
            socket_file: None,
            http,
            state,
            serving: None,
            serving_unix: None,
            history,
        };
        server.serve(sockets);
        server
    }

    /// Binds what another configuration changes; the server keeps running.
    ///
    /// # Errors
    /// When an address is taken or does not belong to this host, or the path is taken.
    pub async fn prepare(&self, config: &AdminConfig) -> Result<AdminSockets, AdminError> {
        let mut prepared = AdminSockets { listen: None, unix: None };
        if config.listen != self.listen {
            prepared.listen = Some(AdminSocket::bind(&config.listen).await?);
        }
        if config.socket != self.socket {
            prepared.unix = Some(AdminUnixSocket::bind(config)?);
        }
        Ok(prepared)
    }

    /// Applies another configuration, with the sockets that [`AdminServer::prepare`] bound for it.
    pub async fn apply(
        &mut self,
        config: &AdminConfig,
        access: Arc<Access>,
        connections_max: usize,
        sockets: AdminSockets,
    ) {
        let limits = service::limits(config, connections_max);
        if sockets.listen.is_some() {
            // First: the new rules may be weaker, because they are meant for the new addresses only.
            end(&mut self.serving).await;
        }
        self.http.reconfigure(limits, &config.hosts, access);
        (self.listen, self.socket) = (config.listen.clone(), config.socket.clone());
        self.serve(sockets);
        if config.socket_mode == self.socket_mode {
            return;
        }
        self.socket_mode = config.socket_mode;
        if let Some(file) = &self.socket_file
            && let Err(error) = file.set_mode(config.socket_mode.0)
        {
            warn!(path = %file, %error, "cannot change the mode of admin.socket");
        }
    }

    fn serve(&mut self, AdminSockets { listen, unix }: AdminSockets) {
        let (http, service) =
            (self.http.clone(), AdminService::new(router::router(self.state.clone())));
        if let Some(AdminSocket(listeners)) = listen {
            let task = listeners.map(|listeners| {
                for address in listeners.local_addresses() {
                    let paths = AdminPath::ALL.map(AdminPath::as_str).join(" ");
                    info!(%address, "admin endpoint: {paths}");
                }
                let (http, service) = (http.clone(), service.clone());
                tokio::spawn(async move { http.serve(listeners, service).await })
            });
            replace(&mut self.serving, task);
        }
        if let Some(socket) = unix {
            let (listener, file) =
                socket.map(|AdminUnixSocket { listener, file }| (listener, file)).unzip();
            if let Some(file) = &file {
                info!(socket = %file, "admin socket");
            }
            let task = listener.map(|listener| {
                tokio::spawn(async move { http.serve_unix(listener, service).await })
            });
            self.socket_file = file;
            replace(&mut self.serving_unix, task);
        }
    }

    /// Ends the replies that last as long as their clients read, and waits for their end for a bounded
    /// time. Other requests are answered until the server is dropped.
    pub async fn end_long_replies(&self) {
        self.state.runtime.taps.close();
        let ended = self.http.long_replies_ended();
        let _some_do_not_read = tokio::time::timeout(LONG_REPLY_END_MAX, ended).await;
    }
}

/// Ends a task, and waits for its end.
async fn end(task: &mut Option<JoinHandle<()>>) {
    if let Some(task) = task.take() {
        task.abort();
        // The error says that it was cancelled.
        let _is_cancelled = task.await;
    }
}

/// Ends a task and notes its successor.
fn replace(task: &mut Option<JoinHandle<()>>, next: Option<JoinHandle<()>>) {
    if let Some(previous) = std::mem::replace(task, next) {
        previous.abort();
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        replace(&mut self.serving, None);
        replace(&mut self.serving_unix, None);
        self.history.abort();
    }
}
