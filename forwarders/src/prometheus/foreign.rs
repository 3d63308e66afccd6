//! Pages of other programs on this host that are fetched during a scrape: one whose metrics are
//! appended to tallyd's page, and one that is passed on unchanged.

use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tracing::warn;

use super::config::{MergeConfig, RelayConfig};
use super::exposition;
use super::page::Page;
use crate::config::DeliveryConfig;
use crate::http::header::HeaderValue;
use crate::http::{HttpClient, HttpReply, HttpSettings, HttpUrl, StatusCode, TlsConfig};
use basics::log_throttle::LogThrottle;
use basics::units::{ByteSize, Span};

/// The content type for a page that states none or an invalid one.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// A page that is fetched with each scrape; its metrics are appended to tallyd's.
pub(super) struct Merge(ForeignPage);

/// A page that is passed on unchanged.
pub(super) struct Relay {
    /// The path at which it is served.
    pub(super) path: String,
    source: ForeignPage,
}

/// Fetches another program's page, counts failures and limits their log lines.
struct ForeignPage {
    url: HttpUrl,
    client: HttpClient,
    bytes_max: usize,
    failed: Arc<AtomicU64>,
    log: Mutex<LogThrottle>,
}

impl Merge {
    /// Creates the page. `failed` counts the fetches that fail and the pages that cannot be used.
    ///
    /// # Errors
    /// If the HTTP client cannot be created. The text says what to change.
    pub(super) fn new(
        config: &MergeConfig,
        name: &str,
        failed: Arc<AtomicU64>,
    ) -> Result<Self, String> {
        let source = ForeignPage::new(&config.url, name, config.timeout, config.max_bytes, failed);
        source.map(Self).map_err(|error| format!("merge: {error}"))
    }

    /// Returns the page's metrics without the families that clash with a name in `own`, or no
    /// metrics if the fetch fails.
    pub(super) async fn metrics(&self, own: &Arc<Page>) -> Bytes {
        match self.read(own).await {
            Ok((metrics, clash)) => {
                if let Some(name) = clash {
                    let error = format!("its metric `{name}` is already on the page of tallyd");
                    self.0.failed(&error);
                }
                metrics
            }
            Err(error) => {
                self.0.failed(&error);
                Bytes::new()
            }
        }
    }

    /// Fetches and parses the page. A page may be large, and parsing it must not delay the
    /// forwarders that share the thread.
    async fn read(&self, own: &Arc<Page>) -> Result<(Bytes, Option<String>), String> {
        let (reply, own) = (self.0.fetch().await?, Arc::clone(own));
        let read = tokio::task::spawn_blocking(move || foreign_metrics(own.names(), &reply.body));
        // The task fails only when the runtime shuts down, and the connection with it.
        read.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

impl Relay {
    /// Creates the page. `failed` counts the fetches that fail.
    ///
    /// # Errors
    /// If the HTTP client cannot be created. The text says what to change.
    pub(super) fn new(
        config: &RelayConfig,
        name: &str,
        failed: Arc<AtomicU64>,
    ) -> Result<Self, String> {
        let source = ForeignPage::new(&config.url, name, config.timeout, config.max_bytes, failed);
        let source = source.map_err(|error| format!("relay: {error}"))?;
        Ok(Self { path: config.path.as_str().to_owned(), source })
    }

    /// Fetches the page and returns it with its content type.
    ///
    /// # Errors
    /// If the fetch fails.
    pub(super) async fn page(&self) -> Result<(Bytes, HeaderValue), String> {
        match self.source.fetch().await {
            Ok(reply) => {
                let content_type = reply.content_type.and_then(|text| text.parse().ok());
                Ok((reply.body.into(), content_type.unwrap_or(TEXT)))
            }
            Err(error) => {
                self.source.failed(&error);
                Err(error)
            }
        }
    }
}

impl ForeignPage {
    fn new(
        url: &HttpUrl,
        name: &str,
        timeout: Span,
        max_bytes: ByteSize,
        failed: Arc<AtomicU64>,
    ) -> Result<Self, String> {
        let (tls, timeout) = (TlsConfig::default(), timeout.get());
        let resolve_every = DeliveryConfig::default().resolve_every.get();
        let authorization = None;
        let settings = HttpSettings { name, url, tls: &tls, authorization, timeout, resolve_every };
        let client = HttpClient::new(settings).map_err(|error| error.to_string())?;
        let bytes_max = usize::try_from(max_bytes.get()).unwrap_or(usize::MAX);
        Ok(Self { url: url.clone(), client, bytes_max, failed, log: Mutex::default() })
    }

    async fn fetch(&self) -> Result<HttpReply, String> {
        let reply = self.client.get(self.url.url(), self.bytes_max).await;
        let reply = reply.map_err(|error| error.to_string())?;
        if reply.status != StatusCode::OK {
            return Err(reply.words());
        }
        // A truncated page could end in the middle of a number, which would still parse.
        if reply.is_cut {
            return Err(format!(
                "{} is longer than {} bytes (max_bytes)",
                self.url, self.bytes_max
            ));
        }
        Ok(reply)
    }

    fn failed(&self, error: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        if let Some(times) = self.log.lock().count(1) {
            warn!(url = %self.url, error, times, "cannot use the page of another program");
        }
    }
}

/// Returns the metrics of a page without the families that clash with tallyd's names, and the first
/// such name. Some readers reject a whole page in which two metrics have one name.
fn foreign_metrics(own: &HashSet<String>, page: &[u8]) -> Result<(Bytes, Option<String>), String> {
    let text = std::str::from_utf8(page).map_err(|_| "it is not UTF-8".to_owned())?;
    let families = exposition::parse(text).map_err(|error| error.to_string())?;
    let (mut out, mut clash) = (Vec::new(), None);
    // A clash is counted like a failed fetch, but the other metrics of the page stay.
    for family in families {
        if family.names().any(|name| own.contains(&name)) {
            clash.get_or_insert_with(|| family.name().to_owned());
        } else {
            family.write(&mut out);
        }
    }
    Ok((out.into(), clash))
}
