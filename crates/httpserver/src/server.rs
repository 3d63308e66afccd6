//! Accepts connections. The module `connection` serves each.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use basics::host_name::HostName;
use basics::log_throttle::LogThrottle;
use basics::tcp_listeners::TcpListeners;
use parking_lot::Mutex;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tracing::warn;

use crate::accept::Accept;
use crate::access::{Access, AccessGate};
use crate::activity::Activity;
use crate::connection::Client;
use crate::connections::Connections;
use crate::hosts::AllowedHosts;
use crate::long_replies::LongReplies;
use crate::shared::{HttpLimits, Shared};
use crate::site::SiteService;
use crate::stats::{HttpServerStats, add_one};

/// Pause after a failed accept, such as for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a server that has passed its sockets on waits for the requests of clients that have connected
/// before. Their access may have been replaced with the server.
const HANDOVER_MAX: Duration = Duration::from_secs(1);

/// The settings and counts of a server. A clone shares them.
#[derive(Clone, Debug)]
pub struct HttpServer(pub(crate) Arc<Shared>);

impl HttpServer {
    /// Creates a server that serves nothing yet.
    #[must_use]
    pub fn new(
        name: String,
        limits: HttpLimits,
        hosts_key: &'static str,
        hosts: &[HostName],
        access: Arc<Access>,
    ) -> Self {
        Self(Arc::new(Shared {
            name,
            hosts_key,
            limits: Mutex::new(limits),
            hosts: AllowedHosts::new(hosts),
            gate: AccessGate::new(access),
            stats: Arc::default(),
            refused: Mutex::default(),
            failed_handshakes: Mutex::default(),
            long_replies: LongReplies::default(),
        }))
    }

    /// Applies other settings. New connections have the new limits and certificates. If the credentials or
    /// certificates that clients need have changed, open connections end after their current request, and a
    /// [`LongReply`](crate::LongReply) ends at once unless its client would be admitted again.
    pub fn reconfigure(&self, limits: HttpLimits, hosts: &[HostName], access: Arc<Access>) {
        *self.0.limits.lock() = limits;
        self.0.hosts.replace(hosts);
        self.0.gate.replace(access);
    }

    /// Who may use the server at this moment.
    #[must_use]
    pub fn access(&self) -> Arc<Access> {
        self.0.gate.current()
    }

    /// The counts of the server.
    #[must_use]
    pub fn stats(&self) -> &Arc<HttpServerStats> {
        &self.0.stats
    }

    /// Serves until the future is dropped, and closes all connections then.
    pub async fn serve(&self, sockets: TcpListeners, service: impl SiteService) {
        let mut connections = Connections::new(Arc::clone(&self.0.stats));
        tokio::select! {
            never = self.accept(&sockets, service, &mut connections) => match never {},
            never = self.0.gate.watch(&self.0.name) => match never {},
        }
    }

    /// Like [`HttpServer::serve`], at a Unix socket: each request carries the [`PeerUser`](crate::PeerUser) of its
    /// connection as an extension, and needs no credentials.
    pub async fn serve_unix(&self, socket: UnixListener, service: impl SiteService) {
        let mut connections = Connections::new(Arc::clone(&self.0.stats));
        match self.accept(&socket, service, &mut connections).await {}
    }

    /// Waits until no connection with a [`LongReply`](crate::LongReply) is open. The kernel then has all of
    /// these replies.
    pub async fn long_replies_ended(&self) {
        self.0.long_replies.ended().await;
    }

    /// Like [`HttpServer::serve`], but passes the sockets on when `heir` yields a sender for them.
    /// Then ends with the last open connection: each that has sent no request a second later is closed.
    pub async fn serve_until(
        &self,
        sockets: TcpListeners,
        service: impl SiteService,
        heir: oneshot::Receiver<oneshot::Sender<TcpListeners>>,
    ) {
        let mut connections = Connections::new(Arc::clone(&self.0.stats));
        let heir = async {
            match heir.await {
                Ok(heir) => heir,
                Err(_) => pending().await,
            }
        };
        let heir = tokio::select! {
            heir = heir => heir,
            never = self.accept(&sockets, service, &mut connections) => match never {},
            never = self.0.gate.watch(&self.0.name) => match never {},
        };
        // Without a receiver the sockets are closed here.
        drop(heir.send(sockets));
        let _some_wait = tokio::time::timeout(HANDOVER_MAX, connections.all_ended()).await;
        self.0.gate.close();
        connections.all_ended().await;
    }

    async fn accept<A: Accept>(
        &self,
        sockets: &A,
        service: impl SiteService,
        connections: &mut Connections,
    ) -> Infallible {
        let stats = &self.0.stats;
        let (mut full, mut failed) = (LogThrottle::default(), LogThrottle::default());
        let server = self.0.name.as_str();
        loop {
            let accepted = tokio::select! {
                accepted = sockets.next() => accepted,
                () = connections.ended() => continue,
            };
            match accepted {
                Ok((stream, peer, user)) => {
                    let (activity, limits) = (Arc::new(Activity::new()), *self.0.limits.lock());
                    let (entry, changes) = self.0.gate.enter();
                    if user.is_none() && entry.access.is_encrypted() {
                        let max = entry.access.limits().max_handshakes as usize;
                        if connections.make_room_for_handshake(max) {
                            self.0.log_handshake(
                                peer,
                                "too many at a time (`access.max_handshakes`)",
                            );
                        }
                        activity.set_handshaking(true);
                    }
                    let client = Client { peer, user, entry };
                    let connection = self.0.connection(
                        stream,
                        (client, changes),
                        limits,
                        &activity,
                        service.clone(),
                    );
                    if connections.add(limits.connections_max, activity, connection)
                        && let Some(count) = full.count(1)
                    {
                        warn!(
                            server, %peer, count, max_connections = limits.connections_max,
                            "all connections taken; closed the connections that were silent for longest"
                        );
                    }
                }
                Err(error) => {
                    add_one(&stats.accept_errors);
                    // It may be the lack of the descriptor that this connection holds.
                    connections.cut_longest_silent();
                    if let Some(count) = failed.count(1) {
                        warn!(server, %error, count, "cannot accept connections, will retry");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
