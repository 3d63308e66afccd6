//! The admin endpoint: an HTTP server that shows the state of the daemon and changes nothing.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::path::AdminPath;
use basics::tcp_listeners::{BindFailure, TcpListeners};
use httpserver::HttpServer;
use thiserror::Error;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::config::admin::{AdminConfig, AdminListen};
use crate::runtime::RuntimeState;

use self::service::AdminService;
use self::state::AdminState;

pub use self::service::http_server;

mod health;
mod history;
mod json;
mod page;
mod rejected;
mod reload;
mod router;
mod service;
mod state;
mod status;
mod tap;
mod top;

/// How long a stop waits for clients that do not read the end of a long reply.
const LONG_REPLY_END_MAX: Duration = Duration::from_secs(1);

/// Why the endpoint cannot be bound.
#[derive(Debug, Error)]
#[error("cannot listen on {address} for the admin endpoint: {source}; change `admin: {{listen}}`")]
pub struct AdminError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// Bound sockets that are not served yet; `None` when the endpoint is disabled.
#[derive(Debug)]
pub struct AdminSocket(Option<TcpListeners>);

/// The endpoint. Dropping it stops serving.
#[derive(Debug)]
pub struct AdminServer {
    listen: AdminListen,
    http: HttpServer,
    state: AdminState,
    serving: Option<JoinHandle<()>>,
}

impl AdminSocket {
    /// Binds the configured addresses.
    ///
    /// # Errors
    /// When an address is taken, or this host has none of them.
    pub async fn bind(listen: &AdminListen) -> Result<Self, AdminError> {
        let AdminListen::At(addresses) = listen else { return Ok(Self(None)) };
        let sockets = TcpListeners::bind(addresses)
            .await
            .map_err(|failure| AdminError { address: failure.address, source: failure.error })?;
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
        socket: AdminSocket,
        runtime: Arc<RuntimeState>,
    ) -> Self {
        let state = AdminState::new(runtime);
        let listen = config.listen.clone();
        let mut server = Self { listen, http, state, serving: None };
        server.serve(socket);
        server
    }

    /// Binds the address of another configuration if it differs; the server keeps running.
    ///
    /// # Errors
    /// When the address is taken or does not belong to this host.
    pub async fn prepare(&self, config: &AdminConfig) -> Result<Option<AdminSocket>, AdminError> {
        if config.listen == self.listen {
            Ok(None)
        } else {
            AdminSocket::bind(&config.listen).await.map(Some)
        }
    }

    /// Applies another configuration, with the socket that [`AdminServer::prepare`] bound for it.
    pub fn apply(
        &mut self,
        config: &AdminConfig,
        connections_max: usize,
        socket: Option<AdminSocket>,
    ) {
        self.http.reconfigure(service::limits(config, connections_max), &config.hosts);
        self.listen = config.listen.clone();
        if let Some(socket) = socket {
            self.serve(socket);
        }
    }

    fn serve(&mut self, AdminSocket(socket): AdminSocket) {
        self.stop();
        let Some(socket) = socket else { return };
        for address in socket.local_addresses() {
            info!(%address, "admin endpoint: {}", AdminPath::ALL.map(AdminPath::as_str).join(" "));
        }
        let (history, runtime) = (Arc::clone(&self.state.history), self.state.runtime.clone());
        let service = AdminService::new(router::router(self.state.clone()));
        let http = self.http.clone();
        self.serving = Some(tokio::spawn(async move {
            tokio::select! {
                () = http.serve(socket, service) => {}
                () = history.keep(runtime) => {}
            }
        }));
    }

    /// Ends the replies that last as long as their clients read, and waits for their end for a bounded
    /// time. Other requests are answered until the server is dropped.
    pub async fn end_long_replies(&self) {
        self.state.runtime.taps.close();
        let ended = self.http.long_replies_ended();
        let _some_do_not_read = tokio::time::timeout(LONG_REPLY_END_MAX, ended).await;
    }

    fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.stop();
    }
}
