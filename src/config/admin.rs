//! `admin`: the settings of the HTTP endpoint.

use std::collections::BTreeMap;
use std::path::PathBuf;

use api::path::DEFAULT_PORT;
use basics::address::Listen;
use basics::bounds::between;
use basics::host_name::HostName;
use basics::units::{ByteSize, Span};
use engine::listener::config::{FileMode, SocketPath};
use engine::listener::tap::TapConfig;
use httpserver::{AccessConfig, AccessLimits, AccessToken, PasswordHash, ServerTls, UserName};
use serde::Deserialize;
use serde::de::Deserializer;

/// Largest `max_connections`.
const CONNECTIONS_MAX: u32 = 65_536;

/// `admin`: the HTTP endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// `host:port`, `:port` for every address of this host, or `none` for no endpoint. A name stands
    /// for all its addresses. Without `users`, `tokens` or client certificates, every client that reaches
    /// the address can read it. Defaults to `127.0.0.1:9495`.
    pub listen: AdminListen,
    /// The certificate of this server, which then speaks only `https://`.
    pub tls: ServerTls,
    /// Users, each with the bcrypt hash of a password, as `htpasswd -nBC 10 ""` prints it. With users or
    /// tokens, every request except those for `/healthz` and `/readyz` needs one of them. Defaults to none.
    pub users: BTreeMap<UserName, PasswordHash>,
    /// Bearer tokens of clients, of 16 to 4,096 characters each. Defaults to none.
    pub tokens: Vec<AccessToken>,
    /// A file in the format of Prometheus' exporter-toolkit (`--web.config.file`), with certificates and
    /// users instead of `tls` and `users`. Defaults to `""`, none.
    pub web_config_file: PathBuf,
    /// Bounds on unauthenticated clients.
    pub access: AccessLimits,
    /// Path of a Unix socket with the same API, which also accepts requests that change something: only
    /// root, the daemon's own user and `operators` may send these. Defaults to none.
    pub socket: Option<SocketPath>,
    /// Permissions of the socket's file: who may write to it can read everything that the endpoint
    /// shows. Defaults to `0660`.
    pub socket_mode: FileMode,
    /// Who may change something through the socket, besides root and the daemon's own user.
    pub operators: OperatorsConfig,
    /// Names of this host under which a browser may open the status page and read client data, in
    /// addition to addresses, names without a dot and the system's host name. Requests under other
    /// names are refused, because any web page can point its domain at this address. Defaults to none.
    pub hosts: Vec<HostName>,
    /// Maximum number of open connections. When all are taken, a new one replaces the one whose client
    /// has done nothing for longest. A connection takes a file descriptor and the memory of a reply. 1
    /// to 65536. Defaults to `64`.
    #[serde(deserialize_with = "connections")]
    pub max_connections: u32,
    /// How long the head of a request may take, and how long a connection may wait for its next
    /// request. A longer time suits a slow network. Defaults to `5s`.
    pub request_timeout: Span,
    /// How long a client may read nothing of a reply. A longer time suits a slow network. Defaults to
    /// `10s`.
    pub write_timeout: Span,
    /// Bounds of `/api/v1/top`.
    pub top: TopConfig,
    /// Bounds of the live taps on the listeners.
    pub tap: TapConfig,
    /// Bounds of `/api/v1/series`.
    pub series: SeriesConfig,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: AdminListen::default(),
            tls: ServerTls::default(),
            users: BTreeMap::new(),
            tokens: Vec::new(),
            web_config_file: PathBuf::new(),
            access: AccessLimits::default(),
            socket: None,
            socket_mode: FileMode::DEFAULT,
            operators: OperatorsConfig::default(),
            hosts: Vec::new(),
            max_connections: 64,
            request_timeout: Span::from_secs(5),
            write_timeout: Span::from_secs(10),
            top: TopConfig::default(),
            tap: TapConfig::default(),
            series: SeriesConfig::default(),
        }
    }
}

fn connections<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    between(deserializer, 1..=CONNECTIONS_MAX)
}

/// The address of the endpoint.
pub type AdminListen = Listen<DEFAULT_PORT>;

/// `admin.top`: the bounds of `/api/v1/top`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopConfig {
    /// Number of tag keys whose values are counted; further keys are only counted themselves. A key
    /// with thousands of values costs up to 64 KiB while clients request it. Defaults to `500`.
    pub max_tag_keys: usize,
    /// Number of senders per listening socket that are counted separately, those that send the most;
    /// the rest is counted together. Counting runs only while a client requests it, and costs an
    /// overloaded listener about 6 % of its throughput. `0` disables it. Defaults to `256`.
    pub max_senders: usize,
}

impl Default for TopConfig {
    fn default() -> Self {
        Self { max_tag_keys: 500, max_senders: 256 }
    }
}

/// `admin.operators`: users and groups of this host, by name or number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OperatorsConfig {
    /// Users. Defaults to none.
    pub users: Vec<String>,
    /// Groups; a user's primary group counts too. Defaults to none.
    pub groups: Vec<String>,
}

/// Largest `series.max_requests`.
const SERIES_REQUESTS_MAX: u32 = 16;
/// Largest `series.max_watched`.
const WATCHED_MAX: u32 = 64;

/// `admin.series`: the bounds of `/api/v1/series`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SeriesConfig {
    /// Maximum number of requests that are answered at the same time; further ones are refused. A
    /// request takes a look at every live series. `0` disables them. 0 to 16. Defaults to `2`.
    #[serde(deserialize_with = "series_requests")]
    pub max_requests: u32,
    /// Maximum memory of the last window, which is kept until the next one ends to answer requests. Of a
    /// larger one, requests show only which series are live, and the levels of gauges. `0` keeps none.
    /// Defaults to `512MiB`.
    pub max_window: ByteSize,
    /// Maximum number of series that are recorded for charts on the status page. Each takes up to 50 KB
    /// while it is watched, and a look at every point of a window. `0` disables charts. 0 to 64. Defaults
    /// to `16`.
    #[serde(deserialize_with = "watched")]
    pub max_watched: u32,
}

impl Default for SeriesConfig {
    fn default() -> Self {
        Self { max_requests: 2, max_window: ByteSize::from_mib(512), max_watched: 16 }
    }
}

fn series_requests<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    between(deserializer, 0..=SERIES_REQUESTS_MAX)
}

fn watched<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    between(deserializer, 0..=WATCHED_MAX)
}

impl AdminConfig {
    /// Who may use the endpoint at its addresses.
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

    /// The largest window to keep for requests, in bytes; 0 if no client can request it.
    #[must_use]
    pub fn window_bytes_max(&self) -> u64 {
        let is_unreachable = matches!(self.listen, Listen::None) && self.socket.is_none();
        let is_off = is_unreachable || self.series.max_requests == 0;
        if is_off { 0 } else { self.series.max_window.get() }
    }
}
