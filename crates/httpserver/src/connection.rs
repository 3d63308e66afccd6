//! Serves one connection: the handshake, the requests, and the end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::accept::{PeerUser, SocketPeer};
use crate::access::{Access, Denial, Entry, Identity};
use crate::activity::{Activity, WatchedStream};
use crate::guard::{self, PathAccess};
use crate::handshake::{self, FailedHandshake};
use crate::reply::{self, LongReply, ReplyBody};
use crate::shared::{HttpLimits, Shared};
use crate::site::SiteService;
use crate::stats::add_one;

/// Pause between two checks of the time limits of a connection.
const CHECK_PAUSE: Duration = Duration::from_secs(1);
/// The smallest buffer that hyper works with.
const BUFFER_MIN: usize = 8192;

/// Notices of other rules than those under which a client connected.
pub(crate) type RuleChanges = watch::Receiver<Arc<Access>>;

/// The client of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) peer: SocketPeer,
    /// The user, where the kernel knows it.
    pub(crate) user: Option<PeerUser>,
    pub(crate) entry: Entry,
}

impl Shared {
    /// Serves one connection, after its handshake if the server has TLS.
    pub(crate) fn connection<S: SiteService>(
        self: &Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        (mut client, changes): (Client, RuleChanges),
        limits: HttpLimits,
        activity: &Arc<Activity>,
        service: S,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (server, activity) = (Arc::clone(self), Arc::clone(activity));
        let stream = WatchedStream::new(stream, Arc::clone(&activity));
        async move {
            let access = Arc::clone(&client.entry.access);
            let Some(tls) = access.tls().filter(|_| client.user.is_none()) else {
                return server.talk(stream, (client, changes), limits, &activity, service).await;
            };
            let limit = access.limits().handshake_timeout.get();
            match handshake::secure(stream, tls, limit).await {
                Ok((stream, certificates)) => {
                    activity.set_handshaking(false);
                    client.entry.certificates = certificates;
                    server.talk(stream, (client, changes), limits, &activity, service).await;
                }
                Err(FailedHandshake { reason, words }) => {
                    server.stats.access.count_handshake(reason);
                    server.log_handshake(client.peer, &words);
                }
            }
        }
    }

    /// Answers the requests of one connection.
    async fn talk<S: SiteService>(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        (client, mut changes): (Client, RuleChanges),
        limits: HttpLimits,
        activity: &Arc<Activity>,
        service: S,
    ) {
        let (client, service) = (&client, &service);
        // Dropped after the connection, and also when its task is aborted.
        let long_reply = OnceLock::new();
        let replies = service_fn(|mut request: Request<Incoming>| {
            if let Some(user) = client.user {
                request.extensions_mut().insert(user);
            }
            let long_reply = &long_reply;
            async move {
                let (mut reply, identity) =
                    self.reply(request, client, service, limits, activity).await;
                if reply.extensions_mut().remove::<LongReply>().is_some() {
                    activity.set_long();
                    let (_, identity) =
                        long_reply.get_or_init(|| (self.long_replies.begin(), identity));
                    // The rules may have changed after the request was admitted.
                    self.end_unless_admitted(client, identity.as_ref(), activity);
                }
                Ok::<_, Infallible>(reply)
            }
        });
        let stream = TokioIo::new(stream);
        let mut connection = pin!(
            http1::Builder::new()
                .keep_alive(!limits.last_reply_after.is_zero())
                .timer(TokioTimer::new())
                .header_read_timeout(limits.head_max)
                .max_buf_size(limits.head_bytes_max.max(BUFFER_MIN))
                .max_header_size(limits.head_bytes_max)
                .serve_connection(stream, replies)
        );
        let mut too_slow = pin!(too_slow(activity, limits));
        let is_too_slow = loop {
            tokio::select! {
                // A change of the rules comes before the requests that arrive after it.
                biased;
                Ok(()) = changes.changed(), if client.user.is_none() => {
                    if let Some((_, identity)) = long_reply.get() {
                        self.end_unless_admitted(client, identity.as_ref(), activity);
                    }
                    connection.as_mut().graceful_shutdown();
                }
                ended = connection.as_mut() => break ended.is_err_and(|error| {
                    debug!(server = self.name, %error, "connection failed");
                    error.is_timeout()
                }),
                () = too_slow.as_mut() => break true,
            }
        };
        if is_too_slow {
            debug!(server = self.name, "connection closed: its client took too long");
            add_one(&self.stats.cut_slow);
        }
    }

    async fn reply<S: SiteService>(
        &self,
        mut request: Request<Incoming>,
        client: &Client,
        service: &S,
        limits: HttpLimits,
        activity: &Arc<Activity>,
    ) -> (Response<ReplyBody<S::Body>>, Option<Identity>) {
        let path_access = service.access(request.uri().path());
        let mut admitted_as = None;
        let mut reply = if let Err(refusal) = guard::check(&request, path_access, &self.hosts) {
            let words = refusal.words(self.hosts_key);
            self.log_refusal(&words, &request);
            reply::words(refusal.status(), &words, Arc::clone(activity))
        } else {
            // From here on the client waits for the server.
            activity.set_handling(true);
            let reply = match self.admit(&request, client, path_access).await {
                Ok(identity) => {
                    admitted_as.clone_from(&identity);
                    if let Some(identity) = identity {
                        request.extensions_mut().insert(identity);
                    }
                    reply::served(service.answer(request).await, Arc::clone(activity))
                }
                Err(denial) => {
                    self.note(&denial, client);
                    reply::denied(&denial, Arc::clone(activity))
                }
            };
            activity.set_handling(false);
            reply
        };
        for (name, value) in self.gate.current().headers() {
            reply.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        if activity.age() > limits.last_reply_after {
            // In a header: a close without notice could cross the next request.
            reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        (reply, admitted_as)
    }

    /// The identity of the client of a request, if it proves one.
    async fn admit(
        &self,
        request: &Request<Incoming>,
        client: &Client,
        path_access: PathAccess,
    ) -> Result<Option<Identity>, Denial> {
        // The kernel has authenticated the user of a Unix socket.
        if client.user.is_some() || path_access == PathAccess::Health {
            return Ok(None);
        }
        self.gate.admit(request.headers(), &client.entry).await
    }

    /// Ends the long reply of a client that would no longer be admitted.
    fn end_unless_admitted(
        &self,
        client: &Client,
        identity: Option<&Identity>,
        activity: &Activity,
    ) {
        let gate = &self.gate;
        let is_admitted = client.user.is_some() || gate.still_admits(&client.entry, identity);
        if !is_admitted && activity.end_reply() {
            self.note(&gate.revocation(), client);
        }
    }

    fn note(&self, denial: &Denial, client: &Client) {
        self.gate.note(denial, &self.name, client.peer, &self.stats.access);
    }

    fn log_refusal(&self, words: &str, request: &Request<Incoming>) {
        add_one(&self.stats.refused_requests);
        if let Some(count) = self.refused.lock().count(1) {
            let host = request.headers().get(hyper::header::HOST);
            let path = request.uri().path();
            warn!(server = self.name, count, ?host, path, "requests refused: {words}");
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
