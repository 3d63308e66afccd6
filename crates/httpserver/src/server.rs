//! Accepts connections and serves them.

use std::convert::Infallible;
use std::error::Error;
use std::future::pending;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use basics::host_name::HostName;
use basics::log_throttle::LogThrottle;
use basics::tcp_listeners::TcpListeners;
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tracing::{debug, warn};

use crate::accept::{Accept, PeerUser, SocketPeer};
use crate::access::{Access, AccessGate, Denial, Identity};
use crate::activity::{Activity, WatchedStream};
use crate::connections::Connections;
use crate::guard::{self, PathAccess};
use crate::handshake::{self, FailedHandshake};
use crate::hosts::AllowedHosts;
use crate::long_replies::LongReplies;
use crate::reply::{self, LongReply, ReplyBody};
use crate::stats::{HttpServerStats, add_one};

/// Pause between two checks of the time limits of a connection.
const CHECK_PAUSE: Duration = Duration::from_secs(1);
/// Pause after a failed accept, such as for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The smallest buffer that hyper works with.
const BUFFER_MIN: usize = 8192;

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
    /// Age at which a connection is cut, unless its reply is a [`LongReply`].
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
pub struct HttpServer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The name in the log, such as `admin endpoint`.
    name: String,
    /// The key with the allowed host names, such as `admin: {hosts: […]}`.
    hosts_key: &'static str,
    limits: Mutex<HttpLimits>,
    hosts: AllowedHosts,
    gate: AccessGate,
    stats: Arc<HttpServerStats>,
    refused: Mutex<LogThrottle>,
    failed_handshakes: Mutex<LogThrottle>,
    long_replies: LongReplies,
}

/// The client of a connection.
#[derive(Clone, Copy, Debug)]
struct Client {
    peer: SocketPeer,
    /// The user, where the kernel knows it.
    user: Option<PeerUser>,
    /// Whether the client has proved its identity by a certificate.
    has_certificate: bool,
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

    /// Applies other settings. New connections have the new limits and certificates, and the next
    /// request of each connection needs the new credentials.
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

    /// Like [`HttpServer::serve`], at a Unix socket: each request carries the [`PeerUser`] of its
    /// connection as an extension, and needs no credentials.
    pub async fn serve_unix(&self, socket: UnixListener, service: impl SiteService) {
        let mut connections = Connections::new(Arc::clone(&self.0.stats));
        match self.accept(&socket, service, &mut connections).await {}
    }

    /// Waits until no connection with a [`LongReply`] is open. The kernel then has all of these
    /// replies.
    pub async fn long_replies_ended(&self) {
        self.0.long_replies.ended().await;
    }

    /// Like [`HttpServer::serve`], but passes the sockets on when `heir` yields a sender for them.
    /// Then ends with the last open connection.
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
                    let (service, client) =
                        (service.clone(), Client { peer, user, has_certificate: false });
                    let access = self.0.gate.current();
                    if user.is_none() && access.is_encrypted() {
                        let max = access.limits().max_handshakes as usize;
                        if connections.make_room_for_handshake(max) {
                            self.log_handshake(
                                peer,
                                "too many at a time (`access.max_handshakes`)",
                            );
                        }
                        activity.set_handshaking(true);
                    }
                    let connection =
                        self.connection(stream, (client, access), limits, &activity, service);
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

    /// Serves one connection, after its handshake if the server has TLS.
    fn connection<S: SiteService>(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        (client, access): (Client, Arc<Access>),
        limits: HttpLimits,
        activity: &Arc<Activity>,
        service: S,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (server, activity) = (self.clone(), Arc::clone(activity));
        async move {
            let tls = access.tls().filter(|_| client.user.is_none());
            let Some(tls) = tls else {
                return server.talk(stream, client, limits, &activity, service).await;
            };
            let limit = access.limits().handshake_timeout.get();
            match handshake::secure(stream, tls, limit).await {
                Ok((stream, has_certificate)) => {
                    activity.set_handshaking(false);
                    // The connection needs the previous certificates no longer.
                    drop(access);
                    let client = Client { has_certificate, ..client };
                    server.talk(stream, client, limits, &activity, service).await;
                }
                Err(FailedHandshake { reason, words }) => {
                    server.0.stats.access.count_handshake(reason);
                    server.log_handshake(client.peer, &words);
                }
            }
        }
    }

    /// Answers the requests of one connection.
    async fn talk<S: SiteService>(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        client: Client,
        limits: HttpLimits,
        activity: &Arc<Activity>,
        service: S,
    ) {
        // Dropped after the connection, and also when its task is aborted.
        let long_reply = OnceLock::new();
        let stream = TokioIo::new(WatchedStream::new(stream, Arc::clone(activity)));
        let replies = service_fn(|mut request: Request<Incoming>| {
            if let Some(user) = client.user {
                request.extensions_mut().insert(user);
            }
            let (service, long_reply) = (&service, &long_reply);
            async move {
                let mut reply = self.reply(request, client, service, limits, activity).await;
                if reply.extensions_mut().remove::<LongReply>().is_some() {
                    activity.set_long();
                    long_reply.get_or_init(|| self.0.long_replies.begin());
                }
                Ok::<_, Infallible>(reply)
            }
        });
        let connection = http1::Builder::new()
            .keep_alive(!limits.last_reply_after.is_zero())
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_max)
            .max_buf_size(limits.head_bytes_max.max(BUFFER_MIN))
            .max_header_size(limits.head_bytes_max)
            .serve_connection(stream, replies);
        let is_too_slow = tokio::select! {
            ended = connection => ended.is_err_and(|error| {
                debug!(server = self.0.name, %error, "connection failed");
                error.is_timeout()
            }),
            () = too_slow(activity, limits) => true,
        };
        if is_too_slow {
            debug!(server = self.0.name, "connection closed: its client took too long");
            add_one(&self.0.stats.cut_slow);
        }
    }

    async fn reply<S: SiteService>(
        &self,
        mut request: Request<Incoming>,
        client: Client,
        service: &S,
        limits: HttpLimits,
        activity: &Arc<Activity>,
    ) -> Response<ReplyBody<S::Body>> {
        let path_access = service.access(request.uri().path());
        let mut reply = if let Err(refusal) = guard::check(&request, path_access, &self.0.hosts) {
            let words = refusal.words(self.0.hosts_key);
            self.log_refusal(&words, &request);
            reply::words(refusal.status(), &words, Arc::clone(activity))
        } else {
            // From here on the client waits for the server.
            activity.set_handling(true);
            let reply = match self.admit(&request, client, path_access).await {
                Ok(identity) => {
                    if let Some(identity) = identity {
                        request.extensions_mut().insert(identity);
                    }
                    reply::served(service.answer(request).await, Arc::clone(activity))
                }
                Err(denial) => {
                    self.0.gate.note(&denial, &self.0.name, client.peer, &self.0.stats.access);
                    reply::denied(&denial, Arc::clone(activity))
                }
            };
            activity.set_handling(false);
            reply
        };
        for (name, value) in self.0.gate.current().headers() {
            reply.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        if activity.age() > limits.last_reply_after {
            // In a header: a close without notice could cross the next request.
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }

    /// The identity of the client of a request, if it proves one.
    async fn admit(
        &self,
        request: &Request<Incoming>,
        client: Client,
        path_access: PathAccess,
    ) -> Result<Option<Identity>, Denial> {
        // The kernel has authenticated the user of a Unix socket.
        if client.user.is_some() || path_access == PathAccess::Health {
            return Ok(None);
        }
        self.0.gate.admit(request.headers(), client.has_certificate).await
    }

    fn log_handshake(&self, peer: SocketPeer, words: &str) {
        if let Some(count) = self.0.failed_handshakes.lock().count(1) {
            warn!(server = self.0.name, %peer, count, "TLS handshakes failed: {words}");
        }
    }

    fn log_refusal(&self, words: &str, request: &Request<Incoming>) {
        add_one(&self.0.stats.refused_requests);
        if let Some(count) = self.0.refused.lock().count(1) {
            let host = request.headers().get(hyper::header::HOST);
            let path = request.uri().path();
            warn!(server = self.0.name, count, ?host, path, "requests refused: {words}");
        }
    }
}

/// Waits until a client has exceeded a time limit.
async fn too_slow(activity: &Activity, limits: HttpLimits) {
    loop {
        let rest = limits.age_max.saturating_sub(activity.age_of_client());
        tokio::time::sleep(rest.clamp(Duration::from_millis(10), CHECK_PAUSE)).await;
        let is_too_old = activity.age_of_client() >= limits.age_max && !activity.is_long();
        if is_too_old || activity.has_stalled_for(limits.stall_max) {
            return;
        }
    }
}
