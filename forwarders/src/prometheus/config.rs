//! `forwarders.prometheus`: the configuration of the page and of remote write.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use httpserver::{
    Access, AccessConfig, AccessError, AccessLimits, AccessToken, PasswordHash, ServerTls, UserName,
};
use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::timers::{BucketsConfig, TimerForm, TimerForms};
use crate::config::{DeliveryConfig, InvalidKey};
use crate::http::{HttpUrl, TlsConfig};
use crate::idle::{IdleConfig, IdleFor};
use crate::naming::PageNaming;
use crate::select::SelectConfig;
use basics::address::Listen;
use basics::bounds::{at_least, between};
use basics::globs::Globs;
use basics::host_name::HostName;
use basics::text::Secret;
use basics::units::{ByteSize, Span};

/// Upper limit of `max_connections`.
const CONNECTIONS_MAX: u32 = 65_536;
/// Range of `max_request`, in bytes.
const REQUEST_RANGE: RangeInclusive<ByteSize> = ByteSize::from_bytes(1024)..=ByteSize::from_mib(1);
/// Range of `max_bytes`, in bytes.
const BODY_RANGE: RangeInclusive<ByteSize> = ByteSize::from_bytes(1024)..=ByteSize::from_mib(64);
/// Range of `max_buckets`.
const NATIVE_BUCKETS_RANGE: RangeInclusive<usize> = 8..=10_000;
/// The path of probes.
pub(super) const PROBE_PATH: &str = "/probe";
/// Upper limit of `max_concurrent`.
const CONCURRENT_MAX: usize = 64;
/// Upper limit of `max_samples`.
const SAMPLES_MAX: usize = 1_000_000;

/// `forwarders.prometheus`: one page, one remote write, or both.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrometheusConfig {
    /// Name of the destination in the ledger and the log. Defaults to `prometheus`.
    pub name: Option<String>,
    /// `host:port` at which the page is served, `:port` for every address of this host, or `none`
    /// for no page. A name stands for all its addresses. Without `users`, `tokens` or client
    /// certificates, everyone who can reach the address can read the page. Defaults to
    /// `127.0.0.1:9494`.
    pub listen: PageListen,
    /// The certificate of this server, which then speaks only `https://`.
    pub tls: ServerTls,
    /// Users, each with the bcrypt hash of a password, as `htpasswd -nBC 10 ""` prints it. With users or
    /// tokens, every request needs one of them. Defaults to none.
    pub users: BTreeMap<UserName, PasswordHash>,
    /// Bearer tokens of clients, of 16 to 4,096 characters each. Defaults to none.
    pub tokens: Vec<AccessToken>,
    /// A file in the format of Prometheus' exporter-toolkit (`--web.config.file`), with certificates and
    /// users instead of `tls` and `users`. Defaults to `""`, none.
    pub web_config_file: PathBuf,
    /// Bounds on unauthenticated clients.
    pub access: AccessLimits,
    /// Names of this host under which the page may be requested, in addition to addresses, names without
    /// a dot and the system's host name. Requests under other names are refused, because any web page
    /// can point its domain at this address. Defaults to none.
    pub hosts: Vec<HostName>,
    /// URL path of the page. Defaults to `/metrics`.
    pub path: PagePath,
    /// The names of Kamailio's series: `tallyd`, or `callr`, `pascom` or `voiplens` for the names of an
    /// older exporter. All other series have tallyd's names. Defaults to `tallyd`.
    pub naming: PageNaming,
    /// The forms in which timers are shown: `summary`, `native` (a native histogram, for scrapers
    /// that request protobuf and over remote write), `histogram` (with the bounds in `buckets`), or a
    /// list of these. Of a summary and a histogram, the second one in the list has the suffix
    /// `_quantiles` or `_distribution`. Defaults to `summary`.
    pub timers: TimerForms,
    /// Upper bounds of a histogram's buckets, at most 200: one list for all metrics, or items with
    /// `match` and `le`, of which the first that matches a metric applies. More bounds make more series.
    /// Defaults to 5, 10, 25, 50 and so on up to 10000.
    pub buckets: BucketsConfig,
    /// Maximum number of buckets of a native histogram, 8 to 10000. Above it, pairs of neighbouring
    /// buckets are merged, which is counted and doubles the error of percentiles. Each takes about 20
    /// bytes. Defaults to `640`, which covers values from 1 to 1000 without an additional error.
    #[serde(deserialize_with = "native_buckets")]
    pub max_buckets: usize,
    /// Time without samples after which a series leaves the page. A longer time bridges longer
    /// pauses but shows outdated values for longer. Defaults to `aggregation.expire_after`.
    pub expire_after: Option<Span>,
    /// Maximum number of series on the page; points of further series are dropped and counted as
    /// `page_full`. Each series takes about 500 bytes and makes scrapes longer. At least 1.
    /// Defaults to `200000`.
    #[serde(deserialize_with = "at_least_one")]
    pub max_series: u64,
    /// Maximum size of the page, in bytes; points of series that do not fit are dropped and counted
    /// as `page_full`. The daemon briefly holds up to three pages. Defaults to `256MiB`.
    pub max_page: ByteSize,
    /// Maximum number of expired series whose totals are kept, so that a series that returns
    /// continues from its total. Above it, the series that expired first restarts at 0. Each takes
    /// 100 to 200 bytes, a timer some 400; 6 buckets of a histogram count as one more. 0 keeps none.
    /// Defaults to `100000`.
    pub max_departed: u64,
    /// Maximum number of simultaneous connections, 1 to 65536; above it, a new connection
    /// replaces the one whose client has done nothing for longest. A slow reader can keep one page in
    /// memory. Defaults to `64`.
    #[serde(deserialize_with = "connections")]
    pub max_connections: u32,
    /// Time limit of a connection, from its first byte to the last byte of the reply. A longer time
    /// suits a slow network but keeps idle connections for longer. Defaults to `30s`.
    pub request_timeout: Span,
    /// Maximum size of a request with its headers, 1KiB to 1MiB; a larger request is answered with
    /// 431. Defaults to `16KiB`.
    #[serde(deserialize_with = "request")]
    pub max_request: ByteSize,
    /// A page of another program whose metrics are appended to tallyd's, such as the metrics that
    /// an operator defines in Kamailio's `xhttp_prom`. None by default.
    pub merge: Option<MergeConfig>,
    /// A page of another program that is passed on unchanged, such as rtpengine's. None by default.
    pub relay: Option<RelayConfig>,
    /// Polls of one Kamailio on request, at `/probe?target=…`, like an exporter for several targets.
    /// Off by default: a client then names an address to which tallyd connects.
    pub probe: Option<ProbeConfig>,
    /// Also pushes the same series to a server, as a separate destination named
    /// `NAME.remote_write`. None by default.
    pub remote_write: Option<RemoteWriteConfig>,
    /// Which series are shown.
    pub select: SelectConfig,
    /// Only `none`: the page and remote write keep an idle series at its total anyway, for
    /// `expire_after`.
    pub idle: Option<IdleConfig>,
    /// Without effect here, and therefore refused.
    pub idle_for: Option<IdleFor>,
    /// Timeouts, retries, queue and spool; only `remote_write` uses them.
    pub delivery: DeliveryConfig,
}

impl Default for PrometheusConfig {
    fn default() -> Self {
        Self {
            name: None,
            listen: PageListen::default(),
            tls: ServerTls::default(),
            users: BTreeMap::new(),
            tokens: Vec::new(),
            web_config_file: PathBuf::new(),
            access: AccessLimits::default(),
            hosts: Vec::new(),
            path: PagePath::default(),
            naming: PageNaming::default(),
            timers: TimerForms::default(),
            buckets: BucketsConfig::default(),
            max_buckets: 640,
            expire_after: None,
            max_series: 200_000,
            max_page: ByteSize::from_mib(256),
            max_departed: 100_000,
            max_connections: 64,
            request_timeout: Span::from_secs(30),
            max_request: ByteSize::from_bytes(16 << 10),
            merge: None,
            relay: None,
            probe: None,
            remote_write: None,
            select: SelectConfig::default(),
            idle: None,
            idle_for: None,
            delivery: DeliveryConfig::default(),
        }
    }
}

/// `merge`: a page in text format that is fetched with each scrape.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergeConfig {
    /// URL of the page, such as `http://127.0.0.1:8080/metrics`. Required.
    pub url: HttpUrl,
    /// Timeout of a fetch, and so the longest delay of a scrape. Must be shorter than
    /// `request_timeout`. Defaults to `5s`.
    #[serde(default = "default_fetch_timeout")]
    pub timeout: Span,
    /// Maximum size of the page, 1KiB to 64MiB; a larger page is left out completely. Each
    /// connection may hold one. Defaults to `1MiB`.
    #[serde(default = "default_max_bytes", deserialize_with = "body")]
    pub max_bytes: ByteSize,
}

/// `relay`: a page that is fetched on request.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayConfig {
    /// Path at which tallyd serves the page; must differ from `path`. Required.
    pub path: PagePath,
    /// URL of the page. Defaults to `http://127.0.0.1:9901/metrics`, rtpengine's page.
    #[serde(default = "default_relay_url")]
    pub url: HttpUrl,
    /// Timeout of a fetch. Must be shorter than `request_timeout`. Defaults to `5s`.
    #[serde(default = "default_fetch_timeout")]
    pub timeout: Span,
    /// Maximum size of the page, 1KiB to 64MiB; a larger page is answered with status 503. Each
    /// connection may hold one. Defaults to `8MiB`.
    #[serde(default = "default_relay_bytes", deserialize_with = "body")]
    pub max_bytes: ByteSize,
}

/// `probe`: the targets that requests may name.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeConfig {
    /// Globs on the allowed targets, such as `unix:/run/kamailio/*` or `tcp:192.0.2.7:2046`; a
    /// target has to match as it is in the request. `*` stands for any text, so end a host name with
    /// its domain. Required.
    pub targets: Globs,
    /// Time limit of a poll. A scrape that has less time ends it earlier. Must be shorter than
    /// `request_timeout`. Defaults to `5s`.
    #[serde(default = "default_fetch_timeout")]
    pub timeout: Span,
    /// Maximum number of simultaneous polls, 1 to 64; further requests are refused with 503 and
    /// counted. Defaults to `4`.
    #[serde(default = "default_max_concurrent", deserialize_with = "concurrent")]
    pub max_concurrent: usize,
}

/// `remote_write`: a server that accepts Prometheus' remote write 1.0.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteWriteConfig {
    /// Full URL of the server's write endpoint, such as `http://mimir:9009/api/v1/push`. Required.
    pub url: HttpUrl,
    /// User name for basic authentication; needs `password`. None by default.
    #[serde(default)]
    pub username: Option<String>,
    /// Password of `username`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// Bearer token, instead of `username` and `password`. None by default.
    #[serde(default)]
    pub token: Option<Secret>,
    /// Additional headers of each request, such as `X-Scope-OrgID` for servers with tenants. None
    /// by default.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// How the certificate of an `https://` server is verified.
    #[serde(default)]
    pub tls: TlsConfig,
    /// Maximum number of samples in a request, 1 to 1000000. A larger number makes fewer requests
    /// but repeats more samples when one fails. Defaults to `2000`.
    #[serde(default = "default_max_samples", deserialize_with = "samples")]
    pub max_samples: usize,
    /// Maximum size of a request before compression, 1KiB to 64MiB; a series that alone exceeds it
    /// is dropped and counted as `too_large`. Keep it below the limits of the server and of proxies
    /// in front of it. Defaults to `1MiB`.
    #[serde(default = "default_max_bytes", deserialize_with = "body")]
    pub max_bytes: ByteSize,
}

const fn default_max_concurrent() -> usize {
    4
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

#[expect(clippy::expect_used, reason = "tests build a section without `url`")]
fn default_relay_url() -> HttpUrl {
    HttpUrl::parse("http://127.0.0.1:9901/metrics").expect("a URL")
}

impl PrometheusConfig {
    /// Who may read the page.
    #[must_use]
    pub fn access_config(&self) -> AccessConfig {
        AccessConfig {
            tls: self.tls.clone(),
            users: self.users.clone(),
            tokens: self.tokens.clone(),
            web_config_file: self.web_config_file.clone(),
            limits: self.access,
        }
    }

    /// Reads the files that say who may read the page.
    ///
    /// # Errors
    /// The key of a file that cannot be used.
    pub(super) fn load_access(&self) -> Result<Access, InvalidKey> {
        let config = self.access_config();
        if self.listen == PageListen::None && !config.is_empty() {
            let reason = "needs a page, and `listen` is `none`".to_owned();
            return Err(InvalidKey::at(config.first_key(), reason));
        }
        let loaded = Access::load(&config);
        loaded.map_err(|AccessError { key, reason }| InvalidKey::at(key, reason))
    }

    /// Checks that the keys about clients and about other programs' pages fit the other keys.
    ///
    /// # Errors
    /// The first key that does not fit.
    pub fn check(&self) -> Result<(), InvalidKey> {
        self.load_access()?;
        let fetches = [
            ("merge", self.merge.as_ref().map(|merge| merge.timeout)),
            ("relay", self.relay.as_ref().map(|relay| relay.timeout)),
            ("probe", self.probe.as_ref().map(|probe| probe.timeout)),
        ];
        for (key, timeout) in fetches {
            let Some(timeout) = timeout else { continue };
            if self.listen == PageListen::None {
                let reason = "needs a page, and `listen` is `none`".to_owned();
                return Err(InvalidKey::at(key, reason));
            }
            // A longer fetch would outlast the connection and end the scrape without a reply.
            if timeout >= self.request_timeout {
                let most = self.request_timeout;
                let reason = format!("has a `timeout` that is not below `request_timeout`, {most}");
                return Err(InvalidKey::at(key, reason));
            }
        }
        // The merged page is text, which has no native histograms.
        let is_native = self.timers.has(TimerForm::Native);
        if is_native && self.merge.is_some() && self.remote_write.is_none() {
            let reason = "leaves no format for the `native` histograms of `timers`".to_owned();
            return Err(InvalidKey::at("merge", reason));
        }
        if self.relay.as_ref().is_some_and(|relay| relay.path == self.path) {
            let path = self.path.as_str();
            return Err(InvalidKey::at(
                "relay",
                format!("has the `path` of the page itself, {path}"),
            ));
        }
        let paths = [Some(&self.path), self.relay.as_ref().map(|relay| &relay.path)];
        if let Some(probe) = &self.probe {
            if probe.targets.is_empty() {
                let reason = "needs `targets`: globs on the allowed targets".to_owned();
                return Err(InvalidKey::at("probe", reason));
            }
            if paths.into_iter().flatten().any(|path| path.as_str() == PROBE_PATH) {
                let reason = "has the path /probe, which `path` or `relay` has too".to_owned();
                return Err(InvalidKey::at("probe", reason));
            }
        }
        Ok(())
    }
}

/// Address of the page, or `none`.
pub type PageListen = Listen<9494>;

/// The path of a page: `/` and letters, digits, `/`, `-`, `.`, `_` or `~`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagePath(String);

impl Default for PagePath {
    fn default() -> Self {
        Self("/metrics".to_owned())
    }
}

impl PagePath {
    /// Returns the path as text.
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

fn concurrent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    between(deserializer, 1..=CONCURRENT_MAX)
}

fn samples<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    between(deserializer, 1..=SAMPLES_MAX)
}

fn body<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    between(deserializer, BODY_RANGE)
}

fn native_buckets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    between(deserializer, NATIVE_BUCKETS_RANGE)
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    at_least(deserializer, 1)
}

fn connections<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    between(deserializer, 1..=CONNECTIONS_MAX)
}

fn request<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    between(deserializer, REQUEST_RANGE)
}
