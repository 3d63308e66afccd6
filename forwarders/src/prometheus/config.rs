//! `forwarders.prometheus`: what an operator writes.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::config::{DeliveryConfig, InvalidKey};
use crate::http::{HttpUrl, TlsConfig};
use crate::naming::PageNaming;
use crate::select::SelectConfig;
use basics::address::Listen;
use basics::text::Secret;
use basics::units::{ByteSize, Span, between};

/// Most connections that may be asked for.
const CONNECTIONS_MAX: u32 = 65_536;
/// Smallest and largest request that may be asked for.
const REQUEST_RANGE: RangeInclusive<ByteSize> = ByteSize::from_bytes(1024)..=ByteSize::from_mib(1);
/// Smallest and largest body of a remote write.
const BODY_RANGE: RangeInclusive<ByteSize> = ByteSize::from_bytes(1024)..=ByteSize::from_mib(64);
/// Most samples of a remote write.
const SAMPLES_MAX: usize = 1_000_000;

/// `forwarders.prometheus`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrometheusConfig {
    /// What ledger and log call it. Defaults to `prometheus`.
    pub name: Option<String>,
    /// `host:port` of the page, or `none` for no page. It has no password: on another address than
    /// loopback everybody who reaches it can read it. Defaults to `127.0.0.1:9494`.
    pub listen: PageListen,
    /// Path of the page. Defaults to `/metrics`.
    pub path: PagePath,
    /// The names of Kamailio's series: `tallyd`, or `callr` or `pascom` for the names of an older
    /// exporter. All other series have tallyd's names. Defaults to `tallyd`.
    pub naming: PageNaming,
    /// A series without samples for this long leaves the page. A longer time bridges longer pauses,
    /// at the cost of showing values that are long past. Defaults to `aggregation.expire_after`.
    pub expire_after: Option<Span>,
    /// Most series that the page has; points of further ones are dropped and counted as
    /// `page_full`. More of them make scrapes and the daemon larger, some 500 bytes each. At least
    /// 1. Defaults to `200000`.
    #[serde(deserialize_with = "at_least_one")]
    pub max_series: u64,
    /// Most bytes of the page, counted the same way. The daemon holds up to three of this size for
    /// a moment. Defaults to `256MiB`.
    pub max_page: ByteSize,
    /// Most series that have left whose totals are kept, so that one that comes back goes on where
    /// it was; beyond, the one that left first begins at 0 again. Each costs some 100 bytes. 0 keeps
    /// none. Defaults to `100000`.
    pub max_departed: u64,
    /// Most connections at a time, 1 to 65536; beyond, a new one is closed at once. Each that reads
    /// slowly may hold a page. Defaults to `64`.
    #[serde(deserialize_with = "connections")]
    pub max_connections: u32,
    /// How long a connection may take, from its first byte to the last one of the reply. A longer
    /// time suits a slow network, at the cost of keeping those that do nothing. Defaults to `30s`.
    pub request_timeout: Span,
    /// Longest request with all its headers, 1KiB to 1MiB; a longer one is answered with 431.
    /// Defaults to `16KiB`.
    #[serde(deserialize_with = "request")]
    pub max_request: ByteSize,
    /// A page of another program whose metrics are put behind the others, such as those that an
    /// operator defines in Kamailio's `xhttp_prom`. Defaults to none.
    pub merge: Option<MergeConfig>,
    /// A page of another program that is handed on as it is, such as rtpengine's. Defaults to none.
    pub relay: Option<RelayConfig>,
    /// Pushes the same series to a server as well, as a destination of its own that is called
    /// `NAME.remote_write`. Defaults to none.
    pub remote_write: Option<RemoteWriteConfig>,
    /// Which series are shown.
    pub select: SelectConfig,
    /// How hard it is tried; of effect for `remote_write` only.
    pub delivery: DeliveryConfig,
}

impl Default for PrometheusConfig {
    fn default() -> Self {
        Self {
            name: None,
            listen: PageListen::default(),
            path: PagePath::default(),
            naming: PageNaming::default(),
            expire_after: None,
            max_series: 200_000,
            max_page: ByteSize::from_mib(256),
            max_departed: 100_000,
            max_connections: 64,
            request_timeout: Span::from_secs(30),
            max_request: ByteSize::from_bytes(16 << 10),
            merge: None,
            relay: None,
            remote_write: None,
            select: SelectConfig::default(),
            delivery: DeliveryConfig::default(),
        }
    }
}

/// `merge`: a page in text format that is fetched with each scrape.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergeConfig {
    /// Where it is, such as `http://127.0.0.1:8080/metrics`. Required.
    pub url: HttpUrl,
    /// How long it may take; a scrape waits as long. Shorter than `request_timeout`. Defaults to
    /// `5s`.
    #[serde(default = "default_fetch_timeout")]
    pub timeout: Span,
    /// Longest page, 1KiB to 64MiB; of a longer one nothing is shown. Each connection may hold one.
    /// Defaults to `1MiB`.
    #[serde(default = "default_max_bytes", deserialize_with = "body")]
    pub max_bytes: ByteSize,
}

/// `relay`: a page that is fetched when it is asked for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayConfig {
    /// Its path here, another than `path`. Required.
    pub path: PagePath,
    /// Where it is. Defaults to `http://127.0.0.1:9901/metrics`, where rtpengine has its own.
    #[serde(default = "default_relay_url")]
    pub url: HttpUrl,
    /// How long it may take. Shorter than `request_timeout`. Defaults to `5s`.
    #[serde(default = "default_fetch_timeout")]
    pub timeout: Span,
    /// Longest page, 1KiB to 64MiB; in place of a longer one there is status 503. Each connection may
    /// hold one. Defaults to `8MiB`.
    #[serde(default = "default_relay_bytes", deserialize_with = "body")]
    pub max_bytes: ByteSize,
}

/// `remote_write`: a server that takes Prometheus' remote write 1.0.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteWriteConfig {
    /// The whole URL that takes writes, such as `http://mimir:9009/api/v1/push`. Required.
    pub url: HttpUrl,
    /// Who writes; it needs `password`. Defaults to nobody, for a server that asks for none.
    #[serde(default)]
    pub username: Option<String>,
    /// That user's password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A token that may write, in place of `username`. Defaults to none.
    #[serde(default)]
    pub token: Option<Secret>,
    /// Headers of each request, such as `X-Scope-OrgID` of servers with tenants. Defaults to none.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// How an `https://` server proves who it is.
    #[serde(default)]
    pub tls: TlsConfig,
    /// Most samples of a request. More of them make fewer requests at the cost of a longer
    /// repetition when one fails. 1 to 1000000. Defaults to `2000`.
    #[serde(default = "default_max_samples", deserialize_with = "samples")]
    pub max_samples: usize,
    /// Most bytes of a request before compression; a longer series is dropped and counted as
    /// `too_large`. Keep it below what the server and proxies before it take. 1KiB to 64MiB.
    /// Defaults to `1MiB`.
    #[serde(default = "default_max_bytes", deserialize_with = "body")]
    pub max_bytes: ByteSize,
}

const fn default_max_samples() -> usize {
    2000
}

const fn default_max_bytes() -> ByteSize {
    ByteSize::from_mib(1)
}

const fn default_fetch_timeout() -> Span {
    Span::from_secs(5)
}

const fn default_relay_bytes() -> ByteSize {
    ByteSize::from_mib(8)
}

#[expect(clippy::expect_used, reason = "a test holds it")]
fn default_relay_url() -> HttpUrl {
    HttpUrl::parse("http://127.0.0.1:9901/metrics").expect("a URL")
}

impl PrometheusConfig {
    /// Whether the keys that have to do with other programs' pages go with the others.
    ///
    /// # Errors
    /// At the first that does not.
    pub fn check(&self) -> Result<(), InvalidKey> {
        let fetches = [
            ("merge", self.merge.as_ref().map(|merge| merge.timeout)),
            ("relay", self.relay.as_ref().map(|relay| relay.timeout)),
        ];
        for (key, timeout) in fetches {
            let Some(timeout) = timeout else { continue };
            if self.listen == PageListen::None {
                return Err(InvalidKey::at(key, "needs a page to be on: see `listen`".to_owned()));
            }
            if timeout >= self.request_timeout {
                let most = self.request_timeout;
                let reason = format!("has a `timeout` that is not below `request_timeout`, {most}");
                return Err(InvalidKey::at(key, reason));
            }
        }
        if self.relay.as_ref().is_some_and(|relay| relay.path == self.path) {
            let path = self.path.as_str();
            return Err(InvalidKey::at(
                "relay",
                format!("has the `path` of the page itself, {path}"),
            ));
        }
        Ok(())
    }
}

/// Where the page is.
pub type PageListen = Listen<9494>;

/// The path of the page: `/` and letters, digits, `/`, `-`, `.`, `_` or `~`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagePath(String);

impl Default for PagePath {
    fn default() -> Self {
        Self("/metrics".to_owned())
    }
}

impl PagePath {
    /// The path itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for PagePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        if text.starts_with('/') && text.bytes().all(is_plain) {
            return Ok(Self(text));
        }
        Err(D::Error::custom(format!(
            "a path is `/` and letters, digits, `/`, `-`, `.`, `_` or `~`, such as /metrics, not \
             `{text}`"
        )))
    }
}

fn samples<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    between(deserializer, 1..=SAMPLES_MAX)
}

fn body<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    between(deserializer, BODY_RANGE)
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match u64::deserialize(deserializer)? {
        0 => Err(D::Error::custom("must be at least 1")),
        number => Ok(number),
    }
}

fn connections<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    between(deserializer, 1..=CONNECTIONS_MAX)
}

fn request<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    between(deserializer, REQUEST_RANGE)
}
