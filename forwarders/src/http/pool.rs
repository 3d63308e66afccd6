//! The connection to an HTTP server, which is replaced when its name has other addresses, and after a
//! request without a reply.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use httpclient::reqwest::dns::{Addrs, Name, Resolve, Resolving};
use httpclient::reqwest::{self, Client, Request, Response};
use parking_lot::Mutex;
use rustls::ClientConfig;

use super::error::HttpSetupError;
use super::settings::HttpSettings;
use crate::network::host::Host;

/// Time limit for a connection, from the look-up of the name to the end of the TLS handshake.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// The version of HTTP that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HttpVersion {
    /// HTTP/1.1.
    One,
    /// HTTP/2 without negotiation, for gRPC.
    #[cfg(feature = "otlp")]
    Two,
}

/// A client with at most one idle connection.
pub(super) struct ClientPool {
    /// `None` for a URL with an address, which needs no look-up.
    host: Option<Arc<Host>>,
    /// `None` for `http://`.
    tls: Option<ClientConfig>,
    version: HttpVersion,
    /// Time limit of a request.
    timeout: Duration,
    current: Mutex<PooledClient>,
}

struct PooledClient {
    client: Client,
    /// The address of the latest reply.
    peer: Option<SocketAddr>,
    /// Whether a request got no complete reply. Its connection may be dead without a sign of it, for
    /// example after a firewall has lost its state, and HTTP/2 would keep it for further requests
    /// until the kernel gives up, which takes a quarter of an hour.
    is_doubted: bool,
}

impl PooledClient {
    fn new(client: Client) -> Self {
        Self { client, peer: None, is_doubted: false }
    }
}

impl ClientPool {
    /// Creates a client for the server of these settings.
    pub(super) fn new(
        settings: &HttpSettings<'_>,
        version: HttpVersion,
    ) -> Result<Self, HttpSetupError> {
        let HttpSettings { name, url, tls, timeout, resolve_every, .. } = *settings;
        let host = url.domain().map(|(host, port)| Host::new(host, port, name, resolve_every));
        let tls = if url.is_https() { Some(offering(version, tls.client_config()?)) } else { None };
        let client = client(host.as_ref(), tls.as_ref(), version, timeout)?;
        Ok(Self { host, tls, version, timeout, current: Mutex::new(PooledClient::new(client)) })
    }

    /// The same pool for a server with another name.
    #[cfg(test)]
    pub(super) fn with_host(self, host: Arc<Host>) -> Self {
        let client = client(Some(&host), self.tls.as_ref(), self.version, self.timeout).unwrap();
        let current = Mutex::new(PooledClient::new(client));
        Self { host: Some(host), current, ..self }
    }

    /// Sends a request.
    pub(super) async fn execute(&self, request: Request) -> Result<Response, reqwest::Error> {
        let client = self.client().await;
        let response = client.execute(request).await?;
        self.current.lock().peer = response.remote_addr();
        Ok(response)
    }

    /// Begins an exchange. Unless it is completed, the next request looks the server's name up and
    /// makes a new connection.
    pub(super) fn begin(&self) -> Exchange<'_> {
        Exchange { pool: self, is_complete: false }
    }

    /// The client, a new one if the connection is doubted, or leads to an address that the name no
    /// longer has.
    async fn client(&self) -> Client {
        if let Some(host) = &self.host {
            // An error is reported by the request, which looks the name up too.
            let _looked_up = host.addresses().await;
        }
        let mut current = self.current.lock();
        let has_moved = |peer| self.host.as_ref().is_some_and(|host| !host.still_has(peer));
        if (current.is_doubted || current.peer.is_some_and(has_moved))
            // Fails only for lack of resources; then the connection stays for another request.
            && let Ok(client) =
                client(self.host.as_ref(), self.tls.as_ref(), self.version, self.timeout)
        {
            *current = PooledClient::new(client);
        }
        current.client.clone()
    }
}

/// A request and its reply. Ends as a failure when it is dropped, which is how a time limit ends it:
/// a server that has moved may leave an address at which nothing answers.
#[must_use]
pub(super) struct Exchange<'a> {
    pool: &'a ClientPool,
    is_complete: bool,
}

impl Exchange<'_> {
    /// Records that the whole reply arrived.
    pub(super) fn complete(mut self) {
        self.is_complete = true;
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        if self.is_complete {
            return;
        }
        self.pool.current.lock().is_doubted = true;
        if let Some(host) = &self.pool.host {
            host.distrust();
        }
    }
}

/// Offers the version in the TLS handshake, which servers of HTTP/2 require.
fn offering(version: HttpVersion, tls: ClientConfig) -> ClientConfig {
    match version {
        HttpVersion::One => tls,
        #[cfg(feature = "otlp")]
        HttpVersion::Two => {
            let mut tls = tls;
            tls.alpn_protocols = vec![b"h2".to_vec()];
            tls
        }
    }
}

fn client(
    host: Option<&Arc<Host>>,
    tls: Option<&ClientConfig>,
    version: HttpVersion,
    timeout: Duration,
) -> io::Result<Client> {
    let mut builder = match tls {
        Some(tls) => httpclient::with_tls(tls.clone()),
        None => httpclient::plain()?,
    };
    match version {
        HttpVersion::One => {}
        #[cfg(feature = "otlp")]
        HttpVersion::Two => builder = httpclient::over_http2(builder),
    }
    if let Some(host) = host {
        builder = builder.dns_resolver(Arc::new(KnownAddresses(Arc::clone(host))));
    }
    let builder = builder
        .connect_timeout(CONNECT_MAX)
        // One request at a time, so more idle connections would never be used.
        .pool_max_idle_per_host(1)
        // A connection that is replaced ends when its data has been sent, which a dead peer never
        // acknowledges: without this limit, each would keep its memory for a quarter of an hour.
        .tcp_user_timeout(timeout);
    builder.build().map_err(io::Error::other)
}

/// Gives the client the addresses of the one name that it connects to.
struct KnownAddresses(Arc<Host>);

impl Resolve for KnownAddresses {
    fn resolve(&self, _: Name) -> Resolving {
        let host = Arc::clone(&self.0);
        Box::pin(async move {
            let addresses: Addrs = Box::new(host.addresses().await?.into_iter());
            Ok(addresses)
        })
    }
}

impl fmt::Debug for ClientPool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ClientPool").field("host", &self.host).finish_non_exhaustive()
    }
}
