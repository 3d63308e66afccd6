//! Accepts connections. The module `connection` serves each.

use std::convert::Infallible;
use std::error::Error;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use basics::host_name::HostName;
use basics::log_throttle::LogThrottle;
use basics::tcp_listeners::TcpListeners;
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::{Request, Response};
use parking_lot::Mutex;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tracing::warn;

use crate::accept::{Accept, SocketPeer};
use crate::access::{Access, AccessGate};
use crate::activity::Activity;
use crate::connection::Client;
use crate::connections::Connections;
use crate::guard::PathAccess;
use crate::hosts::AllowedHosts;
use crate::long_replies::LongReplies;
use crate::stats::{HttpServerStats, add_one};

/// Pause after a failed accept, such as for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a server that has passed its sockets on waits for the requests of clients that have connected
/// before. Their access may have been replaced with the server.
const HANDOVER_MAX: Duration = Duration::from_secs(1);

/// The limits on a client.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Most connections at a time.
    pub connections_max: usize,
    /// How long the head of a request may take, and a connection may wait for its next request.
    pub head_max: Duration,
    /// Longest head of a request, in bytes.
    pub head_bytes_max: usize,
    /// How long a client may read nothing of a reply.
    pub stall_max: Duration,
    /// Age from which the next reply is the last of its connection.
    pub last_reply_after: Duration,
    /// Age at which a connection is cut, unless its reply is a [`LongReply`](crate::LongReply).
    pub age_max: Duration,
}

/// The paths and replies of a server.
pub trait SiteService: Clone + Send + Sync + 'static {
    /// The body of a reply.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + Send;

    /// Who may request a path.
    fn access(&self, path: &str) -> PathAccess;

    /// Answers a request.
    fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// The settings and counts of a server. A clone shares them.
#[derive(Clone, Debug)]
pub struct HttpServer(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    /// The name in the log, such as `admin endpoint`.
    pub(crate) name: String,
    /// The key with the allowed host names, such as `admin: {hosts: […]}`.
    pub(crate) hosts_key: &'static str,
    limits: Mutex<HttpLimits>,
    pub(crate) hosts: AllowedHosts,
    pub(crate) gate: AccessGate,
    pub(crate) stats: Arc<HttpServerStats>,
    pub(crate) refused: Mutex<LogThrottle>,
    failed_handshakes: Mutex<LogThrottle>,
    pub(crate) long_replies: LongReplies,
}

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
                            self.log_handshake(
                                peer,
                                "too many at a time (`access.max_handshakes`)",
                            );
                        }
                        activity.set_handshaking(true);
                    }
                    let client = Client { peer, user, entry };
                    let connection = self.connection(
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

    pub(crate) fn log_handshake(&self, peer: SocketPeer, words: &str) {
        if let Some(count) = self.0.failed_handshakes.lock().count(1) {
            warn!(server = self.0.name, %peer, count, "TLS handshakes failed: {words}");
        }
    }
}
